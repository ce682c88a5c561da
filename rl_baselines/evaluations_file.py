"""``evaluations.csv``: a row for every evaluation of a run, its own or one on several tasks.

The columns are settled before the first row: those of the run's own evaluations, then those of each task. A row leaves
empty what it says nothing of.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rl_baselines.evaluation import EvaluationResult

EVALUATION_COLUMNS = (
    "timesteps",
    "mean_reward",
    "std_reward",
    "reward_low",
    "reward_high",
    "success_rate",
    "success_low",
    "success_high",
    "mean_length",
    "n_episodes",
)
TIMESTEPS = "timesteps"
TASK_FIGURES = ("mean_reward", "reward_low", "reward_high", "success_rate")
Figures = Mapping[str, float | int | None]


class EvaluationsFile:
    """Appends rows, which are in the file when the call returns.

    :param path: ``evaluations.csv``
    :param tasks: labels of the tasks that are evaluated beside the run's own
    """

    def __init__(self, path: Path, tasks: Sequence[str] = ()) -> None:
        self.path = path
        self._columns = [*EVALUATION_COLUMNS, *(f"{task}/{name}" for task in tasks for name in TASK_FIGURES)]

    def append(self, timesteps: int, figures: Figures) -> None:
        """Append a row.

        :param figures: by column
        """
        is_new = not self.path.exists()
        with open(self.path, "a", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            if is_new:
                writer.writeheader()
            writer.writerow({TIMESTEPS: timesteps, **figures})


def task_figures(results: "Mapping[str, EvaluationResult]") -> dict[str, float | int | None]:
    """Give the figures of evaluations on tasks, by column.

    :param results: by the label of the task
    """
    summaries = {task: result.summary() for task, result in results.items()}
    return {f"{task}/{name}": summary[name] for task, summary in summaries.items() for name in TASK_FIGURES}


def read_task_evaluations(path: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield the timesteps and the figures of every evaluation on tasks, by column; a torn last line is left out."""
    if not path.is_file():
        return
    with open(path, newline="") as file:
        for row in csv.DictReader(_whole_lines(file)):
            figures = {name: float(cell) for name, cell in row.items() if cell and "/" in name}
            if figures:
                yield int(row[TIMESTEPS]), figures


def _whole_lines(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if line.endswith("\n"))
