"""The demonstration: its presets, its verdict and its exit codes; the trainings themselves are played by a stand-in."""

import datetime
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl_baselines import demonstration, train
from rl_baselines.config import to_flat
from rl_baselines.config_files import read_settings
from rl_baselines.demonstration import Commands, Score, missed_thresholds
from rl_baselines.evaluation import EvaluationResult
from rl_baselines.run_folder import RunFolder, newest_run
from rl_baselines.schedules import LearningRateSchedule
from rl_baselines.train import plan_from

PARENT, ZERO_SHOT, CHILD = Score(0.98, 0.9, 1.0, 50), Score(0.2, 0.11, 0.33, 50), Score(0.96, 0.87, 0.99, 50)
LEVELS = ("KukaButtonGymEnv-v0", "ground_truth", "ppo")


def summary_of(n_successes: int) -> dict[str, Any]:
    """The figures that `enjoy --json` prints for 50 episodes."""
    successes = np.arange(50) < n_successes
    return EvaluationResult(5.0 * successes, np.full(50, 90), successes, tuple(range(50))).summary()


class StandIn:
    """Plays the commands: a training makes a run folder, an evaluation gives the next of the scores."""

    def __init__(self, log_dir: Path, n_successes: Sequence[int]) -> None:
        self.log_dir, self.n_successes = log_dir, list(n_successes)
        self.typed: list[list[str]] = []
        self.made: list[Path] = []

    def call(self, module: str, arguments: Sequence[str]) -> None:
        assert module == "rl_baselines.train"
        self.typed.append([module, *arguments])
        now = datetime.datetime(2030, 1, 1, 12, 0, len(self.typed))
        folder = RunFolder.create(self.log_dir, LEVELS, now)
        folder.write_record({"id": folder.run_id, "started": now.isoformat()})
        folder.unlock()
        self.made.append(folder.path)

    def measure(self, arguments: Sequence[str]) -> dict[str, Any]:
        self.typed.append(["rl_baselines.enjoy", *arguments])
        return summary_of(self.n_successes.pop(0))

    def run(self) -> int:
        return demonstration.command(["--log-dir", str(self.log_dir), "--seed", "3"], Commands(self.call, self.measure))


def test_all_thresholds_met() -> None:
    assert list(missed_thresholds(PARENT, ZERO_SHOT, CHILD)) == []


def test_thresholds_are_reached_by_equality() -> None:
    parent, child = Score(0.9, 0.79, 0.96, 50), Score(0.8, 0.67, 0.89, 50)
    assert list(missed_thresholds(parent, ZERO_SHOT, child)) == []


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (
            (Score(0.88, 0.76, 0.94, 50), ZERO_SHOT, CHILD),
            "the parent succeeds in 88 % [76, 94] of 50 episodes, at least 90 % are needed",
        ),
        (
            (PARENT, ZERO_SHOT, Score(0.78, 0.65, 0.87, 50)),
            "the child succeeds in 78 % [65, 87] of 50 episodes, at least 80 % are needed",
        ),
        (
            (PARENT, Score(0.8, 0.67, 0.89, 50), CHILD),
            "the child's success, 96 % [87, 99] of 50 episodes, is not clearly above the parent's without fine-tuning, "
            "80 % [67, 89] of 50 episodes",
        ),
    ],
)
def test_each_missed_threshold_is_named(scores: tuple[Score, Score, Score], expected: str) -> None:
    assert list(missed_thresholds(*scores)) == [expected]


def test_touching_intervals_are_not_clearly_above() -> None:
    assert len(list(missed_thresholds(PARENT, Score(0.7, 0.56, CHILD.success_low, 50), CHILD))) == 1


