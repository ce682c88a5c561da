"""The record of each server of the live view: a small file that the server holds locked for as long as it lives."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rl_baselines.live.surroundings import cache_folder


@dataclass(frozen=True)
class ServerInfo:
    """A server of ours that is running on this machine.

    :param started: seconds since the epoch
    :param env_path: where it keeps what it shows
    """

    port: int
    pid: int
    started: float
    env_path: str


def _folder() -> Path:
    return cache_folder() / "servers"


@contextmanager
def held_record(port: int, env_path: Path) -> Iterator[None]:
    """Keep the record of this process while it serves. The lock ends with the process, however that ends.

    :param port: which this process listens on already, so that no other can want the same record
    """
    _folder().mkdir(parents=True, exist_ok=True)
    path = _folder() / f"{socket.gethostname()}-{port}.json"
    while True:
        file = open(path, "a")  # noqa: SIM115
        fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            break
        file.close()  # dropped as a dead one's by somebody who looked just now
    with file:
        file.truncate(0)
        json.dump(asdict(ServerInfo(port, os.getpid(), time.time(), str(env_path))), file)
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def running() -> list[ServerInfo]:
    """Give the servers of ours that run on this machine, by port; records of dead ones are dropped."""
    found = []
    for path in _folder().glob(f"{socket.gethostname()}-*.json"):
        try:
            with open(path) as file:
                if _is_held(file.fileno()):
                    found.append(ServerInfo(**json.load(file)))
                else:
                    path.unlink(missing_ok=True)
        except (FileNotFoundError, ValueError, TypeError):
            continue  # gone meanwhile, or not yet written
    return sorted(found, key=lambda info: info.port)


def _is_held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
