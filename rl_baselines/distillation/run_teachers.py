"""Trained runs that tell what they would do."""

from collections.abc import Sequence

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_baselines.distillation.algorithm import Distillation
from rl_baselines.distillation.lessons import Lessons, joined
from rl_baselines.distillation.practice import Teacher
from rl_baselines.distillation.targets import target_of, target_parameters
from rl_baselines.errors import UsageError
from rl_baselines.evaluation import random_states_kept
from rl_baselines.model_building import load_to_act
from rl_baselines.retention.policy_outputs import OutputKind, output_kind
from rl_baselines.retention.state_memory import StateMemory, relabelled
from rl_baselines.space_words import describe_space
from rl_baselines.transfer.alignment import element_names
from rl_baselines.transfer.inheritance import inherited_layer


class RunTeachers:
    """One teacher for each task; environment i of the student does task i modulo their number.

    :param models: of the teachers, each with its own normalization
    :param tasks: their labels
    :param kind: of the targets
    """

    def __init__(self, models: Sequence[BaseAlgorithm], tasks: tuple[str, ...], kind: OutputKind) -> None:
        self.models, self.tasks, self.kind = models, tasks, kind

    def lessons(self, observations: np.ndarray) -> Lessons:
        """Tell what to do, one task after the other.

        :param observations: (n_steps, n_envs, ...), raw
        """
        parts = []
        for index, model in enumerate(self.models):
            states = observations[:, index :: len(self.models)]
            states = states.reshape(-1, *states.shape[2:])
            kind = output_kind(model.policy)
            assert kind is not None
            told = relabelled(StateMemory(states, kind, {}, np.zeros(len(states), np.float32)), model)
            targets = target_parameters(kind, told.parameters)
            parts.append(Lessons(states, targets, told.values, np.full(len(states), index, np.int64)))
        return joined(parts)


def load_teachers(student: Distillation, teachers: Sequence[Teacher]) -> RunTeachers:
    """Load teachers for a student.

    :raises UsageError: for one that observes or acts otherwise, or whose actions do not follow from an observation
    """
    with random_states_kept(student, 0):  # building a model seeds the global generators
        loaded = [_load(student, teacher) for teacher in teachers]
    kinds = {kind: teacher for (_, kind), teacher in zip(loaded, teachers, strict=True)}
    if len(kinds) > 1:
        (one, here), (other, there) = list(kinds.items())[:2]
        raise UsageError(
            f"--teachers: one loss cannot do for both: {here.source} is learnt as {one.name}, {there.source} as "
            f"{other.name}; leave one of them out"
        )
    return RunTeachers([model for model, _ in loaded], tuple(one.task for one in teachers), next(iter(kinds)))


def _load(student: Distillation, teacher: Teacher) -> tuple[BaseAlgorithm, OutputKind]:
    """Load one teacher, and give its model and the kind of targets that its outputs become."""
    source = teacher.source
    model, env = load_to_act(source, [inherited_layer(source, {})[0]], 1)
    assert student.env is not None
    try:
        names = [element_names(one, "observation") for one in (env, student.env)]
    finally:
        env.close()  # its statistics are all that is needed of it
    theirs, own = model.observation_space, student.observation_space
    if (theirs.shape, theirs.dtype) != (own.shape, own.dtype):
        raise UsageError(
            f"--teachers: the observations of {source} are {describe_space(theirs)}, those of the student "
            f"{describe_space(own)}"
        )
    if None not in names and names[0] != names[1]:
        there, here = (", ".join(one or ()) for one in names)
        raise UsageError(f"--teachers: {source} observes {there}; the student observes {here}")
    if model.action_space != student.action_space:
        raise UsageError(
            f"--teachers: the actions of {source} are {describe_space(model.action_space)}, those of the student "
            f"{describe_space(student.action_space)}"
        )
    kind = output_kind(model.policy)
    if kind is None:
        raise UsageError(
            f"--teachers: {source} is of {source.algorithm}, whose actions do not follow from one observation"
        )
    try:
        return model, target_of(kind, student.action_space)
    except UsageError as error:
        raise UsageError(f"--teachers: {source}: {error}") from None
