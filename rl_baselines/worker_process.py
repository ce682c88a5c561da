"""Worker processes that answer messages over a pipe, outlive the signals of a terminal and end with their parent."""

import multiprocessing
import multiprocessing.connection
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Protocol

END_TIMEOUT_S = 3.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Service(Protocol):
    """What a worker does."""

    def answer(self, message: bytes) -> bytes:
        """Answer a message; never raises."""

    def close(self) -> None:
        """Release everything at the end."""


class WorkerDiedError(RuntimeError):
    """A worker process ended while its envs were in use.

    :param reason: how it ended, in words
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Worker:
    """A worker process and the parent's end of the pipe to it.

    :param share: indices of its envs
    :param service: makes, inside the process, what answers; picklable where processes are spawned
    :param elders: the workers started before, whose pipes a forked worker inherits
    """

    def __init__(self, number: int, share: range, service: Callable[[], Service], elders: "Sequence[Worker]") -> None:
        self.number = number
        self.share = share
        self.rows = slice(share.start, share.stop)
        forks = "fork" in multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("fork" if forks else "spawn")
        self._connection, remote = context.Pipe()
        inherited = [self._connection, *(elder._connection for elder in elders)] if forks else []
        self._process = context.Process(  # type: ignore[attr-defined]
            target=_serve, args=(remote, inherited, service), daemon=True
        )
        with _stop_signals_blocked():
            self._process.start()
        remote.close()

    def send(self, message: bytes) -> None:
        """Send a message, which must not be empty.

        :raises WorkerDiedError: when the process has ended
        """
        try:
            self._connection.send_bytes(message)
        except OSError as error:
            raise self._death() from error

    def receive(self) -> bytes:
        """Wait for the answer to the oldest message that has none yet.

        :raises WorkerDiedError: when the process has ended
        """
        try:
            return self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._death() from error

    def _death(self) -> WorkerDiedError:
        self._process.join(1.0)
        code = self._process.exitcode
        reason = f"exit code {code}"
        if code is not None and code < 0:
            reason += f" ({signal.Signals(-code).name})"
        envs = f"env {self.share[0]}" if len(self.share) == 1 else f"envs {self.share[0]} to {self.share[-1]}"
        return WorkerDiedError(f"worker {self.number} ({envs}) died with {reason}; the vector env is closed", reason)

    def ask_to_end(self) -> None:
        """Tell the worker to end, without waiting for it."""
        with suppress(OSError):
            self._connection.send_bytes(b"")
        self._connection.close()

    def wait_for_end(self, timeout_s: float) -> None:
        """Wait until the process has ended and kill it if it takes too long."""
        self._process.join(timeout_s)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def first_to_answer(workers: "Sequence[Worker]") -> Worker:
    """Wait until one of some workers has answered, or has died, and give it: `Worker.receive` will not wait then."""
    by_connection: dict[object, Worker] = {worker._connection: worker for worker in workers}
    ready = multiprocessing.connection.wait([worker._connection for worker in workers])
    return by_connection[ready[0]]


def _serve(connection: Connection, inherited: Sequence[Connection], make_service: Callable[[], Service]) -> None:
    """Answer commands until an empty one or the end of the pipe, which is the parent's end."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    _unblock_stop_signals()
    # While a worker keeps a copy of the parent's end of a pipe, the death of the parent does not close that pipe.
    for parent_end in inherited:
        parent_end.close()
    service = make_service()
    try:
        with suppress(EOFError, OSError):
            while message := connection.recv_bytes():
                connection.send_bytes(service.answer(message))
    finally:
        service.close()


@contextmanager
def _stop_signals_blocked() -> Iterator[None]:
    """Hold stop signals back while a worker starts, who inherits that until it can ignore them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _unblock_stop_signals() -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def end_workers(workers: Sequence[Worker]) -> None:
    """End workers together, and kill those that are not done with their close after a grace of a few seconds."""
    for worker in workers:
        worker.ask_to_end()
    deadline = time.monotonic() + END_TIMEOUT_S
    for worker in workers:
        worker.wait_for_end(max(0.0, deadline - time.monotonic()))
