"""Learning rates as pure functions of progress.

The contract, for every run: the progress of an update is taken at the start of its rollout,
``p = 1 - steps_before / steps_planned``, clamped to [0, 1]. The first update therefore uses the initial rate exactly,
and a linear decay never reaches zero before the end nor goes below it.

A run whose horizon is changed midway goes on at the rate of its last update and decays over what remains.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

DECAYS: dict[str, Callable[[float], float]] = {
    "linear": lambda progress_remaining: progress_remaining,
    "constant": lambda _: 1.0,
    "cosine": lambda progress_remaining: 0.5 * (1.0 + math.cos(math.pi * (1.0 - progress_remaining))),
}


@dataclass(frozen=True)
class LearningRateSchedule:
    """The learning rate over one run, or over what remains of it.

    :param initial: the rate of the first update
    :param decay: a name of `DECAYS`
    :param from_progress: progress remaining at that update: 1, or less after a change of horizon
    :param warmup: share of the run over which the rate rises linearly to what the decay says
    :param rollout: share of the run that one rollout takes: with a warm-up the first update has risen by so much, and
        the update of the rollout in which the warm-up ends is the first at the full rate
    """

    initial: float
    decay: str = "constant"
    from_progress: float = 1.0
    warmup: float = 0.0
    rollout: float = 0.0

    def __call__(self, progress_remaining: float) -> float:
        """Give the rate.

        :param progress_remaining: 1 at the start, 0 at the end; values outside are clamped
        """
        share = progress_remaining / self.from_progress if self.from_progress > 0 else 0.0
        rate = self.initial * DECAYS[self.decay](min(1.0, max(0.0, share)))
        if not self.warmup:
            return rate
        done = 1.0 - min(1.0, max(0.0, progress_remaining))
        return rate * min(1.0, (done + self.rollout) / self.warmup)

    def handed_over(self, last_progress: float, steps_before: int, steps_planned: int) -> "LearningRateSchedule":
        """Give the schedule of the rest of a run whose horizon changes.

        :param last_progress: of the update before the change, under this schedule
        :param steps_before: timesteps done at the change
        :param steps_planned: the new horizon
        """
        return LearningRateSchedule(self(last_progress), self.decay, progress_remaining(steps_before, steps_planned))


def progress_remaining(steps_before: int, steps_planned: int) -> float:
    """Give the share of a run that remains when a rollout starts, in [0, 1]."""
    return min(1.0, max(0.0, 1.0 - steps_before / steps_planned))


def planned_steps(num_timesteps: int, steps_per_rollout: int | None) -> int:
    """Round the timesteps asked for up to whole rollouts.

    :param steps_per_rollout: over all environments; None where rollouts have no fixed length
    """
    if steps_per_rollout is None:
        return num_timesteps
    return math.ceil(num_timesteps / steps_per_rollout) * steps_per_rollout


def preview(
    schedule: LearningRateSchedule, steps_per_rollout: int | None, steps_planned: int, warm_up: int = 0
) -> dict[str, float]:
    """Give the rates of the first update and of those at 10, 50 and 100 % of a run.

    :param steps_per_rollout: None where rollouts have no fixed length: then the end is the limit of the schedule
    :param warm_up: timesteps that must be exceeded before an off-policy algorithm makes its first update
    """
    first = warm_up if steps_per_rollout is None else warm_up // steps_per_rollout * steps_per_rollout
    rates = {"first": schedule(progress_remaining(first, steps_planned))}
    for percent in (10, 50, 100):
        ended = steps_planned * percent // 100
        started = ended if steps_per_rollout is None else planned_steps(ended, steps_per_rollout) - steps_per_rollout
        rates[f"{percent} %"] = schedule(progress_remaining(max(first, started), steps_planned))
    return rates
