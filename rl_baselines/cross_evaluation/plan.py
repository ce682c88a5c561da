"""What a cross-evaluation is to play: policies, tasks, the environment of each cell, and the key that names it all."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from environments.registry import ENVIRONMENTS, task_of
from rl_baselines.config import RunConfig, changed, to_flat
from rl_baselines.errors import UsageError
from rl_baselines.evaluation import evaluation_seeds
from rl_baselines.evaluation_tasks import EvaluationTask, Spaces, environment_for, find_misfit
from rl_baselines.layers import Layer
from rl_baselines.model_building import load_to_act
from rl_baselines.resolution import complete
from rl_baselines.sources import Source, resolve, resolve_run
from rl_baselines.transfer.inheritance import inherited_layer

FORMAT = 1
PURPOSE = "cross-evaluation"
MAX_ENVS = 8
"""Environments of a cell at most: more save little where steps are cheap, and where they are not, cost more to make."""
RANDOM = "random"
ALL = "@all"


@dataclass(frozen=True)
class Policy:
    """A policy of the matrix.

    :param label: what it is called in tables
    """

    source: Source
    label: str

    def identity(self) -> str:
        """Name its weights and its statistics, wherever they lie."""
        statistics = json.dumps(self.source.statistics, sort_keys=True, default=_as_list)
        return hashlib.sha256(f"{self.source.identity} {statistics}".encode()).hexdigest()


@dataclass(frozen=True)
class Cell:
    """A policy on a task.

    :param policy: its place; None for random actions
    :param task: its place
    :param config: complete, with the environment of the task
    """

    policy: int | None
    task: int
    config: RunConfig

    @property
    def name(self) -> str:
        """What its file is called."""
        return f"{RANDOM if self.policy is None else format(self.policy, '03d')}_{self.task:02d}"


@dataclass(frozen=True)
class Plan:
    """A cross-evaluation before it is played.

    :param cells: those that can be played, random actions on each task among them
    :param n_episodes: of each cell
    """

    policies: tuple[Policy, ...]
    tasks: tuple[EvaluationTask, ...]
    cells: tuple[Cell, ...]
    n_episodes: int

    @property
    def start_seeds(self) -> list[int]:
        """The start seeds of the episodes of every cell."""
        return evaluation_seeds(self.n_episodes, PURPOSE)

    @property
    def n_envs(self) -> int:
        """Environments of a cell."""
        return min(MAX_ENVS, self.n_episodes)

    def settled(self) -> dict[str, Any]:
        """Give all that decides the numbers, ready for JSON."""
        return {
            "format": FORMAT,
            "policies": [policy.identity() for policy in self.policies],
            "tasks": [task.text for task in self.tasks],
            "cells": {cell.name: _played_in(cell.config) for cell in self.cells},
            "start_seeds": self.start_seeds,
            "n_envs": self.n_envs,
        }


def key_of(settled: Mapping[str, Any]) -> str:
    """Give a short name for what `Plan.settled` gave."""
    return hashlib.sha256(json.dumps(settled, sort_keys=True).encode()).hexdigest()[:16]


def _played_in(config: RunConfig) -> dict[str, Any]:
    """Give what decides what a policy meets, ready for JSON."""
    vector = {name: getattr(config.vector, name) for name in ("norm_obs", "clip_obs")}
    met: dict[str, Any] = json.loads(json.dumps({**asdict(config.environment), **vector}))
    return met


def _as_list(value: Any) -> Any:
    return value.tolist()


def find_policies(texts: Sequence[str], log_dir: Path, trusted: bool = False) -> tuple[Policy, ...]:
    """Find policies, each with a label of its own.

    :param texts: as `resolve` takes them, and ``RUN@all`` for all checkpoints of a run; a label may stand before, as in
        ``NAME=RUN``
    :raises UsageError: when there is no such model, or two have the same label
    """
    named = [found for text in texts for found in _find(text, log_dir, trusted)]
    given = [name for name, _ in named if name is not None]
    labels = iter(_labels([source for name, source in named if name is None]))
    policies = tuple(Policy(source, next(labels) if name is None else name) for name, source in named)
    for name in {policy.label for policy in policies}:
        if name == RANDOM or (name in given and [policy.label for policy in policies].count(name) > 1):
            raise UsageError(f"the label {name!r} stands for another policy too; give each its own as LABEL=RUN")
    return policies


def _find(text: str, log_dir: Path, trusted: bool) -> Iterator[tuple[str | None, Source]]:
    name, equals, rest = text.partition("=")
    if not equals or Path(text.partition("@")[0]).exists():
        name, rest = "", text
    if not rest.endswith(ALL):
        yield name or None, resolve(rest, log_dir, trusted)
        return
    folder, _ = resolve_run(rest.removesuffix(ALL), log_dir)
    found = folder.all_checkpoints()
    if not found:
        raise UsageError(f"{folder.path} has no complete checkpoint yet")
    for checkpoint in found:
        step = f"step:{checkpoint.timesteps}"
        label = f"{name} {checkpoint.timesteps:,}" if name else None
        yield label, Source(checkpoint.model, step, folder, trusted=trusted)


def _labels(sources: Sequence[Source]) -> list[str]:
    """Give the shortest labels, made of task, run and step, that tell models apart."""
    parts = [_label_parts(source) for source in sources]
    for n_parts in (1, 2, 3):
        for chosen in combinations(range(3), n_parts):
            labels = [", ".join(part[i] for i in chosen if part[i]) for part in parts]
            if len(set(labels)) == len(labels) and all(labels):
                return labels
    return [f"{', '.join(filter(None, part))} ({index + 1})" for index, part in enumerate(parts)]


def _label_parts(source: Source) -> tuple[str, str, str]:
    """Give the task that a policy was trained in, its step, and the name of its run or file."""
    run = source.model.stem if source.run is None else source.run.path.name
    steps = "" if source.run is None else f"step {source.timesteps:,}"
    if source.settings is None:
        return "", steps, run
    env, kwargs = str(source.settings["env"]), source.settings["env_kwargs"]
    has_tasks = env in ENVIRONMENTS and len(ENVIRONMENTS[env].tasks) > 1
    return str(task_of(env, kwargs)) if has_tasks else env, steps, run


@dataclass(frozen=True)
class Misfit:
    """A policy that cannot act in a task.

    :param reason: in words
    """

    policy: str
    task: str
    reason: str

    def __str__(self) -> str:
        return f"{self.policy} on {self.task} ({self.reason})"


def make_plan(
    policies: tuple[Policy, ...], tasks: tuple[EvaluationTask, ...], n_episodes: int, algo: str | None = None
) -> tuple[Plan, list[Misfit]]:
    """Settle what is played; nothing is played yet.

    :param algo: the algorithm of models that do not tell it
    :return: the plan of all that fits, and what does not
    :raises UsageError: when a model cannot be read
    """
    cells, misfits = list[Cell](), list[Misfit]()
    for p, policy in enumerate(policies):
        fitting = _Fitting(policy.source, algo)
        for t, task in enumerate(tasks):
            try:
                cells.append(Cell(p, t, fitting.config_for(task)))
            except UsageError as error:
                misfits.append(Misfit(policy.label, task.label, str(error)))
    cells += [_random_cell(t, cells) for t in range(len(tasks)) if any(cell.task == t for cell in cells)]
    return Plan(policies, tasks, tuple(cells), n_episodes), misfits


def _random_cell(task: int, cells: Sequence[Cell]) -> Cell:
    """Let random actions be played where the first policy that fits plays."""
    return replace(next(cell for cell in cells if cell.task == task), policy=None)


class _Fitting:
    """Finds the environments in which a policy acts.

    :param algo: the algorithm of a model that does not tell it
    """

    def __init__(self, source: Source, algo: str | None) -> None:
        self._source = source
        self._given = {"algo": algo} if algo is not None and source.algorithm is None else {}
        self._own: tuple[RunConfig, Spaces] | None = None

    def config_for(self, task: EvaluationTask) -> RunConfig:
        """Give the complete configuration under which the policy acts in a task.

        :raises UsageError: when it cannot
        """
        own, spaces = self._own_config(task)
        environment = environment_for(task, own.environment)
        wanted = {name: getattr(environment, name) for name in ("env", "srl_model", "env_kwargs")}
        layer = Layer(task.text, to_flat(changed(own, **wanted, device="cpu")))
        config, *theirs = complete([layer])
        misfit = find_misfit((theirs[0], theirs[1]), spaces)
        if misfit is not None:
            raise UsageError(misfit)
        if self._source.settings is None:  # its own spaces are not known: only loading it tells whether it fits
            load_to_act(self._source, [Layer(task.text, to_flat(config))], 1)[1].close()
        return config

    def _own_config(self, task: EvaluationTask) -> tuple[RunConfig, Spaces]:
        if self._own is None or self._source.settings is None:
            config, *spaces = complete(self._layers(task))
            self._own = config, (spaces[0], spaces[1])
        return self._own

    def _layers(self, task: EvaluationTask) -> list[Layer]:
        """Give the settings of the policy, in the environment of the task where it tells none itself."""
        try:
            return [inherited_layer(self._source, self._given)[0]]
        except UsageError:
            if task.env is None or self._source.settings is not None:
                raise
        given = {**self._given, "env": task.env}
        return [inherited_layer(self._source, given)[0], Layer(task.text, {"env": task.env})]
