"""A fine-tune that is killed and resumed equals one that was not, to the last bit, without its source."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from cli import TINY, Run, call, call_train, differences, shared_run
from resuming import assert_same, content, resume, train_killed, train_whole
from test_transfer import LOAD, policy

from rl_baselines.checkpoint import Checkpoint, _hash_of_manifest, hash_of
from rl_baselines.train import main
from rl_baselines.transfer.parts import part_of

COMMON = ("--seed", 7, "--keep-checkpoints", 0, "--eval-episodes", 2, "--memory-states", 64, "--compare-episodes", 2)
COMMON = (*COMMON, "--gym-packages", "toy_envs", "killer", "--min-episodes-save", 2)
ON_POLICY = (*COMMON, "--num-timesteps", 512, "--save-interval", 64, "--eval-freq", 192, "--best-by", "train")
OFF_POLICY = (*COMMON, "--num-timesteps", 100, "--save-interval", 10, "--eval-freq", 40, "--best-by", "train")
MIXED = (*OFF_POLICY, "--replay-mix", 0.5)
OTHER_RETURNS = ("--hyperparam", "gamma:0.9", "--new-lr", 0.001)

# The source, the flags, the share of the steps after which the process is killed.
CASES: dict[str, tuple[str, tuple[Any, ...], float]] = {
    "ppo_bc_frozen_until": (
        "cartpole_ppo",
        (
            *(*ON_POLICY, "--retain", "bc", "--retain-decay", "linear", "--freeze", "mlp_extractor.policy_net"),
            *("--freeze-until", 400, "--lr-warmup", 256, "--lr-scale", "critic:.5"),
        ),
        0.7,
    ),
    "sac_mixed_kl_warm_up": (
        "pendulum_sac",
        (*MIXED, "--retain", "kl", "--critic-warmup", 80, "--env-kwargs", "g:5.0"),
        0.7,
    ),
    "sac_appended": ("pendulum_sac", (*OFF_POLICY, "--norm", "freeze"), 0.7),
    "ppo_warming_up": ("cartpole_ppo", (*ON_POLICY, *OTHER_RETURNS, "--num-timesteps", 1920), 0.08),
    "ppo_warmed_up": ("cartpole_ppo", (*ON_POLICY, *OTHER_RETURNS, "--num-timesteps", 960), 0.7),
    "ppo_ewc": ("cartpole_ppo", (*ON_POLICY, "--retain", "ewc", "--freeze", "mlp_extractor.policy_net.0.bias"), 0.7),
    "ppo_replay": ("cartpole_ppo", (*ON_POLICY, "--retain", "replay", "--norm", "adapt"), 0.7),
    "sac_mixed": ("pendulum_sac", (*MIXED, "--retain", "replay", "--norm", "fresh"), 0.7),
    "sac_frozen": ("pendulum_sac", (*OFF_POLICY, "--freeze", "critic", "--lr-scale", "entropy:.1"), 0.7),
    "sac_two_envs": ("pendulum_sac", (*OFF_POLICY, "--n-envs", 2, "--norm", "keep", "--retain", "l2sp"), 0.7),
    "td3_l2sp": ("walk_td3", (*OFF_POLICY, "--retain", "l2sp", "--retain-decay", "linear"), 0.7),
    "tqc_warm_up": ("walk_tqc", (*OFF_POLICY, "--critic-warmup", 80, "--retain", "bc", "--replay-mix", 0.3), 0.7),
    "dqn_mixed": ("cartpole_dqn", (*MIXED, "--freeze", "q_net.q_net.0", "--freeze-until", 80), 0.7),
    "her_mixed": ("walk_her", (*MIXED, "--retain", "bc"), 0.7),
    "ppo_residual": ("cartpole_ppo", (*ON_POLICY, "--residual", "--freeze", "critic", "--freeze-until", 128), 0.7),
    "sac_residual": ("pendulum_sac", (*OFF_POLICY, "--residual"), 0.7),
    "kuka_new_sensors": (
        "kuka_ppo",
        (*ON_POLICY, "--srl-model", "joints_position", "--retain", "l2sp", "--num-timesteps", 192),
        0.7,
    ),
}
WARMING_UP = ("ppo_warming_up", "sac_mixed_kl_warm_up", "tqc_warm_up")
FAST = ("ppo_bc_frozen_until",)
WALK = ("--env", "LoggedWalk-v0", "--gym-packages", "toy_envs", *TINY, "--eval-freq", 0, "--num-timesteps", 60)
SMALL_REPLAY = ("--hyperparam", "learning_starts:25", "batch_size:8", "buffer_size:300")
SOURCES: dict[str, tuple[Any, ...]] = {
    "walk_td3": (*WALK, *SMALL_REPLAY, "noise_type:ornstein-uhlenbeck", "--algo", "td3"),
    "walk_tqc": (*WALK, *SMALL_REPLAY, "--algo", "tqc", "--n-envs", 2),
    "walk_her": (*WALK, *SMALL_REPLAY, "--env", "GoalWalk-v0", "--algo", "sac", "--her", "--n-envs", 2),
}


def source_of(name: str, factory: pytest.TempPathFactory, folder: Path) -> Run:
    """A source of one's own, that can be moved away."""
    if name in SOURCES:
        return call_train(*SOURCES[name], log_dir=folder / "source")[0]
    shared = shared_run(factory, name)
    copied = folder.joinpath("source", *shared.path.parts[-4:])
    shutil.copytree(shared.path, copied, symlinks=True)
    return Run(copied)


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in CASES])
def test_a_killed_and_resumed_fine_tune_equals_one_that_was_not(
    name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source_name, flags, share = CASES[name]
    source = source_of(source_name, tmp_path_factory, tmp_path)
    flags = (LOAD, f"{source.path}@last", *flags)
    whole = train_whole(flags, tmp_path / "whole")
    killed = train_killed(flags, tmp_path / "killed", int(whole.record["timesteps"] * share))
    reached = killed.resumable_steps[-1]
    assert 0 < reached < whole.record["timesteps"]
    freezing = state(killed, reached)["deciders"].get("freezing", {})
    assert freezing.get("is_warming_up", False) == (name in WARMING_UP)
    plans = [run.path / "plan.json" for run in (whole, killed)]
    assert plans[0].read_text() == plans[1].read_text()
    shutil.rmtree(tmp_path / "source")
    out = resume(killed, folder=tmp_path).out
    assert ": exact" in out, out
    assert [entry["exact"] for entry in killed.record["resumes"]] == [True]
    assert_same(killed, whole)
    assert plans[0].read_text() == plans[1].read_text()
    judgements = [(run.path / "comparison.json").read_text() for run in (whole, killed)]
    assert judgements[0] == judgements[1]
    assert (json.loads(judgements[0])["old"] is not None) == ("--env-kwargs" in flags)


QUICK = ("--eval-freq", 0, "--best-by", "train", "--compare-episodes", 0, "--memory-states", 0, "--keep-checkpoints", 0)
ROLLOUTS_OF_16 = ("--hyperparam", "n_steps:8", "--save-interval", 16)


def state(run: Run, step: int | str = "last") -> dict[str, Any]:
    return json.loads((run.checkpoint(step) / "state" / "state.json").read_text())


def acting(run: Run, step: int | str) -> dict[str, Any]:
    return {name: value for name, value in policy(run, step).items() if part_of(name) == "policy"}


def resumed_at(run: Run, step: int, *flags: object) -> str:
    done = call(main, "--resume", f"{run.path}@step:{step}", *flags)
    assert (done.code, done.err) == (0, ""), done.out + done.err
    return done.out


def test_a_longer_run_keeps_the_end_of_its_warm_up(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    source = shared_run(tmp_path_factory, "cartpole_ppo")
    flags = (LOAD, f"{source.path}@last", *QUICK, *ROLLOUTS_OF_16, *OTHER_RETURNS, "--num-timesteps", 320)
    child, _ = call_train(*flags, log_dir=tmp_path)
    assert state(child, 16)["deciders"]["freezing"] == {"is_warming_up": True, "until": 32}
    resumed_at(child, 16, "--num-timesteps", 480)
    assert child.record["steps_planned"] == 480
    for step in (32, 48):
        assert state(child, step)["deciders"]["freezing"] == {"is_warming_up": False, "until": 32}
    assert differences(acting(child, 32), acting(source, "last")) == []
    assert differences(acting(child, 48), acting(source, "last")) == sorted(acting(source, "last"))


@pytest.mark.parametrize("flags", [(), ("--replay-mix", 0.5)])
def test_a_fine_tune_resumed_from_an_earlier_step_repeats_the_rest(
    flags: tuple[object, ...], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = shared_run(tmp_path_factory, "pendulum_sac")
    common = (LOAD, f"{source.path}@last", *QUICK, "--save-interval", 10, "--num-timesteps", 40)
    child, _ = call_train(*common, *flags, log_dir=tmp_path)
    reference = content(child)
    assert "From step 10: exact" in resumed_at(child, 10)
    assert differences(content(child), reference) == []
    assert any(name.startswith("second_replay/") for name in reference) == bool(flags)


def test_a_longer_off_policy_run_keeps_it_too(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Learning starts at step 5, and a tenth of the run later the warm-up ends."""
    source = shared_run(tmp_path_factory, "pendulum_sac")
    flags = (LOAD, f"{source.path}@last", *QUICK, "--save-interval", 5, "--load-parts", "policy")
    child, _ = call_train(*flags, "--num-timesteps", 50, log_dir=tmp_path)
    resumed_at(child, 5, "--num-timesteps", 100)
    assert child.record["timesteps"] == 100
    assert state(child)["deciders"]["freezing"] == {"is_warming_up": False, "until": 10}
    assert differences(acting(child, 10), acting(source, "last")) == []
    assert differences(acting(child, 15), acting(source, "last")) == sorted(acting(source, "last"))


def test_a_run_of_a_version_without_these_settings_goes_on(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its critic is not warmed up, though by now one of other returns would be."""
    source = shared_run(tmp_path_factory, "cartpole_ppo")
    parts = ("--load-parts", "policy,critic,features,optimizer,normalizer", "--critic-warmup", "off", "--norm", "keep")
    flags = (LOAD, f"{source.path}@last", *QUICK, *ROLLOUTS_OF_16, *OTHER_RETURNS, *parts, "--num-timesteps", 96)
    child, _ = call_train(*flags, log_dir=tmp_path)
    reference = content(child)
    make_old(child)
    out = resumed_at(child, 48)
    assert "From step 48: exact" in out, out
    assert differences(content(child), reference) == []
    assert child.record["status"] == "finished" and not (child.path / "plan.json").exists()


def make_old(run: Run) -> None:
    """Leave of a run what a version without frozen parts, warm-ups, retention and plans would have written."""
    new = ("load_parts", "reset_optimizer", "reset_std", "norm", "freeze", "freeze_until", "critic_warmup")
    new += ("replay_mix", "retain", "retain_coef", "retain_decay", "lr_scale", "lr_warmup")
    settings = yaml.safe_load((run.path / "config.yaml").read_text())
    assert set(new) <= settings.keys()
    (run.path / "config.yaml").write_text(yaml.safe_dump({k: v for k, v in settings.items() if k not in new}))
    (run.path / "plan.json").unlink()
    for step in run.resumable_steps:
        folder = run.checkpoint(step)
        path = folder / "state" / "state.json"
        old = json.loads(path.read_text())
        for name in ("freezing", "retention"):
            old["deciders"].pop(name, None)
        path.write_text(json.dumps(old))
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"]["state/state.json"] = {"size": path.stat().st_size, "sha256": hash_of(path)}
        manifest["manifest_sha256"] = _hash_of_manifest(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))
        assert Checkpoint(folder).damage() is None


@pytest.mark.parametrize(
    ("name", "parts", "n_steps"),
    [
        ("pendulum_sac", ("critic",), 20),
        ("pendulum_sac", ("policy", "critic"), 20),
        ("cartpole_dqn", ("policy",), 40),
        ("cartpole_ppo", ("policy", "critic"), 128),
    ],
)
def test_all_that_an_optimiser_trains_can_be_frozen_for_a_while(
    name: str, parts: tuple[str, ...], n_steps: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = shared_run(tmp_path_factory, name)
    until = ("--freeze-until", n_steps, "--num-timesteps", 2 * n_steps, "--save-interval", n_steps)
    flags = (LOAD, f"{source.path}@last", *QUICK, "--new-lr", 0.01, "--freeze", *parts, *until)
    child, _ = call_train(*flags, log_dir=tmp_path)
    start, middle, end = policy(source), policy(child, n_steps), policy(child, 2 * n_steps)
    frozen = {key for key in start if part_of(key) in parts and "target" not in key}
    assert [key for key in frozen if not torch.equal(start[key], middle[key])] == []
    assert [key for key in frozen if torch.equal(middle[key], end[key])] == []
    others = {key for key in start if key not in frozen and "target" not in key}
    assert [key for key in others if torch.equal(start[key], middle[key])] == []
