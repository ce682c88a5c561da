"""What a model zip's pickled fields say, as plain values: schedules, training frequencies, action noise."""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rl_baselines.errors import UsageError
from rl_baselines.foreign.restricted_pickle import Record, attributes_of, class_of, read_pickle

NOISE_CLASSES = {"NormalActionNoise": "normal", "OrnsteinUhlenbeckActionNoise": "ornstein-uhlenbeck"}


def told_by(text: Any, trusted: bool = False) -> Any:
    """Tell a pickled object in plain values; None where that cannot be done.

    A schedule that falls linearly from x to 0 is told as ``lin_x``, as rl-zoo writes it.

    :param text: the pickle in base64
    :param trusted: load it as Python does
    """
    try:
        return _plain(read_pickle(base64.b64decode(text), "a field", trusted))
    except (UsageError, binascii.Error, TypeError, ValueError):
        return None


def _plain(value: Any) -> Any:
    """Tell an object in plain values; None where that cannot be done."""
    if isinstance(value, (bool, int, float, str)):
        return value
    name, attributes = class_of(value), attributes_of(value)
    if name == "FloatSchedule":
        return _plain(attributes.get("value_schedule"))
    if name == "ConstantSchedule":
        return _number(attributes.get("val"))
    if name == "LinearSchedule":
        return _linear(attributes)
    if name == "TrainFreq":
        return _train_freq(value.arguments if isinstance(value, Record) else value)
    if name == "VectorizedActionNoise":
        return _plain(attributes.get("base_noise", attributes.get("_base_noise")))
    if name in NOISE_CLASSES:
        return _noise(name, attributes)
    if isinstance(value, Record):
        return _closure(value)
    return _sampled(value) if callable(value) and not isinstance(value, type) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _linear(attributes: Mapping[str, Any]) -> str | None:
    start, end, share = (_number(attributes.get(name)) for name in ("start", "end", "end_fraction"))
    return f"lin_{start!r}" if start is not None and end == 0.0 and share == 1.0 else None


def _train_freq(parts: Any) -> list[Any] | None:
    if len(parts) != 2:
        return None
    frequency, unit = parts
    unit = unit.arguments[0] if isinstance(unit, Record) and unit.arguments else getattr(unit, "value", unit)
    return [frequency, unit] if isinstance(frequency, int) and unit in ("step", "episode") else None


def _noise(name: str, attributes: Mapping[str, Any]) -> dict[str, Any] | None:
    """Tell noise of mean 0 and one deviation for all actions, which is all that our settings can say."""
    mean, deviation = (np.asarray(attributes.get(key), dtype=np.float64) for key in ("_mu", "_sigma"))
    if not deviation.size or mean.any() or not (deviation == deviation.flat[0]).all():
        return None
    return {"noise_type": NOISE_CLASSES[name], "noise_std": float(deviation.flat[0])}


def _closure(function: Record) -> Any:
    """Tell the schedule functions of Stable-Baselines3 before 2.6 and of rl-zoo, which hold one number."""
    parts = function.state if isinstance(function.state, tuple) else ()
    told = {name: item for part in parts if isinstance(part, dict) for name, item in part.items()}
    cells = told.get("__closure__")
    if not isinstance(cells, tuple) or len(cells) != 1 or not isinstance(cells[0], Record):
        return None
    number = _number(cells[0].arguments[-1]) if cells[0].arguments else None
    if number is None:
        return None
    kinds = {"constant_fn.<locals>.func": number, "linear_schedule.<locals>.func": f"lin_{number!r}"}
    return kinds.get(str(told.get("__qualname__")))


def _sampled(function: Callable[[float], Any]) -> Any:
    """Tell a trusted function by its values at the start, the middle and the end."""
    try:
        start, middle, end = (float(function(progress)) for progress in (1.0, 0.5, 0.0))
    except (TypeError, ValueError, ArithmeticError, AttributeError, NameError, LookupError):
        return None
    if start == middle == end:
        return start
    return f"lin_{start!r}" if end == 0.0 and np.isclose(middle, start / 2) else None
