"""``python -m rl_baselines.diff RUN_A RUN_B``: what differs between the settings of two runs or models."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_baselines.command_line import parse, run_command
from rl_baselines.config import setting

if TYPE_CHECKING:
    from rl_baselines.differences import Differences, Side

DESCRIPTION = "Show what differs between the settings, versions and machines of two runs or saved models."


@dataclass(frozen=True)
class DiffOptions:
    """Diff"""

    run_a: str = setting("latest", "A run folder, RUN@step:N, a checkpoint, a model zip, or latest.", positional=True)
    run_b: str = setting("latest", "The other one.", positional=True)
    algo: str | None = setting(None, "Algorithm, where a lone zip does not tell it.", metavar="NAME")
    json: bool = setting(False, "Print one JSON object on standard output.")
    log_dir: str = setting("logs", "Where latest is looked for.", metavar="FOLDER")


def shown(value: Any) -> str:
    """Write a setting as short as it can be told from others."""
    if value is None:
        return "-"
    return json.dumps(value) if isinstance(value, list | dict | bool) else str(value)


def _print(a: "Side", b: "Side", found: "Differences") -> None:
    from rich.markup import escape

    from rl_baselines.screen import make_console, show_table

    console = make_console()
    header = ("", "a", "b")
    show_table(console, "Compared", [("a", a.name), ("b", b.name)])
    for title, pairs, n_equal in (
        ("Settings", found.settings, found.n_equal_settings),
        ("Versions, machine, plan", found.facts, found.n_equal_facts),
    ):
        if pairs:
            rows = [(name, escape(shown(one)), escape(shown(other))) for name, (one, other) in pairs.items()]
            show_table(console, f"{title}: {len(pairs)} differ, {n_equal} are equal", rows, header)
        else:
            console.print(f"{title}: none differ, {n_equal} are equal", highlight=False)
    for side, names in (("a", found.only_a), ("b", found.only_b)):
        if names:
            console.print(f"told only by {side}: {', '.join(names)}", soft_wrap=True, markup=False, highlight=False)


def command(argv: list[str]) -> int:
    """Carry out the command line.

    :return: the exit code
    """
    options = DiffOptions(**parse((DiffOptions,), argv, "python -m rl_baselines.diff", DESCRIPTION))

    from rl_baselines.differences import compare, read_side
    from rl_baselines.errors import UsageError

    if options.run_a == options.run_b:
        raise UsageError(f"both are {options.run_a}, give two runs or models: python -m rl_baselines.diff RUN_A RUN_B")
    a, b = (read_side(text, Path(options.log_dir), options.algo) for text in (options.run_a, options.run_b))
    found = compare(a, b)
    if options.json:
        print(json.dumps({"a": a.name, "b": b.name, **found.to_dict()}))
    else:
        _print(a, b, found)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; prints, and gives the exit code."""
    return run_command(command, argv)


if __name__ == "__main__":
    sys.exit(main())
