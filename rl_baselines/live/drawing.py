"""Pictures of what a board holds: panels, tables of figures and paths, each readable at 560 x 360 pixels."""

from collections.abc import Iterable
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import EngFormatter, PercentFormatter

from rl_baselines.live.events import Matrix, Path
from rl_baselines.live.panels import BLUE, GREEN, ORANGE, Panel, Trace

WIDTH, HEIGHT = 560, 360
"""Of a panel, in pixels of a page."""
SHARPNESS = 1.5
"""Pixels of a file for each pixel of a page."""
HAND_OVER = "hand-over from the parent"
NO_FIGURE = "#e4e7eb"
FEW_POINTS = 60
LONGEST_NAME = 30

_INCH = 100
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 14, 30, 46
"""Around the axes of a panel, in pixels of a page. The same for all: they line up, and laying out takes no time."""
_LEGEND_GAP, _LEGEND_ROW, _LEGEND_HANDLE, _LETTER = 9, 17, 52, 7.0
_LINES = {"line": "-", "points": "None", "dashed": "--"}


def draw_panel(panel: Panel) -> Figure:
    """Draw a panel."""
    figure, axes = _new_figure(WIDTH, HEIGHT)
    is_log = panel.log and any((trace.y > 0).any() for trace in panel.traces)
    if is_log:
        axes.set_yscale("log")
    else:
        axes.ticklabel_format(axis="y", useOffset=False, scilimits=(-3, 5), useMathText=True)
    for trace in panel.traces:
        _draw_trace(axes, trace, is_log)
    if panel.hand_over:
        axes.axvline(0, color="black", linestyle="--", linewidth=1, label=HAND_OVER)
    if panel.share:
        axes.set_ylim(-0.04, 1.04)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.locator_params(axis="x", nbins=6)
    _name(axes, panel.title, panel.x_label, panel.y_label)
    _lay_out(figure, axes)
    return figure


def draw_matrix(matrix: Matrix) -> Figure:
    """Draw a table of figures as a heat map that tells them, larger than a panel where it has many cells."""
    n_rows, n_columns = len(matrix.rows), len(matrix.columns)
    figure, axes = _new_figure(max(WIDTH, 240 + 64 * n_columns), max(HEIGHT, 160 + 32 * n_rows))
    figure.set_layout_engine("constrained")
    values = np.where(np.isfinite(matrix.values), matrix.values, np.nan).reshape(n_rows, n_columns)
    norm = _norm(values)
    axes.set_facecolor(NO_FIGURE)
    image = axes.imshow(np.atleast_2d(values) if values.size else [[np.nan]], cmap="Blues", norm=norm, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        text, is_dark = ("-", False) if np.isnan(value) else (f"{value:.3g}", norm(value) > 0.6)
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color="white" if is_dark else "black")
    axes.set_xticks(range(n_columns), [_short(name) for name in matrix.columns], rotation=25, ha="right", fontsize=9)
    axes.set_yticks(range(n_rows), [_short(name) for name in matrix.rows], fontsize=9)
    axes.tick_params(length=0)
    _as_written([*axes.get_xticklabels(), *axes.get_yticklabels()])
    bar = figure.colorbar(image, ax=axes)
    bar.outline.set_visible(False)
    bar.set_label(matrix.unit, parse_math=False, fontsize=9)
    _name(axes, matrix.name, "", "")
    axes.spines[:].set_visible(False)
    return figure


def draw_path(path: Path) -> Figure:
    """Draw from above where a robot went, a metre as long in both directions."""
    figure, axes = _new_figure(WIDTH, HEIGHT)
    points, targets = path.points.reshape(-1, 2), path.targets.reshape(-1, 2)
    if len(points):
        axes.plot(*points.T, color=BLUE, linewidth=1.5, label="path", zorder=2)
        axes.plot(*points[0], "o", color=GREEN, markersize=9, label="start", zorder=3)
        axes.plot(*points[-1], "s", color=BLUE, markersize=5, label="end", zorder=5)
    if len(targets):
        axes.plot(*targets.T, "X", color=ORANGE, markersize=10, label="target", zorder=4)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.1)
    _name(axes, f"Path from above, at {path.timesteps:,} timesteps", "x in m", "y in m")
    _lay_out(figure, axes)
    return figure


