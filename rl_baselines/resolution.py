"""From layers of settings to one complete configuration: defaults < parent run < files < flags."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium as gym

from environments.names import nearest_match
from environments.registry import ENVIRONMENTS, check_env_kwargs, find_spec
from rl_baselines.algorithms import Algorithm, check_action_space, find_algorithm
from rl_baselines.config import RunConfig, changed, from_flat
from rl_baselines.distillation.settings import settle_distillation
from rl_baselines.env_wrappers import make_env
from rl_baselines.errors import UsageError, unknown
from rl_baselines.hyperparameters import (
    check_hyperparameters,
    complete_hyperparameters,
    constructor_arguments,
    hyperparameter_hints,
    policy_arguments,
    steps_per_rollout,
)
from rl_baselines.layers import Layer, combine
from rl_baselines.representations import encoded_space, settle_representation
from rl_baselines.schedules import LearningRateSchedule, planned_steps
from rl_baselines.sources import Source
from state_representation.registry import NATIVE, STATE_REPRESENTATIONS


@dataclass(frozen=True)
class LearningRatePlan:
    """The learning rate of a run and why it is so.

    :param schedule: None for an algorithm that has no learning rate
    :param reason: the rule that decided it
    :param root: initial rate of the oldest ancestor trained from scratch (of this run where it is that one)
    :param is_default: whether a fine-tune takes its rate from the ancestor's because none was asked for
    """

    schedule: LearningRateSchedule | None
    reason: str
    root: float | None
    is_default: bool = False


@dataclass(frozen=True)
class RunPlan:
    """All that is settled before anything is created.

    :param config: complete configuration
    :param source: the model it starts from
    :param learning_rate: its schedule and reason
    :param steps_per_rollout: environment steps between two updates; None where not fixed
    :param steps_planned: timesteps it will take
    :param observation_space: of one environment
    :param action_space: of one environment
    :param notes: what was not carried over from the parent, in words
    :param parent_identity: of the source, also where the run goes on and needs its source no more; empty without one
    """

    config: RunConfig
    source: Source | None
    learning_rate: LearningRatePlan
    steps_per_rollout: int | None
    steps_planned: int
    observation_space: gym.spaces.Space[Any]
    action_space: gym.spaces.Space[Any]
    notes: tuple[str, ...] = field(default=())
    parent_identity: str = ""


def plan_run(layers: Sequence[Layer], source: Source | None, notes: Sequence[str] = ()) -> RunPlan:
    """Complete and check a run's configuration; nothing is created on disk.

    :param layers: from the lowest (parent) to the highest (flags)
    :param source: the model it starts from
    :param notes: what the parent's layer left out, in words
    :raises UsageError: for the first thing that cannot be done
    """
    config, observation_space, action_space = complete(layers)
    config = settle_distillation(config, combine(layers), observation_space, action_space)
    rollout = steps_per_rollout(config.algorithm.hyperparam, config.vector.n_envs or 1)
    learning_rate = _plan_learning_rate(config, source, layers)
    if source is not None and learning_rate.schedule is not None:
        initial = learning_rate.schedule.initial
        hyperparam = {**config.algorithm.hyperparam, "learning_rate": initial}
        config = changed(config, new_lr=initial, hyperparam=hyperparam, load_rl_model_path=source.path)
    steps = planned_steps(config.training.num_timesteps, rollout)
    learning_rate = _with_warm_up(learning_rate, config, rollout, steps)
    identity = "" if source is None else source.identity
    return RunPlan(
        config, source, learning_rate, rollout, steps, observation_space, action_space, tuple(notes), identity
    )


def _with_warm_up(plan: LearningRatePlan, config: RunConfig, rollout: int | None, steps: int) -> LearningRatePlan:
    warmup = config.algorithm.lr_warmup
    if not warmup:
        return plan
    assert plan.schedule is not None, "a warm-up without a rate is refused before"
    if warmup > steps:
        raise UsageError(f"--lr-warmup {warmup} is longer than the run of {steps} timesteps")
    schedule = replace(plan.schedule, warmup=warmup / steps, rollout=(rollout or 0) / steps)
    return replace(plan, schedule=schedule, reason=f"{plan.reason}; rising over {warmup:,} timesteps")


def complete(layers: Sequence[Layer]) -> tuple[RunConfig, gym.spaces.Space[Any], gym.spaces.Space[Any]]:
    """Settle every setting that was left open, and check that all go together.

    :param layers: from the lowest to the highest
    :return: the configuration, the observation space and the action space of one environment
    :raises UsageError: for the first thing that cannot be done
    """
    config = from_flat(combine(layers))
    config = _complete_environment(config)
    algorithm = find_algorithm(config.algorithm.algo)
    _check_rate_settings(config, algorithm)
    config = changed(
        config, algo=algorithm.name, hyperparam=check_hyperparameters(algorithm, config.algorithm.hyperparam)
    )
    observation_space, action_space = probe_spaces(config)
    check_action_space(algorithm, config.environment.env, action_space)
    config = _complete_vector(config, algorithm.default_n_envs)
    config = _complete_algorithm(config, observation_space)
    constructor_arguments(config.algorithm.hyperparam, config.vector.n_envs or 1, action_space.shape or ())
    return config, observation_space, action_space


def _check_rate_settings(config: RunConfig, algorithm: Algorithm) -> None:
    """Refuse settings of the learning rate where there is none; a constant one is what old files say of none."""
    settings = config.algorithm
    given: dict[str, Any] = {"--new-lr": config.fine_tuning.new_lr, "--lr-decay": settings.lr_decay}
    given |= {"--lr-warmup": settings.lr_warmup, "--lr-scale": settings.lr_scale}
    for flag, value in given.items():
        if value and value != "constant" and not algorithm.learning_rate:
            raise UsageError(f"{flag}: {algorithm.name} has no learning rate; leave it out")


def _complete_environment(config: RunConfig) -> RunConfig:
    """Settle the observation kind and check the environment's options without building it."""
    environment = config.environment
    try:
        find_spec(environment.env, environment.gym_packages)
    except ValueError as error:
        raise UsageError(str(error)) from None
    row = ENVIRONMENTS.get(environment.env)
    if environment.srl_model_path is not None:
        key, kwargs = settle_representation(environment)
        return _with_observation(config, key, kwargs)
    key = environment.srl_model or ("ground_truth" if row is not None else NATIVE)
    if key not in STATE_REPRESENTATIONS:
        hint = (
            "" if nearest_match(key, STATE_REPRESENTATIONS) else "; --srl-model-path tells the folder of a learnt one"
        )
        raise UsageError(f"{unknown('--srl-model', key, STATE_REPRESENTATIONS)}{hint}")
    if row is None and key != NATIVE:
        raise UsageError(f"{environment.env} has only its own observation: --srl-model {key} needs one of our robots")
    if row is not None and key == NATIVE:
        raise UsageError(
            f"--srl-model native is for third-party environments; {environment.env} offers "
            + ", ".join(row.observations)
        )
    return _with_observation(config, key, {**environment.env_kwargs, **STATE_REPRESENTATIONS[key].env_kwargs})


