"""From what was given on the command line to an experiment in which every setting is settled and checked."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from environments.durable import replace_file
from environments.environment_row import OF_THE_TASK
from environments.options import OF_GROUND_TRUTH
from environments.registry import ENVIRONMENTS, task_options
from rl_baselines.checkpoint import write_json
from rl_baselines.config import TRAIN_GROUPS, settings_of
from rl_baselines.config_files import preset_names
from rl_baselines.continual.experiment import (
    METHODS,
    SEQUENCES,
    STUDENT,
    STUDENT_NAME,
    TRAINING_NAME,
    Experiment,
)
from rl_baselines.continual.options import ContinualOptions
from rl_baselines.errors import UsageError, unknown
from rl_baselines.evaluation_tasks import EvaluationTask, find_misfit, parse_tasks
from rl_baselines.layers import TASK_FLAGS, Layer, without_shortcuts
from rl_baselines.literals import coerce
from rl_baselines.resolution import RunPlan
from rl_baselines.retention.retention import RETENTION_KINDS, check_retention
from rl_baselines.run_folder import short
from rl_baselines.train import AUTO, plan_from

RECORD_NAME = "experiment.json"
OWN = ("seed", "log_dir", "config", "load_rl_model_path")
"""Settings of a training that the experiment gives each one itself."""


def settle(options: ContinualOptions, given: Mapping[str, Any]) -> tuple[Experiment, RunPlan]:
    """Settle an experiment, and write into its folder what its trainings are told.

    :param given: settings of the trainings by name, as they were given
    :return: the experiment, and the plan of the first training from scratch
    :raises UsageError: for the first thing that cannot be done; then nothing is written
    """
    tasks = _checked_tasks(options, given)
    training = _settings_of_a_training(given)
    configs = tuple(given.get("config") or _tuned(training))
    plans = [_plan(training, configs, task) for task in tasks]
    _check_fit(tasks, plans)
    plan = plans[0]
    if plan.learning_rate.schedule is None:
        raise UsageError(
            f"{plan.config.algorithm.algo} has no learning rate, so it cannot learn one task after another"
        )
    methods = options.methods or METHODS
    for method in methods:
        if method not in METHODS:
            raise unknown("method", method, METHODS)
        if method in RETENTION_KINDS:
            check_retention(method, plan.config.algorithm.algo)
    if STUDENT in methods and plan.config.environment.srl_model_path is not None:
        raise UsageError("a student learns from what is recorded: leave --srl-model-path out, or name other --methods")
    if STUDENT in methods and plan.config.environment.num_stack > 1:
        raise UsageError("a student learns from single observations: leave --num-stack out, or name other --methods")
    unplaced = Experiment(
        folder=Path(),
        env=plan.config.environment.env,
        tasks=tasks,
        methods=methods,
        seeds=tuple(range(given.get("seed", 0), given.get("seed", 0) + options.n_seeds)),
        configs=configs,
        learning_rate=options.new_lr or plan.learning_rate.schedule.initial,
        num_timesteps=plan.config.training.num_timesteps,
        retain_coef=_coefficients(options, methods),
        n_episodes=options.n_episodes,
        teacher_episodes=options.teacher_episodes,
        epochs=options.epochs_distillation,
    )
    settled = {**unplaced.settled(), "training": training, "student": _settings_of_a_student(training, plan)}
    experiment = replace(unplaced, folder=_folder(options, given, settled))
    _write(experiment.folder, settled)
    return experiment, plan


def _checked_tasks(options: ContinualOptions, given: Mapping[str, Any]) -> tuple[EvaluationTask, ...]:
    tasks = parse_tasks(options.tasks)
    if len(tasks) < 2:
        raise UsageError(f"--tasks names the tasks in their order, at least two; got {len(tasks)}, such as sc cc sqc")
    if any(name in TASK_FLAGS for name in given):
        raise UsageError("tasks are named by --tasks, such as sc cc sqc, not by flags of their own")
    for name, value, least in (
        ("--n-seeds", options.n_seeds, 1),
        ("--n-episodes", options.n_episodes, 1),
        ("--teacher-episodes", options.teacher_episodes, 2),
        ("--epochs-distillation", options.epochs_distillation, 1),
        ("--jobs", options.jobs if options.jobs is not None else 1, 1),
    ):
        if value < least:
            raise UsageError(f"{name} must be at least {least}, got {value}")
    if options.new_lr is not None and not 0 < options.new_lr < float("inf"):
        raise UsageError(f"--new-lr must be a positive number, got {options.new_lr}")
    return tasks


def _settings_of_a_training(given: Mapping[str, Any]) -> dict[str, Any]:
    """Give what every training is told, as JSON knows it: what was given, and that the policy observes the task."""
    known = {item.name for item, _ in settings_of(TRAIN_GROUPS)}
    own = {name: value for name, value in given.items() if name in known and name not in OWN}
    settings = without_shortcuts(Layer("flags", own))
    for name in OF_THE_TASK:
        if name in settings.get("env_kwargs", {}):
            how = "named by --tasks" if name == "task" else f"said of each task in --tasks, as in reach,{name}:VALUE"
            raise UsageError(f"{name} is {how}, not for all of them at once")
    settings.setdefault("vis", False)
    row = ENVIRONMENTS.get(settings.get("env", ""))
    observed = settings.get("srl_model") or "ground_truth"
    if row is not None and len(row.tasks) > 1 and observed in OF_GROUND_TRUTH:
        settings["env_kwargs"] = {"observe_task": True, **settings.get("env_kwargs", {})}
        if settings["env_kwargs"]["observe_task"]:  # what never varies in one task would be blown up in the next
            settings.setdefault("norm_obs", False)
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return plain


def _settings_of_a_student(training: Mapping[str, Any], plan: RunPlan) -> dict[str, Any]:
    """Give what a student is told: the environment and the network of its teachers, nothing of how these learn."""
    kept = ("env", "gym_packages", "env_wrapper", "vis", "norm_obs", "device")
    network = {"policy_kwargs": plan.config.algorithm.policy_kwargs} if plan.config.algorithm.policy_kwargs else {}
    environment = plan.config.environment
    of_a_task = task_options(environment.env, environment.env_kwargs) if environment.env in ENVIRONMENTS else []
    left_out = {*of_a_task, "observation"}  # which the kind of representation stands for
    env_kwargs = {name: value for name, value in environment.env_kwargs.items() if name not in left_out}
    settings = {"srl_model": environment.srl_model, "env_kwargs": env_kwargs, **network}
    plain: dict[str, Any] = json.loads(
        json.dumps({name: training[name] for name in kept if name in training} | settings)
    )
    return plain


def _tuned(training: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the preset that was tuned for environment and algorithm, where there is one."""
    row = ENVIRONMENTS.get(training.get("env", ""))
    tuned = row is not None and f"{row.family}_{training.get('algo', 'ppo')}" in preset_names()
    return (AUTO,) if tuned else ()


