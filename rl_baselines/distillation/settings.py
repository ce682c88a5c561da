"""Which settings of distillation go together, and what follows from them for the rest of a run's configuration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gymnasium import spaces

from rl_baselines.config import DistillationConfig, RunConfig, changed, default_of, flag_of, settings_of
from rl_baselines.distillation.lessons import LessonPlan, check_fit, plan_lessons
from rl_baselines.distillation.practice import find_teachers, identity_of, own_task
from rl_baselines.errors import UsageError

NAME = "distillation"
N_STEPS, N_EPOCHS = 128, 4
DEFAULT_EPOCHS = 30
OF_TEACHERS = {"n_steps": N_STEPS, "n_epochs": N_EPOCHS}
"""Hyperparameters that mean something only where the student acts, and their defaults."""
MIN_ENVS = 8
"""Environments that a student acts in unless told otherwise, or as many more as its tasks need."""


def is_offline(config: RunConfig) -> bool:
    """Tell whether a run learns from datasets, so that its timesteps are states and no environment is acted in."""
    return config.algorithm.algo == NAME and bool(config.distillation.teacher_data_folder)


def step_unit(config: RunConfig) -> str:
    """Name what the timesteps of a run count."""
    return "states" if is_offline(config) else "steps"


def lesson_plan(config: RunConfig) -> LessonPlan:
    """Plan the lessons of a run that learns from datasets.

    :raises UsageError: when a dataset is missing, or there is too little in them
    """
    settings = config.distillation
    wanted = settings.distillation_training_set_size
    return plan_lessons(settings.teacher_data_folder, wanted, config.training.seed)


def settle_distillation(
    config: RunConfig,
    given: Mapping[str, Any],
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
) -> RunConfig:
    """Complete the configuration of a distillation, and refuse what belongs to one in any other run.

    :param config: complete but for this
    :param given: the settings that were given, by name
    :param observation_space: of one environment
    :param action_space: of one environment
    :raises UsageError: for the first setting that makes no sense
    """
    if config.algorithm.algo != NAME:
        _refuse_elsewhere(config)
        return config
    settings = config.distillation
    if bool(settings.teacher_data_folder) == bool(settings.teachers):
        both = "--teacher-data-folder and --teachers exclude each other; give one of them"
        none = "distillation needs something to learn from: --teacher-data-folder DIR, or --teachers RUN"
        raise UsageError(both if settings.teachers else none)
    if config.vector.norm_reward:
        raise UsageError("--norm-reward does not go with distillation, which learns nothing from rewards")
    if settings.teachers:
        return _settle_practice(config, given)
    _check_offline(config, given)
    folders = tuple(str(Path(folder).absolute()) for folder in settings.teacher_data_folder)
    config = changed(config, teacher_data_folder=folders)
    plan = lesson_plan(config)
    check_fit(plan, config.environment.env, observation_space, action_space)
    return _with_length(config, given, plan.n_states)


def _refuse_elsewhere(config: RunConfig) -> None:
    algorithm = config.algorithm.algo
    for item, _ in settings_of((DistillationConfig,)):
        if getattr(config.distillation, item.name) != default_of(item):
            raise UsageError(f"{flag_of(item.name)} is of --algo distillation, this run is of {algorithm}")
    if config.evaluation.best_by == "validation":
        raise UsageError(f"--best-by validation is of --algo distillation, {algorithm} keeps no episodes apart")


def _check_offline(config: RunConfig, given: Mapping[str, Any]) -> None:
    """Refuse what means nothing where no environment is acted in."""
    for name in OF_TEACHERS:
        if config.algorithm.hyperparam.get(name) is not None:
            raise UsageError(
                f"hyperparameter {name} is of a student that acts (--teachers); this one learns from datasets, and "
                "--epochs-distillation sets how long"
            )
    if given.get("best_by") == "train":
        raise UsageError(
            "--best-by train does not go with distillation from datasets, which has no training episodes; take "
            "validation or eval"
        )
    if config.vector.n_envs != 1 or config.vector.vec_env != "dummy":
        raise UsageError(
            "distillation from datasets acts in no environments: leave out --n-envs, --num-cpu and --vec-env"
        )
    if config.environment.num_stack != 1:
        raise UsageError("--num-stack does not go with distillation from datasets, whose observations are single ones")


def _with_length(config: RunConfig, given: Mapping[str, Any], n_states: int) -> RunConfig:
    """Settle the number of timesteps, and how the best model is found.

    :param n_states: of an epoch
    """
    epochs = config.distillation.epochs_distillation or DEFAULT_EPOCHS
    timesteps, asked = epochs * n_states, given.get("num_timesteps")
    if asked is not None and asked != timesteps:
        raise UsageError(
            f"the length of a distillation is set by --epochs-distillation, here {epochs} epochs of {n_states} states: "
            "leave out --num-timesteps"
        )
    best_by = given.get("best_by") or "validation"
    return changed(config, num_timesteps=timesteps, epochs_distillation=epochs, best_by=best_by)


def check_resumed(config: RunConfig, saved: Mapping[str, Any] | None) -> None:
    """Check that a run that goes on finds what it learnt from, unchanged, and that it ends with an epoch.

    :param config: of the run, with its horizon
    :param saved: ``schooling`` of the state at the checkpoint; None for other algorithms
    :raises UsageError: naming what is missing, has changed or does not divide
    """
    if saved is None:
        return
    settings = config.distillation
    plan = lesson_plan(config) if is_offline(config) else None
    identity = identity_of(find_teachers(config)) if plan is None else plan.identity
    if identity != saved["identity"]:
        what = "teachers" if plan is None else "datasets"
        places = ", ".join(settings.teachers if plan is None else settings.teacher_data_folder)
        raise UsageError(
            f"the {what} are not those that the run has learnt from so far: the content of {places} has changed; put "
            "it back, or begin a new run"
        )
    wanted, n_states = config.training.num_timesteps, 1 if plan is None else plan.n_states
    if wanted % n_states:
        below = wanted // n_states * n_states
        raise UsageError(
            f"--num-timesteps {wanted}: a distillation goes on for whole epochs, of {n_states} states; give "
            f"{below + n_states}" + (f" or {below}" if below else "")
        )


def _settle_practice(config: RunConfig, given: Mapping[str, Any]) -> RunConfig:
    """Complete the configuration of a student that acts, and refuse what only one has that learns from datasets."""
    settings = config.distillation
    for name in ("epochs_distillation", "distillation_training_set_size"):
        if getattr(settings, name) != getattr(DistillationConfig(), name):
            raise UsageError(
                f"{flag_of(name)} is of distillation from datasets (--teacher-data-folder); with --teachers, "
                "--num-timesteps sets the length"
            )
    if config.evaluation.best_by == "validation":
        raise UsageError("--best-by validation needs episodes kept apart, which only datasets have; take train or eval")
    teachers = find_teachers(config, Path(given.get("log_dir") or "logs"))
    tasks, own = [teacher.task for teacher in teachers], own_task(config)
    if own not in tasks:
        raise UsageError(
            f"no teacher does {own}, the task of the environment; name one of theirs by --env-kwargs task:NAME: "
            + ", ".join(tasks)
        )
    own_steps = {name: config.algorithm.hyperparam[name] or default for name, default in OF_TEACHERS.items()}
    return changed(
        config,
        teachers=tuple(teacher.source.path for teacher in teachers),
        hyperparam={**config.algorithm.hyperparam, **own_steps},
        n_envs=_n_envs(config, given, len(tasks)),
    )


def _n_envs(config: RunConfig, given: Mapping[str, Any], n_tasks: int) -> int:
    """Give the number of environments: the same for every task."""
    if given.get("n_envs") is None and given.get("num_cpu") is None:
        return -(-MIN_ENVS // n_tasks) * n_tasks
    n_envs = config.vector.n_envs or 1
    if n_envs % n_tasks:
        raise UsageError(
            f"{n_envs} environments do not deal out to the tasks of {n_tasks} teachers; give --n-envs a multiple of "
            f"{n_tasks}"
        )
    return n_envs
