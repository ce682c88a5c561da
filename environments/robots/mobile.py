"""A small car that slides over a walled square, or along a corridor, without physics."""

from collections.abc import Sequence
from typing import ClassVar

from environments.robots.kinematic import KinematicRobot
from environments.simulation import PYBULLET_DATA, Simulation

MODEL = PYBULLET_DATA / "racecar" / "racecar.urdf"
ARENA_SIDE_M = 4.0
MARGIN_X_M = 0.425
MARGIN_Y_M = 0.2


class MobileRobot(KinematicRobot):
    """A car that always faces +x and moves along both axes of the square [0, 4] x [0, 4] m.

    Its size keeps it off the walls.
    """

    axes = "xy"
    directions: ClassVar[Sequence[tuple[float, float]]] = ((-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0))
    step_m = 0.1
    start = (ARENA_SIDE_M / 2, ARENA_SIDE_M / 2, 0.0)
    position_low = (MARGIN_X_M, MARGIN_Y_M, 0.0)
    position_high = (ARENA_SIDE_M - MARGIN_X_M, ARENA_SIDE_M - MARGIN_Y_M, 0.0)

    def build(self, simulation: Simulation) -> None:
        """Load the car's body, which only pictures need.

        :param simulation: already furnished by the task
        """
        simulation.load("robot", MODEL, self.position())


class MobileRobot1D(MobileRobot):
    """The same car in a corridor along x, at y = 0."""

    axes = "x"
    directions = MobileRobot.directions[:2]
    start = (ARENA_SIDE_M / 2, 0.0, 0.0)
    position_low = (MARGIN_X_M, 0.0, 0.0)
    position_high = (ARENA_SIDE_M - MARGIN_X_M, 0.0, 0.0)
