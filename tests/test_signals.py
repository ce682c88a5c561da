"""Ctrl-C, SIGTERM and kill -9, sent to real trainings as a terminal or a cluster sends them."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cli import TINY, Run, environment, newest, read_csv, run_command, start

TIMEOUT_S = 60
SLOW = (
    *("--env", "SlowWalk-v0", "--gym-packages", "toy_envs", "--num-cpu", 2, *TINY),
    *("--hyperparam", "n_minibatches:1", "--eval-freq", 0, "--save-interval", 100_000),
)


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has waited for does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def training(log_dir: Path, n_steps: int, n_timesteps: int, step_s: float) -> Iterator["subprocess.Popen[str]"]:
    """A training with two workers that has made at least one update; its output goes to ``out.txt``."""
    log_dir.mkdir()
    flags = (*SLOW, "--hyperparam", f"n_steps:{n_steps}", "--num-timesteps", n_timesteps, "--log-dir", log_dir)
    process = start("rl_baselines.train", *flags, out=log_dir.parent / "out.txt", TOY_STEP_S=str(step_s))
    try:
        wait_until(lambda: bool(list(log_dir.glob("*/*/*/*/progress.csv"))), "a run folder")
        (progress,) = log_dir.glob("*/*/*/*/progress.csv")
        wait_until(lambda: len(progress.read_text().splitlines()) > 1 or process.poll() is not None, "an update")
        assert process.poll() is None, (log_dir.parent / "out.txt").read_text()
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_to_the_group_saves_and_ends(number: signal.Signals, tmp_path: Path) -> None:
    log_dir = tmp_path / "my logs"
    with training(log_dir, n_steps=8, n_timesteps=640, step_s=0.02) as process:
        workers = children_of(process.pid)
        assert len(workers) == 2 and newest(log_dir).record["status"] == "running"
        os.killpg(process.pid, number)
        assert process.wait(TIMEOUT_S) == 75
    out = (tmp_path / "out.txt").read_text()
    assert "Traceback" not in out
    assert f"{number.name}: stopping after this update; once more stops at once" in out
    assert f"Stopped: stopped by {number.name}" in out
    assert not [pid for pid in workers if is_alive(pid)]

    run = newest(log_dir)
    done = run.record["timesteps"]
    assert (run.record["status"], run.record["reason"]) == ("stopped", f"stopped by {number.name}")
    assert 16 <= done < 640 and done % 16 == 0
    assert run.manifest("last")["timesteps"] == done == run.steps[-1]
    files = {str(path.relative_to(run.checkpoint("last"))) for path in run.checkpoint("last").rglob("*.*")}
    assert files == {*run.manifest("last")["files"], "manifest.json"}
    (command,) = re.findall(r"^go on with: (.*)$", out, re.MULTILINE)
    assert shlex.split(command) == [
        "python",
        "-m",
        "rl_baselines.train",
        "--resume",
        str(run.path.relative_to(tmp_path)),
    ]
    if number == signal.SIGINT:
        done = run_command(*shlex.split(command)[2:], folder=tmp_path)
        assert (done.code, done.err) == (0, ""), done.err
        assert (newest(log_dir).path, run.record["status"], run.record["timesteps"]) == (run.path, "finished", 640)


@pytest.mark.slow
def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """In the middle of a rollout that lasts for half a minute."""
    with training(tmp_path / "logs", n_steps=16, n_timesteps=100_000, step_s=0.01) as process:
        workers = children_of(process.pid)
        os.kill(process.pid, signal.SIGSTOP)
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGTERM)
        os.kill(process.pid, signal.SIGCONT)
        assert process.wait(TIMEOUT_S) in (-signal.SIGINT, -signal.SIGTERM)
    out = (tmp_path / "out.txt").read_text()
    assert "Traceback" not in out and "Stopped" not in out
    wait_until(lambda: not [pid for pid in workers if is_alive(pid)], "the end of the workers")


def test_kill_9_leaves_no_worker_and_frees_the_folder(tmp_path: Path) -> None:
    with training(tmp_path / "logs", n_steps=2, n_timesteps=100_000, step_s=2.0) as process:
        workers = children_of(process.pid)
        assert len(workers) == 2
        run = newest(tmp_path / "logs")
        assert lock_from_elsewhere(run) == (
            f"{run.path} is in use by process {process.pid}: wait for it, or stop it first"
        )
        process.kill()
        assert process.wait(TIMEOUT_S) == -signal.SIGKILL
        assert [pid for pid in workers if is_alive(pid)], "they are busy with a step of two seconds"
        assert lock_from_elsewhere(run) == "locked"
        wait_until(lambda: not [pid for pid in workers if is_alive(pid)], "the end of the workers")
    assert run.record["status"] == "running"
    assert len(read_csv(run.path / "progress.csv")) >= 1


def lock_from_elsewhere(run: Run) -> str:
    """Try to lock a run's folder from another process."""
    code = (
        "import sys; from pathlib import Path\n"
        "from rl_baselines.errors import UsageError\n"
        "from rl_baselines.run_folder import RunFolder\n"
        "try:\n    RunFolder(Path(sys.argv[1])).lock()\n    print('locked')\n"
        "except UsageError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", code, str(run.path)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.rstrip("\n")


def test_ctrl_c_before_the_training_leaves_nothing(tmp_path: Path) -> None:
    """While the environments of the run are made: no traceback, no folder."""
    flags = ("--env", "InterruptedWalk-v0", "--gym-packages", "toy_envs", "--n-envs", 1, "--log-dir", tmp_path / "logs")
    done = run_command("rl_baselines.train", *flags, folder=tmp_path)
    assert (done.code, done.out, done.err) == (130, "", "interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_signal_during_the_last_update_is_no_loss(tmp_path: Path) -> None:
    """All timesteps are done then: there is nothing to go on with, and no command that could not be carried out."""
    flags = ("--env", "SlowWalk-v0", "--gym-packages", "toy_envs", "--n-envs", 1, *TINY, "--eval-freq", 0)
    rollout = ("--hyperparam", "n_steps:100", "n_minibatches:1", "--num-timesteps", 100, "--log-dir", tmp_path / "logs")
    process = start("rl_baselines.train", *flags, *rollout, out=tmp_path / "out.txt", TOY_STEP_S="0.02")
    try:
        wait_until(lambda: "folder" in (tmp_path / "out.txt").read_text(), "the table before the only rollout")
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(TIMEOUT_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    out = (tmp_path / "out.txt").read_text()
    record = json.loads(next(tmp_path.glob("logs/*/*/*/*/run.json")).read_text())
    assert "Traceback" not in out and record["timesteps"] == 100
    assert (code, record["status"]) == (0, "finished")
    assert "go on with" not in out
