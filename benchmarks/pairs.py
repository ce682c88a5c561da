"""What the benchmarks of fine-tuning share: runs of the real command by arm and seed, paired intervals, a record.

Every run is a process of its own, ``python -m rl_baselines.train``, in a folder of its own; what is said of it comes
from its ``run.json``, ``evaluations.csv`` and monitor files. A run that is finished is not repeated.
"""

import argparse
import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TRAIN = "rl_baselines.train"
OUTPUT = "output.txt"
QUICK_SEEDS = 2


@dataclass(frozen=True)
class Interval:
    """Student's t interval, 95 %, of a mean over seeds.

    :param mean: of the seeds
    :param low: its lower end
    :param high: its upper end
    :param n: number of seeds
    """

    mean: float
    low: float
    high: float
    n: int

    @property
    def sign(self) -> int:
        """1 where the interval lies above 0, -1 where it lies below, else 0."""
        return int(self.low > 0) - int(self.high < 0)

    def __str__(self) -> str:
        return f"{self.mean:.4g} [{self.low:.4g}, {self.high:.4g}]"


def student(values: Sequence[float]) -> Interval:
    """Give mean -+ t(n - 1) * s / sqrt(n) of one value for each seed, s with ddof = 1.

    :param values: at least two
    """
    array = np.asarray(values, dtype=np.float64)
    half = float(scipy.stats.t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / len(array) ** 0.5)
    mean = float(array.mean())
    return Interval(mean, mean - half, mean + half, len(array))


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Give the interval of the differences between two arms, seed by seed: ours minus theirs."""
    return student([one - other for one, other in zip(ours, theirs, strict=True)])


@dataclass(frozen=True)
class Run:
    """A run folder of the command, as anybody can read it."""

    path: Path

    @cached_property
    def record(self) -> dict[str, Any]:
        """What ``run.json`` holds."""
        record: dict[str, Any] = json.loads((self.path / "run.json").read_text())
        return record

    @cached_property
    def evaluations(self) -> list[dict[str, float]]:
        """The periodic evaluations in their order, without those on other tasks; what a file leaves open is missing."""
        with open(self.path / "evaluations.csv", newline="") as file:
            rows = [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]
        return [row for row in rows if "mean_reward" in row]

    def comparison(self, name: str, measure: str) -> float:
        """Give a figure of one of the evaluations before and after a fine-tune.

        :param name: such as ``before``, ``after (last)``, or ``child, parent's env``
        :param measure: ``mean_reward`` or ``success_rate``
        """
        return float(self.record["comparisons"][name][measure])

    @property
    def best_model(self) -> Path:
        """The zip of the best model."""
        return (self.path / "best" / "model.zip").resolve()

    @property
    def last_model(self) -> Path:
        """The zip of the last model."""
        return (self.path / "last" / "model.zip").resolve()


def episode_rewards(folder: Path) -> list[float]:
    """Give the rewards of the training episodes in the monitor files of a folder, in the order of their ends."""
    ended: list[tuple[float, float]] = []
    for path in folder.glob("*monitor.csv"):
        with open(path, newline="") as file:
            next(file)
            ended += [(float(row["t"]), float(row["r"])) for row in csv.DictReader(file)]
    return [reward for _, reward in sorted(ended)]


@dataclass(frozen=True)
class Options:
    """What every benchmark is told.

    :param seeds: of the pairs
    :param quick: whether it is only tried out, with runs too short to say anything
    :param folder: where the runs and the result lie
    """

    seeds: tuple[int, ...]
    quick: bool
    folder: Path


def parser_of(document: str) -> argparse.ArgumentParser:
    """Give a parser with the flags that every benchmark has.

    :param document: the benchmark's docstring
    """
    parser = argparse.ArgumentParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seeds", type=int, metavar="N", help=f"number of seeds; default 5, {QUICK_SEEDS} with --quick"
    )
    parser.add_argument(
        "--quick", action="store_true", help="try the benchmark out, with runs too short to say anything"
    )
    parser.add_argument("--folder", help="where runs and result lie; default: logs/benchmarks/NAME")
    return parser


def options_of(arguments: argparse.Namespace, name: str) -> Options:
    """Take the flags that every benchmark has.

    :param name: of the benchmark
    :raises SystemExit: for fewer than two seeds, which give no interval
    """
    n_seeds = arguments.seeds if arguments.seeds is not None else QUICK_SEEDS if arguments.quick else 5
    if n_seeds < 2:
        raise SystemExit("--seeds must be at least 2: a single pair tells nothing of its spread")
    default = ROOT / "logs" / "benchmarks" / (f"{name}_quick" if arguments.quick else name)
    folder = default if arguments.folder is None else Path(arguments.folder)
    return Options(tuple(range(n_seeds)), arguments.quick, folder.absolute())


class Runs:
    """Runs commands one after the other, prints a line after each, and knows how much time is left.

    :param folder: where the runs lie
    :param n_runs: how many there will be
    """

    def __init__(self, folder: Path, n_runs: int) -> None:
        self._folder, self._n_runs = folder, n_runs
        self._n_done = 0
        self._seconds: list[float] = []

    def train(self, arm: str, seed: int, *flags: object) -> Run:
        """Train with the command, or give the run that did so before.

        :param arm: what the run is called
        :param flags: of the command, without seed and folder
        :raises SystemExit: when the command fails, or the folder holds a run with other flags
        """
        target = self._folder / arm / f"seed_{seed}"
        words = [*map(str, flags), "--seed", str(seed), "--log-dir", str(target)]
        found = _finished(target, words)
        began = time.monotonic()
        if found is None:
            shutil.rmtree(target, ignore_errors=True)
            execute([sys.executable, "-m", TRAIN, *words], target)
            found = _finished(target, words)
            if found is None:
                raise SystemExit(f"the run in {target} has not ended; see {OUTPUT} there")
        self.note(f"{arm}, seed {seed}", time.monotonic() - began)
        return found

    def note(self, what: str, seconds: float) -> None:
        """Print that a run is there, and what is left at the pace so far.

        :param seconds: which it took; those of hardly any took place before
        """
        self._n_done += 1
        took = "was there" if seconds < 1 else f"{seconds:.0f} s"
        if seconds >= 1:
            self._seconds.append(seconds)
        pace = sum(self._seconds) / max(len(self._seconds), 1)
        left = (self._n_runs - self._n_done) * pace / 60
        print(f"[{self._n_done}/{self._n_runs}] {what}: {took}; {left:.1f} min left", flush=True)


def execute(command: Sequence[str], folder: Path) -> None:
    """Run a command to its end, one thread, its output kept in a file of a folder.

    :raises SystemExit: when it fails, with the end of what it wrote
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = os.pathsep.join(map(str, (ROOT, HERE)))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    with open(folder / OUTPUT, "w") as file:
        code = subprocess.run(command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT).returncode
    if code:
        tail = "\n".join((folder / OUTPUT).read_text().splitlines()[-15:])
        raise SystemExit(f"{shlex.join(command)}\nended with exit code {code}:\n{tail}")