def test_it_types_what_a_user_would_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stand_in = StandIn(tmp_path, [50, 12, 48])
    assert stand_in.run() == 0
    parent, child = map(str, stand_in.made)
    common = ["--seed", "3", "--log-dir", str(tmp_path)]
    new_lr = ["--new-lr", demonstration.NEW_LR]
    assert stand_in.typed == [
        ["rl_baselines.train", "--config", "kuka_button_ppo", *common],
        ["rl_baselines.enjoy", parent],
        ["rl_baselines.enjoy", parent, "--random-target"],
        [
            *("rl_baselines.train", "--load-rl-model-path", parent, "--random-target", *new_lr),
            *("--config", "kuka_button_random_target", *common),
        ],
        ["rl_baselines.enjoy", child, "--video", f"{child}/videos/demonstration.gif"],
    ]
    assert str(newest_run(tmp_path).path) == child
    printed = capsys.readouterr().out
    assert "100 % [93, 100] of 50 episodes" in printed
    assert "24 % [14, 37] of 50 episodes" in printed
    assert printed.endswith("every threshold is met\n")


def test_the_picture_lies_in_the_childs_folder(tmp_path: Path) -> None:
    stand_in = StandIn(tmp_path, [50, 12, 48])
    stand_in.run()
    picture = stand_in.made[1] / "plots" / "demonstration.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_missed_threshold_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert StandIn(tmp_path, [50, 12, 39]).run() == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "missed:  the child succeeds in 78 % [65, 87] of 50 episodes, at least 80 % are needed"


def test_the_parents_preset_resolves_to_what_it_says() -> None:
    settings = read_settings(demonstration.PARENT_PRESET)
    plan, _ = plan_from({"config": (demonstration.PARENT_PRESET,)})
    flat = to_flat(plan.config)
    for name, value in settings.items():
        if isinstance(value, dict):
            assert value.items() <= flat[name].items()
        else:
            assert flat[name] == value
    assert plan.steps_planned == settings["num_timesteps"]


def test_the_childs_preset_goes_on_from_the_parents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["--num-timesteps", "8", "--num-cpu", "1", "--n-envs", "1", "--eval-freq", "0", "--best-by", "train"]
    tiny += ["--hyperparam", "n_steps:8", "batch_size:8", "--log-dir", str(tmp_path)]
    assert train.main(["--config", demonstration.PARENT_PRESET, *tiny]) == 0, capsys.readouterr().err
    parent = newest_run(tmp_path)
    given = {"config": (demonstration.CHILD_PRESET,), "load_rl_model_path": str(parent.path)}
    plan, _ = plan_from({**given, "random_target": True, "new_lr": float(demonstration.NEW_LR)})
    settings, parents = read_settings(demonstration.CHILD_PRESET), read_settings(demonstration.PARENT_PRESET)
    kwargs = plan.config.environment.env_kwargs
    assert kwargs == {**parents["env_kwargs"], "random_target": True, "observation": "ground_truth"}
    assert plan.config.algorithm.hyperparam["use_sde"] is True
    assert plan.config.training.num_timesteps == settings["num_timesteps"]
    assert plan.learning_rate.schedule == LearningRateSchedule(1e-3, "linear")
    assert plan.learning_rate.reason == "flags: new_lr"


def test_a_command_that_fails_ends_it_with_its_code(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert demonstration.main(["--log-dir", str(tmp_path / "file")]) == 2
    out, err = capfd.readouterr()
    assert f"$ python -m rl_baselines.train --config kuka_button_ppo --seed 0 --log-dir {tmp_path}/file" in out
    assert err.splitlines()[-1] == "the demonstration ends here: rl_baselines.train ended with exit code 2"


def test_a_wrong_flag_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert demonstration.main(["--sed", "1"]) == 2
    assert capsys.readouterr().err == "error: unknown flag '--sed'; did you mean --seed?\n"


@pytest.mark.slow
def test_ctrl_c_stops_the_training_and_the_demonstration(tmp_path: Path) -> None:
    argv = [sys.executable, "-u", "-m", "rl_baselines.demonstration", "--log-dir", str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(argv, env=environment, start_new_session=True, **pipes) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("│ folder"):  # the last row of the start table
                break
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 75, out + err
    assert "Traceback" not in out + err
    assert newest_run(tmp_path).pointed("last") is not None
