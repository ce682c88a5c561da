"""Checkpoints of a replay buffer that are exact, complete alone, and cost no more than what is new.

The slots of the ring buffer lie in a fixed grid of chunks, an ``.npz`` file each. A chunk that has not changed since
the previous checkpoint is hard-linked from there. What can change in every slot is small and goes into a description
that the caller stores. Only arrays are written, no pickle.
"""

import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.her import HerReplayBuffer

from environments.durable import force_to_disk
from rl_baselines.checkpoint import StoredFile, hash_of
from rl_baselines.errors import UsageError

CHUNK_BYTES = 4 * 2**20

# Every attribute of a buffer stands in one of these tables; a class that has another one is refused.
CHUNKED = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")  # a row per slot
DESCRIBED = (
    *("pos", "full"),
    *("ep_start", "ep_length"),  # a row per slot, but old slots change when their episode ends or is overwritten
    "_current_ep_start",
)
REBUILT = (
    *("buffer_size", "n_envs"),  # settings, compared when loading
    *("optimize_memory_usage", "handle_timeout_termination", "n_steps", "gamma"),  # settings of the algorithm
    *("n_sampled_goal", "her_ratio", "goal_selection_strategy", "copy_info_dict"),  # settings of hindsight
    *("observation_space", "action_space", "obs_shape", "action_dim", "env"),  # follow from the environment
    "device",  # belongs to the machine
    "infos",  # stays empty without copy_info_dict, which is refused
    "sample",  # replaced where batches are mixed with those of another buffer
)


@dataclass(frozen=True)
class _Saved:
    """What the last checkpoint holds.

    :param files: by name, in the order of the chunks
    """

    folder: Path
    pos: int
    files: dict[str, StoredFile]


