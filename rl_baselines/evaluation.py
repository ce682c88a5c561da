"""Evaluation with common start seeds: one episode per seed, and what its results say with which certainty."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from inspect import signature
from typing import Any

import gymnasium as gym
import numpy as np
import scipy
import torch
from stable_baselines3.common.type_aliases import PolicyPredictor
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from rl_baselines.intervals import student_interval
from rl_baselines.seeding import derive_seed

COMMON_SEED = 0


@dataclass(frozen=True)
class Episode:
    """One finished episode of an evaluation.

    :param index: its place in the list of start seeds
    :param reward: sum of undiscounted rewards, as the env gave them
    :param length: in steps of the env
    :param success: None when the env did not say
    """

    index: int
    start_seed: int
    reward: float
    length: int
    success: bool | None


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """The episodes of one evaluation, in the order of their start seeds.

    :param rewards: float64, (n,)
    :param lengths: int64, (n,), in steps of the env
    :param successes: bool, (n,), or None when no episode said whether it succeeded
    :param start_seeds: n seeds
    """

    rewards: np.ndarray
    lengths: np.ndarray
    successes: np.ndarray | None
    start_seeds: tuple[int, ...]

    @property
    def n_episodes(self) -> int:
        """The number of episodes."""
        return len(self.rewards)

    @property
    def mean_reward(self) -> float:
        """The mean reward of an episode."""
        return float(self.rewards.mean())

    @property
    def std_reward(self) -> float:
        """The standard deviation of these episodes' rewards (ddof = 0, as SB3's ``evaluate_policy`` gives it)."""
        return float(self.rewards.std())

    @property
    def mean_length(self) -> float:
        """The mean length of an episode, in steps of the env."""
        return float(self.lengths.mean())

    @property
    def success_rate(self) -> float | None:
        """The share of successful episodes, or None when the env does not tell success."""
        return None if self.successes is None else float(self.successes.mean())

    def reward_interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """The Student t interval of the mean reward, see `student_interval`; None for a single episode.

        :param confidence: in (0, 1)
        """
        return student_interval(self.rewards, confidence)

    def success_interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """The score interval of the success rate (E. B. Wilson, 1927), good near 0 and 1 and for a single episode too.

        :param confidence: in (0, 1)
        :return: low and high, or None when the env does not tell success
        """
        if self.successes is None:
            return None
        test = scipy.stats.binomtest(int(self.successes.sum()), self.n_episodes)
        interval = test.proportion_ci(confidence, method="wilson")
        return float(interval.low), float(interval.high)

    def to_state(self) -> dict[str, Any]:
        """Give all of it as lists and arrays, for `from_state`."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "EvaluationResult":
        """Take what `to_state` gave."""
        return cls(**{**state, "start_seeds": tuple(state["start_seeds"])})

    def summary(self) -> dict[str, float | int | None]:
        """The figures for records and reports, ready for JSON; None where there is none."""
        reward_low, reward_high = self.reward_interval() or (None, None)
        success_low, success_high = self.success_interval() or (None, None)
        return {
            "mean_reward": self.mean_reward,
            "std_reward": self.std_reward,
            "reward_low": reward_low,
            "reward_high": reward_high,
            "success_rate": self.success_rate,
            "success_low": success_low,
            "success_high": success_high,
            "mean_length": self.mean_length,
            "n_episodes": self.n_episodes,
        }


def evaluation_seeds(n_episodes: int, purpose: str = "evaluation") -> list[int]:
    """The start seeds that every run evaluates on, so that scores of different runs compare.

    The first seeds of a longer list are those of a shorter one.

    :param purpose: another word gives other seeds
    """
    return [derive_seed(COMMON_SEED, purpose, episode) for episode in range(n_episodes)]


def evaluate(
    policy: PolicyPredictor,
    env: VecEnv,
    start_seeds: Sequence[int],
    deterministic: bool = True,
    on_episode: Callable[[Episode], None] | None = None,
    on_step: Callable[[np.ndarray], None] | None = None,
) -> EvaluationResult:
    """Run one episode from each start seed and give their results; training goes on as if nothing had happened.

    Env i of m plays seeds i, i + m, ...; what it plays beyond the list is ignored, so the result does not depend on m
    (but for the rounding of a network on batches of another size, and for the noise of a stochastic policy). The global
    random generators are seeded from the start seeds meanwhile, so that stochastic evaluations repeat, and put back
    afterwards. Reward and length are those of ``Monitor`` where there is one, else the sum of what ``env`` gives.
    Success is ``info["is_success"]`` at the end of the episode; an episode that lacks it failed if others have it.

    :param policy: anything with SB3's ``predict``, recurrent and maskable policies included
    :param env: its envs are wrapped in ``EpisodeSeeds``; a ``VecNormalize`` in it has ``training=False``
    :param on_episode: called after each finished episode
    :param on_step: called before each step with a bool mask (m,): which envs play an episode that counts
    :raises ValueError: without a start seed, or when ``env`` does not fulfil the above
    """
    _check(env, start_seeds)
    tally = _Tally(start_seeds, env.num_envs, on_episode)
    with random_states_kept(policy, derive_seed(start_seeds[0], "evaluated policy")):
        for i in range(env.num_envs):
            env.env_method("start_episodes_at", tally.seeds_of(i), indices=i)
        _play(policy, env, deterministic, tally, on_step)
    return tally.result()


