"""What a student learns from: states of recorded episodes, with what teachers do there.

Of every task a fifth of the episodes, one at least, is kept apart to validate. Which ones, and which states are drawn
where not all are wanted, follows from the run's seed and the datasets' indexes alone.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from environments.dataset import INDEX_NAME, Dataset, DatasetError, Origin
from rl_baselines.checkpoint import hash_of
from rl_baselines.distillation.targets import target_of, target_parameters
from rl_baselines.errors import UsageError
from rl_baselines.retention.policy_outputs import OutputKind
from rl_baselines.seeding import derive_seed
from rl_baselines.space_words import describe_space

VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class RecordedEpisode:
    """An episode of a dataset.

    :param dataset: that holds it
    :param index: in the dataset
    :param task: its label
    """

    dataset: Dataset
    index: int
    task: str

    @property
    def origin(self) -> Origin:
        """Where it comes from."""
        return self.dataset.origins[self.dataset.entries[self.index].origin]

    @property
    def n_steps(self) -> int:
        """Its steps."""
        return self.dataset.entries[self.index].n_steps


@dataclass(frozen=True)
class LessonPlan:
    """Which recorded episodes a student learns from; their content is not read yet.

    :param datasets: in the order in which they were named
    :param training: the episodes to learn from
    :param validation: those kept apart
    :param n_drawn: states that are drawn from the former; None: all
    :param seed: of the draw
    """

    datasets: tuple[Dataset, ...]
    training: tuple[RecordedEpisode, ...]
    validation: tuple[RecordedEpisode, ...]
    n_drawn: int | None
    seed: int

    @property
    def n_states(self) -> int:
        """The states of one epoch."""
        return self.n_drawn or sum(episode.n_steps for episode in self.training)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The labels of all tasks, in alphabetical order."""
        return tuple(sorted({episode.task for episode in (*self.training, *self.validation)}))

    @property
    def identity(self) -> str:
        """A name for the content of the datasets, whatever folders they lie in."""
        hashes = [hash_of(dataset.path / INDEX_NAME) for dataset in self.datasets]
        return hashlib.sha256(" ".join(hashes).encode()).hexdigest()

    @property
    def origins(self) -> Iterator[tuple[Dataset, int]]:
        """Yield the index of every origin that has episodes, with its dataset."""
        for dataset in self.datasets:
            yield from ((dataset, index) for index in sorted({entry.origin for entry in dataset.entries}))


def task_label(origin: Origin) -> str:
    """Name the task of an origin: by its label, or else by its environment."""
    return origin.task or origin.env_id


def plan_lessons(folders: Sequence[str], n_wanted: int, seed: int) -> LessonPlan:
    """Open datasets and part their episodes.

    :param folders: of the datasets
    :param n_wanted: states to learn from, or -1 for all
    :param seed: of the run
    :raises UsageError: when one is no dataset, tells no teacher's distribution, or has too few episodes or states
    """
    try:
        datasets = tuple(Dataset.open(folder) for folder in folders)
    except DatasetError as error:
        raise UsageError(f"--teacher-data-folder: {error}") from None
    by_task: dict[str, list[RecordedEpisode]] = {}
    for dataset in datasets:
        for index, entry in enumerate(dataset.entries):
            task = task_label(dataset.origins[entry.origin])
            by_task.setdefault(task, []).append(RecordedEpisode(dataset, index, task))
    parted = [_parted(task, by_task[task], seed) for task in sorted(by_task)]
    training, validation = (tuple(one for part in parts for one in part) for parts in zip(*parted, strict=True))
    n_there = sum(episode.n_steps for episode in training)
    if n_wanted > n_there:
        raise UsageError(
            f"--distillation-training-set-size {n_wanted}: the datasets have {n_there} states to learn from, those of "
            f"{len(validation)} episodes kept apart not counted; give a smaller number, or -1 for all"
        )
    return LessonPlan(datasets, training, validation, None if n_wanted in (-1, n_there) else n_wanted, seed)


def _parted(
    task: str, episodes: Sequence[RecordedEpisode], seed: int
) -> tuple[list[RecordedEpisode], list[RecordedEpisode]]:
    """Part the episodes of a task into those to learn from and those to validate with."""
    if len(episodes) < 2:
        raise UsageError(
            f"the datasets hold one episode of the task {task}: at least 2 are needed, one of them is kept apart"
        )
    n_apart = max(1, round(VALIDATION_SHARE * len(episodes)))
    generator = np.random.default_rng(derive_seed(seed, "episodes kept apart", task))
    apart = set(generator.permutation(len(episodes))[:n_apart].tolist())
    training = [one for index, one in enumerate(episodes) if index not in apart]
    return training, [one for index, one in enumerate(episodes) if index in apart]


def check_fit(plan: LessonPlan, env_id: str, space: spaces.Space[Any], action_space: spaces.Space[Any]) -> OutputKind:
    """Check that what was recorded can be learnt in an environment, and give the kind of the targets.

    :param env_id: of the environment
    :param space: of its observations
    :param action_space: of its actions
    :raises UsageError: naming the dataset and what does not fit
    """
    kinds: dict[OutputKind, str] = {}
    for dataset, index in plan.origins:
        origin = dataset.origins[index]
        where = f"{dataset.path} ({task_label(origin)}, recorded in {origin.env_id})"
        if origin.teacher is None:
            raise UsageError(
                f"{where} tells no distribution over actions, so there is nothing to learn from it: record a trained "
                "run, with --run-policy custom"
            )
        theirs, their_actions = origin.spaces
        if (theirs.shape, theirs.dtype) != (space.shape, space.dtype):
            raise _misfit("observations", where, theirs, env_id, space)
        if their_actions != action_space:
            raise _misfit("actions", where, their_actions, env_id, action_space)
        teacher = OutputKind(str(origin.teacher["name"]), tuple(origin.teacher.get("sizes") or ()))
        try:
            kinds.setdefault(target_of(teacher, action_space), where)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
    if len(kinds) > 1:
        (one, here), (other, there) = list(kinds.items())[:2]
        raise UsageError(
            f"one loss cannot do for both: the teachers of {here} are learnt as {one.name}, those of {there} as "
            f"{other.name}; leave one of them out"
        )
    return next(iter(kinds))


