"""Where things lie under the log folder. Every file name of a run is written here and nowhere else.

A checkpoint is built aside and renamed, its manifest written last: without an intact manifest it is no checkpoint.
"""

import datetime
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rl_baselines.errors import UsageError

MODEL_NAME, MANIFEST_NAME, CHILDREN_NAME = "model.zip", "manifest.json", "children.txt"
_TIME_FORMAT = "%y-%m-%d_%Hh%M_%S"
_RUN_NAME = re.compile(r"\d\d-\d\d-\d\d_\d\dh\d\d_\d\d(_\d+)?")


@dataclass(frozen=True)
class Checkpoint:
    """One saved state of a run.

    :param path: its folder
    """

    path: Path

    @property
    def model(self) -> Path:
        """The model zip."""
        return self.path / MODEL_NAME

    @property
    def timesteps(self) -> int:
        """Environment timesteps trained when it was saved."""
        return int(self.manifest["timesteps"])

    @property
    def manifest(self) -> dict[str, Any]:
        """Files with hashes and sizes, score, timesteps."""
        content: dict[str, Any] = json.loads((self.path / MANIFEST_NAME).read_text())
        return content

    def is_complete(self) -> bool:
        """Tell whether the manifest is there and every file has the size it names."""
        try:
            files = self.manifest["files"]
            return all((self.path / name).stat().st_size == entry["size"] for name, entry in files.items())
        except (OSError, ValueError, KeyError):
            return False

    def add_child(self, run_id: str) -> None:
        """Note that a run was started from here, so that this checkpoint is never deleted."""
        with open(self.path / CHILDREN_NAME, "a") as file:
            file.write(run_id + "\n")

    @property
    def has_children(self) -> bool:
        """Whether another run was started from here."""
        return (self.path / CHILDREN_NAME).exists()


