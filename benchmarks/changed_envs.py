"""Environments of the benchmarks, registered on import: ``--gym-packages changed_envs``."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from environments.camera import Vector
from environments.dynamics import DynamicsSettings
from environments.options import EnvOptions, Settings
from environments.registry import MOBILE_CAMERAS
from environments.robot_env import RobotEnv
from environments.robots.mobile import ARENA_SIDE_M, MobileRobot
from environments.tasks.reach_target import ReachTarget

PLACES: dict[str, Vector] = {"a": (3.2, 2.0, 0.0), "b": (0.8, 2.0, 0.0)}
LABEL_SIZE = 0.2
"""Small beside the positions: a policy that tells the places apart at once learns one without touching the other."""


class LongerPole(CartPoleEnv):
    """CartPole with another pole of the same mass.

    :param half_length_m: from the joint to the centre of mass; CartPole's own is 0.5
    """

    def __init__(self, half_length_m: float = 0.5, render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode)
        self.length = half_length_m
        self.polemass_length = self.masspole * half_length_m


class PlaceAndLabel(gym.ObservationWrapper[np.ndarray, Any, np.ndarray]):
    """The robot's absolute position, from -1 to 1 over the square, and a label of the place to go to: float32, (4,).

    The target itself is not observed: where a place lies has to be learned, and can be forgotten.

    :param env: a robot on the square
    :param label: index of the place
    """

    def __init__(self, env: RobotEnv, label: int) -> None:
        super().__init__(env)
        self._label = LABEL_SIZE * np.eye(len(PLACES), dtype=np.float32)[label]
        self.observation_space = spaces.Box(-1.0, 1.0, (2 + len(PLACES),), np.float32)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """Give the absolute position and the label in place of the relative position."""
        position = self.unwrapped.robot_position / (ARENA_SIDE_M / 2) - 1.0  # type: ignore[attr-defined]
        return np.concatenate([position, self._label], dtype=np.float32)


def make_place(place: str = "a", max_steps: int = 60, render_mode: str | None = None) -> gym.Env[np.ndarray, Any]:
    """Build the mobile robot with a dense reward for being at one of two places, opposite each other.

    :param place: a or b
    :param max_steps: of an episode; the way to a place takes up to 30
    """
    options = EnvOptions(shape_reward=True, max_steps=max_steps, render_mode=render_mode)
    task = ReachTarget(options, Settings())
    task.target = PLACES[place]
    env = RobotEnv(MobileRobot(options, Settings()), task, options, DynamicsSettings(), MOBILE_CAMERAS)
    return PlaceAndLabel(env, sorted(PLACES).index(place))


class MotorGains(gym.ActionWrapper[np.ndarray, np.ndarray, np.ndarray]):
    """Multiplies what a robot is told along each axis.

    :param env: a robot with continuous actions
    :param gains: of the axes
    """

    def __init__(self, env: RobotEnv, gains: tuple[float, float]) -> None:
        super().__init__(env)
        self._gains = np.array(gains, np.float32)

    def action(self, action: np.ndarray) -> np.ndarray:
        """Give the action that the robot carries out, clipped to its space."""
        return np.clip(self._gains * action, -1.0, 1.0)


def make_gains(
    gain_x: float = 1.0, gain_y: float = 1.0, max_steps: int = 60, render_mode: str | None = None
) -> gym.Env[np.ndarray, np.ndarray]:
    """Build the mobile robot with a dense reward for being near a target that lies elsewhere in every episode.

    :param gain_x: what its motor along x makes of an action
    :param gain_y: likewise along y
    """
    options = EnvOptions(
        is_discrete=False, shape_reward=True, random_target=True, max_steps=max_steps, render_mode=render_mode
    )
    robot, task = MobileRobot(options, Settings()), ReachTarget(options, Settings())
    env = RobotEnv(robot, task, options, DynamicsSettings(), MOBILE_CAMERAS)
    return MotorGains(env, (gain_x, gain_y))


gym.register("LongerPole-v0", entry_point="changed_envs:LongerPole", max_episode_steps=500)
gym.register("MobileRobotGains-v0", entry_point="changed_envs:make_gains")
gym.register("MobileRobotPlace-v0", entry_point="changed_envs:make_place")
