"""Pictures of an experiment: the table of each method, and what all of them are worth in the end."""

import math

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rl_baselines.continual.experiment import STUDENT, TEACHERS
from rl_baselines.continual.outcome import Outcome
from rl_baselines.cross_evaluation.heat_map import NO_FIGURE, cell_text
from rl_baselines.transfer_matrix import estimate

NAMES = {"none": "naive fine-tuning", TEACHERS: "teachers", STUDENT: "distillation"}
N_COLUMNS = 3
COLOURS = ("#1f5fa8", "#d95f02", "#2a8a57", "#8e44ad", "#8c6d1f", "#5b6770")


def name_of(method: str) -> str:
    """Give what a method is called in tables."""
    return NAMES.get(method, f"--retain {method}")


def draw_tables(outcome: Outcome) -> Figure:
    """Draw a table for each method: a row after each task, a column for each, normalised scores in the cells."""
    methods = list(outcome.scores)
    n_rows, n_tasks = math.ceil(len(methods) / N_COLUMNS), len(outcome.experiment.tasks)
    size = (1.6 + N_COLUMNS * max(1.0 * n_tasks, 2.2), 0.7 + n_rows * (0.85 + 0.5 * n_tasks))
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    axes = figure.subplots(n_rows, N_COLUMNS, squeeze=False)
    for method, place in zip(methods, axes.flat, strict=False):
        _draw_table(place, outcome, method)
    for place in axes.flat[len(methods) :]:
        place.set_visible(False)
    figure.supxlabel(f"score on each task; random actions 0, its teacher 1; {_n_seeds(outcome)}", fontsize=9)
    return figure


def _draw_table(axes: Axes, outcome: Outcome, method: str) -> None:
    scores, labels = outcome.scores[method], [task.label for task in outcome.experiment.tasks]
    means = scores.mean(axis=2)
    colours = matplotlib.colormaps["Blues"].with_extremes(bad=NO_FIGURE)
    axes.imshow(np.clip(means, 0, 1), cmap=colours, vmin=0, vmax=1.15, aspect="auto")
    axes.set_ylim(len(labels) - 0.5, -0.5)  # cells of one size in all tables
    for row, column in np.ndindex(*means.shape):
        ink = "white" if means[row, column] > 0.7 else "black"
        text = cell_text(estimate(scores[row, column]), "{:.2f}", "\n")
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=ink)
    rows = ["student"] if method == STUDENT else [f"of {x}" if method == TEACHERS else f"after {x}" for x in labels]
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_xticks(range(len(labels)), labels, fontsize=8)
    axes.xaxis.tick_top()
    axes.set_title(name_of(method), fontsize=10)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def draw_finals(outcome: Outcome) -> Figure:
    """Draw the score of each method on each task in the end, with its interval over seeds where there are several."""
    methods, tasks = list(outcome.scores), outcome.experiment.tasks
    figure = Figure(figsize=(1.5 + 1.25 * len(methods), 3.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(tasks)
    for index, task in enumerate(tasks):
        found = [estimate(outcome.final(method)[index]) for method in methods]
        places = np.arange(len(methods)) + (index - (len(tasks) - 1) / 2) * width
        means = np.array([one.mean for one in found])
        halves = np.array(
            [np.nan if one.low is None or one.high is None else (one.high - one.low) / 2 for one in found]
        )
        axes.bar(places, means, 0.9 * width, color=COLOURS[index % len(COLOURS)], label=task.label)
        axes.errorbar(places, means, halves, fmt="none", ecolor="black", elinewidth=0.9, capsize=2)
    axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(methods)), [name_of(method) for method in methods], rotation=15, ha="right", fontsize=9)
    axes.set_ylabel("score in the end")
    axes.set_title(f"after all tasks; random actions 0, each task's teacher 1; {_n_seeds(outcome)}", fontsize=10)
    axes.legend(frameon=False, fontsize=9, ncols=len(tasks), loc="upper right", bbox_to_anchor=(1, -0.25))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _n_seeds(outcome: Outcome) -> str:
    n_seeds = len(outcome.experiment.seeds)
    return "one seed" if n_seeds == 1 else f"{n_seeds} seeds, ± half of the 95 % interval"
