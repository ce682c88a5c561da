"""The wrapper that makes every episode of an env start from a known seed."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
from gymnasium.core import ActType, ObsType

from rl_baselines.seeding import derive_seed


class EpisodeSeeds(gym.Wrapper[ObsType, ActType, ObsType, ActType]):
    """Seed every reset, so that (seed of the sequence, number of the episode) decides how an episode starts.

    Episode k of a sequence that began with ``reset(seed=s)`` starts from ``derive_seed(s, "episode", k)``; k is 0 in
    the reset that gave s and grows by one with each reset without a seed. That pair is all the state, so a sequence
    goes on after ``sequence_seed`` and ``next_episode`` are set.

    It is the outermost wrapper, outside ``Monitor`` too: what lies inside sees seeded resets only. Wrappers around it
    work as long as they hand ``seed`` and ``options`` on, as ``Monitor`` does.

    :param env: the env; its own ``reset(seed=...)`` must decide the whole episode
    :param seed: the seed of the sequence before a first ``reset(seed=...)``
    """

    def __init__(self, env: gym.Env[ObsType, ActType], seed: int) -> None:
        super().__init__(env)
        self.sequence_seed = int(seed)
        self.next_episode = 0
        self._chosen_seeds: deque[int] = deque()

    def start_episodes_at(self, seeds: Sequence[int]) -> None:
        """Start the next episodes from exactly these seeds, in turn; the sequence of derived seeds goes on after them.

        They go before a seed given to ``reset``, which then begins the sequence that follows them. Seeds that an
        earlier call left unused are dropped.

        :param seeds: one for each of the next resets
        """
        self._chosen_seeds = deque(int(seed) for seed in seeds)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ObsType, dict[str, Any]]:
        """Start the next episode.

        :param seed: begins a new sequence of episodes
        :param options: handed on to the env
        """
        if seed is not None:
            self.sequence_seed, self.next_episode = int(seed), 0
        return self.env.reset(seed=self._take_seed(), options=options)

    def _take_seed(self) -> int:
        if self._chosen_seeds:
            return self._chosen_seeds.popleft()
        episode = self.next_episode
        self.next_episode += 1
        return derive_seed(self.sequence_seed, "episode", episode)
