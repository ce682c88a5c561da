"""Seeds are decided by (seed, purpose, keys) alone, and an episode by (seed of the sequence, number)."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from rl_baselines.episode_seeds import EpisodeSeeds
from rl_baselines.seeding import derive_seed


def first_observations(env: gym.Env, n_episodes: int, seed: int | None = None) -> np.ndarray:
    """The start of some episodes, the first with a seed: (n_episodes, ...)."""
    return np.stack([env.reset(seed=seed if episode == 0 else None)[0] for episode in range(n_episodes)])


def cartpole(seed: int = 0) -> EpisodeSeeds:
    return EpisodeSeeds(gym.make("CartPole-v1"), seed)


def start_at(seed: int) -> np.ndarray:
    return gym.make("CartPole-v1").reset(seed=seed)[0]


def test_seeds_are_the_same_on_every_machine() -> None:
    assert derive_seed(0, "env") == derive_seed(np.int64(0), "env")
    assert [derive_seed(0, "a"), derive_seed(0, "a", 1), derive_seed(3, "episode", 7)] == [
        912453799,
        1155216421,
        1580854597,
    ]


def test_seeds_differ_by_seed_purpose_keys_and_their_types() -> None:
    seeds = [
        derive_seed(*parts)
        for parts in [(0, "a"), (1, "a"), (-1, "a"), (0, "b"), (0, "a", 1), (0, "a", "1"), (0, "a", 1, 1), (2**70, "a")]
    ]
    assert len(set(seeds)) == len(seeds)


def test_seeds_spread_over_their_range() -> None:
    seeds = np.array([derive_seed(0, "spread", i) for i in range(4000)])
    assert seeds.min() >= 0
    assert seeds.max() < 2**31
    counts, _ = np.histogram(seeds, bins=4, range=(0, 2**31))
    assert (abs(counts - 1000) < 120).all()  # 4.4 standard deviations


def test_importing_seeding_imports_no_torch() -> None:
    code = "import sys, rl_baselines.seeding; print('torch' in sys.modules, 'stable_baselines3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False False\n"


def test_episode_k_starts_from_its_derived_seed() -> None:
    starts = first_observations(cartpole(), 3, seed=9)
    expected = [start_at(derive_seed(9, "episode", k)) for k in range(3)]
    np.testing.assert_array_equal(starts, expected)
    assert len(np.unique(starts, axis=0)) == 3


def test_the_constructor_gives_the_first_sequence() -> None:
    np.testing.assert_array_equal(first_observations(cartpole(9), 3), first_observations(cartpole(), 3, seed=9))


def test_a_sequence_goes_on_from_its_two_numbers() -> None:
    env, other = cartpole(5), cartpole()
    first_observations(env, 2)
    other.sequence_seed, other.next_episode = env.sequence_seed, env.next_episode
    np.testing.assert_array_equal(first_observations(env, 2), first_observations(other, 2))


def test_what_an_episode_does_has_no_effect_on_the_next() -> None:
    env, other = cartpole(5), cartpole(5)
    env.reset()
    other.reset()
    for _ in range(5):
        env.step(1)
        env.np_random.normal()
    np.testing.assert_array_equal(env.reset()[0], other.reset()[0])


def test_chosen_seeds_come_first_and_the_sequence_goes_on_after_them() -> None:
    env = cartpole(5)
    env.reset()
    env.start_episodes_at([42, 43])
    expected = [start_at(42), start_at(43), start_at(derive_seed(5, "episode", 1))]
    np.testing.assert_array_equal(first_observations(env, 3), expected)
    env.start_episodes_at([42, 43])
    env.start_episodes_at([44])
    np.testing.assert_array_equal(
        first_observations(env, 2, seed=8), [start_at(44), start_at(derive_seed(8, "episode", 0))]
    )


def test_options_reach_the_env() -> None:
    observation, _ = cartpole().reset(seed=1, options={"low": 0.2, "high": 0.21})
    assert (observation >= 0.2).all()


@pytest.mark.parametrize("wrap", [lambda env: EpisodeSeeds(Monitor(env), 5), lambda env: Monitor(EpisodeSeeds(env, 5))])
def test_monitor_may_lie_on_either_side(wrap: type[gym.Wrapper]) -> None:
    env = DummyVecEnv([lambda: wrap(gym.make("CartPole-v1"))])
    env.env_method("start_episodes_at", [42])
    np.testing.assert_array_equal(env.reset()[0], start_at(42))
    for _ in range(500):
        observations, _, dones, infos = env.step(np.array([0]))
        if dones[0]:
            break
    assert infos[0]["episode"]["l"] > 1
    np.testing.assert_array_equal(observations[0], start_at(derive_seed(5, "episode", 0)))
