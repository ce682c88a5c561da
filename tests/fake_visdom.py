"""A server that speaks as visdom does, and misbehaves as it is told."""

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeVisdom:
    """Takes windows and keeps the newest of each.

    :param port: 0 takes a free one
    :ivar mood: ``well``, ``error`` (answers 500) or ``hang`` (answers nothing for as long)
    :ivar windows: messages by page and window
    :ivar n_messages: of each window
    """

    def __init__(self, port: int = 0) -> None:
        self.mood = "well"
        self.windows: dict[str, dict[str, Any]] = {}
        self.n_messages: Counter[str] = Counter()
        self.requests = 0
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                fake.requests += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                while fake.mood == "hang":
                    time.sleep(0.01)
                fake.take(self.path, json.loads(body) if fake.mood == "well" else {})
                answer = b'["main"]' if self.path == "/env_state" else b"ok"
                self.send_response(500 if fake.mood == "error" else 200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = int(self.server.server_address[1])
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def take(self, path: str, message: dict[str, Any]) -> None:
        if path == "/events" and message:
            self.windows.setdefault(message["eid"], {})[message["win"]] = message
            self.n_messages[message["win"]] += 1

    def die(self) -> None:
        """Stop, with all connections cut."""
        self.mood = "error"
        self.server.shutdown()
        self.server.server_close()
