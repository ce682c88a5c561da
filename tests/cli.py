"""The commands as a user runs them, in processes of their own or in this one, and what they leave behind."""

import contextlib
import csv
import fcntl
import io
import itertools
import json
import os
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

TESTS = Path(__file__).parent
ROOT = TESTS.parent
TINY = ("--policy-kwargs", "net_arch:[16]")
CARTPOLE_PPO = (
    *("--env", "CartPole-v1", "--n-envs", 2, "--hyperparam", "n_steps:32", "n_epochs:2", *TINY),
    *("--num-timesteps", 600, "--save-interval", 64, "--keep-checkpoints", 0, "--seed", 3),
    *("--eval-freq", 128, "--eval-episodes", 2, "--best-by", "eval"),
)
PENDULUM_SAC = (
    *("--env", "Pendulum-v1", "--algo", "sac", "--lr-decay", "linear", *TINY),
    *("--hyperparam", "learning_starts:5", "batch_size:8", "buffer_size:300", "--num-timesteps", 60),
    *("--save-interval", 1, "--keep-checkpoints", 0, "--eval-freq", 0, "--seed", 4),
)
CARTPOLE_DQN = (
    *("--env", "CartPole-v1", "--algo", "dqn", "--lr-decay", "cosine", *TINY),
    *("--hyperparam", "learning_starts:10", "batch_size:8", "buffer_size:300", "--num-timesteps", 118),
    *("--save-interval", 4, "--keep-checkpoints", 0, "--eval-freq", 0, "--seed", 5),
)
KUKA_PPO = (
    *("--env", "KukaButtonGymEnv-v0", "--env-kwargs", "max_steps:30", "--n-envs", 2, *TINY),
    *("--hyperparam", "n_steps:32", "n_epochs:2", "--num-timesteps", 192, "--eval-freq", 96, "--eval-episodes", 1),
    *("--min-episodes-save", 2, "--seed", 6),
)
SHARED_RUNS: dict[str, tuple[Any, ...]] = {
    "cartpole_ppo": CARTPOLE_PPO,
    "pendulum_sac": PENDULUM_SAC,
    "cartpole_dqn": CARTPOLE_DQN,
    "kuka_ppo": KUKA_PPO,
}


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Run:
    """A run folder as a stranger reads it, without the project's own code."""

    path: Path

    @property
    def record(self) -> dict[str, Any]:
        return json.loads((self.path / "run.json").read_text())

    @property
    def id(self) -> str:
        return "/".join(self.path.parts[-4:])

    @cached_property
    def settings(self) -> dict[str, Any]:
        return yaml.safe_load((self.path / "config.yaml").read_text())

    @cached_property
    def progress(self) -> list[dict[str, str]]:
        return read_csv(self.path / "progress.csv")

    @cached_property
    def evaluations(self) -> list[dict[str, str]]:
        return read_csv(self.path / "evaluations.csv")

    @cached_property
    def rewards(self) -> list[list[float]]:
        """The rewards of the training episodes, one list for each environment."""
        return [
            [float(row["r"]) for row in read_csv(path, n_comments=1)] for path in sorted(self.path.glob("monitor/*"))
        ]

    @property
    def steps(self) -> list[int]:
        """The timesteps at which there are checkpoints."""
        return sorted(int(path.name) for path in (self.path / "checkpoints").iterdir())

    @property
    def resumable_steps(self) -> list[int]:
        """The timesteps of the checkpoints that hold more than a model."""
        return [step for step in self.steps if (self.checkpoint(step) / "state").is_dir()]

    def checkpoint(self, name: str | int) -> Path:
        """A checkpoint's folder, by link or timesteps."""
        return self.path / "checkpoints" / f"{name:09d}" if isinstance(name, int) else (self.path / name).resolve()

    def manifest(self, name: str | int) -> dict[str, Any]:
        return json.loads((self.checkpoint(name) / "manifest.json").read_text())

    def tensors(self, name: str | int = "last") -> dict[str, Any]:
        """All that torch saved in a model zip, by member and name: parameters, optimiser states, variables."""
        return zip_tensors(self.checkpoint(name) / "model.zip")

    def learning_rates(self, timesteps: int) -> set[float]:
        """The rates of all parameter groups of all optimisers in a checkpoint."""
        found = self.tensors(timesteps)
        return {rate for name, rate in found.items() if name.endswith("/lr")}


