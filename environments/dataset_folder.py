"""How a dataset comes to be: built beside its place, episode by episode, and put there when it is complete.

A build that was broken off is continued by one with the same plan; its complete episodes are kept.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import io
import json
import os
import shutil
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from environments.dataset import (
    EPISODES_NAME,
    FORMAT,
    INDEX_NAME,
    PLAN_NAME,
    Dataset,
    DatasetError,
    Episode,
    EpisodeEntry,
    Origin,
    episode_from_bytes,
    episode_name,
    episode_to_bytes,
    unfinished_path,
)
from environments.durable import replace_file

AT_ONCE = {"built": "at once"}
"""The plan of a dataset that is begun anew when it was broken off."""


class DatasetBuild:
    """A dataset under construction, locked against a second one; leave it with `close`.

    :param path: where the dataset is to be; its folder is made where it is missing
    :param plan: all that decides the episodes, as JSON knows it
    :param replaces: whether a dataset that is there already is replaced, at the end; and whether a broken-off build
        with another plan is thrown away
    :raises DatasetError: when something is there that must not be replaced, or a build with another plan
    """

    def __init__(self, path: Path, plan: Mapping[str, Any], replaces: bool = False) -> None:
        check_destination(path, replaces)
        self.path, self.folder = path, unfinished_path(path)
        self._plan = _as_json(plan)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            file = next(place for place in (self.folder, *self.folder.parents) if place.exists())
            raise DatasetError(f"no dataset can lie at {path}: {file} is a file") from None
        self._lock: int | None = os.open(self.folder, os.O_RDONLY)
        _forget_in_workers(weakref.ref(self))
        try:
            self._take(replaces)
        except BaseException:
            self.close()
            raise

    def _take(self, replaces: bool) -> None:
        """Own the folder, and see to it that what it holds belongs to the plan."""
        assert self._lock is not None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatasetError(f"the dataset {self.path} is being made by another process; wait for its end") from None
        plan_file = self.folder / PLAN_NAME
        if plan_file.exists():
            difference = _first_difference(_read_plan(plan_file), self._plan)
            if difference is not None and not replaces and any((self.folder / EPISODES_NAME).glob("*.npz")):
                raise DatasetError(
                    f"{self.folder} holds a part of a dataset that was begun with another {difference}; give the same "
                    "settings to finish it, or -f to begin anew"
                )
            if difference is None and self._plan != _as_json(AT_ONCE):
                for torn in (self.folder / EPISODES_NAME).glob(".*.tmp"):
                    torn.unlink()
                return
        _empty(self.folder)
        (self.folder / EPISODES_NAME).mkdir()
        replace_file(plan_file, json.dumps(self._plan, indent=1).encode())

    def missing(self, n_episodes: int) -> list[int]:
        """Give the indices of the episodes that are not there yet, or cannot be read."""
        return [index for index in range(n_episodes) if not self._is_there(index)]

    def _is_there(self, index: int) -> bool:
        try:
            episode_from_bytes((self.folder / episode_name(index)).read_bytes())
        except (FileNotFoundError, DatasetError):
            return False
        return True

    def finish(self, origins: Sequence[Origin], episode_origins: Sequence[int]) -> Dataset:
        """Write the index and put the dataset in its place.

        :param origins: where its episodes come from
        :param episode_origins: for each episode, the index of its origin
        """
        _write_index(self.folder, origins, episode_origins)
        (self.folder / PLAN_NAME).unlink()
        _put_in_place(self.folder, self.path)
        return Dataset.open(self.path)

    def close(self) -> None:
        """Let go of the folder; what it holds is kept, to be continued."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _forget_in_workers(build: "weakref.ref[DatasetBuild]") -> None:
    """Let forked processes drop the lock, which would otherwise outlive the process that took it."""

    def close_in_worker() -> None:
        forked = build()
        if forked is not None:
            forked.close()

    os.register_at_fork(after_in_child=close_in_worker)


