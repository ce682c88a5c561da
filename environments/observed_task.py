"""Ground truth that all tasks of one environment share, and that tells which of them is to be done.

Where tasks differ in nothing that a policy could see, such as circle and square around the same centre, one policy for
all of them needs to be told (Traoré et al. 2019, DisCoRL, arXiv 1907.05855, where the colour of a marker tells).
"""

from collections.abc import Mapping

import numpy as np

from environments.camera import Vector
from environments.tasks.task import Task


class ObservedTask:
    """Gives, in place of the ground truth of a task, the same elements for each of several tasks.

    These are the robot relative to the target, the robot in the world (metres along the world's axes, n_axes each), and
    one element for each task: 1 for the one that is to be done, 0 for the others.

    :param task: the one that is to be done
    :param task_types: all of them, by name, in the order of the elements; with the same axes
    """

    def __init__(self, task: Task, task_types: Mapping[str, type[Task]]) -> None:
        self._task = task
        self._task_types = task_types
        self._marks = [float(type(task) is task_type) for task_type in task_types.values()]

    def feature_names(self, point_name: str) -> tuple[str, ...]:
        """Give the name of each element.

        :param point_name: what the robot's position is the position of
        """
        axes = self._task.axes
        relative = tuple(f"{point_name}_from_target_{axis}" for axis in axes)
        absolute = tuple(f"{point_name}_{axis}" for axis in axes)
        return (*relative, *absolute, *(f"task_is_{name}" for name in self._task_types))

    def ground_truth(self, position: Vector) -> list[float]:
        """Give the elements.

        :param position: of the robot, in world metres
        """
        n_axes = len(self._task.axes)
        relative = [position[axis] - self._task.target[axis] for axis in range(n_axes)]
        return [*relative, *position[:n_axes], *self._marks]

    def ground_truth_bounds(self, low: Vector, high: Vector) -> tuple[list[float], list[float]]:
        """Give bounds that no element leaves, whichever the task.

        :param low: lowest position of the robot along each axis, in world metres
        :param high: highest
        """
        n_axes, types = len(self._task.axes), self._task_types.values()
        farthest = np.max([task_type.target_high for task_type in types], axis=0)
        nearest = np.min([task_type.target_low for task_type in types], axis=0)
        lowest, highest = np.subtract(low, farthest)[:n_axes].tolist(), np.subtract(high, nearest)[:n_axes].tolist()
        zeros, ones = [0.0] * len(types), [1.0] * len(types)
        return [*lowest, *low[:n_axes], *zeros], [*highest, *high[:n_axes], *ones]
