"""What is kept of a run that is watched, and which plots it gives."""

import json

import numpy as np
import pytest

from rl_baselines.live.board import Board
from rl_baselines.live.events import Event, Matrix, Path, Picture, Scalars, Text
from rl_baselines.live.panels import PANELS, compared, panels, panels_with
from rl_baselines.live.series import Band, Series
from rl_baselines.live.windows import window_keys, windows


def series_of(values: list[float], capacity: int = 20_000) -> Series:
    series = Series(capacity)
    for i, value in enumerate(values):
        series.add(10 * i, value)
    return series


def test_a_series_stays_within_its_bound_and_loses_no_peak() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 1, 50_000)
    values[[3, 20_001, 49_000]] = 7.0, -5.0, 9.0
    series = series_of(values.tolist(), capacity=1000)
    x, y = series.points()
    assert 400 <= len(series) < 1000 and len(x) == len(y) == len(series)
    assert {7.0, -5.0, 9.0} <= set(y) and (np.diff(x) > 0).all()
    assert (x[0], x[-1]) == (0, 499_990) and dict(zip(x, y, strict=True))[490_000] == 9.0


def test_what_is_shown_of_a_series_has_its_ends_and_extremes() -> None:
    values = np.sin(np.arange(3000) / 50)
    values[[777, 1500]] = np.nan, 40.0
    x, y = series_of(values.tolist()).extremes(100)
    assert len(x) <= 100 and (x[0], x[-1]) == (0, 29_990) and np.nanmax(y) == 40.0 and np.nanmin(y) == np.nanmin(values)
    short = series_of([1.0, np.inf, np.nan])
    assert np.array_equal(short.extremes(100)[1], [1.0, np.inf, np.nan], equal_nan=True)
    assert series_of([np.nan] * 200).extremes(50)[0].tolist() == [0, 1990]


def test_averages_are_of_each_value_and_those_before_it() -> None:
    x, y = series_of([1.0, 2.0, np.nan, 6.0, 0.0]).average(2)
    assert (x.tolist(), y.tolist()) == ([0, 10, 30, 40], [1.0, 1.5, 4.0, 3.0])
    assert series_of([]).average(3)[0].tolist() == []
    assert len(series_of(list(range(5000))).average(10)[0]) == 500


def test_bands_are_means_and_deviations_of_stretches() -> None:
    band: Band = series_of([0.0, 2.0, 4.0, 10.0, 10.0, 10.0]).band()
    assert (band.x.tolist(), band.mean.tolist()) == ([10, 40], [2.0, 10.0])
    assert band.std.tolist() == pytest.approx([(8 / 3) ** 0.5, 0.0])
    assert series_of([np.inf]).band().x.tolist() == []


EVENTS: list[Event] = [
    Scalars(-50, {"parent/eval/mean_reward": 3.0, "parent/episode/reward": 2.0}),
    Scalars(100, {"rollout/ep_rew_mean": 1.0, "train/value_loss": 10.0, "train/entropy_loss": -1.4, "time/fps": 900}),
    Scalars(120, {"eval/mean_reward": 5.0, "eval/reward_low": 4.0, "eval/reward_high": 6.0, "eval/success_rate": 0.5}),
    Scalars(130, {"episode/reward": 4.0}),
    Scalars(200, {"rollout/ep_rew_mean": 2.0, "train/value_loss": 0.0, "train/entropy_loss": -1.2, "time/fps": np.inf}),
    Text("Settings", "<b>env</b>: &"),
    Matrix("Parent and child: success", "share", ("parent", "child"), ("old", "new"), np.array([[1, 0], [np.nan, 1]])),
    Path(120, np.array([[0.0, 0.0], [1.0, 2.0]]), np.array([[3.0, 3.0]])),
    Picture(120, np.full((4, 6, 3), 200, np.uint8)),
]


def test_panels_say_what_they_show() -> None:
    shown = {panel.key: panel for panel in panels(Board(EVENTS, episode_window=7))}
    assert list(shown) == [
        *("reward", "reward_smoothed", "episodes", "evaluation", "success", "value_loss", "entropy", "speed")
    ]
    assert all(panel.title and panel.x_label.startswith("environment timesteps") for panel in shown.values())
    assert shown["entropy"].traces[0].y.tolist() == [1.4, 1.2] and shown["entropy"].y_label == "nats"
    assert shown["value_loss"].log and shown["success"].share and not shown["reward"].log
    evaluation = shown["evaluation"]
    parent, own = evaluation.traces
    assert (parent.name, parent.x.tolist(), parent.style) == ("parent's evaluation", [-50], "dashed")
    assert (own.x.tolist(), own.low.tolist(), own.high.tolist()) == ([120], [4.0], [6.0])  # type: ignore[union-attr]
    assert evaluation.hand_over and evaluation.x_label.endswith("(0: hand-over from the parent)")
    assert [trace.name for trace in shown["episodes"].traces] == ["parent, mean of 7", "episode", "mean of 7"]
    assert not shown["reward"].hand_over


EVALUATED = ("mean_reward", "reward_low", "reward_high")


