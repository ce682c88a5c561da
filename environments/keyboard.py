"""A robot's continuous actions from the keys that are held down."""

from collections.abc import Sequence

import numpy as np

from environments.bullet import pybullet

UP, DOWN = pybullet.B3G_UP_ARROW, pybullet.B3G_DOWN_ARROW
LEFT, RIGHT = pybullet.B3G_LEFT_ARROW, pybullet.B3G_RIGHT_ARROW
PAGE_UP, PAGE_DOWN = pybullet.B3G_PAGE_UP, pybullet.B3G_PAGE_DOWN
PAIRS = ((RIGHT, LEFT), (UP, DOWN), (PAGE_UP, PAGE_DOWN))
PAIR_NAMES = ("right / left", "up / down", "page up / page down")


class Keyboard:
    """Keys for the elements of an action.

    Up to three elements have a pair of keys each. With more of them, left and right choose the one that up and down
    then move.

    :param action_names: the name of each element of an action
    """

    def __init__(self, action_names: Sequence[str]) -> None:
        self._names = tuple(action_names)
        self.chosen = 0

    @property
    def chooses(self) -> bool:
        """Whether one element is moved at a time, the chosen one."""
        return len(self._names) > len(PAIRS)

    def describe(self) -> list[str]:
        """Give a line for each pair of keys."""
        if self.chooses:
            return [f"right / left: next / previous of {len(self._names)} actions", "up / down: more / less of it"]
        return [f"{keys}: {name} + / -" for keys, name in zip(PAIR_NAMES, self._names, strict=False)]

    def choose(self, pressed: set[int]) -> str | None:
        """Go on to the next or the previous element where those keys were pressed, and give its name, else None.

        :param pressed: PyBullet's codes of the keys that were pressed and let go
        """
        if not self.chooses or not pressed & {LEFT, RIGHT}:
            return None
        self.chosen = (self.chosen + (RIGHT in pressed) - (LEFT in pressed)) % len(self._names)
        return self._names[self.chosen]

    def action(self, held: set[int]) -> np.ndarray:
        """Give an action: 1 or -1 for each element whose key is held down; float32, (n_elements,).

        :param held: PyBullet's codes of the keys that are down
        """
        action = np.zeros(len(self._names), np.float32)
        if self.chooses:
            action[self.chosen] = (UP in held) - (DOWN in held)
            return action
        for index, (more, less) in enumerate(PAIRS[: len(self._names)]):
            action[index] = (more in held) - (less in held)
        return action
