"""The picture of a fine-tune: the curves of parent and child one after the other, and what came out beside them."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase, SubFigure
from matplotlib.ticker import PercentFormatter

from rl_baselines.comparison import Comparison, Judgement, Measure
from rl_baselines.evaluation import EvaluationResult
from rl_baselines.plots import (
    RUN_COLOURS,
    RunRecords,
    draw_successive_runs,
    new_figure,
    save_figure,
    tell_success,
)


def draw_fine_tune(
    runs: Sequence[RunRecords], comparison: Comparison, path: Path, title: str = "", episode_window: int = 40
) -> None:
    """Draw a fine-tune: left the curves on one axis of timesteps, right the scores with their 95 % intervals.

    :param runs: parent and child, or only the child where nothing is recorded of the parent; ``run_id`` is what the
        legend calls them, ``until`` of the parent the step that the child started from
    :param path: PNG file; its folder is made
    :param episode_window: episodes in the moving average
    """
    judgements = {"old environment": comparison.old, "new environment": comparison.new}
    if comparison.old is None:
        judgements = {"before and after": comparison.new}
    shown = {name: one for name, one in judgements.items() if one is not None and _measure(one) is not None}
    figure = new_figure(8 + 1.7 * len(shown), tell_success(runs))
    part: FigureBase = figure
    if shown:
        part, scores = figure.subfigures(1, 2, width_ratios=[8, 1.7 * len(shown)], squeeze=False)[0]
        _draw_scores(scores, shown)
    colours = RUN_COLOURS[2 - min(2, len(runs)) :]  # the child has the second wherever it is drawn
    draw_successive_runs(part, runs, episode_window, n_legend_columns=2, colours=colours)
    if title:
        figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def _draw_scores(figure: SubFigure, judgements: dict[str, Judgement]) -> None:
    """Draw a panel for each environment; they share the axis of scores where the measure is the same."""
    measures = {_measure(judgement) for judgement in judgements.values()}
    panels = figure.subplots(1, len(judgements), sharey=len(measures) == 1, squeeze=False)[0]
    for axes, (name, judgement) in zip(panels, judgements.items(), strict=True):
        measure = _measure(judgement)
        assert measure is not None
        _draw_judgement(axes, judgement, measure)
        axes.set_title(f"{name}\n{judgement.verdict}", fontsize=10)
        if axes is panels[0] or len(measures) > 1:
            axes.set_ylabel("success rate" if measure == "success" else "reward of an episode")
        if measure == "success":
            axes.set_ylim(-0.05, 1.05)
            axes.yaxis.set_major_formatter(PercentFormatter(1))
    n_episodes = [one.n_episodes for one in _results(next(iter(judgements.values()))) if one is not None]
    gap = "\n" if len(judgements) == 1 else " "
    figure.supxlabel(f"{n_episodes[0]} episodes from{gap}the same starts,{gap}95 % intervals", fontsize=9)


def _draw_judgement(axes: Axes, judgement: Judgement, measure: Measure) -> None:
    """Draw parent and child as points, joined, with their intervals and figures."""
    form = "{:.0%}" if measure == "success" else "{:.3g}"
    points = []
    for x, result in enumerate(_results(judgement)):
        if result is None:
            continue
        value, (low, high) = _score(result, measure)
        points.append((x, value))
        error = [[max(0.0, value - low)], [max(0.0, high - value)]]
        axes.errorbar(x, value, error, fmt="D", color=RUN_COLOURS[x], markeredgecolor="black", capsize=3, zorder=5)
        axes.annotate(form.format(value), (x, value), (7, 0), textcoords="offset points", va="center", fontsize=9)
    axes.plot(*zip(*points, strict=True), color="black", linewidth=0.8, alpha=0.4, zorder=1)
    axes.set(xlim=(-0.5, 1.8), xticks=[0, 1], xticklabels=["parent", "child"])


def _results(judgement: Judgement) -> tuple[EvaluationResult | None, EvaluationResult | None]:
    return judgement.scores.parent, judgement.scores.child


def _measure(judgement: Judgement) -> Measure | None:
    """Give the measure that can be drawn: the one that decides, or what a single score tells."""
    if judgement.measure is not None:
        return judgement.measure
    alone = next((result for result in _results(judgement) if result is not None), None)
    return None if alone is None else "reward" if alone.successes is None else "success"


def _score(result: EvaluationResult, measure: Measure) -> tuple[float, tuple[float, float]]:
    """Give a score and its interval; without width where one episode says nothing about it."""
    if measure == "success" and result.success_rate is not None:
        return result.success_rate, result.success_interval() or (result.success_rate, result.success_rate)
    return result.mean_reward, result.reward_interval() or (result.mean_reward, result.mean_reward)
