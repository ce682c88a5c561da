"""What a command shows while it works: tables and a progress line, on a terminal or in a log file."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

LOG_WIDTH = 130
SECONDS_BETWEEN_LINES = 20.0
SECONDS_BETWEEN_UPDATES = 0.2


@contextmanager
def standard_output_kept(wanted: bool) -> Iterator[None]:
    """Send to standard error meanwhile what anything, C libraries included, writes to standard output.

    :param wanted: otherwise nothing is changed
    """
    if not wanted:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def make_console() -> Console:
    """Give the console of a command: as wide as the terminal, and wide enough for paths in a log file."""
    console = Console()
    return console if console.is_terminal else Console(width=LOG_WIDTH)


def show_table(console: Console, title: str, rows: Iterable[Sequence[str]], header: Sequence[str] = ()) -> None:
    """Print a table.

    :param rows: cells of each row
    :param header: names of the columns; none for a table of names and values
    """
    table = Table(title=title, title_justify="left", show_header=bool(header), title_style="bold")
    rows = [list(row) for row in rows]
    for index in range(max(map(len, rows), default=0)):
        table.add_column(header[index] if header else "", style="cyan" if index == 0 else None, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


@contextmanager
def episode_progress(total: int) -> Iterator[Callable[[object], None]]:
    """Show finished episodes on standard error: a bar on a terminal, a line now and then elsewhere.

    :param total: number of episodes
    :return: to be called after each one, from any thread
    """
    console = Console(stderr=True)
    columns = (TextColumn("episodes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        began = last_line = time.monotonic()
        done = 0

        def advance(_: object) -> None:
            nonlocal done, last_line
            done += 1
            progress.advance(task)
            now = time.monotonic()
            if not console.is_terminal and done < total and now - last_line >= SECONDS_BETWEEN_LINES:
                last_line = now
                left = (now - began) / done * (total - done)
                console.print(f"{done} of {total} episodes, {_duration(left)} left", highlight=False)

        yield advance


@contextmanager
def part_progress(name: str, total: int, done: int = 0) -> Iterator[Callable[[], None]]:
    """Show on standard error how many parts of a work are done: a bar on a terminal, a line now and then elsewhere.

    :param name: of the parts
    :param total: how many there are
    :param done: how many were done before
    :return: to be called after each one
    """
    console = Console(stderr=True)
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("left"))
    began = last_line = time.monotonic()
    n_done = done
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total, completed=done)

        def advance() -> None:
            nonlocal n_done, last_line
            n_done += 1
            progress.advance(task)
            now = time.monotonic()
            if not console.is_terminal and now - last_line >= SECONDS_BETWEEN_LINES:
                last_line = now
                left = (now - began) / (n_done - done) * (total - n_done)
                console.print(f"{n_done} of {total} {name}, {_duration(left)} left", soft_wrap=True)

        yield advance


class TrainingProgress:
    """The progress of a training: a bar on a terminal, a line now and then elsewhere.

    :param model: what is trained
    :param total: timesteps planned
    :param unit: what a timestep is
    """

    def __init__(self, console: Console, model: Any, total: int, unit: str = "steps") -> None:
        self.console, self.model, self.total, self.unit = console, model, total, unit
        self._began = self._last_line = self._last_update = time.monotonic()
        self._bar: Progress | None = None
        self._done_before = model.num_timesteps

    def __enter__(self) -> "TrainingProgress":
        if self.console.is_terminal:
            status, left = TextColumn("{task.fields[status]}"), TextColumn("left")
            columns = (BarColumn(), TaskProgressColumn(), status, TimeRemainingColumn(), left)
            self._bar = Progress(*columns, console=self.console, speed_estimate_period=60)
            self._bar.start()
            self._task = self._bar.add_task("", total=self.total, completed=self._done_before, status="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def at_boundary(self) -> None:
        """Show where the training stands."""
        now, done = time.monotonic(), self.model.num_timesteps
        if now - self._last_update < SECONDS_BETWEEN_UPDATES:
            return
        self._last_update = now
        if self._bar is not None:
            self._bar.update(self._task, completed=done, status=self._status(now))
        elif now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            left = (now - self._began) / max(1, done - self._done_before) * max(0, self.total - done)
            self.console.print(f"{100 * done / self.total:3.0f} %  {self._status(now)}  {_duration(left)} left")

    def _status(self, now: float) -> str:
        parts = [f"{self.model.num_timesteps:,} {self.unit}"]
        if self.model.ep_info_buffer:
            parts.append(f"reward {np.mean([info['r'] for info in self.model.ep_info_buffer]):.3g}")
        if self.model.ep_success_buffer:
            parts.append(f"success {100 * np.mean(self.model.ep_success_buffer):.0f} %")
        speed = (self.model.num_timesteps - self._done_before) / max(1e-9, now - self._began)
        parts.append(f"{speed:,.0f} {self.unit}/s")
        return "  ".join(parts)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