def _finished(target: Path, words: Sequence[str]) -> Run | None:
    """Give the finished run of a folder; None where there is none, or only one that was broken off."""
    for path in target.glob("*/*/*/*/run.json"):
        run = Run(path.parent)
        if run.record["command"][3:] != list(words):
            raise SystemExit(f"{target} holds a run with other flags; remove it, or name another --folder")
        if run.record["status"] == "finished":
            return run
    return None


def write_result(options: Options, content: Mapping[str, Any], verdicts: Mapping[str, str]) -> None:
    """Store what came out, with the command and the machine, and print the verdicts.

    :param content: settings, values by arm and seed, and intervals
    :param verdicts: in words, by question
    """
    if options.quick:
        verdicts = dict.fromkeys(verdicts, "none: the runs of --quick are too short")
    result = {
        "command": shlex.join(["python", *sys.argv]),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "n_seeds": len(options.seeds),
        "cpu_cores": os.cpu_count(),
        **content,
        "verdicts": dict(verdicts),
    }
    path = options.folder / "result.json"
    path.write_text(json.dumps(result, indent=1, default=vars) + "\n")
    for question, verdict in verdicts.items():
        print(f"{question}: {verdict}")
    print(f"result: {path}")


def show_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows, the first of them the header, in columns."""
    columns = list(zip(*rows, strict=True))
    padded = [[cell.ljust(max(map(len, column))) for cell in column] for column in columns]
    for line in zip(*padded, strict=True):
        print("  ".join(line).rstrip())