def test_tasks_have_a_line_each_in_the_order_in_which_they_were_told() -> None:
    told = {"distillation/agreement": 0.7, "distillation/agreement/reach": 0.9, "distillation/agreement/circle": 0.5}
    evaluated = {"eval/reach/mean_reward": 3.0, "eval/reach/reward_low": 2.0, "eval/reach/reward_high": 5.0}
    board = Board(
        [Scalars(10, told), Scalars(20, {**evaluated, "eval/mean_reward": 9.0, "eval/square/mean_reward": 1})]
    )
    shown = {panel.key: panel for panel in panels(board)}
    assert list(shown) == ["evaluation", "tasks", "agreement"]
    assert [(trace.name, trace.y.tolist()) for trace in shown["agreement"].traces] == [
        *(("all", [0.7]), ("reach", [0.9]), ("circle", [0.5]))
    ]
    assert shown["agreement"].share and not shown["tasks"].share
    reach, square = shown["tasks"].traces
    assert (reach.name, reach.low.tolist(), reach.high.tolist()) == ("reach", [2.0], [5.0])  # type: ignore[union-attr]
    assert (square.name, square.low) == ("square", None)
    assert panels_with({"eval/reach/mean_reward"}) == {"tasks"}
    both = Board([Scalars(0, {f"eval/{task}/{end}": 1.0 for task in "ab" for end in EVALUATED})])
    ((_, window),) = windows(both, {"tasks"})
    assert [(part["name"], part["showlegend"]) for part in window["data"]] == [
        *(("95 % interval", True), ("a", True), ("95 % interval", False), ("b", True))
    ]
    assert panels_with({"distillation/agreement"}) == {"agreement"}


def test_figures_that_stand_in_no_panel_change_none() -> None:
    assert panels_with({"train/n_updates"}) == set()
    assert panels_with({"rollout/ep_rew_mean", "parent/eval/mean_reward"}) == {
        *("reward", "reward_smoothed", "evaluation")
    }


def test_windows_are_json_that_plotly_and_visdom_take() -> None:
    board = Board(EVENTS)
    keys = window_keys(board)
    assert keys[: len(PANELS)] == list(PANELS)
    assert keys[len(PANELS) :] == ["matrix/Parent and child: success", "path", "picture", "text/Settings"]
    found = dict(windows(board, keys))
    json.dumps(found, allow_nan=False)
    assert found["value_loss"]["data"][0]["y"] == [10.0, None]  # 0 has no logarithm
    assert found["speed"]["data"][0]["y"] == [900.0, None]
    assert found["value_loss"]["layout"]["yaxis"]["type"] == "log"
    assert found["success"]["layout"]["yaxis"]["tickformat"] == ".0%"
    band, line = found["evaluation"]["data"][1:]
    assert (band["x"], band["y"], band["fill"], band["name"]) == ([120, 120], [6, 4], "toself", "95 % interval")
    assert (line["x"], line["y"], line["line"]["color"]) == ([120.0], [5.0], "rgba(31,95,168,1)")
    assert found["evaluation"]["layout"]["shapes"][0]["x0"] == 0
    assert found["episodes"]["data"][1]["marker"]["color"] == "rgba(31,95,168,0.3)"
    heat_map = found["matrix/Parent and child: success"]["data"][0]
    assert (heat_map["z"], heat_map["y"]) == ([[1.0, 0.0], [None, 1.0]], ["parent", "child"])
    assert heat_map["text"] == [["1", "0"], ["", "1"]]
    path = found["path"]
    assert path["layout"]["yaxis"]["scaleanchor"] == "x" and path["layout"]["xaxis"]["title"]["text"].startswith(
        "x in metres"
    )
    assert [(part["name"], part["x"]) for part in path["data"]] == [
        *(("path", [0.0, 1.0]), ("start", [0.0]), ("end", [1.0]), ("target", [3.0]))
    ]
    assert found["picture"]["data"][0]["content"]["src"].startswith("data:image/png;base64,iVBOR")
    assert "&lt;b&gt;env&lt;/b&gt;: &amp;" in found["text/Settings"]["data"][0]["content"]
    assert all(window["opts"]["title"] for window in found.values())


def test_only_what_is_asked_for_is_made() -> None:
    assert [key for key, _ in windows(Board(EVENTS), {"reward", "text/Settings", "length"})] == [
        *("reward", "text/Settings")
    ]


def test_nothing_is_shown_of_a_run_of_which_nothing_is_known() -> None:
    assert window_keys(Board()) == list(PANELS) and not list(windows(Board(), PANELS))


def test_runs_that_are_compared_differ_in_colour() -> None:
    other = [Scalars(50, {"eval/mean_reward": 9.0, "eval/success_rate": 1.0, "rollout/success_rate": 0.5})]
    found = {panel.key: panel for panel in compared({"a": Board(EVENTS), "b": Board(other)})}
    lines = {trace.name: trace for trace in found["evaluation"].traces}
    assert list(lines) == ["a: evaluation", "b: evaluation"]  # not the parent's, it was trained by another run
    assert (lines["a: evaluation"].x.tolist(), lines["b: evaluation"].y.tolist()) == ([120], [9.0])
    assert lines["a: evaluation"].colour != lines["b: evaluation"].colour
    success = found["success"].traces
    assert [(trace.name, trace.style) for trace in success] == [
        *(("a: evaluation", "line"), ("b: evaluation", "line"), ("b: training", "dashed"))
    ]
    assert not found["evaluation"].hand_over and found["evaluation"].x_label == "environment timesteps"
    assert [trace.name for trace in found["reward"].traces] == ["a: training"]