def _with_observation(config: RunConfig, key: str, kwargs: dict[str, Any]) -> RunConfig:
    """Take over what is observed, once the environment's options are known to be right."""
    try:
        check_env_kwargs(config.environment.env, kwargs)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return changed(config, srl_model=key, env_kwargs=kwargs)


def probe_spaces(config: RunConfig) -> tuple[gym.spaces.Space[Any], gym.spaces.Space[Any]]:
    """Build the environment once to learn the spaces of what is observed and done.

    :raises UsageError: when it cannot be built, or gives no pictures where some are to be encoded
    """
    environment = config.environment
    try:
        env = make_env(environment.env, environment.gym_packages, environment.env_kwargs, environment.env_wrapper)
    except UsageError:
        raise
    except (gym.error.Error, TypeError, ValueError, ImportError) as error:
        raise UsageError(_missing_extra(environment.env, error) or f"{environment.env}: {_first_line(error)}") from None
    try:
        return encoded_space(environment, env.observation_space), env.action_space
    finally:
        env.close()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _missing_extra(env_id: str, error: Exception) -> str | None:
    """Name the extra to install when that is what an environment lacks."""
    text = str(error).lower()
    found = [extra for extra in ("mujoco", "box2d") if extra in text and "install" in text]
    return f"{env_id} needs the extra {found[0]}: pip install 'gymnasium[{found[0]}]'" if found else None


