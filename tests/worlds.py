"""Worlds that a representation can learn: pictures that follow from a position, recorded as a dataset."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from environments.dataset import Dataset, Episode, Origin
from environments.dataset_folder import write_dataset
from environments.space_records import record_space

MOVES = np.array([[0.1, 0], [-0.1, 0], [0, 0.1], [0, -0.1]], np.float32)


def linear_picture(position: np.ndarray, n_channels: int = 3) -> np.ndarray:
    """A picture 8 x 8 whose left half is as bright as x is large and whose right half as y is, both within [0, 1]."""
    picture = np.empty((8, 8, n_channels), np.uint8)
    picture[:, :4] = round(255 * float(position[0]))
    picture[:, 4:] = round(255 * float(position[1]))
    return picture


def square_picture(position: np.ndarray, n_channels: int = 3) -> np.ndarray:
    """A picture 16 x 16, black but for a bright square at the position; a second camera sees it in mirror image."""
    picture = np.zeros((16, 16, 3), np.uint8)
    row, column = (round(float(value) * 12) for value in position)
    picture[row : row + 4, column : column + 4] = 255
    return np.concatenate([picture, picture[:, ::-1]], axis=2)[..., :n_channels]


def record_world(
    folder: Path,
    picture: Callable[..., np.ndarray] = square_picture,
    n_episodes: int = 6,
    n_steps: int = 25,
    n_channels: int = 3,
    continuous: bool = False,
    ground_truth_known: bool = True,
    **changes: Any,
) -> Dataset:
    """Write episodes of a point that is moved at random; the reward is 1 where x is above 0.7, -1 below 0.3, else 0."""
    rng = np.random.default_rng(0)
    episodes = []
    for index in range(n_episodes):
        position = rng.uniform(0, 1, 2).astype(np.float32)
        positions, actions, rewards = [position], [], []
        for _ in range(n_steps):
            action: Any = rng.uniform(-0.1, 0.1, 2).astype(np.float32) if continuous else int(rng.integers(4))
            position = np.clip(position + (action if continuous else MOVES[action]), 0, 1)
            actions.append(action)
            positions.append(position)
            rewards.append(float(position[0] > 0.7) - float(position[0] < 0.3))
        episodes.append(
            Episode(
                observations=np.stack([picture(place, n_channels) for place in positions]),
                actions=np.array(actions, np.float32 if continuous else np.int64),
                rewards=np.array(rewards, np.float64),
                terminated=False,
                truncated=True,
                ground_truth=np.stack(positions) if ground_truth_known else np.zeros((n_steps + 1, 0), np.float32),
                target=np.full((n_steps + 1, 2), 0.5, np.float32),
                start_seed=index,
            )
        )
    shape = episodes[0].observations.shape[1:]
    actions_of = spaces.Box(-0.1, 0.1, (2,), np.float32) if continuous else spaces.Discrete(4)
    values: dict[str, Any] = {
        "env_id": "World-v0",
        "env_kwargs": {},
        "observation_space": record_space(spaces.Box(0, 255, shape, np.uint8)),
        "action_space": record_space(actions_of),
        "policy": {"kind": "random"},
    }
    return write_dataset(folder, [Origin(**{**values, **changes})], episodes)
