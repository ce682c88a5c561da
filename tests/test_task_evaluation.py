"""``--perform-cross-evaluation-cc``: evaluations on several tasks while a run trains on one."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import TINY, Run, call, call_train, differences, read_csv
from resuming import assert_same, resume, train_killed
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rl_baselines.evaluation import EvaluationResult
from rl_baselines.evaluations_file import EvaluationsFile, read_task_evaluations, task_figures
from rl_baselines.live.board import Board
from rl_baselines.live.events import Scalars
from rl_baselines.live.history import events_of
from rl_baselines.live.panels import panels, panels_with
from rl_baselines.plots import RunRecords, learning_curve, read_evaluations
from rl_baselines.run_folder import RunFolder
from rl_baselines.train import main

PLAIN: tuple[Any, ...] = (
    *("--env", "OmnirobotEnv-v0", "-cc", "--env-kwargs", "max_steps:12", "--n-envs", 2, *TINY, "--seed", 3),
    *("--hyperparam", "n_steps:16", "n_epochs:1", "--num-timesteps", 256, "--save-interval", 64),
    *("--keep-checkpoints", 0, "--eval-freq", 96, "--eval-episodes", 2, "--min-episodes-save", 2, "--no-vis"),
)
CROSS = (*PLAIN, "--perform-cross-evaluation-cc", "--eval-episode-window", 6)
COLUMNS = [
    *("timesteps", "mean_reward", "std_reward", "reward_low", "reward_high", "success_rate", "success_low"),
    *("success_high", "mean_length", "n_episodes"),
    *(f"{task}/{name}" for task in ("reach", "circle", "square")
      for name in ("mean_reward", "reward_low", "reward_high", "success_rate")),
]  # fmt: skip


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return call_train(*CROSS, log_dir=tmp_path_factory.mktemp("crossed"))[0]


def test_it_changes_nothing_of_the_training(crossed: Run, tmp_path: Path) -> None:
    """Parameters, optimisers, episodes and the run's own evaluations are the same to the last bit without it."""
    plain, _ = call_train(*PLAIN, log_dir=tmp_path)
    for name in ("best", "last", 64):
        assert differences(plain.tensors(name), crossed.tensors(name)) == []
    assert plain.rewards == crossed.rewards
    own = [{name: row[name] for name in COLUMNS[:10]} for row in crossed.evaluations if row["mean_reward"]]
    assert own == plain.evaluations and list(plain.evaluations[0]) == COLUMNS[:10]


def test_every_window_of_episodes_gives_a_row(crossed: Run) -> None:
    """Two environments end an episode every 13 steps: 6 have ended by step 96, 12 by 160, 18 by 256, where all ends."""
    header = (crossed.path / "evaluations.csv").read_text().splitlines()[0]
    assert header.split(",") == COLUMNS
    rows = crossed.evaluations
    on_tasks = [row for row in rows if not row["mean_reward"]]
    assert [int(row["timesteps"]) for row in on_tasks] == [96, 160, 256]
    assert [int(row["timesteps"]) for row in rows if row["mean_reward"]] == [96, 192, 256]
    for row in on_tasks:
        assert all(float(row[f"{task}/mean_reward"]) for task in ("reach", "circle", "square"))
        assert row["reach/success_rate"] and not row["circle/success_rate"] and not row["n_episodes"]
        assert float(row["reach/reward_low"]) <= float(row["reach/mean_reward"]) <= float(row["reach/reward_high"])


def test_the_own_task_scores_as_in_the_own_evaluation(crossed: Run) -> None:
    """At step 96 both are due, on the same seeds and in the same task."""
    rows = [row for row in crossed.evaluations if row["timesteps"] == "96"]
    on_tasks, own = rows
    assert own["mean_reward"] == on_tasks["circle/mean_reward"]


def test_tensorboard_and_progress_have_them(crossed: Run) -> None:
    events = EventAccumulator(str(crossed.path / "tensorboard")).Reload()
    told = events.Scalars("eval/square/mean_reward")
    rows = [row for row in crossed.evaluations if not row["mean_reward"]]
    assert [event.value for event in told] == pytest.approx([float(row["square/mean_reward"]) for row in rows])
    figures = [row["eval/square/mean_reward"] for row in crossed.progress if row["eval/square/mean_reward"]]
    assert figures == [row["square/mean_reward"] for row in rows]


def test_every_reader_copes_with_both_kinds_of_rows(crossed: Run, tmp_path: Path) -> None:
    table = read_evaluations(crossed.path / "evaluations.csv")
    assert table["timesteps"].tolist() == [96, 192, 256] and table["mean_reward"].notna().all()
    learning_curve(RunRecords("x", crossed.path / "monitor", crossed.path / "evaluations.csv"), tmp_path / "curve.png")
    assert [steps for steps, _ in read_task_evaluations(crossed.path / "evaluations.csv")] == [96, 160, 256]


def test_the_live_view_shows_a_line_for_each_task(crossed: Run) -> None:
    board = Board(events_of(RunFolder(crossed.path)))
    panel = next(panel for panel in panels(board) if panel.key == "tasks")
    assert [trace.name for trace in panel.traces] == ["reach", "circle", "square"]
    assert len({trace.colour for trace in panel.traces}) == 3
    rows = [row for row in crossed.evaluations if not row["mean_reward"]]
    for trace in panel.traces:
        assert trace.x.tolist() == [96, 160, 256]
        assert trace.y.tolist() == [float(row[f"{trace.name}/mean_reward"]) for row in rows]
        assert trace.low is not None and trace.low.tolist() == [float(row[f"{trace.name}/reward_low"]) for row in rows]
    own = next(panel for panel in panels(board) if panel.key == "evaluation")
    assert own.traces[0].x.tolist() == [96, 192, 256]