class ReplayChunks:
    """Saves and loads one replay buffer, writing only what is new since it last did so.

    :raises UsageError: when the buffer holds the infos of its environments
    """

    def __init__(self, buffer: ReplayBuffer) -> None:
        if unknown := vars(buffer).keys() - {*CHUNKED, *DESCRIBED, *REBUILT}:
            names = ", ".join(sorted(unknown))
            raise RuntimeError(f"{type(buffer).__name__} has {names}: say in {__name__} how it is saved")
        if getattr(buffer, "copy_info_dict", False):
            raise UsageError(
                "a replay buffer with copy_info_dict=True cannot be saved without pickle: it holds the infos of the "
                "environments; use --save-replay-buffer none, or leave copy_info_dict out"
            )
        self._buffer = buffer
        slot_bytes = sum(array.nbytes for array in chunked_arrays(buffer).values()) // buffer.buffer_size
        self._rows = max(1, CHUNK_BYTES // slot_bytes)
        self._saved: _Saved | None = None

    def save(self, folder: Path, rows_added: int) -> tuple[dict[str, Any], dict[str, StoredFile]]:
        """Write the buffer, and give its description (JSON values and arrays) and the files by name, all on disk.

        :param folder: exists and is empty
        :param rows_added: calls of `buffer.add` since this object last saved or loaded; of no account the first time
        """
        files: dict[str, StoredFile] = {}
        known = list(self._saved.files.items()) if self._saved else []
        for index, slots in enumerate(_grid(self._buffer.size(), self._rows)):
            if self._saved and self._is_unchanged(slots, self._saved.pos, rows_added):
                name, stored = known[index]
                if _link(self._saved.folder / name, folder / name, stored.size):
                    files[name] = stored
                    continue
            name, stored = self._write_chunk(folder, index, slots)
            files[name] = stored
        self._saved = _Saved(folder, int(self._buffer.pos), files)
        return self._description(files), dict(files)

    def rebase(self, folder: Path) -> None:
        """Tell where the files of the last save lie now: a checkpoint is built aside and renamed."""
        assert self._saved is not None, "nothing was saved or loaded yet"
        self._saved = replace(self._saved, folder=folder)

    def load(self, folder: Path, description: Mapping[str, Any]) -> None:
        """Fill the buffer; the next save links the files of this folder.

        :param description: as `save` gave it
        :raises UsageError: when the buffer here is another than the saved one, or a chunk is missing or torn
        """
        self._check_same(description)
        files = {chunk["name"]: StoredFile(chunk["size"], chunk["sha256"]) for chunk in description["chunks"]}
        for name in files:
            if not (folder / name).is_file():
                raise UsageError(f"the replay buffer in {folder} is not complete: {name} is missing")
        buffer, self._saved, self._rows = self._buffer, None, description["rows"]
        filled = buffer.buffer_size if description["full"] else description["pos"]
        if buffer.size():
            for array in chunked_arrays(buffer).values():
                array[filled:] = 0
        for name, slots in zip(files, _grid(filled, self._rows), strict=True):
            self._read_chunk(folder / name, slots)
        buffer.pos, buffer.full = description["pos"], description["full"]
        if buffer.optimize_memory_usage:
            buffer.observations[buffer.pos] = description["head"]
        if isinstance(buffer, HerReplayBuffer):
            episodes = description["episodes"]
            buffer.ep_start[:] = _decode_runs(episodes["start"], buffer.n_envs)
            buffer.ep_length[:] = _decode_runs(episodes["length"], buffer.n_envs)
            buffer._current_ep_start[:] = episodes["current_start"]
        self._saved = _Saved(folder, buffer.pos, files)

    def _is_unchanged(self, slots: slice, saved_pos: int, rows_added: int) -> bool:
        """Tell whether a chunk holds none of the slots that were written since `saved_pos`.

        The slot before those counts too, because Stable-Baselines3 marks it as done when it truncates a trajectory.
        """
        size = self._buffer.buffer_size
        if (saved_pos + rows_added) % size != self._buffer.pos:
            return False  # the caller's count is wrong
        distance = (slots.start - (saved_pos - 1)) % size
        return rows_added < distance <= size - (slots.stop - slots.start)

    def _write_chunk(self, folder: Path, index: int, slots: slice) -> tuple[str, StoredFile]:
        aside = folder / f".{index:06d}.npz"
        parts = {name: array[slots] for name, array in chunked_arrays(self._buffer).items()}
        np.savez(aside, **parts)  # type: ignore[arg-type]
        force_to_disk(aside)
        stored = StoredFile(aside.stat().st_size, hash_of(aside))
        name = f"{index:06d}-{stored.sha256[:16]}.npz"
        os.replace(aside, folder / name)
        return name, stored

    def _read_chunk(self, path: Path, slots: slice) -> None:
        with _chunk(path) as parts:
            for name, array in chunked_arrays(self._buffer).items():
                part = parts[name]
                if (part.shape, part.dtype) != (array[slots].shape, array.dtype):
                    raise ValueError(f"{name} is {part.dtype} {part.shape}")
                array[slots] = part

    def _description(self, files: Mapping[str, StoredFile]) -> dict[str, Any]:
        buffer = self._buffer
        description: dict[str, Any] = {
            **_identity(buffer),
            "pos": int(buffer.pos),
            "full": bool(buffer.full),
            "rows": self._rows,
            "chunks": [{"name": name, **asdict(stored)} for name, stored in files.items()],
        }
        if buffer.optimize_memory_usage:
            # The newest next observation lies in the slot that comes next, in no chunk or in one that is linked.
            description["head"] = buffer.observations[buffer.pos].copy()
        if isinstance(buffer, HerReplayBuffer):
            description["episodes"] = {
                "start": _encode_runs(buffer.ep_start),
                "length": _encode_runs(buffer.ep_length),
                "current_start": buffer._current_ep_start.copy(),
            }
        return description

    def _check_same(self, description: Mapping[str, Any]) -> None:
        here = _identity(self._buffer)
        saved_arrays, arrays = description["arrays"], here["arrays"]
        pairs = [
            ("class", description["class"], here["class"]),
            ("number of environments", description["n_envs"], here["n_envs"]),
            ("number of slots per environment", description["buffer_size"], here["buffer_size"]),
            ("list of arrays", ", ".join(sorted(saved_arrays)), ", ".join(sorted(arrays))),
            *((f"array {name}", saved_arrays[name], arrays[name]) for name in arrays if name in saved_arrays),
        ]
        for what, saved, own in pairs:
            if saved != own:
                raise UsageError(
                    f"the saved replay buffer is another than the one here: its {what} is {saved}, here it is {own}; "
                    "use the settings it was saved with"
                )


def read_slots(folder: Path, description: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Read a saved buffer's filled slots, without a buffer to put them into: arrays with a row per slot, by name.

    :param folder: with the chunks
    :param description: as `ReplayChunks.save` gave it
    :raises UsageError: when a chunk is missing or torn
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in description["arrays"]}
    for chunk in description["chunks"]:
        with _chunk(folder / chunk["name"]) as arrays:
            for name, found in parts.items():
                found.append(arrays[name])
    return {name: np.concatenate(found) for name, found in parts.items() if found}


@contextmanager
def _chunk(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """Open a chunk.

    :raises UsageError: when it, or what is done with its arrays, shows that it is missing or torn
    """
    try:
        with np.load(path, allow_pickle=False) as parts:
            yield parts
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UsageError(f"cannot read a part of the replay buffer, {path}: {error}") from None


def chunked_arrays(buffer: ReplayBuffer) -> dict[str, np.ndarray]:
    """Give the arrays with a row per slot; those of dictionaries are named ``observations/key``."""
    arrays: dict[str, np.ndarray] = {}
    for name in CHUNKED:
        value = getattr(buffer, name, {})  # without next_observations when the observations serve twice
        arrays |= {f"{name}/{key}": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
    return arrays


def _identity(buffer: ReplayBuffer) -> dict[str, Any]:
    arrays = chunked_arrays(buffer).items()
    return {
        "class": type(buffer).__name__,
        "n_envs": buffer.n_envs,
        "buffer_size": buffer.buffer_size,
        "arrays": {name: f"{array.dtype.str} {array.shape[1:]}" for name, array in arrays},
    }


def _grid(filled: int, rows: int) -> Iterator[slice]:
    return (slice(start, min(start + rows, filled)) for start in range(0, filled, rows))


def _link(source: Path, target: Path, size: int) -> bool:
    """Link a file, or copy it where links are not possible; False when it is gone or torn."""
    try:
        if source.stat().st_size != size:
            return False
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)
            force_to_disk(target)
    except FileNotFoundError:
        return False
    return True


def _encode_runs(array: np.ndarray) -> dict[str, np.ndarray]:
    """Shorten an array (slots, environments) to its values and how often each repeats, one column after the other."""
    values, counts = [], []
    for column in array.T:
        starts = np.append(0, np.flatnonzero(column[1:] != column[:-1]) + 1)
        values.append(column[starts])
        counts.append(np.diff(starts, append=len(column)))
    return {"values": np.concatenate(values), "counts": np.concatenate(counts)}


def _decode_runs(runs: Mapping[str, np.ndarray], n_envs: int) -> np.ndarray:
    return np.repeat(runs["values"], runs["counts"]).reshape(n_envs, -1).T
