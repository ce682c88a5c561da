"""``python -m rl_baselines.live.server``: a visdom server that is safe to run on one's own machine.

It listens on the loopback address only, answers nobody but its own page and programs of this machine, fetches nothing,
keeps what it shows on disk, and ends by itself when nobody writes and nobody watches.
"""

import asyncio
import copy
import errno
import importlib.util
import json
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environments.durable import replace_file
from rl_baselines.command_line import parse, run_command
from rl_baselines.config import VISDOM_PORT, setting
from rl_baselines.errors import UsageError
from rl_baselines.live.connection import LOOPBACK, check_port
from rl_baselines.live.safety import content_security_policy, is_own_request, make_safe
from rl_baselines.live.server_records import held_record

DESCRIPTION = "Serve the live view on this machine. Usually started by a training, or by: python -m rl_baselines.live"
PORT_TAKEN = 3
READY = "ready"
MAX_MESSAGE_BYTES = 256 * 2**20
SECONDS_BETWEEN_CHECKS = 5.0
PING_INTERVAL_S = 30
COLOURS = ("31,95,168", "217,95,2", "42,138,87", "142,68,173", "140,109,31")
"""Of environments that are compared: red, green and blue."""
UNUSED_PATHS = ("/socket_wrap", "/vis_socket_wrap", "/error/")
"""Of visdom's: for browsers without websockets, and for tests of its error page."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerOptions:
    """Server"""

    port: int = setting(VISDOM_PORT, "Port to listen on, of the loopback address.")
    static: str = setting("", "The page's static files, as installed in the cache folder.", metavar="FOLDER")
    env_path: str = setting("", "Where the windows are kept.", metavar="FOLDER")
    idle_seconds: float = setting(1800.0, "End after this time without a writer and without an open page.")
    save_seconds: float = setting(30.0, "Time between savings of what has changed.")
    detach: bool = setting(False, "Go on in the background, with the log file; return once it answers.")
    log: str = setting("", "Log file of --detach.", metavar="FILE")


class Environments:
    """What the server shows, by environment, and its files.

    :param folder: one JSON file for each
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state: dict[str, Any] = {}
        self.changed: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)
        for aside in folder.glob(".*.tmp"):
            aside.unlink()

    def file(self, name: str) -> Path:
        """Give the file of an environment."""
        return self.folder / f"{name}.json"

    def save(self, name: str) -> None:
        """Write one environment, replacing its file as a whole.

        :raises OSError: when it cannot be written
        """
        env = self.state[name]
        content = {"jsons": env["jsons"], "reload": env["reload"]}
        replace_file(self.file(name), json.dumps(content, separators=(",", ":")).encode())

    def save_changed(self) -> None:
        """Write what has changed since the last time; what cannot be written is tried again next time."""
        for name in sorted(self.changed):
            try:
                if name in self.state:
                    self.save(name)
                self.changed.discard(name)
            except OSError as error:
                _log.warning("cannot save %s: %s", self.file(name), error)

    def note(self, message: dict[str, Any], is_deletion: bool) -> None:
        """Take notice of a message that may change an environment.

        :param is_deletion: whether it deletes one; visdom then removes the file, and fails where there is none
        """
        name = message.get("eid") or "main"
        if isinstance(name, str) and is_deletion and name in self.state:
            self.file(name).touch()
        elif isinstance(name, str):
            self.changed.add(name)


class Activity:
    """When somebody last wrote."""

    def __init__(self) -> None:
        self.last_message = time.monotonic()

    def note(self) -> None:
        """Somebody writes."""
        self.last_message = time.monotonic()

    @property
    def idle_s(self) -> float:
        """Seconds since somebody wrote."""
        return time.monotonic() - self.last_message


def load_visdom() -> Any:
    """Import the server's part of visdom, and give its module `app`.

    The package's own module is left out: it is the client, which imports torch and takes ten times as long.

    :raises UsageError: where visdom is not installed
    """
    spec = importlib.util.find_spec("visdom")
    if spec is None:
        raise UsageError("visdom is not installed; docs/install.md says how, or run: make install")
    sys.modules.setdefault("visdom", importlib.util.module_from_spec(spec))
    return importlib.import_module("visdom.server.app")


