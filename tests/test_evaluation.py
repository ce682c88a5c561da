"""An evaluation plays the episodes asked for, says how sure its means are, and leaves training alone."""

import random
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rl_baselines.episode_seeds import EpisodeSeeds
from rl_baselines.evaluation import Episode, EvaluationResult, evaluate, evaluation_seeds


class Countdown(gym.Env):
    """Lasts ``seed % 5 + 1`` steps, pays the step's number, and succeeds when the seed is even."""

    observation_space = spaces.Box(0, 10, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, tells_success: bool = True) -> None:
        self.tells_success = tells_success

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        assert seed is not None
        self.seed, self.age = seed, 0
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.age += 1
        ended = self.age == self.seed % 5 + 1
        info = {"is_success": ended and self.seed % 2 == 0} if self.tells_success else {}
        return np.full(1, self.age, np.float32), float(self.age), ended, False, info


class Lean:
    """Push the cart to the side the pole leans to."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        return (observation[:, 2] > 0).astype(int), None


class Counter(Lean):
    """Remembers in its state how long each env has played, as a recurrent policy would."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        age = np.zeros(len(observation)) if state is None else np.where(episode_start, 0, state[0] + 1)
        np.testing.assert_array_equal(age, observation[:, 0])
        return np.zeros(len(observation), dtype=int), (age,)


