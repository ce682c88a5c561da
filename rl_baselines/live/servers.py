"""The servers of the live view on this machine: finding, starting and stopping them."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rl_baselines.errors import UsageError
from rl_baselines.live.assets import INSTALL_COMMAND, is_visdom_installed, static_folder
from rl_baselines.live.connection import LOOPBACK, Address, check_port, is_visdom, loopback
from rl_baselines.live.server import PORT_TAKEN
from rl_baselines.live.server_records import ServerInfo, running
from rl_baselines.live.surroundings import cache_folder

N_FURTHER_PORTS = 20
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0
ROOT = Path(__file__).parents[2]


def find_or_start(port: int, announce: Callable[[str], None]) -> Address | None:
    """Give the visdom server at a port of this machine, ours or the user's own; where there is none, start ours.

    Something else that has the port is left alone: the next free one is taken.

    :param announce: is told, in one line, when there is none or it has another port
    :return: None when there is none and none can be started
    :raises UsageError: when the port is out of range
    """
    address = loopback(check_port(port))
    if is_visdom(address):
        return address
    if not is_visdom_installed():
        announce("no live view: visdom is not installed; docs/install.md says how, or run: make install")
        return None
    static = static_folder()
    if static is None:
        announce(f"no live view: its page is not installed; run: {INSTALL_COMMAND}")
        return None
    try:
        with _one_at_a_time():
            return _start_at_first_free(port, static, announce)
    except OSError as error:
        announce(f"no live view: {error}")
        return None


def _start_at_first_free(port: int, static: Path, announce: Callable[[str], None]) -> Address | None:
    ours = {info.port for info in running()}  # one that was started a moment ago, perhaps
    last = min(port + N_FURTHER_PORTS, 65535)
    for candidate in range(port, last + 1):
        code = 0 if candidate in ours else _launch(candidate, static) if _is_free(candidate) else PORT_TAKEN
        if code == PORT_TAKEN:
            continue
        if code:
            announce(f"no live view: its server did not start; see {_log_file(candidate)}")
            return None
        if candidate != port:
            announce(f"port {port} is taken by something that is not visdom: the live view is at port {candidate}")
        return loopback(candidate)
    announce(f"no live view: ports {port} to {last} are taken by something that is not visdom; choose another --port")
    return None


def _launch(port: int, static: Path) -> int:
    """Start a server and wait until it answers.

    :return: the exit code of its launcher
    """
    settings: dict[str, object] = {
        "--port": port,
        "--static": static,
        "--env-path": cache_folder() / "environments",
        "--log": _log_file(port),
    }
    command = [sys.executable, "-m", "rl_baselines.live.server", "--detach"]
    command += [str(word) for pair in settings.items() for word in pair]
    try:
        return subprocess.run(
            command,
            cwd=ROOT,  # where our packages can be imported, also without an installation
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=START_TIMEOUT_S,
        ).returncode
    except subprocess.TimeoutExpired:
        return -1


def _log_file(port: int) -> Path:
    return cache_folder() / "servers" / f"{port}.log"


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Let trainings that begin at once wait for each other, so that they share one server."""
    folder = cache_folder() / "servers"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "start.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def stop(port: int) -> ServerInfo:
    """End our server at a port, and wait until it has ended; what it shows is kept on disk.

    :raises UsageError: when none of ours runs there
    """
    servers = {info.port: info for info in running()}
    if check_port(port) not in servers:
        raise UsageError(_no_server(port, sorted(servers)))
    info = servers[port]
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(info.pid, number)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < deadline:
            if info not in running():
                return info
            time.sleep(0.02)
    raise UsageError(f"the server at port {port} does not end; its process is {info.pid}")


def _no_server(port: int, ports: list[int]) -> str:
    if not ports:
        return f"no server of the live view runs at port {port}, nor at any other"
    near = sorted(ports, key=lambda other: abs(other - port))[:3]
    return f"no server of the live view runs at port {port}; the nearest run at {', '.join(map(str, near))}"
