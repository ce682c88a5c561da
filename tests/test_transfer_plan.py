"""The plan of a fine-tune, what it measures before and after, and what holds it near its parent, by the command."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
import toy_envs  # noqa: F401 - registers them
from cli import TINY, Run, call, call_train, shared_run, table_row

from rl_baselines.config import RunConfig, changed
from rl_baselines.evaluation import EvaluationResult
from rl_baselines.lineage import main as lineage
from rl_baselines.retention.state_memory import read_memory
from rl_baselines.train import main as train
from rl_baselines.transfer.before_and_after import is_worse_than_at_home
from rl_baselines.transfer.plan import FeatureShift, advise, feature_shifts

LOAD = "--load-rl-model-path"
TREND = ("--env", "Trend-v0", "--gym-packages", "toy_envs", "--n-envs", 2, "--hyperparam", "n_steps:16", *TINY)
QUIET = ("--eval-freq", 0, "--best-by", "train")


@pytest.fixture(scope="module")
def trend(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in an environment whose reward has a slope."""
    return call_train(*TREND, *QUIET, "--num-timesteps", 64, log_dir=tmp_path_factory.mktemp("trend"))[0]


def plan_of(run: Run) -> dict[str, Any]:
    return json.loads((run.path / "plan.json").read_text())  # type: ignore[no-any-return]


def result(*rewards: float, successes: tuple[bool, ...] | None = None) -> EvaluationResult:
    n = len(rewards)
    told = None if successes is None else np.array(successes)
    return EvaluationResult(np.array(rewards), np.ones(n, dtype=np.int64), told, tuple(range(n)))


def test_plan_tells_fates_rates_and_scores(trend: Run, tmp_path: Path) -> None:
    flags = ("--env-kwargs", "slope:-1", "--num-timesteps", 64, "--compare-episodes", 4, "--new-lr", 0.004)
    child, done = call_train(LOAD, f"{trend.path}@last", *flags, *QUIET, log_dir=tmp_path)
    plan = plan_of(child)
    fates = {row["component"]: row["fate"] for row in plan["components"]}
    assert fates == {
        **{"policy": "loaded", "critic": "loaded", "policy.optimizer": "loaded"},
        **{"normalization": "loaded", "settings": "left out"},
    }
    assert plan["learning_rate"] == {
        "rates": pytest.approx({"first": 0.004, "10 %": 0.004, "50 %": 0.004, "100 %": 0.002}),
        "rule": "flags: new_lr",
    }
    scores = {name: score["mean_reward"] for name, score in plan["zero_shot"].items()}
    assert scores.keys() == {"new environment", "parent's environment"}
    assert scores["new environment"] == -scores["parent's environment"] != 0  # the same policy, starts and steps
    assert table_row(done.out, "score in the new environment", 2).startswith(
        f"mean reward {scores['new environment']:.3g}"
    )
    assert [row["name"] for row in plan["shifts"]] == ["observation[0]", "observation[1]"]
    assert plan["parent_settings"]["env_kwargs"] == {}


def test_parent_and_child_are_judged_in_both_environments(trend: Run, tmp_path: Path) -> None:
    flags = ("--env-kwargs", "slope:-1", "--num-timesteps", 64, "--compare-episodes", 8, "--norm", "freeze", *QUIET)
    child, done = call_train(LOAD, f"{trend.path}@last", *flags, "--new-lr", 1e-300, log_dir=tmp_path)
    found = json.loads((child.path / "comparison.json").read_text())
    assert found["new"]["parent"]["mean_reward"] == found["new"]["child"]["mean_reward"]  # nothing was learnt
    assert found["old"]["parent"]["mean_reward"] == -found["new"]["parent"]["mean_reward"]
    assert (
        found["old"]["verdict"] in ("retained", "inconclusive") and found["old"]["differences"]["reward"]["mean"] == 0
    )
    names = {"before", "parent, its env", "after (last)", "child, parent's env", "random, parent's env"}
    assert child.record["comparisons"].keys() == names
    assert "in the old environment: " in done.out and (child.path / "plots" / "fine_tune.png").stat().st_size > 20_000
    assert "old environment" in call(lineage, child.path, "--log-dir", tmp_path).out


