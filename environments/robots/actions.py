"""Actions as plain Python numbers, checked: faster for a few elements than arrays, and never silently wrong."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def action_index(action: Any, n_actions: int) -> int:
    """Give a discrete action as an int.

    :param action: an integer of any type
    :param n_actions: how many actions there are
    :raises ValueError: when it is not one of them
    """
    index = int(action)
    if not 0 <= index < n_actions or index != action:
        raise ValueError(f"the action must be an integer from 0 to {n_actions - 1}, not {action!r}")
    return index


def action_vector(action: Any, size: int) -> list[float]:
    """Give a continuous action as a list of floats, clipped to [-1, 1].

    :param action: an array or a sequence of numbers
    :param size: how many elements there should be
    :raises ValueError: for another number of elements, or for one that is not finite
    """
    values = action.tolist() if hasattr(action, "tolist") else list(action)
    if not isinstance(values, list) or len(values) != size or not all(map(math.isfinite, values)):
        raise ValueError(f"the action must be {size} finite numbers, not {action!r}")
    return [min(max(value, -1.0), 1.0) for value in values]


def index_toward(moves: Sequence[Sequence[float]], start: Sequence[float], goal: Sequence[float]) -> int:
    """Give the index of the move that ends nearest to a goal; of equal ones the first.

    :param moves: along each axis, in metres
    :param start: where they begin, in metres
    :param goal: likewise
    """
    ends = [[place + way for place, way in zip(start, move, strict=True)] for move in moves]
    return min(range(len(ends)), key=lambda index: math.dist(ends[index], goal))


def vector_toward(start: Sequence[float], goal: Sequence[float], step: float) -> np.ndarray:
    """Give the continuous action that leads straight to a goal, or as far as it goes: float32, (n,).

    :param start: of n values, such as positions in metres or angles in radians
    :param goal: likewise
    :param step: by how much an element of 1 changes a value
    """
    ways = np.subtract(goal, start) / step
    return (ways / max(1.0, float(np.abs(ways).max()))).astype(np.float32)
