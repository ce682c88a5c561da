"""The pictures of recorded datasets as a representation learns from them: held in memory as bytes, split by episode."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gymnasium import spaces

from environments.dataset import Dataset
from state_representation.metrics import varies
from state_representation.networks import ImageShape
from state_representation.objectives import RepresentationError

AXES = "xyz"


@dataclass(frozen=True, eq=False)
class Frames:
    """Recorded episodes, one after the other.

    :param images: uint8, (n_frames, height, width, channels)
    :param truths: float32, (n_frames, truth_dim), what varies of the positions of robot and target, metres
    :param truth_names: of its elements
    :param episodes: int64, (n_frames,), the number of the episode that each frame is of
    :param starts: int64, (n_transitions,), the frame before each transition; the one after it is the next frame
    :param actions: int64, (n_transitions,), or float32, (n_transitions, action_dim)
    :param rewards: float32, (n_transitions,)
    :param n_actions: of discrete actions; None for continuous ones
    :param env_id: of the environment
    :param env_kwargs: its options
    :param sha256: of all episodes
    """

    images: np.ndarray
    truths: np.ndarray
    truth_names: tuple[str, ...]
    episodes: np.ndarray
    starts: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    n_actions: int | None
    env_id: str
    env_kwargs: dict[str, object]
    sha256: str

    @property
    def shape(self) -> ImageShape:
        """The shape of a picture: height, width, channels."""
        height, width, n_channels = self.images.shape[1:]
        return height, width, n_channels

    @property
    def action_dim(self) -> int:
        """The number of elements of an action."""
        return 1 if self.actions.ndim == 1 else self.actions.shape[1]

    @classmethod
    def read(cls, folders: Sequence[Path], max_frames: int | None = None) -> "Frames":
        """Read datasets of pictures into memory.

        :param max_frames: after so many no further episode is read; None reads all of them
        :raises DatasetError: when one cannot be read
        :raises RepresentationError: when they hold no pictures, or do not go together
        """
        datasets = [Dataset.open(folder) for folder in folders]
        n_actions = _check(datasets)
        wanted = list(_until(_in_turn(datasets), max_frames))
        ends = np.cumsum([dataset.entries[index].n_steps + 1 for dataset, index in wanted])
        space = datasets[0].origins[0].spaces[0]
        images = np.empty((ends[-1], *(space.shape or ())), np.uint8)
        parts: list[tuple[np.ndarray, ...]] = []
        digest = hashlib.sha256()
        for (dataset, index), end in zip(wanted, ends, strict=True):
            episode = dataset.episode(index)
            digest.update(dataset.entries[index].sha256.encode())
            images[end - len(episode.observations) : end] = episode.observations
            parts.append((episode.ground_truth, episode.target, episode.actions, episode.rewards))
        places, targets, actions, rewards = (np.concatenate(found) for found in zip(*parts, strict=True))
        truths, names = _varying({"robot": places, "target": targets})
        origin = datasets[0].origins[0]
        return cls(
            images=images,
            truths=truths,
            truth_names=names,
            episodes=np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0)),
            starts=np.setdiff1d(np.arange(ends[-1]), ends - 1),
            actions=actions.astype(np.float32) if n_actions is None else actions.astype(np.int64),
            rewards=rewards.astype(np.float32),
            n_actions=n_actions,
            env_id=origin.env_id,
            env_kwargs=dict(origin.env_kwargs),
            sha256=digest.hexdigest(),
        )

    def split(self, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Keep whole episodes apart, one at least: no frame of an episode that is learnt from is held out.

        :param share: of the episodes that is kept apart
        :param seed: of the draw
        :return: the transitions to learn from and those kept apart, indices into `starts`
        :raises RepresentationError: for a single episode
        """
        n_episodes = int(self.episodes[-1]) + 1
        if n_episodes < 2:
            raise RepresentationError("one episode cannot be split: record two or more, one is kept for validation")
        n_apart = min(n_episodes - 1, max(1, round(share * n_episodes)))
        apart = np.random.default_rng((seed, 0)).permutation(n_episodes)[:n_apart]
        is_apart = np.isin(self.episodes[self.starts], apart)
        return np.flatnonzero(~is_apart), np.flatnonzero(is_apart)


def _check(datasets: Sequence[Dataset]) -> int | None:
    """Refuse what is no pictures and what cannot lie side by side; give the number of discrete actions, if they are."""
    first = datasets[0].origins[0]
    for dataset in datasets:
        for origin in dataset.origins:
            for what in ("observation_space", "action_space", "env_id"):
                ours, theirs = getattr(first, what), getattr(origin, what)
                if ours != theirs:
                    raise RepresentationError(
                        f"{datasets[0].path} and {dataset.path} differ in {what.replace('_', ' ')}: {ours} and {theirs}"
                    )
    observation_space, action_space = first.spaces
    shape = observation_space.shape
    if observation_space.dtype != np.uint8 or shape is None or len(shape) != 3:
        raise RepresentationError(
            f"a representation is learnt from pictures, and {datasets[0].path} holds {observation_space}; record it "
            "with --srl-model raw_pixels"
        )
    if isinstance(action_space, spaces.Discrete) and action_space.start == 0:
        return int(action_space.n)
    if not isinstance(action_space, spaces.Box) or len(action_space.shape) != 1:
        raise RepresentationError(f"actions must be Discrete from 0 or Box, {datasets[0].path} has {action_space}")
    return None


def _in_turn(datasets: Sequence[Dataset]) -> Iterator[tuple[Dataset, int]]:
    """Yield the episodes of all datasets: the first of each, then the second of each, and so on."""
    for index in range(max(map(len, datasets))):
        for dataset in datasets:
            if index < len(dataset):
                yield dataset, index


def _until(episodes: Iterator[tuple[Dataset, int]], max_frames: int | None) -> Iterator[tuple[Dataset, int]]:
    """Yield episodes until there are enough frames, two episodes at least."""
    n_frames = 0
    for n_before, (dataset, index) in enumerate(episodes):
        if max_frames is not None and n_frames >= max_frames and n_before >= 2:
            return
        n_frames += dataset.entries[index].n_steps + 1
        yield dataset, index


def _varying(positions: Mapping[str, np.ndarray]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Give side by side the elements that are not the same in all frames, float32, and their names."""
    columns = {
        f"{name} {axis}": values[:, index]
        for name, values in positions.items()
        for index, axis in zip(range(values.shape[1]), AXES, strict=False)
    }
    kept = {name: values for name, values in columns.items() if varies(values[:, None])[0]}
    n_frames = len(next(iter(positions.values())))
    return np.stack([*kept.values()], axis=1) if kept else np.zeros((n_frames, 0), np.float32), tuple(kept)