def _complete_vector(config: RunConfig, default_n_envs: int) -> RunConfig:
    vector = config.vector
    if vector.vec_env == "dummy" and vector.num_cpu is not None:
        raise UsageError("--num-cpu counts processes, and --vec-env dummy uses none; leave one of them out")
    n_envs = vector.n_envs or vector.num_cpu or default_n_envs
    if vector.vec_env is None:
        kind = "dummy" if vector.num_cpu is None else "processes"
    else:
        kind = vector.vec_env
    num_cpu = None if kind == "dummy" else vector.num_cpu or min(n_envs, os.cpu_count() or 1)
    if num_cpu is not None and num_cpu > n_envs:
        raise UsageError(f"--num-cpu {num_cpu} is more than --n-envs {n_envs}: every process needs an environment")
    return changed(config, n_envs=n_envs, num_cpu=num_cpu, vec_env=kind)


def _complete_algorithm(config: RunConfig, observation_space: gym.spaces.Space[Any]) -> RunConfig:
    algorithm = find_algorithm(config.algorithm.algo)
    if config.algorithm.her and not algorithm.her:
        raise UsageError(f"--her does not go with {algorithm.name}; it goes with sac, td3, ddpg, tqc and dqn")
    policy = config.algorithm.policy or algorithm.policy_for(observation_space)
    policy_arguments(algorithm, policy, config.algorithm.policy_kwargs)
    given = config.algorithm.hyperparam
    if config.algorithm.her and "learning_starts" not in given:
        given = {**given, "learning_starts": _first_episodes(config)}
    row = STATE_REPRESENTATIONS.get(config.environment.srl_model or NATIVE)
    images = policy.startswith("Cnn") or row is None or row.needs_images  # a learnt representation encodes them
    return changed(
        config,
        policy=policy,
        hyperparam=complete_hyperparameters(algorithm, given),
        lr_decay=config.algorithm.lr_decay or (algorithm.lr_decay if algorithm.learning_rate else None),
        torch_threads=config.algorithm.torch_threads or ((os.cpu_count() or 1) if images else 1),
        norm_obs=_norm_obs(config, observation_space),
    )


def _first_episodes(config: RunConfig) -> int:
    """Give the timesteps until every first episode has ended: hindsight replay cannot learn before."""
    spec = find_spec(config.environment.env, config.environment.gym_packages)
    return max(100, (spec.max_episode_steps or 0) * (config.vector.n_envs or 1) + 1)


def _norm_obs(config: RunConfig, observation_space: gym.spaces.Space[Any]) -> bool:
    able = bool(normalizable_keys(observation_space)) or _is_normalizable(observation_space)
    if config.vector.norm_obs and not able:
        raise UsageError(
            f"--norm-obs needs low-dimensional continuous observations, {config.environment.env} gives "
            f"{observation_space}"
        )
    return able if config.vector.norm_obs is None else config.vector.norm_obs


def _is_normalizable(space: gym.spaces.Space[Any]) -> bool:
    return isinstance(space, gym.spaces.Box) and len(space.shape) == 1


def normalizable_keys(space: gym.spaces.Space[Any]) -> list[str]:
    """Name the parts of a dictionary observation that can be normalized."""
    return [key for key, part in space.items() if _is_normalizable(part)] if isinstance(space, gym.spaces.Dict) else []


def _plan_learning_rate(config: RunConfig, source: Source | None, layers: Sequence[Layer]) -> LearningRatePlan:
    algorithm, decay = find_algorithm(config.algorithm.algo), config.algorithm.lr_decay or "constant"
    if "learning_rate" not in hyperparameter_hints(algorithm):
        return LearningRatePlan(None, f"{algorithm.name} has none", None)
    if source is None:
        if config.fine_tuning.new_lr is not None:
            raise UsageError(
                "--new-lr is the rate of a fine-tune (--load-rl-model-path); a run from scratch takes "
                f"--hyperparam learning_rate:{config.fine_tuning.new_lr:g}"
            )
        initial = config.algorithm.hyperparam["learning_rate"]
        givers = [layer.name for layer in layers if "learning_rate" in layer.values.get("hyperparam", {})]
        reason = f"{givers[-1]}: learning_rate" if givers else f"default of {algorithm.name}"
        return LearningRatePlan(LearningRateSchedule(initial, decay), reason, initial)
    root = source.root_learning_rate
    if config.fine_tuning.new_lr is not None:
        giver = next(layer.name for layer in reversed(layers) if layer.values.get("new_lr") is not None)
        return LearningRatePlan(LearningRateSchedule(config.fine_tuning.new_lr, decay), f"{giver}: new_lr", root)
    if root is None:
        raise UsageError(f"the initial learning rate of {source} cannot be known: give --new-lr")
    reason = f"one hundredth of the oldest ancestor's initial rate {root:g}"
    return LearningRatePlan(LearningRateSchedule(root / 100, decay), reason, root, is_default=True)
