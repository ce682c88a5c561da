"""A list of commands of this package, carried out side by side in processes of their own, in the order of their needs.

A job that is done is not repeated, so that the same list can be carried out again after whatever stopped it.
"""

import ctypes
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

POLL_S = 0.2
SECONDS_BETWEEN_LINES = 60.0
N_LINES_OF_AN_ERROR = 5
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Job:
    """A command to be carried out once.

    :param name: unique in its list; names the file with its output
    :param module: of the command, such as ``rl_baselines.train``
    :param arguments: gives its arguments when it starts; they may name what other jobs have left
    :param is_done: tells whether it was carried out before
    :param needs: names of the jobs that must be done before it starts
    """

    name: str
    module: str
    arguments: Callable[[], Sequence[str]]
    is_done: Callable[[], bool]
    needs: tuple[str, ...] = ()


@dataclass
class JobReport:
    """What became of the jobs of a list, by name.

    :param done: carried out now or before
    :param failed: with the end of what each had to say
    :param waiting: not started, since something that they need failed or all was stopped
    :param stopped_by: the signal that ended it all; None when it came to its end
    """

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    stopped_by: str | None = None


class JobQueue:
    """Carries out jobs.

    :param jobs: each after those that it needs
    :param n_at_once: how many run side by side
    :param log_folder: for their output; made when the first one starts
    :param announce: told in words what begins, ends and is left
    """

    def __init__(self, jobs: Sequence[Job], n_at_once: int, log_folder: Path, announce: Callable[[str], None]) -> None:
        names: set[str] = set()
        for job in jobs:
            assert job.name not in names and names.issuperset(job.needs), f"{job.name} stands twice or too early"
            names.add(job.name)
        self._n_jobs, self._n_at_once, self._log_folder, self._announce = len(jobs), n_at_once, log_folder, announce
        self._waiting = list(jobs)
        self._running: dict[str, tuple[Job, subprocess.Popen[bytes], float]] = {}
        self._seconds: list[float] = []
        self._report = JobReport()
        self._last_line = time.monotonic()

    def run(self) -> JobReport:
        """Carry out all jobs, and tell what became of them.

        SIGINT and SIGTERM are handed on: a training saves its state and ends, and nothing more starts.
        """
        self._skip_done()
        with _stopping(self._stop_running) as received:
            while self._running or (self._startable() and not received):
                while not received and len(self._running) < self._n_at_once and (ready := self._startable()):
                    self._start(ready[0])
                self._collect(bool(received))
                time.sleep(POLL_S)
        self._report.waiting = [job.name for job in self._waiting]
        self._report.stopped_by = received[0] if received else None
        return self._report

    def log_of(self, name: str) -> Path:
        """Give the file with the output of a job."""
        return self._log_folder / f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}.log"

    def _skip_done(self) -> None:
        done = [job for job in self._waiting if job.is_done()]
        self._report.done += [job.name for job in done]
        self._waiting = [job for job in self._waiting if job not in done]
        if done:
            self._announce(f"{len(done)} of {self._n_jobs} were done before")

    def _startable(self) -> list[Job]:
        done = set(self._report.done)
        return [job for job in self._waiting if done.issuperset(job.needs)]

    def _start(self, job: Job) -> None:
        self._waiting.remove(job)
        self._log_folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", job.module, *job.arguments()]
        with open(self.log_of(job.name), "ab") as log:
            log.write(f"$ {shlex.join(['python', *command[1:]])}\n".encode())
            log.flush()
            process = subprocess.Popen(  # in a group of its own: what a terminal sends comes once, through us
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        self._running[job.name] = (job, process, time.monotonic())

    def _collect(self, is_stopping: bool) -> None:
        """Take in the jobs that have ended."""
        for name, (job, process, began) in list(self._running.items()):
            if process.poll() is None:
                continue
            del self._running[name]
            seconds = time.monotonic() - began
            if process.returncode == 0 and job.is_done():
                self._seconds.append(seconds)
                self._report.done.append(name)
                self._announce(f"[{len(self._report.done)}/{self._n_jobs}] {name}: {seconds:.0f} s; {self._left()}")
            elif is_stopping:
                self._waiting.append(job)
            else:
                self._report.failed[name] = self._reason(name, process.returncode)
                self._announce(f"{name} failed: {self._report.failed[name]}; see {self.log_of(name)}")
            self._last_line = time.monotonic()
        if time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._announce(f"running: {', '.join(self._running)}; {self._left()}")

    def _left(self) -> str:
        """Say how much time is left, by the pace so far."""
        n_left = len(self._waiting) + len(self._running)
        if not n_left or not self._seconds:
            return f"{n_left} left"
        minutes = n_left * sum(self._seconds) / len(self._seconds) / self._n_at_once / 60
        return f"{n_left} left, about {minutes:.0f} min"

    def _reason(self, name: str, code: int) -> str:
        """Give the end of a job's output: its error message, where it has one."""
        lines = [line for line in self.log_of(name).read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines[-N_LINES_OF_AN_ERROR:] if line.startswith("error: ")]
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return f"{how}, {(errors or lines or [''])[-1]}"

    def _stop_running(self) -> None:
        for _, process, _ in self._running.values():
            process.terminate()


def _end_with_parent() -> None:
    """Let a process be told to end when its parent dies, however it dies (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def _stopping(stop: Callable[[], None]) -> Iterator[list[str]]:
    """Call a function at each SIGINT and SIGTERM.

    :return: the names of the signals that came, filled in as they come
    """
    received: list[str] = []

    def take(number: int, _: FrameType | None) -> None:
        received.append(signal.Signals(number).name)
        stop()

    previous = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
