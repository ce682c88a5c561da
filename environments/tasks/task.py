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
    axes: ClassVar[str]
    """The axes that count, such as ``"xy"``; ground truth has one element for each."""
    settings_type: ClassVar[type[Settings]] = Settings
    """The options of this task beyond ``EnvOptions``."""
    max_steps: int | None = None
    """Ends an episode as ``EnvOptions.max_steps`` does, whichever is less; None for no limit of the task's own."""

    target: Vector
    """The present target position, in world metres."""
    target_low: Vector
    target_high: Vector
    """Bounds that ``target`` never leaves, in world metres."""

    def __init__(self, options: EnvOptions, settings: Any) -> None:
        self.options = options
        self.settings = settings

    @classmethod
    def find_conflict(cls, options: EnvOptions, settings: Any) -> str | None:
        """Say in one line why these options cannot be honoured together, or give None when they can.

        :param options: the common ones
        :param settings: those of this task
        """
        return None

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

    def advance(self, position: Vector) -> None:
        """Carry on with what moves by itself, before each physics step.

        :param position: of the robot, in world metres; of one in the physics, as it was before the present action
        """

    @abstractmethod
    def evaluate(self, position: Vector, has_bumped: bool) -> tuple[float, bool, bool | None]:
        """Give the reward of a step, whether the episode is terminated and whether the task counts as solved now.

        Success is None for a task that knows only better and worse.

        :param position: of the robot, in world metres
        :param has_bumped: whether the robot's action was blocked
        """

    def waypoint(self, position: Vector) -> Vector:
        """Give the place to go to next, straight, for one who knows the way: the target, unless a task says otherwise.

        :param position: of the robot, in world metres
        """
        return self.target

    def feature_names(self, point_name: str) -> tuple[str, ...]:
        """Give the name of each element of the ground truth.

        :param point_name: what the robot's position is the position of
        """
        return tuple(f"{point_name}_from_{self.target_name}_{axis}" for axis in self.axes)

    def ground_truth(self, position: Vector) -> list[float]:
        """Give what there is to know: the robot's position relative to the target, in metres along the world's axes.

        :param position: of the robot, in world metres
        """
        return [own - other for own, other, _ in zip(position, self.target, self.axes, strict=False)]

    def ground_truth_bounds(self, low: Vector, high: Vector) -> tuple[list[float], list[float]]:
        """Give bounds that no element of the ground truth leaves.

        :param low: lowest position of the robot along each axis, in world metres
        :param high: highest
        """
        n_axes = len(self.axes)
        lowest, highest = np.subtract(low, self.target_high), np.subtract(high, self.target_low)
        return lowest[:n_axes].tolist(), highest[:n_axes].tolist()

    def region(self, low: float, high: float) -> tuple[float, float]:
        """Give the part of a range of random targets that ``target_region`` leaves.

        :param low: start of the whole range
        :param high: its end
        """
        first, last = self.options.target_region
        return low + first * (high - low), low + last * (high - low)

    def draw(self, simulation: Simulation) -> None:
        """Put the bodies of a kinematic task where they belong; those in the physics are there already.

        :param simulation: the world that ``build`` was given
        """
