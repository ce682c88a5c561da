"""Learnt representations in trainings: pictures are encoded before anything else sees them, and the encoder travels.

A run keeps a copy of its encoder, and so does each of its checkpoints; its configuration names the copy.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from environments.durable import link_or_copy, replace_file
from environments.registry import ENVIRONMENTS
from rl_baselines.checkpoint import hash_of
from rl_baselines.config import EnvironmentConfig
from rl_baselines.errors import UsageError
from rl_baselines.machine import find_device
from rl_baselines.run_folder import short
from state_representation.model import RECORD_NAME, WEIGHTS_NAME, Description, StateModel, read_description
from state_representation.objectives import RepresentationError
from state_representation.registry import STATE_REPRESENTATIONS

FOLDER_NAME = "representation"
SETTING = "srl_model_path"
OF_PICTURES = ("multi_view", "image_size", "camera_yaw", "camera_pitch", "camera_distance", "camera_fov")
"""Options of an environment that an encoder's pictures were taken with."""


def describe(folder: str) -> Description:
    """Read what a folder says of its representation.

    :raises UsageError: when it holds none
    """
    try:
        return read_description(Path(folder))
    except RepresentationError as error:
        raise UsageError(f"--srl-model-path: {error}") from None


def settle_representation(environment: EnvironmentConfig) -> tuple[str, dict[str, Any]]:
    """Give the key of an environment's representation, and its options with pictures as the encoder takes them.

    :param environment: with the folder of a representation, perhaps with a key of its own
    :raises UsageError: when its key is that of something else
    """
    assert environment.srl_model_path is not None
    description = describe(environment.srl_model_path)
    key = environment.srl_model or description.key
    if key in STATE_REPRESENTATIONS:
        raise UsageError(f"--srl-model {key} is not learnt, and --srl-model-path names what is; give one of them")
    if environment.env not in ENVIRONMENTS:
        return key, dict(environment.env_kwargs)
    known = {name: value for name, value in description.env_kwargs.items() if name in OF_PICTURES}
    return key, {**known, **environment.env_kwargs, "observation": "raw_pixels"}


def encoded_space(environment: EnvironmentConfig, space: gym.spaces.Space[Any]) -> gym.spaces.Space[Any]:
    """Give the space of what a policy observes.

    :param space: of what the environment gives
    :raises UsageError: when these are no pictures that the encoder takes
    """
    if environment.srl_model_path is None:
        return space
    description = describe(environment.srl_model_path)
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8 or space.shape != description.image_shape:
        raise UsageError(
            f"--srl-model-path {environment.srl_model_path} encodes pictures of {description.image_shape}, uint8; "
            f"{environment.env} gives {space}"
        )
    return spaces.Box(-np.inf, np.inf, (description.state_dim,), np.float32)


class EncodedVecEnv(VecEnvWrapper):
    """Gives states in the place of pictures: one batched forward for all environments, with the last pictures of
    episodes that have just ended.

    :param venv: gives pictures, uint8, (n_envs, height, width, channels)
    :param model: encodes them
    """

    def __init__(self, venv: VecEnv, model: StateModel) -> None:
        super().__init__(venv, spaces.Box(-np.inf, np.inf, (model.description.state_dim,), np.float32))
        self.model = model

    def reset(self) -> np.ndarray:
        """Begin episodes, and give their first states: float32, (n_envs, state_dim)."""
        return self.model.encode(np.asarray(self.venv.reset()))

    def step_wait(self) -> VecEnvStepReturn:
        """Give the states after a step; those in ``terminal_observation`` are encoded too."""
        pictures, rewards, dones, infos = self.venv.step_wait()
        ended = [info for info in infos if "terminal_observation" in info]
        last = [info["terminal_observation"] for info in ended]
        states = self.model.encode(np.stack([*np.asarray(pictures), *last]))
        for info, state in zip(ended, states[len(infos) :], strict=True):
            info["terminal_observation"] = state
        return states[: len(infos)], rewards, dones, infos


def encode(env: VecEnv, environment: EnvironmentConfig, device: str) -> VecEnv:
    """Put the encoder of an environment around its vector environment, where it has one.

    :raises UsageError: when it cannot be read
    """
    if environment.srl_model_path is None:
        return env
    try:
        model = StateModel.load(environment.srl_model_path, find_device(device))
    except RepresentationError as error:
        raise UsageError(f"--srl-model-path: {error}") from None
    return EncodedVecEnv(env, model)


def keep_copy(run: Path, source: str) -> str:
    """Copy a representation into the folder of a run, forced to disk, and give the path of the copy.

    :raises UsageError: when it cannot be read
    """
    target = run / FOLDER_NAME
    target.mkdir()
    for name in (RECORD_NAME, WEIGHTS_NAME):
        try:
            content = (Path(source) / name).read_bytes()
        except OSError as error:
            raise UsageError(f"--srl-model-path: cannot read {Path(source) / name}: {error.strerror}") from None
        replace_file(target / name, content)
    return str(target)


def send_along(run: Path, checkpoint: Path) -> None:
    """Put the copy that a run keeps into the folder of a checkpoint too."""
    target = checkpoint / FOLDER_NAME
    target.mkdir()
    for name in (RECORD_NAME, WEIGHTS_NAME):
        link_or_copy(run / FOLDER_NAME / name, target / name)


def with_own_copy(settings: Mapping[str, Any], *places: Path) -> dict[str, Any]:
    """Give settings that name the copy of the encoder that lies beside a model, wherever that was moved.

    :param settings: of a run
    :param places: where a copy may lie, the first that is there is taken
    """
    found = dict(settings)
    if found.get(SETTING) is not None:
        there = (place / FOLDER_NAME for place in places)
        found[SETTING] = next((str(place) for place in there if (place / RECORD_NAME).is_file()), found[SETTING])
    return found


def identity_of(folder: str) -> str | None:
    """Give a name for the weights of a representation, the same wherever they are copied; None where they are gone."""
    path = Path(folder) / WEIGHTS_NAME
    return hash_of(path) if path.is_file() else None


def check_together(parents: str | None, own: str | None, source: str) -> None:
    """Refuse a policy in front of another encoder than that which it has learnt with.

    :param parents: the folder of the source's encoder; where it is gone nothing can be said
    :param own: that of the fine-tune
    :param source: how the source is called
    :raises UsageError: in one line
    """
    if parents is None or own is None or parents == own:
        return
    if identity_of(parents) not in (None, identity_of(own)):
        raise UsageError(
            f"the policy of {source} does not belong to the encoder of --srl-model-path {own}: it has learnt with that "
            f"of {short(Path(parents))}, which a fine-tune takes over; leave --srl-model-path out"
        )
