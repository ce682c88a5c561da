"""Drive to a disc on the floor of a walled square, and stay."""

import math

import numpy as np

from environments.camera import Vector
from environments.options import EnvOptions, Settings
from environments.simulation import ASSETS, PYBULLET_DATA, Simulation
from environments.tasks.task import Task

ORIGIN = (0.0, 0.0, 0.0)
ARENA_SIDE_M = 4.0
START_SPREAD_M = ARENA_SIDE_M / 3
TARGET_POSITION = (3.6, 3.0, 0.0)
RANDOM_LOW_M = 0.4
RANDOM_HIGH_M = 3.6
REACH_DISTANCE_M = 0.4


class ReachTarget(Task):
    """Be near the target in as many steps as possible; the episode lasts until its time limit.

    :param options: of the environment
    :param settings: none
    """

    target_name = "target"
    target_low = (RANDOM_LOW_M, RANDOM_LOW_M, 0.0)
    target_high = (RANDOM_HIGH_M, RANDOM_HIGH_M, 0.0)

    def __init__(self, options: EnvOptions, settings: Settings) -> None:
        super().__init__(options, settings)
        self.target = TARGET_POSITION

    def build(self, simulation: Simulation) -> None:
        """Load floor, walls and target, which only pictures need.

        :param simulation: the world
        """
        simulation.load("plane", PYBULLET_DATA / "plane.urdf", ORIGIN)
        simulation.load("walls", ASSETS / "walls.urdf", ORIGIN)
        simulation.load("target", ASSETS / "target.urdf", self.target)

    def reset(self, rng: np.random.Generator) -> Vector:
        """Draw the start of the robot around the centre and, if asked for, the target.

        :param rng: the only source of chance
        """
        x, y = ARENA_SIDE_M / 2 + rng.uniform(-START_SPREAD_M, START_SPREAD_M, 2)
        if self.options.random_target:
            target_x, target_y = rng.uniform(RANDOM_LOW_M, RANDOM_HIGH_M, 2)
            self.target = (float(target_x), float(target_y), 0.0)
        return (float(x), float(y), 0.0)

    def evaluate(self, position: Vector, has_bumped: bool) -> tuple[float, bool, bool]:
        """Give reward, terminated (never) and whether the target is reached.

        :param position: of the robot, in world metres
        :param has_bumped: whether a wall blocked its action
        """
        distance = math.dist(position, self.target)
        is_near = distance <= REACH_DISTANCE_M
        if self.options.shape_reward:
            return -distance, False, is_near
        return -1.0 if has_bumped else float(is_near), False, is_near

    def draw(self, simulation: Simulation) -> None:
        """Put the target's body where the target is.

        :param simulation: the world that ``build`` was given
        """
        simulation.place("target", self.target)
