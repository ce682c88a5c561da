"""Shows runs again from their records: finished ones, crashed ones, and those of a machine that nobody watched."""

import hashlib
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rl_baselines.config import MEASURES
from rl_baselines.live.board import Board
from rl_baselines.live.connection import Address, Connection, url_of
from rl_baselines.live.history import events_of, page_name
from rl_baselines.live.panels import compared
from rl_baselines.live.report import write_report
from rl_baselines.live.windows import plot_window, window_keys, windows
from rl_baselines.run_folder import RunFolder


def show(runs: Sequence[RunFolder], address: Address, announce: Callable[[str], None]) -> None:
    """Send all that the files of some runs tell, a page for each and one more that compares several.

    :param address: of a visdom server
    :param announce: told where they can be seen
    :raises OSError: when the server does not take it
    """
    runs = list({run.path: run for run in runs}.values())
    boards = {run: Board(events_of(run), _episode_window(run)) for run in runs}
    connection = Connection(address)
    try:
        for run, board in boards.items():
            page = page_name(run)
            for key, window in windows(board, window_keys(board)):
                connection.post("/events", {"win": key, "eid": page, **window})
            announce(f"{run.run_id}: {url_of(address, page)}")
        if len(boards) > 1:
            page = compare_page(runs)
            names = short_names([str(run.path) for run in boards])
            for panel in compared(dict(zip(names, boards.values(), strict=True))):
                connection.post("/events", {"win": panel.key, "eid": page, **plot_window(panel)})
            announce(f"compared: {url_of(address, page)}")
    finally:
        connection.close()


def report(run: RunFolder) -> Path:
    """Write all plots of a run as files, and the page that holds them, from its records.

    :return: the page
    :raises OSError: when a file cannot be written
    """
    board = Board(events_of(run), _episode_window(run))
    return write_report(board, run.run_id, list(facts_of(run)), run.path, run.plots)


def facts_of(run: RunFolder) -> Iterator[tuple[str, str]]:
    """Yield what a run was and what came out, as far as its record tells, by name."""
    try:
        record = run.read_record()
    except (OSError, ValueError):
        return
    environment = record.get("environment", {})
    options = " ".join(f"{name}:{value}" for name, value in environment.get("kwargs", {}).items())
    yield "environment", f"{environment.get('id')}  {options}".rstrip()
    yield "algorithm", run.path.parent.name
    yield "status", ": ".join(str(record[name]) for name in ("status", "reason") if record.get(name))
    yield "timesteps", f"{record.get('timesteps', 0):,} of {record.get('steps_planned', 0):,}"
    if record.get("seconds"):
        yield "time", f"{record['seconds']:.0f} s"
    if record.get("best"):
        best = record["best"]
        measure = MEASURES[best["by"]]
        score = f"{measure.replace('_', ' ')} {best[measure]:.3g}"
        yield "best model", f"{score} at step {best['timesteps']:,} (by {best['by']})"
    if record.get("parent"):
        yield "parent", f"{record['parent']['path']}, after {record['parent']['timesteps']:,} steps"
    for name, result in record.get("comparisons", {}).items():
        success = "" if result["success_rate"] is None else f", success {result['success_rate']:.0%}"
        yield name, f"mean reward {result['mean_reward']:.3g}{success}, {result['n_episodes']} episodes"
    yield "command", shlex.join(record.get("command", []))


def _episode_window(run: RunFolder) -> int:
    try:
        window: int = run.read_record()["options"]["episode_window"]
    except (OSError, ValueError, KeyError):
        return 40
    return window


def compare_page(runs: Sequence[RunFolder]) -> str:
    """Name the page that compares some runs: the same runs in the same order have the same page."""
    names = "_".join(page_name(run) for run in runs)
    return f"compared_{len(runs)}_runs_{hashlib.sha256(names.encode()).hexdigest()[:8]}"


def short_names(paths: Sequence[str]) -> list[str]:
    """Give the shortest ends of different paths, cut between folders, that are all different."""
    n_levels = 1
    while len({_end(path, n_levels) for path in paths}) < len(paths):
        n_levels += 1
    return [_end(path, n_levels) for path in paths]


def _end(path: str, n_levels: int) -> str:
    return "/".join(path.split("/")[-n_levels:])
