"""Nested state on disk as JSON and arrays: what resuming a run needs is read back to the last bit, without pickle.

Dictionaries, lists, numbers, texts and None go into a JSON file as they are; arrays, tensors and numpy's numbers go
into an uncompressed ``.npz`` beside it, and the JSON says where they belong.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rl_baselines.errors import UsageError

JSON_NAME, ARRAYS_NAME = "state.json", "arrays.npz"
_MARK = "__array__"
_TORN = (OSError, EOFError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile)


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write nested state into a folder; tuples become lists.

    :param state: keys of dictionaries are texts
    :raises TypeError: for a value that is neither JSON nor an array, naming its place
    """
    arrays: dict[str, np.ndarray] = {}
    content = _split(state, "", arrays)
    (folder / JSON_NAME).write_text(json.dumps(content, indent=1))
    np.savez(folder / ARRAYS_NAME, **arrays)  # type: ignore[arg-type]


def read_state(folder: Path) -> dict[str, Any]:
    """Read nested state; tensors come back as arrays.

    :raises UsageError: when it is missing or torn
    """
    try:
        content = json.loads((folder / JSON_NAME).read_text())
        with np.load(folder / ARRAYS_NAME, allow_pickle=False) as arrays:
            joined: dict[str, Any] = _join(content, arrays)
    except _TORN as error:
        raise UsageError(f"cannot read the state in {folder}: {error}") from None
    return joined


def _split(value: Any, place: str, arrays: dict[str, np.ndarray]) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key == _MARK:
                raise TypeError(f"the key {key!r} at {place or 'the top'} cannot be saved")
        return {key: _split(part, f"{place}/{key}", arrays) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_split(part, f"{place}/{index}", arrays) for index, part in enumerate(value)]
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype != object:
        name = _free_name(place.strip("/"), arrays)
        axes = _axes_in_memory(np.asarray(value))
        arrays[name] = np.transpose(value, axes)
        return {_MARK: name, "scalar": isinstance(value, np.generic), "axes": axes}
    raise TypeError(f"a {type(value).__name__} at {place} cannot be saved")


def _axes_in_memory(array: np.ndarray) -> list[int]:
    """Give the axes from the one whose neighbours lie farthest apart in memory to the nearest.

    The layout is part of the state: a convolution of pictures whose channels lie last rounds differently.
    """
    return sorted(range(array.ndim), key=lambda axis: (-array.strides[axis], axis))


def _free_name(name: str, arrays: Mapping[str, np.ndarray]) -> str:
    """Give a name that no array has, and that means nothing else to `np.savez` and `np.load`."""
    while name in arrays or name in ("", "file", "allow_pickle") or name.endswith(".npy"):
        name += "~"
    return name


def _join(content: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(content, dict):
        if _MARK in content:
            array = arrays[content[_MARK]].transpose(np.argsort(content["axes"]))
            return array[()] if content["scalar"] else array
        return {key: _join(part, arrays) for key, part in content.items()}
    if isinstance(content, list):
        return [_join(part, arrays) for part in content]
    return content


def first_difference(one: Any, other: Any, place: str = "") -> str | None:
    """Name the first place where two nested states differ, and how; None when they are equal to the last bit.

    A NaN equals itself, and 0.0 differs from -0.0; a tuple counts as a list, a tensor and one of numpy's numbers as an
    array.
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in [*one, *(key for key in other if key not in one)]:
            if key not in one or key not in other:
                return _at(f"{place}/{key}", "only in one of them")
            if found := first_difference(one[key], other[key], f"{place}/{key}"):
                return found
        return None
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) != len(other):
            return _at(place, f"{_described(one)} and {_described(other)}")
        found_all = (first_difference(a, b, f"{place}/{i}") for i, (a, b) in enumerate(zip(one, other, strict=True)))
        return next(filter(None, found_all), None)
    arrays = (np.ndarray, np.generic, torch.Tensor)
    if isinstance(one, arrays) and isinstance(other, arrays):
        difference = _array_difference(_as_array(one), _as_array(other))
        return None if difference is None else _at(place, difference)
    # The text of a number tells every bit of it.
    is_same = type(one) is type(other) and repr(one) == repr(other)
    return None if is_same else _at(place, f"{_described(one)} and {_described(other)}")


def _at(place: str, difference: str) -> str:
    return f"{place.strip('/')}: {difference}" if place else difference


def _as_array(value: Any) -> np.ndarray:
    return np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)


def _described(value: Any) -> str:
    if isinstance(value, (np.ndarray, np.generic, torch.Tensor)):
        return f"{value.dtype} {tuple(value.shape)}"
    return f"{len(value)} items" if isinstance(value, (Mapping, list, tuple)) else repr(value)


def _array_difference(one: np.ndarray, other: np.ndarray) -> str | None:
    if one.shape != other.shape or one.dtype != other.dtype:
        return f"{_described(one)} and {_described(other)}"
    ours, theirs = one.tobytes(), other.tobytes()
    if ours == theirs:
        return None
    unequal = np.frombuffer(ours, np.uint8) != np.frombuffer(theirs, np.uint8)
    differing = unequal.reshape(one.size, one.itemsize).any(axis=1)
    words = f"{differing.sum()} of {one.size} numbers differ"
    if one.dtype.kind not in "biuf":
        return words
    gaps = np.abs(np.subtract(one.ravel()[differing], other.ravel()[differing], dtype=np.float64))
    return words if np.isnan(gaps).all() else f"{words}, by {np.nanmax(gaps):.3g} at most"
