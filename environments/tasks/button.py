"""Press a button on a table."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from environments.bullet import pybullet
from environments.camera import Vector
from environments.options import EnvOptions, Settings, option
from environments.simulation import ASSETS, PYBULLET_DATA, Simulation
from environments.tasks.task import Task

PLANE_POSITION = (0.0, 0.0, -1.0)
TABLE_POSITION = (0.5, 0.0, -0.82)
BUTTON_X, BUTTON_Y, BUTTON_Z = 0.5, 0.0, -0.2
RANDOM_X_M = 0.15
RANDOM_Y_M = 0.3
TARGET_HEIGHT_M = 0.28
CAP_LINK = 0
CAP_REST_M = 0.1
CAP_FORCE_N = 5.0
N_CONTACTS = 5
SUCCESS_REWARD = 50.0
FAILURE_REWARD = -250.0


@dataclass(frozen=True)
class ButtonSettings(Settings):
    """What the task can be told."""

    max_distance: float = option(0.8, "a step farther than this from the button is punished, in metres")


class ButtonTask(Task):
    """Touch the gliding cap of a button in five steps, and never the table.

    The target lies above the button by the length of the gripper, so that the distance to it ends near zero.

    :param options: of the environment
    :param settings: of the task
    """

    target_name = "button"
    axes = "xyz"
    settings_type: ClassVar[type[Settings]] = ButtonSettings
    target_low = (BUTTON_X - RANDOM_X_M, BUTTON_Y - RANDOM_Y_M, BUTTON_Z + TARGET_HEIGHT_M)
    target_high = (BUTTON_X + RANDOM_X_M, BUTTON_Y + RANDOM_Y_M, BUTTON_Z + TARGET_HEIGHT_M)

    def __init__(self, options: EnvOptions, settings: ButtonSettings) -> None:
        super().__init__(options, settings)
        self.target = (BUTTON_X, BUTTON_Y, BUTTON_Z + TARGET_HEIGHT_M)
        self._max_distance = settings.max_distance
        self._is_sparse = not options.shape_reward
        self._pays_the_end = not options.is_discrete
        self._n_contacts = 0

    def build(self, simulation: Simulation) -> None:
        """Load floor, table and button, its cap pushed up by a motor as by a spring.

        :param simulation: the world
        """
        simulation.load("plane", PYBULLET_DATA / "plane.urdf", PLANE_POSITION)
        simulation.load("table", PYBULLET_DATA / "table" / "table.urdf", TABLE_POSITION)
        button = simulation.load("button", ASSETS / "button.urdf", (BUTTON_X, BUTTON_Y, BUTTON_Z))
        push = simulation.bind(pybullet.setJointMotorControl2, button, CAP_LINK, pybullet.POSITION_CONTROL)
        push(targetPosition=CAP_REST_M, force=CAP_FORCE_N)

    def connect(self, simulation: Simulation) -> None:
        """Prepare the questions about contacts and the means to move the button.

        :param simulation: the world, its robot under the name ``"robot"``
        """
        simulation.unite("robot", "button")
        self._place: Callable[[str, Vector], None] = simulation.place
        self._touches_cap = simulation.has_contact("button", "robot", CAP_LINK)
        self._touches_table = simulation.has_contact("table", "robot")

    def reset(self, rng: np.random.Generator) -> None:
        """Begin to count contacts anew and, with a random target, move the button.

        :param rng: the only source of chance
        """
        self._n_contacts = 0
        if self.options.random_target:
            low, high = self.region(-1.0, 1.0)
            x = BUTTON_X + RANDOM_X_M * rng.uniform(low, high)
            y = BUTTON_Y + RANDOM_Y_M * rng.uniform(low, high)
            self._place("button", (x, y, BUTTON_Z))
            self.target = (x, y, BUTTON_Z + TARGET_HEIGHT_M)

    def evaluate(self, position: Vector, has_bumped: bool) -> tuple[float, bool, bool]:
        """Give reward, terminated and success from the contacts and the distance to the target.

        :param position: of the effector, in world metres
        :param has_bumped: not used
        """
        touches_cap = self._touches_cap()
        touches_table = self._touches_table()
        distance = math.dist(position, self.target)
        self._n_contacts += touches_cap
        is_success = self._n_contacts >= N_CONTACTS and not touches_table
        if self._is_sparse:
            reward = -1.0 if touches_table or distance > self._max_distance else float(touches_cap)
        elif self._pays_the_end and (is_success or touches_table):
            reward = SUCCESS_REWARD if is_success else FAILURE_REWARD
        else:
            reward = -distance
        return reward, is_success or touches_table, is_success