def png(figure: Figure) -> bytes:
    """Give a figure as a PNG file."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=_INCH * SHARPNESS)
    return file.getvalue()


def picture_png(pixels: np.ndarray) -> bytes:
    """Give a picture as a PNG file.

    :param pixels: uint8, (height, width, 3)
    """
    from PIL import Image

    file = BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def _new_figure(width: int, height: int) -> tuple[Figure, Axes]:
    """Make an empty figure, its size in pixels of a page."""
    figure = Figure(figsize=(width / _INCH, height / _INCH), dpi=_INCH, facecolor="white")
    axes = figure.subplots()
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _draw_trace(axes: Axes, trace: Trace, is_log: bool) -> None:
    """Draw a line or a cloud of points, and the band around it."""
    y = _drawable(trace.y, is_log)
    axes.plot(
        *(trace.x, y),
        color=trace.colour,
        alpha=trace.opacity,
        linestyle=_LINES[trace.style],
        linewidth=1.6,
        marker="o",
        markersize=3,
        markeredgewidth=0,
        markevery=range(len(y)) if trace.style == "points" else _marked(y),
        label=trace.name,
        zorder=2,
    )
    if trace.low is not None and trace.high is not None:
        low, high = _drawable(trace.low, is_log), _drawable(trace.high, is_log)
        label = f"{trace.name}, {trace.band}"
        axes.fill_between(trace.x, low, high, color=trace.colour, alpha=0.18, linewidth=0, label=label, zorder=1)


def _drawable(values: np.ndarray, is_log: bool) -> np.ndarray:
    """Replace by NaN what has no place on the axis."""
    has_place = np.isfinite(values)
    if is_log:
        has_place &= values > 0
    return np.where(has_place, values, np.nan)


def _marked(y: np.ndarray) -> list[int]:
    """Give the points of a line that need a marker: all where they are few, else those that no line would reach."""
    is_there = np.isfinite(y)
    if is_there.sum() <= FEW_POINTS:
        return np.flatnonzero(is_there).tolist()
    has_neighbour = np.zeros(len(y), dtype=bool)
    has_neighbour[1:] |= is_there[:-1]
    has_neighbour[:-1] |= is_there[1:]
    return np.flatnonzero(is_there & ~has_neighbour).tolist()


def _norm(values: np.ndarray) -> Normalize:
    """Give the range of colours; equal figures stand in its middle."""
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    return Normalize(low, high) if low < high else Normalize(low - 0.5, high + 0.5)


def _short(name: str) -> str:
    """Leave out the middle of a long name."""
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME // 2 - 1]}...{name[-LONGEST_NAME // 2 + 2 :]}"


def _name(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    """Set what stands around the axes, dollar signs as they are."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", parse_math=False)
    axes.set_xlabel(x_label, fontsize=9, parse_math=False)
    axes.set_ylabel(y_label, fontsize=9, parse_math=False)


def _lay_out(figure: Figure, axes: Axes) -> None:
    """Add a grid, and a legend below where there is more than one thing to tell apart."""
    axes.grid(alpha=0.25)
    handles, labels = axes.get_legend_handles_labels()
    n_rows = 0
    if len(handles) > 1:
        n_columns = _legend_columns(labels)
        n_rows = -(-len(labels) // n_columns)
        legend = figure.legend(handles, labels, loc="lower center", ncols=n_columns, frameon=False, fontsize=8.5)
        _as_written(legend.get_texts())
        for line in legend.get_lines():
            line.set_alpha(1)
    bottom = _BOTTOM + (_LEGEND_GAP + n_rows * _LEGEND_ROW if n_rows else 0)
    width, height = figure.get_size_inches() * _INCH
    figure.subplots_adjust(_LEFT / width, bottom / height, 1 - _RIGHT / width, 1 - _TOP / height)
    axes.yaxis.set_label_coords(14 / width, (bottom + height - _TOP) / 2 / height, transform=figure.transFigure)


def _legend_columns(labels: list[str]) -> int:
    """Say in how many columns, filled one after the other, names fit side by side."""
    for n_columns in range(len(labels), 1, -1):
        columns = np.array_split(labels, n_columns)
        if sum(_LEGEND_HANDLE + _LETTER * max(map(len, column)) for column in columns) <= WIDTH:
            return n_columns
    return 1


def _as_written(texts: Iterable[Text]) -> None:
    """Let dollar signs stand for themselves."""
    for text in texts:
        text.set_parse_math(False)