def make_application(options: ServerOptions, environments: Environments, activity: Activity) -> Any:
    """Build visdom's application, with what it lacks put into its classes: this process runs nothing else."""
    app_module = load_visdom()
    import tornado.web

    names = ("base_handlers", "socket_handlers", "web_handlers")
    handlers = [importlib.import_module(f"visdom.server.handlers.{name}") for name in names]
    base_handlers, socket_handlers, web_handlers = handlers
    guard(base_handlers, environments, activity)
    socket_handlers.SocketHandler.check_origin = lambda self, origin: is_own_request(self.request.headers)
    socket_handlers.VisSocketHandler.check_origin = lambda self, origin: is_own_request(self.request.headers)
    guard_socket(socket_handlers.SocketHandler, environments)
    for handler in (socket_handlers.SocketHandler, socket_handlers.VisSocketHandler):
        let_go(handler)
    mend_storage(app_module, socket_handlers, web_handlers, environments)
    mend_comparison(web_handlers)
    base_handlers.BaseHandler.write_error = tornado.web.RequestHandler.write_error  # visdom's template is not there
    app_module.tornado_settings.update(
        static_path=options.static,
        template_path=options.static,
        autoreload=False,
        serve_traceback=False,
        compiled_template_cache=True,
        websocket_ping_interval=PING_INTERVAL_S,
    )
    app = app_module.Application(port=options.port, env_path=options.env_path)
    environments.state = app.state
    return app


def guard(base_handlers: Any, environments: Environments, activity: Activity) -> None:
    """Let every request pass a check first, and make what it posts safe.

    :param base_handlers: visdom's module
    """
    import tornado.web

    def prepare_socket(self: Any) -> None:
        if not is_own_request(self.request.headers):
            raise tornado.web.HTTPError(403)

    def prepare(self: Any) -> None:
        prepare_socket(self)
        path = self.request.path
        if path.startswith(UNUSED_PATHS):
            raise tornado.web.HTTPError(404)
        self.nonce = secrets.token_urlsafe(16)
        self.set_header("Content-Security-Policy", content_security_policy(self.nonce))
        self.set_header("X-Content-Type-Options", "nosniff")
        if self.request.method != "POST":
            return
        try:
            message = json.loads(self.request.body)
            if not isinstance(message, dict):
                raise ValueError("not an object")
            changed = _make_safe_in_strings(message) if path == "/win_data" else make_safe(message)
        except (ValueError, RecursionError):
            raise tornado.web.HTTPError(400, reason="Not a JSON object") from None
        if changed:
            self.request.body = json.dumps(message).encode()
        if path != "/env_state":
            activity.note()
            environments.note(message, is_deletion=path == "/delete_env")

    base_handlers.BaseHandler.prepare = prepare
    base_handlers.BaseWebSocketHandler.prepare = prepare_socket


def _make_safe_in_strings(message: dict[str, Any]) -> bool:
    """Make a message safe that holds windows as JSON in a string."""
    if isinstance(message.get("data"), str):
        windows = json.loads(message["data"])
        make_safe(windows)
        message["data"] = json.dumps(windows)
    make_safe(message)
    return True


def guard_socket(handler: Any, environments: Environments) -> None:
    """Make safe what a page sends by its websocket.

    :param handler: visdom's class
    """
    pass_on = handler.on_message

    def on_message(self: Any, text: str) -> None:
        try:
            message = json.loads(text)
            make_safe(message)
        except (ValueError, RecursionError):
            return
        if isinstance(message, dict):
            environments.note(message, is_deletion=message.get("cmd") == "delete_env")
            pass_on(self, json.dumps(message))

    handler.on_message = on_message


def let_go(handler: Any) -> None:
    """Pass over pages that are just being closed: visdom fails the request of whoever made it write to them.

    :param handler: a class of visdom's for websockets
    """
    from tornado.websocket import WebSocketClosedError

    send = handler.write_message

    def write_message(self: Any, message: Any) -> None:
        with suppress(WebSocketClosedError):
            send(self, message).add_done_callback(lambda sent: sent.cancelled() or sent.exception())

    handler.write_message = write_message


def mend_storage(app_module: Any, socket_handlers: Any, web_handlers: Any, environments: Environments) -> None:
    """Let visdom write files whole, list what is there, and survive damaged ones.

    :param app_module: as the next two, a module of visdom's
    """
    lazy_class = importlib.import_module("visdom.utils.server_utils").LazyEnvData

    def serialize(state: Any, names: Sequence[str], env_path: str | None = None) -> list[str]:
        environments.state = state
        known = [name for name in names if name in state]
        for name in known:
            environments.save(name)
        return known

    def load(self: Any) -> None:
        try:
            load_file(self)
        except (ValueError, KeyError, TypeError) as error:
            _log.warning("%s, set aside", error)
            path = Path(self._env_path_file)
            with suppress(OSError):
                path.replace(path.with_suffix(".damaged"))
            self._raw_dict = {"jsons": {}, "reload": {}}

    load_file = lazy_class.lazy_load_data
    lazy_class.lazy_load_data = load
    for module in (app_module, socket_handlers, web_handlers):
        module.serialize_env = serialize
    web_handlers.gather_envs = lambda state, env_path=None: sorted(state)  # visdom's looks into a fixed folder too


