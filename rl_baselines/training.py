"""One training run: its parts, its state, and how it is carried out to the end or to a stop."""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from stable_baselines3.her import HerReplayBuffer

from rl_baselines.algorithms import find_algorithm
from rl_baselines.callbacks import (
    BestByTraining,
    BestByValidation,
    BestModel,
    BoundaryAction,
    PeriodicEvaluation,
    StopTraining,
)
from rl_baselines.checkpoint import SECOND_REPLAY_NAME
from rl_baselines.checkpointing import Checkpointing, CheckpointWriter
from rl_baselines.comparison import Comparison
from rl_baselines.config import USUAL_EPISODE_WINDOW, RunConfig, RunOptions, to_flat
from rl_baselines.distillation.algorithm import Distillation
from rl_baselines.distillation.schooling import school
from rl_baselines.distillation.settings import step_unit
from rl_baselines.evaluation import EvaluationResult
from rl_baselines.evaluations_file import EvaluationsFile
from rl_baselines.machine import describe_machine, machine_differences
from rl_baselines.model_building import build_model
from rl_baselines.model_zip import load_tensors, read_model_zip
from rl_baselines.normalization import JSON_NAME, apply_statistics, read_statistics
from rl_baselines.progress_file import ProgressFile
from rl_baselines.records import mark
from rl_baselines.resolution import RunPlan
from rl_baselines.resuming import STATE_FORMAT, Resumption, resume_rows
from rl_baselines.retention.retention import Retention
from rl_baselines.run_folder import RunFolder
from rl_baselines.run_record import end_of_record, parent_folder
from rl_baselines.seeding import derive_seed
from rl_baselines.snapshot import capture, restore, restore_at_boundary, seconds_learning
from rl_baselines.task_evaluation import TaskEvaluation, task_configs
from rl_baselines.transfer.alignment import ElementMap
from rl_baselines.transfer.freezing import make_freezing
from rl_baselines.transfer.plan import TransferPlan
from rl_baselines.transfer.rate_scaling import scale_rates
from rl_baselines.transfer.residual import hold_parent
from rl_baselines.transfer.transitions import MixedBatches, empty_buffer_like
from rl_baselines.vec_env import fingerprint_of, make_evaluation_env, make_training_env, share_statistics

MAX_EVALUATION_ENVS = 8
SENSOR_OPTIONS = ("observation", "observe_task", "multi_view", "image_size")
"""Options of an environment that say what is observed, not what is to be done."""


@dataclass
class Outcome:
    """How a training ended.

    :param status: ``finished`` or ``stopped``
    :param reason: in words
    :param seconds: wall time of learning, before a resume too
    :param can_go_on: whether it was stopped from outside and is to be resumed
    :param comparisons: evaluations of a fine-tune by name, see `before_and_after`
    :param comparison: what they say
    """

    status: str = "finished"
    reason: str = "all timesteps done"
    seconds: float = 0.0
    can_go_on: bool = False
    comparisons: dict[str, EvaluationResult] = field(default_factory=dict)
    comparison: Comparison | None = None


