"""The presets for fine-tuning: each goes on from a tiny parent by the real command and does what it says."""

import json
from pathlib import Path
from typing import Any

import pytest
from cli import Run, call_train, shared_run

from rl_baselines.config_files import preset_names, read_settings

LOAD = "--load-rl-model-path"
CHEAP = ("--eval-freq", 64, "--eval-episodes", 1, "--compare-episodes", 2)
OWN = {"seed", "num_timesteps", "eval_freq", "eval_episodes", "compare_episodes", "load_rl_model_path", "stop_value"}
"""Settings that the tests give, or that no fine-tune takes from its parent."""
SETTLED = {"norm", "critic_warmup", "new_lr", "hyperparam", "replay_mix"}


def plan_of(run: Run) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads((run.path / "plan.json").read_text())
    return plan


def fates(run: Run) -> dict[str, tuple[str, str]]:
    """Fate and reason of each component of the transfer plan."""
    return {row["component"]: (row["fate"], row["reason"]) for row in plan_of(run)["components"]}


def differing(parent: Run, child: Run) -> set[str]:
    """The settings in which a child differs from its parent, without what every fine-tune settles."""
    names = parent.settings.keys() - OWN - SETTLED
    return {name for name in names if child.settings[name] != parent.settings[name]}


def fine_tune(preset: str, parent: Run, folder: Path, *flags: object) -> Run:
    words = (LOAD, f"{parent.path}@last", "--config", preset, "--num-timesteps", 64, *CHEAP, *flags)
    child, _ = call_train(*words, log_dir=folder)
    for name, value in read_settings(preset).items():
        if name not in OWN | {"env_kwargs"}:
            assert child.settings[name] == value, name
    assert f"{child.settings['new_lr']:g}" == f"{plan_of(child)['learning_rate']['rates']['first']:g}"
    return child


def test_longer_changes_nothing_but_how_the_best_model_is_found(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A parent that was never evaluated is no obstacle: the preset asks for evaluations itself."""
    parent = shared_run(tmp_path_factory, "pendulum_sac")
    assert (parent.settings["eval_freq"], parent.settings["best_by"]) == (0, "train")
    words = (
        LOAD,
        f"{parent.path}@last",
        "--config",
        "fine_tune_longer",
        "--num-timesteps",
        60,
        "--compare-episodes",
        0,
    )
    child, _ = call_train(*words, "--eval-episodes", 1, log_dir=tmp_path)
    assert differing(parent, child) == {"best_by"} and child.settings["eval_freq"] is None
    assert len(child.evaluations) == 20
    assert child.settings["new_lr"] == parent.settings["hyperparam"]["learning_rate"] / 100
    assert fates(child)["replay buffer"][0] == "loaded"


@pytest.mark.slow
def test_new_target_draws_it_anew(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    parent = shared_run(tmp_path_factory, "kuka_ppo")
    child = fine_tune("fine_tune_new_target", parent, tmp_path)
    assert differing(parent, child) == {"env_kwargs", "best_by"}
    assert child.settings["env_kwargs"] == {**parent.settings["env_kwargs"], "random_target": True}
    assert plan_of(child)["learning_rate"]["rates"]["first"] == 1e-3
    assert plan_of(child)["learning_rate"]["rule"] == "--config fine_tune_new_target: new_lr"


def test_new_dynamics_appends_to_the_parents_replay_buffer(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parent = shared_run(tmp_path_factory, "pendulum_sac")
    child = fine_tune("fine_tune_new_dynamics", parent, tmp_path, "--env-kwargs", "g:12")
    assert differing(parent, child) == {"env_kwargs", "best_by"}
    assert child.settings["env_kwargs"] == {"g": 12.0}
    assert plan_of(child)["learning_rate"]["rates"]["first"] == 1e-3
    assert fates(child)["replay buffer"][0] == "loaded"
    zero_shot = plan_of(child)["zero_shot"]
    assert zero_shot["new environment"]["mean_reward"] != zero_shot["parent's environment"]["mean_reward"]


def test_new_sensor_starts_as_the_same_policy(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """On the same episodes, with joints to look at beside, it scores as its parent to the last digit."""
    parent = shared_run(tmp_path_factory, "kuka_ppo")
    child = fine_tune("fine_tune_new_sensor", parent, tmp_path)
    assert differing(parent, child) == {"env_kwargs", "srl_model", "best_by"}
    assert child.settings["env_kwargs"]["observation"] == "joints_position"
    assert child.record["environment"]["observation_space"].endswith("(17,), float32)")
    short = ("--num-timesteps", 64, *CHEAP)
    without, _ = call_train(LOAD, f"{parent.path}@last", *short, log_dir=tmp_path / "without the preset")
    assert child.record["comparisons"]["before"] == without.record["comparisons"]["before"]


def test_keep_old_task_holds_on_to_the_parent_and_shows_both_tasks(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parent = shared_run(tmp_path_factory, "kuka_ppo")
    child = fine_tune("fine_tune_keep_old_task", parent, tmp_path, "--random-target")
    assert differing(parent, child) == {"env_kwargs", "retain"}
    assert fates(child)["retention"] == ("bc", "coefficient 0.1, constant")
    assert float(child.progress[-1]["retention/coefficient"]) == 0.1
    assert {"parent, its env", "child, parent's env", "before"} <= child.record["comparisons"].keys()


def test_every_preset_for_fine_tuning_is_tested_here() -> None:
    names = {name for name in preset_names() if name.startswith("fine_tune_")}
    assert names == {
        f"fine_tune_{what}" for what in ("longer", "new_target", "new_dynamics", "new_sensor", "keep_old_task")
    }
