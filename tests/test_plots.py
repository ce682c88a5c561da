"""Curves show the numbers that stand in the records, however few there are."""

import csv
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from PIL import Image
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor, load_results
from stable_baselines3.common.vec_env import DummyVecEnv

from rl_baselines.evaluation import EvaluationResult
from rl_baselines.plots import (
    EVALUATION_COLUMNS,
    RunRecords,
    compare_curves,
    learning_curve,
    moving_average,
    read_episodes,
    read_evaluations,
)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: Any, **kwargs: Any) -> None:
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def write_monitor(path: Path, start_s: float, rows: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([f'#{{"t_start": {start_s}, "env_id": "X"}}', "r,l,t", *rows, ""]))


def summary(success_rate: float | None, reward: float = 1.0) -> dict[str, float | int | None]:
    successes = None if success_rate is None else np.arange(10) < 10 * success_rate
    rewards = np.linspace(reward - 1, reward + 1, 10)
    return EvaluationResult(rewards, np.full(10, 7), successes, tuple(range(10))).summary()


def write_evaluations(path: Path, rows: list[dict[str, Any]]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, EVALUATION_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def make_run(folder: Path, success_rate: float | None = 0.4, n_evaluations: int = 2, **scores: Any) -> RunRecords:
    """Ten episodes of 10 steps with rewards 0 to 9 from two envs, and evaluations at 50, 100, ..."""
    write_monitor(folder / "monitor" / "0.monitor.csv", 1000.0, [f"{i},10,{i}" for i in range(0, 10, 2)])
    write_monitor(folder / "monitor" / "1.monitor.csv", 1000.5, [f"{i},10,{i - 0.5}" for i in range(1, 10, 2)])
    rows = [{"timesteps": 50 * (i + 1), **summary(success_rate, float(i))} for i in range(n_evaluations)]
    write_evaluations(folder / "evaluations.csv", rows)
    return RunRecords(folder.name, folder / "monitor", folder / "evaluations.csv", **scores)


def assert_is_picture(path: Path) -> None:
    image = np.asarray(Image.open(path).convert("RGB"))
    assert image.shape[1] > 600
    assert image.mean() > 200
    assert image.min() < 60
    assert [file.name for file in path.parent.iterdir() if file.suffix != ".csv" and file.is_file()] == [path.name]


def test_moving_average_by_hand() -> None:
    np.testing.assert_allclose(moving_average(np.array([3, 1, 2, 6, 4]), 3), [3, 2, 2, 3, 4])
    assert moving_average(np.zeros(0), 3).shape == (0,)


def test_episodes_of_all_envs_are_merged_by_the_time_they_ended(tmp_path: Path) -> None:
    write_monitor(tmp_path / "0.monitor.csv", 100.0, ["1.5,10,1.0", "2.5,20,5.0"])
    write_monitor(tmp_path / "1.monitor.csv", 102.0, ["-1,5,0.5", "3,7,9"])
    write_monitor(tmp_path / "2.monitor.csv", 90.0, [])
    (tmp_path / "3.monitor.csv").write_text("")
    episodes = read_episodes(tmp_path)
    assert episodes.rewards.tolist() == [1.5, -1.0, 2.5, 3.0]
    assert episodes.timesteps.tolist() == [10, 15, 35, 42]


def test_a_line_cut_short_and_additional_columns_do_no_harm(tmp_path: Path) -> None:
    write_monitor(tmp_path / "0.monitor.csv", 100.0, ["1.5,10,1.0,True", "2.5,20,5.0,False", "3.5,3"])
    assert read_episodes(tmp_path).timesteps.tolist() == [10, 30]


def test_reads_what_monitor_writes(tmp_path: Path) -> None:
    def make(i: int) -> Monitor:
        return Monitor(gym.make("CartPole-v1"), str(tmp_path / "monitor" / str(i)))

    env = DummyVecEnv([lambda i=i: make(i) for i in range(2)])  # type: ignore[misc]
    PPO("MlpPolicy", env, n_steps=128, batch_size=64, n_epochs=1, seed=0, device="cpu").learn(512)
    env.close()
    episodes = read_episodes(tmp_path / "monitor")
    reference = load_results(str(tmp_path / "monitor"))
    assert len(episodes.rewards) > 5
    assert sorted(episodes.rewards) == sorted(reference["r"])
    assert (np.diff(episodes.timesteps) > 0).all()
    assert 512 - 2 * 500 < episodes.timesteps[-1] <= 512


def test_evaluations_without_success_have_no_figure_there(tmp_path: Path) -> None:
    rows = [{"timesteps": 100, **summary(0.3)}, {"timesteps": 50, **summary(None)}]
    write_evaluations(tmp_path / "evaluations.csv", rows)
    table = read_evaluations(tmp_path / "evaluations.csv")
    assert table["timesteps"].tolist() == [50, 100]
    assert np.isnan(table["success_rate"][0])
    assert table["success_rate"][1] == 0.3
    assert set(table.dtypes) == {np.dtype(float)}
    assert read_evaluations(tmp_path / "missing.csv").empty


def test_learning_curve_draws_the_records(tmp_path: Path, drawn: list[Figure]) -> None:
    records = make_run(tmp_path / "run", after=summary(0.9))
    learning_curve(records, tmp_path / "plots" / "curve.png", 2)
    reward_axes, success_axes = drawn[0].axes
    episodes, average, evaluations = reward_axes.lines[:3]
    assert episodes.get_xdata().tolist() == list(range(10, 110, 10))
    assert episodes.get_ydata().tolist() == list(range(10))
    assert average.get_ydata().tolist() == [0, *np.arange(0.5, 9)]
    assert np.asarray(evaluations.get_xdata()).tolist() == [50, 100]
    assert np.asarray(evaluations.get_ydata()) == pytest.approx([0, 1])
    assert np.asarray(success_axes.lines[0].get_ydata()).tolist() == [0.4, 0.4]
    assert success_axes.texts[0].get_text() == "after 90%"
    assert success_axes.get_xlabel() == "environment timesteps"
    assert drawn[0].get_suptitle() == "run"
    assert_is_picture(tmp_path / "plots" / "curve.png")
    assert pyplot.get_fignums() == []


def test_the_child_begins_where_its_parent_ended(tmp_path: Path, drawn: list[Figure]) -> None:
    parent = make_run(tmp_path / "parent", n_evaluations=3)
    child = make_run(tmp_path / "child", before=summary(0.1), after=summary(0.9, 3.0))
    compare_curves([parent, child], tmp_path / "curves.png", 2)
    reward_axes, success_axes = drawn[0].axes
    starts = [line.get_xdata()[0] for line in reward_axes.lines if line.get_linestyle() == "None" and line.get_alpha()]
    assert starts == [10, 160]
    assert [text.get_text() for text in success_axes.texts] == ["before 10%", "after 90%"]
    assert [text.xy[0] for text in success_axes.texts] == [150, 250]
    assert [text.get_text() for text in reward_axes.texts] == ["before 1", "after 3"]
    labels = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert "child: evaluation with 95 % interval" in labels
    assert labels.count("hand-over to the next run") == 1
    assert_is_picture(tmp_path / "curves.png")


@pytest.mark.parametrize("n_evaluations", [0, 1])
def test_without_successes_there_is_one_panel(tmp_path: Path, drawn: list[Figure], n_evaluations: int) -> None:
    learning_curve(make_run(tmp_path / "run", None, n_evaluations), tmp_path / "curve.png")
    assert len(drawn[0].axes) == 1
    assert_is_picture(tmp_path / "curve.png")


@pytest.mark.parametrize("has_files", [False, True])
def test_a_run_without_episodes_says_so(tmp_path: Path, drawn: list[Figure], has_files: bool) -> None:
    if has_files:
        write_monitor(tmp_path / "run" / "monitor" / "0.monitor.csv", 100.0, [])
        write_evaluations(tmp_path / "run" / "evaluations.csv", [])
    empty = RunRecords("run", tmp_path / "run" / "monitor", tmp_path / "run" / "evaluations.csv")
    learning_curve(empty, tmp_path / "curve.png")
    assert drawn[0].axes[0].texts[0].get_text() == "no episode has ended yet"
    compare_curves([empty, make_run(tmp_path / "child")], tmp_path / "curve.png")
    assert len(drawn[1].axes) == 2
    assert_is_picture(tmp_path / "curve.png")


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "curve.png").write_bytes(b"old")

    def fail(figure: Figure, file: Path, **_: Any) -> None:
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        learning_curve(make_run(tmp_path / "run"), tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.png", "run"]
