"""The tasks that policies are evaluated on, named by text, and the environment that such a text means for a policy."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import gymnasium as gym

from environments.environment_row import TASK_ALIASES
from environments.registry import ENVIRONMENTS, task_options
from rl_baselines.config import EnvironmentConfig, EnvironmentShortcuts
from rl_baselines.errors import UsageError, unknown
from rl_baselines.layers import TASK_FLAGS
from rl_baselines.literals import parse_pairs

SHORT_NAMES = {  # the ancestor's flags without the dash, and the options of the environment that they stand for
    item.metadata["flags"][0].removeprefix("-"): TASK_ALIASES[TASK_FLAGS[item.name]]
    for item in fields(EnvironmentShortcuts)
    if item.name in TASK_FLAGS
}
TASK_NAMES = tuple(dict.fromkeys(task for row in ENVIRONMENTS.values() for task in row.tasks))
OF_THE_SPACES = ("observation", "image_size", "multi_view", "observe_task", "is_discrete", "action_joints")
"""Options of our environments that say what a policy observes and how it acts."""
_COMMA = re.compile(r",(?![^\[{]*[\]}])")  # none within brackets
_ENV_ID = re.compile(r".+-v\d+")


@dataclass(frozen=True)
class EvaluationTask:
    """A task as it was named.

    :param text: ``sc cc sqc ec chc esc``, a task's name or an environment's id, perhaps followed by ``,name:value``
    :param label: what it is called in tables
    :param env: the environment; None for that of the policy
    :param options: of the environment
    """

    text: str
    label: str
    env: str | None
    options: dict[str, Any]

    def __str__(self) -> str:
        return self.text


def parse_task(text: str) -> EvaluationTask:
    """Read a task.

    :raises UsageError: for a name that nothing is known by, or options that cannot be read
    """
    head, *rest = _COMMA.split(text)
    options = parse_pairs(rest, f"an option of the task {text!r}")
    if head not in SHORT_NAMES and head not in TASK_NAMES:
        if _ENV_ID.fullmatch(head):
            return EvaluationTask(text, text, head, options)
        raise unknown("task", head, [*SHORT_NAMES, *TASK_NAMES, *ENVIRONMENTS])
    named = SHORT_NAMES.get(head, {"task": head})
    if "task" in options:
        raise UsageError(f"the task {text!r} names two tasks; name {options['task']} instead of {head}")
    return EvaluationTask(text, ",".join([str(named["task"]), *rest]), None, {**named, **options})


def parse_tasks(texts: Sequence[str]) -> tuple[EvaluationTask, ...]:
    """Read tasks, each with a label of its own: what was written, where two would be called the same.

    :raises UsageError: as `parse_task`, and for a task that is named twice
    """
    tasks = [parse_task(text) for text in texts]
    twice = [text for text, count in Counter(texts).items() if count > 1]
    if twice:
        raise UsageError(f"the task {twice[0]!r} is named twice; name each task once")
    counts = Counter(task.label for task in tasks)
    return tuple(task if counts[task.label] == 1 else replace(task, label=task.text) for task in tasks)


def environment_for(task: EvaluationTask, own: EnvironmentConfig) -> EnvironmentConfig:
    """Give the environment of a task for a policy: the policy's own but for the task.

    Options that belong to a task (target, shaped reward, size of a path) are those of the text, else the defaults, also
    where the policy was trained in that task: a task is the same one for every policy. Another environment takes from
    the policy's only what is observed and how one acts.

    :param own: complete
    :raises UsageError: for a task that the environment does not have
    """
    if task.env is not None and task.env != own.env:
        both_ours = own.env in ENVIRONMENTS and task.env in ENVIRONMENTS
        both_foreign = own.env not in ENVIRONMENTS and task.env not in ENVIRONMENTS
        kept = {name: value for name, value in own.env_kwargs.items() if both_ours and name in OF_THE_SPACES}
        key = own.srl_model if both_ours or both_foreign else None
        return replace(own, env=task.env, srl_model=key, env_kwargs={**kept, **task.options})
    if own.env not in ENVIRONMENTS:
        if task.env is None:
            raise UsageError(f"{own.env} has no task {task.label}")
        return replace(own, env_kwargs={**own.env_kwargs, **task.options})
    tasks = ENVIRONMENTS[own.env].tasks
    if task.options.get("task", next(iter(tasks))) not in tasks:
        raise UsageError(f"{own.env} has no task {task.options['task']}; it has {', '.join(tasks)}")
    of_a_task = task_options(own.env, own.env_kwargs)
    kept = {name: value for name, value in own.env_kwargs.items() if name not in of_a_task}
    return replace(own, env_kwargs={**kept, **task.options})


Spaces = tuple[gym.spaces.Space[Any], gym.spaces.Space[Any]]


def find_misfit(theirs: Spaces, own: Spaces) -> str | None:
    """Say why a policy cannot act in an environment; None where it can.

    :param theirs: observation space and action space of the environment
    :param own: those of the policy
    """
    if not _is_alike(theirs[0], own[0]):
        return f"it observes {_shape(own[0])}, and the task gives {_shape(theirs[0])}"
    if theirs[1] != own[1]:
        return f"its actions are {_shape(own[1])}, and those of the task {_shape(theirs[1])}"
    return None


def _is_alike(one: gym.spaces.Space[Any], other: gym.spaces.Space[Any]) -> bool:
    """Tell whether observations have the same form; bounds may differ."""
    if isinstance(one, gym.spaces.Dict) and isinstance(other, gym.spaces.Dict):
        return one.keys() == other.keys() and all(_is_alike(one[key], other[key]) for key in one)
    if isinstance(one, gym.spaces.Box) and isinstance(other, gym.spaces.Box):
        return one.shape == other.shape and one.dtype == other.dtype
    return bool(one == other)


def _shape(space: gym.spaces.Space[Any]) -> str:
    if isinstance(space, gym.spaces.Box):
        return f"{'x'.join(map(str, space.shape))} numbers"
    return str(space)
