"""The wrapper that makes every episode of an env start from a known seed, and that can bring an open one back."""

import copy
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.core import ActType, ObsType
from stable_baselines3.common.monitor import Monitor

from rl_baselines.seeding import derive_seed

LASTING_STATE_METHODS = ("lasting_state", "set_lasting_state")


class EpisodeSeeds(gym.Wrapper[ObsType, ActType, ObsType, ActType]):
    """Seed every reset, and keep a journal of the open episode.

    Episode k of a sequence that began with ``reset(seed=s)`` starts from ``derive_seed(s, "episode", k)``; k is 0 in
    the reset that gave s and grows by one with each reset without a seed.

    The journal, the start seed and the actions since, is all it takes to come back to the middle of an episode: the
    env is started from the seed once more and the actions are repeated. That needs no knowledge of the simulator and
    brings ``TimeLimit``, ``Monitor`` and every other wrapper back with it. An env whose reset does not forget what was
    played before must offer that memory, as its unwrapped methods ``lasting_state()``, which gives nested JSON-ready
    values and arrays, and ``set_lasting_state(state)``.

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
        self._has_lasting_state = all(hasattr(env.unwrapped, name) for name in LASTING_STATE_METHODS)
        self._lasting_state: Any = None
        self._start_seed: int | None = None
        self._options: dict[str, Any] | None = None
        self._actions: list[Any] = []
        self._observation: Any = None

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
        return self._start(self._take_seed(), options)

    def _take_seed(self) -> int:
        if self._chosen_seeds:
            return self._chosen_seeds.popleft()
        episode = self.next_episode
        self.next_episode += 1
        return derive_seed(self.sequence_seed, "episode", episode)

    def _start(self, start_seed: int, options: dict[str, Any] | None) -> tuple[ObsType, dict[str, Any]]:
        self._lasting_state = self.memory()
        self._start_seed, self._options, self._actions = start_seed, options, []
        observation, info = self.env.reset(seed=start_seed, options=options)
        self._observation = observation
        return observation, info

    def step(self, action: ActType) -> tuple[ObsType, Any, bool, bool, dict[str, Any]]:
        """Take a step, and note the action."""
        self._actions.append(action.copy() if isinstance(action, np.ndarray) else action)
        result = self.env.step(action)
        self._observation = result[0]
        return result

    def episode_state(self) -> dict[str, Any]:
        """Give what `restore_episode` needs, as nested JSON-ready values and arrays.

        Its ``observation`` is the newest one, for the check that the env came back.
        """
        return {
            "sequence_seed": self.sequence_seed,
            "next_episode": self.next_episode,
            "chosen_seeds": list(self._chosen_seeds),
            "start_seed": self._start_seed,
            "options": self._options,
            "actions": np.stack(self._actions) if self._actions else [],
            "lasting_state": self._lasting_state,
            "observation": _nested(self._observation),
        }

    def restore_episode(self, state: Mapping[str, Any]) -> str | None:
        """Come back to where `episode_state` was taken.

        :return: why the env did not come back exactly; None when it did
        """
        self.sequence_seed, self.next_episode = state["sequence_seed"], state["next_episode"]
        self._chosen_seeds = deque(state["chosen_seeds"])
        if state["start_seed"] is None:
            return None
        self.set_memory(state["lasting_state"])
        with self._unrecorded():
            reason = self._repeat(state["start_seed"], state["options"], state["actions"])
        return reason or _observation_difference(_nested(self._observation), state["observation"])

    def memory(self) -> Any:
        """Give what the env remembers across episodes, as it is now; None when it offers nothing."""
        if not self._has_lasting_state:
            return None
        return copy.deepcopy(self.unwrapped.lasting_state())  # type: ignore[attr-defined]

    def set_memory(self, state: Any) -> None:
        """Let the env remember what `memory` gave."""
        if self._has_lasting_state:
            self.unwrapped.set_lasting_state(copy.deepcopy(state))  # type: ignore[attr-defined]

    def _repeat(self, start_seed: int, options: dict[str, Any] | None, actions: Sequence[Any]) -> str | None:
        """Play an episode again as far as its actions go, with a picture of the last moment only.

        :return: how far it got if it ended before
        """
        self._draw_pictures(not len(actions))
        try:
            self._start(start_seed, options)
            for index, action in enumerate(actions):
                self._draw_pictures(index == len(actions) - 1)
                terminated, truncated = self.step(action)[2:4]
                if terminated or truncated:
                    return f"its episode ended after {index + 1} of {len(actions)} repeated actions"
        finally:
            self._draw_pictures(True)
        return None

    def _draw_pictures(self, wanted: bool) -> None:
        """Spare an env that knows how to do without the pictures that nobody sees."""
        if hasattr(self.unwrapped, "draws_observations"):
            self.unwrapped.draws_observations = wanted

    @contextmanager
    def _unrecorded(self) -> Iterator[None]:
        """Keep an episode that ends while it is repeated out of the file of `Monitor`."""
        monitors, layer = [], self.env
        while isinstance(layer, gym.Wrapper):
            monitors += [(layer, layer.results_writer)] if isinstance(layer, Monitor) else []
            layer = layer.env
        for monitor, _ in monitors:
            monitor.results_writer = None
        try:
            yield
        finally:
            for monitor, writer in monitors:
                monitor.results_writer = writer


def _nested(observation: Any) -> Any:
    if isinstance(observation, Mapping):
        return {key: _nested(part) for key, part in observation.items()}
    if isinstance(observation, tuple):
        return [_nested(part) for part in observation]
    return None if observation is None else np.array(observation)


def _observation_difference(found: Any, expected: Any) -> str | None:
    if isinstance(expected, Mapping):
        return next(filter(None, (_observation_difference(found[key], expected[key]) for key in expected)), None)
    if isinstance(expected, list):
        pairs = zip(found, expected, strict=True)
        return next(filter(None, (_observation_difference(one, other) for one, other in pairs)), None)
    differs = (found != expected) & ~(np.isnan(found) & np.isnan(expected))
    if not differs.any():
        return None
    gaps = np.abs(np.subtract(found, expected, dtype=np.float64)[differs])
    largest = np.nan_to_num(gaps, nan=np.inf).max()
    return f"its observation after the same seed and actions differs by up to {largest:.3g}"
