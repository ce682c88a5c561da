"""What a run tells those who watch it, and who they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Scalars:
    """Figures of one moment.

    :param timesteps: of the run; negative ones are of its parent, counted back from the hand-over
    :param values: by name, such as ``train/learning_rate``; infinite ones and NaN too
    """

    timesteps: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Text:
    """Words that replace those of the same name.

    :param text: plain, of any number of lines
    """

    name: str
    text: str


@dataclass(frozen=True, eq=False)
class Picture:
    """What the camera saw at the end of an episode of an evaluation.

    :param pixels: uint8, (height, width, 3)
    """

    timesteps: int
    pixels: np.ndarray


@dataclass(frozen=True, eq=False)
class Path:
    """Where a robot went in an episode of an evaluation, seen from above.

    :param points: float64, (n, 2), x and y in metres, the start first
    :param targets: float64, (m, 2), x and y in metres
    """

    timesteps: int
    points: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True, eq=False)
class Matrix:
    """A table of figures, such as policies against environments.

    :param name: of the window
    :param unit: what a figure says
    :param values: float64, (rows, columns), NaN where there is none
    """

    name: str
    unit: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: np.ndarray


Event = Scalars | Text | Picture | Path | Matrix


class Watcher(Protocol):
    """One that is told. Its methods return at once and never raise."""

    def put(self, event: Event) -> None:
        """Take an event."""

    def close(self) -> None:
        """Hand on what is still held, within a few seconds."""
