"""Imported with ``--gym-packages faults``: at one call that changes a run's files, the process dies or the call fails.

FAULT is ACTION:KIND:N. N counts the calls of a KIND, or of ``any``, on paths that FAULT_FILES matches: checkpoints and
links where it is not given. ACTION is ``kill``, ``kill-after`` the call, or the name of an error: then further calls
fail too, as they do on a full or read-only disk. FAULT_LOG names a file that gets a line before each such call.
FAULT_CHUNK_BYTES is the size of the chunks of a replay buffer.
"""

import builtins
import errno
import io
import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import rl_baselines.replay_chunks

KINDS = ("open", "write", "fsync", "rename", "link", "symlink", "mkdir", "unlink", "rmdir")
CHECKPOINTS_AND_LINKS = r"/checkpoints/|/\.?(best|last)(\.tmp)?$"
IN_A_RUN = re.compile(r"/\d\d-\d\d-\d\d_\d\dh\d\d_\d\d(_\d+)?/")
FAILING = {"ENOSPC": ("open", "write", "mkdir", "link", "symlink"), "EROFS": KINDS}

counts: Counter[str] = Counter()
broken = False
open_really, fsync_really = builtins.open, os.fsync
folder_of_descriptor = "/proc/self/fd/{}"


def passing(kind: str, path: str, change: Callable[[], Any], part: Callable[[], Any] = lambda: None) -> Any:
    """Make a call, or what the fault makes of it.

    :param part: the first part of the change, which a fault may leave behind
    """
    global broken
    if not IN_A_RUN.search(path):
        return change()
    action, fault_kind, n = os.environ.get("FAULT", "none:any:0").split(":")
    is_counted = re.search(os.environ.get("FAULT_FILES", CHECKPOINTS_AND_LINKS), path) is not None
    if is_counted:
        counts.update((kind, "any"))
        note(f"{kind} {path}\n")
    is_due = is_counted and fault_kind in (kind, "any") and counts[fault_kind] == int(n)
    if action.startswith("kill") and is_due:
        try:
            (change if action == "kill-after" else part)()
        finally:  # also when there was nothing to delete
            os.kill(os.getpid(), signal.SIGKILL)
    if is_due or (broken and kind in FAILING.get(action, ())):
        broken = True
        part()
        number = getattr(errno, action)
        raise OSError(number, os.strerror(number), *([] if kind in ("write", "fsync") else [path]))
    return change()


def note(line: str) -> None:
    if "FAULT_LOG" in os.environ:
        descriptor = os.open(os.environ["FAULT_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, line.encode())
        os.close(descriptor)


class WatchedFile(io.FileIO):
    """A file whose every write reaches `passing`; half of the write that fails is in the file."""

    def write(self, data: Any) -> int:
        really = super().write
        view = memoryview(data).cast("B")
        return passing("write", os.fspath(self.name), lambda: really(view), lambda: really(view[: len(view) // 2]))


def open_watched(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    **others: Any,
) -> Any:
    writes = not isinstance(file, int) and set(mode) & set("wax")
    if not writes or not IN_A_RUN.search(path := os.path.abspath(os.fsdecode(file))):
        return open_really(file, mode, buffering, encoding, errors, newline, **others)
    raw = passing("open", path, lambda: WatchedFile(path, mode.replace("b", "").replace("t", "")))
    buffered: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
    return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)


def watch(kind: str, name: str, position: int) -> None:
    """Watch a function of `os`.

    :param position: of the path among its arguments
    """
    really = getattr(os, name)

    def call(*args: Any, dir_fd: int | None = None, **keywords: Any) -> Any:
        within = {} if dir_fd is None else {"dir_fd": dir_fd}
        folder = os.getcwd() if dir_fd is None else os.readlink(folder_of_descriptor.format(dir_fd))
        path = os.path.join(folder, os.fsdecode(args[position]))
        return passing(kind, path, lambda: really(*args, **keywords, **within))

    setattr(os, name, call)


def fsync_watched(descriptor: int) -> None:
    path = os.readlink(folder_of_descriptor.format(descriptor))
    passing("fsync", path + ("/" if os.path.isdir(path) else ""), lambda: fsync_really(descriptor))


if {"FAULT", "FAULT_LOG"} & os.environ.keys():
    for own_name, own_position in (
        ("replace", 1),
        ("link", 1),
        ("symlink", 1),
        ("mkdir", 0),
        ("unlink", 0),
        ("rmdir", 0),
    ):
        watch("rename" if own_name == "replace" else own_name, own_name, own_position)
    os.fsync = fsync_watched  # type: ignore[assignment]
    builtins.open = io.open = open_watched  # type: ignore[assignment]
if "FAULT_CHUNK_BYTES" in os.environ:
    rl_baselines.replay_chunks.CHUNK_BYTES = int(os.environ["FAULT_CHUNK_BYTES"])
