"""What a table of policies against tasks says: normalised scores, and what one learner forgot and passed on.

Arrays are float64, (n_policies, n_tasks, n_samples), a score in each place, NaN where there is none. Samples are
paired: a sample is one start seed of all episodes, or one training seed of the whole table, and every figure is first
reckoned for each sample, so that its interval rests on the differences within samples.

Of a sequence of tasks, policy i is the learner after task i and there are as many policies as tasks:

======  ==================================================================================
symbol  meaning
======  ==================================================================================
T       number of tasks
R[i,j]  score on task j after task i has been learnt
b[j]    score on task j of what has learnt nothing
======  ==================================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rl_baselines.intervals import student_interval

BestOf = Literal["means", "samples"]


@dataclass(frozen=True)
class Estimate:
    """A mean over samples.

    :param mean: NaN where it is undefined
    :param low: of the 95 % Student t interval; it and `high` are None for a single sample or an undefined mean
    """

    mean: float
    low: float | None
    high: float | None


def estimate(samples: np.ndarray) -> Estimate:
    """Give the mean of samples with its interval.

    :param samples: (n_samples,)
    """
    mean = float(samples.mean())
    low, high = (None, None) if np.isnan(mean) else student_interval(samples) or (None, None)
    return Estimate(mean, low, high)


def best_levels(scores: np.ndarray) -> np.ndarray:
    """Give the mean score of the best policy on each task, NaN where no policy has one.

    :param scores: (n_policies, n_tasks, n_samples)
    :return: (n_tasks,)
    """
    means = scores.mean(axis=2)
    best: np.ndarray = np.where(np.isnan(means), -np.inf, means).max(axis=0)
    return np.where(np.isinf(best), np.nan, best)


def normalised(scores: np.ndarray, zero: np.ndarray, one: np.ndarray) -> np.ndarray:
    """Give scores on a scale of each task's own: 0 at `zero`, 1 at `one`.

    :param scores: (..., n_tasks, n_samples)
    :param zero: (n_tasks,), of no skill
    :param one: (n_tasks,), of full skill; where it is not above `zero` there is no scale, and the result is NaN
    :return: as `scores`
    """
    span = np.where(one > zero, one - zero, np.nan)
    result: np.ndarray = (scores - zero[:, None]) / span[:, None]
    return result


def average_accuracy(scores: np.ndarray) -> np.ndarray:
    """Give the mean over tasks at the end: 1/T sum_j R[T,j] (D. Lopez-Paz and M. Ranzato, 2017).

    :param scores: (T, T, n_samples)
    :return: (n_samples,)
    """
    _check(scores, at_least=1)
    last: np.ndarray = scores[-1].mean(axis=0)
    return last


def forgetting(scores: np.ndarray, best_of: BestOf = "means") -> np.ndarray:
    """Give what was lost since it was known best: 1/(T-1) sum_{j<T} (max_{l<T} R[l,j] - R[T,j]).

    A. Chaudhry, P. Dokania, T. Ajanthan and P. Torr, Riemannian Walk for Incremental Learning (2018). Negative where
    the end is better than all that came before.

    :param scores: (T, T, n_samples), T at least 2
    :param best_of: whether the best l is that of the mean over samples, as it must be where samples are episodes (the
        highest of several noisy values is too high), or each sample's own, where each is a training of its own
    :return: (n_samples,)
    """
    _check(scores)
    earlier = scores[:-1, :-1]
    if best_of == "samples":
        best = earlier.max(axis=0)
    else:
        chosen = earlier.mean(axis=2).argmax(axis=0)
        best = earlier[chosen, np.arange(earlier.shape[1])]
    lost: np.ndarray = (best - scores[-1, :-1]).mean(axis=0)
    return lost


def backward_transfer(scores: np.ndarray) -> np.ndarray:
    """Give what later tasks changed in earlier ones: 1/(T-1) sum_{j<T} (R[T,j] - R[j,j]).

    D. Lopez-Paz and M. Ranzato, Gradient Episodic Memory for Continual Learning (2017).

    :param scores: (T, T, n_samples), T at least 2
    :return: (n_samples,)
    """
    _check(scores)
    tasks = np.arange(len(scores) - 1)
    change: np.ndarray = (scores[-1, :-1] - scores[tasks, tasks]).mean(axis=0)
    return change


def forward_transfer(scores: np.ndarray, untrained: np.ndarray) -> np.ndarray:
    """Give how much better than nothing a task is done before it was learnt: 1/(T-1) sum_{j>1} (R[j-1,j] - b[j]).

    D. Lopez-Paz and M. Ranzato, Gradient Episodic Memory for Continual Learning (2017).

    :param scores: (T, T, n_samples), T at least 2
    :param untrained: b, (T, n_samples)
    :return: (n_samples,)
    """
    _check(scores)
    tasks = np.arange(1, len(scores))
    gain: np.ndarray = (scores[tasks - 1, tasks] - untrained[1:]).mean(axis=0)
    return gain


def sequence_summary(scores: np.ndarray, untrained: np.ndarray, best_of: BestOf = "means") -> Mapping[str, Estimate]:
    """Give all four figures of a learner, by name.

    :param scores: (T, T, n_samples), T at least 2
    :param untrained: (T, n_samples)
    :param best_of: see `forgetting`
    :raises ValueError: when there are not as many policies as tasks, or fewer than two
    """
    return {
        "average_accuracy": estimate(average_accuracy(scores)),
        "forgetting": estimate(forgetting(scores, best_of)),
        "backward_transfer": estimate(backward_transfer(scores)),
        "forward_transfer": estimate(forward_transfer(scores, untrained)),
    }


def _check(scores: np.ndarray, at_least: int = 2) -> None:
    n_policies, n_tasks, _ = scores.shape
    if n_policies != n_tasks or n_tasks < at_least:
        raise ValueError(
            f"a sequence has one policy after each task, and at least {at_least} of them; got {n_policies} policies "
            f"and {n_tasks} tasks"
        )
