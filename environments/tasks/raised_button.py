"""Press a button on a table that stands half a metre up, before a humanoid."""

from environments.bullet import pybullet
from environments.simulation import Simulation
from environments.tasks.button import CAP_LINK, RANDOM_X_M, RANDOM_Y_M, Button, ButtonTask

CENTRE_X, CENTRE_Y, BUTTON_Z = 0.0, 1.0, 1.1
TARGET_HEIGHT_M = 0.1
"""Above the button's origin: there is the middle of a fist that touches it."""


class RaisedButtonTask(ButtonTask):
    """Touch the cap of a button that is let into the table in five steps, and never the table.

    :param options: of the environment
    :param settings: of the task
    """

    target_low = (CENTRE_X - RANDOM_X_M, CENTRE_Y - RANDOM_Y_M, BUTTON_Z + TARGET_HEIGHT_M)
    target_high = (CENTRE_X + RANDOM_X_M, CENTRE_Y + RANDOM_Y_M, BUTTON_Z + TARGET_HEIGHT_M)
    plane_position = (0.0, 0.0, 0.5)
    table_position = (0.0, 1.0, 0.5)
    centre = (CENTRE_X, CENTRE_Y)

    def _make_buttons(self) -> tuple[Button, ...]:
        return (Button("button", self.centre, z=BUTTON_Z, target_height_m=TARGET_HEIGHT_M),)

    def build(self, simulation: Simulation) -> None:
        """Load floor, table and button; the table that the cap is let into does not hinder it.

        :param simulation: the world
        """
        super().build(simulation)
        button, table = simulation.bodies["button"], simulation.bodies["table"]
        simulation.bind(pybullet.setCollisionFilterPair)(button, table, CAP_LINK, -1, enableCollision=0)