def _check(env: VecEnv, start_seeds: Sequence[int]) -> None:
    if not len(start_seeds):
        raise ValueError("an evaluation needs at least one start seed")
    normalizer = unwrap_vec_normalize(env)
    if normalizer is not None and normalizer.training:
        raise ValueError("the VecNormalize of an evaluation env must have training=False, or it changes its statistics")
    if not env.has_attr("start_episodes_at"):
        raise ValueError("each env of an evaluation must be wrapped in EpisodeSeeds")


def _play(
    policy: PolicyPredictor,
    env: VecEnv,
    deterministic: bool,
    tally: "_Tally",
    on_step: Callable[[np.ndarray], None] | None,
) -> None:
    observations: Any = env.reset()
    states: tuple[np.ndarray, ...] | None = None
    episode_starts = np.ones(env.num_envs, dtype=bool)
    wants_masks = "action_masks" in signature(policy.predict).parameters and env.has_attr("action_masks")
    while tally.active.any():
        if on_step is not None:
            on_step(tally.active)
        masks = {"action_masks": np.stack(env.env_method("action_masks"))} if wants_masks else {}
        actions, states = policy.predict(observations, states, episode_starts, deterministic, **masks)
        observations, rewards, episode_starts, infos = env.step(actions)
        tally.add(rewards, episode_starts, infos)


class _Tally:
    """Which episode each env plays, and the results so far."""

    def __init__(self, start_seeds: Sequence[int], n_envs: int, on_episode: Callable[[Episode], None] | None) -> None:
        self._seeds = tuple(int(seed) for seed in start_seeds)
        self._on_episode = on_episode
        self._playing = np.arange(n_envs)
        self._rewards = np.zeros(n_envs)
        self._lengths = np.zeros(n_envs, dtype=np.int64)
        self._episodes: dict[int, Episode] = {}

    @property
    def active(self) -> np.ndarray:
        """Which envs play an episode that counts: bool, (m,)."""
        return self._playing < len(self._seeds)

    def seeds_of(self, env_index: int) -> tuple[int, ...]:
        """Give the start seeds that one env plays."""
        return self._seeds[env_index :: len(self._playing)]

    def add(self, rewards: np.ndarray, dones: np.ndarray, infos: Sequence[dict[str, Any]]) -> None:
        """Take in one step of all envs."""
        self._rewards += rewards
        self._lengths += 1
        for i in np.flatnonzero(dones).tolist():
            if self.active[i]:
                self._finish(i, infos[i])
            self._playing[i] += len(self._playing)
            self._rewards[i] = self._lengths[i] = 0

    def _finish(self, env_index: int, info: dict[str, Any]) -> None:
        played = info.get("episode", {"r": self._rewards[env_index], "l": self._lengths[env_index]})
        success = info.get("is_success")
        index = int(self._playing[env_index])
        episode = Episode(
            index, self._seeds[index], float(played["r"]), int(played["l"]), None if success is None else bool(success)
        )
        self._episodes[index] = episode
        if self._on_episode is not None:
            self._on_episode(episode)

    def result(self) -> EvaluationResult:
        """Give the results in the order of the start seeds."""
        episodes = [self._episodes[index] for index in range(len(self._seeds))]
        tells_success = any(episode.success is not None for episode in episodes)
        return EvaluationResult(
            rewards=np.array([episode.reward for episode in episodes], dtype=np.float64),
            lengths=np.array([episode.length for episode in episodes], dtype=np.int64),
            successes=np.array([bool(episode.success) for episode in episodes]) if tells_success else None,
            start_seeds=self._seeds,
        )


@contextmanager
def random_states_kept(policy: PolicyPredictor, seed: int) -> Iterator[None]:
    """Seed what a policy may draw from, and put all of it back in the end.

    Besides the global generators (numpy's too, SB3 draws from it) that is the policy's action space: DQN explores
    with it.
    """
    python_state, torch_state = random.getstate(), torch.get_rng_state()
    numpy_state = np.random.get_state()  # noqa: NPY002
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    with _action_space_seeded(getattr(policy, "action_space", None), seed):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
            torch.set_rng_state(torch_state)
            if cuda_states:
                torch.cuda.set_rng_state_all(cuda_states)


@contextmanager
def _action_space_seeded(space: gym.Space[Any] | None, seed: int) -> Iterator[None]:
    if space is None:
        yield
        return
    generator = space.np_random.bit_generator
    state = generator.state
    generator.state = type(generator)(seed).state
    try:
        yield
    finally:
        generator.state = state
