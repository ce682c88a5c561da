"""Servers of the live view in a cache folder of their own, which end with the test."""

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rl_baselines.errors import UsageError
from rl_baselines.live.assets import install
from rl_baselines.live.connection import Connection, loopback
from rl_baselines.live.server_records import running


def installed_page() -> Path:
    """The page's static files in the user's own cache, installed there once; without them the test is skipped."""
    try:
        return install()[0]
    except UsageError as error:
        pytest.skip(f"the page of the live view cannot be had: {error}")


@contextlib.contextmanager
def own_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder with the page in it, for this process and those that it starts. What runs in the end is killed."""
    page = installed_page()
    folder.mkdir()
    (folder / page.name).symlink_to(page)
    monkeypatch.setenv("RL_BASELINES_CACHE", str(folder))
    monkeypatch.delenv("CI", raising=False)
    try:
        yield folder
    finally:
        for info in running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(info.pid, signal.SIGKILL)
        wait_until(lambda: not running())


def wait_until(is_true: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def free_port(n_further: int = 2) -> int:
    """A port that is free, as the next ones are."""
    for first in range(20_000 + os.getpid() % 10_000, 60_000):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + 1 + n_further):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("no port is free")


def text_window(content: Any, env: str = "run", window: str = "text") -> dict[str, Any]:
    return {"win": window, "eid": env, "data": [{"type": "text", "content": content}], "opts": {"title": "Text"}}


def curve_window(n_points: int, env: str = "run", window: str = "reward", **layout: Any) -> dict[str, Any]:
    trace = {"type": "scatter", "mode": "lines", "name": "mean", "x": list(range(n_points)), "y": [3] * n_points}
    return {"win": window, "eid": env, "data": [trace], "layout": layout, "opts": {"title": window}}


def stored(port: int, window: str, env: str = "run") -> Any:
    """What a server holds of a window."""
    connection = Connection(loopback(port))
    try:
        return json.loads(connection.post("/win_data", {"eid": env, "win": window}))
    finally:
        connection.close()


def post(port: int, path: str, message: dict[str, Any]) -> str:
    connection = Connection(loopback(port))
    try:
        return connection.post(path, message)
    finally:
        connection.close()


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> http.client.HTTPResponse:
    """The answer to a request as some browser may send it, by header names with _ for -."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    if answer.status != http.client.SWITCHING_PROTOCOLS:
        answer.read()
    connection.close()
    return answer


def _read_request(connection: socket.socket) -> None:
    """Take in a whole request: to close with unread bytes would reset the connection before the answer is read."""
    with connection.makefile("rb") as request:
        fields = http.client.parse_headers(request) if request.readline() else {}
        request.read(int(fields.get("Content-Length", 0)))


@contextlib.contextmanager
def something_else(port: int, answer: bytes | None) -> Iterator[None]:
    """A program that listens at a port and gives the same bytes to everybody, or never any."""
    listening = socket.create_server(("127.0.0.1", port))
    accepted: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted.append(listening.accept()[0])
                if answer is not None:
                    _read_request(accepted[-1])
                    accepted[-1].sendall(answer)
                    accepted[-1].close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for one in accepted:
            one.close()
        thread.join(10)


def http_answer(body: str, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
