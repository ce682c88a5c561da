"""How much of the ground truth is in learnt states, and in which form."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

N_NEIGHBOURS = 5
RIDGE = 1e-6
MAX_FRAMES = 4000
"""Of which neighbours are sought; more are thinned out evenly."""


def neighbours(states: np.ndarray, k: int = N_NEIGHBOURS) -> np.ndarray:
    """Give the k nearest other states of each one, the nearest first: int64, (n, k), or all others where they are few.

    :param states: float, (n, d), n > 1
    """
    k = min(k, len(states) - 1)
    squares = np.square(states).sum(axis=1)
    found = []
    for start in range(0, len(states), 500):
        part = slice(start, start + 500)
        distances = squares[part, None] - 2 * states[part] @ states.T + squares[None]
        rows = np.arange(len(distances))
        distances[rows, rows + start] = np.inf
        nearest = np.argpartition(distances, k - 1, axis=1)[:, :k]
        order = np.argsort(np.take_along_axis(distances, nearest, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(nearest, order, axis=1))
    return np.concatenate(found)


def knn_mse(states: np.ndarray, truths: np.ndarray, k: int = N_NEIGHBOURS) -> float:
    """Give the mean squared distance, in ground truth, of each frame to its k nearest in states; less is better.

    T. Lesort et al., Deep unsupervised state representation learning with robotic priors, 2017.

    :param states: (n, d)
    :param truths: (n, t), metres
    """
    nearest = neighbours(states, k)
    return float(np.square(truths[nearest] - truths[:, None]).sum(axis=2).mean())


def ground_truth_correlation(states: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Give for each element of the ground truth its largest absolute correlation with any element of the states: (t,).

    A. Raffin et al., S-RL Toolbox, 2018. States that do not vary correlate with nothing; of an element of the ground
    truth that does not vary nothing can be said: NaN.
    """
    centred = [values - values.mean(axis=0) for values in (truths.astype(np.float64), states.astype(np.float64))]
    lengths = [np.linalg.norm(values, axis=0) for values in centred]
    known, found = (
        np.divide(values, length, out=np.zeros_like(values), where=length > 1e-9 * max(1.0, float(length.max())))
        for values, length in zip(centred, lengths, strict=True)
    )
    correlations = np.abs(known.T @ found).max(axis=1)
    return np.where(varies(truths), correlations, np.nan)


def linear_probe(
    states: np.ndarray, truths: np.ndarray, held_out_states: np.ndarray, held_out_truths: np.ndarray
) -> np.ndarray:
    """Give for each element of the ground truth the share of its variance that a linear map explains: R^2, (t,).

    The map is fitted by least squares on the frames of some episodes, and judged on those of others; it can be
    negative there. NaN for an element that does not vary in those.
    """
    mean, spread = states.mean(axis=0), states.std(axis=0) + 1e-8
    inputs, held_out = (
        np.concatenate([(values - mean) / spread, np.ones((len(values), 1))], axis=1).astype(np.float64)
        for values in (states, held_out_states)
    )
    normal = inputs.T @ inputs + RIDGE * len(inputs) * np.eye(inputs.shape[1])
    weights = np.linalg.solve(normal, inputs.T @ truths.astype(np.float64))
    errors = np.square(held_out_truths - held_out @ weights).sum(axis=0)
    variance = np.square(held_out_truths - held_out_truths.mean(axis=0)).sum(axis=0)
    return np.where(varies(held_out_truths), 1 - errors / np.maximum(variance, 1e-12), np.nan)


def varies(truths: np.ndarray) -> np.ndarray:
    """Tell which elements of the ground truth are not the same in all frames: bool, (t,)."""
    found: np.ndarray = np.ptp(truths, axis=0) > 1e-6
    return found


def effective_rank(states: np.ndarray) -> float:
    """Give in how many directions states vary: exp of the entropy of the singular values' shares; 0 where none does.

    O. Roy and M. Vetterli, The effective rank, 2007, of states that are centred.
    """
    values = np.linalg.svd(states.astype(np.float64) - states.mean(axis=0), compute_uv=False)
    if values.sum() < 1e-9:
        return 0.0
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


@dataclass(frozen=True)
class Metrics:
    """What is measured of a representation, on frames of episodes that it has not learnt from.

    :param knn_mse: see `knn_mse`, square metres; None where no ground truth is known
    :param correlations: see `ground_truth_correlation`
    :param explained: see `linear_probe`
    :param rank: see `effective_rank`
    :param truth_names: of the elements of the ground truth
    :param state_dim: of the states
    :param n_frames: that were held out
    """

    knn_mse: float | None
    correlations: tuple[float, ...]
    explained: tuple[float, ...]
    rank: float
    truth_names: tuple[str, ...]
    state_dim: int
    n_frames: int

    @property
    def mean_correlation(self) -> float | None:
        """The mean over the elements of the ground truth; the S-RL Toolbox's GTC mean."""
        return _known_mean(self.correlations)

    @property
    def mean_explained(self) -> float | None:
        """The mean R^2 of the linear probe."""
        return _known_mean(self.explained)

    @property
    def warning(self) -> str | None:
        """One line where states vary in fewer directions than the ground truth does."""
        needed = max(1, min(len(self.truth_names), self.state_dim))
        if self.rank >= 0.75 * needed:
            return None
        return (
            f"collapse: the states vary in {self.rank:.2g} directions (effective rank), the ground truth in {needed}; "
            "not all that tells frames apart is in them"
        )

    def to_record(self) -> dict[str, Any]:
        """Give all of it as JSON knows it."""
        each = {name: [_plain(value) for value in getattr(self, name)] for name in ("correlations", "explained")}
        return {**vars(self), **each, "gtc_mean": self.mean_correlation, "probe_mean": self.mean_explained}


def _known_mean(values: Sequence[float]) -> float | None:
    """Give the mean of those that are numbers; None where none is."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else None


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def measure(states: np.ndarray, truths: np.ndarray, is_held_out: np.ndarray, truth_names: Sequence[str]) -> Metrics:
    """Measure a representation.

    :param states: float32, (n, d)
    :param truths: float32, (n, t)
    :param is_held_out: bool, (n,), the frames of episodes that nothing was learnt from
    :param truth_names: of the elements of the ground truth
    """
    held_out, known = states[is_held_out], truths[is_held_out]
    if not truth_names:
        return Metrics(None, (), (), effective_rank(held_out), (), states.shape[1], len(held_out))
    thinned = np.linspace(0, len(held_out) - 1, min(MAX_FRAMES, len(held_out))).round().astype(int)
    return Metrics(
        knn_mse=knn_mse(held_out[thinned], known[thinned]),
        correlations=tuple(ground_truth_correlation(held_out, known).tolist()),
        explained=tuple(linear_probe(states[~is_held_out], truths[~is_held_out], held_out, known).tolist()),
        rank=effective_rank(held_out),
        truth_names=tuple(truth_names),
        state_dim=states.shape[1],
        n_frames=len(held_out),
    )