def _misfit(what: str, where: str, theirs: spaces.Space[Any], env_id: str, own: spaces.Space[Any]) -> UsageError:
    told, here = describe_space(theirs), describe_space(own)
    return UsageError(f"the {what} of {where} are {told}, those of {env_id} here are {here}")


@dataclass(frozen=True, eq=False)
class Lessons:
    """States and what a teacher does in each.

    :param observations: (n, ...), raw, as the environment gives them
    :param targets: float32, (n, size) each, see `targets`, before any temperature
    :param values: float32, (n,), the teacher's values of the states; NaN where it has none
    :param tasks: int64, (n,), indices of the labels
    """

    observations: np.ndarray
    targets: Mapping[str, np.ndarray]
    values: np.ndarray
    tasks: np.ndarray

    def __len__(self) -> int:
        return len(self.tasks)

    def select(self, rows: np.ndarray) -> "Lessons":
        """Give some of the states.

        :param rows: int64 indices
        """
        targets = {name: part[rows] for name, part in self.targets.items()}
        return Lessons(self.observations[rows], targets, self.values[rows], self.tasks[rows])

    def weights(self, balanced: bool) -> np.ndarray:
        """Give the weight of every state: float32, (n,), one on average.

        :param balanced: each task weighs the same in all, whatever its number of states; otherwise each state does
        """
        if not balanced:
            return np.ones(len(self), np.float32)
        present, counts = np.unique(self.tasks, return_counts=True)
        by_task = np.zeros(present.max() + 1)
        by_task[present] = len(self) / (len(present) * counts)
        return by_task[self.tasks].astype(np.float32)


@dataclass(frozen=True, eq=False)
class Material:
    """All that a student learns from.

    :param kind: of the targets
    :param tasks: the labels
    :param training: the states of an epoch
    :param validation: the states of the episodes kept apart
    """

    kind: OutputKind
    tasks: tuple[str, ...]
    training: Lessons
    validation: Lessons

    @property
    def value_variance(self) -> float | None:
        """The variance of the teachers' values in the states of an epoch; None where no teacher has values."""
        known = self.training.values[~np.isnan(self.training.values)]
        return float(known.var(dtype=np.float64)) if len(known) else None


def read_material(plan: LessonPlan, kind: OutputKind) -> Material:
    """Read the episodes of a plan.

    :param kind: of the targets, as `check_fit` gives it
    :raises UsageError: when an episode is damaged, or holds numbers that are not finite
    """
    training, validation = (_read(part, plan.tasks) for part in (plan.training, plan.validation))
    if plan.n_drawn is not None:
        generator = np.random.default_rng(derive_seed(plan.seed, "states drawn"))
        training = training.select(np.sort(generator.choice(len(training), plan.n_drawn, replace=False)))
    return Material(kind, plan.tasks, training, validation)


def _read(episodes: Sequence[RecordedEpisode], tasks: Sequence[str]) -> Lessons:
    return joined([_lessons_of(episode, tasks.index(episode.task)) for episode in episodes])


def joined(parts: Sequence[Lessons]) -> Lessons:
    """Put lessons one after the other."""
    return Lessons(
        np.concatenate([part.observations for part in parts]),
        {name: np.concatenate([part.targets[name] for part in parts]) for name in parts[0].targets},
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.tasks for part in parts]),
    )


def _lessons_of(recorded: RecordedEpisode, task: int) -> Lessons:
    where = f"episode {recorded.index} of {recorded.dataset.path}"
    try:
        episode = recorded.dataset.episode(recorded.index)
    except DatasetError as error:
        raise UsageError(str(error)) from None
    teacher = recorded.origin.teacher
    assert teacher is not None
    outputs = {name: values for name, values in episode.teacher.items() if name != "values"}
    try:
        targets = target_parameters(OutputKind(str(teacher["name"]), ()), outputs)
    except KeyError as error:
        raise UsageError(f"{where} lacks the teacher's {error}") from None
    n_steps = episode.n_steps
    values = np.asarray(episode.teacher.get("values", np.full(n_steps, np.nan)), np.float32)
    if not all(np.isfinite(part).all() for part in targets.values()):
        raise UsageError(f"{where}: the teacher's distribution holds numbers that are not finite")
    return Lessons(episode.observations[:n_steps], targets, values, np.full(n_steps, task, np.int64))


def describe_teachers(plan: LessonPlan) -> list[dict[str, Any]]:
    """Give who taught what, ready for JSON: the task, the dataset, the number of episodes, and how the policy acted."""
    described = []
    for dataset, index in plan.origins:
        origin = dataset.origins[index]
        n_episodes = sum(entry.origin == index for entry in dataset.entries)
        told = {"task": task_label(origin), "dataset": str(Path(dataset.path).absolute()), "n_episodes": n_episodes}
        described.append({**told, "policy": dict(origin.policy)})
    return described
