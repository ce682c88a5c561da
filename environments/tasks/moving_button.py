"""Press a button that slides to and fro."""

import math

import numpy as np

from environments.camera import Vector
from environments.options import EnvOptions
from environments.tasks.button import BUTTON_Y, RANDOM_Y_M, ButtonSettings, ButtonTask

STRIDE_M = 0.001
"""Of the button per physics step."""


class MovingButtonTask(ButtonTask):
    """The same with a button that slides along y, and turns back where its range ends.

    :param options: of the environment
    :param settings: of the task
    """

    def __init__(self, options: EnvOptions, settings: ButtonSettings) -> None:
        super().__init__(options, settings)
        (self._button,) = self._buttons
        self._start = self._button.target
        self._stride = STRIDE_M

    def reset(self, rng: np.random.Generator) -> None:
        """Begin at the usual place, or at a random one, and draw the direction.

        :param rng: the only source of chance
        """
        self._button.target = self._start  # its body has come back with the start of the world
        super().reset(rng)
        self._stride = STRIDE_M if rng.integers(2) else -STRIDE_M

    def advance(self, position: Vector) -> None:
        """Slide by one stride; what would lie beyond the end of the range is mirrored there.

        :param position: not used
        """
        x, y, _ = self.target
        y += self._stride
        if abs(y - BUTTON_Y) > RANDOM_Y_M:
            y = 2 * (BUTTON_Y + math.copysign(RANDOM_Y_M, self._stride)) - y
            self._stride = -self._stride
        self._button.move((x, y))
        self.target = self._button.target
