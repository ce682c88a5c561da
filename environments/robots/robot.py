"""What the environment asks of any robot."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from environments.camera import Vector
from environments.dynamics import Dynamics
from environments.options import EnvOptions, Settings
from environments.picture_noise import PictureNoise
from environments.simulation import Simulation


class Robot(ABC):
    """Actuators and proprioception of one robot.

    A robot either lives in the physics, or is kinematic: then it moves without a simulation and only ``draw`` uses
    one.

    :param options: of the environment
    :param settings: those of this robot, of its ``settings_type``
    """

    point_name: ClassVar[str]
    """What ``position`` is the position of, for the names of observation elements."""
    axes: ClassVar[str]
    """The axes in which the robot moves, such as ``"xy"``; ground truth has one element for each."""
    joint_names: ClassVar[tuple[str, ...]] = ()
    """The joints that ``joints`` reads; a robot without any offers neither joint observations nor joint actions."""
    is_kinematic: ClassVar[bool] = False
    render_fps: ClassVar[int] = 60
    """Pictures of ``render`` per second of a film."""
    gravity: ClassVar[float] = -10.0
    """Along the world's z axis, in m/s^2."""
    settings_type: ClassVar[type[Settings]] = Settings
    """The options of this robot beyond ``EnvOptions``."""

    action_space: spaces.Space[Any]
    position_low: Vector
    position_high: Vector
    """Bounds that ``position`` never leaves, in world metres."""
    has_bumped: bool = False
    """Whether the present action was blocked by an obstacle."""
    picture_noise: PictureNoise | None = None
    """What disturbs the pictures of this robot and its target."""

    def __init__(self, options: EnvOptions, settings: Any) -> None:
        self.options = options
        self.settings = settings

    @property
    def action_names(self) -> tuple[str, ...]:
        """The name of each element of a continuous action; empty for discrete ones.

        An action moves the robot's point of interest along the axes, unless a robot says otherwise.
        """
        if not isinstance(self.action_space, spaces.Box):
            return ()
        return tuple(f"move_{self.point_name}_{axis}" for axis in self.axes)

    @classmethod
    def find_conflict(cls, options: EnvOptions, settings: Any) -> str | None:
        """Say in one line why these options cannot be honoured together, or give None when they can.

        :param options: the common ones
        :param settings: those of this robot
        """
        return None

    @abstractmethod
    def build(self, simulation: Simulation) -> None:
        """Load the body into a world and bring it to rest.

        :param simulation: already furnished by the task
        """

    @abstractmethod
    def set_dynamics(self, dynamics: Dynamics) -> None:
        """Take on the dynamics of an episode, before ``reset``; never called where they are the usual ones.

        :param dynamics: of the episode
        """

    @abstractmethod
    def reset(self, rng: np.random.Generator, start: Vector | None) -> None:
        """Begin an episode; the world has just been restored to its start.

        :param rng: the only source of chance
        :param start: where the task wants the robot, in world metres; None for the robot's own start
        """

    @abstractmethod
    def command(self, action: Any, rng: np.random.Generator) -> None:
        """Take in the action of one environment step.

        :param action: an element of ``action_space``
        :param rng: the only source of chance
        :raises ValueError: for what is not an action
        """

    @abstractmethod
    def action_toward(self, goal: Vector) -> Any:
        """Give the action that leads the robot's point of interest straight towards a place, as a script would.

        :param goal: in world metres
        """

    @abstractmethod
    def idle(self) -> None:
        """Take in that no action has come yet: hold still."""

    @abstractmethod
    def advance(self) -> None:
        """Carry out one physics step's share of the last action."""

    @abstractmethod
    def position(self) -> Vector:
        """Give the present position of the robot's point of interest, in world metres."""

    def joints(self) -> list[float]:
        """Give the present angles of ``joint_names``, in radians."""
        return []

    def joint_bounds(self) -> tuple[list[float], list[float]]:
        """Give the lowest and highest angle of each joint, in radians; the body must have been built."""
        return [], []

    def draw(self, simulation: Simulation) -> None:
        """Put a kinematic robot's body where the robot is; a robot in the physics is there already.

        :param simulation: the world that ``build`` was given
        """
