"""Drive to targets on the floor of a walled square, and stay."""

import math
from typing import ClassVar

import numpy as np

from environments.camera import Vector
from environments.options import EnvOptions, Settings
from environments.simulation import ASSETS, PYBULLET_DATA, Simulation
from environments.tasks.task import Task

ORIGIN = (0.0, 0.0, 0.0)
CENTRE_M = 2.0
START_SPREAD_M = 4.0 / 3
RANDOM_LOW_M = 0.4
RANDOM_HIGH_M = 3.6
REACH_DISTANCE_M = 0.4
RED = (0.85, 0.08, 0.08)
LINE_REACH_M = 0.1 + 0.2
"""Of the line, plus half the length of the car."""


class ReachTarget(Task):
    """Be near the target in as many steps as possible; the episode lasts until its time limit.

    :param options: of the environment
    :param settings: none
    """

    target_name = "target"
    axes = "xy"
    target_low = (RANDOM_LOW_M, RANDOM_LOW_M, 0.0)
    target_high = (RANDOM_HIGH_M, RANDOM_HIGH_M, 0.0)
    place: ClassVar[Vector] = (3.6, 3.0, 0.0)
    """Of the target unless it is random, in world metres."""
    scene: ClassVar[str] = "walls.urdf"
    marker: ClassVar[str] = "target.urdf"

    def __init__(self, options: EnvOptions, settings: Settings) -> None:
        super().__init__(options, settings)
        self.target = self.place

    def build(self, simulation: Simulation) -> None:
        """Load floor, walls and target, which only pictures need.

        :param simulation: the world
        """
        simulation.load("plane", PYBULLET_DATA / "plane.urdf", ORIGIN)
        simulation.load("walls", ASSETS / self.scene, ORIGIN)
        simulation.load("target", ASSETS / self.marker, self.target)

    def reset(self, rng: np.random.Generator) -> Vector:
        """Draw the start of the robot around the centre and, if asked for, the target.

        :param rng: the only source of chance
        """
        start = CENTRE_M + rng.uniform(-START_SPREAD_M, START_SPREAD_M, 2)
        if self.options.random_target:
            self.target = self._random_place(rng)
        return (float(start[0]), float(start[1]), 0.0)

    def _random_place(self, rng: np.random.Generator) -> Vector:
        x, y = rng.uniform(*self.region(RANDOM_LOW_M, RANDOM_HIGH_M), 2)
        return (float(x), float(y), 0.0)

    def _distance(self, position: Vector) -> float:
        return math.dist(position, self.target)

    def _is_near(self, distance: float) -> bool:
        return distance <= REACH_DISTANCE_M

    def evaluate(self, position: Vector, has_bumped: bool) -> tuple[float, bool, bool | None]:
        """Give reward, terminated (never) and whether the target is reached.

        :param position: of the robot, in world metres
        :param has_bumped: whether a wall blocked its action
        """
        distance = self._distance(position)
        is_near = self._is_near(distance)
        if self.options.shape_reward:
            return -distance, False, is_near
        return -1.0 if has_bumped else float(is_near), False, is_near

    def draw(self, simulation: Simulation) -> None:
        """Put the target's body where the target is.

        :param simulation: the world that ``build`` was given
        """
        simulation.place("target", self.target)


class ReachTarget1D(ReachTarget):
    """The same along a corridor at y = 0."""

    axes = "x"
    place = (3.6, 0.0, 0.0)
    target_low = (RANDOM_LOW_M, 0.0, 0.0)
    target_high = (RANDOM_HIGH_M, 0.0, 0.0)
    scene = "corridor.urdf"

    def reset(self, rng: np.random.Generator) -> Vector:
        """Draw the start of the robot around the middle and, if asked for, the target.

        :param rng: the only source of chance
        """
        x, _, _ = super().reset(rng)
        return (x, 0.0, 0.0)

    def _random_place(self, rng: np.random.Generator) -> Vector:
        return (float(rng.uniform(*self.region(RANDOM_LOW_M, RANDOM_HIGH_M))), 0.0, 0.0)


class ReachLine(ReachTarget):
    """Stand on a line across the square; where along it does not count."""

    target_name = "line"
    axes = "x"
    place = (3.6, CENTRE_M, 0.0)
    target_low = (RANDOM_LOW_M, CENTRE_M, 0.0)
    target_high = (RANDOM_HIGH_M, CENTRE_M, 0.0)
    marker = "line.urdf"

    def _random_place(self, rng: np.random.Generator) -> Vector:
        return (float(rng.uniform(*self.region(RANDOM_LOW_M, RANDOM_HIGH_M))), CENTRE_M, 0.0)

    def _distance(self, position: Vector) -> float:
        return abs(position[0] - self.target[0])

    def _is_near(self, distance: float) -> bool:
        return distance <= LINE_REACH_M


class ReachTwoTargets(ReachTarget):
    """Touch the first target, then be near the second, a red one; a success when near that at the end."""

    second_place: ClassVar[Vector] = (0.4, 3.0, 0.0)

    def __init__(self, options: EnvOptions, settings: Settings) -> None:
        super().__init__(options, settings)
        self._targets = [self.place, self.second_place]
        self._turn = 0

    def build(self, simulation: Simulation) -> None:
        """Load floor, walls and both targets, which only pictures need.

        :param simulation: the world
        """
        super().build(simulation)
        simulation.load("second_target", ASSETS / self.marker, self.second_place, RED)

    def reset(self, rng: np.random.Generator) -> Vector:
        """Draw the start of the robot around the centre and, if asked for, both targets.

        :param rng: the only source of chance
        """
        start = super().reset(rng)
        if self.options.random_target:
            self._targets = [self.target, self._random_place(rng)]
        self._turn = 0
        self.target = self._targets[0]
        return start

    def evaluate(self, position: Vector, has_bumped: bool) -> tuple[float, bool, bool | None]:
        """Give reward, terminated (never) and whether the second target is reached; go on to it from the first.

        :param position: of the robot, in world metres
        :param has_bumped: whether a wall blocked its action
        """
        reward, terminated, is_near = super().evaluate(position, has_bumped)
        is_done = is_near and self._turn == 1
        if is_near:
            self._turn = 1
            self.target = self._targets[1]
        return reward, terminated, is_done

    def draw(self, simulation: Simulation) -> None:
        """Put the bodies of the targets where they are.

        :param simulation: the world that ``build`` was given
        """
        simulation.place("target", self._targets[0])
        simulation.place("second_target", self._targets[1])
