"""A round robot on omnidirectional wheels, seen from above, without physics."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from environments.camera import Vector
from environments.options import EnvOptions, Settings, option
from environments.picture_noise import PictureNoise
from environments.robots.kinematic import KinematicRobot
from environments.simulation import ASSETS, Simulation

MODEL = ASSETS / "omnirobot.urdf"
BOUND_M = 0.85
PIXEL_M = 0.015
"""On the floor, of a picture of 224 pixels from 2.9 m above with a field of view of 60 degrees."""
USUAL_PICTURE_NOISE = PictureNoise(offset_m=2 * PIXEL_M, size=0.05, luminosity=0.03)


@dataclass(frozen=True)
class OmnirobotSettings(Settings):
    """What the robot can be told."""

    position_noise: float = option(0.01, "standard deviation of where a move ends, in metres", minimum=0)
    yaw_noise: float = option(2.5, "standard deviation of how the robot is turned, in degrees", minimum=0)
    picture_noise: float = option(1.0, "factor of the noise of pictures; 0 for none", minimum=0)


class Omnirobot(KinematicRobot):
    """A robot that keeps facing +x and moves forward, backward, left and right between bounds of its centre.

    It stands beside the place that it was told to go to by an error that does not add up over the moves.

    :param options: of the environment
    :param settings: of the robot
    """

    axes = "xy"
    directions: ClassVar[Sequence[tuple[float, float]]] = ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))
    step_m = 0.1
    start = (0.0, 0.0, 0.0)
    position_low = (-BOUND_M, -BOUND_M, 0.0)
    position_high = (BOUND_M, BOUND_M, 0.0)
    settings_type: ClassVar[type[Settings]] = OmnirobotSettings

    def __init__(self, options: EnvOptions, settings: OmnirobotSettings) -> None:
        super().__init__(options, settings)
        self._position_noise = settings.position_noise
        self._yaw_noise = math.radians(settings.yaw_noise)
        self._error_x = self._error_y = self._yaw = 0.0
        if settings.picture_noise:
            self.picture_noise = USUAL_PICTURE_NOISE.scaled(settings.picture_noise)

    @classmethod
    def find_conflict(cls, options: EnvOptions, settings: OmnirobotSettings) -> str | None:
        """Say that the noise of pictures is made for one camera, or give None.

        :param options: the common ones
        :param settings: of the robot
        """
        if settings.picture_noise and (options.camera_pitch or options.camera_distance != 1):
            return "the noise of pictures is for the camera 2.9 m above; to move it, give picture_noise=0 too"
        return None

    def build(self, simulation: Simulation) -> None:
        """Load the body, which only pictures need.

        :param simulation: already furnished by the task
        """
        simulation.load("robot", MODEL, self.start)

    def reset(self, rng: np.random.Generator, start: Vector | None) -> None:
        """Stand exactly where the task wants the robot, or in the middle.

        :param rng: not used
        :param start: in world metres
        """
        super().reset(rng, start)
        self._error_x = self._error_y = self._yaw = 0.0

    def command(self, action: Any, rng: np.random.Generator) -> None:
        """Turn an action into a displacement per step, and draw the errors of place and heading.

        :param action: an element of ``action_space``
        :param rng: the only source of chance
        :raises ValueError: for what is not an action
        """
        super().command(action, rng)
        error_x, error_y, yaw = rng.standard_normal(3).tolist()
        self._error_x, self._error_y = self._position_noise * error_x, self._position_noise * error_y
        self._yaw = self._yaw_noise * yaw

    def position(self) -> Vector:
        """Give the position of the centre, in world metres."""
        x, y = self._x + self._error_x, self._y + self._error_y
        return (min(max(x, -BOUND_M), BOUND_M), min(max(y, -BOUND_M), BOUND_M), 0.0)

    def draw(self, simulation: Simulation) -> None:
        """Put the body where the robot is.

        :param simulation: the world that ``build`` was given
        """
        simulation.place("robot", self.position(), self._yaw)

    def _direction(self, action: Any) -> tuple[float, float]:
        """Give the move of an action, in steps along x and y, none longer than a step."""
        x, y = super()._direction(action)
        length = math.hypot(x, y)
        return (x / length, y / length) if length > 1 else (x, y)