def test_the_same_environment_has_one_column(trend: Run, tmp_path: Path) -> None:
    flags = ("--num-timesteps", 64, "--compare-episodes", 2, *QUIET)
    child, done = call_train(LOAD, f"{trend.path}@last", *flags, log_dir=tmp_path)
    assert json.loads((child.path / "comparison.json").read_text())["old"] is None
    assert plan_of(child)["zero_shot"].keys() == {"new environment"} and plan_of(child)["shifts"] == []
    assert "old environment" not in done.out


def test_without_the_parents_policy_nothing_is_judged(trend: Run, tmp_path: Path) -> None:
    flags = ("--load-parts", "critic", "--num-timesteps", 64, "--compare-episodes", 2, *QUIET)
    child, done = call_train(LOAD, f"{trend.path}@last", *flags, log_dir=tmp_path)
    assert plan_of(child)["zero_shot"].keys() == {"new environment, by a new policy"}
    assert not (child.path / "comparison.json").exists() and "Parent and child" not in done.out


def test_shifts_are_told_per_feature() -> None:
    observations = np.array([[1.0, 10.0], [3.0, 10.0]])
    shifts = feature_shifts(["x", "y"], np.array([2.0, 4.0]), np.array([1.0, 4.0]), observations)
    assert shifts == [FeatureShift("x", 2.0, 1.0, 2.0, 1.0), FeatureShift("y", 4.0, 2.0, 10.0, 0.0)]
    assert [shift.shift for shift in shifts] == [0.0, 3.0] and [shift.is_large for shift in shifts] == [False, True]
    assert FeatureShift("z", 0.0, 1.0, 0.0, 2.5).is_large and not FeatureShift("z", 0.0, 1.0, 0.9, 1.9).is_large


def test_advice_rests_on_what_was_measured() -> None:
    model = sb3.PPO("MlpPolicy", "Pendulum-v1", device="cpu")
    fine = {"is_worse": False, "has_replay": False, "has_default_rate": False}
    config, bad = RunConfig(), {**fine, "is_worse": True}
    assert advise(config, model, **bad) == advise(config, model, **fine) == []
    assert "--new-lr" in advise(config, model, **{**bad, "has_default_rate": True})[0]
    assert advise(config, model, **{**fine, "has_default_rate": True}) == []
    model.policy.log_std.data.fill_(np.log(0.1))
    (advice,) = advise(config, model, **bad)
    assert "standard deviation 0.1" in advice and "--reset-std" in advice
    assert advise(config, model, **fine) == advise(changed(config, reset_std=True), model, **bad) == []
    sac = sb3.SAC("MlpPolicy", "Pendulum-v1", device="cpu", buffer_size=10)
    assert "expect the score to dip" in advise(config, sac, **fine)[0]
    assert advise(config, sac, **{**fine, "has_replay": True}) == []


def test_worse_than_at_home_needs_evidence() -> None:
    low, high = result(1.0, 2.0, 1.5), result(9.0, 9.5, 10.0)
    assert is_worse_than_at_home({"before": low, "parent, its env": high})
    assert not is_worse_than_at_home({"before": high, "parent, its env": high})
    assert not is_worse_than_at_home({"before": result(1.0, 20.0), "parent, its env": result(5.0, 21.0)})
    assert is_worse_than_at_home({"before": result(1.0, 1.0, 1.0, successes=(False, True, False))})
    assert not is_worse_than_at_home({})


def test_every_run_stores_what_its_policy_does(trend: Run, tmp_path: Path) -> None:
    memory = read_memory(trend.path / "state_memory.npz")
    assert len(memory) == 64 and memory.observations.shape == (64, 2)
    label = memory.label
    assert (label.algorithm, label.env, label.run, label.timesteps) == ("ppo", "Trend-v0", trend.id, 64)
    assert memory.normalization is not None
    none, _ = call_train(*TREND, *QUIET, "--num-timesteps", 32, "--memory-states", 0, log_dir=tmp_path / "none")
    few, _ = call_train(*TREND, *QUIET, "--num-timesteps", 32, "--memory-states", 10, log_dir=tmp_path / "few")
    assert not (none.path / "state_memory.npz").exists()
    assert len(read_memory(few.path / "state_memory.npz")) == 10


