"""The picture of a cross-evaluation: a table of rewards beside one of normalised scores."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rl_baselines.cross_evaluation.matrix import Matrix
from rl_baselines.cross_evaluation.plan import RANDOM
from rl_baselines.transfer_matrix import Estimate, estimate

NO_FIGURE = "#e4e7eb"
LONGEST_LABEL = 28
_CELL_WIDTH, _CELL_HEIGHT = 0.95, 0.5  # inches


def draw_heat_map(matrix: Matrix) -> Figure:
    """Draw two tables, policies against tasks, each cell with its mean and the half width of its 95 % interval.

    Colours of rewards compare the policies within a task, for tasks have units of their own; those of scores compare
    all cells.
    """
    labels = [*(policy.label for policy in matrix.plan.policies), RANDOM]
    rewards = np.concatenate([matrix.rewards, matrix.random_rewards[None]])
    scores = np.concatenate([matrix.scores, matrix.random_scores[None]])
    n_rows, n_columns = rewards.shape[:2]
    longest = max(min(LONGEST_LABEL, len(label)) for label in labels)
    width = 0.085 * longest + 2 * (0.4 + max(_CELL_WIDTH * n_columns, 2.6))
    figure = Figure(figsize=(width, 1.5 + _CELL_HEIGHT * n_rows), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw(left, rewards, _ranks(rewards.mean(axis=2)), "{:.4g}")
    _draw(right, scores, np.clip(scores.mean(axis=2), 0, 1), "{:.2f}")
    left.set_title("mean reward of an episode\n(colours: within each task)", fontsize=10)
    right.set_title("normalised: random actions 0, best policy 1", fontsize=10)
    tasks = [_short(task.label) for task in matrix.plan.tasks]
    is_long = max(map(len, tasks)) > 11
    for axes in (left, right):
        axes.set_xticks(range(n_columns), tasks, fontsize=9, **({"rotation": 20, "ha": "right"} if is_long else {}))
        axes.axhline(n_rows - 1.5, color="black", linewidth=0.8)
    left.set_yticks(range(n_rows), [_short(label) for label in labels], fontsize=9)
    for text in [*left.get_yticklabels(), *left.get_xticklabels(), *right.get_xticklabels()]:
        text.set_parse_math(False)
    episodes = f"{matrix.plan.n_episodes} episodes from the same starts in each cell"
    figure.supxlabel(f"{episodes}, \u00b1: half width of the 95 % interval", fontsize=8)
    return figure


def _draw(axes: Axes, samples: np.ndarray, colours: np.ndarray, form: str) -> None:
    """Draw a table.

    :param samples: (n_rows, n_columns, n_samples)
    :param colours: (n_rows, n_columns), from 0 to 1
    """
    axes.set_facecolor(NO_FIGURE)
    axes.imshow(colours, cmap="Blues", vmin=0, vmax=1.15, aspect="auto")
    for row, column in np.ndindex(*colours.shape):
        found = estimate(samples[row, column])
        ink = "white" if colours[row, column] > 0.7 else "black"
        axes.text(column, row, cell_text(found, form, "\n"), ha="center", va="center", fontsize=8, color=ink)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def cell_text(found: Estimate, form: str, gap: str = " ") -> str:
    """Write a mean and the half width of its interval; a dash where it is undefined.

    :param form: of the mean
    :param gap: between the two
    """
    if np.isnan(found.mean):
        return "-"
    mean = form.format(found.mean)
    mean = mean.removeprefix("-") if float(mean) == 0 else mean
    if found.low is None or found.high is None:
        return mean
    return f"{mean}{gap}\u00b1 {_rounded((found.high - found.low) / 2, form)}"


def _rounded(half_width: float, form: str) -> str:
    """Write a half width: with two digits, or with as many decimals as the mean where those are fixed."""
    if form.endswith("f}"):
        return form.format(half_width)
    return f"{half_width:.0f}" if half_width >= 100 else f"{half_width:.2g}"


def _ranks(means: np.ndarray) -> np.ndarray:
    """Give where a mean lies between the lowest and the highest of its column; the middle where all are equal."""
    is_known = ~np.isnan(means)
    low = np.where(is_known, means, np.inf).min(axis=0)
    high = np.where(is_known, means, -np.inf).max(axis=0)
    differs = high > low
    ranks = (means - np.where(differs, low, 0)) / np.where(differs, high - low, 1)
    return np.where(is_known & ~differs, 0.5, ranks)


def _short(label: str) -> str:
    """Leave out the middle of a long label."""
    half = LONGEST_LABEL // 2 - 2
    return label if len(label) <= LONGEST_LABEL else f"{label[:half]}...{label[-half:]}"


def table_rows(matrix: Matrix, samples: np.ndarray, of_random: np.ndarray, form: str) -> list[list[str]]:
    """Give the rows of a table in a terminal, random actions last.

    :param samples: (n_policies, n_tasks, n_samples)
    :param of_random: (n_tasks, n_samples)
    """
    labels = [*(policy.label for policy in matrix.plan.policies), RANDOM]
    rows = zip(labels, np.concatenate([samples, of_random[None]]), strict=True)
    return [[label, *(cell_text(estimate(cell), form) for cell in row)] for label, row in rows]
