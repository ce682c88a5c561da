"""Press a button on a table, or several, one after the other."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from environments.bullet import pybullet
from environments.camera import Vector
from environments.options import EnvOptions, Settings, option
from environments.simulation import ASSETS, PYBULLET_DATA, Colour, Simulation
from environments.tasks.task import Task

Place = tuple[float, float]
"""On the table: x and y, in world metres."""

BUTTON_X, BUTTON_Y, BUTTON_Z = 0.5, 0.0, -0.2
PLATE_M = 0.204
RANDOM_X_M = 0.15
RANDOM_Y_M = 0.3
TARGET_HEIGHT_M = 0.28
CAP_LINK = 0
CAP_REST_M = 0.1
CAP_FORCE_N = 5.0
N_CONTACTS = 5
ABOVE_M = 0.03
PUSH_M = 0.15
SUCCESS_REWARD = 50.0
FAILURE_REWARD = -250.0


class Button:
    """One button on the table.

    Its target lies above it by the length of the gripper, so that the distance to it ends near zero.

    :param name: of its body in the world
    :param place: where it stands at first
    :param cap_colour: None for red
    :param z: of its origin, in world metres
    :param target_height_m: of its target above its origin
    :ivar target: in world metres
    """

    def __init__(
        self,
        name: str,
        place: Place,
        cap_colour: Colour | None = None,
        z: float = BUTTON_Z,
        target_height_m: float = TARGET_HEIGHT_M,
    ) -> None:
        self.name = name
        self.target: Vector = (*place, z + target_height_m)
        self._z, self._target_z = z, z + target_height_m
        self._cap_colour = cap_colour

    def build(self, simulation: Simulation) -> None:
        """Load the body, its cap pushed up by a motor as by a spring.

        :param simulation: the world
        """
        x, y, _ = self.target
        body = simulation.load(self.name, ASSETS / "button.urdf", (x, y, self._z))
        push = simulation.bind(pybullet.setJointMotorControl2, body, CAP_LINK, pybullet.POSITION_CONTROL)
        push(targetPosition=CAP_REST_M, force=CAP_FORCE_N)
        if self._cap_colour is not None:
            simulation.bind(pybullet.changeVisualShape)(body, CAP_LINK, rgbaColor=(*self._cap_colour, 1.0))

    def connect(self, simulation: Simulation) -> None:
        """Prepare the question about contacts and the means to move.

        :param simulation: the world, its robot under the name ``"robot"``
        """
        simulation.unite("robot", self.name)
        self._place: Callable[[Vector], None] = functools.partial(simulation.place, self.name)
        self.is_touched = simulation.has_contact(self.name, "robot", CAP_LINK)

    def move(self, place: Place) -> None:
        """Stand elsewhere at once.

        :param place: where
        """
        self._place((*place, self._z))
        self.target = (*place, self._target_z)


@dataclass(frozen=True)
class ButtonSettings(Settings):
    """What the task can be told."""

    max_distance: float = option(0.8, "a step farther than this from the button is punished, in metres")


class ButtonTask(Task):
    """Touch the gliding cap of a button in five steps, and never the table.

    Where there are several buttons, each has its turn, and only the one whose turn it is counts.

    :param options: of the environment
    :param settings: of the task
    """

    target_name = "button"
    axes = "xyz"
    settings_type: ClassVar[type[Settings]] = ButtonSettings
    target_low = (BUTTON_X - RANDOM_X_M, BUTTON_Y - RANDOM_Y_M, BUTTON_Z + TARGET_HEIGHT_M)
    target_high = (BUTTON_X + RANDOM_X_M, BUTTON_Y + RANDOM_Y_M, BUTTON_Z + TARGET_HEIGHT_M)
    plane_position: ClassVar[Vector] = (0.0, 0.0, -1.0)
    table_position: ClassVar[Vector] = (0.5, 0.0, -0.82)
    centre: ClassVar[Place] = (BUTTON_X, BUTTON_Y)
    """Of the range of random buttons."""

    def __init__(self, options: EnvOptions, settings: ButtonSettings) -> None:
        super().__init__(options, settings)
        self._buttons = self._make_buttons()
        self._max_distance = settings.max_distance
        self._is_sparse = not options.shape_reward
        self._pays_the_end = not options.is_discrete
        self._take_turn(0)

    def _make_buttons(self) -> tuple[Button, ...]:
        """Give the buttons in the order of their turns, each at its usual place."""
        return (Button("button", self.centre),)

    def _take_turn(self, turn: int) -> None:
        """Aim at one of the buttons and count its contacts anew."""
        self._turn = turn
        self._n_contacts = 0
        self.target = self._buttons[turn].target

    def build(self, simulation: Simulation) -> None:
        """Load floor, table and buttons.

        :param simulation: the world
        """
        simulation.load("plane", PYBULLET_DATA / "plane.urdf", self.plane_position)
        simulation.load("table", PYBULLET_DATA / "table" / "table.urdf", self.table_position)
        for button in self._buttons:
            button.build(simulation)

    def connect(self, simulation: Simulation) -> None:
        """Prepare the questions about contacts and the means to move the buttons.

        :param simulation: the world, its robot under the name ``"robot"``
        """
        for button in self._buttons:
            button.connect(simulation)
        self._touches_table = simulation.has_contact("table", "robot")

    def reset(self, rng: np.random.Generator) -> None:
        """Begin with the first button and, with a random target, move all of them.

        :param rng: the only source of chance
        """
        if self.options.random_target:
            for button, place in zip(self._buttons, self._draw_places(rng), strict=True):
                button.move(place)
        self._take_turn(0)

    def _draw_places(self, rng: np.random.Generator) -> Sequence[Place]:
        """Give a random place for each of the buttons."""
        low, high = self.region(-1.0, 1.0)
        x = self.centre[0] + RANDOM_X_M * rng.uniform(low, high)
        y = self.centre[1] + RANDOM_Y_M * rng.uniform(low, high)
        return ((x, y),)

    def waypoint(self, position: Vector) -> Vector:
        """Give the place to go to next: above the button at the same height, then down, deeper than the cap.

        :param position: of the robot, in world metres
        """
        x, y, z = self.target
        is_above = math.dist(position[:2], (x, y)) < ABOVE_M
        return (x, y, z - PUSH_M if is_above else position[2])

    def evaluate(self, position: Vector, has_bumped: bool) -> tuple[float, bool, bool]:
        """Give reward, terminated and success from the contacts and the distance to the target.

        :param position: of the effector, in world metres
        :param has_bumped: not used
        """
        touches_cap = self._buttons[self._turn].is_touched()
        touches_table = self._touches_table()
        distance = math.dist(position, self.target)
        self._n_contacts += touches_cap
        is_pressed = self._n_contacts >= N_CONTACTS and not touches_table
        is_success = is_pressed and self._turn == len(self._buttons) - 1
        if self._is_sparse:
            reward = -1.0 if touches_table or distance > self._max_distance else float(touches_cap)
        else:
            reward = self._shaped_reward(distance, touches_table, is_pressed)
        if is_pressed and not is_success:
            self._take_turn(self._turn + 1)
        return reward, is_success or touches_table, is_success

    def _shaped_reward(self, distance: float, touches_table: bool, is_pressed: bool) -> float:
        """Give the dense reward of a step.

        :param distance: to the target, in metres
        :param touches_table: whether the robot touches it, which is a failure
        :param is_pressed: whether this step completes the contacts of the button whose turn it is, without a failure
        """
        if self._pays_the_end and (is_pressed or touches_table):
            return SUCCESS_REWARD if is_pressed else FAILURE_REWARD
        return -distance
