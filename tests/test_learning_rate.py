"""The learning rate that every update really used, read from the optimisers in its checkpoint."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cli import (
    CARTPOLE_DQN,
    CARTPOLE_PPO,
    PENDULUM_SAC,
    Run,
    call_train,
    differences,
    shared_output,
    shared_run,
    table_row,
)

DECAYS: dict[str, Callable[[float], float]] = {
    "linear": lambda done: 1 - done,
    "constant": lambda done: 1.0,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}
PLANNED = {"ppo": 640, "sac": 60, "dqn": 120}
ROLLOUT = {"ppo": 64, "sac": 1, "dqn": 4}
INITIAL = {"ppo": 2.5e-4, "sac": 3e-4, "dqn": 1e-4}
WARM_UP = {"ppo": 0, "sac": 5, "dqn": 8}  # steps before the rollout of the first update
FLAGS = {"ppo": CARTPOLE_PPO, "sac": PENDULUM_SAC, "dqn": CARTPOLE_DQN}
SHARED = {"ppo": "cartpole_ppo", "sac": "pendulum_sac", "dqn": "cartpole_dqn"}
SHARED_DECAY = {"ppo": "linear", "sac": "linear", "dqn": "cosine"}


def assert_schedule(run: Run, algo: str, initial: float, decay: str) -> None:
    """Every update used ``initial * decay(steps before its rollout / steps planned)``, and no other rate was seen."""
    planned, rollout = PLANNED[algo], ROLLOUT[algo]
    assert run.record["steps_planned"] == planned
    assert run.steps == list(range(rollout, planned + 1, rollout))
    updates = [steps for steps in run.steps if steps > WARM_UP[algo]]
    assert len(updates) == (planned - WARM_UP[algo]) // rollout
    for steps in updates:
        expected = initial * DECAYS[decay]((steps - rollout) / planned)
        (rate,) = run.learning_rates(steps)
        assert rate == pytest.approx(expected, rel=1e-12, abs=1e-30), steps
        assert 0 <= rate <= initial
    first, last = updates[0], updates[-1]
    assert first == WARM_UP[algo] + rollout and last == planned


def rates_shown(out: str) -> list[float]:
    """The rates in the start table: first update, 10, 50 and 100 %."""
    found = re.match(
        r"(\S+) \(first update\), (\S+) \(10 %\), (\S+) \(50 %\), (\S+) \(100 %\)", table_row(out, "learning rate")
    )
    assert found is not None
    return [float(rate) for rate in found.groups()]


def rates_used(run: Run, algo: str) -> list[float]:
    """The rates of the first update and of those that ended at 10, 50 and 100 % of the run, or soon after."""
    rollout = ROLLOUT[algo]
    steps = [WARM_UP[algo] + rollout]
    for percent in (10, 50, 100):
        steps.append(max(steps[0], math.ceil(PLANNED[algo] * percent / 100 / rollout) * rollout))
    rates = [next(iter(run.learning_rates(step))) for step in steps]
    return [float(f"{rate:.3g}") for rate in rates]


@pytest.mark.parametrize("algo", FLAGS)
def test_run_from_scratch_in_a_process_of_its_own(algo: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    run = shared_run(tmp_path_factory, SHARED[algo])
    assert_schedule(run, algo, INITIAL[algo], SHARED_DECAY[algo])
    assert rates_shown(shared_output(tmp_path_factory, SHARED[algo])) == rates_used(run, algo)


@pytest.mark.parametrize(
    ("algo", "decay"), [(algo, decay) for algo in FLAGS for decay in DECAYS if decay != SHARED_DECAY[algo]]
)
def test_run_from_scratch_with_every_decay(algo: str, decay: str, tmp_path: Path) -> None:
    flags = (*FLAGS[algo], "--lr-decay", decay, "--hyperparam", "learning_rate:0.002", "--eval-freq", 0)
    run, done = call_train(*flags, "--best-by", "train", log_dir=tmp_path)
    assert_schedule(run, algo, 0.002, decay)
    assert rates_shown(done.out) == rates_used(run, algo)
    assert f"; {decay}; by flags: learning_rate" in table_row(done.out, "learning rate")


@pytest.mark.parametrize("algo", FLAGS)
@pytest.mark.parametrize("new_lr", [None, 0.003])
def test_fine_tune(algo: str, new_lr: float | None, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """By default a hundredth of the parent's rate, else the one asked for; the parent's kind of decay over the child's
    own timesteps, though the parent's own rate had ended near zero."""
    parent = shared_run(tmp_path_factory, SHARED[algo])
    asked = () if new_lr is None else ("--new-lr", new_lr)
    records = ("--save-interval", ROLLOUT[algo], "--keep-checkpoints", 0, "--compare-episodes", 0)
    child, done = call_train("--load-rl-model-path", parent.path, *asked, *records, log_dir=tmp_path)
    assert_schedule(child, algo, INITIAL[algo] / 100 if new_lr is None else new_lr, SHARED_DECAY[algo])
    assert rates_shown(done.out) == rates_used(child, algo)
    rule = "flags: new_lr" if new_lr else f"one hundredth of the oldest ancestor's initial rate {INITIAL[algo]:g}"
    assert table_row(done.out, "learning rate").endswith(f"; by {rule}")
    (parents_last,) = parent.learning_rates(PLANNED[algo])
    assert parents_last < INITIAL[algo] / 9
    weights = [name for name in parent.tensors() if name.startswith("policy/") and name.endswith(".0.weight")]
    assert set(weights) - {n for n in weights if "target" in n} <= set(differences(parent.tensors(), child.tensors()))