def mend_comparison(web_handlers: Any) -> None:
    """Let the curves of compared environments be those of each, in colours of its own.

    Visdom's function shows the first environment's curves twice unless the names come sorted.

    :param web_handlers: visdom's module
    """
    compare = web_handlers.compare_envs

    def compare_sorted(state: Any, names: Sequence[str], *rest: Any) -> None:
        known = [name for name in sorted(set(names)) if name in state]
        if known:
            compare({name: _coloured(state[name], place) for place, name in enumerate(known)}, known, *rest)

    web_handlers.compare_envs = compare_sorted


def _coloured(env: Any, place: int) -> dict[str, Any]:
    """Give a copy of an environment, its curves in the colour of its place among those that are compared."""
    windows = copy.deepcopy(dict(env["jsons"]))
    colour, pale = (f"rgba({COLOURS[place % len(COLOURS)]},{opacity})" for opacity in (1, 0.15))
    for window in windows.values():
        curves = window["content"].get("data", ()) if window.get("type") == "plot" else ()
        for curve in curves:
            if curve.get("type") == "scatter":
                curve |= {"line": {**curve.get("line", {}), "color": colour}, "fillcolor": pale}
                curve["marker"] = {**curve.get("marker", {}), "color": colour}
    return {"jsons": windows, "reload": {}}


async def serve(options: ServerOptions, listening: socket.socket, on_ready: Callable[[], None]) -> None:
    """Serve until the process is told to end, or has been idle for long enough.

    :param listening: bound already
    :param on_ready: called once requests are answered
    """
    environments, activity, stop = Environments(Path(options.env_path)), Activity(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    app = make_application(options, environments, activity)
    from tornado.httpserver import HTTPServer

    server = HTTPServer(app, max_buffer_size=MAX_MESSAGE_BYTES)
    server.add_socket(listening)
    on_ready()
    saved = time.monotonic()
    pause = min(SECONDS_BETWEEN_CHECKS, options.save_seconds, options.idle_seconds / 4)
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)
        if app.subs or app.sources:
            activity.note()
        if activity.idle_s >= options.idle_seconds:
            stop.set()
        if time.monotonic() - saved >= options.save_seconds:
            environments.save_changed()
            saved = time.monotonic()
    server.stop()
    environments.save_changed()


def run(options: ServerOptions, on_ready: Callable[[], None]) -> int:
    """Take the port and serve.

    :return: the exit code
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((LOOPBACK, options.port))
        listening.listen(128)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        print(f"error: port {options.port} is taken", file=sys.stderr)
        return PORT_TAKEN
    listening.setblocking(False)
    with held_record(options.port, Path(options.env_path)):
        asyncio.run(serve(options, listening, on_ready))
    return 0


def run_detached(options: ServerOptions) -> int:
    """Serve in a process of its own, which outlives this one, and return once it answers.

    :return: the exit code: 0 once it serves
    """
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        with open(reader) as pipe:
            said = pipe.read()
        if said == READY:
            return 0
        return int(said) if said.isdigit() else 1
    os.close(reader)
    os.setsid()
    os.chdir("/")
    log = os.open(options.log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)

    def tell(word: str) -> None:
        os.write(writer, word.encode())
        os.close(writer)

    code = run(options, lambda: tell(READY))
    if code:
        tell(str(code))
    return code


def command(argv: list[str]) -> int:
    """Carry out the command line.

    :return: the exit code: 3 when the port is taken
    """
    given = parse((ServerOptions,), argv, "python -m rl_baselines.live.server", DESCRIPTION)
    for name in ("static", "env_path", "log"):
        if given.get(name):
            given[name] = str(Path(given[name]).absolute())
    options = ServerOptions(**given)
    check_port(options.port)
    if not (Path(options.static) / "index.html").is_file() or not options.static:
        raise UsageError(f"--static must name the page's folder, got {options.static!r}; see rl_baselines.live install")
    if not options.env_path:
        raise UsageError("--env-path must name a folder")
    if options.idle_seconds <= 0 or options.save_seconds <= 0:
        raise UsageError("--idle-seconds and --save-seconds must be positive")
    if options.detach:
        return run_detached(options)
    return run(options, lambda: print(f"serving http://{LOOPBACK}:{options.port}", flush=True))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; prints, and gives the exit code."""
    return run_command(command, argv)


if __name__ == "__main__":
    sys.exit(main())