def test_only_the_panel_of_tasks_changes_with_them() -> None:
    assert panels_with({"eval/circle/mean_reward"}) == {"tasks"}
    assert "tasks" not in panels_with({"eval/mean_reward", "parent/eval/mean_reward", "eval/circle/success_rate"})
    assert not [panel for panel in panels(Board([Scalars(1, {"eval/mean_reward": 1.0})])) if panel.key == "tasks"]


@pytest.mark.slow
def test_a_killed_and_resumed_run_has_the_same_rows(crossed: Run, tmp_path: Path) -> None:
    """Killed after the second evaluation on tasks was recorded and before the next checkpoint, as if never stopped."""
    killed = train_killed((*CROSS, "--gym-packages", "killer"), tmp_path / "killed", kill_at_step=186)
    assert killed.record["status"] == "running" and killed.resumable_steps[-1] < 186
    assert "exact" in resume(killed, folder=tmp_path).out
    whole, _ = call_train(*CROSS, "--gym-packages", "killer", log_dir=tmp_path / "whole")
    assert_same(killed, whole)
    assert whole.evaluations == crossed.evaluations


def test_tasks_and_window_can_be_named(tmp_path: Path) -> None:
    flags = ("--perform-cross-evaluation-cc", "--cross-tasks", "ec", "cc,max_steps:5", "--eval-freq", 0)
    run, done = call_train(*PLAIN, *flags, "--num-timesteps", 64, log_dir=tmp_path)
    assert "every 400 training episodes" in done.out
    (row,) = run.evaluations  # at the end
    assert list(row)[10::4] == ["eight/mean_reward", "circle,max_steps:5/mean_reward"]
    assert row["timesteps"] == "64" and row["mean_reward"] == "" and row["eight/mean_reward"]


def test_a_child_does_not_inherit_it(crossed: Run, tmp_path: Path) -> None:
    child, _ = call_train(
        *("--load-rl-model-path", f"{crossed.path}@last", "--num-timesteps", 32, "--compare-episodes", 0, "--no-vis"),
        log_dir=tmp_path,
    )
    assert child.settings["perform_cross_evaluation_cc"] is False and child.settings["cross_tasks"] == []


BAD: list[tuple[tuple[object, ...], str]] = [
    (("--eval-episode-window", 9), "--eval-episode-window is of the evaluation on several tasks: give "
                                   "--perform-cross-evaluation-cc too"),
    (("--cross-tasks", "cc"), "--cross-tasks is of the evaluation on several tasks: give --perform-cross-evaluation-cc "
                              "too"),
    (("--perform-cross-evaluation-cc", "--eval-episode-window", 0), "--eval-episode-window must be at least 1, got 0"),
    (("--perform-cross-evaluation-cc", "--env", "MobileRobotGymEnv-v0"),
     "--perform-cross-evaluation-cc: the policy cannot act in the task cc: MobileRobotGymEnv-v0 has no task circle; it "
     "has reach; name others by --cross-tasks"),
    (("--perform-cross-evaluation-cc", "--env", "CartPole-v1"),
     "--perform-cross-evaluation-cc: the policy cannot act in the task sc: CartPole-v1 has no task reach; name others "
     "by --cross-tasks"),
    (("--perform-cross-evaluation-cc", "--env", "OmnirobotEnv-v0", "--cross-tasks", "esc"),
     "--perform-cross-evaluation-cc: the policy cannot act in the task esc: it observes 2 numbers, and the task gives "
     "4 numbers; name others by --cross-tasks"),
    (("--perform-cross-evaluation-cc", "--cross-tasks", "circel"), "unknown task 'circel'; did you mean 'circle'?"),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "message"), BAD)
def test_mistakes(flags: tuple[object, ...], message: str, tmp_path: Path) -> None:
    """One line, and no folder is left behind."""
    done = call(main, *flags, "--no-vis", "--log-dir", tmp_path)
    assert (done.code, done.err) == (2, f"error: {message}\n")
    assert not list(tmp_path.glob("*/*/*/*"))


def test_the_file_has_its_header_from_the_first_row(tmp_path: Path) -> None:
    path = tmp_path / "evaluations.csv"
    file = EvaluationsFile(path, ("circle", "a,b"))
    result = EvaluationResult(np.array([1.0, 3.0]), np.array([5, 5]), None, (1, 2))
    file.append(10, task_figures({"circle": result, "a,b": result}))
    EvaluationsFile(path, ("circle", "a,b")).append(20, result.summary())
    with open(path, newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [row["circle/mean_reward"] for row in rows] == ["2.0", ""]
    assert [row["mean_reward"] for row in rows] == ["", "2.0"] and rows[0]["a,b/success_rate"] == ""
    with open(path, "a") as opened:
        opened.write("30,,,,,,,,,,4.0")
    assert [steps for steps, _ in read_task_evaluations(path)] == [10]
    assert not list(read_task_evaluations(tmp_path / "none.csv")) and len(read_csv(path)) == 3
