"""What happens between updates: evaluations, best models, checkpoints, stops.

Each class here has one method, `at_boundary`, called before every rollout and once after the last update.
"""

import csv
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from rl_baselines.evaluation import EvaluationResult, evaluate, evaluation_seeds
from rl_baselines.model_zip import write_model_zip
from rl_baselines.normalization import write_statistics
from rl_baselines.run_folder import MODEL_NAME, Checkpoint, RunFolder

MILESTONES = (0.1, 0.5, 1.0)
MAX_SECONDS_BETWEEN_CHECKPOINTS = 60.0


class StopTraining(Exception):  # noqa: N818 - no error, like StopIteration
    """Raised at a boundary to end the training there.

    :param reason: in words
    :param by_signal: whether the user or system asked for it
    """

    def __init__(self, reason: str, by_signal: bool = False) -> None:
        super().__init__(reason)
        self.by_signal = by_signal


class BoundaryAction(Protocol):
    """Something that acts between updates."""

    def at_boundary(self) -> None:
        """Act; raise `StopTraining` to end the training."""


class CheckpointWriter:
    """Saves the model with its statistics into the run's folder.

    :param model: what is trained
    :param folder: of the run
    :param origin: facts stored inside the model zip
    :param learning_rate: initial rate of the run
    """

    def __init__(self, model: BaseAlgorithm, folder: RunFolder, origin: dict[str, Any], learning_rate: float) -> None:
        self.model, self.folder, self.origin, self.learning_rate = model, folder, origin, learning_rate
        self.seconds = 0.0

    def save(self, **score: Any) -> Checkpoint:
        """Save a checkpoint of now and let ``last`` name it."""
        began = time.perf_counter()
        checkpoint = self.folder.save_checkpoint(self.model.num_timesteps, self._write, score)
        self.folder.point("last", checkpoint)
        self.seconds += time.perf_counter() - began
        return checkpoint

    def _write(self, folder: Path) -> None:
        write_model_zip(self.model, folder / MODEL_NAME, self.origin, self.learning_rate)
        statistics = self.model.get_vec_normalize_env()
        if isinstance(statistics, VecNormalize):
            write_statistics(statistics, folder)


@dataclass
class BestModel:
    """The best score so far and the checkpoint that has it.

    :param writer: saves it
    :param rule: ``train`` or ``eval``
    """

    writer: CheckpointWriter
    rule: str
    score: float = float("-inf")
    timesteps: int | None = None

    def offer(self, score: float) -> bool:
        """Save the model as the best if its score is strictly better.

        :return: whether it was
        """
        if not score > self.score:
            return False
        self.score, self.timesteps = score, self.writer.model.num_timesteps
        self.writer.folder.point("best", self.writer.save(best_by=self.rule, mean_reward=score))
        return True


class BestByTraining:
    """Offers the mean reward of the last 100 training episodes.

    :param min_episodes: episodes before the first offer
    """

    def __init__(self, best: BestModel, min_episodes: int) -> None:
        self.best, self.min_episodes = best, max(1, min_episodes)
        self.model = best.writer.model
        self._seen = 0

    def at_boundary(self) -> None:
        """Offer the score when episodes have ended since the last time."""
        episodes: int = self.model.n_episodes  # type: ignore[attr-defined]
        if episodes > self._seen and episodes >= self.min_episodes and self.model.ep_info_buffer:
            self.best.offer(float(np.mean([info["r"] for info in self.model.ep_info_buffer])))
        self._seen = episodes


class PeriodicEvaluation:
    """Evaluates the deterministic policy every so many timesteps, from the same start seeds each time.

    :param model: what is trained
    :param env: evaluation environment that shares the training's statistics
    :param frequency: timesteps between evaluations
    :param n_episodes: of each evaluation
    :param file: ``evaluations.csv``
    """

    def __init__(self, model: BaseAlgorithm, env: VecEnv, frequency: int, n_episodes: int, file: Path) -> None:
        self.model, self.env, self.file = model, env, file
        self.frequency, self.seeds = frequency, evaluation_seeds(n_episodes)
        self.best: BestModel | None = None
        self.stop_value: float | None = None
        self.last_result: EvaluationResult | None = None
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
        result = self.last_result = evaluate(self.model, self.env, self.seeds)
        self._record(result)
        if self.best is not None:
            self.best.offer(result.mean_reward)
        if self.stop_value is not None and result.mean_reward >= self.stop_value:
            raise StopTraining(f"the evaluation's mean reward {result.mean_reward:.3g} reached {self.stop_value:g}")

    def _record(self, result: EvaluationResult) -> None:
        row = {"timesteps": self.model.num_timesteps, **result.summary()}
        is_new = not self.file.exists()
        with open(self.file, "a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if is_new:
                writer.writeheader()
            writer.writerow(row)
        for name in ("mean_reward", "mean_length", "success_rate"):
            if row[name] is not None:
                self.model.logger.record(f"eval/{name}", row[name])


class Checkpointing:
    """Saves checkpoints at an interval and at the milestones, and deletes those that are no longer needed.

    :param interval: timesteps between two; None for a twentieth of the run, and at most a minute
    :param steps_planned: length of the run
    :param keep: how many of the newest stay; 0 keeps all
    """

    def __init__(self, writer: CheckpointWriter, interval: int | None, steps_planned: int, keep: int) -> None:
        self.writer, self.keep = writer, keep
        self.interval = interval or max(1, steps_planned // 20)
        self.max_seconds = MAX_SECONDS_BETWEEN_CHECKPOINTS if interval is None else float("inf")
        self._milestones = [int(steps_planned * share) for share in MILESTONES]
        self._saved_milestones: set[int] = set()
        self._last_timesteps, self._last_time = 0, time.monotonic()

    def at_boundary(self) -> None:
        """Save when it is time."""
        now, timesteps = time.monotonic(), self.writer.model.num_timesteps
        passed = [step for step in self._milestones if self._last_timesteps < step <= timesteps]
        due = timesteps // self.interval > self._last_timesteps // self.interval
        if passed or due or (now - self._last_time > self.max_seconds and timesteps > self._last_timesteps):
            self.writer.save()
            self._saved_milestones |= {timesteps} if passed else set()
            self._last_timesteps, self._last_time = timesteps, now
            self.writer.folder.prune(self.keep, frozenset(self._saved_milestones))


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
            raise StopTraining(f"stopped by {signal.Signals(self.received).name}", by_signal=True)
