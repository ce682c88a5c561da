"""What can be seen of one episode of an evaluation: where the robot went, and a picture of the end."""

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from environments.robot_env import RobotEnv

PICTURE_SIZE = 256


@dataclass(frozen=True, eq=False)
class Watched:
    """One episode.

    :param points: float64, (n, d), positions of the robot in metres along x, y and perhaps z, the start first
    :param target: float64, (d,), likewise, at the end
    :param pixels: uint8, (size, size, 3), the last moment
    """

    points: np.ndarray
    target: np.ndarray
    pixels: np.ndarray


class WatchedEpisode(gym.Wrapper[Any, Any, Any, Any]):
    """Watches the first episode that ends; a reset before its end begins anew. It changes nothing.

    :param env: one of our robots, perhaps wrapped
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._points: list[np.ndarray] = []
        self._watched: Watched | None = None

    @property
    def _robot_env(self) -> RobotEnv:
        assert isinstance(self.unwrapped, RobotEnv)
        return self.unwrapped

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        result = self.env.reset(**kwargs)
        self._points = [np.array(self._robot_env.robot_position)]
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Make a step, and look."""
        result = self.env.step(action)
        if self._watched is None:
            env = self._robot_env
            self._points.append(np.array(env.robot_position))
            if result[2] or result[3]:
                self._watched = Watched(
                    np.array(self._points), np.array(env.target_position), env.picture(PICTURE_SIZE)
                )
        return result

    def take_watched(self) -> Watched | None:
        """Give the episode that was watched, if one has ended since the last call; the next one is watched then."""
        watched, self._watched = self._watched, None
        return watched


def watch(env: DummyVecEnv) -> None:
    """Watch the first environment of several, if it is one of our robots."""
    if isinstance(env.envs[0].unwrapped, RobotEnv):
        env.envs[0] = WatchedEpisode(env.envs[0])


def take_watched(env: VecEnv) -> Watched | None:
    """Give the episode that was watched in the first environment, if there is one."""
    base = env.unwrapped
    first = base.envs[0] if isinstance(base, DummyVecEnv) else None
    return first.take_watched() if isinstance(first, WatchedEpisode) else None
