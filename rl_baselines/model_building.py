"""From a configuration to a Stable-Baselines3 model, to train or only to act."""

from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from rl_baselines.algorithms import find_algorithm
from rl_baselines.config import RunConfig, changed
from rl_baselines.errors import UsageError
from rl_baselines.hyperparameters import constructor_arguments, hyperparameter_hints, policy_arguments
from rl_baselines.layers import Layer
from rl_baselines.model_zip import load_policy_tensors
from rl_baselines.normalization import apply_statistics
from rl_baselines.representations import check_together
from rl_baselines.resolution import complete
from rl_baselines.rollout_boundary import with_rollout_boundary
from rl_baselines.schedules import LearningRateSchedule
from rl_baselines.sources import Source
from rl_baselines.vec_env import VecNormalize, make_evaluation_env


def build_model(config: RunConfig, env: VecEnv, schedule: LearningRateSchedule | None, seed: int) -> BaseAlgorithm:
    """Build a model that is ready to learn.

    :param config: complete
    :param schedule: of the learning rate; None for an algorithm that has none
    :param seed: of the model and, through it, of the environments
    :raises UsageError: when the algorithm refuses its settings
    """
    arguments = constructor_arguments(config.algorithm.hyperparam, env.num_envs, env.action_space.shape or ())
    if schedule is not None:
        arguments["learning_rate"] = schedule
    if config.algorithm.her:
        from stable_baselines3 import HerReplayBuffer

        arguments["replay_buffer_class"] = HerReplayBuffer
    return _construct(config, env, arguments, seed)


def _construct(config: RunConfig, env: VecEnv, arguments: dict[str, Any], seed: int) -> BaseAlgorithm:
    algorithm, policy = find_algorithm(config.algorithm.algo), config.algorithm.policy or "MlpPolicy"
    _check_masks(algorithm.name, config.environment.env, env)
    options = policy_arguments(algorithm, policy, config.algorithm.policy_kwargs)
    cls: Any = with_rollout_boundary(algorithm.load_class())
    try:
        model: BaseAlgorithm = cls(
            policy, env, policy_kwargs=options, seed=seed, device=config.algorithm.device, **arguments
        )
    except (AssertionError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(f"{algorithm.name} refuses its settings: {reason}") from error
    return model


def _check_masks(algo: str, env_id: str, env: VecEnv) -> None:
    if algo != "maskable_ppo":
        return
    from sb3_contrib.common.maskable.utils import is_masking_supported

    if not is_masking_supported(env):
        raise UsageError(f"maskable_ppo needs an environment with action_masks(); {env_id} has none: take ppo")


def load_to_act(
    source: Source, layers: list[Layer], n_envs: int, render_mode: str | None = None
) -> tuple[BaseAlgorithm, VecEnv]:
    """Load a saved policy into environments of its own, normalization statistics included.

    :param layers: settings from the source and above them what was asked for
    :param n_envs: number of environments
    :return: the model and the environments
    :raises UsageError: when they do not go together
    """
    config = complete(layers)[0]
    check_together((source.settings or {}).get("srl_model_path"), config.environment.srl_model_path, str(source))
    if source.statistics is None:
        config = changed(config, norm_obs=False, norm_reward=False)
    env = make_evaluation_env(config, n_envs, render_mode)
    if isinstance(env, VecNormalize) and source.statistics is not None:
        apply_statistics(env, source.statistics, str(source))
    hints = hyperparameter_hints(find_algorithm(config.algorithm.algo))
    arguments: dict[str, Any] = {"buffer_size": 1} if "buffer_size" in hints else {}
    if config.algorithm.hyperparam.get("use_sde"):
        arguments["use_sde"] = True
    model = _construct(config, env, arguments, seed=0)
    load_policy_tensors(model, source.content)
    return model, env
