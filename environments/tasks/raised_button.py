"""Press a button on a table that stands half a metre up, before a humanoid."""

from collections.abc import Sequence

import numpy as np

from environments.bullet import pybullet
from environments.simulation import PYBULLET_DATA, Simulation
from environments.tasks.button import CAP_LINK, RANDOM_X_M, RANDOM_Y_M, Button, ButtonTask, Place

FLOOR_POSITION = (0.0, 0.0, 0.5)
TABLE_POSITION = (0.0, 1.0, 0.5)
BUTTON_X, BUTTON_Y, BUTTON_Z = 0.0, 1.0, 1.1
TARGET_Z = BUTTON_Z + 0.1


class RaisedButton(Button):
    """A button let into the top of the table; its target is where the middle of a fist is that touches it.

    :param name: of its body in the world
    :param place: where it stands at first
    """

    def __init__(self, name: str, place: Place) -> None:
        super().__init__(name, place)
        self.target = (*place, TARGET_Z)

    def build(self, simulation: Simulation) -> None:
        """Load the body and lift it; the top of the table, which it is let into, does not hinder its cap.

        :param simulation: the world, with the table
        """
        super().build(simulation)
        x, y, _ = self.target
        simulation.place(self.name, (x, y, BUTTON_Z))
        button, table = simulation.bodies[self.name], simulation.bodies["table"]
        simulation.bind(pybullet.setCollisionFilterPair)(button, table, CAP_LINK, -1, enableCollision=0)

    def move(self, place: Place) -> None:
        """Stand elsewhere at once.

        :param place: where
        """
        self._place((*place, BUTTON_Z))
        self.target = (*place, TARGET_Z)


class RaisedButtonTask(ButtonTask):
    """Touch the cap of the button in five steps, and never the table."""

    target_low = (BUTTON_X - RANDOM_X_M, BUTTON_Y - RANDOM_Y_M, TARGET_Z)
    target_high = (BUTTON_X + RANDOM_X_M, BUTTON_Y + RANDOM_Y_M, TARGET_Z)

    def _make_buttons(self) -> tuple[Button, ...]:
        return (RaisedButton("button", (BUTTON_X, BUTTON_Y)),)

    def build(self, simulation: Simulation) -> None:
        """Load floor, table and button.

        :param simulation: the world
        """
        simulation.load("plane", PYBULLET_DATA / "plane.urdf", FLOOR_POSITION)
        simulation.load("table", PYBULLET_DATA / "table" / "table.urdf", TABLE_POSITION)
        for button in self._buttons:
            button.build(simulation)

    def _draw_places(self, rng: np.random.Generator) -> Sequence[Place]:
        low, high = self.region(-1.0, 1.0)
        x = BUTTON_X + RANDOM_X_M * rng.uniform(low, high)
        y = BUTTON_Y + RANDOM_Y_M * rng.uniform(low, high)
        return ((x, y),)
