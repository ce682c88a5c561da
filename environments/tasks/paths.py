"""Drive along a closed path around the centre of the floor, as fast as possible.

The tasks of continual learning of Traoré et al. 2019 (DisCoRL, arXiv 1907.05855).
"""

import math
from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from environments.camera import Vector
from environments.options import EnvOptions, Settings, option
from environments.simulation import Colour
from environments.tasks.field import FieldTask

PATH_SIZE_M = 0.6125
"""Radius of the circle, half the side of the square, and half the width of the eight over the root of two."""
SCALE = 10.0
N_STEPS_BACK = 9
BUMP_REWARD = -100.0
N_SHORT_STEPS = 75
N_POINTS = 120
AHEAD = 5
"""Points of a path by which a script that follows it looks ahead."""
BLUE: Colour = (0.1, 0.2, 0.9)
GREEN: Colour = (0.1, 0.7, 0.15)
ANGLES = tuple(2 * math.pi * number / N_POINTS for number in range(N_POINTS))


def _on_square(angle: float) -> Vector:
    """Give the point of the square in a direction from the centre."""
    x, y = math.cos(angle), math.sin(angle)
    scale = PATH_SIZE_M / max(abs(x), abs(y))
    return (scale * x, scale * y, 0.0)


def _on_lemniscate(angle: float) -> Vector:
    """Give a point of Bernoulli's lemniscate: x = a cos t / (1 + sin^2 t), y = x sin t, a the root of 2 R^2."""
    x = math.sqrt(2) * PATH_SIZE_M * math.cos(angle) / (1 + math.sin(angle) ** 2)
    return (x, x * math.sin(angle), 0.0)


class FollowPath(FieldTask):
    """Stay on the path and keep going: the reward is high near the path, in proportion to the way made.

    The factor for the way is the distance to the position nine steps before, and 1 while there is none.

    :param options: of the environment
    :param settings: of the task
    """

    target_name = "centre"
    points: ClassVar[Sequence[Vector]]
    """Of the path, in order, ``N_POINTS`` of them; the first follows on the last."""

    def __init__(self, options: EnvOptions, settings: Settings) -> None:
        super().__init__(options, settings)
        self._last: deque[Vector] = deque(maxlen=N_STEPS_BACK + 1)

    @classmethod
    def find_conflict(cls, options: EnvOptions, settings: Settings) -> str | None:
        """Say which option has no meaning here, or give None.

        :param options: the common ones
        :param settings: of the task
        """
        if options.random_target:
            return "random_target is not supported by this task, the centre of its path does not move"
        if options.shape_reward:
            return "shape_reward is not supported by this task, its reward is dense already"
        return None

    def reset(self, rng: np.random.Generator) -> Vector:
        """Draw the start of the robot.

        :param rng: the only source of chance
        """
        self._last.clear()
        return super().reset(rng)

    def evaluate(self, position: Vector, has_bumped: bool) -> tuple[float, bool, bool | None]:
        """Give the reward, terminated (never) and no success: there is only better and worse.

        :param position: of the robot, in world metres
        :param has_bumped: whether the bounds blocked its action
        """
        self._last.append(position)
        way = math.dist(position, self._last[0]) if len(self._last) > N_STEPS_BACK else 1.0
        reward = SCALE * (1.0 - self._offset(position[0], position[1]) ** 2) * way
        return reward + (BUMP_REWARD if has_bumped else 0.0), False, None

    def waypoint(self, position: Vector) -> Vector:
        """Give the place to go to next: a bit further on along the path.

        :param position: of the robot, in world metres
        """
        nearest = min(range(N_POINTS), key=lambda index: math.dist(self.points[index], position))
        return self.points[(nearest + AHEAD) % N_POINTS]

    @abstractmethod
    def _offset(self, x: float, y: float) -> float:
        """Tell how far a position is off the path: zero on it."""


@dataclass(frozen=True)
class CircleSettings(Settings):
    """What the task can be told."""

    short_episodes: bool = option(False, "end an episode after 75 steps")


class FollowCircle(FollowPath):
    """A circle around the centre.

    :param options: of the environment
    :param settings: of the task
    """

    colour = BLUE
    points = tuple((PATH_SIZE_M * math.cos(angle), PATH_SIZE_M * math.sin(angle), 0.0) for angle in ANGLES)
    settings_type: ClassVar[type[Settings]] = CircleSettings

    def __init__(self, options: EnvOptions, settings: CircleSettings) -> None:
        super().__init__(options, settings)
        if settings.short_episodes:
            self.max_steps = N_SHORT_STEPS - 1

    def _offset(self, x: float, y: float) -> float:
        return math.hypot(x, y) - PATH_SIZE_M


class FollowSquare(FollowPath):
    """A square around the centre, its sides along the axes."""

    colour = GREEN
    points = tuple(_on_square(angle) for angle in ANGLES)

    def _offset(self, x: float, y: float) -> float:
        return max(abs(x), abs(y)) - PATH_SIZE_M


@dataclass(frozen=True)
class EightSettings(Settings):
    """What the task can be told."""

    lemniscate: bool = option(False, "Bernoulli's lemniscate, with (x^2 + y^2)^2, in place of the published formula")


class FollowEight(FollowPath):
    """An eight whose loops lie along x, by the published formula: it wants x^2 + y^2 = 2 R^2 (x^2 - y^2).

    Bernoulli's lemniscate has the square of x^2 + y^2 there. Without it only the centre is on the path, and the reward
    is highest for driving to and fro along x.

    :param options: of the environment
    :param settings: of the task
    """

    colour = GREEN
    points = tuple(_on_lemniscate(angle) for angle in ANGLES)
    settings_type: ClassVar[type[Settings]] = EightSettings

    def __init__(self, options: EnvOptions, settings: EightSettings) -> None:
        super().__init__(options, settings)
        self._is_lemniscate = settings.lemniscate

    def _offset(self, x: float, y: float) -> float:
        square = x * x + y * y
        left = square * square if self._is_lemniscate else square
        return left - 2.0 * PATH_SIZE_M**2 * (x * x - y * y)
