"""Shows a run on a visdom server, whatever becomes of that server.

The writer holds all that is shown, so that a server that was away, or a new one, is sent everything. Training only
appends to a queue; all else happens in a thread of its own.
"""

import os
import threading
from collections import deque
from collections.abc import Callable

from rl_baselines.live.board import Board
from rl_baselines.live.connection import Address, Connection, environments, url_of
from rl_baselines.live.events import Event, Matrix, Path, Picture, Scalars, Text
from rl_baselines.live.panels import panels_with
from rl_baselines.live.windows import MATRIX, PATH, PICTURE, TEXT, Window, window_keys, windows

SECONDS_BETWEEN_FLUSHES = 2.0
FIRST_WAIT_S, LONGEST_WAIT_S, WAIT_FACTOR = 1.0, 15.0, 1.5
SECONDS_TO_CLOSE = 5.0


class VisdomWriter:
    """Sends the windows that have changed, each as a whole, every two seconds.

    :param find_server: gives its address, or None for none; it may take its time
    :param page: the name of the visdom environment
    :param announce: told in words where the run can be seen, when the server goes and when it is back
    :param episode_window: episodes in moving averages
    :param flush_s: seconds between two looks at what has changed
    """

    def __init__(
        self,
        find_server: Callable[[], Address | None],
        page: str,
        announce: Callable[[str], None],
        episode_window: int = 40,
        flush_s: float = SECONDS_BETWEEN_FLUSHES,
    ) -> None:
        self.page = page
        self._find_server = find_server
        self._announce, self._flush_s = announce, flush_s
        self._queue: deque[Event] = deque()
        self._board = Board(episode_window=episode_window)
        self._changed: set[str] = set()
        self._sent: dict[str, Window] = {}
        self._connection: Connection | None = None
        self._is_closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._wait_s = 0.0
        self._is_away = False
        self._has_server = True

    @property
    def has_server(self) -> bool:
        """Whether there is a server, or it is still being looked for."""
        return self._has_server

    def put(self, event: Event) -> None:
        """Take an event; it is shown within seconds."""
        if not self._has_server:
            return
        self._queue.append(event)
        if self._pid != os.getpid():  # the first event, or the first in a forked process, which has no thread
            self._start()

    def close(self) -> None:
        """Send what is left, for a few seconds at most."""
        self._is_closing.set()
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join(SECONDS_TO_CLOSE)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._connection = None
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="visdom-writer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        address = self._find_server()
        if address is None:
            self._has_server = False
            self._queue.clear()
            return
        self._announce(f"watch it live: {url_of(address, self.page)}")
        self._address = address
        is_last = False
        while not is_last:
            is_last = self._is_closing.wait(self._wait_s or self._flush_s)
            self._take_in()
            try:
                self._flush()
            except OSError as error:
                self._go_away(error)
            else:
                self._come_back()
        if self._connection is not None:
            self._connection.close()

    def _take_in(self) -> None:
        """Move what is in the queue to the board, and note which windows it changes."""
        series: set[str] = set()
        while self._queue:
            event = self._queue.popleft()
            self._board.take(event)
            match event:
                case Scalars():
                    series |= event.values.keys()
                case Text():
                    self._changed.add(TEXT + event.name)
                case Matrix():
                    self._changed.add(MATRIX + event.name)
                case Picture():
                    self._changed.add(PICTURE)
                case Path():
                    self._changed.add(PATH)
        self._changed |= panels_with(series)

    def _flush(self) -> None:
        """Send what has changed.

        :raises OSError: when the server does not take it; then it stays to be sent
        """
        if self._connection is None:
            if not self._board.series and not self._changed:
                return
            environments(self._address)
            self._connection = Connection(self._address)
            self._sent = {}
            self._changed = set(window_keys(self._board))  # a server that is new knows nothing
        for key, window in windows(self._board, self._changed):
            if self._sent.get(key) != window:
                self._connection.post("/events", {"win": key, "eid": self.page, **window})
                self._sent[key] = window
        self._changed.clear()

    def _go_away(self, error: OSError) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if not self._is_away:
            self._is_away = True
            self._announce(
                f"live view: {self._address} does not answer ({error}); it is sent everything when it is back"
            )
        self._wait_s = min(LONGEST_WAIT_S, self._wait_s * WAIT_FACTOR or FIRST_WAIT_S)

    def _come_back(self) -> None:
        self._wait_s = 0.0
        if self._is_away and self._connection is not None:
            self._is_away = False
            self._announce(f"live view: {self._address} is back")
