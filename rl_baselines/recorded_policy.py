"""A trained policy as what acts in episodes that are recorded, with what it thinks of every state."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecTransposeImage
from stable_baselines3.common.vec_env.base_vec_env import VecEnvWrapper

from environments.robot_env import RobotEnv
from rl_baselines.errors import UsageError
from rl_baselines.layers import Layer
from rl_baselines.model_building import load_to_act
from rl_baselines.representations import EncodedVecEnv
from rl_baselines.retention.policy_outputs import action_parameters, output_kind, state_values
from rl_baselines.sources import Source

NEEDS_MASKS = ("maskable_ppo",)


class RecordedPolicy:
    """Acts by a saved policy, one state at a time, so that nothing depends on what is played beside it.

    It takes raw observations of one environment: what was around the environments that the policy was trained in, a
    frame stack, image transposition and normalization, it does itself. What is random is drawn from the global
    generators, which `begin` seeds: it belongs into a process where nothing else draws.

    :param source: the saved policy
    :param layers: its settings and above them what was asked for, which decide the environment
    :param deterministic: whether it takes its most likely action
    :param sees: where the policy takes another observation than the one that is recorded, the robot that it acts in
        and the kind that it takes; None where it takes the recorded one
    :raises UsageError: when policy and environment do not go together
    """

    def __init__(
        self, source: Source, layers: Sequence[Layer], deterministic: bool, sees: tuple[RobotEnv, str] | None = None
    ) -> None:
        if source.algorithm in NEEDS_MASKS:
            raise UsageError(f"{source} is a model of {source.algorithm}, which needs masks that datasets do not hold")
        torch.set_num_threads(1)  # the same sums on every machine, and workers are forked from this process
        self._model, env = load_to_act(source, list(layers), 1)
        env.close()
        self._policy = self._model.policy
        self._policy.set_training_mode(False)
        self._stages = _stages(env)
        self._deterministic = deterministic
        self._sees = sees
        self._kind = output_kind(self._policy)
        self._state: Any = None
        self._is_first = True

    @property
    def teacher(self) -> dict[str, Any] | None:
        """What the parameters mean, for ``Origin.teacher``; None where the policy has none that a state decides."""
        if self._kind is None:
            return None
        return {name: list(value) if name == "sizes" else value for name, value in asdict(self._kind).items()}

    def begin(self, seed: int) -> None:
        """Begin an episode."""
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  Stable-Baselines3 draws from it
        torch.manual_seed(seed)
        self._model.action_space.seed(seed)
        if getattr(self._model, "use_sde", False):
            self._policy.reset_noise(1)  # type: ignore[operator]
        self._state, self._is_first = None, True

    def act(self, observation: np.ndarray) -> tuple[Any, Mapping[str, np.ndarray]]:
        """Give the policy's action, the parameters of its distribution and its value of the state."""
        if self._sees is not None:
            robot, kind = self._sees
            observation = robot.observation_of(kind)
        batch: Any = observation[None]
        for stage in self._stages:
            batch = _through(stage, batch, self._is_first)
        start = np.array([self._is_first])
        actions, self._state = self._model.predict(batch, self._state, start, self._deterministic)
        self._is_first = False
        return actions[0], self._parameters(batch)

    def _parameters(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        if self._kind is None:
            return {}
        with torch.no_grad():
            inputs = self._policy.obs_to_tensor(batch)[0]
            outputs = {**action_parameters(self._policy, inputs), "values": state_values(self._policy, inputs)}
        return {name: tensor[0].cpu().numpy().astype(np.float32) for name, tensor in outputs.items()}


def _stages(env: VecEnv) -> list[VecEnvWrapper]:
    """Give the wrappers around vectorized environments, the innermost first."""
    found: list[VecEnvWrapper] = []
    while isinstance(env, VecEnvWrapper):
        found.insert(0, env)
        env = env.venv
    return found


def _through(stage: VecEnvWrapper, batch: np.ndarray, is_first: bool) -> Any:
    """Give what a wrapper makes of observations."""
    if isinstance(stage, VecFrameStack):
        if is_first:
            return stage.stacked_obs.reset(batch)
        return stage.stacked_obs.update(batch, np.array([False]), [{}])[0]
    if isinstance(stage, EncodedVecEnv):
        return stage.model.encode(batch)
    if isinstance(stage, VecTransposeImage):
        return stage.transpose_observations(batch)
    return stage.normalize_obs(batch)