def _plan(training: Mapping[str, Any], configs: tuple[str, ...], task: EvaluationTask) -> RunPlan:
    kwargs = {**training.get("env_kwargs", {}), **task.options}
    env = {} if task.env is None else {"env": task.env}
    return plan_from({**training, **env, "env_kwargs": kwargs, "config": configs})[0]


def _check_fit(tasks: tuple[EvaluationTask, ...], plans: list[RunPlan]) -> None:
    first = plans[0]
    for task, plan in zip(tasks[1:], plans[1:], strict=True):
        theirs, own = (plan.observation_space, plan.action_space), (first.observation_space, first.action_space)
        misfit = find_misfit(theirs, own)
        if misfit is not None:
            raise UsageError(f"no policy of {tasks[0].label} can act in {task.label}: {misfit}")


def _coefficients(options: ContinualOptions, methods: tuple[str, ...]) -> dict[str, float]:
    coefficients = {}
    for kind, value in options.retain_coef.items():
        if kind not in methods or kind not in SEQUENCES[1:]:
            raise unknown("--retain-coef", kind, [method for method in methods if method in SEQUENCES[1:]])
        coefficients[kind] = coerce(value, float, f"--retain-coef {kind}")
    return coefficients


def _folder(options: ContinualOptions, given: Mapping[str, Any], settled: Mapping[str, Any]) -> Path:
    """Give the folder of the experiment: the same for the same settings, however many seeds there are by now."""
    if options.output is None:
        key = hashlib.sha256(json.dumps(settled, sort_keys=True).encode()).hexdigest()[:8]
        return (Path(given.get("log_dir", "logs")) / "continual" / f"{settled['env']}_{key}").absolute()
    folder = Path(options.output).absolute()
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return folder
    try:
        found = json.loads((folder / RECORD_NAME).read_text())
    except (OSError, ValueError):
        raise UsageError(f"--output {folder} is there and holds no experiment; name a new or an empty folder") from None
    different = next((name for name in settled if found.get(name) != settled[name]), None)
    if different is not None:
        raise UsageError(
            f"{short(folder)} holds an experiment with other settings: its {different} is "
            f"{json.dumps(found.get(different))}, asked for is {json.dumps(settled[different])}; name another --output"
        )
    return folder


def _write(folder: Path, settled: Mapping[str, Any]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("training", "student"):
            text = yaml.safe_dump(settled[name], sort_keys=False)
            replace_file(folder / {"training": TRAINING_NAME, "student": STUDENT_NAME}[name], text.encode())
        write_json(folder / RECORD_NAME, settled)
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error.strerror or error}") from None
