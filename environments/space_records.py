"""Spaces as plain values for JSON, and back, exact to the last bit of every bound."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

SpaceRecord = dict[str, Any]


def record_space(space: spaces.Space[Any]) -> SpaceRecord:
    """Give a space of arrays or whole numbers as plain values.

    Bounds that are all equal are written once, and infinite ones as text, which JSON has no number for.

    :raises ValueError: for a space of another kind, such as a dictionary
    """
    if isinstance(space, spaces.Box):
        bounds = {"low": _record_bound(space.low), "high": _record_bound(space.high)}
        return {"kind": "box", "shape": list(space.shape), "dtype": str(space.dtype), **bounds}
    if isinstance(space, spaces.Discrete):
        return {"kind": "discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1 and not space.start.any():
        return {"kind": "multi_discrete", "nvec": space.nvec.tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {"kind": "multi_binary", "shape": list(space.shape)}
    raise ValueError(f"expected a space of arrays or whole numbers, got {type(space).__name__}")


def space_of(record: Mapping[str, Any]) -> spaces.Space[Any]:
    """Give the space that was recorded.

    :param record: as `record_space` gives it
    :raises ValueError: for anything else
    """
    try:
        kind = record["kind"]
        if kind == "box":
            shape, dtype = tuple(record["shape"]), np.dtype(record["dtype"])
            low, high = (_bound_of(record[name], shape, dtype) for name in ("low", "high"))
            return spaces.Box(low, high, shape, dtype.type)
        if kind == "discrete":
            return spaces.Discrete(record["n"], start=record["start"])
        if kind == "multi_discrete":
            return spaces.MultiDiscrete(record["nvec"])
        if kind == "multi_binary":
            n_bits = record["shape"]
            return spaces.MultiBinary(n_bits[0] if len(n_bits) == 1 else n_bits)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"cannot read the space {record}: {error}") from None
    raise ValueError(f"cannot read the space {record}: unknown kind {kind!r}")


def describe_space(record: Mapping[str, Any]) -> str:
    """Give a recorded space in a few words.

    :param record: as `record_space` gives it
    """
    if record["kind"] == "discrete":
        return f"{record['n']} discrete"
    if record["kind"] == "multi_discrete":
        return "discrete " + " x ".join(map(str, record["nvec"]))
    shape = " x ".join(map(str, record["shape"]))
    return f"{shape} bits" if record["kind"] == "multi_binary" else f"{shape} {record['dtype']}"


def _record_bound(bound: np.ndarray) -> Any:
    values = [_plain(value) for value in bound.ravel().tolist()]
    return values[0] if len(set(values)) == 1 else values


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _bound_of(value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    convert = float if dtype.kind == "f" else int
    if isinstance(value, list):
        return np.array([convert(one) for one in value], dtype).reshape(shape)
    return np.full(shape, convert(value), dtype)
