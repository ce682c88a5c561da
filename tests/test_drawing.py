"""Drawings show the numbers they were given, with names and units, and colours where the lines are."""

import warnings
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from rl_baselines.live.drawing import (
    HAND_OVER,
    HEIGHT,
    LONGEST_NAME,
    SHARPNESS,
    WIDTH,
    draw_matrix,
    draw_panel,
    draw_path,
    picture_png,
    png,
)
from rl_baselines.live.events import Matrix, Path
from rl_baselines.live.panels import BLUE, GREEN, ORANGE, Panel, Trace


@pytest.fixture(autouse=True)
def _no_warning() -> Iterator[None]:
    """Drawing warns of nothing and leaves no figure behind."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert pyplot.get_fignums() == []


def line(name: str = "value", y: tuple[float, ...] = (1.0, 2.0, 3.0), colour: str = BLUE, **options: object) -> Trace:
    return Trace(name, np.arange(len(y)) * 1000.0, np.array(y), colour, **options)  # type: ignore[arg-type]


def panel(*traces: Trace, **options: object) -> Panel:
    return Panel("key", "Title in $ and $", "loss in $", traces, **options)  # type: ignore[arg-type]


def pixels(figure: Figure) -> np.ndarray:
    """Return the picture as float64 from 0 to 1, (height, width, 3)."""
    return np.asarray(Image.open(BytesIO(png(figure))).convert("RGB")) / 255


def share_of(image: np.ndarray, colour: str, tolerance: float = 0.02) -> float:
    """Return the share of pixels of a colour."""
    return float((np.abs(image - np.array(to_rgb(colour))).max(axis=2) < tolerance).mean())


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for found in figure.legends for text in found.get_texts()]


def tick_labels(axes: Axes, which: str) -> list[str]:
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    return [text.get_text() for text in getattr(axes, f"get_{which}ticklabels")() if text.get_text()]


def test_a_panel_has_its_size_names_and_colours() -> None:
    """Title, labels and thousands are written; the line stands in its colour, and no legend names a single line."""
    figure = draw_panel(panel(line(y=tuple(range(11)))))
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "Title in $ and $"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("environment timesteps", "loss in $")
    assert "10k" in tick_labels(axes, "x")
    assert axes.lines[0].get_xydata().tolist() == [[1000.0 * i, i] for i in range(11)]
    assert legend(figure) == []
    image = pixels(figure)
    assert image.shape == (HEIGHT * SHARPNESS, WIDTH * SHARPNESS, 3)
    assert share_of(image, BLUE) > 0.002
    assert share_of(image, ORANGE) == 0
    assert share_of(image, "#ffffff") > 0.9


def test_a_line_is_drawn_where_its_values_are() -> None:
    """A rising line is coloured at the lower left and the upper right of the axes, not at the other corners."""
    figure = draw_panel(panel(line(y=(0.0, 1.0))))
    image = pixels(figure)
    low, high = figure.axes[0].get_window_extent().get_points() * SHARPNESS
    inside = image[int(len(image) - high[1]) : int(len(image) - low[1]), int(low[0]) : int(high[0])]
    rows, columns = (slice(None, len(inside) // 2), slice(len(inside) // 2, None)), inside.shape[1] // 2
    upper, lower = (inside[part] for part in rows)
    assert share_of(upper[:, columns:], BLUE) > 0.005
    assert share_of(lower[:, :columns], BLUE) > 0.005
    assert share_of(upper[:, : columns - 9], BLUE) == share_of(lower[:, columns + 9 :], BLUE) == 0


def test_a_legend_names_lines_bands_and_the_hand_over() -> None:
    """Several lines, a band and the hand-over are told apart, and the line of the hand-over stands at 0."""
    low, high = np.array([0.5, 1.5, 2.5]), np.array([1.5, 2.5, 3.5])
    traces = (
        line("child", low=low, high=high, band="95 % interval"),
        line("parent", colour=GREEN, style="dashed"),
        line("episode", colour=ORANGE, style="points", opacity=0.3),
    )
    figure = draw_panel(panel(*traces, hand_over=True))
    (axes,) = figure.axes
    assert legend(figure) == ["child", "child, 95 % interval", "parent", "episode", HAND_OVER]
    assert [one.get_linestyle() for one in axes.lines] == ["-", "--", "None", "--"]
    assert [one.get_alpha() for one in axes.lines] == [1, 1, 0.3, None]
    assert list(axes.lines[-1].get_xdata()) == [0, 0]
    (band,) = axes.collections
    assert band.get_alpha() == 0.18
    edges = {tuple(corner) for corner in band.get_paths()[0].vertices}
    assert {(1000.0 * i, edge[i]) for i in range(3) for edge in (low, high)} <= edges
    figure.draw_without_rendering()
    extent = figure.legends[0].get_window_extent()
    assert extent.x0 >= 0 and extent.x1 <= WIDTH
    assert axes.xaxis.label.get_window_extent().y0 >= extent.y1 - 4


def test_a_share_is_in_percent() -> None:
    """Shares stand on an axis from 0 to 100 %."""
    (axes,) = draw_panel(panel(line(y=(0.2, 0.4)), share=True)).axes
    assert axes.get_ylim() == (-0.04, 1.04)
    assert {"0%", "100%"} <= set(tick_labels(axes, "y"))


@pytest.mark.parametrize(
    ("y", "scale", "shown"),
    [
        ((1e-3, 0.0, -1.0, np.inf, 10.0), "log", [1e-3, np.nan, np.nan, np.nan, 10.0]),
        ((0.0, -1.0), "linear", [0.0, -1.0]),
        ((3e-4, 3e-4), "log", [3e-4, 3e-4]),
        ((np.nan,), "linear", [np.nan]),
    ],
)
def test_a_logarithmic_axis_has_only_positive_values(y: tuple[float, ...], scale: str, shown: list[float]) -> None:
    """What is not above 0 is a gap; without any such value the axis is linear."""
    figure = draw_panel(panel(line(y=y), log=True))
    (axes,) = figure.axes
    assert axes.get_yscale() == scale
    np.testing.assert_array_equal(np.asarray(axes.lines[0].get_ydata()), shown)
    assert pixels(figure).min() < 0.5


def test_points_that_no_line_reaches_are_marked() -> None:
    """Of many points only those between gaps have a marker; few have all."""
    y = np.arange(200.0)
    y[[10, 12, 50]] = np.nan
    (axes,) = draw_panel(panel(line(y=tuple(y)))).axes
    assert axes.lines[0].get_markevery() == [11]
    (axes,) = draw_panel(panel(line(y=(1.0, np.nan, 2.0)))).axes
    assert axes.lines[0].get_markevery() == [0, 2]
    assert share_of(pixels(draw_panel(panel(line(y=(1.0,))))), BLUE) > 0


@pytest.mark.parametrize("names", [("a",), ("$", "x"), tuple(f"trace number {i} of many" for i in range(7))])
def test_a_legend_fits_below_the_axes(names: tuple[str, ...]) -> None:
    """However many names there are, the legend lies within the picture."""
    figure = draw_panel(panel(*(line(name) for name in names), hand_over=True))
    pixels(figure)
    extent = figure.legends[0].get_window_extent()
    assert extent.x0 >= 0 and extent.x1 <= WIDTH * SHARPNESS and extent.y0 >= 0
    assert legend(figure) == [*names, HAND_OVER]


def test_a_table_tells_its_figures() -> None:
    """Cells hold the figures, sides their names, the colour bar the unit; where there is no figure stands a dash."""
    values = np.array([[0.25, np.nan], [1.0, 0.123456]])
    matrix = Matrix("Policies", "share of $", ("parent", "x" * 50), ("old", "new $"), values)
    axes, bar = draw_matrix(matrix).axes
    assert [text.get_text() for text in axes.texts] == ["0.25", "-", "1", "0.123"]
    rows, columns = tick_labels(axes, "y"), tick_labels(axes, "x")
    assert columns == ["old", "new $"]
    assert rows[0] == "parent" and "..." in rows[1] and len(rows[1]) <= LONGEST_NAME
    assert bar.get_ylabel() == "share of $"
    assert axes.get_title(loc="left") == "Policies"
    image = axes.images[0]
    np.testing.assert_array_equal(np.ma.filled(image.get_array(), np.nan), values)
    assert image.get_clim() == (0.123456, 1.0)


@pytest.mark.parametrize("shape", [(1, 1), (0, 0), (2, 0), (30, 20)])
@pytest.mark.parametrize("value", [np.nan, 3.0])
def test_tables_of_any_size_are_drawn(shape: tuple[int, int], value: float) -> None:
    """Empty tables, equal figures and no figures are no errors; large tables have larger pictures."""
    n_rows, n_columns = shape
    names = [tuple(f"name {i}" for i in range(n)) for n in shape]
    figure = draw_matrix(Matrix("m", "unit", names[0], names[1], np.full(shape, value)))
    assert len(figure.axes[0].texts) == n_rows * n_columns
    height, width, _ = pixels(figure).shape
    assert (width > WIDTH * SHARPNESS, height > HEIGHT * SHARPNESS) == (n_columns > 5, n_rows > 6)


def test_a_path_has_equal_axes_in_metres() -> None:
    """A metre is as long in both directions; start, end and targets are marked in their places."""
    path = Path(20480, np.array([[0.0, 0.0], [4.0, 1.0]]), np.array([[4.0, 1.0], [2.0, 2.0]]))
    figure = draw_path(path)
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "Path from above, at 20,480 timesteps"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x in m", "y in m")
    assert legend(figure) == ["path", "start", "end", "target"]
    drawn = {str(one.get_label()): np.asarray(one.get_xydata()).tolist() for one in axes.lines}
    assert drawn == {
        "path": [[0, 0], [4, 1]],
        "start": [[0, 0]],
        "target": [[4, 1], [2, 2]],
        "end": [[4, 1]],
    }
    image = pixels(figure)
    (x0, y0), (x1, y1) = axes.transData.transform([[0, 0], [1, 1]])
    assert x1 - x0 == pytest.approx(y1 - y0)
    assert min(share_of(image, colour) for colour in (BLUE, GREEN, ORANGE)) > 0.0002


@pytest.mark.parametrize("n_points", [0, 1])
def test_a_robot_that_stays_where_it_is_has_a_path(n_points: int) -> None:
    """A path without length or points is no error."""
    image = pixels(draw_path(Path(0, np.ones((n_points, 2)), np.zeros((0, 2)))))
    assert (share_of(image, GREEN) > 0) == (n_points == 1)


def test_a_picture_keeps_its_pixels() -> None:
    """The PNG file of a picture holds the same pixels."""
    wanted = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(picture_png(wanted)))), wanted)