@contextlib.contextmanager
def building(path: Path, plan: Mapping[str, Any], replaces: bool = False) -> Iterator[DatasetBuild]:
    """Open a `DatasetBuild` and close it in the end."""
    build = DatasetBuild(path, plan, replaces)
    try:
        yield build
    finally:
        build.close()


def write_dataset(
    path: Path, origins: Sequence[Origin], episodes: Iterable[Episode], replaces: bool = False
) -> Dataset:
    """Write a whole dataset.

    :param path: where it is to be
    :param origins: where the episodes come from
    :param replaces: whether a dataset that is there already is replaced
    :raises DatasetError: when something is there that must not be replaced
    """

    def write_all(folder: Path) -> list[int]:
        return [write_episode(folder, index, episode).origin for index, episode in enumerate(episodes)]

    return build_at_once(path, origins, write_all, replaces)


def build_at_once(
    path: Path, origins: Sequence[Origin], write_all: Callable[[Path], Sequence[int]], replaces: bool
) -> Dataset:
    """Build a dataset that is begun anew when it is broken off.

    :param path: where it is to be
    :param origins: where its episodes come from
    :param write_all: writes the episodes' files into a folder, and gives the index of the origin of each
    :param replaces: whether a dataset that is there already is replaced
    :raises DatasetError: when something is there that must not be replaced
    """
    check_destination(path, replaces)
    with building(path, AT_ONCE, replaces) as build:
        return build.finish(origins, write_all(build.folder))


def check_destination(path: Path, replaces: bool) -> None:
    """Refuse a place where something is that must not be replaced.

    :param replaces: whether a dataset may be
    :raises DatasetError: in one line
    """
    if not path.name:
        raise DatasetError(f"{path} names no folder for a dataset")
    if not path.exists():
        return
    if not (path / INDEX_NAME).is_file():
        raise DatasetError(f"{path} is there and is not a dataset; choose another place")
    if not replaces:
        raise DatasetError(f"the dataset {path} is there already; give -f to replace it, or choose another place")


def write_episode(folder: Path, index: int, episode: Episode) -> Episode:
    """Write the file of an episode into a dataset's folder, and give the episode.

    :param folder: of a dataset under construction
    :param index: of the episode, from 0
    """
    replace_file(folder / episode_name(index), episode_to_bytes(episode))
    return episode


def _write_index(folder: Path, origins: Sequence[Origin], episode_origins: Sequence[int]) -> None:
    entries = [_entry_of(folder / episode_name(index), origin) for index, origin in enumerate(episode_origins)]
    index = {
        "format": FORMAT,
        "n_episodes": len(entries),
        "n_timesteps": sum(entry.n_steps for entry in entries),
        "origins": [origin.to_record() for origin in origins],
        "episodes": [dataclasses.asdict(entry) for entry in entries],
    }
    replace_file(folder / INDEX_NAME, json.dumps(index, indent=1, allow_nan=False).encode())


def _entry_of(path: Path, origin: int) -> EpisodeEntry:
    content = path.read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return EpisodeEntry(origin, len(archive["rewards"]), hashlib.sha256(content).hexdigest())


def _put_in_place(folder: Path, path: Path) -> None:
    """Move a complete folder to its place; one that is there gives way only then, and is deleted last."""
    replaced = path.with_name(f"{path.name}.replaced")
    if path.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        os.rename(path, replaced)
    os.rename(folder, path)
    shutil.rmtree(replaced, ignore_errors=True)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _as_json(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Give a plan as it is read from its file."""
    content: dict[str, Any] = json.loads(json.dumps({"format": FORMAT, **plan}))
    return content


def _read_plan(path: Path) -> dict[str, Any]:
    try:
        plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError(f"{path} is damaged ({error}); give -f to begin anew") from None
    return plan


def _first_difference(old: Any, new: Any, name: str = "plan") -> str | None:
    """Say where two plans differ first, or give None."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*new, *(key for key in old if key not in new)]:
            found = _first_difference(old.get(key), new.get(key), str(key))
            if found is not None:
                return found
        return None
    return None if old == new else f"{name}: {_short(old)}, now {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
