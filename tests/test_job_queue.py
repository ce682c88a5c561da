"""A list of commands is carried out in order, side by side, once; failures and stops leave the rest intact."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rl_baselines.job_queue import Job, JobQueue

WORKER = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1]).with_suffix(".stopped").touch(), sys.exit(75)))
name, seconds, code = pathlib.Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
name.with_suffix(".began").write_text(str(time.monotonic()))
time.sleep(seconds)
if code:
    sys.exit(print("error: it cannot be done") or code)
name.with_suffix(".done").write_text(str(time.monotonic()))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module ``worker`` that the jobs run."""
    (tmp_path / "worker.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    return tmp_path


def job(folder: Path, name: str, seconds: float = 0.0, code: int = 0, needs: Sequence[str] = ()) -> Job:
    path = folder / name
    words = [str(path), str(seconds), str(code)]
    return Job(name, "worker", lambda: words, path.with_suffix(".done").exists, tuple(needs))


def run(folder: Path, jobs: Sequence[Job], n_at_once: int = 2) -> tuple[Any, list[str]]:
    said: list[str] = []
    return JobQueue(jobs, n_at_once, folder / "logs", said.append).run(), said


def when(folder: Path, name: str) -> float:
    return float((folder / name).read_text())


def test_a_job_starts_when_what_it_needs_is_done_and_others_run_beside_it(folder: Path) -> None:
    jobs = [job(folder, "a", 0.5), job(folder, "b", 0.5), job(folder, "c", needs=["a", "b"])]
    report, said = run(folder, jobs)
    assert sorted(report.done) == ["a", "b", "c"] and not report.failed and not report.waiting
    assert abs(when(folder, "a.began") - when(folder, "b.began")) < 0.5
    assert when(folder, "c.began") >= max(when(folder, "a.done"), when(folder, "b.done"))
    assert said[-1].startswith("[3/3] c: ") and said[-1].endswith("0 left")


def test_no_more_than_so_many_run_at_once(folder: Path) -> None:
    report, _ = run(folder, [job(folder, "a", 0.3), job(folder, "b", 0.3)], n_at_once=1)
    assert report.done == ["a", "b"]
    assert when(folder, "b.began") >= when(folder, "a.done")


def test_what_is_done_is_not_repeated(folder: Path) -> None:
    (folder / "a.done").write_text("0")
    report, said = run(folder, [job(folder, "a"), job(folder, "b", needs=["a"])])
    assert report.done == ["a", "b"] and said[0] == "1 of 2 were done before"
    assert not (folder / "a.began").exists()


def test_a_failure_holds_back_only_what_needs_it(folder: Path) -> None:
    jobs = [job(folder, "a", code=2), job(folder, "b", needs=["a"]), job(folder, "c")]
    report, said = run(folder, jobs)
    assert report.done == ["c"] and report.waiting == ["b"]
    assert report.failed == {"a": "exit code 2, error: it cannot be done"}
    assert f"a failed: exit code 2, error: it cannot be done; see {folder / 'logs' / 'a.log'}" in said


def test_a_job_that_leaves_nothing_has_failed(folder: Path) -> None:
    """Exit code 0 is not enough: what it was to make must be there."""
    liar = Job("liar", "worker", lambda: [str(folder / "other"), "0", "0"], lambda: False)
    report, _ = run(folder, [liar])
    assert list(report.failed) == ["liar"] and report.failed["liar"].startswith("exit code 0")


DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_job_queue import job, run
folder = Path({folder!r})
report, _ = run(folder, [job(folder, "a", 60.0), job(folder, "b", needs=["a"])])
print(report.stopped_by, report.done, sorted(report.waiting))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_stopping_ends_what_runs_and_starts_nothing_more(number: signal.Signals, folder: Path) -> None:
    """A real process is stopped or killed; its jobs are told to end in either case, so none is left behind."""
    driver = textwrap.dedent(DRIVER).format(tests=str(Path(__file__).parent), folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", driver], stdout=subprocess.PIPE, text=True)
    wait_for(folder / "a.began")
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    wait_for(folder / "a.stopped")
    assert out == ("" if number == signal.SIGKILL else f"{number.name} [] ['a', 'b']\n")
    assert not (folder / "b.began").exists()


def wait_for(path: Path, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not come"
        time.sleep(0.05)
