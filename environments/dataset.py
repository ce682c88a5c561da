"""Recorded episodes on disk: what one holds, and the folder that holds many.

::

    DIR/dataset.json          what was recorded and by whom, and every episode with its hash; written last
    DIR/episodes/000000.npz   one file for each episode, compressed without loss

A folder without ``dataset.json`` is not finished. Nothing is pickled. The same episode always gives the same bytes.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from environments.dataset_origin import DatasetError, Origin

FORMAT = 1
INDEX_NAME, EPISODES_NAME, PLAN_NAME = "dataset.json", "episodes", "recording.json"
TEACHER_PREFIX = "teacher."
_ARRAYS = ("observations", "actions", "rewards", "ground_truth", "target")
_SUCCESS_CODES = {None: -1, False: 0, True: 1}


@dataclass(frozen=True, eq=False)
class Episode:
    """One episode of T steps.

    :param observations: (T + 1, ...), as the environment gives them: pictures are uint8, (height, width, channels)
    :param actions: (T, ...), as the environment takes them: int64 or float32
    :param rewards: float64, (T,)
    :param terminated: whether the last step ended the task
    :param truncated: whether a limit ended the episode after the last step
    :param ground_truth: float32, (T + 1, k), the robot's position in world metres; k = 0 where nothing is known of it
    :param target: float32, (T + 1, m), the target's position likewise
    :param start_seed: that the environment was reset with
    :param origin: index of its ``Origin`` in the dataset
    :param teacher: float32, (T, size), the parameters of the action distribution of the policy that was asked at each
        step, by the names that belong to ``Origin.teacher``; and ``values``, (T,), where it values states
    :param success: whether it ended as a success; None where the environment does not tell
    :raises DatasetError: when the arrays do not go together
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: bool
    truncated: bool
    ground_truth: np.ndarray
    target: np.ndarray
    start_seed: int
    origin: int = 0
    teacher: Mapping[str, np.ndarray] = field(default_factory=dict)
    success: bool | None = None

    def __post_init__(self) -> None:
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {f"teacher {name}": array for name, array in self.teacher.items()}
        n_steps = len(self.rewards)
        for name, array in arrays.items():
            expected = n_steps + (name in ("observations", "ground_truth", "target"))
            if len(array) != expected:
                raise DatasetError(f"an episode of {n_steps} steps needs {expected} {name}, got {len(array)}")
        if n_steps < 1 or self.rewards.dtype != np.float64 or self.rewards.ndim != 1:
            raise DatasetError(f"rewards must be float64, (T,), T > 0, got {self.rewards.dtype} {self.rewards.shape}")

    @property
    def n_steps(self) -> int:
        """The number of steps, T."""
        return len(self.rewards)


@dataclass(frozen=True)
class EpisodeEntry:
    """What ``dataset.json`` says of one episode.

    :param origin: index of its origin
    :param n_steps: its steps
    :param sha256: of its file
    """

    origin: int
    n_steps: int
    sha256: str


