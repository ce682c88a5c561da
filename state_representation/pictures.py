"""Pictures of a representation: its losses, its states beside the ground truth, what it restores, who is near whom."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from state_representation.metrics import neighbours
from state_representation.networks import ImageShape

LEARNING_COLOUR, VALIDATION_COLOUR = "#1f5fa8", "#d95f02"
MAX_POINTS = 3000
N_RESTORED, N_ANCHORS, N_NEAREST = 8, 6, 5


def draw_losses(history: Sequence[Mapping[str, float]], best_epoch: int) -> Figure:
    """Draw each loss over the epochs, of learning and of validation, and mark the epoch whose weights were kept."""
    names = [name for name in history[0] if name != "epoch" and not name.startswith("validation_")]
    names = names if len(names) > 2 else ["total"]  # one loss and its weighted sum say the same
    figure = Figure(figsize=(3.4 * len(names) + 0.6, 3.4), dpi=120, layout="constrained")
    epochs = [row["epoch"] for row in history]
    curves = (("", "learning", LEARNING_COLOUR), ("validation_", "validation", VALIDATION_COLOUR))
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        for prefix, label, colour in curves:
            axes.plot(epochs, [row[prefix + name] for row in history], color=colour, label=label, marker=".")
        axes.axvline(best_epoch, color="black", linewidth=0.8, linestyle="--", label="kept")
        values = [row[prefix + name] for row in history for prefix in ("", "validation_")]
        if 0 < 10 * min(values) < max(values):
            axes.set_yscale("log")
        axes.set_title("weighted sum" if name == "total" else name, fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
    figure.axes[0].set_ylabel("loss")
    figure.axes[-1].legend(fontsize=8)
    return figure


def draw_states(states: np.ndarray, truths: np.ndarray, truth_names: Sequence[str]) -> Figure:
    """Draw the states, along the two directions in which they vary most, a panel for each element of the ground truth.

    :param states: float32, (n, d)
    :param truths: float32, (n, t), metres
    :param truth_names: of its elements
    """
    thinned = np.linspace(0, len(states) - 1, min(MAX_POINTS, len(states))).round().astype(int)
    places, shares = _two_directions(states)
    n_panels = max(1, len(truth_names))
    figure = Figure(figsize=(3.6 * n_panels + 0.4, 3.4), dpi=120, layout="constrained")
    for index, axes in enumerate(np.atleast_1d(figure.subplots(1, n_panels))):
        known = truths[thinned, index] if truth_names else None
        dots = axes.scatter(*places[thinned].T, c=known, s=4, cmap="viridis", linewidths=0)
        if truth_names:
            figure.colorbar(dots, ax=axes, label=f"{truth_names[index]} (m)")
        axes.set_xlabel(f"direction 1 ({shares[0]:.0%} of the variance)", fontsize=9)
        axes.set_ylabel(f"direction 2 ({shares[1]:.0%})", fontsize=9)
        axes.tick_params(labelsize=8)
    figure.suptitle(f"states of {states.shape[1]} elements, {len(thinned):,} held-out frames", fontsize=10)
    return figure


def draw_restored(images: np.ndarray, restored: np.ndarray) -> Figure:
    """Draw pictures above what the decoder makes of their states.

    :param images: uint8, (n, height, width, 3 or 6)
    :param restored: of the same shape; perhaps of the first camera alone
    """
    rows = [_first_camera(images), _first_camera(restored)]
    return _sheet(rows, ["picture", "restored"])


def draw_neighbours(images: np.ndarray, states: np.ndarray, truths: np.ndarray) -> Figure:
    """Draw some frames, each beside those whose states are nearest, with their distance in ground truth.

    :param images: uint8, (n, height, width, 3 or 6)
    :param states: float32, (n, d)
    :param truths: float32, (n, t), metres
    """
    nearest = neighbours(states, N_NEAREST)
    anchors = np.linspace(0, len(images) - 1, N_ANCHORS + 2).round().astype(int)[1:-1]
    chosen = np.concatenate([anchors[None], nearest[anchors].T])
    distances = np.linalg.norm(truths[chosen] - truths[anchors][None], axis=2)
    labels = ["frame", *(f"nearest {rank}" for rank in range(1, len(chosen)))]
    figure = _sheet([_first_camera(images[row]) for row in chosen], labels)
    is_known = truths.shape[1] > 0
    for axes, distance in zip(figure.axes[len(anchors) :], distances[1:].flat, strict=True) if is_known else ():
        axes.set_title(f"{distance:.2f} m", fontsize=8, pad=2)
    how_far = "; how far they are from it in ground truth" if is_known else ""
    figure.suptitle(f"frames and those with the nearest states{how_far}", fontsize=10)
    return figure


def sample(n_frames: int) -> np.ndarray:
    """Give the frames that are restored in a picture, evenly out of all: int64, at most 8."""
    return np.linspace(0, n_frames - 1, min(N_RESTORED, n_frames)).round().astype(int)


def _two_directions(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centred = states.astype(np.float64) - states.mean(axis=0)
    left, strengths, _ = np.linalg.svd(centred, full_matrices=False)
    shares = np.square(strengths) / max(float(np.square(strengths).sum()), 1e-12)
    places = np.zeros((len(states), 2))
    n_found = min(2, len(strengths))
    places[:, :n_found] = left[:, :n_found] * strengths[:n_found]
    return places, np.pad(shares[:2], (0, 2 - n_found))


def _sheet(rows: Sequence[np.ndarray], labels: Sequence[str]) -> Figure:
    n_columns = len(rows[0])
    figure = Figure(figsize=(1.15 * n_columns + 0.9, 1.25 * len(rows) + 0.5), dpi=120, layout="constrained")
    grid = figure.subplots(len(rows), n_columns, squeeze=False)
    for row, label, line in zip(rows, labels, grid, strict=True):
        for image, axes in zip(row, line, strict=True):
            _show(axes, image)
        line[0].set_ylabel(label, fontsize=9)
    return figure


def _show(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _first_camera(images: np.ndarray) -> np.ndarray:
    n_channels = images.shape[-1]
    return images[..., :3] if n_channels >= 3 else np.repeat(images[..., :1], 3, axis=-1)


def picture_sizes(shape: ImageShape) -> str:
    """Give the size of pictures for people: 64 x 64, 2 cameras."""
    return f"{shape[1]} x {shape[0]}" + (", 2 cameras" if shape[2] == 6 else "")
