"""A series of points that never grows beyond a bound, and the ways in which it is shown."""

from array import array
from dataclasses import dataclass

import numpy as np

CAPACITY = 20_000
SHOWN = 500
"""Points of a series that are shown at most."""
BANDS = 100


@dataclass(frozen=True, eq=False)
class Band:
    """Neighbouring points taken together.

    :param x: float64, (n,), their mean place
    :param mean: float64, (n,)
    :param std: float64, (n,), ddof = 0
    """

    x: np.ndarray
    mean: np.ndarray
    std: np.ndarray


class Series:
    """Points in the order in which they came.

    At its capacity neighbours are merged to the lowest and the highest of them, so that no peak is lost.

    :param capacity: points held at most, at least 16
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._x, self._y = array("d"), array("d")

    def __len__(self) -> int:
        return len(self._x)

    def add(self, x: float, y: float) -> None:
        """Append a point."""
        self._x.append(x)
        self._y.append(y)
        if len(self._x) >= self._capacity:
            x_kept, y_kept = self.extremes(self._capacity // 2)
            self._x, self._y = array("d", x_kept), array("d", y_kept)

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Give all points: two arrays, float64, (n,)."""
        return np.array(self._x), np.array(self._y)

    def extremes(self, n_points: int = SHOWN) -> tuple[np.ndarray, np.ndarray]:
        """Give at most so many points: the lowest and the highest of as many stretches, and the first and the last.

        :param n_points: at least 8
        :return: two arrays, float64, (m,)
        """
        x, y = self.points()
        if len(x) <= n_points:
            return x, y
        edges = np.linspace(0, len(x), (n_points - 2) // 2 + 1).astype(int)
        finite = np.where(np.isfinite(y), y, np.nan)
        chosen = {0, len(x) - 1}
        for first, end in zip(edges[:-1], edges[1:], strict=True):
            part = finite[first:end]
            if not np.isnan(part).all():
                chosen |= {int(first + np.nanargmin(part)), int(first + np.nanargmax(part))}
        kept = sorted(chosen)
        return x[kept], y[kept]

    def average(self, window: int) -> tuple[np.ndarray, np.ndarray]:
        """Give the mean of each value and those before it, ``window`` in all or as many as there are.

        :return: two arrays, float64, (m,), at most SHOWN points
        """
        x, y = self.points()
        finite = np.isfinite(y)
        x, y = x[finite], y[finite]
        sums = np.concatenate([[0.0], np.cumsum(y)])
        ends = np.arange(1, len(y) + 1)
        starts = np.maximum(ends - window, 0)
        means = (sums[ends] - sums[starts]) / (ends - starts)
        kept = np.unique(np.linspace(0, max(0, len(x) - 1), min(SHOWN, len(x))).astype(int))
        return x[kept], means[kept]

    def band(self, n_bands: int = BANDS) -> Band:
        """Give means and standard deviations of stretches of three points or more; infinite ones and NaN are left out.

        :param n_bands: stretches at most
        """
        x, y = self.points()
        finite = np.isfinite(y)
        x, y = x[finite], y[finite]
        n_stretches = min(n_bands, max(1, len(x) // 3))
        if not len(x):
            return Band(x, y, y)
        edges = np.linspace(0, len(x), n_stretches + 1).astype(int)
        counts, starts = np.diff(edges), edges[:-1]
        means = np.add.reduceat(y, starts) / counts
        squares = np.add.reduceat((y - np.repeat(means, counts)) ** 2, starts) / counts
        return Band(np.add.reduceat(x, starts) / counts, means, np.sqrt(squares))
