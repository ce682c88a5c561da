"""How environments become what an algorithm trains on. The order of wrappers is written here and nowhere else.

One environment: environment, wrappers that Gymnasium registered for it, those asked for, `Monitor`, `EpisodeSeeds`.
All together: vector environment, encoder, frame stack, image transposition, normalization. Normalization is outermost
because off-policy algorithms store what lies beneath it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecNormalize, VecTransposeImage

from rl_baselines.config import RunConfig, VectorConfig
from rl_baselines.distillation.practice import environments_of
from rl_baselines.env_wrappers import make_env
from rl_baselines.episode_seeds import EpisodeSeeds
from rl_baselines.process_vec_env import ProcessVecEnv
from rl_baselines.representations import encode
from rl_baselines.resolution import normalizable_keys
from rl_baselines.watched_episode import watch


@dataclass(frozen=True)
class EnvFactory:
    """Builds one environment, also in another process.

    :param env_id: Gymnasium id
    :param gym_packages: packages to import first
    :param env_kwargs: options of the environment
    :param seed: of its sequence of episodes
    :param monitor: file for the records of its episodes; None keeps none
    :param continues: whether they go on after those that the file holds
    :param wrappers: around it, as ``--env-wrapper`` takes them
    """

    env_id: str
    gym_packages: tuple[str, ...] = ()
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    monitor: str | None = None
    continues: bool = False
    wrappers: tuple[str, ...] = ()

    def __call__(self) -> gym.Env[Any, Any]:
        """Build it."""
        env = make_env(self.env_id, self.gym_packages, self.env_kwargs, self.wrappers)
        if not is_wrapped(env, Monitor):
            env = _monitored(env, self.monitor, self.continues)
        return EpisodeSeeds(env, self.seed)


def _monitored(env: gym.Env[Any, Any], file: str | None, continues: bool) -> Monitor[Any, Any]:
    """Record the episodes of an environment; those that go on do so on the clock of the file."""
    start_s = _start_of(file) if continues and file is not None else None
    monitor = Monitor(env, file, override_existing=start_s is None)  # it writes a header only where it overrides
    if start_s is not None:
        monitor.t_start = start_s
    return monitor


def _start_of(file: str) -> float | None:
    """Give the time at which a monitor's file was begun, in seconds since the epoch; None without a complete header."""
    path = Path(file if file.endswith(Monitor.EXT) else f"{file}.{Monitor.EXT}")
    if not path.exists():
        return None
    with open(path) as lines:
        header, columns = lines.readline(), lines.readline()
    if not header.startswith("#") or not columns.endswith("\n"):
        return None
    start_s: float = json.loads(header.removeprefix("#"))["t_start"]
    return start_s


def make_training_env(config: RunConfig, seeds: Sequence[int], monitor_folder: Path, continues: bool = False) -> VecEnv:
    """Build the environments that a run trains on.

    :param seeds: one for each environment
    :param monitor_folder: where the records of episodes go
    :param continues: whether they go on after those that are there
    """
    environment, kwargs = config.environment, environments_of(config)
    factories = [
        EnvFactory(
            environment.env,
            environment.gym_packages,
            kwargs[index % len(kwargs)],
            seed,
            str(monitor_folder / f"{index:03d}"),
            continues,
            environment.env_wrapper,
        )
        for index, seed in enumerate(seeds)
    ]
    if config.vector.vec_env == "processes":
        return wrap(ProcessVecEnv(factories, config.vector.num_cpu or 1), config, training=True)
    return wrap(DummyVecEnv(list(factories)), config, training=True)


def fingerprint_of(env: VecEnv) -> dict[str, Any]:
    """Give what decides the physics of our robots besides the code; empty for an environment that does not tell.

    :param env: its first environment is asked
    """
    if not env.has_attr("fingerprint"):
        return {}
    fingerprint = env.get_attr("fingerprint", 0)[0]
    return fingerprint if isinstance(fingerprint, dict) else {}


def make_evaluation_env(
    config: RunConfig, n_envs: int, render_mode: str | None = None, watched: bool = False
) -> VecEnv:
    """Build environments for evaluation: the same, but normalization statistics stand still and rewards stay raw.

    :param render_mode: ``rgb_array``, ``human`` or None
    :param watched: whether the first one is, see `watched_episode`
    """
    environment = config.environment
    kwargs = {**environment.env_kwargs, **({"render_mode": render_mode} if render_mode else {})}
    factories = [
        EnvFactory(environment.env, environment.gym_packages, kwargs, seed, wrappers=environment.env_wrapper)
        for seed in range(n_envs)
    ]
    env = DummyVecEnv(list(factories))
    if watched:
        watch(env)
    return wrap(env, config, training=False)


def wrap(env: VecEnv, config: RunConfig, training: bool) -> VecEnv:
    """Put the wrappers around a vector environment."""
    env = encode(env, config.environment, config.algorithm.device)
    if config.environment.num_stack > 1:
        env = VecFrameStack(env, config.environment.num_stack)
    if _has_images_channels_last(env.observation_space):
        env = VecTransposeImage(env)
    if config.vector.norm_obs or config.vector.norm_reward:
        env = _normalize(env, config.vector, float(config.algorithm.hyperparam.get("gamma", 0.99)), training)
    return env


def _normalize(env: VecEnv, vector: VectorConfig, gamma: float, training: bool) -> VecNormalize:
    return VecNormalize(
        env,
        training=training,
        norm_obs=bool(vector.norm_obs),
        norm_reward=vector.norm_reward and training,
        clip_obs=vector.clip_obs,
        clip_reward=vector.clip_reward,
        gamma=gamma,
        norm_obs_keys=normalizable_keys(env.observation_space) or None if vector.norm_obs else None,
    )


def _has_images_channels_last(space: gym.spaces.Space[Any]) -> bool:
    parts = space.spaces.values() if isinstance(space, gym.spaces.Dict) else [space]
    return any(is_image_space(part) and not is_image_space_channels_first(part) for part in parts)  # type: ignore[arg-type]


def share_statistics(source: VecEnv, target: VecEnv) -> None:
    """Let an evaluation environment normalize by the statistics of the training environment, now and later."""
    if isinstance(source, VecNormalize) and isinstance(target, VecNormalize):
        target.ret_rms = source.ret_rms
        if source.norm_obs:
            target.obs_rms = source.obs_rms