def distance(parent: Run, child: Run) -> float:
    """How far the child's actions in remembered states are from the parent's."""
    memory = read_memory(parent.path / "state_memory.npz")
    models = [sb3.PPO.load(run.checkpoint("last") / "model.zip", device="cpu") for run in (parent, child)]
    statistics = json.loads((parent.checkpoint("last") / "vecnormalize.json").read_text())["observations"]
    raw = np.asarray(memory.observations)
    observations = (raw - np.array(statistics["mean"])) / np.sqrt(np.array(statistics["var"]) + 1e-8)
    batch = torch.as_tensor(np.clip(observations, -10, 10), dtype=torch.float32)
    with torch.no_grad():
        one, other = (model.policy.get_distribution(batch).distribution.probs for model in models)
    return float((one - other).abs().mean())


def test_a_chain_of_fine_tunes_remembers_every_task_that_it_held_on_to(trend: Run, tmp_path: Path) -> None:
    """A third task, learnt with retention, leaves a memory of all three; one learnt without leaves its own alone."""
    common = (*QUIET, "--new-lr", 0.01, "--num-timesteps", 128, "--memory-states", 60)
    second, _ = call_train(
        *(LOAD, f"{trend.path}@last", "--env-kwargs", "slope:-1", "--retain", "bc", *common),
        log_dir=tmp_path / "second",
    )
    third, _ = call_train(
        *(LOAD, f"{second.path}@last", "--env-kwargs", "slope:2", "--retain", "bc", *common), log_dir=tmp_path / "third"
    )
    naive, _ = call_train(
        *(LOAD, f"{second.path}@last", "--env-kwargs", "slope:2", "--retain", "none", *common),
        log_dir=tmp_path / "naive",
    )
    memories = [read_memory(run.path / "state_memory.npz") for run in (trend, second, third, naive)]
    assert [memory.label.n_tasks for memory in memories] == [1, 2, 3, 1]
    first, two, three, _ = (np.asarray(memory.observations) for memory in memories)
    held = {tuple(row) for row in np.asarray(read_memory(third.path / "inherited_memory.npz").observations).tolist()}
    assert held == {tuple(row) for row in two.tolist()}
    assert {tuple(row) for row in two[30:].tolist()} <= {tuple(row) for row in first.tolist()}
    assert {tuple(row) for row in three[20:].tolist()} <= {tuple(row) for row in two.tolist()}
    assert not (naive.path / "inherited_memory.npz").exists()


OTHER_KINDS = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("kl", "ewc", "l2sp", "replay")]


@pytest.mark.parametrize("kind", ["bc", *OTHER_KINDS])
def test_retention_holds_the_policy_near_its_parent(kind: str, trend: Run, tmp_path: Path) -> None:
    flags = (LOAD, f"{trend.path}@last", "--env-kwargs", "slope:-1", "--new-lr", 0.01, "--num-timesteps", 512, *QUIET)
    flags += ("--compare-episodes", 0, "--norm", "freeze")
    free, _ = call_train(*flags, log_dir=tmp_path / "free")
    held, done = call_train(*flags, "--retain", kind, "--retain-coef", 1000, log_dir=tmp_path / "held")
    assert distance(trend, free) > 0.1 > 5 * distance(trend, held)
    assert table_row(done.out, "retention", 1) == kind
    assert table_row(done.out, "retention", 2) == "coefficient 1000, constant"
    assert {float(row["retention/coefficient"]) for row in held.progress if row["retention/coefficient"]} == {1000.0}


