"""A small car that slides over a walled square, without physics."""

from typing import Any

import numpy as np
from gymnasium import spaces

from environments.camera import Vector
from environments.options import EnvOptions, Settings
from environments.robots.actions import action_index, action_vector
from environments.robots.robot import Robot
from environments.simulation import PYBULLET_DATA, Simulation

MODEL = PYBULLET_DATA / "racecar" / "racecar.urdf"
ARENA_SIDE_M = 4.0
MARGIN_X_M = 0.425
MARGIN_Y_M = 0.2
STEP_M = 0.1
DIRECTIONS = ((-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0))


class MobileRobot(Robot):
    """A car that always faces +x and moves along both axes of the square [0, 4] x [0, 4] m.

    A move that would bring it nearer to a wall than its size allows is not made at all.

    :param options: of the environment
    :param settings: none
    """

    point_name = "robot"
    axes = "xy"
    is_kinematic = True
    position_low = (MARGIN_X_M, MARGIN_Y_M, 0.0)
    position_high = (ARENA_SIDE_M - MARGIN_X_M, ARENA_SIDE_M - MARGIN_Y_M, 0.0)

    def __init__(self, options: EnvOptions, settings: Settings) -> None:
        super().__init__(options, settings)
        self._is_discrete = options.is_discrete
        self._x = self._y = ARENA_SIDE_M / 2
        self._dx = self._dy = 0.0
        if options.is_discrete:
            self.action_space = spaces.Discrete(len(DIRECTIONS))
        else:
            self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def build(self, simulation: Simulation) -> None:
        """Load the car's body, which only pictures need.

        :param simulation: already furnished by the task
        """
        simulation.load("robot", MODEL, self.position())

    def reset(self, rng: np.random.Generator, start: Vector | None) -> None:
        """Stand where the task wants the robot, or in the middle of the square.

        :param rng: not used
        :param start: in world metres
        """
        self._x, self._y, _ = start or (ARENA_SIDE_M / 2, ARENA_SIDE_M / 2, 0.0)
        self.has_bumped = False

    def command(self, action: Any, rng: np.random.Generator) -> None:
        """Turn an action into a displacement per step; this robot moves without noise.

        :param action: an element of ``action_space``
        :param rng: not used
        :raises ValueError: for what is not an action
        """
        x, y = DIRECTIONS[action_index(action, 4)] if self._is_discrete else action_vector(action, 2)
        self._dx, self._dy = x * STEP_M, y * STEP_M
        self.has_bumped = False

    def advance(self) -> None:
        """Make one move, unless a wall is in its way."""
        x, y = self._x + self._dx, self._y + self._dy
        low, high = self.position_low, self.position_high
        if low[0] <= x <= high[0] and low[1] <= y <= high[1]:
            self._x, self._y = x, y
        else:
            self.has_bumped = True

    def position(self) -> Vector:
        """Give the position of the car, in world metres."""
        return (self._x, self._y, 0.0)

    def draw(self, simulation: Simulation) -> None:
        """Put the car's body where the robot is.

        :param simulation: the world that ``build`` was given
        """
        simulation.place("robot", self.position())
