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
    from rl_baselines.screen import make_console, show_table

    console = make_console()
    header = ("", "a", "b")
    show_table(console, "Compared", [("a", a.name), ("b", b.name)])
    for title, pairs in (
        ("Settings that differ", found.settings),
        ("Versions, machine, plan that differ", found.facts),
    ):
        if pairs:
            show_table(
                console, title, [(name, shown(one), shown(other)) for name, (one, other) in pairs.items()], header
            )
        else:
            console.print(f"{title}: none")
    console.print(f"{found.n_equal_settings} settings and {found.n_equal_facts} of the others are equal")
    for side, names in (("a", found.only_a), ("b", found.only_b)):
        if names:
            console.print(f"told only by {side}: {', '.join(names)}", soft_wrap=True, markup=False, highlight=False)


def command(argv: list[str]) -> int:
    """Carry out the command line.

    :return: the exit code
    """
    given = parse((DiffOptions,), argv, "python -m rl_baselines.diff", DESCRIPTION)
    options = DiffOptions(**given)

    from rl_baselines.differences import compare, read_side
    from rl_baselines.errors import UsageError

    if "run_b" not in given:
        raise UsageError("diff needs two runs or models: python -m rl_baselines.diff RUN_A RUN_B")
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
