"""``python -m rl_baselines.live VERB``: start, stop and list the servers of the live view, and install its page."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rl_baselines.command_line import parse, run_command
from rl_baselines.config import VISDOM_PORT, setting
from rl_baselines.errors import UsageError, unknown
from rl_baselines.live.connection import Address, check_port, environments, loopback

PROG = "python -m rl_baselines.live"
MAX_RUNS_NAMED = 5


@dataclass(frozen=True)
class StartOptions:
    """Start"""

    port: int = setting(VISDOM_PORT, "Port of this machine; when something else has it, the next free one.")


@dataclass(frozen=True)
class StopOptions:
    """Stop"""

    port: int | None = setting(None, "Port of the server to end. Default: all of ours on this machine.")


@dataclass(frozen=True)
class ShowOptions:
    """Show"""

    runs: tuple[str, ...] = setting(
        ("latest",), "Run folders, or latest; several are compared on one more page.", positional=True, metavar="RUN"
    )
    port: int = setting(VISDOM_PORT, "Port of the live view on this machine; its server is started where none answers.")
    vis_server: str | None = setting(None, "A visdom server elsewhere.", metavar="http://HOST:PORT")
    log_dir: str = setting("logs", "Where latest is looked for.", metavar="FOLDER")


@dataclass(frozen=True)
class ReportOptions:
    """Report"""

    runs: tuple[str, ...] = setting(("latest",), "Run folders, or latest.", positional=True, metavar="RUN")
    log_dir: str = setting("logs", "Where latest is looked for.", metavar="FOLDER")


@dataclass(frozen=True)
class NoOptions:
    """No settings"""


def start(argv: list[str]) -> int:
    """Start a server, and say where it is."""
    options = StartOptions(**parse((StartOptions,), argv, f"{PROG} start", VERBS["start"].text))
    check_port(options.port)

    from rl_baselines.live import servers

    reasons: list[str] = []
    address = servers.find_or_start(options.port, reasons.append)
    if address is None:
        raise UsageError(reasons[-1])
    for line in reasons:
        print(line)
    print(f"the live view is at {address}")
    return 0


def stop(argv: list[str]) -> int:
    """End one server or all."""
    options = StopOptions(**parse((StopOptions,), argv, f"{PROG} stop", VERBS["stop"].text))
    if options.port is not None:
        check_port(options.port)

    from rl_baselines.live import servers

    ports = [info.port for info in servers.running()] if options.port is None else [options.port]
    for port in ports:
        servers.stop(port)
        print(f"ended the server at port {port}; what it showed is kept")
    if not ports:
        print("no server of the live view is running")
    return 0


def status(argv: list[str]) -> int:
    """Show what runs."""
    parse((NoOptions,), argv, f"{PROG} status", VERBS["status"].text)

    from rich.markup import escape

    from rl_baselines.live.server_records import running
    from rl_baselines.screen import make_console, show_table

    rows = [
        (str(info.port), str(info.pid), _moment(info.started), str(loopback(info.port)), escape(_runs(info.port)))
        for info in running()
    ]
    if rows:
        show_table(make_console(), "Servers of the live view", rows, ("port", "process", "since", "address", "runs"))
    else:
        print("no server of the live view is running")
    return 0


def show(argv: list[str]) -> int:
    """Show runs again from their records."""
    options = ShowOptions(**parse((ShowOptions,), argv, f"{PROG} show", VERBS["show"].text))
    check_port(options.port)
    elsewhere = None if options.vis_server is None else Address.parse(options.vis_server)

    from rl_baselines.live import servers
    from rl_baselines.live.showing import show as show_runs
    from rl_baselines.sources import resolve_run

    runs = [resolve_run(text, Path(options.log_dir))[0] for text in options.runs]
    reasons: list[str] = []
    address = elsewhere or servers.find_or_start(options.port, reasons.append)
    if address is None:
        raise UsageError(reasons[-1])
    try:
        show_runs(runs, address, print)
    except OSError as error:
        raise UsageError(f"the server at {address} does not take it: {error}") from None
    return 0


def report(argv: list[str]) -> int:
    """Write the reports of runs."""
    options = ReportOptions(**parse((ReportOptions,), argv, f"{PROG} report", VERBS["report"].text))

    from rl_baselines.live.showing import report as write_report
    from rl_baselines.run_folder import short
    from rl_baselines.sources import resolve_run

    for run in [resolve_run(text, Path(options.log_dir))[0] for text in options.runs]:
        try:
            print(short(write_report(run)))
        except OSError as error:
            raise UsageError(f"the report of {run.run_id} cannot be written: {error}") from None
    return 0


def install(argv: list[str]) -> int:
    """Install the page."""
    parse((NoOptions,), argv, f"{PROG} install", VERBS["install"].text)

    from rl_baselines.live import assets

    folder, is_new = assets.install()
    print(f"the page of the live view {'is now' if is_new else 'is'} in {folder}")
    return 0


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _runs(port: int) -> str:
    """Name what a server shows."""
    try:
        names = [name for name in environments(loopback(port)) if name != "main"]
    except OSError as error:
        return f"it does not answer: {error}"
    more = len(names) - MAX_RUNS_NAMED
    return "\n".join([*names[:MAX_RUNS_NAMED], *([f"and {more} more"] if more > 0 else [])]) or "none"


@dataclass(frozen=True)
class Verb:
    """What can be done with the live view."""

    text: str
    run: Callable[[list[str]], int]


VERBS = {
    "start": Verb("start a server on this machine, in the background", start),
    "stop": Verb("end the servers", stop),
    "status": Verb("list the servers, and the runs that they show", status),
    "show": Verb("show runs that are over, have crashed or were not watched, from their records", show),
    "report": Verb("write all plots of runs as files, and as one page that needs no server", report),
    "install": Verb("put the page together in the cache folder; needs npm and the network, once", install),
}


def command(argv: list[str]) -> int:
    """Carry out the command line.

    :return: the exit code
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: {PROG} VERB ...\n")
        print("\n".join(f"  {name:8s} {verb.text}" for name, verb in VERBS.items()))
        print(f"\n{PROG} VERB --help lists the settings of a verb.")
        return 0
    if argv[0] not in VERBS:
        raise unknown("verb", argv[0], VERBS)
    return VERBS[argv[0]].run(argv[1:])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; prints, and gives the exit code."""
    return run_command(command, argv)


if __name__ == "__main__":
    sys.exit(main())