class RunFolder:
    """The files of one run.

    :param path: the folder itself, ``<log-dir>/<env>/<srl-model>/<algo>/<time>``
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.config = self.path / "config.yaml"
        self.record = self.path / "run.json"
        self.progress = self.path / "progress.csv"
        self.evaluations = self.path / "evaluations.csv"
        self.tensorboard = self.path / "tensorboard"
        self.monitor = self.path / "monitor"
        self.videos = self.path / "videos"
        self.plots = self.path / "plots"
        self.checkpoints = self.path / "checkpoints"
        self._lock: IO[str] | None = None
        self._new_levels: list[Path] = []

    @classmethod
    def create(cls, log_dir: Path, levels: tuple[str, str, str], now: datetime.datetime) -> "RunFolder":
        """Make the folder of a new run and lock it.

        :param levels: environment, state representation, algorithm
        :raises UsageError: when it cannot be written
        """
        parent = log_dir.joinpath(*(level.replace("/", "-") for level in levels))
        name = now.strftime(_TIME_FORMAT)
        try:
            new_levels = [level for level in (parent, *parent.parents) if not level.exists()]
            parent.mkdir(parents=True, exist_ok=True)
            for suffix in range(1, 1000):
                folder = cls(parent / (name if suffix == 1 else f"{name}_{suffix}"))
                try:
                    folder.path.mkdir()
                    break
                except FileExistsError:
                    continue
            for path in (folder.checkpoints, folder.monitor, folder.tensorboard, folder.plots):
                path.mkdir()
            folder.lock()
            folder._new_levels = new_levels
        except OSError as error:
            raise UsageError(f"cannot write under --log-dir {log_dir}: {error.strerror or error}") from None
        return folder

    @property
    def run_id(self) -> str:
        """The run's name among all runs of a log folder."""
        return "/".join(self.path.parts[-4:])

    def lock(self) -> None:
        """Claim the folder for writing until this process ends, however it ends.

        :raises UsageError: when another process has it
        """
        file = open(self.path / ".lock", "a+")  # noqa: SIM115 - held as long as the run
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            file.close()
            raise UsageError(f"{self.path} is in use by process {owner}: wait for it, or stop it first") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._lock = file

    def unlock(self) -> None:
        """Give the folder free."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def discard(self) -> None:
        """Delete a folder that came to nothing, and the levels above it that it brought."""
        self.unlock()
        shutil.rmtree(self.path)
        for level in self._new_levels:
            try:
                level.rmdir()
            except OSError:
                break

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Replace ``run.json``."""
        _write_json(self.record, record)

    def read_record(self) -> dict[str, Any]:
        """Read ``run.json``.

        :raises UsageError: when it is missing or torn
        """
        try:
            record: dict[str, Any] = json.loads(self.record.read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.path} is no intact run folder: cannot read {self.record.name}: {error}") from None
        return record

    def save_checkpoint(self, timesteps: int, write: Callable[[Path], None], score: Mapping[str, Any]) -> Checkpoint:
        """Save a checkpoint; one already saved at this step only gets its score.

        :param write: writes the files into a folder it is given
        :param score: stored in the manifest
        """
        checkpoint = Checkpoint(self.checkpoints / f"{timesteps:09d}")
        if checkpoint.is_complete():
            if score:
                _write_json(checkpoint.path / MANIFEST_NAME, {**checkpoint.manifest, "score": dict(score)})
            return checkpoint
        aside = self.checkpoints / f".{timesteps:09d}.tmp"
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(checkpoint.path, ignore_errors=True)
        aside.mkdir()
        write(aside)
        files = {path.name: _describe_and_sync(path) for path in sorted(aside.iterdir())}
        _write_json(aside / MANIFEST_NAME, {"timesteps": timesteps, "score": dict(score), "files": files})
        os.replace(aside, checkpoint.path)
        _sync_folder(self.checkpoints)
        return checkpoint

    def point(self, name: str, checkpoint: Checkpoint) -> None:
        """Let ``best`` or ``last`` name a checkpoint: a relative link, or a file where links are not possible."""
        target, aside = os.path.relpath(checkpoint.path, self.path), self.path / f".{name}.tmp"
        aside.unlink(missing_ok=True)
        try:
            aside.symlink_to(target)
        except OSError:
            aside.write_text(target)
        os.replace(aside, self.path / name)

    def pointed(self, name: str) -> Checkpoint | None:
        """Give the checkpoint that ``best`` or ``last`` names, if there is one."""
        pointer = self.path / name
        if pointer.is_symlink():
            checkpoint = Checkpoint((self.path / os.readlink(pointer)).absolute())
        elif pointer.is_file():
            checkpoint = Checkpoint((self.path / pointer.read_text().strip()).absolute())
        else:
            return None
        return checkpoint if checkpoint.is_complete() else None

    def all_checkpoints(self) -> list[Checkpoint]:
        """Give the complete checkpoints in the order of their timesteps."""
        folders = (
            [path for path in self.checkpoints.glob("*") if path.name.isdigit()] if self.checkpoints.is_dir() else []
        )
        return [c for c in map(Checkpoint, sorted(folders, key=lambda path: int(path.name))) if c.is_complete()]

    def prune(self, keep: int, milestones: frozenset[int]) -> None:
        """Delete old checkpoints, but never one that is linked, has children or is a milestone.

        :param keep: how many of the newest stay; 0 keeps all
        :param milestones: timesteps of checkpoints that stay
        """
        pointed = {found.path for name in ("best", "last") if (found := self.pointed(name))}
        for checkpoint in self.all_checkpoints()[:-keep] if keep else []:
            kept = checkpoint.path in pointed or checkpoint.has_children or int(checkpoint.path.name) in milestones
            if not kept:
                shutil.rmtree(checkpoint.path)


def short(path: Path) -> str:
    """Write a path relative to the current folder where it lies in it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def is_run_folder(path: Path) -> bool:
    """Tell whether a folder is that of a run."""
    return (path / "run.json").is_file()


def find_runs(log_dir: Path) -> Iterator[RunFolder]:
    """Yield the runs under a log folder."""
    for path in log_dir.glob("*/*/*/*"):
        if _RUN_NAME.fullmatch(path.name) and is_run_folder(path):
            yield RunFolder(path)


def newest_run(log_dir: Path) -> RunFolder:
    """Give the run that began last.

    :raises UsageError: when there is none
    """
    runs = sorted(find_runs(log_dir), key=lambda run: (run.read_record().get("started", ""), run.path.name))
    if not runs:
        raise UsageError(f"there is no run under {log_dir}; --log-dir names another folder")
    return runs[-1]


def hash_of(path: Path) -> str:
    """Give the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _describe_and_sync(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    return {"size": path.stat().st_size, "sha256": hash_of(path)}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    aside = path.with_name(f".{path.name}.tmp")
    with open(aside, "w") as file:
        json.dump(dict(content), file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
