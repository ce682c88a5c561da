"""Reach for the ripe fruit of a plant."""

import math
from collections.abc import Callable

import numpy as np

from environments.camera import Vector
from environments.options import EnvOptions, Settings
from environments.simulation import ASSETS, PYBULLET_DATA, Simulation
from environments.tasks.task import Task

FLOOR_POSITION = (0.0, 0.0, 0.0)
TOMATO_POSITION = (0.4, 0.4, 0.5)
RANDOM_LOW = (0.25, 0.3, 0.4)
RANDOM_HIGH = (0.5, 0.5, 0.65)
"""A random tomato is drawn between these corners, which the right hand of a life-size robot reaches."""
REACH_DISTANCE_M = 0.1


class ReachTomato(Task):
    """Be near the top tomato of a plant in as many steps as possible; the episode lasts until its time limit.

    The plant stands wherever its top tomato is, also higher or lower.

    :param options: of the environment
    :param settings: none
    """

    target_name = "tomato"
    axes = "xyz"
    target_low = RANDOM_LOW
    target_high = RANDOM_HIGH

    def __init__(self, options: EnvOptions, settings: Settings) -> None:
        super().__init__(options, settings)
        self.target = TOMATO_POSITION

    def build(self, simulation: Simulation) -> None:
        """Load floor and plant.

        :param simulation: the world
        """
        simulation.load("plane", PYBULLET_DATA / "plane.urdf", FLOOR_POSITION)
        simulation.load("plant", ASSETS / "tomato_plant.urdf", self.target)
        self._place: Callable[[str, Vector], None] = simulation.place

    def reset(self, rng: np.random.Generator) -> None:
        """Move the plant, with a random target.

        :param rng: the only source of chance
        """
        if self.options.random_target:
            x, y, z = (rng.uniform(*self.region(low, high)) for low, high in zip(RANDOM_LOW, RANDOM_HIGH, strict=True))
            self.target = (x, y, z)
            self._place("plant", self.target)

    def evaluate(self, position: Vector, has_bumped: bool) -> tuple[float, bool, bool]:
        """Give reward, terminated (never) and whether the tomato is reached.

        :param position: of the hand, in world metres
        :param has_bumped: not used
        """
        distance = math.dist(position, self.target)
        is_near = distance <= REACH_DISTANCE_M
        return -distance if self.options.shape_reward else float(is_near), False, is_near