class Dataset:
    """A finished folder of episodes; `open` gives it.

    :param path: the folder
    :param origins: where its episodes come from
    :param entries: of each episode, in order
    """

    def __init__(self, path: Path, origins: Sequence[Origin], entries: Sequence[EpisodeEntry]) -> None:
        self.path = path
        self.origins = tuple(origins)
        self.entries = tuple(entries)

    @classmethod
    def open(cls, path: Path | str) -> "Dataset":
        """Open a folder; the episodes' files are read later, one by one.

        :raises DatasetError: when it is no dataset, not finished, damaged or of another format
        """
        folder = Path(path)
        index = _read_index(folder)
        try:
            origins = [Origin.from_record(record) for record in index["origins"]]
            entries = [EpisodeEntry(**record) for record in index["episodes"]]
            is_whole = len(entries) == index["n_episodes"] and all(0 <= one.origin < len(origins) for one in entries)
        except (KeyError, TypeError, DatasetError) as error:
            raise DatasetError(f"the dataset {folder} is damaged: {INDEX_NAME} is not as written ({error})") from None
        if not is_whole:
            raise DatasetError(f"the dataset {folder} is damaged: {INDEX_NAME} contradicts itself")
        return cls(folder, origins, entries)

    @property
    def n_episodes(self) -> int:
        """The number of episodes."""
        return len(self.entries)

    @property
    def n_timesteps(self) -> int:
        """The number of steps of all episodes together."""
        return sum(entry.n_steps for entry in self.entries)

    def __len__(self) -> int:
        return self.n_episodes

    def episode(self, index: int) -> Episode:
        """Read an episode.

        :param index: from 0
        :raises IndexError: when there is no such episode
        :raises DatasetError: when its file is missing or not as it was written
        """
        return episode_from_bytes(self.content(index), self.entries[index].origin)

    def content(self, index: int) -> bytes:
        """Read the file of an episode, as `episode_from_bytes` takes it.

        :param index: from 0
        :raises IndexError: when there is no such episode
        :raises DatasetError: when its file is missing or not as it was written
        """
        entry = self.entries[index]
        name = episode_name(range(self.n_episodes)[index])
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise DatasetError(f"the dataset {self.path} is damaged: {name}: {error.strerror}") from None
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise DatasetError(f"the dataset {self.path} is damaged: {name} is not as it was written")
        return content

    def array(self, index: int, name: str) -> np.ndarray:
        """Read one array of an episode, which spares the time that its pictures take.

        :param index: from 0
        :param name: ``actions``, ``rewards``, ``teacher.logits`` ...
        :raises IndexError: when there is no such episode
        :raises KeyError: when it has no such array
        :raises DatasetError: when its file is missing or not as it was written
        """
        with np.load(io.BytesIO(self.content(index)), allow_pickle=False) as archive:
            found: np.ndarray = archive[name]
            return found

    def __iter__(self) -> Iterator[Episode]:
        """Yield every episode, read one by one."""
        return map(self.episode, range(self.n_episodes))


def unfinished_path(path: Path) -> Path:
    """Give the folder in which a dataset is built before it is put in its place."""
    return path.with_name(f"{path.name}.unfinished")


def episode_name(index: int) -> str:
    """Give the file of an episode, below the dataset's folder."""
    return f"{EPISODES_NAME}/{index:06d}.npz"


def episode_to_bytes(episode: Episode) -> bytes:
    """Give the content of an episode's file, which its index and origin are no part of."""
    arrays = {name: getattr(episode, name) for name in _ARRAYS}
    arrays |= {TEACHER_PREFIX + name: array for name, array in sorted(episode.teacher.items())}
    arrays |= {
        "ends": np.array([episode.terminated, episode.truncated]),
        "success": np.array(_SUCCESS_CODES[episode.success], np.int8),
        "start_seed": np.array(episode.start_seed, np.int64),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def episode_from_bytes(content: bytes, origin: int = 0) -> Episode:
    """Take what `episode_to_bytes` gave.

    :param origin: index of its origin
    :raises DatasetError: for anything else
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        terminated, truncated = arrays.pop("ends").tolist()
        success = {code: meaning for meaning, code in _SUCCESS_CODES.items()}[int(arrays.pop("success"))]
        start_seed = int(arrays.pop("start_seed"))
        teacher = {name: arrays.pop(name) for name in list(arrays) if name.startswith(TEACHER_PREFIX)}
        return Episode(
            **arrays,
            terminated=terminated,
            truncated=truncated,
            start_seed=start_seed,
            origin=origin,
            teacher={name.removeprefix(TEACHER_PREFIX): array for name, array in teacher.items()},
            success=success,
        )
    except (EOFError, OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(f"cannot read an episode: {error or type(error).__name__}") from None


def _read_index(folder: Path) -> dict[str, Any]:
    """Read ``dataset.json``, of this format."""
    try:
        index = json.loads((folder / INDEX_NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise DatasetError(_why_missing(folder)) from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"the dataset {folder} is damaged: cannot read {INDEX_NAME} ({error})") from None
    if not isinstance(index, dict) or "format" not in index:
        raise DatasetError(f"the dataset {folder} is damaged: {INDEX_NAME} names no format")
    if index["format"] != FORMAT:
        raise DatasetError(f"the dataset {folder} has format {index['format']}, but this version reads {FORMAT} only")
    return index


def _why_missing(folder: Path) -> str:
    begun = unfinished_path(folder) if not folder.exists() else folder
    if (begun / PLAN_NAME).exists() or (begun / EPISODES_NAME).is_dir():
        return f"the dataset {folder} is not finished; give the command that records it once more"
    if not folder.exists():
        return f"there is no dataset at {folder}"
    return f"{folder} is not a dataset: it has no {INDEX_NAME}"
