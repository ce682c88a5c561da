"""``python -m rl_baselines.demonstration``: an arm learns to press a button, then to find it wherever it lies.

Runs the commands that a user would type, shows each before it starts, and checks what came out.

Exit codes: 0 every threshold is met, 1 one is missed, 2 wrong usage, 75 stopped while a training was under way, 130
stopped elsewhere; a command that fails ends the demonstration with its own code.
"""

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rl_baselines.command_line import parse, run_command
from rl_baselines.config import setting

if TYPE_CHECKING:
    from rl_baselines.run_folder import RunFolder

PARENT_PRESET = "kuka_button_ppo"
CHILD_PRESET = "kuka_button_random_target"
NEW_LR = "1e-3"
N_EPISODES = 50
PARENT_THRESHOLD = 0.9
CHILD_THRESHOLD = 0.8
EXIT_MISSED = 1
PICTURE_NAME, FILM_NAME = "demonstration.png", "demonstration.gif"
DESCRIPTION = "Train a Kuka arm to press a button, fine-tune it to a button anywhere, and check both."

Call = Callable[[str, Sequence[str]], object]
Measure = Callable[[Sequence[str]], dict[str, Any]]


@dataclass(frozen=True)
class DemonstrationOptions:
    """Demonstration"""

    log_dir: str = setting("logs", "Folder under which both runs are stored.", metavar="FOLDER")
    seed: int = setting(0, "Every random draw of both runs derives from it.")


@dataclass(frozen=True)
class Score:
    """What an evaluation gave.

    :param success_rate: share of the episodes that ended with the button pressed
    :param success_low: lower end of its 95 % interval
    :param success_high: upper end
    :param n_episodes: number of episodes
    """

    success_rate: float
    success_low: float
    success_high: float
    n_episodes: int

    @classmethod
    def of(cls, summary: dict[str, Any]) -> "Score":
        """Take the figures from what ``enjoy --json`` prints."""
        return cls(**{name: summary[name] for name in cls.__dataclass_fields__})

    def __str__(self) -> str:
        interval = f"[{100 * self.success_low:.0f}, {100 * self.success_high:.0f}]"
        return f"{100 * self.success_rate:.0f} % {interval} of {self.n_episodes} episodes"


@dataclass(frozen=True)
class Commands:
    """How the demonstration runs commands of the package; both wait for the end.

    :param call: runs a command's module with its arguments
    :param measure: runs ``enjoy --json`` with its arguments and gives what it prints
    """

    call: Call
    measure: Measure


class CommandError(Exception):
    """A command of the demonstration did not end well.

    :param code: its exit code
    """

    def __init__(self, module: str, code: int) -> None:
        super().__init__(f"{module} ended with exit code {code}")
        self.code = code


def run_module(module: str, arguments: Sequence[str], capture: bool = False) -> str:
    """Show a command as a user would type it, run it, and give what it printed where that is captured.

    :param capture: take its standard output instead of letting it through
    :raises CommandError: when its exit code is not 0, or when it was to be stopped
    """
    print(f"\n$ {shlex.join(['python', '-m', module, *arguments])}", flush=True)
    output = subprocess.PIPE if capture else None
    typed = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(typed, stdout=output, text=True) as process, _left_to(process) as received:
        printed, _ = process.communicate()
    code = process.returncode
    if code or received:
        raise CommandError(module, code if code > 0 else 128 + (-code or received[0]))
    return printed or ""


@contextmanager
def _left_to(process: "subprocess.Popen[str]") -> Iterator[list[int]]:
    """Leave stopping to a command while it runs: a terminal sends Ctrl-C to it too, SIGTERM is handed on.

    :return: the signals that came, filled in as they come
    """
    received: list[int] = []

    def hand_on(number: int, _: FrameType | None) -> None:
        received.append(number)
        if number == signal.SIGTERM:
            process.terminate()

    previous = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def measure_module(arguments: Sequence[str]) -> dict[str, Any]:
    """Run ``enjoy`` and give the figures that it prints.

    :raises CommandError: when it ends with an error
    """
    printed = run_module("rl_baselines.enjoy", [*arguments, "-n", str(N_EPISODES), "--json"], capture=True)
    print(printed, end="", flush=True)
    summary: dict[str, Any] = json.loads(printed)
    return summary


@dataclass(frozen=True)
class Demonstration:
    """Two runs and their scores.

    :param parent: learned to press a button in one place
    :param child: fine-tuned from its best model to a button anywhere
    :param parent_summary: figures of the parent, button in its place
    :param zero_shot: figures of the parent, button anywhere
    :param child_summary: figures of the child, button anywhere
    :param minutes: wall time of parent training, its evaluations, fine-tune, and the child's evaluation with the film
    """

    parent: "RunFolder"
    child: "RunFolder"
    parent_summary: dict[str, Any]
    zero_shot: dict[str, Any]
    child_summary: dict[str, Any]
    minutes: tuple[float, ...]


