"""What the environment asks of any task."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from environments.camera import Vector
from environments.options import EnvOptions, Settings
from environments.simulation import Simulation


class Task(ABC):
    """Start, target, reward, end and success of one task.

    :param options: of the environment
    :param settings: those of this task, of its ``settings_type``
    """

    target_name: ClassVar[str]
    """What ``target`` is the position of, for the names of observation elements."""
    settings_type: ClassVar[type[Settings]] = Settings
    """The options of this task beyond ``EnvOptions``."""

    target: Vector
    """The present target position, in world metres."""
    target_low: Vector
    target_high: Vector
    """Bounds that ``target`` never leaves, in world metres."""

    def __init__(self, options: EnvOptions, settings: Any) -> None:
        self.options = options
        self.settings = settings

    @abstractmethod
    def build(self, simulation: Simulation) -> None:
        """Load the scene into an empty world.

        :param simulation: the world
        """

    def connect(self, simulation: Simulation) -> None:
        """Prepare what needs the robot's body too, which is loaded by now.

        :param simulation: the world, its robot under the name ``"robot"``
        """

    @abstractmethod
    def reset(self, rng: np.random.Generator) -> Vector | None:
        """Begin an episode and give the robot's start in world metres, or None for the robot's own.

        :param rng: the only source of chance
        """

    def advance(self) -> None:
        """Carry on with what moves by itself, before each physics step."""

    @abstractmethod
    def evaluate(self, position: Vector, has_bumped: bool) -> tuple[float, bool, bool]:
        """Give the reward of a step, whether the episode is terminated and whether the task counts as solved now.

        :param position: of the robot, in world metres
        :param has_bumped: whether the robot's action was blocked
        """

    def draw(self, simulation: Simulation) -> None:
        """Put the bodies of a kinematic task where they belong; those in the physics are there already.

        :param simulation: the world that ``build`` was given
        """
