"""Where things lie under the log folder. Every file name of a run is written here, those of a checkpoint beside it."""

import datetime
import fcntl
import json
import os
import re
import shutil
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any

from rl_baselines.checkpoint import Checkpoint, delete_folder, write_json
from rl_baselines.errors import UsageError

_TIME_FORMAT = "%y-%m-%d_%Hh%M_%S"
_RUN_NAME = re.compile(r"\d\d-\d\d-\d\d_\d\dh\d\d_\d\d(_\d+)?")


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
        self.aside = self.path / "aside"
        self.plan = self.path / "plan.json"
        self.comparison = self.path / "comparison.json"
        self.watched_picture = self.plots / "last_evaluation.png"
        self.watched_path = self.plots / "last_evaluation.json"
        self.state_memory = self.path / "state_memory.npz"
        self.inherited_memory = self.path / "inherited_memory.npz"
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
        try:
            self._lock = lock_folder(self.path)
        except OSError as error:
            raise UsageError(f"cannot write in {self.path}: {error.strerror or error}") from None

    def is_locked(self) -> bool:
        """Tell whether another process has claimed the folder."""
        try:
            self.lock()
        except UsageError:
            return True
        self.unlock()
        return False

    def unlock(self) -> None:
        """Give the folder free."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def discard(self) -> None:
        """Delete a folder that came to nothing, and the levels above it that it brought."""
        self.unlock()
        shutil.rmtree(self.path, ignore_errors=True)
        for level in self._new_levels:
            try:
                level.rmdir()
            except OSError:
                break

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Replace ``run.json``."""
        write_json(self.record, record)

    def read_record(self) -> dict[str, Any]:
        """Read ``run.json``.

        :raises UsageError: when it is missing or torn
        """
        try:
            record: dict[str, Any] = json.loads(self.record.read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.path} is no intact run folder: cannot read {self.record.name}: {error}") from None
        return record

    def point(self, name: str, checkpoint: Checkpoint) -> None:
        """Let ``best`` or ``last`` name a checkpoint: a relative link, or a file where links are not possible."""
        target, aside = os.path.relpath(checkpoint.path, self.path), self.path / f".{name}.tmp"
        aside.unlink(missing_ok=True)
        try:
            aside.symlink_to(target)
        except OSError:
            aside.write_text(target)
        os.replace(aside, self.path / name)

    def unpoint(self, name: str) -> None:
        """Let ``best`` or ``last`` name nothing."""
        (self.path / name).unlink(missing_ok=True)

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

    def checkpoint_at(self, timesteps: int) -> Checkpoint:
        """Name the checkpoint of a step, whether it is there or not."""
        return Checkpoint(self.checkpoints / f"{timesteps:09d}")

    def checkpoint_folders(self) -> list[Checkpoint]:
        """Give the checkpoints in the order of their timesteps, whatever state they are in."""
        found = [path for path in self.checkpoints.glob("*") if path.name.isdigit()]
        return [Checkpoint(path) for path in sorted(found, key=lambda path: int(path.name))]

    def all_checkpoints(self) -> list[Checkpoint]:
        """Give the complete checkpoints in the order of their timesteps."""
        return [checkpoint for checkpoint in self.checkpoint_folders() if checkpoint.is_complete()]

    def prune(self, keep: int, milestones: frozenset[int]) -> None:
        """Delete old checkpoints, but never one that is linked, has children or is a milestone.

        The best model as of a checkpoint that stays, stays too: a run may be resumed from there.

        :param keep: how many of the newest that can be resumed stay; 0 keeps all
        :param milestones: timesteps of checkpoints that stay
        """
        if not keep:
            return
        found = self.all_checkpoints()
        newest = [checkpoint.path for checkpoint in found if checkpoint.can_be_resumed()][-keep:]
        linked = {pointed.path for name in ("best", "last") if (pointed := self.pointed(name))}
        kept = [
            checkpoint
            for checkpoint in found
            if checkpoint.path in newest
            or checkpoint.path in linked
            or checkpoint.has_children
            or int(checkpoint.path.name) in milestones
        ]
        needed = {checkpoint.path for checkpoint in kept}
        needed |= {self.checkpoint_at(best).path for c in kept if (best := c.manifest.get("best")) is not None}
        for checkpoint in found:
            if checkpoint.path not in needed:
                delete_folder(checkpoint.path)

    def new_aside(self, now: datetime.datetime) -> Path:
        """Name a folder, not yet there, for what is cut off when the run is resumed."""
        name = now.strftime(_TIME_FORMAT)
        names = (name if suffix == 1 else f"{name}_{suffix}" for suffix in count(1))
        return next(path for path in map(self.aside.joinpath, names) if not path.exists())

    def set_aside_after(self, timesteps: int, aside: Path) -> list[int]:
        """Move the checkpoints beyond a step aside, the newest first, and delete what was never finished.

        :param aside: a folder for them
        :return: the timesteps of those that were moved
        """
        for unfinished in self.checkpoints.glob(".*"):
            shutil.rmtree(unfinished)
        later = [found for found in self.checkpoint_folders() if int(found.path.name) > timesteps]
        for checkpoint in reversed(later):
            target = aside / checkpoint.path.relative_to(self.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(checkpoint.path, target)
        return [int(checkpoint.path.name) for checkpoint in later]


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


@contextmanager
def claimed(log_dir: Path) -> Iterator[None]:
    """Let one process at a time look for a run to continue and claim it; others wait.

    :raises UsageError: when the log folder cannot be written
    """
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
        file = _open_lock(log_dir / ".auto-resume.lock")
    except OSError as error:
        raise UsageError(f"cannot write under --log-dir {log_dir}: {error.strerror or error}") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def lock_folder(path: Path) -> IO[str]:
    """Claim a folder for this process until the file that is given is closed, or the process ends, however it ends.

    :raises UsageError: when another process has it
    :raises OSError: when it cannot be written
    """
    file = _open_lock(path / ".lock")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise UsageError(f"{path} is in use by process {owner}: wait for it, or stop it first") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _open_lock(path: Path) -> IO[str]:
    """Open a file to lock it; forked workers close it, or the lock would live as long as the last of them."""
    file = open(path, "a+")  # noqa: SIM115 - held as long as the lock
    reference = weakref.ref(file)

    def close_in_worker() -> None:
        held = reference()
        if held is not None:
            held.close()

    os.register_at_fork(after_in_child=close_in_worker)
    return file
