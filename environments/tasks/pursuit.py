"""Stay close to something that moves, or away from it."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from environments.camera import Vector
from environments.options import EnvOptions, Settings, option
from environments.simulation import Colour
from environments.tasks.field import FieldTask

BOUND_M = 0.85
SPEED_M = 0.05
N_STEPS_A_TURN = 70
CHASE_NEAR_M, CHASE_M, CHASE_FAR_M = 0.3, 0.35, 0.4
NEARLY_ZERO_M = 1e-9
ESCAPE_DISTANCE_M = 0.4
BAND_NEAR_M, BAND_FAR_M = 0.3, 0.6
REFUGES: tuple[Vector, ...] = tuple((x, y, 0.0) for x in (-0.7, 0.0, 0.7) for y in (-0.7, 0.0, 0.7) if x or y)
"""Places to flee to, at the border of the floor."""
FLIGHT = 0.5
"""Way of the pursuer in the time in which the robot makes a metre, in metres."""
YELLOW: Colour = (0.95, 0.8, 0.05)


class MovingMarker(FieldTask):
    """A marker that moves by itself between the bounds of the floor.

    :param options: of the environment
    :param settings: of the task
    """

    target_low = (-BOUND_M, -BOUND_M, 0.0)
    target_high = (BOUND_M, BOUND_M, 0.0)
    marker = "marker_t.urdf"
    colour = YELLOW

    @classmethod
    def find_conflict(cls, options: EnvOptions, settings: Settings) -> str | None:
        """Say which option has no meaning here, or give None.

        :param options: the common ones
        :param settings: of the task
        """
        return "shape_reward is not supported by this task, it has no dense reward" if options.shape_reward else None


class Chase(MovingMarker):
    """Follow the marker at a distance. It drives in a circle, as far as the bounds let it.

    :param options: of the environment
    :param settings: none
    """

    def __init__(self, options: EnvOptions, settings: Settings) -> None:
        super().__init__(options, settings)
        self._n_moves = 0

    def reset(self, rng: np.random.Generator) -> Vector:
        """Draw the start of the robot and, if asked for, that of the marker.

        :param rng: the only source of chance
        """
        self._n_moves = 0
        return super().reset(rng)

    def advance(self, position: Vector) -> None:
        """Move the marker, its heading a seventieth of a turn further, unless that leads out of bounds.

        :param position: not used
        """
        self._n_moves += 1
        heading = 2.0 * math.pi * self._n_moves / N_STEPS_A_TURN
        x, y = self.target[0] + SPEED_M * math.cos(heading), self.target[1] + SPEED_M * math.sin(heading)
        if abs(x) <= BOUND_M and abs(y) <= BOUND_M:
            self.target = (x, y, 0.0)

    def waypoint(self, position: Vector) -> Vector:
        """Give the nearest place that is as far from the marker as the robot should be.

        :param position: of the robot, in world metres
        """
        x, y, _ = self.target
        way_x, way_y = position[0] - x, position[1] - y
        scale = CHASE_M / max(math.hypot(way_x, way_y), NEARLY_ZERO_M)
        return (x + scale * way_x, y + scale * way_y, 0.0)

    def evaluate(self, position: Vector, has_bumped: bool) -> tuple[float, bool, bool | None]:
        """Give reward, terminated (never) and whether the robot is as far from the marker as it should be.

        :param position: of the robot, in world metres
        :param has_bumped: whether the bounds blocked its action
        """
        is_right = CHASE_NEAR_M < math.dist(position, self.target) < CHASE_FAR_M
        return float(is_right) or -float(has_bumped), False, is_right


@dataclass(frozen=True)
class EscapeSettings(Settings):
    """What the task can be told."""

    escape_band: bool = option(False, "the reward is -1 below 0.3 m, 0 up to 0.6 m and 1 beyond, instead of -1 or 1")


class Escape(MovingMarker):
    """Keep away from the marker, which pursues the robot. Ground truth is where both are.

    :param options: of the environment
    :param settings: of the task
    """

    target_name = "pursuer"
    settings_type: ClassVar[type[Settings]] = EscapeSettings

    def __init__(self, options: EnvOptions, settings: EscapeSettings) -> None:
        super().__init__(options, settings)
        self._has_band = settings.escape_band

    def advance(self, position: Vector) -> None:
        """Move the marker towards the robot, along the axis on which they are farther apart.

        :param position: of the robot, in world metres
        """
        x, y, _ = self.target
        gap_x, gap_y = position[0] - x, position[1] - y
        if abs(gap_x) >= abs(gap_y):
            x += math.copysign(min(SPEED_M, abs(gap_x)), gap_x)
        else:
            y += math.copysign(min(SPEED_M, abs(gap_y)), gap_y)
        self.target = (x, y, 0.0)

    def waypoint(self, position: Vector) -> Vector:
        """Give the place to flee to: where the robot is ahead of the pursuer by most.

        :param position: of the robot, in world metres
        """
        return max(REFUGES, key=lambda place: math.dist(place, self.target) - FLIGHT * math.dist(place, position))

    def evaluate(self, position: Vector, has_bumped: bool) -> tuple[float, bool, bool | None]:
        """Give reward, terminated (never) and whether the robot is out of reach.

        :param position: of the robot, in world metres
        :param has_bumped: whether the bounds blocked its action
        """
        distance = math.dist(position, self.target)
        if self._has_band:
            reward = -1.0 if has_bumped or distance < BAND_NEAR_M else float(distance > BAND_FAR_M)
        else:
            reward = -1.0 if has_bumped or distance < ESCAPE_DISTANCE_M else 1.0
        return reward, False, reward > 0

    def feature_names(self, point_name: str) -> tuple[str, ...]:
        """Give the name of each element of the ground truth.

        :param point_name: what the robot's position is the position of
        """
        return tuple(f"{name}_{axis}" for name in (point_name, self.target_name) for axis in self.axes)

    def ground_truth(self, position: Vector) -> list[float]:
        """Give the positions of robot and pursuer, in metres along the world's axes.

        :param position: of the robot, in world metres
        """
        return [*position[:2], *self.target[:2]]

    def ground_truth_bounds(self, low: Vector, high: Vector) -> tuple[list[float], list[float]]:
        """Give bounds that no element of the ground truth leaves.

        :param low: lowest position of the robot along each axis, in world metres
        :param high: highest
        """
        return [*low[:2], *self.target_low[:2]], [*high[:2], *self.target_high[:2]]
