"""What is to be done on a bounded floor under a camera, and the first of it: reach a marker."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from environments.camera import Vector
from environments.options import EnvOptions, Settings, option
from environments.simulation import ASSETS, Colour, Simulation
from environments.tasks.task import Task

ORIGIN = (0.0, 0.0, 0.0)
START_M = 0.7
TARGET_M = 0.7
REACH_DISTANCE_M = 0.2
DEPTH_M, DEEPER_SCALE = 0.61, 1.21
"""Of the floor that noisy pictures show: seen from 2.9 m above it looks like the other one."""
N_SHORT_CONTACTS = 15
RED: Colour = (0.85, 0.08, 0.08)


class FieldTask(Task):
    """A robot that starts anywhere on the floor, and a marker at the centre of the floor or at a random place.

    :param options: of the environment
    :param settings: of the task
    """

    target_name = "target"
    axes = "xy"
    target_low: Vector = (-TARGET_M, -TARGET_M, 0.0)
    target_high: Vector = (TARGET_M, TARGET_M, 0.0)
    marker: ClassVar[str] = "marker.urdf"
    colour: ClassVar[Colour]
    """Of the marker."""

    def __init__(self, options: EnvOptions, settings: Settings) -> None:
        super().__init__(options, settings)
        self.target = ORIGIN

    def build(self, simulation: Simulation) -> None:
        """Load floor and marker, which only pictures need.

        :param simulation: the world
        """
        simulation.load("floor", ASSETS / "field.urdf", ORIGIN)
        simulation.load("deeper_floor", ASSETS / "field.urdf", (0.0, 0.0, -DEPTH_M), scale=DEEPER_SCALE)
        simulation.load("target", ASSETS / self.marker, self.target, self.colour)

    def reset(self, rng: np.random.Generator) -> Vector:
        """Draw the start of the robot and, if asked for, the target.

        :param rng: the only source of chance
        """
        x, y = rng.uniform(-START_M, START_M, 2)
        self.target = ORIGIN
        if self.options.random_target:
            target_x, target_y = rng.uniform(*self.region(-TARGET_M, TARGET_M), 2)
            self.target = (float(target_x), float(target_y), 0.0)
        return (float(x), float(y), 0.0)

    def draw(self, simulation: Simulation) -> None:
        """Put the marker where the target is, on the floor.

        :param simulation: the world that ``build`` was given
        """
        simulation.place("floor", ORIGIN)
        simulation.place("target", self.target)


@dataclass(frozen=True)
class ReachSettings(Settings):
    """What the task can be told."""

    short_episodes: bool = option(False, "end an episode, as a success, after 15 steps at the target")


class ReachMarker(FieldTask):
    """Be at the marker in as many steps as possible.

    :param options: of the environment
    :param settings: of the task
    """

    colour = RED
    settings_type: ClassVar[type[Settings]] = ReachSettings

    def __init__(self, options: EnvOptions, settings: ReachSettings) -> None:
        super().__init__(options, settings)
        self._is_short = settings.short_episodes
        self._n_contacts = 0

    def reset(self, rng: np.random.Generator) -> Vector:
        """Draw the start of the robot and, if asked for, the target.

        :param rng: the only source of chance
        """
        self._n_contacts = 0
        return super().reset(rng)

    def evaluate(self, position: Vector, has_bumped: bool) -> tuple[float, bool, bool | None]:
        """Give reward, terminated and whether the target is reached.

        :param position: of the robot, in world metres
        :param has_bumped: whether the bounds blocked its action
        """
        distance = math.dist(position, self.target)
        is_near = distance < REACH_DISTANCE_M
        self._n_contacts += is_near
        is_over = self._is_short and self._n_contacts >= N_SHORT_CONTACTS
        if self.options.shape_reward:
            return -distance, is_over, is_near
        return float(is_near) or -float(has_bumped), is_over, is_near
