"""Play episodes and record them. What an episode is follows from the seed and its index alone, not from other ones."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces

from environments.dataset import Episode
from environments.robot_env import RobotEnv

SEED_LIMIT = 2**31
NOTHING: Mapping[str, np.ndarray] = {}


class Policy(Protocol):
    """What acts in episodes that are recorded."""

    def begin(self, seed: int) -> None:
        """Begin an episode, in which all that it draws derives from a seed.

        :param seed: in [0, 2**31)
        """

    def act(self, observation: np.ndarray) -> tuple[Any, Mapping[str, np.ndarray]]:
        """Give the action to take, and the parameters of the distribution it comes from.

        :param observation: as the environment gave it
        :return: an element of the action space; float32 arrays (size,) or () by the names of ``Episode.teacher``, the
            same names in every step
        """


class RandomPolicy:
    """Draws actions uniformly.

    :param action_space: of the environment; a copy of it draws
    """

    def __init__(self, action_space: spaces.Space[Any]) -> None:
        self._action_space = copy.deepcopy(action_space)

    def begin(self, seed: int) -> None:
        """Begin an episode."""
        self._action_space.seed(seed)

    def act(self, observation: np.ndarray) -> tuple[Any, Mapping[str, np.ndarray]]:
        """Give any action."""
        return self._action_space.sample(), NOTHING


class Walker:
    """Leads one of our robots towards its target by a script, and acts at random in the other steps.

    :param env: one of our robots
    :param proportion: share of the steps in which the script acts, within [0, 1]; each step draws for itself
    :raises ValueError: for another environment, another share, or where a wrapper has changed the actions
    """

    def __init__(self, env: gymnasium.Env[Any, Any], proportion: float = 1.0) -> None:
        if not isinstance(env.unwrapped, RobotEnv):
            name = env.spec.id if env.spec is not None else str(env)
            raise ValueError(f"only our own robots can be led towards a target, and {name} is none of them")
        if not 0 <= proportion <= 1:
            raise ValueError(f"the proportion of steps towards the target lies between 0 and 1, got {proportion:g}")
        if env.action_space != env.unwrapped.action_space:
            raise ValueError("a robot whose actions a wrapper has changed cannot be led towards its target")
        self._robot_env = env.unwrapped
        self._proportion = proportion
        self._otherwise = RandomPolicy(env.action_space)
        self._rng = np.random.default_rng(0)

    def begin(self, seed: int) -> None:
        """Begin an episode."""
        self._otherwise.begin(seed)
        self._rng = np.random.default_rng((seed, 1))

    def act(self, observation: np.ndarray) -> tuple[Any, Mapping[str, np.ndarray]]:
        """Give the action that leads towards the target, or any other."""
        if self._rng.random() < self._proportion:
            return self._robot_env.walker_action(), NOTHING
        return self._otherwise.act(observation)


def episode_seeds(seed: int, index: int) -> tuple[int, int]:
    """Derive what an episode starts from, and what its policy begins with: two numbers in [0, 2**31).

    :param seed: of all episodes, not negative
    :param index: of this one
    """
    first, second = np.random.SeedSequence((seed, index)).generate_state(2).tolist()
    return first % SEED_LIMIT, second % SEED_LIMIT


def record(
    env: gymnasium.Env[Any, Any], policy: Policy, seed: int, index: int = 0, on_step: Callable[[], None] | None = None
) -> Episode:
    """Play one episode to its end and give it; its origin is 0.

    :param env: whose reset with a seed decides the whole episode, together with the actions
    :param policy: what acts
    :param seed: of all episodes
    :param index: of this one
    :param on_step: called after each step
    """
    start_seed, policy_seed = episode_seeds(seed, index)
    track = _Track(env)
    observation, _ = env.reset(seed=start_seed)
    policy.begin(policy_seed)
    track.look(observation)
    terminated = truncated = False
    info: dict[str, Any] = {}
    while not (terminated or truncated):
        action, parameters = policy.act(observation)
        observation, reward, terminated, truncated, info = env.step(action)
        track.add(action, float(reward), parameters)
        track.look(observation)
        if on_step is not None:
            on_step()
    success = info.get("is_success")
    return track.episode(bool(terminated), bool(truncated), start_seed, None if success is None else bool(success))


@dataclass
class _Track:
    """What has happened in an episode so far."""

    env: gymnasium.Env[Any, Any]

    def __post_init__(self) -> None:
        robot_env = self.env.unwrapped
        self._robot_env = robot_env if isinstance(robot_env, RobotEnv) else None
        self._observations: list[np.ndarray] = []
        self._places: list[tuple[np.ndarray, np.ndarray]] = []
        self._actions: list[np.ndarray] = []
        self._rewards: list[float] = []
        self._parameters: list[Mapping[str, np.ndarray]] = []

    def look(self, observation: np.ndarray) -> None:
        """Take in a state."""
        self._observations.append(np.array(observation))
        if self._robot_env is None:
            self._places.append((np.zeros(0), np.zeros(0)))
        else:
            self._places.append((self._robot_env.robot_position, self._robot_env.target_position))

    def add(self, action: Any, reward: float, parameters: Mapping[str, np.ndarray]) -> None:
        """Take in a step."""
        self._actions.append(np.array(action, self.env.action_space.dtype))
        self._rewards.append(reward)
        self._parameters.append(parameters)

    def episode(self, terminated: bool, truncated: bool, start_seed: int, success: bool | None) -> Episode:
        """Give the whole of it."""
        ground_truth, target = (np.array(places, np.float32) for places in zip(*self._places, strict=True))
        names = self._parameters[0]
        return Episode(
            observations=np.stack(self._observations),
            actions=np.stack(self._actions),
            rewards=np.array(self._rewards, np.float64),
            terminated=terminated,
            truncated=truncated,
            ground_truth=ground_truth,
            target=target,
            start_seed=start_seed,
            teacher={name: np.stack([step[name] for step in self._parameters]) for name in names},
            success=success,
        )
