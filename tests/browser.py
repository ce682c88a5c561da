"""A headless Chromium, driven by its debugging protocol, which tells what a page did."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "headless_shell")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1300,900"),
    *("--remote-allow-origins=*", "--remote-debugging-port=0"),
)


class Page:
    """One page of a browser.

    :param socket: of the page, speaking the debugging protocol
    """

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._n_sent = 0
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._n_sent += 1
        self.socket.send(json.dumps({"id": self._n_sent, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self._n_sent:
                assert "error" not in message, message
                return message["result"]
            self._note(message.get("method"), message.get("params", {}))

    def _note(self, method: str | None, params: dict[str, Any]) -> None:
        if method in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            self.requests.append(params["request"]["url"] if "request" in params else params["url"])
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives, promises awaited."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, expression: str, timeout_s: float = 20) -> Any:
        """Wait until an expression gives something true, and return that."""
        deadline = time.monotonic() + timeout_s
        while not (found := self.value(expression)):
            assert time.monotonic() < deadline, f"never came: {expression}; complaints: {self.complaints}"
            time.sleep(0.1)
        return found


@contextmanager
def open_browser(folder: Path) -> Iterator[Page]:
    """Run a browser with a profile of its own; the test is skipped where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no headless browser: none of {', '.join(NAMES)} is found")
    websocket = pytest.importorskip("websocket", reason="the package websocket-client, which visdom brings, is missing")
    profile, log = folder / "profile", folder / "browser.log"
    with open(log, "w") as output:
        process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"], stdout=output, stderr=output
        )
    socket = None
    try:
        port = _debugging_port(profile / "DevToolsActivePort", process, log)
        import urllib.request

        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
            target = next(target for target in json.load(answer) if target["type"] == "page")
        socket = websocket.create_connection(target["webSocketDebuggerUrl"], timeout=60)
        yield Page(socket)
    finally:
        if socket is not None:
            socket.close()
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _debugging_port(path: Path, process: "subprocess.Popen[bytes]", log: Path) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        lines = path.read_text().split() if path.exists() else []
        if lines:
            return int(lines[0])
        time.sleep(0.1)
    pytest.skip(f"the browser does not start: {log.read_text()[-300:]}")
