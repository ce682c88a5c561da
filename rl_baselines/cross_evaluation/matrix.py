"""What a cross-evaluation found, as arrays and as figures."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rl_baselines.cross_evaluation.plan import RANDOM, Plan
from rl_baselines.evaluation import EvaluationResult
from rl_baselines.transfer_matrix import Estimate, best_levels, estimate, normalised, sequence_summary

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Matrix:
    """All that was played.

    :param results: by the names of the cells, complete
    """

    plan: Plan
    results: Mapping[str, EvaluationResult]

    @cached_property
    def rewards(self) -> np.ndarray:
        """Rewards of episodes: float64, (n_policies, n_tasks, n_episodes), NaN in empty cells."""
        return self._stacked("rewards")[:-1]

    @cached_property
    def random_rewards(self) -> np.ndarray:
        """Rewards of random actions: float64, (n_tasks, n_episodes)."""
        return self._stacked("rewards")[-1]

    @cached_property
    def lengths(self) -> np.ndarray:
        """Lengths of episodes in steps: float64, (n_policies, n_tasks, n_episodes), NaN in empty cells."""
        return self._stacked("lengths")[:-1]

    @cached_property
    def successes(self) -> np.ndarray:
        """Whether episodes succeeded, 1 or 0: float64, (n_policies, n_tasks, n_episodes), NaN where it is not told."""
        return self._stacked("successes")[:-1]

    @cached_property
    def scores(self) -> np.ndarray:
        """Normalised rewards: float64, (n_policies, n_tasks, n_episodes).

        0 is the mean of random actions, 1 that of the best policy on the task; NaN where none is better than random.
        """
        return normalised(self.rewards, *self.levels)

    @cached_property
    def random_scores(self) -> np.ndarray:
        """Normalised rewards of random actions: float64, (n_tasks, n_episodes)."""
        return normalised(self.random_rewards, *self.levels)

    @cached_property
    def levels(self) -> tuple[np.ndarray, np.ndarray]:
        """The rewards that count as 0 and as 1: two arrays, float64, (n_tasks,)."""
        return self.random_rewards.mean(axis=1), best_levels(self.rewards)

    def sequence(self) -> dict[str, Mapping[str, Estimate]]:
        """Give forgetting and transfer of one learner, in rewards and in scores; see `sequence_summary`.

        :raises ValueError: when there are not as many policies as tasks, or fewer than two
        """
        return {
            "reward": sequence_summary(self.rewards, self.random_rewards),
            "score": sequence_summary(self.scores, self.random_scores),
        }

    def cells(self) -> Iterator[Row]:
        """Yield the figures of every cell, random actions last, ready for JSON; None where there are none."""
        for p, policy in enumerate([*(policy.label for policy in self.plan.policies), RANDOM]):
            for t, task in enumerate(self.plan.tasks):
                result = self.result(p, t)
                figures = _NO_FIGURES if result is None else result.summary()
                found = estimate(self.random_scores[t] if policy == RANDOM else self.scores[p, t])
                score = {"score": finite(found.mean), "score_low": found.low, "score_high": found.high}
                yield {"policy": policy, "task": task.label, **figures, **score}

    def episodes(self) -> Iterator[Row]:
        """Yield every episode, random actions last."""
        labels = [(policy.label, policy.source.path) for policy in self.plan.policies]
        for p, (policy, path) in enumerate([*labels, (RANDOM, "")]):
            for t, task in enumerate(self.plan.tasks):
                result = self.result(p, t)
                for i in range(0 if result is None else result.n_episodes):
                    assert result is not None
                    yield {
                        **{"policy": policy, "path": path, "task": task.label, "episode": i},
                        "start_seed": result.start_seeds[i],
                        "reward": float(result.rewards[i]),
                        "length": int(result.lengths[i]),
                        "success": None if result.successes is None else int(result.successes[i]),
                    }

    def result(self, policy: int, task: int) -> EvaluationResult | None:
        """Give what was played in a cell; None for an empty one.

        :param policy: its place; their number for random actions
        """
        row = RANDOM if policy == len(self.plan.policies) else format(policy, "03d")
        return self.results.get(f"{row}_{task:02d}")

    def _stacked(self, name: str) -> np.ndarray:
        """Give an array of all cells, random actions last."""
        n_policies, n_tasks = len(self.plan.policies), len(self.plan.tasks)
        stacked = np.full((n_policies + 1, n_tasks, self.plan.n_episodes), np.nan)
        for p in range(n_policies + 1):
            for t in range(n_tasks):
                values = getattr(self.result(p, t), name, None)
                if values is not None:
                    stacked[p, t] = values
        return stacked


_NO_FIGURES = dict.fromkeys(
    (
        *("mean_reward", "std_reward", "reward_low", "reward_high", "success_rate", "success_low", "success_high"),
        *("mean_length", "n_episodes"),
    )
)


def finite(value: float) -> float | None:
    """Give a number that JSON has; None for NaN."""
    return None if math.isnan(value) else value