def test_another_decay_and_length(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    parent = shared_run(tmp_path_factory, "cartpole_ppo")
    flags = ("--new-lr", 1e-3, "--lr-decay", "cosine", "--num-timesteps", 130, "--compare-episodes", 0)
    records = ("--save-interval", 64, "--keep-checkpoints", 0)
    child, done = call_train("--load-rl-model-path", parent.path, *flags, *records, log_dir=tmp_path)
    assert child.record["steps_planned"] == 192
    rates = [next(iter(child.learning_rates(steps))) for steps in child.steps]
    assert rates == [pytest.approx(1e-3), pytest.approx(0.75e-3), pytest.approx(0.25e-3)]
    assert table_row(done.out, "timesteps") == "192 = 3 rollouts of 64 (asked: 130)"


def test_default_of_grandchildren_is_that_of_children(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without --new-lr every generation starts at a hundredth of the oldest ancestor's initial rate."""
    parent = shared_run(tmp_path_factory, "cartpole_ppo")
    flags = ("--num-timesteps", 64, "--compare-episodes", 0, "--eval-freq", 0, "--best-by", "train")
    child, _ = call_train("--load-rl-model-path", parent.path, *flags, "--new-lr", 0.7, log_dir=tmp_path / "1")
    grandchild, _ = call_train("--load-rl-model-path", child.path, *flags, log_dir=tmp_path / "2")
    lone_zip = grandchild.checkpoint("last") / "model.zip"
    great_grandchild, _ = call_train("--load-rl-model-path", lone_zip, *flags, log_dir=tmp_path / "3")
    assert [run.learning_rates(64) for run in (child, grandchild, great_grandchild)] == [{0.7}, {2.5e-6}, {2.5e-6}]
    assert {run.record["root_learning_rate"] for run in (parent, child, grandchild, great_grandchild)} == {2.5e-4}


def test_recorded_rates_are_those_used(tmp_path_factory: pytest.TempPathFactory) -> None:
    run = shared_run(tmp_path_factory, "cartpole_ppo")
    recorded = [float(row["train/learning_rate"]) for row in run.progress if row["train/learning_rate"]]
    assert recorded == [next(iter(run.learning_rates(steps))) for steps in run.steps]
