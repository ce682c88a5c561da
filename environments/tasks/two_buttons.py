"""Press two buttons, the red one first."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from environments.options import EnvOptions
from environments.simulation import Colour
from environments.tasks.button import (
    BUTTON_X,
    BUTTON_Y,
    FAILURE_REWARD,
    PLATE_M,
    RANDOM_X_M,
    RANDOM_Y_M,
    SUCCESS_REWARD,
    Button,
    ButtonTask,
    Place,
)

OFFSET_Y_M = 0.125
BLUE: Colour = (0.1, 0.25, 0.9)
APART_M = PLATE_M + 0.006
"""Between the centres of two random buttons along y, at least."""
FIRST_REWARD = 25.0
FAR_REWARD = -20.0


class TwoButtonsTask(ButtonTask):
    """Touch the cap of the red button in five steps, then that of the blue one, and never the table.

    :param options: of the environment
    :param settings: of the task
    """

    @classmethod
    def find_conflict(cls, options: EnvOptions, settings: Any) -> str | None:
        """Say that the region of the targets has no room for two buttons, or give None.

        :param options: the common ones
        :param settings: those of this task
        """
        first, last = options.target_region
        needed = APART_M / (2 * RANDOM_Y_M)
        if options.random_target and last - first < needed:
            return f"target_region must span at least {needed} of the range, so that two buttons lie beside each other"
        return None

    def _make_buttons(self) -> tuple[Button, ...]:
        return (
            Button("button", (BUTTON_X, BUTTON_Y + OFFSET_Y_M)),
            Button("second_button", (BUTTON_X, BUTTON_Y - OFFSET_Y_M), BLUE),
        )

    def _draw_places(self, rng: np.random.Generator) -> Sequence[Place]:
        """Give two random places, the plates beside each other along y.

        Both are drawn from a range that is shorter by the distance between them, and the one that comes to lie farther
        is moved on by it: so all pairs that are far enough apart are equally likely.
        """
        low, high = self.region(-1.0, 1.0)
        first_x, second_x = BUTTON_X + RANDOM_X_M * rng.uniform(low, high, 2)
        first_y, second_y = BUTTON_Y + rng.uniform(RANDOM_Y_M * low, RANDOM_Y_M * high - APART_M, 2)
        if first_y > second_y:
            first_y += APART_M
        else:
            second_y += APART_M
        return ((float(first_x), float(first_y)), (float(second_x), float(second_y)))

    def _shaped_reward(self, distance: float, touches_table: bool, is_pressed: bool) -> float:
        if touches_table:
            return FAILURE_REWARD
        if is_pressed:
            return FIRST_REWARD if self._turn == 0 else SUCCESS_REWARD
        return FAR_REWARD if distance > self._max_distance else -distance