def test_statistics_stand_still_where_a_policy_is_held(trend: Run, tmp_path: Path) -> None:
    flags = ("--num-timesteps", 64, "--compare-episodes", 0, *QUIET)
    child, _ = call_train(LOAD, f"{trend.path}@last", "--retain", "kl", *flags, log_dir=tmp_path)
    assert child.settings["norm"] == "freeze"


def test_states_are_made_where_a_source_has_none(trend: Run, tmp_path: Path, tmp_path_factory: Any) -> None:
    """A zip of ours tells its environment, so the loaded policy can act there; one from elsewhere does not."""
    parent = shared_run(tmp_path_factory, "cartpole_ppo")
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("model.zip", "vecnormalize.json"):
        (folder / name).write_bytes((parent.checkpoint("last") / name).read_bytes())
    flags = ("--num-timesteps", 64, "--compare-episodes", 0, *QUIET)
    call_train(LOAD, folder / "model.zip", "--retain", "bc", *flags, log_dir=tmp_path / "ours")

    plain = tmp_path / "plain.zip"
    sb3.PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu").save(plain)
    flags = ("--env", "CartPole-v1", "--retain", "bc", "--num-timesteps", 64, "--log-dir", tmp_path / "theirs")
    done = call(train, LOAD, plain, *flags)
    assert done.code == 2 and "does not tell which that is; take --retain kl or l2sp" in done.err
    assert len(done.err.splitlines()) == 1


def test_a_zip_that_tells_no_algorithm_is_taken_for_the_one_named(tmp_path: Path) -> None:
    plain, silent = tmp_path / "plain.zip", tmp_path / "silent.zip"
    model = sb3.PPO("MlpPolicy", "CartPole-v1", n_steps=32, batch_size=32, learning_rate=0.001, device="cpu")
    model.save(plain)
    with zipfile.ZipFile(plain) as there, zipfile.ZipFile(silent, "w") as here:
        for name in there.namelist():
            content = there.read(name)
            if name == "data":
                fields = json.loads(content)
                content = json.dumps({key: fields[key] for key in fields if key != "policy_class"}).encode()
            here.writestr(name, content)
    flags = (LOAD, silent, "--env", "CartPole-v1", "--num-timesteps", 32, "--compare-episodes", 0, *QUIET)
    done = call(train, *flags, "--log-dir", tmp_path / "refused")
    assert done.code == 2 and "give --algo" in done.err
    child, _ = call_train(*flags, "--algo", "ppo", log_dir=tmp_path / "child")
    assert child.settings["algo"] == "ppo" and child.settings["new_lr"] == pytest.approx(1e-5)


def test_states_with_other_observations_are_refused(tmp_path: Path) -> None:
    kuka = ("--env", "KukaButtonGymEnv-v0", "-c", "--env-kwargs", "max_steps:30", "--n-envs", 2, *TINY, *QUIET)
    parent, _ = call_train(*kuka, "--hyperparam", "n_steps:32", "--num-timesteps", 64, log_dir=tmp_path / "parent")
    flags = ("--srl-model", "joints_position", "--retain", "bc", "--log-dir", tmp_path / "child")
    done = call(train, LOAD, f"{parent.path}@last", *flags)
    assert done.code == 2 and "are not observations of this run; take --retain kl or l2sp" in done.err


@pytest.mark.slow
def test_shifts_are_told_of_the_features_that_the_parent_had(tmp_path: Path) -> None:
    kuka = ("--env", "KukaButtonGymEnv-v0", "-c", "--env-kwargs", "max_steps:30", "--n-envs", 2, *TINY, *QUIET)
    parent, _ = call_train(*kuka, "--hyperparam", "n_steps:32", "--num-timesteps", 64, log_dir=tmp_path / "parent")
    flags = ("--srl-model", "joints_position", "--random-target", "--num-timesteps", 64, "--compare-episodes", 2)
    child, done = call_train(LOAD, f"{parent.path}@last", *flags, log_dir=tmp_path / "child")
    assert [row["name"] for row in plan_of(child)["shifts"]] == [f"effector_from_button_{axis}" for axis in "xyz"]
    assert "of 3 features are clearly other ones here than the parent's" in done.out
