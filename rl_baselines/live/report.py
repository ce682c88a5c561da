"""The report of a run: all its plots as files, and one page that shows them anywhere without a server."""

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from environments.durable import replace_file
from rl_baselines.live.board import Board
from rl_baselines.live.drawing import SHARPNESS, draw_matrix, draw_panel, draw_path, picture_png, png
from rl_baselines.live.panels import Panel, Trace, panels

REPORT = "report.html"
EMPTY = "Nothing has been recorded yet."
LONGEST_FILE_NAME = 80

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #ffffff; --ink: #1c2430; --faint: #5b6673; --line: #d9dee4; }
@media (prefers-color-scheme: dark) {
  :root { --page: #121212; --card: #1c1c1c; --ink: #e8e8e8; --faint: #a3a3a3; --line: #383838; }
  img.plot { filter: invert(0.89) hue-rotate(180deg); }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1840px; padding: 1.5rem clamp(0.75rem, 3vw, 2.5rem) 3rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { margin: 0 0 1rem; font-size: clamp(1.25rem, 3vw, 1.75rem); line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 2rem 0 0.75rem; font-size: 1.15rem; overflow-wrap: anywhere; }
table, pre, figure { background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
table { border-spacing: 0; padding: 0.4rem 0.9rem; max-width: 100%; font-size: 0.93rem; }
th, td { padding: 0.3rem 0; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
th { padding-right: 1.5rem; color: var(--faint); font-weight: normal; overflow-wrap: break-word; }
td { font-variant-numeric: tabular-nums; }
.plots { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 460px), 1fr)); }
figure { margin: 0; padding: 0.75rem; display: flex; flex-direction: column; gap: 0.5rem; }
figure img { max-width: 100%; height: auto; margin: 0 auto; }
figcaption { margin-top: auto; color: var(--faint); font-size: 0.85rem; overflow-wrap: anywhere; }
pre { margin: 0; padding: 0.75rem 0.9rem; overflow-x: auto; font: 0.85rem/1.45 ui-monospace, Consolas, monospace; }
"""


@dataclass(frozen=True)
class _Figure:
    """A picture of the page.

    :param name: of its file, without an ending
    :param content: of a PNG file
    :param width: in pixels of the page
    :param is_plot: whether its colours may be turned on a dark page
    """

    name: str
    content: bytes
    width: int
    alternative: str
    caption: str
    is_plot: bool = True


def write_report(board: Board, title: str, facts: Sequence[tuple[str, str]], folder: Path, plots: Path) -> Path:
    """Write all plots of a run as PNG files, and ``report.html``, which holds them too and needs nothing else.

    :param facts: what stands in the table at the top, by name
    :param folder: for the page
    :param plots: for the files; both folders are made
    :return: the page
    :raises OSError: when a file cannot be written
    """
    plots.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    figures = list(_figures(board))
    for figure in figures:
        replace_file(plots / f"{figure.name}.png", figure.content)
    report = folder / REPORT
    replace_file(report, _page(board, title, facts, figures).encode("utf-8", "replace"))
    return report


def _figures(board: Board) -> Iterator[_Figure]:
    """Draw all that a board holds."""
    names: set[str] = set()

    def new_name(wanted: str) -> str:
        slug = re.sub(r"[^a-z0-9]+", "_", wanted.lower())[:LONGEST_FILE_NAME].strip("_") or "matrix"
        name, count = slug, 1
        while name in names:
            count += 1
            name = f"{slug}_{count}"
        names.add(name)
        return name

    for panel in panels(board):
        yield _plot(new_name(panel.key), png(draw_panel(panel)), _describe(panel), _last_values(panel))
    if board.path is not None:
        at = f"after {board.path.timesteps:,} timesteps"
        alternative = f"Where the robot went in an episode of the evaluation {at}, from above, x and y in metres"
        yield _plot(new_name("path"), png(draw_path(board.path)), alternative, f"An episode of the evaluation {at}")
    if board.picture is not None:
        content = picture_png(board.picture.pixels)
        text = f"What the camera saw at the end of an evaluation after {board.picture.timesteps:,} timesteps"
        yield _Figure(new_name("picture"), content, board.picture.pixels.shape[1], text, text, is_plot=False)
    for matrix in board.matrices.values():
        alternative = f"{matrix.name}: {', '.join(matrix.rows)} against {', '.join(matrix.columns)}"
        yield _plot(new_name(matrix.name), png(draw_matrix(matrix)), alternative, f"{matrix.name}: {matrix.unit}")


def _plot(name: str, content: bytes, alternative: str, caption: str) -> _Figure:
    width = round(int.from_bytes(content[16:20]) / SHARPNESS)
    return _Figure(name, content, width, alternative, caption)


def _describe(panel: Panel) -> str:
    """Say what stands in a panel."""
    return f"{panel.title}: {panel.y_label} against {panel.x_label}; {', '.join(trace.name for trace in panel.traces)}"


def _last_values(panel: Panel) -> str:
    """Give the last figure of each line."""
    found = ((trace, _last(trace)) for trace in panel.traces if trace.style != "points")
    form = ".0%" if panel.share else ".4g"
    told = [f"{trace.name}: {last[1]:{form}} at {int(last[0]):,}" for trace, last in found if last is not None]
    return "Last values: " + "; ".join(told) if told else panel.title


def _last(trace: Trace) -> tuple[float, float] | None:
    finite = np.flatnonzero(np.isfinite(trace.y))
    return (trace.x[finite[-1]], trace.y[finite[-1]]) if finite.size else None


def _page(board: Board, title: str, facts: Sequence[tuple[str, str]], figures: Sequence[_Figure]) -> str:
    """Give the page, every word of it escaped."""
    rows = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>\n' for name, value in facts)
    table = f"<table>\n{rows}</table>\n" if facts else ""
    pictures = "\n".join(map(_picture, figures))
    plots = f'<h2>Plots</h2>\n<div class="plots">\n{pictures}\n</div>\n' if figures else ""
    texts = "".join(f"<h2>{escape(name)}</h2>\n<pre>{escape(text)}</pre>\n" for name, text in board.texts.items())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{table}{plots}{texts}{"" if plots or texts else f"<p>{EMPTY}</p>"}
</body>
</html>
"""


def _picture(figure: _Figure) -> str:
    kind = ' class="plot"' if figure.is_plot else ""
    return (
        f'<figure><img{kind} width="{figure.width}" alt="{escape(figure.alternative)}" '
        f'src="data:image/png;base64,{b64encode(figure.content).decode()}">'
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
    )