class TrainingRun:
    """A run that is set up: environments and model built, folder claimed. See `beginnings`.

    :param plan: what it shall be
    :param options: records
    :param folder: claimed
    :param continues: whether its records go on
    """

    def __init__(self, plan: RunPlan, options: RunOptions, folder: RunFolder, continues: bool) -> None:
        self.plan, self.options, self.config, self.folder = plan, options, plan.config, folder
        self.resumption: Resumption | None = None
        self.parent_config: RunConfig | None = None
        self.observation_map: ElementMap | None = None
        self.not_at_home = ""
        self.comparisons: dict[str, EvaluationResult] = {}
        self.transfer: TransferPlan | None = None
        self.record: dict[str, Any] = {}
        torch.set_num_threads(self.config.algorithm.torch_threads or 1)
        self._task_configs = task_configs(self.config, (plan.observation_space, plan.action_space))
        self._evaluations = EvaluationsFile(folder.evaluations, tuple(self._task_configs))
        with ExitStack() as undo:
            seeds = [self.seed("environment", index) for index in range(self.config.vector.n_envs or 1)]
            self.env = make_training_env(self.config, seeds, folder.monitor, continues)
            undo.callback(self.env.close)
            if isinstance(self.env, VecNormalize) and self.config.fine_tuning.norm == "freeze":
                self.env.training = False
            self.model = build_model(self.config, self.env, plan.learning_rate.schedule, self.seed("model"))
            scale_rates(self.model, self.config.algorithm.lr_scale)
            self.schooling = school(self.model, self.config) if isinstance(self.model, Distillation) else None
            if self.config.fine_tuning.residual:
                hold_parent(self.model)
            self.machine = describe_machine(self.model.device)
            self.fingerprint = fingerprint_of(self.env)
            self.writer = CheckpointWriter(
                *(self.model, self._origin(), self._initial_rate, self.capture, options.save_replay_buffer == "all"),
                run_with_encoder=None if self.config.environment.srl_model_path is None else folder.path,
            )
            self.best = BestModel(self.model, self.config.evaluation.best_by)
            self.freezing = make_freezing(self.model, self.config, plan.steps_planned) if self.is_fine_tune else None
            self.retention = self._make_retention()
            self.evaluation = self._make_evaluation()
            self.task_evaluation = self._make_task_evaluation()
            self.by_training = self._make_best_by_training()
            self.by_validation = BestByValidation(self.best) if self.best.rule == "validation" else None
            self.checkpointing = Checkpointing(
                self.writer, folder, self.best, options.save_interval, plan.steps_planned, options.keep_checkpoints
            )
            undo.pop_all()

    def seed(self, purpose: str, *keys: int) -> int:
        """Derive a seed; a child's differ from its parent's, so that it does not replay the same episodes."""
        return derive_seed(self.config.training.seed, purpose, self.plan.parent_identity, *keys)

    @property
    def _initial_rate(self) -> float:
        schedule = self.plan.learning_rate.schedule
        return schedule.initial if schedule is not None else 0.0

    def _make_retention(self) -> Retention | None:
        settings, algorithm = self.config.fine_tuning, self.config.algorithm.algo
        is_of_batches = settings.retain == "replay" and not find_algorithm(algorithm).on_policy
        if settings.retain == "none" or is_of_batches:
            return None
        return Retention(self.model, algorithm, settings.retain, settings.retain_coef, settings.retain_decay)

    def _make_evaluation(self) -> PeriodicEvaluation | None:
        settings = self.config.evaluation
        if settings.eval_freq == 0:
            return None
        frequency = settings.eval_freq or max(1, self.plan.steps_planned // 20)
        n_episodes = settings.eval_episodes

        def make_env() -> VecEnv:
            return self.make_evaluation_env(n_episodes, watched=evaluation.on_result is not None)

        evaluation = PeriodicEvaluation(self.model, make_env, frequency, n_episodes, self._evaluations)
        evaluation.best = self.best if settings.best_by == "eval" else None
        evaluation.stop_value = self.config.training.stop_value
        return evaluation

    def _make_task_evaluation(self) -> TaskEvaluation | None:
        if not self._task_configs:
            return None
        settings = self.config.evaluation
        window, n_episodes = settings.eval_episode_window or USUAL_EPISODE_WINDOW, settings.eval_episodes
        make_envs = {
            task: partial(self.make_evaluation_env, n_episodes, config=config)
            for task, config in self._task_configs.items()
        }
        return TaskEvaluation(self.model, make_envs, window, n_episodes, self._evaluations)

    def _make_best_by_training(self) -> BestByTraining | None:
        settings = self.config.evaluation
        return BestByTraining(self.best, settings.min_episodes_save) if settings.best_by == "train" else None

    def make_evaluation_env(self, n_episodes: int, watched: bool = False, config: RunConfig | None = None) -> VecEnv:
        """Build environments to evaluate in; they normalize by the run's statistics.

        :param watched: whether an episode of the first one is watched
        :param config: with another environment; None for environments like the run's own
        """
        env = make_evaluation_env(config or self.config, min(n_episodes, MAX_EVALUATION_ENVS), watched=watched)
        share_statistics(self.env, env)
        return env

    def _origin(self) -> dict[str, Any]:
        return {
            "run": self.folder.run_id,
            "config": json.loads(json.dumps(to_flat(self.config))),
            "root_learning_rate": self.plan.learning_rate.root,
        }

    @property
    def home(self) -> RunConfig | None:
        """The configuration with the parent's environment in place of the run's own; None when it is the same task.

        What is observed, and how, stays as it is in the run.
        """
        if self.parent_config is None:
            return None
        theirs, own = self.parent_config.environment, self.config.environment
        kwargs = {name: value for name, value in theirs.env_kwargs.items() if name not in SENSOR_OPTIONS}
        kwargs |= {name: value for name, value in own.env_kwargs.items() if name in SENSOR_OPTIONS}
        home = replace(own, env=theirs.env, gym_packages=theirs.gym_packages, env_kwargs=kwargs)
        is_own = replace(home, gym_packages=own.gym_packages) == own  # more may be imported here than its own env needs
        return None if is_own else replace(self.config, environment=home)

    @property
    def parent_folder(self) -> RunFolder | None:
        """The folder of the run that a fine-tune began from, if it is there."""
        return parent_folder(self.record)

    @property
    def unit(self) -> str:
        """What its timesteps count: steps of environments, or states learnt from."""
        return step_unit(self.config)

    @property
    def is_fine_tune(self) -> bool:
        """Whether it began from a loaded model."""
        return self.config.fine_tuning.load_rl_model_path is not None

    @property
    def _deciders(self) -> dict[str, Any]:
        """What acts during training and has a state, by name."""
        named = {
            "freezing": self.freezing,
            "retention": self.retention,
            "evaluation": self.evaluation,
            "task_evaluation": self.task_evaluation,
            "by_training": self.by_training,
            "best": self.best,
        }
        return {name: one for name, one in named.items() if one is not None} | {"checkpointing": self.checkpointing}

    def capture(self) -> dict[str, Any]:
        """Give the state that resuming needs besides the model zip, the statistics and the replay buffer."""
        schedule = self.plan.learning_rate.schedule
        buffer = getattr(self.model, "replay_buffer", None)
        return {
            "format": STATE_FORMAT,
            "model": capture(self.model),
            "deciders": {name: decider.state() for name, decider in self._deciders.items()},
            "comparisons": {name: result.to_state() for name, result in self.comparisons.items()},
            "schedule": None if schedule is None else asdict(schedule),
            "steps_planned": self.plan.steps_planned,
            "parent_identity": self.plan.parent_identity,
            "checkpoint_seconds": self.writer.seconds,
            "replay_size": None if buffer is None else buffer.size() * self.model.n_envs,
            "records": mark(self.folder),
            "machine": self.machine,
            "fingerprint": self.fingerprint,
            **({} if self.schooling is None else {"schooling": {"identity": self.schooling.identity}}),
        }

    def restore(self, resumption: Resumption) -> None:
        """Go on from a checkpoint, and note what became of every component."""
        checkpoint, state = resumption.checkpoint, resumption.state
        if self.model.policy.state_dict():  # a random agent has nothing to load
            load_tensors(self.model, read_model_zip(checkpoint.model))
        if isinstance(self.env, VecNormalize):
            apply_statistics(self.env, read_statistics(checkpoint.path / JSON_NAME), str(checkpoint.path))
        failed = restore(self.model, state["model"])
        self.writer.seconds = state["checkpoint_seconds"]
        self._rescale_exploration(state["steps_planned"] / self.plan.steps_planned)
        has_replay = hasattr(self.model, "replay_buffer")
        loaded = self.writer.load_replay(checkpoint, state.get("replay")) if has_replay else None
        self._restore_second_replay(resumption)
        self._adapt_to_losses(resumption, loaded, failed)
        for name, decider in self._deciders.items():
            decider.restore(state["deciders"][name])
        self.comparisons |= {name: EvaluationResult.from_state(result) for name, result in state["comparisons"].items()}
        resumption.rows += resume_rows(state, loaded, failed, isinstance(self.env, VecNormalize))
        resumption.rows += self._fine_tuning_rows()
        if self.schooling is not None:
            resumption.rows.append(("what is learnt from", "rebuilt", "read again, and unchanged"))
        resumption.reasons += machine_differences(state["machine"], self.machine)
        if "fingerprint" in state:  # older checkpoints have none
            resumption.reasons += machine_differences(state["fingerprint"], self.fingerprint)
        self.resumption = resumption

    def _fine_tuning_rows(self) -> list[tuple[str, str, str]]:
        """Say what became of what a fine-tune has beyond other runs."""
        rows = []
        if self.freezing is not None:
            is_over = self.freezing.warm_up is None or not self.freezing.is_warming_up
            rows.append(("frozen parameters", "restored", "" if is_over else "the critic is still warming up"))
        if self.retention is not None:
            rows.append(("retention", "restored", f"{self.retention.kind}, with what it holds on to"))
        if self.writer.second is not None:
            rows.append(("source's replay buffer", "restored", "batches are mixed with it"))
        return rows

    def _restore_second_replay(self, resumption: Resumption) -> None:
        mix, description = self.config.fine_tuning.replay_mix, resumption.state.get(SECOND_REPLAY_NAME)
        if mix is None or not isinstance(self.model, OffPolicyAlgorithm):
            return
        if description is None:
            resumption.reasons.append("the source's replay buffer was not saved: batches are no longer mixed with it")
            return
        second = empty_buffer_like(self.model, description["buffer_size"])
        self.writer.load_second(second, resumption.checkpoint, description)
        MixedBatches(self.model, second, mix)

    def _rescale_exploration(self, factor: float) -> None:
        """Let DQN explore for as many steps as before when the horizon is another one."""
        model: Any = self.model
        if hasattr(model, "exploration_schedule"):
            model.exploration_fraction *= factor
            model.exploration_schedule = LinearSchedule(
                model.exploration_initial_eps, model.exploration_final_eps, model.exploration_fraction
            )

    def _adapt_to_losses(self, resumption: Resumption, replay_loaded: bool | None, failed: Mapping[int, str]) -> None:
        model: Any = self.model
        resumption.reasons += [f"environment {index}: {reason}" for index, reason in failed.items()]
        if replay_loaded is False:
            resumption.reasons.append("the replay buffer was not saved")
            model.learning_starts = model.num_timesteps + self.config.algorithm.hyperparam["learning_starts"]
            model.acts_by_policy = True
        elif failed and isinstance(getattr(model, "replay_buffer", None), HerReplayBuffer):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it says that it does what it is asked for
                model.replay_buffer.truncate_last_trajectory()

    def open_logs(self) -> None:
        """Let the model log into the run's files, after what is there."""
        outputs = [ProgressFile(self.folder.progress), TensorBoardOutputFormat(str(self.folder.tensorboard))]
        self.model.set_logger(Logger(str(self.folder.path), outputs))

    def learn(self, actions: Sequence[BoundaryAction], outcome: Outcome) -> None:
        """Train to the end or to a stop, then save what is left to save.

        :param actions: further things to do at boundaries
        :param outcome: filled in
        """
        acting = (self.freezing, self.task_evaluation, self.evaluation, self.by_training, self.by_validation)
        mine: list[BoundaryAction] = [one for one in acting if one is not None]
        before_saving = [*mine, *actions]
        goes_on = self._take_up()

        def at_boundary() -> None:
            goes_on()
            for action in before_saving:
                action.at_boundary()
            self.checkpointing.at_boundary()

        self.model.at_boundary = at_boundary  # type: ignore[attr-defined]
        remaining = self.plan.steps_planned - self.model.num_timesteps
        try:
            with self.retention.attached() if self.retention is not None else nullcontext():
                self.model.learn(remaining, reset_num_timesteps=self.resumption is None)
            goes_on()
            for action in before_saving:
                action.at_boundary()
        except StopTraining as stop:
            if not stop.can_go_on:
                outcome.reason = str(stop)
            elif self.model.num_timesteps < self.plan.steps_planned:  # else it came when all was done
                outcome.status, outcome.reason, outcome.can_go_on = "stopped", str(stop), True
        self._finish(outcome)
        outcome.seconds = seconds_learning(self.model)

    def _take_up(self) -> Callable[[], None]:
        """Give a function whose first call puts back what the start of learning disturbs."""
        waiting = [] if self.resumption is None else [self.resumption.state["model"]]

        def goes_on() -> None:
            if waiting:
                restore_at_boundary(self.model, waiting.pop())

        return goes_on

    def _finish(self, outcome: Outcome) -> None:
        """Evaluate and save the last model, and write what the logger still holds."""
        if self.task_evaluation is not None and not outcome.can_go_on:
            self.task_evaluation.run()
        if self.evaluation is not None and not outcome.can_go_on:
            try:
                self.evaluation.run()
            except StopTraining as stop:
                outcome.reason = str(stop)
        self.checkpointing.save()
        if self.model.logger.name_to_value and not outcome.can_go_on:
            self.model.logger.record("time/total_timesteps", self.model.num_timesteps, exclude="tensorboard")
            self.model.logger.dump(self.model.num_timesteps)

    def close(self, outcome: Outcome) -> None:
        """Write the record of the end, close the environments and give the folder free."""
        best = {"timesteps": self.best.timesteps, self.best.measure: self.best.score, "by": self.best.rule}
        self.record |= end_of_record(
            {
                "status": outcome.status,
                "reason": outcome.reason,
                "seconds": round(outcome.seconds, 3),
                "timesteps": self.model.num_timesteps,
                "episodes": self.model.n_episodes,  # type: ignore[attr-defined]
                "best": None if self.best.timesteps is None else best,
                "comparisons": {name: result.summary() for name, result in outcome.comparisons.items()},
                "checkpoint_seconds": round(self.writer.seconds, 3),
            }
        )
        with suppress(OSError) if outcome.status == "failed" else ExitStack(), ExitStack() as closing:
            closing.callback(self.folder.unlock)
            if self.evaluation is not None:
                closing.callback(self.evaluation.close)
            closing.callback(self.env.close)
            closing.callback(self.model.logger.close)
            self.folder.write_record(self.record)

    @property
    def mean_training_reward(self) -> float | None:
        """Mean reward of the last 100 training episodes."""
        buffer = self.model.ep_info_buffer
        return float(np.mean([info["r"] for info in buffer])) if buffer else None
