"""Trainings as a user runs them, seen in a real browser, on real servers that are killed."""

import base64
import hashlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import open_browser
from cli import Run, newest, run_command, run_train, start
from live_servers import free_port, own_cache, stored, wait_until

from rl_baselines.live.connection import environments, loopback
from rl_baselines.live.server_records import running

KUKA = (
    *("--env", "KukaButtonGymEnv-v0", "--env-kwargs", "max_steps:60", "--n-envs", 4, "--hyperparam", "n_steps:64"),
    *("--num-timesteps", 2048, "--eval-freq", 512, "--eval-episodes", 2, "--best-by", "eval", "--seed", 7),
)
PLOTS = "document.querySelectorAll('.js-plotly-plot').length"
WINDOWS = {
    *("Training reward", "Training reward, smoothed", "Training episodes", "Evaluation", "Success", "Episode length"),
    *("Value loss", "Policy loss", "Size of a policy update", "Entropy of the policy", "Learning rate", "Speed"),
    *("Settings", "Way in an evaluation episode, from above", "End of an evaluation episode"),
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with own_cache(tmp_path / "cache", monkeypatch) as folder:
        yield folder


def page_name(run: Run) -> str:
    return f"{run.id.replace('/', '_')}_{hashlib.sha256(str(run.path).encode()).hexdigest()[:4]}"


def points(window: dict[str, Any], name: str) -> tuple[list[float], list[float]]:
    found = next(part for part in window["content"]["data"] if part["name"] == name)
    return found["x"], found["y"]


def rewards_recorded(run: Run) -> tuple[list[float], list[float]]:
    rows = [row for row in run.progress if row["rollout/ep_rew_mean"]]
    return (
        [float(row["time/total_timesteps"]) for row in rows],
        [pytest.approx(float(row["rollout/ep_rew_mean"])) for row in rows],
    )


def test_a_training_is_seen_in_a_browser(cache: Path, tmp_path: Path) -> None:
    port = free_port()
    run, done = run_train(*KUKA, "--port", port, log_dir=tmp_path / "logs")
    url = f"http://localhost:{port}/env/{page_name(run)}"
    assert done.out.count("watch it live") == 1 and f"watch it live: {url}\n" in done.out
    with open_browser(tmp_path) as page:
        page.open(url)
        page.wait_for(f"{PLOTS} >= 13")
        titles = page.value("[...document.querySelectorAll('.window .bar')].map(bar => bar.innerText)")
        assert {title.splitlines()[-1] for title in titles} == WINDOWS
        assert page.complaints == []
        assert {address.split("/")[2] for address in page.requests if "://" in address} == {f"localhost:{port}"}
        picture = tmp_path / "page.png"
        picture.write_bytes(base64.b64decode(page.call("Page.captureScreenshot", format="png")["data"]))
        assert picture.stat().st_size > 30_000


@pytest.mark.slow
def test_a_server_that_is_killed_in_the_middle_is_followed_by_one_with_all_points(cache: Path, tmp_path: Path) -> None:
    port, logs = free_port(), tmp_path / "logs"
    flags = (*KUKA, "--num-timesteps", 12_288)
    process = start("rl_baselines.train", *flags, "--port", port, "--log-dir", logs, out=tmp_path / "out.txt")
    wait_until(lambda: [info.port for info in running()] == [port], 60)
    wait_until(lambda: any("Kuka" in name for name in environments(loopback(port))), 60)
    os.kill(running()[0].pid, signal.SIGKILL)
    wait_until(lambda: not running())
    time.sleep(1)
    assert run_command("rl_baselines.live", "start", "--port", port, folder=tmp_path).code == 0
    assert process.poll() is None, "the training ended before there was another server"
    assert process.wait(120) == 0, (tmp_path / "out.txt").read_text()
    run = newest(logs)
    assert points(stored(port, "reward", page_name(run)), "training") == rewards_recorded(run)
    said = (tmp_path / "out.txt").read_text()
    assert said.count(f"live view: http://127.0.0.1:{port} does not answer") <= 1


@pytest.mark.slow
def test_two_trainings_at_once_share_a_server(cache: Path, tmp_path: Path) -> None:
    port = free_port()
    logs = [tmp_path / name for name in ("one", "two")]
    processes = [
        start("rl_baselines.train", *KUKA, "--port", port, "--log-dir", log, out=tmp_path / f"{log.name}.txt")
        for log in logs
    ]
    assert [process.wait(180) for process in processes] == [0, 0]
    runs = [newest(log) for log in logs]
    assert [info.port for info in running()] == [port]
    assert page_name(runs[0]) != page_name(runs[1])
    for run in runs:
        assert points(stored(port, "reward", page_name(run)), "training") == rewards_recorded(run)


@pytest.mark.slow
def test_a_run_that_was_killed_is_shown_again(cache: Path, tmp_path: Path) -> None:
    port, logs = free_port(), tmp_path / "logs"
    process = start("rl_baselines.train", *KUKA, "--no-vis", "--log-dir", logs, out=tmp_path / "out.txt")
    wait_until(lambda: any(path.read_text().count("\n") > 3 for path in logs.rglob("progress.csv")), 120)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)
    run = newest(logs)
    done = run_command("rl_baselines.live", "show", run.path, "--port", port, folder=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.strip() == f"{run.id}: http://localhost:{port}/env/{page_name(run)}"
    assert points(stored(port, "reward", page_name(run)), "training") == rewards_recorded(run)
    done = run_command("rl_baselines.live", "show", tmp_path / "none", "--port", port, folder=tmp_path)
    assert done.code == 2 and len(done.err.splitlines()) == 1
