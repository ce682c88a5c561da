"""What happens between updates: evaluations, best models, stops.

What acts has a method `at_boundary`, called before every rollout and once after the last update. What must survive a
restart is given by `state` and taken by `restore`.
"""

import math
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from rl_baselines.config import MEASURES
from rl_baselines.evaluation import EvaluationResult, evaluate, evaluation_seeds, random_states_kept
from rl_baselines.evaluations_file import EvaluationsFile
from rl_baselines.literals import parse_duration
from rl_baselines.watched_episode import Watched, take_watched


class StopTraining(Exception):  # noqa: N818 - no error, like StopIteration
    """Raised at a boundary to end the training there.

    :param reason: in words
    :param can_go_on: whether it came from outside, by a signal or for lack of time, and the run is to be resumed
    """

    def __init__(self, reason: str, can_go_on: bool = False) -> None:
        super().__init__(reason)
        self.can_go_on = can_go_on


class BoundaryAction(Protocol):
    """Something that acts between updates."""

    def at_boundary(self) -> None:
        """Act; raise `StopTraining` to end the training."""


@dataclass
class BestModel:
    """The best score so far and where it was reached.

    :param model: what is trained
    :param rule: ``train`` or ``eval``, by which scores are mean rewards, or ``validation``, by which they are losses
    :ivar is_new: whether the model as it is now has the best score and is still to be saved
    """

    model: BaseAlgorithm
    rule: str
    score: float = field(init=False)
    timesteps: int | None = None
    is_new: bool = False

    def __post_init__(self) -> None:
        self.score = math.inf if self.rule == "validation" else -math.inf

    def __str__(self) -> str:
        return f"{self.measure.replace('_', ' ')} {self.score:.3g}"

    @property
    def measure(self) -> str:
        """What the score is, as records name it."""
        return MEASURES[self.rule]

    def offer(self, score: float) -> None:
        """Let the model as it is now be the best if its score is strictly better."""
        if score < self.score if self.rule == "validation" else score > self.score:
            self.score, self.timesteps, self.is_new = score, self.model.num_timesteps, True

    def state(self) -> dict[str, Any]:
        """Give what resuming needs."""
        return {"score": self.score, "timesteps": self.timesteps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.score, self.timesteps, self.is_new = state["score"], state["timesteps"], False


class BestByTraining:
    """Offers the mean reward of the last 100 training episodes.

    :param min_episodes: episodes before the first offer
    """

    def __init__(self, best: BestModel, min_episodes: int) -> None:
        self.best, self.min_episodes = best, max(1, min_episodes)
        self.model = best.model
        self._seen = 0

    def at_boundary(self) -> None:
        """Offer the score when episodes have ended since the last time."""
        episodes: int = self.model.n_episodes  # type: ignore[attr-defined]
        if episodes > self._seen and episodes >= self.min_episodes and self.model.ep_info_buffer:
            self.best.offer(float(np.mean([info["r"] for info in self.model.ep_info_buffer])))
        self._seen = episodes

    def state(self) -> dict[str, Any]:
        """Give what resuming needs."""
        return {"seen": self._seen}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._seen = state["seen"]


class BestByValidation:
    """Offers the loss in the episodes that were kept apart, whenever there is a new one.

    :param best: of a model that has a ``validation_loss``
    """

    def __init__(self, best: BestModel) -> None:
        self.best = best

    def at_boundary(self) -> None:
        """Offer the loss of an epoch that has just ended."""
        model: Any = self.best.model
        if model.validation_loss is not None:
            self.best.offer(model.validation_loss)
            model.validation_loss = None


class PeriodicEvaluation:
    """Evaluates the deterministic policy every so many timesteps, from the same start seeds each time.

    :param model: what is trained
    :param make_env: gives the evaluation environment, which shares the training's statistics; called when it is needed
    :param frequency: timesteps between evaluations
    :param n_episodes: of each evaluation
    :param file: takes a row of every evaluation
    :ivar on_result: told of every evaluation, and of the episode that was watched
    """

    def __init__(
        self,
        model: BaseAlgorithm,
        make_env: Callable[[], VecEnv],
        frequency: int,
        n_episodes: int,
        file: EvaluationsFile,
    ) -> None:
        self.model, self.file = model, file
        self._make_env = make_env
        self._env: VecEnv | None = None
        self._memories: list[Any] = []
        self.frequency, self.seeds = frequency, evaluation_seeds(n_episodes)
        self.best: BestModel | None = None
        self.stop_value: float | None = None
        self.last_result: EvaluationResult | None = None
        self.on_result: Callable[[EvaluationResult, Watched | None], None] | None = None
        self._last_timesteps = 0

    def at_boundary(self) -> None:
        """Evaluate when it is time."""
        if self.model.num_timesteps // self.frequency > self._last_timesteps // self.frequency:
            self.run()

    def run(self) -> None:
        """Evaluate now, unless that was done at this timestep.

        :raises StopTraining: when the stop value is reached
        """
        if self.model.num_timesteps == self._last_timesteps:
            return
        self._last_timesteps = self.model.num_timesteps
        env = self._environment()
        result = self.last_result = evaluate(self.model, env, self.seeds)
        self._memories = env.env_method("memory")
        self._record(result)
        if self.on_result is not None:
            self.on_result(result, take_watched(env))
        if self.best is not None:
            self.best.offer(result.mean_reward)
        if self.stop_value is not None and result.mean_reward >= self.stop_value:
            raise StopTraining(f"the evaluation's mean reward {result.mean_reward:.3g} reached {self.stop_value:g}")

    def state(self) -> dict[str, Any]:
        """Give what resuming needs."""
        last = None if self.last_result is None else self.last_result.to_state()
        return {"last_timesteps": self._last_timesteps, "last_result": last, "memories": self._memories}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._last_timesteps, last = state["last_timesteps"], state["last_result"]
        self.last_result = None if last is None else EvaluationResult.from_state(last)
        self._memories = state["memories"]

    def close(self) -> None:
        """Close the evaluation environment."""
        if self._env is not None:
            self._env.close()

    def _environment(self) -> VecEnv:
        if self._env is None:
            with random_states_kept(self.model, 0):  # it is made at another step when a run is resumed
                self._env = self._make_env()
            for index, memory in enumerate(self._memories):
                self._env.env_method("set_memory", memory, indices=index)
        return self._env

    def _record(self, result: EvaluationResult) -> None:
        row = result.summary()
        self.file.append(self.model.num_timesteps, row)
        for name in ("mean_reward", "mean_length", "success_rate"):
            if row[name] is not None:
                self.model.logger.record(f"eval/{name}", row[name])


class SignalStop:
    """Turns the first SIGINT or SIGTERM into a stop after the current update; a second one ends the process at once."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, on_first: Callable[[str], None]) -> None:
        self.received: int | None = None
        self._on_first = on_first
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "SignalStop":
        for number in self.SIGNALS:
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.received is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.received = number
        self._on_first(signal.Signals(number).name)

    def at_boundary(self) -> None:
        """Stop if a signal has come."""
        if self.received is not None:
            raise StopTraining(f"stopped by {signal.Signals(self.received).name}", can_go_on=True)


class TimeBudget:
    """Stops the training when its time is over.

    :param text: the time, such as ``5h50m``
    :param began: when it began to run, by `time.monotonic`
    :raises UsageError: when it is no such time
    """

    def __init__(self, text: str, began: float) -> None:
        self._text = text
        self._end = began + parse_duration(text, "--stop-after")

    def at_boundary(self) -> None:
        """Stop if the time is over."""
        if time.monotonic() >= self._end:
            raise StopTraining(f"stopped after {self._text}", can_go_on=True)
