"""Who teaches a student that acts itself, and which tasks its environments do.

Each teacher teaches its own task. Of several, the environments of the run are dealt out to their tasks in turn: the
task of the run's own environment is done as it is set there, another one as its teacher was trained.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environments.registry import ENVIRONMENTS, task_of, task_options
from rl_baselines.config import RunConfig
from rl_baselines.errors import UsageError
from rl_baselines.sources import Source, resolve


@dataclass(frozen=True)
class Teacher:
    """A trained run that teaches its task.

    :param source: its model
    :param task: the label
    :param options: arguments of the environment that are of its task
    """

    source: Source
    task: str
    options: Mapping[str, Any]


def find_teachers(config: RunConfig, log_dir: Path = Path("logs")) -> list[Teacher]:
    """Find the teachers of a run, in the order in which they were named.

    :param log_dir: where ``latest`` is looked for
    :raises UsageError: when one is missing, was trained in another environment, or when two do the same task
    """
    environment, found = config.environment, dict[str, Teacher]()
    for text in config.distillation.teachers:
        source = resolve(text, log_dir)
        settings = source.settings
        if settings is None:
            raise UsageError(f"--teachers: {source} does not tell which task it was trained for; name a run")
        if settings["env"] != environment.env:
            raise UsageError(
                f"--teachers: {source} was trained in {settings['env']}, the student acts in {environment.env}; give "
                f"--env {settings['env']}"
            )
        teacher = Teacher(source, *_task_of(settings["env"], settings["env_kwargs"]))
        if teacher.task in found:
            raise UsageError(
                f"--teachers: {found[teacher.task].source} and {source} both do the task {teacher.task}; name one of "
                "them"
            )
        found[teacher.task] = teacher
    return list(found.values())


def _task_of(env_id: str, env_kwargs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Give the label of a task, and the arguments that belong to it."""
    if env_id not in ENVIRONMENTS:
        return env_id, {}
    task = str(task_of(env_id, env_kwargs))
    return task, {"task": task, **{name: env_kwargs[name] for name in task_options(env_id, env_kwargs)}}


def own_task(config: RunConfig) -> str:
    """Name the task of a run's own environment."""
    return _task_of(config.environment.env, config.environment.env_kwargs)[0]


def environments_of(config: RunConfig) -> list[dict[str, Any]]:
    """Give the arguments of the environments that a run trains in; it deals them out in turn.

    :raises UsageError: when teachers are missing
    """
    kwargs = config.environment.env_kwargs
    if not config.distillation.teachers:
        return [kwargs]
    _, own = _task_of(config.environment.env, kwargs)
    common = {name: value for name, value in kwargs.items() if name not in own}
    own_label = own_task(config)
    teachers = find_teachers(config)
    return [kwargs if one.task == own_label else {**common, **one.options} for one in teachers]


def identity_of(teachers: list[Teacher]) -> str:
    """Name the teachers' weights, wherever they lie."""
    return hashlib.sha256(" ".join(teacher.source.identity for teacher in teachers).encode()).hexdigest()
