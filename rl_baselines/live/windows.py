"""What a visdom server is sent for each window of a run, as Plotly draws it."""

import base64
import html
import io
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from rl_baselines.live.board import Board
from rl_baselines.live.events import Matrix, Path, Picture
from rl_baselines.live.panels import BLUE, GREEN, ORANGE, PANELS, Panel, Trace, panels

Window = dict[str, Any]

WIDTH, HEIGHT = 420, 300
MARGINS = {"l": 60, "r": 15, "t": 56, "b": 45}
LEGEND = {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "font": {"size": 10}}
BUTTONS_LEFT_OUT = ["select2d", "lasso2d", "autoScale2d"]
PICTURE, PATH = "picture", "path"
PATH_TITLE = "Way in an evaluation episode, from above"
PICTURE_TITLE = "End of an evaluation episode"
TEXT, MATRIX = "text/", "matrix/"
"""Before the names of texts and matrices, in the keys of their windows."""
FEW_POINTS = 30
BAND_OPACITY = 0.18
DASHES = {"line": "solid", "dashed": "dash", "points": "solid"}


def window_keys(board: Board) -> list[str]:
    """Give the keys of all windows that a run may have now, in their order."""
    keys = [*PANELS, *(MATRIX + name for name in board.matrices)]
    keys += [key for key, known in ((PATH, board.path), (PICTURE, board.picture)) if known is not None]
    return keys + [TEXT + name for name in board.texts]


def windows(board: Board, keys: Iterable[str]) -> Iterator[tuple[str, Window]]:
    """Yield windows with their keys, ready for JSON; panels without a point are left out.

    :param keys: of the windows wanted
    """
    wanted = set(keys)
    for panel in panels(board, wanted):
        yield panel.key, plot_window(panel)
    for name, matrix in board.matrices.items():
        if MATRIX + name in wanted:
            yield MATRIX + name, _heat_map(matrix)
    if board.path is not None and PATH in wanted:
        yield PATH, _path(board.path)
    if board.picture is not None and PICTURE in wanted:
        yield PICTURE, _picture(board.picture)
    for name, text in board.texts.items():
        if TEXT + name in wanted:
            yield TEXT + name, _window([{"type": "text", "content": _preformatted(text)}], name)


def _window(data: list[dict[str, Any]], title: str, layout: dict[str, Any] | None = None) -> Window:
    window: Window = {"data": data, "opts": {"title": title, "width": WIDTH, "height": HEIGHT}}
    if layout is not None:
        buttons = {"remove": BUTTONS_LEFT_OUT}  # the title stands in the bar of the window
        window["layout"] = {"margin": MARGINS, "modebar": buttons, **layout}
    return window


def plot_window(panel: Panel) -> Window:
    """Give the window of a panel."""
    data = [part for trace in panel.traces for part in _trace(trace, panel.log)]
    names = [part["name"] for part in data]
    for i, part in enumerate(data):
        part["showlegend"] = part["name"] not in names[:i]  # what bands are need be said but once
    y_axis: dict[str, Any] = {"title": {"text": panel.y_label}, "automargin": True}
    if panel.log:
        y_axis |= {"type": "log", "exponentformat": "power"}
    if panel.share:
        y_axis |= {"tickformat": ".0%", "rangemode": "tozero"}
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": panel.x_label}, "exponentformat": "SI"},
        "yaxis": y_axis,
        "showlegend": len(panel.traces) > 1 or panel.traces[0].low is not None,
        "legend": LEGEND,
        "hovermode": "closest",
    }
    if panel.hand_over:
        line = {"color": "black", "width": 1, "dash": "dash"}
        layout["shapes"] = [{"type": "line", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1, "line": line}]
    return _window(data, panel.title, layout)


def _trace(trace: Trace, log: bool) -> Iterator[dict[str, Any]]:
    """Yield the band around a trace, if it has one, and the trace."""
    if trace.low is not None and trace.high is not None:
        known = np.isfinite(trace.low) & np.isfinite(trace.high)
        x, low, high = trace.x[known], trace.low[known], trace.high[known]
        yield {
            "type": "scatter",
            "mode": "lines",
            "x": _numbers([*x, *x[::-1]], False),
            "y": _numbers([*high, *low[::-1]], log),
            "fill": "toself",
            "fillcolor": _rgba(trace.colour, BAND_OPACITY),
            "line": {"width": 0},
            "name": trace.band,
            "hoverinfo": "skip",
        }
    mode = "markers" if trace.style == "points" else "lines+markers" if len(trace.x) < FEW_POINTS else "lines"
    colour = _rgba(trace.colour, trace.opacity)  # visdom takes no other opacity than that of a colour
    yield {
        "type": "scatter",
        "mode": mode,
        "x": _numbers(trace.x, False),
        "y": _numbers(trace.y, log),
        "name": trace.name,
        "line": {"color": colour, "width": 1.8, "dash": DASHES[trace.style]},
        "marker": {"color": colour, "size": 4},
    }


def _heat_map(matrix: Matrix) -> Window:
    values = [_numbers(row, False) for row in matrix.values]
    texts = [["" if value is None else f"{value:.3g}" for value in row] for row in values]
    data = {
        "type": "heatmap",
        "z": values,
        "x": list(matrix.columns),
        "y": list(matrix.rows),
        "text": texts,
        "texttemplate": "%{text}",
        "colorscale": "Viridis",
        "colorbar": {"title": {"text": matrix.unit, "side": "right"}},
    }
    axes = {"xaxis": {"type": "category"}, "yaxis": {"type": "category", "autorange": "reversed", "automargin": True}}
    return _window([data], matrix.name, axes)


def _path(path: Path) -> Window:
    def marks(points: np.ndarray, name: str, colour: str, symbol: str) -> dict[str, Any]:
        x, y = _numbers(points[:, 0], False), _numbers(points[:, 1], False)
        marker = {"color": colour, "size": 10, "symbol": symbol}
        return {"type": "scatter", "mode": "markers", "x": x, "y": y, "name": name, "marker": marker}

    x, y = _numbers(path.points[:, 0], False), _numbers(path.points[:, 1], False)
    line = {"type": "scatter", "mode": "lines", "x": x, "y": y, "name": "path", "line": {"color": _rgba(BLUE, 1)}}
    data = [line, marks(path.points[:1], "start", _rgba(GREEN, 1), "circle")]
    data += [marks(path.points[-1:], "end", _rgba(BLUE, 1), "square")]
    data += [marks(path.targets, "target", _rgba(ORANGE, 1), "x")] if len(path.targets) else []
    layout = {
        "xaxis": {"title": {"text": f"x in metres (after {path.timesteps:,} timesteps)"}},
        "yaxis": {"title": {"text": "y in metres"}, "scaleanchor": "x", "scaleratio": 1},
        "showlegend": True,
        "legend": LEGEND,
    }
    return _window(data, PATH_TITLE, layout)


def _picture(picture: Picture) -> Window:
    file = io.BytesIO()
    Image.fromarray(picture.pixels).save(file, "png")
    source = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return _window([{"type": "image", "content": {"src": source, "caption": None}}], PICTURE_TITLE)


def _preformatted(text: str) -> str:
    return f"<pre>{html.escape(text)}</pre>"


def _numbers(values: Iterable[float], log: bool) -> list[float | None]:
    """Give numbers that JSON and Plotly can take: gaps for what is not finite, or has no logarithm."""
    return [float(value) if math.isfinite(value) and (value > 0 or not log) else None for value in values]


def _rgba(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"