def demonstrate(options: DemonstrationOptions, commands: Commands) -> Demonstration:
    """Train, evaluate, fine-tune, evaluate and film.

    :raises CommandError: when a command ends with an error
    """
    from rl_baselines.run_folder import newest_run, short

    log_dir = Path(options.log_dir)
    common = ["--seed", str(options.seed), "--log-dir", options.log_dir]
    clock = [time.monotonic()]
    commands.call("rl_baselines.train", ["--config", PARENT_PRESET, *common])
    parent = newest_run(log_dir)
    clock.append(time.monotonic())
    parent_summary = commands.measure([short(parent.path)])
    zero_shot = commands.measure([short(parent.path), "--random-target"])
    clock.append(time.monotonic())
    source = ["--load-rl-model-path", short(parent.path), "--random-target", "--new-lr", NEW_LR]
    commands.call("rl_baselines.train", [*source, "--config", CHILD_PRESET, *common])
    child = newest_run(log_dir)
    clock.append(time.monotonic())
    film = child.videos / FILM_NAME
    child_summary = commands.measure([short(child.path), "--video", short(film)])
    clock.append(time.monotonic())
    minutes = tuple((end - begin) / 60 for begin, end in pairwise(clock))
    return Demonstration(parent, child, parent_summary, zero_shot, child_summary, minutes)


def missed_thresholds(parent: Score, zero_shot: Score, child: Score) -> Iterator[str]:
    """Yield, in words, each threshold that was missed."""
    if parent.success_rate < PARENT_THRESHOLD:
        yield f"the parent succeeds in {parent}, at least {100 * PARENT_THRESHOLD:.0f} % are needed"
    if child.success_rate < CHILD_THRESHOLD:
        yield f"the child succeeds in {child}, at least {100 * CHILD_THRESHOLD:.0f} % are needed"
    if child.success_low <= zero_shot.success_high:
        yield f"the child's success, {child}, is not clearly above the parent's without fine-tuning, {zero_shot}"


def draw(result: Demonstration) -> Path:
    """Draw the curves of both runs, one after the other, into the child's folder."""
    from rl_baselines.plots import RunRecords, compare_curves

    parent, child = result.parent, result.child
    path = child.plots / PICTURE_NAME
    compare_curves(
        [
            RunRecords("parent, button in one place", parent.monitor, parent.evaluations, after=result.parent_summary),
            RunRecords(
                "child, button anywhere", child.monitor, child.evaluations, result.zero_shot, result.child_summary
            ),
        ],
        path,
    )
    return path


def _scores(result: Demonstration) -> tuple[Score, Score, Score]:
    return Score.of(result.parent_summary), Score.of(result.zero_shot), Score.of(result.child_summary)


def _show(result: Demonstration, picture: Path) -> None:
    """Print what came out, how long each part took, and where film and curves lie."""
    from rl_baselines.run_folder import short
    from rl_baselines.screen import make_console, show_table

    parent, zero_shot, child = map(str, _scores(result))
    rows = (
        ("parent, button in one place", parent, f"at least {100 * PARENT_THRESHOLD:.0f} %"),
        ("parent, button anywhere (zero-shot)", zero_shot, "clearly below the child"),
        ("child, button anywhere", child, f"at least {100 * CHILD_THRESHOLD:.0f} %"),
    )
    print()
    show_table(make_console(), "Demonstration", rows, ("", "success [95 % interval]", "asked for"))
    names = ("training", "two evaluations", "fine-tuning", "evaluation and film")
    parts = ", ".join(f"{name} {minutes:.1f}" for name, minutes in zip(names, result.minutes, strict=True))
    print(f"minutes: {parts}; {sum(result.minutes):.1f} in all")
    print(f"film:    {short(result.child.videos / FILM_NAME)}")
    print(f"curves:  {short(picture)}")


def command(argv: list[str], commands: Commands | None = None) -> int:
    """Carry out the command line.

    :param commands: how commands are run; by default in processes of their own
    :return: the exit code
    """
    given = parse((DemonstrationOptions,), argv, "python -m rl_baselines.demonstration", DESCRIPTION)

    try:
        result = demonstrate(DemonstrationOptions(**given), commands or Commands(run_module, measure_module))
    except CommandError as failure:
        print(f"the demonstration ends here: {failure}", file=sys.stderr)
        return failure.code
    _show(result, draw(result))
    missed = list(missed_thresholds(*_scores(result)))
    print(f"missed:  {'; '.join(missed)}" if missed else "every threshold is met")
    return EXIT_MISSED if missed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; prints, and gives the exit code."""
    return run_command(command, argv)


if __name__ == "__main__":
    sys.exit(main())
