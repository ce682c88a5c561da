"""One training run, from its plan to its records: scratch or fine-tune."""

import datetime
import json
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import CSVOutputFormat, Logger, TensorBoardOutputFormat
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from rl_baselines.callbacks import (
    BestByTraining,
    BestModel,
    BoundaryAction,
    Checkpointing,
    CheckpointWriter,
    PeriodicEvaluation,
    StopTraining,
)
from rl_baselines.config import RunOptions, to_flat
from rl_baselines.config_files import write_config
from rl_baselines.evaluation import EvaluationResult, evaluate, evaluation_seeds
from rl_baselines.finetuning import load_model_state
from rl_baselines.model_building import build_model, load_to_act
from rl_baselines.normalization import apply_statistics
from rl_baselines.resolution import Layer, RunPlan
from rl_baselines.run_folder import Checkpoint, RunFolder, hash_of
from rl_baselines.seeding import derive_seed
from rl_baselines.sources import Source
from rl_baselines.vec_env import make_evaluation_env, make_training_env, share_statistics

PACKAGES = ("stable-baselines3", "sb3-contrib", "gymnasium", "pybullet", "torch", "numpy")
MAX_EVALUATION_ENVS = 8


@dataclass
class Outcome:
    """How a training ended.

    :param status: ``finished`` or ``stopped``
    :param reason: in words
    :param seconds: wall time of learning
    :param by_signal: whether a signal ended it
    :param comparisons: evaluations by name: before, after (last), after (best)
    """

    status: str = "finished"
    reason: str = "all timesteps done"
    seconds: float = 0.0
    by_signal: bool = False
    comparisons: dict[str, EvaluationResult] = field(default_factory=dict)