class Idle(Lean):
    """Any action will do."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        return np.zeros(len(observation), dtype=int), None


class Masked(Lean):
    def predict(  # type: ignore[override]
        self,
        observation: Any,
        state: Any,
        episode_start: Any,
        deterministic: bool,
        action_masks: np.ndarray | None = None,
    ) -> tuple[np.ndarray, Any]:
        assert action_masks is not None
        return action_masks.argmax(axis=1), None


def make_env(make: Callable[[], gym.Env], n_envs: int, monitor: bool = True) -> DummyVecEnv:
    wrap = Monitor if monitor else (lambda env: env)
    return DummyVecEnv([lambda i=i: EpisodeSeeds(wrap(make()), i) for i in range(n_envs)])


def cartpoles(n_envs: int) -> DummyVecEnv:
    return make_env(lambda: gym.make("CartPole-v1"), n_envs)


def result_of(rewards: list[float], successes: list[bool] | None = None) -> EvaluationResult:
    lengths = np.arange(1, len(rewards) + 1)
    flags = None if successes is None else np.array(successes)
    return EvaluationResult(np.array(rewards, dtype=float), lengths, flags, tuple(range(len(rewards))))


def test_reward_interval_is_students() -> None:
    """Mean 2.5, s = sqrt(5/3), t(3, .975) = 3.182446."""
    result = result_of([1, 2, 3, 4])
    assert result.mean_reward == 2.5
    assert result.std_reward == pytest.approx(1.25**0.5)
    assert result.reward_interval() == pytest.approx((2.5 - 2.054260, 2.5 + 2.054260), abs=1e-5)
    assert result.reward_interval(0.5) == pytest.approx((2.5 - 0.493738, 2.5 + 0.493738), abs=1e-5)  # t = .764892


def test_success_interval_is_wilsons() -> None:
    """p = .9, n = 10, z = 1.959964: centre .788987, half width .193137; at p = 1 the low end is 1 / (1 + z^2 / n)."""
    assert result_of([0] * 10, [True] * 9 + [False]).success_interval() == pytest.approx((0.595850, 0.982124), abs=1e-5)
    assert result_of([0] * 10, [True] * 10).success_interval() == pytest.approx((0.722467, 1.0), abs=1e-5)


def test_intervals_of_one_episode_and_of_equal_rewards() -> None:
    single = result_of([3], [False])
    assert single.std_reward == 0.0
    assert single.reward_interval() is None
    assert single.success_interval() == pytest.approx((0.0, 0.793450), abs=1e-5)
    assert result_of([3, 3, 3]).reward_interval() == (3.0, 3.0)


def test_summary_is_ready_for_json() -> None:
    summary = result_of([1.0, 3.0], [True, False]).summary()
    assert summary == {
        "mean_reward": 2.0,
        "std_reward": 1.0,
        "reward_low": pytest.approx(2 - 12.706205, abs=1e-5),
        "reward_high": pytest.approx(2 + 12.706205, abs=1e-5),
        "success_rate": 0.5,
        "success_low": pytest.approx(0.094531, abs=1e-5),
        "success_high": pytest.approx(0.905469, abs=1e-5),
        "mean_length": 1.5,
        "n_episodes": 2,
    }
    assert {type(value) for value in summary.values()} == {float, int}
    bare = result_of([1.0]).summary()
    assert [key for key, value in bare.items() if value is None] == [
        "reward_low",
        "reward_high",
        "success_rate",
        "success_low",
        "success_high",
    ]


def test_evaluation_seeds_are_common_and_differ_by_purpose() -> None:
    assert evaluation_seeds(20)[:5] == evaluation_seeds(5)
    assert len(set(evaluation_seeds(100))) == 100
    assert not set(evaluation_seeds(100)) & set(evaluation_seeds(100, "cross-evaluation"))


@pytest.mark.parametrize("n_envs", [1, 2, 3, 9])
@pytest.mark.parametrize("monitor", [True, False])
def test_each_seed_is_played_once_and_comes_back_in_order(n_envs: int, monitor: bool) -> None:
    """Countdown: a seed s gives s % 5 + 1 steps and 1 + 2 + ... as reward."""
    episodes: list[Episode] = []
    masks: list[np.ndarray] = []
    seeds = [13, 20, 4, 7, 11, 20]
    env = make_env(Countdown, n_envs, monitor)
    result = evaluate(Counter(), env, seeds, on_episode=episodes.append, on_step=masks.append)
    assert result.lengths.tolist() == [4, 1, 5, 3, 2, 1]
    assert result.rewards.tolist() == [10, 1, 15, 6, 3, 1]
    assert result.successes is not None
    assert result.successes.tolist() == [False, True, True, False, False, True]
    assert result.start_seeds == tuple(seeds)
    assert (result.rewards.dtype, result.lengths.dtype, result.successes.dtype) == (np.float64, np.int64, np.bool_)
    assert sorted(episodes, key=lambda episode: episode.index)[3] == Episode(3, 7, 6.0, 3, False)
    assert len(episodes) == 6
    assert np.sum(masks) == result.lengths.sum()


def test_an_env_without_success_gives_none() -> None:
    result = evaluate(Counter(), make_env(lambda: Countdown(tells_success=False), 2), [1, 2, 3])
    assert result.successes is None
    assert result.success_rate is None


def test_the_number_of_envs_does_not_matter() -> None:
    rewards = [evaluate(Lean(), cartpoles(n_envs), evaluation_seeds(7)).rewards.tolist() for n_envs in (1, 2, 3)]
    assert rewards[0] == rewards[1] == rewards[2]
    assert len(set(rewards[0])) > 1


def test_results_are_those_of_sb3_on_the_same_episodes() -> None:
    model, env, seeds = PPO("MlpPolicy", cartpoles(1), seed=2), cartpoles(1), evaluation_seeds(4)
    env.env_method("start_episodes_at", seeds)
    rewards, lengths = evaluate_policy(model, env, len(seeds), return_episode_rewards=True)
    result = evaluate(model, env, seeds)
    assert result.rewards.tolist() == rewards
    assert result.lengths.tolist() == lengths


def test_an_env_that_has_been_used_evaluates_the_same() -> None:
    env = cartpoles(2)
    first = evaluate(Lean(), env, evaluation_seeds(3)).rewards
    env.step(np.zeros(2, dtype=int))
    env.seed(4)
    np.testing.assert_array_equal(evaluate(Lean(), env, evaluation_seeds(3)).rewards, first)


@pytest.mark.parametrize("algorithm", [PPO, DQN])
def test_random_generators_are_left_as_they_were_and_stochastic_evaluations_repeat(algorithm: type[PPO | DQN]) -> None:
    model = algorithm("MlpPolicy", cartpoles(1), seed=0)
    states = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # noqa: NPY002
    state_of_actions = model.action_space.np_random.bit_generator.state
    results = [evaluate(model, cartpoles(2), evaluation_seeds(5), deterministic=False) for _ in range(2)]
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert torch.get_rng_state().tolist() == states[2]
    assert model.action_space.np_random.bit_generator.state == state_of_actions
    np.testing.assert_array_equal(results[0].rewards, results[1].rewards)


def test_rewards_are_those_of_the_env_though_normalized() -> None:
    env = VecNormalize(make_env(Countdown, 2), training=False)
    env.ret_rms.var = np.array(100.0)
    assert evaluate(Idle(), env, [13, 20, 4]).rewards.tolist() == [10, 1, 15]
    assert env.training is False
    env.training = True
    with pytest.raises(ValueError, match="VecNormalize of an evaluation env must have training=False"):
        evaluate(Lean(), env, [1])


def test_a_maskable_policy_gets_the_masks() -> None:
    class MaskedCountdown(Countdown):
        def action_masks(self) -> np.ndarray:
            return np.array([False, True])

        def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            assert action == 1
            return super().step(action)

    assert evaluate(Masked(), make_env(MaskedCountdown, 2), [3, 4]).lengths.tolist() == [4, 5]


def test_bad_input_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="at least one start seed"):
        evaluate(Lean(), cartpoles(1), [])
    with pytest.raises(ValueError, match="must be wrapped in EpisodeSeeds"):
        evaluate(Lean(), DummyVecEnv([lambda: gym.make("CartPole-v1")]), [1])
