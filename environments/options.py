"""The keyword arguments of an environment: each is one field of a frozen dataclass that checks itself."""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from environments.names import unknown_name

OBSERVATIONS = ("ground_truth", "joints", "joints_position", "raw_pixels")
RENDER_MODES = ("rgb_array", "human")


def option(default: Any, text: str, choices: Iterable[str] = ()) -> Any:
    """Give the field of one option.

    :param default: its value when none is given; its type is the type of the option
    :param text: one line of help, with the unit
    :param choices: for a word, all the words allowed
    """
    return dataclasses.field(default=default, metadata={"help": text, "choices": tuple(choices)})


def _mismatch(field: dataclasses.Field[Any], value: object) -> str | None:
    """Say what an option should have been, or None when the value fits."""
    if isinstance(field.default, bool):
        fits, expected = isinstance(value, bool), "True or False"
    elif isinstance(field.default, int):
        fits, expected = isinstance(value, int) and not isinstance(value, bool) and value > 0, "a positive integer"
    else:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
        expected = "a positive number"
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
    multi_view: bool = option(False, "a second camera, its picture in channels 3 to 5 of raw_pixels")
    shape_reward: bool = option(False, "a dense reward in place of the sparse one")
    action_joints: bool = option(False, "the action moves the joints instead of the effector")
    observation: str = option("ground_truth", "what the policy sees", choices=OBSERVATIONS)
    render_mode: str | None = option(None, "what render() does", choices=RENDER_MODES)
    image_size: int = option(64, "height and width of raw_pixels, in pixels")
    render_size: int = option(320, "height and width of the pictures of render(), in pixels")
    max_steps: int = option(1000, "an episode is truncated when its physics steps exceed this number")