def read_csv(path: Path, n_comments: int = 0) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        for _ in range(n_comments):
            next(file)
        return list(csv.DictReader(file))


def zip_tensors(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith(".pth"):
                content = torch.load(io.BytesIO(archive.read(member)), weights_only=True)
                found |= dict(flatten(member.removesuffix(".pth"), content))
    return found


def flatten(prefix: str, content: Any) -> Iterator[tuple[str, Any]]:
    """The values in nested dictionaries and lists, by path."""
    if isinstance(content, Mapping):
        pairs: Any = content.items()
    elif isinstance(content, list | tuple):
        pairs = enumerate(content)
    else:
        yield prefix, content
        return
    for name, part in pairs:
        yield from flatten(f"{prefix}/{name}", part)


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The names whose values are not equal to the last bit."""
    return [name for name in sorted(one.keys() | other.keys()) if not _equal(one.get(name), other.get(name))]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and bool(one == other)


def without_times(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Rows of a progress.csv without what a clock wrote."""
    clocks = ("time/fps", "time/time_elapsed")
    return [{name: value for name, value in row.items() if name not in clocks} for row in rows]


def environment(**variables: str) -> dict[str, str]:
    """The environment of a command: our packages and the toy environments can be imported from any folder."""
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}", **variables}


def start(module: str, *args: object, out: Path, **variables: str) -> "subprocess.Popen[str]":
    """Start a command as the leader of a new process group, as a terminal does; it writes into `out`."""
    with open(out, "w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", module, *map(str, args)],
            cwd=out.parent,
            env=environment(**variables),
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def run_command(module: str, *args: object, folder: Path, timeout_s: float = 120, **variables: str) -> Finished:
    """Run ``python -m module args`` in a folder to its end."""
    command = [sys.executable, "-m", module, *map(str, args)]
    done = subprocess.run(
        command, cwd=folder, env=environment(**variables), capture_output=True, text=True, timeout=timeout_s
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def run_train(*args: object, log_dir: Path, **variables: str) -> tuple[Run, Finished]:
    """Train in a process of its own, which must succeed and write nothing to standard error."""
    log_dir.mkdir(parents=True, exist_ok=True)
    done = run_command("rl_baselines.train", *args, "--log-dir", log_dir, folder=log_dir, **variables)
    assert (done.code, done.err) == (0, ""), done.out + done.err
    return newest(log_dir), done


def call(main: Callable[[list[str]], int], *args: object) -> Finished:
    """Run a command's main function in this process; a warning counts as standard error."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("default")
        for silent in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", silent)  # as Python does by default
        code = main([str(arg) for arg in args])
    return Finished(code, out.getvalue(), err.getvalue() + "".join(f"{w.category}: {w.message}\n" for w in warned))


def call_train(*args: object, log_dir: Path) -> tuple[Run, Finished]:
    """Train in this process, which spares the second that torch takes to load."""
    from rl_baselines.train import main

    done = call(main, *args, "--log-dir", log_dir)
    assert (done.code, done.err) == (0, ""), done.out + done.err
    return newest(log_dir), done


def newest(log_dir: Path) -> Run:
    """The run under a log folder that began last."""
    return max((Run(path.parent) for path in log_dir.glob("*/*/*/*/run.json")), key=lambda run: run.record["started"])


def shared_run(factory: pytest.TempPathFactory, name: str) -> Run:
    """One of `SHARED_RUNS`, trained once for all tests and test processes. Tests must not change it."""
    base = factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared_runs"
    root.mkdir(exist_ok=True)
    done = root / f"{name}.done"
    with open(root / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            _, finished = run_train(*SHARED_RUNS[name], log_dir=root / name)
            done.write_text(finished.out)
    return newest(root / name)


def shared_output(factory: pytest.TempPathFactory, name: str) -> str:
    """What the training of a shared run printed."""
    run = shared_run(factory, name)
    return (run.path.parents[4] / f"{name}.done").read_text()


def table_row(out: str, name: str, column: int = 1) -> str:
    """The value in the first row of that name of the tables that a command printed; wrapped lines are joined."""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    first = next(index for index, row in enumerate(cells) if row[0] == name)
    rest = itertools.takewhile(lambda row: not row[0], cells[first + 1 :])
    return " ".join([cells[first][column], *(row[column] for row in rest)])
