"""What robots that slide over a floor without physics have in common."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from environments.camera import Vector
from environments.dynamics import Dynamics
from environments.options import EnvOptions
from environments.robots.actions import action_index, action_vector, index_toward, vector_toward
from environments.robots.robot import Robot
from environments.simulation import Simulation

EDGE_M = 0.001
"""That a script keeps from the bounds, which rounding must not make it cross."""


class KinematicRobot(Robot):
    """A robot that moves by steps along the axes of a floor, inside of bounds.

    A move whose end would lie out of bounds is not made at all.

    :param options: of the environment
    :param settings: of the robot
    """

    point_name = "robot"
    is_kinematic = True
    render_fps = 25
    directions: ClassVar[Sequence[tuple[float, float]]]
    """The moves of the discrete actions, in steps along x and y."""
    step_m: ClassVar[float]
    """Length of a step."""
    start: ClassVar[Vector]
    """Where it stands unless the task says otherwise, in world metres."""

    def __init__(self, options: EnvOptions, settings: Any) -> None:
        super().__init__(options, settings)
        self._is_discrete = options.is_discrete
        self._step = self.step_m
        self._x, self._y, _ = self.start
        self._dx = self._dy = 0.0
        if options.is_discrete:
            self.action_space = spaces.Discrete(len(self.directions))
        else:
            self.action_space = spaces.Box(-1.0, 1.0, (len(self.axes),), np.float32)

    @abstractmethod
    def build(self, simulation: Simulation) -> None:
        """Load the body, which only pictures need.

        :param simulation: already furnished by the task
        """

    def set_dynamics(self, dynamics: Dynamics) -> None:
        """Scale the steps.

        :param dynamics: of the episode
        """
        self._step = self.step_m * dynamics.gain_scale

    def reset(self, rng: np.random.Generator, start: Vector | None) -> None:
        """Stand where the task wants the robot, or in the middle.

        :param rng: not used
        :param start: in world metres
        """
        self._x, self._y, _ = start or self.start
        self.has_bumped = False

    def command(self, action: Any, rng: np.random.Generator) -> None:
        """Turn an action into a displacement per step, without noise.

        :param action: an element of ``action_space``
        :param rng: not used
        :raises ValueError: for what is not an action
        """
        x, y = self._direction(action)
        self._dx, self._dy = x * self._step, y * self._step
        self.has_bumped = False

    def action_toward(self, goal: Vector) -> Any:
        """Give the action that leads straight towards a place and not out of bounds.

        :param goal: in world metres
        """
        place = (self._x, self._y)
        if not self._is_discrete:
            bounds = zip(goal, self.position_low, self.position_high, strict=True)
            inside = [min(max(there, low + EDGE_M), high - EDGE_M) for there, low, high in bounds]
            n_axes = len(self.axes)
            return vector_toward(place[:n_axes], inside[:n_axes], self._step)
        moves = [(x * self._step, y * self._step) for x, y in self.directions]
        allowed = [index for index, (x, y) in enumerate(moves) if self._is_inside(self._x + x, self._y + y)]
        return np.int64(allowed[index_toward([moves[index] for index in allowed], place, goal[:2])])

    def idle(self) -> None:
        """Take in that no action has come yet: hold still."""
        self._dx = self._dy = 0.0
        self.has_bumped = False

    def advance(self) -> None:
        """Make one move, unless it would lead out of bounds."""
        x, y = self._x + self._dx, self._y + self._dy
        if self._is_inside(x, y):
            self._x, self._y = x, y
        else:
            self.has_bumped = True

    def _is_inside(self, x: float, y: float) -> bool:
        low, high = self.position_low, self.position_high
        return low[0] <= x <= high[0] and low[1] <= y <= high[1]

    def position(self) -> Vector:
        """Give the position on the floor, in world metres."""
        return (self._x, self._y, 0.0)

    def draw(self, simulation: Simulation) -> None:
        """Put the body where the robot is.

        :param simulation: the world that ``build`` was given
        """
        simulation.place("robot", self.position())

    def _direction(self, action: Any) -> tuple[float, float]:
        """Give the move of an action, in steps along x and y."""
        if self._is_discrete:
            return self.directions[action_index(action, len(self.directions))]
        x, *rest = action_vector(action, len(self.axes))
        return x, rest[0] if rest else 0.0
