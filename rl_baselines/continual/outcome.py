"""What came out: a table of scores for each method, over all seeds, and what it says of learning and forgetting."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rl_baselines.continual.experiment import STUDENT, TEACHERS, Experiment
from rl_baselines.cross_evaluation.matrix import finite
from rl_baselines.cross_evaluation.outputs import ARRAYS
from rl_baselines.transfer_matrix import Estimate, estimate, normalised, sequence_summary

SEQUENCE_FIGURES = ("forgetting", "backward_transfer", "forward_transfer")


@dataclass(frozen=True, eq=False)
class Outcome:
    """The scores of an experiment whose evaluations are there.

    :param experiment: with n_tasks tasks and n_seeds seeds
    :param rewards: mean rewards of an episode, by method: float64, (n_rows, n_tasks, n_seeds). A sequence has a row
        after each task, the teachers have one each, the student one
    :param random_rewards: of random actions: float64, (n_tasks, n_seeds)
    """

    experiment: Experiment
    rewards: Mapping[str, np.ndarray]
    random_rewards: np.ndarray

    @classmethod
    def read(cls, experiment: Experiment) -> "Outcome":
        """Read the evaluations of all seeds."""
        per_seed = [_read_seed(experiment, seed) for seed in experiment.seeds]
        rewards = {name: np.stack([found[name] for found, _ in per_seed], axis=2) for name in per_seed[0][0]}
        return cls(experiment, rewards, np.stack([random for _, random in per_seed], axis=1))

    @cached_property
    def levels(self) -> tuple[np.ndarray, np.ndarray]:
        """The rewards that count as 0, of random actions, and as 1, of each task's teacher: two arrays, (n_tasks,)."""
        own = np.arange(len(self.experiment.tasks))
        return self.random_rewards.mean(axis=1), self.rewards[TEACHERS][own, own].mean(axis=1)

    @cached_property
    def scores(self) -> dict[str, np.ndarray]:
        """The rewards on the scale of `levels`; NaN on a task whose teachers are no better than random actions."""
        return {method: normalised(rewards, *self.levels) for method, rewards in self.rewards.items()}

    def final(self, method: str, normalise: bool = True) -> np.ndarray:
        """Give what a method is worth on each task in the end: float64, (n_tasks, n_seeds).

        :param method: of the table; for the teachers it is each one on its own task
        """
        table = (self.scores if normalise else self.rewards)[method]
        own = np.arange(len(self.experiment.tasks))
        final: np.ndarray = table[own, own] if method == TEACHERS else table[-1]
        return final

    def figures(self, method: str) -> dict[str, Estimate]:
        """Give the mean score over tasks in the end and, of a sequence, what it forgot and passed on.

        Intervals are over seeds; with a single one there are none.
        """
        found = {"average": estimate(self.final(method).mean(axis=0))}
        if method in (TEACHERS, STUDENT):
            return found
        untrained = normalised(self.random_rewards, *self.levels)
        summary = sequence_summary(self.scores[method], untrained, best_of="samples")
        return {**found, **{name: summary[name] for name in SEQUENCE_FIGURES}}

    def to_json(self) -> dict[str, Any]:
        """Give all figures by method and task, ready for JSON."""
        zero, one = self.levels
        tasks = [
            {"label": task.label, "text": task.text, "zero": float(zero[index]), "one": float(one[index])}
            for index, task in enumerate(self.experiment.tasks)
        ]
        methods = {
            method: {
                "rewards": self.rewards[method].tolist(),
                "final": {
                    task.label: {
                        "reward": _plain(estimate(self.final(method, normalise=False)[index])),
                        "score": _plain(estimate(self.final(method)[index])),
                    }
                    for index, task in enumerate(self.experiment.tasks)
                },
                **{name: _plain(found) for name, found in self.figures(method).items()},
            }
            for method in self.rewards
        }
        return {"seeds": list(self.experiment.seeds), "tasks": tasks, "methods": methods}

    def table(self) -> bytes:
        """Give every score as CSV: method, number of tasks learnt, task, seed, reward, normalised score."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(("method", "after", "task", "seed", "mean_reward", "score"))
        for method, rewards in self.rewards.items():
            for row, task, seed in np.ndindex(*rewards.shape):
                after = "all" if method == STUDENT else self.experiment.tasks[row].label
                score = finite(float(self.scores[method][row, task, seed]))
                cells = (self.experiment.tasks[task].label, self.experiment.seeds[seed], rewards[row, task, seed])
                writer.writerow((method, after, *cells, "" if score is None else score))
        return text.getvalue().encode()


def _read_seed(experiment: Experiment, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Give the mean rewards of a seed by method, (n_rows, n_tasks), and those of random actions, (n_tasks,)."""
    with np.load(experiment.evaluation(seed) / ARRAYS, allow_pickle=False) as arrays:
        rewards, random_rewards = arrays["rewards"].mean(axis=2), arrays["random_rewards"].mean(axis=1)
    rows: dict[str, list[np.ndarray]] = {}
    for (method, _, _), row in zip(experiment.policies(seed), rewards, strict=True):
        rows.setdefault(method, []).append(row)
    return {method: np.stack(found) for method, found in _with_first(rows)}, random_rewards


def _with_first(rows: Mapping[str, list[np.ndarray]]) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Yield the rows of each method; a sequence begins with the teacher of the first task."""
    for method, found in rows.items():
        yield method, found if method in (TEACHERS, STUDENT) else [rows[TEACHERS][0], *found]


def _plain(found: Estimate) -> dict[str, float | None]:
    return {"mean": finite(found.mean), "low": found.low, "high": found.high}
