"""The keyword arguments of an environment: each is one field of a frozen dataclass that checks itself."""

import dataclasses
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from environments.names import unknown_name

OBSERVATIONS = ("ground_truth", "joints", "joints_position", "raw_pixels")
OF_GROUND_TRUTH, OF_JOINTS = ("ground_truth", "joints_position"), ("joints", "joints_position")
"""The observations that hold the one and the other."""
RENDER_MODES = ("rgb_array", "human")


def option(
    default: Any, text: str, choices: Iterable[str] = (), minimum: float | None = None, ranges: bool = False
) -> Any:
    """Give the field of one option.

    :param default: its value when none is given; its type is the type of the option. Two numbers are the ends of an
        interval within [0, 1]
    :param text: one line of help, with the unit
    :param choices: for a word, all the words allowed
    :param minimum: the lowest number allowed; None for any that is positive
    :param ranges: whether ``[lowest, highest]`` may be given in place of a number, to draw from in every episode
    """
    metadata = {"help": text, "choices": tuple(choices), "minimum": minimum, "ranges": ranges}
    return dataclasses.field(default=default, metadata=metadata)


def _is_number(value: object, kind: type, minimum: float | None) -> bool:
    """Tell whether a value is a finite number of a kind, and not too small."""
    numbers = int if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, numbers) or not math.isfinite(value):
        return False
    return value > 0 if minimum is None else value >= minimum


def _is_interval(value: object, accepts: Callable[[object], bool]) -> bool:
    """Tell whether a value is two numbers, the lower one first."""
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(accepts, value)) and value[0] <= value[1]


def _mismatch(field: dataclasses.Field[Any], value: object) -> str | None:
    """Say what an option should have been, or None when the value fits."""
    kind: type = type(field.default)
    minimum = field.metadata["minimum"]
    if kind is bool:
        fits, expected = isinstance(value, bool), "True or False"
    elif kind is tuple:
        fits = _is_interval(value, lambda end: _is_number(end, float, 0.0) and end <= 1)  # type: ignore[operator]
        expected = "[lowest, highest] within 0 and 1"
    else:
        fits = _is_number(value, kind, minimum)
        noun = "integer" if kind is int else "number"
        expected = f"a positive {noun}" if minimum is None else f"a finite {noun} not below {minimum}"
        if field.metadata["ranges"]:
            fits = fits or _is_interval(value, lambda end: _is_number(end, kind, minimum))
            expected += ", or [lowest, highest] of two"
    return None if fits else f"{field.name} must be {expected}, not {value!r}"


def _wrong_choice(field: dataclasses.Field[Any], value: object) -> str | None:
    """Say which word an option should have been, or None when the value is one of its choices."""
    choices = field.metadata["choices"]
    if value == field.default or value in choices:
        return None
    if isinstance(value, str):
        return unknown_name(field.name, value, choices)
    return f"{field.name} must be one of {', '.join(choices)}, not {value!r}"


@dataclass(frozen=True)
class Settings:
    """Options that belong together; made only of fields from ``option``.

    :raises ValueError: for a value of a wrong type or out of range, in one line
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check = _wrong_choice if field.metadata["choices"] else _mismatch
            problem = check(field, getattr(self, field.name))
            if problem is not None:
                raise ValueError(problem)


@dataclass(frozen=True)
class EnvOptions(Settings):
    """What every environment of the package can be told."""

    is_discrete: bool = option(True, "a finite choice of actions instead of a vector in [-1, 1]")
    action_repeat: int = option(1, "physics steps that one action lasts")
    random_target: bool = option(False, "draw the target anew in every episode")
    target_region: tuple[float, float] = option(
        (0.0, 1.0), "share of each axis of the range of random targets from which they are drawn"
    )
    multi_view: bool = option(False, "a second camera, its picture in channels 3 to 5 of raw_pixels")
    shape_reward: bool = option(False, "a dense reward in place of the sparse one")
    action_joints: bool = option(False, "the action moves the joints instead of the effector")
    observation: str = option("ground_truth", "what the policy sees", choices=OBSERVATIONS)
    observe_task: bool = option(False, "ground truth is the same for all tasks and tells which of them is to be done")
    render_mode: str | None = option(None, "what render() does", choices=RENDER_MODES)
    image_size: int = option(64, "height and width of raw_pixels, in pixels")
    camera_yaw: float = option(0.0, "turn of the first camera about the vertical, in degrees", minimum=-360.0)
    camera_pitch: float = option(0.0, "turn of the first camera upwards, in degrees", minimum=-180.0)
    camera_distance: float = option(1.0, "factor of the first camera's distance")
    camera_fov: float = option(0.0, "degrees by which the first camera sees more", minimum=-180.0)
    render_size: int = option(320, "height and width of the pictures of render(), in pixels")
    max_steps: int = option(1000, "an episode is truncated when its physics steps exceed this number")