class TrainingRun:
    """A run that is set up: model built, source loaded, folder made and locked.

    :param plan: what it shall be
    :param options: records
    :param argv: the command's arguments, kept in the record
    :raises UsageError: when something does not fit; then nothing is left behind
    """

    def __init__(self, plan: RunPlan, options: RunOptions, argv: Sequence[str]) -> None:
        self.plan, self.options, self.config = plan, options, plan.config
        torch.set_num_threads(self.config.algorithm.torch_threads or 1)
        environment, algorithm = self.config.environment, self.config.algorithm
        levels = (environment.env, environment.srl_model or "", algorithm.algo)
        now = datetime.datetime.now()
        self.folder = RunFolder.create(Path(options.log_dir), levels, now)
        self.loaded: list[tuple[str, str]] = []
        with ExitStack() as undo:
            undo.callback(self.folder.discard)
            self.env = self._make_env()
            undo.callback(self.env.close)
            self.model = self._make_model()
            self.record = self._first_record(now, argv)
            self.writer = CheckpointWriter(self.model, self.folder, self._origin(), self._initial_rate)
            self.best = BestModel(self.writer, self.config.evaluation.best_by)
            self.evaluation = self._make_evaluation()
            self._write_first_files()
            undo.pop_all()

    def _seed(self, purpose: str, *keys: int) -> int:
        """Derive a seed; a child's differ from its parent's, so that it does not replay the same episodes."""
        parent = self.plan.source.identity if self.plan.source else ""
        return derive_seed(self.config.training.seed, purpose, parent, *keys)

    @property
    def _initial_rate(self) -> float:
        schedule = self.plan.learning_rate.schedule
        return schedule.initial if schedule is not None else 0.0

    def _make_env(self) -> VecEnv:
        seeds = [self._seed("environment", index) for index in range(self.config.vector.n_envs or 1)]
        return make_training_env(self.config, seeds, self.folder.monitor)

    def _make_model(self) -> BaseAlgorithm:
        model = build_model(self.config, self.env, self.plan.learning_rate.schedule, self._seed("model"))
        source = self.plan.source
        if source is not None:
            self.loaded = load_model_state(model, source, self._keeps_own_entropy(source))
            self.loaded.append(("normalization", self._load_statistics(source)))
            model.acts_by_policy = True  # type: ignore[attr-defined]
        return model

    def _keeps_own_entropy(self, source: Source) -> bool:
        """Tell whether an entropy coefficient set for this run replaces the tensor that SAC and its kin learnt."""
        own, variables = self.config.algorithm.hyperparam.get("ent_coef"), source.content.variables
        if not {"log_ent_coef", "ent_coef_tensor"} & variables.keys():
            return False
        theirs = source.content.fields if source.settings is None else source.settings["hyperparam"]
        return bool(own != theirs.get("ent_coef"))

    def _load_statistics(self, source: Source) -> str:
        has_own = isinstance(self.env, VecNormalize)
        if source.statistics is None:
            return "fresh: the source has no statistics" if has_own else "none"
        if not isinstance(self.env, VecNormalize):
            return "NOT used: the source's statistics are left out, as asked"
        apply_statistics(self.env, source.statistics, str(source))
        return "statistics loaded, they adapt on"

    def _make_evaluation(self) -> PeriodicEvaluation | None:
        settings = self.config.evaluation
        if settings.eval_freq == 0:
            return None
        frequency = settings.eval_freq or max(1, self.plan.steps_planned // 20)
        env = self._evaluation_env(settings.eval_episodes)
        evaluation = PeriodicEvaluation(self.model, env, frequency, settings.eval_episodes, self.folder.evaluations)
        evaluation.best = self.best if settings.best_by == "eval" else None
        evaluation.stop_value = self.config.training.stop_value
        return evaluation

    def _evaluation_env(self, n_episodes: int) -> VecEnv:
        env = make_evaluation_env(self.config, min(n_episodes, MAX_EVALUATION_ENVS))
        share_statistics(self.env, env)
        return env

    def _write_first_files(self) -> None:
        write_config(self.config, self.folder.config)
        self.folder.write_record(self.record)
        outputs = [CSVOutputFormat(str(self.folder.progress)), TensorBoardOutputFormat(str(self.folder.tensorboard))]
        self.model.set_logger(Logger(str(self.folder.path), outputs))
        source = self.plan.source
        if source is not None and source.run is not None:
            try:
                Checkpoint(source.model.parent).add_child(self.folder.run_id)
            except OSError as error:
                self.loaded.append(("parent", f"not marked as parent: {error.strerror}"))

    def _first_record(self, now: datetime.datetime, argv: Sequence[str]) -> dict[str, Any]:
        plan, schedule = self.plan, self.plan.learning_rate.schedule
        return {
            "id": self.folder.run_id,
            "verb": "train",
            "status": "running",
            "started": now.astimezone().isoformat(timespec="microseconds"),
            "command": ["python", "-m", "rl_baselines.train", *argv],
            "parent": _describe_parent(plan.source),
            "root_learning_rate": plan.learning_rate.root,
            "learning_rate": {
                "initial": schedule.initial if schedule else None,
                "decay": schedule.decay if schedule else None,
                "reason": plan.learning_rate.reason,
            },
            "steps_planned": plan.steps_planned,
            "environment": {
                "id": self.config.environment.env,
                "kwargs": self.config.environment.env_kwargs,
                "observation_space": str(plan.observation_space),
                "action_space": str(plan.action_space),
            },
            "machine": {"python": platform.python_version(), "platform": platform.platform()},
            "device": str(self.model.device),
            "versions": {package: metadata.version(package) for package in PACKAGES},
            "git": _git_revision(),
        }

    def _origin(self) -> dict[str, Any]:
        return {
            "run": self.folder.run_id,
            "config": json.loads(json.dumps(to_flat(self.config))),
            "root_learning_rate": self.plan.learning_rate.root,
        }

    def compare(self, n_episodes: int) -> EvaluationResult:
        """Evaluate the model as it is on the common episodes of comparisons."""
        env = self._evaluation_env(n_episodes)
        try:
            return evaluate(self.model, env, evaluation_seeds(n_episodes, "comparison"))
        finally:
            env.close()

    def compare_best(self, n_episodes: int) -> EvaluationResult | None:
        """Evaluate the best model on the same episodes; None when it is the last one."""
        best = self.folder.pointed("best")
        if best is None or best.timesteps == self.model.num_timesteps:
            return None
        source = Source(best.model, "best", self.folder)
        policy, env = load_to_act(source, [Layer("run", to_flat(self.config))], min(n_episodes, MAX_EVALUATION_ENVS))
        try:
            return evaluate(policy, env, evaluation_seeds(n_episodes, "comparison"))
        finally:
            env.close()

    def learn(self, actions: Sequence[BoundaryAction], outcome: Outcome) -> None:
        """Train to the end or to a stop, then save what is left to save.

        :param actions: further things to do at boundaries
        :param outcome: filled in
        """
        settings = self.config.evaluation
        mine: list[BoundaryAction] = [self.evaluation] if self.evaluation else []
        if settings.best_by == "train":
            mine.append(BestByTraining(self.best, settings.min_episodes_save))
        keep = self.options.keep_checkpoints
        mine.append(Checkpointing(self.writer, self.options.save_interval, self.plan.steps_planned, keep))
        every = [*mine, *actions]

        def at_boundary() -> None:
            for action in every:
                action.at_boundary()

        self.model.at_boundary = at_boundary  # type: ignore[attr-defined]
        began = time.monotonic()
        try:
            self.model.learn(self.plan.steps_planned)
            at_boundary()
        except StopTraining as stop:
            if not stop.by_signal:
                outcome.reason = str(stop)
            elif self.model.num_timesteps < self.plan.steps_planned:  # else it came when all was done
                outcome.status, outcome.reason, outcome.by_signal = "stopped", str(stop), True
        self._finish(outcome)
        outcome.seconds = time.monotonic() - began

    def _finish(self, outcome: Outcome) -> None:
        """Evaluate and save the last model, and write what the logger still holds."""
        if self.evaluation is not None and not outcome.by_signal:
            try:
                self.evaluation.run()
            except StopTraining as stop:
                outcome.reason = str(stop)
        self.writer.save()
        if self.model.logger.name_to_value:
            self.model.logger.dump(self.model.num_timesteps)

    def close(self, outcome: Outcome) -> None:
        """Write the record of the end, close the environments and give the folder free."""
        self.record |= {
            "status": outcome.status,
            "reason": outcome.reason,
            "ended": datetime.datetime.now().astimezone().isoformat(timespec="microseconds"),
            "seconds": round(outcome.seconds, 3),
            "timesteps": self.model.num_timesteps,
            "episodes": self.model.n_episodes,  # type: ignore[attr-defined]
            "best": None
            if self.best.timesteps is None
            else {"timesteps": self.best.timesteps, "mean_reward": self.best.score, "by": self.best.rule},
            "comparisons": {name: result.summary() for name, result in outcome.comparisons.items()},
            "checkpoint_seconds": round(self.writer.seconds, 3),
        }
        self.folder.write_record(self.record)
        self.model.logger.close()
        self.env.close()
        if self.evaluation is not None:
            self.evaluation.env.close()
        self.folder.unlock()

    @property
    def mean_training_reward(self) -> float | None:
        """Mean reward of the last 100 training episodes."""
        buffer = self.model.ep_info_buffer
        return float(np.mean([info["r"] for info in buffer])) if buffer else None


def train(
    run: TrainingRun, actions: Sequence[BoundaryAction], outcome: Outcome, announce: Callable[[str], None]
) -> None:
    """Carry out a run that is set up; a fine-tune is evaluated before and after.

    :param actions: further things to do at boundaries
    :param outcome: filled in
    :param announce: told in words what takes a while
    """
    n_episodes = run.config.fine_tuning.compare_episodes
    compares = run.plan.source is not None and n_episodes > 0
    try:
        if compares:
            announce(f"evaluating the loaded policy, {n_episodes} episodes ...")
            outcome.comparisons["before"] = run.compare(n_episodes)
        run.learn(actions, outcome)
        if compares and not outcome.by_signal:
            announce(f"evaluating the last and the best model, {n_episodes} episodes each ...")
            outcome.comparisons["after (last)"] = run.compare(n_episodes)
            best = run.compare_best(n_episodes)
            outcome.comparisons |= {} if best is None else {"after (best)": best}
    except BaseException as error:
        outcome.status, outcome.reason = "failed", f"{type(error).__name__}: {error}"
        raise
    finally:
        run.close(outcome)


def _describe_parent(source: Source | None) -> dict[str, Any] | None:
    if source is None:
        return None
    return {
        "run": source.run_id,
        "path": source.path,
        "selection": source.selection,
        "sha256": hash_of(source.model),
        "timesteps": source.timesteps,
    }


def _git_revision() -> str | None:
    """Give the revision of the code, where it lies in a git checkout."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
