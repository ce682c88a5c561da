"""Learning curves of runs, drawn from the records that a run leaves: monitor files and evaluations."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import EngFormatter, PercentFormatter

from rl_baselines.evaluations_file import EVALUATION_COLUMNS

RUN_COLOURS = ("#1f5fa8", "#d95f02", "#2a8a57", "#8e44ad", "#8c6d1f")
DOTS_COLOUR = "#9aa5b1"

Summary = Mapping[str, float | int | None]


@dataclass(frozen=True)
class RunRecords:
    """Where the records of a run lie; files may be absent or hold nothing yet.

    :param run_id: how the run is called in titles and legends
    :param monitor: folder of ``*.monitor.csv``, as SB3's ``Monitor`` writes them
    :param evaluations: CSV file with EVALUATION_COLUMNS
    :param before: an evaluation before the first update, as ``EvaluationResult.summary`` gives it
    :param after: an evaluation of the outcome
    :param until: timesteps after which the next run took over, what came later is not drawn; None draws all
    """

    run_id: str
    monitor: Path
    evaluations: Path
    before: Summary | None = None
    after: Summary | None = None
    until: int | None = None


@dataclass(frozen=True, eq=False)
class Episodes:
    """The training episodes of a run in the order of their ends.

    :param timesteps: int64, (n,), steps of all envs in the episodes that ended up to then; episodes under way at that
        time are not in it, so it lags behind the run's count by at most one episode of each env
    :param rewards: float64, (n,)
    """

    timesteps: np.ndarray
    rewards: np.ndarray


def read_episodes(monitor: Path) -> Episodes:
    """Read the episodes of all envs, merged by the time at which they ended.

    Files without episodes, empty files and a last line cut short by a kill are no errors.

    :param monitor: folder of ``*.monitor.csv``
    """
    frames = [_read_monitor_file(path) for path in sorted(monitor.glob("*.monitor.csv"))]
    frames = [frame for frame in frames if not frame.empty]
    if not frames:
        return Episodes(np.zeros(0, dtype=np.int64), np.zeros(0))
    merged = pd.concat(frames).sort_values("ended_at", kind="stable")
    return Episodes(merged["l"].to_numpy(dtype=np.int64).cumsum(), merged["r"].to_numpy(dtype=np.float64))


def _read_monitor_file(path: Path) -> pd.DataFrame:
    """Give columns r, l and ended_at (seconds since the epoch)."""
    with open(path) as file:
        header = file.readline()
        if not header.startswith("#") or not file.readline():
            return pd.DataFrame()
        start_s = json.loads(header[1:])["t_start"]
        rows = pd.read_csv(file, names=["r", "l", "t"], usecols=[0, 1, 2], on_bad_lines="skip", index_col=False)
    rows = rows.apply(pd.to_numeric, errors="coerce").dropna()
    return rows.assign(ended_at=rows["t"] + start_s)


def read_evaluations(path: Path) -> pd.DataFrame:
    """Read the evaluations of a run, float64 with NaN where there is no figure, in the order of their timesteps.

    A missing file and one without evaluations give no rows; rows of other tasks are left out.
    """
    if not path.is_file() or not path.stat().st_size:
        return pd.DataFrame(columns=list(EVALUATION_COLUMNS), dtype=np.float64)
    table = pd.read_csv(path, on_bad_lines="skip").reindex(columns=list(EVALUATION_COLUMNS))
    table = table.apply(pd.to_numeric, errors="coerce").astype(np.float64)
    return table.dropna(subset=["timesteps", "mean_reward"]).sort_values("timesteps", ignore_index=True)


def moving_average(values: np.ndarray, window: int) -> np.ndarray:
    """Average each value with those before it, ``window`` in all or as many as there are.

    :param values: (n,)
    :return: float64, (n,)
    """
    return pd.Series(values, dtype=np.float64).rolling(window, min_periods=1).mean().to_numpy()


def learning_curve(records: RunRecords, path: Path, episode_window: int = 40) -> None:
    """Draw how a run learned: training episodes, evaluations, and below the success rate where there is one.

    :param path: PNG file; its folder is made
    :param episode_window: episodes in the moving average
    """
    run = _Run.read(records, 0, episode_window)
    figure = new_figure(8, run.tells_success)
    reward_axes, success_axes = _panels(figure, run.tells_success)
    run.draw_rewards(reward_axes, "black", RUN_COLOURS[0], "")
    if success_axes is not None:
        run.draw_successes(success_axes, RUN_COLOURS[0])
    figure.suptitle(records.run_id, fontsize=11)
    _label(figure, reward_axes, success_axes, n_legend_columns=2)
    save_figure(figure, path)


def compare_curves(runs: Sequence[RunRecords], path: Path, episode_window: int = 40) -> None:
    """Draw runs that follow one another, such as a parent and its fine-tuned child, on one axis of timesteps.

    Each run begins where the one before ended, at a dashed line. Their ``before`` and ``after`` stand there in figures.

    :param runs: the oldest first
    :param path: PNG file; its folder is made
    :param episode_window: episodes in the moving average
    """
    figure = new_figure(8, tell_success(runs))
    draw_successive_runs(figure, runs, episode_window, n_legend_columns=1)
    save_figure(figure, path)


def tell_success(runs: Sequence[RunRecords]) -> bool:
    """Tell whether any evaluation of some runs has a success rate."""
    return any(_Run.read(records, 0, 1).tells_success for records in runs)


def draw_successive_runs(
    figure: FigureBase,
    runs: Sequence[RunRecords],
    episode_window: int,
    n_legend_columns: int,
    colours: Sequence[str] = RUN_COLOURS,
) -> None:
    """Draw runs that follow one another into a figure or a part of one, as `compare_curves` does.

    :param colours: of the first run, the second ...
    """
    drawn: list[_Run] = []
    for records in runs:
        drawn.append(_Run.read(records, drawn[-1].end if drawn else 0, episode_window))
    reward_axes, success_axes = _panels(figure, any(run.tells_success for run in drawn))
    for i, run in enumerate(drawn):
        colour = colours[i % len(colours)]
        for axes in (reward_axes, success_axes):
            if i and axes is not None:
                label = "hand-over to the next run" if (i, axes) == (1, reward_axes) else None
                axes.axvline(run.offset, color="black", linestyle="--", linewidth=1, label=label)
        run.draw_rewards(reward_axes, colour, colour, f"{run.records.run_id}: ")
        if success_axes is not None:
            run.draw_successes(success_axes, colour)
    _label(figure, reward_axes, success_axes, n_legend_columns)


@dataclass(frozen=True, eq=False)
class _Run:
    """A run that was read and where it begins on the axis of timesteps."""

    records: RunRecords
    episodes: Episodes
    evaluations: pd.DataFrame
    offset: int
    episode_window: int

    @classmethod
    def read(cls, records: RunRecords, offset: int, episode_window: int) -> "_Run":
        """Read the files of a run."""
        episodes, evaluations = read_episodes(records.monitor), read_evaluations(records.evaluations)
        if records.until is not None:
            shown = episodes.timesteps <= records.until
            episodes = Episodes(episodes.timesteps[shown], episodes.rewards[shown])
            evaluations = evaluations[evaluations["timesteps"] <= records.until]
        return cls(records, episodes, evaluations, offset, episode_window)

    @property
    def end(self) -> int:
        """Where the run ends on the axis."""
        if self.records.until is not None:
            return self.offset + self.records.until
        return self.offset + int(max([0, *self.episodes.timesteps[-1:], *self.evaluations["timesteps"]]))

    @property
    def tells_success(self) -> bool:
        """Whether any evaluation has a success rate."""
        scores = (score for score in (self.records.before, self.records.after) if score is not None)
        return bool(self.evaluations["success_rate"].notna().any()) or any(
            score.get("success_rate") is not None for score in scores
        )

    def draw_rewards(self, axes: Axes, average_colour: str, colour: str, prefix: str) -> None:
        """Draw training episodes with their average, and evaluations."""
        timesteps, rewards = self.offset + self.episodes.timesteps, self.episodes.rewards
        if len(rewards):
            axes.plot(timesteps, rewards, ".", color=DOTS_COLOUR, markersize=3, alpha=0.35, zorder=1)
            average = moving_average(rewards, self.episode_window)
            label = f"{prefix}training, mean of {self.episode_window} episodes"
            axes.plot(timesteps, average, color=average_colour, alpha=0.6, linewidth=1.2, label=label, zorder=2)
        self._draw_evaluations(
            axes, ("mean_reward", "reward_low", "reward_high"), colour, f"{prefix}evaluation with 95 % interval"
        )
        self._mark_scores(axes, ("mean_reward", "reward_low", "reward_high"), "{:.3g}", colour)

    def draw_successes(self, axes: Axes, colour: str) -> None:
        """Draw the success rate of evaluations."""
        columns = ("success_rate", "success_low", "success_high")
        self._draw_evaluations(axes, columns, colour, None)
        self._mark_scores(axes, columns, "{:.0%}", colour)

    def _draw_evaluations(self, axes: Axes, columns: tuple[str, str, str], colour: str, label: str | None) -> None:
        table = self.evaluations.dropna(subset=[columns[0]])
        if table.empty:
            return
        timesteps = self.offset + table["timesteps"]
        value, low, high = (table[column] for column in columns)
        axes.plot(timesteps, value, "o-", color=colour, markersize=3, linewidth=1.6, label=label, zorder=4)
        axes.fill_between(timesteps, low, high, color=colour, alpha=0.18, linewidth=0, zorder=3)

    def _mark_scores(self, axes: Axes, columns: tuple[str, str, str], form: str, colour: str) -> None:
        """Mark the evaluations before and after the run with their intervals and figures."""
        before, after = ("before", self.offset, 8), ("after", self.end, -8)
        for score, (name, timesteps, side) in ((self.records.before, before), (self.records.after, after)):
            value, low, high = (None if score is None else score.get(column) for column in columns)
            if value is None:
                continue
            error = None if low is None or high is None else [[max(0.0, value - low)], [max(0.0, high - value)]]
            axes.errorbar(timesteps, value, error, fmt="D", color=colour, markeredgecolor="black", capsize=3, zorder=5)
            axes.annotate(
                f"{name} {form.format(value)}",
                (timesteps, value),
                xytext=(side, 0),
                textcoords="offset points",
                ha="left" if side > 0 else "right",
                va="center",
                fontsize=9,
                bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": colour},
                zorder=6,
            )


def new_figure(width: float, with_successes: bool) -> Figure:
    """Make an empty figure, high enough for a panel of success rates where there is one.

    :param width: in inches
    """
    return Figure(figsize=(width, 6 if with_successes else 4.5), dpi=120, layout="constrained")


def _panels(figure: FigureBase, with_successes: bool) -> tuple[Axes, Axes | None]:
    """Add the panel of rewards and, below, perhaps that of success rates."""
    success_axes = None
    if with_successes:
        reward_axes, success_axes = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        success_axes.set(ylabel="success rate\nof evaluations", ylim=(-0.05, 1.05))
        success_axes.yaxis.set_major_formatter(PercentFormatter(1))
    else:
        reward_axes = figure.subplots()
    reward_axes.set_ylabel("reward of an episode")
    return reward_axes, success_axes


def _label(figure: FigureBase, reward_axes: Axes, success_axes: Axes | None, n_legend_columns: int) -> None:
    """Name the axis of timesteps and add the legend."""
    lowest = reward_axes if success_axes is None else success_axes
    lowest.set_xlabel("environment timesteps")
    lowest.xaxis.set_major_formatter(EngFormatter(sep=""))
    if reward_axes.has_data():
        figure.legend(loc="outside lower center", ncols=n_legend_columns, frameon=False, fontsize=9)
    else:
        reward_axes.set(xticks=[], yticks=[])
        reward_axes.text(0.5, 0.5, "no episode has ended yet", transform=reward_axes.transAxes, ha="center")


def save_figure(figure: Figure, path: Path) -> None:
    """Give all axes a grid and write the file aside before it takes its place.

    :param path: PNG file; its folder is made
    """
    for axes in figure.axes:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        figure.savefig(aside, format="png")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
