"""A student that is given what it learns from, and what is reported of that."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from rl_baselines.config import RunConfig
from rl_baselines.distillation.algorithm import Distillation
from rl_baselines.distillation.lessons import LessonPlan, Lessons, check_fit, describe_teachers, read_material
from rl_baselines.distillation.practice import Teacher, find_teachers, identity_of
from rl_baselines.distillation.run_teachers import load_teachers
from rl_baselines.distillation.settings import is_offline, lesson_plan
from rl_baselines.errors import UsageError
from rl_baselines.retention.policy_outputs import CATEGORICAL, GAUSSIAN
from rl_baselines.sources import Source
from rl_baselines.transfer.alignment import element_names


@dataclass(frozen=True)
class Schooling:
    """What a student learns from, for records and reports.

    :param identity: of the datasets' content, or of the teachers' weights
    :param teachers: who taught what, ready for JSON
    :param states: of every task, how many are learnt from and how many are kept apart; empty for a student that acts
    :param loss: in words
    """

    identity: str
    teachers: tuple[Mapping[str, Any], ...]
    states: Mapping[str, tuple[int, int]]
    loss: str

    def to_record(self) -> dict[str, Any]:
        """Give it as the record of a run has it."""
        states = {task: {"training": train, "validation": apart} for task, (train, apart) in self.states.items()}
        return {"identity": self.identity, "teachers": list(self.teachers), "states": states, "loss": self.loss}

    def length(self, timesteps: int) -> str:
        """Say how long a run of so many timesteps is in epochs; nothing where there are none."""
        n_states = sum(train for train, _ in self.states.values())
        if not n_states:
            return ""
        epochs = timesteps // n_states
        return f"{timesteps:,} states = {epochs:,} epoch{'s' * (epochs > 1)} of {n_states:,}"

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield rows of the table at the start of a run."""
        yield "teachers", "; ".join(f"{one['task']}: {acting_policy(one)}" for one in self.teachers)
        if self.states:
            yield "states", self._counted()
        yield "loss", self.loss

    def _counted(self) -> str:
        parts = [f"{task} {train:,} (and {apart:,} kept apart)" for task, (train, apart) in self.states.items()]
        return ", ".join(parts)


def acting_policy(teacher: Mapping[str, Any]) -> str:
    """Name who acted in a dataset: the run, or else the kind of policy and the dataset.

    :param teacher: as `describe_teachers` gives it
    """
    policy = teacher["policy"]
    return str(policy.get("run") or f"{policy.get('kind', 'unknown')} in {teacher['dataset']}")


def school(model: Distillation, config: RunConfig) -> Schooling:
    """Let a student learn from what its configuration names.

    From datasets, its observations are normalized by the statistics of those that it learns from, which then stand
    still.

    :raises UsageError: when something is missing, damaged or does not fit
    """
    env = model.env
    assert env is not None
    if is_offline(config):
        return _by_datasets(model, env, lesson_plan(config), config.environment.env)
    return _by_teachers(model, find_teachers(config))


def _by_teachers(model: Distillation, teachers: list[Teacher]) -> Schooling:
    loaded = load_teachers(model, teachers)
    model.learn_from(loaded)
    described = tuple({"task": one.task, "policy": _described(one.source)} for one in teachers)
    return Schooling(identity_of(teachers), described, {}, describe_loss(model, loaded.tasks))


def _described(source: Source) -> dict[str, Any]:
    return {"kind": "run", "run": source.run_id, "path": source.path, "timesteps": source.timesteps}


def _by_datasets(model: Distillation, env: VecEnv, plan: LessonPlan, env_id: str) -> Schooling:
    _check_features(plan, env, env_id)
    observation_space, action_space = (env.get_attr(name, 0)[0] for name in ("observation_space", "action_space"))
    kind = check_fit(plan, env_id, observation_space, action_space)
    material = read_material(plan, kind)
    model.learn_from(material)
    if isinstance(env, VecNormalize):
        env.training = False
        if env.norm_obs:
            fill_statistics(env, material.training.observations)
    counts = {
        task: (_count(material.training, index), _count(material.validation, index))
        for index, task in enumerate(material.tasks)
    }
    return Schooling(plan.identity, tuple(describe_teachers(plan)), counts, describe_loss(model, material.tasks))


def _count(lessons: Lessons, task: int) -> int:
    return int((lessons.tasks == task).sum())


def _check_features(plan: LessonPlan, env: VecEnv, env_id: str) -> None:
    """Refuse observations whose elements have other names than the environment's.

    :raises UsageError: naming the first that differs
    """
    own = element_names(env, "observation")
    for dataset, index in plan.origins:
        theirs = dataset.origins[index].feature_names
        if own and theirs and own != theirs:
            there, here = next((a, b) for a, b in zip(theirs, own, strict=False) if a != b)
            raise UsageError(
                f"the observations of {dataset.path} ({dataset.origins[index].env_id}) mean something else than those "
                f"of {env_id} here: {there} stands where this one has {here}"
            )


def fill_statistics(env: VecNormalize, observations: np.ndarray) -> None:
    """Let an environment normalize by the mean and variance of observations.

    :param observations: raw, (n, size)
    """
    plain = observations.astype(np.float64)
    assert not isinstance(env.obs_rms, dict)
    env.obs_rms.mean, env.obs_rms.var = plain.mean(axis=0), plain.var(axis=0)
    env.obs_rms.count = float(len(plain))


def describe_loss(model: Distillation, tasks: Sequence[str]) -> str:
    """Say in words what a student's loss is."""
    temperature = model.temperature
    if model.kind.name == CATEGORICAL:
        text = f"KL(teacher's softmax(logits / {temperature:g}) || student's)"
    elif model.kind.name == GAUSSIAN:
        sharpened = "" if temperature == 1 else f" with its variance times {temperature:g}"
        text = f"KL(teacher's Gaussian{sharpened} || student's)"
    else:
        text = "squared distance to the teacher's action"
    if model.value_coef:
        text += f" + {model.value_coef:g} x squared error of the value / its variance"
    if len(tasks) > 1:
        text += "; " + ("each task weighs the same" if model.balance_tasks else "each state weighs the same")
    return text
