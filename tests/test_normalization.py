"""Normalization statistics on disk: exact, plain, and only for the observations they belong to."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rl_baselines.errors import UsageError
from rl_baselines.normalization import apply_statistics, read_statistics, write_statistics


class DictEnv(gym.Env):
    """Two sensors, one of which is normalized."""

    observation_space = spaces.Dict(
        {"angle": spaces.Box(-4, 4, (2,)), "picture": spaces.Box(0, 255, (4, 4, 1), np.uint8)}
    )
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 1.0, False, False, {"own": object()}


def trained(env_id: str = "CartPole-v1", steps: int = 20) -> VecNormalize:
    env = VecNormalize(DummyVecEnv([lambda: gym.make(env_id)] * 2))
    env.seed(0)
    env.reset()
    for _ in range(steps):
        env.step(np.array([env.action_space.sample() for _ in range(2)]))
    return env


def test_statistics_come_back_bit_for_bit(tmp_path: Path) -> None:
    env = trained()
    write_statistics(env, tmp_path)
    other = VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")]))
    apply_statistics(other, read_statistics(tmp_path / "vecnormalize.json"), "x")
    assert other.obs_rms.mean.tolist() == env.obs_rms.mean.tolist()
    assert other.obs_rms.var.tolist() == env.obs_rms.var.tolist()
    assert (other.obs_rms.count, other.ret_rms.count) == (env.obs_rms.count, env.ret_rms.count)
    assert other.ret_rms.var.tolist() == env.ret_rms.var.tolist()
    observation = np.array([[0.1, 0.2, 0.3, 0.4]], dtype=np.float32)
    assert np.array_equal(other.normalize_obs(observation), env.normalize_obs(observation))


def test_plain_stable_baselines3_reads_the_other_file(tmp_path: Path) -> None:
    env = trained()
    write_statistics(env, tmp_path)
    loaded = VecNormalize.load(str(tmp_path / "vecnormalize.pkl"), DummyVecEnv([lambda: gym.make("CartPole-v1")] * 2))
    assert loaded.obs_rms.mean.tolist() == env.obs_rms.mean.tolist()


def test_saving_leaves_the_environment_as_it_was(tmp_path: Path) -> None:
    env = VecNormalize(DummyVecEnv([DictEnv]), norm_obs_keys=["angle"])
    env.reset()
    infos = env.reset_infos
    write_statistics(env, tmp_path)
    assert env.reset_infos is infos


def test_parts_of_dictionaries_come_back(tmp_path: Path) -> None:
    env = VecNormalize(DummyVecEnv([DictEnv]), norm_obs_keys=["angle"])
    env.reset()
    write_statistics(env, tmp_path)
    other = VecNormalize(DummyVecEnv([DictEnv]), norm_obs_keys=["angle"])
    apply_statistics(other, read_statistics(tmp_path / "vecnormalize.json"), "x")
    assert other.obs_rms["angle"].mean.tolist() == env.obs_rms["angle"].mean.tolist()


def test_other_observations_are_refused(tmp_path: Path) -> None:
    write_statistics(trained(), tmp_path)
    other = VecNormalize(DummyVecEnv([lambda: gym.make("Pendulum-v1")]))
    message = r"^the normalization statistics of x are for observations of shape \(4,\), here they have \(3,\)$"
    with pytest.raises(UsageError, match=message):
        apply_statistics(other, read_statistics(tmp_path / "vecnormalize.json"), "x")


def test_a_torn_file_is_one_clear_line(tmp_path: Path) -> None:
    write_statistics(trained(), tmp_path)
    path = tmp_path / "vecnormalize.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(UsageError, match=r"^cannot read the normalization statistics .*vecnormalize.json: "):
        read_statistics(path)
