"""What a training shows live: all that its records hold, and nothing of it alters the training."""

import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import CARTPOLE_PPO, KUKA_PPO, Run, call, call_train, differences, newest, read_csv, shared_run, table_row
from fake_visdom import FakeVisdom
from PIL import Image

from rl_baselines.live import main as live
from rl_baselines.train import main as train


@pytest.fixture
def fake() -> Iterator[FakeVisdom]:
    server = FakeVisdom()
    yield server
    server.die()


def shown_on(fake: FakeVisdom) -> tuple[object, ...]:
    return ("--vis-server", f"http://127.0.0.1:{fake.port}")


def trace(window: dict[str, Any], name: str) -> tuple[list[float], list[float]]:
    """The points of a trace of a window."""
    found = next(part for part in window["data"] if part["name"] == name)
    return found["x"], found["y"]


def page_of(fake: FakeVisdom, run: Run) -> dict[str, Any]:
    return fake.windows[page_name(run)]


def page_name(run: Run) -> str:
    return f"{run.id.replace('/', '_')}_{hashlib.sha256(str(run.path).encode()).hexdigest()[:4]}"


def columns(rows: list[dict[str, str]], name: str, steps: str) -> tuple[list[float], list[float]]:
    known = [row for row in rows if row[name]]
    return [float(row[steps]) for row in known], [pytest.approx(float(row[name])) for row in known]


def test_the_page_holds_what_the_records_hold(
    fake: FakeVisdom, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run, done = call_train(*CARTPOLE_PPO, *shown_on(fake), "--episode-window", 5, log_dir=tmp_path)
    page = page_of(fake, run)
    steps = "time/total_timesteps"
    assert trace(page["reward"], "training") == columns(run.progress, "rollout/ep_rew_mean", steps)
    assert trace(page["learning_rate"], "learning rate") == columns(run.progress, "train/learning_rate", steps)
    assert trace(page["evaluation"], "evaluation") == columns(run.evaluations, "mean_reward", "timesteps")
    rewards = [float(row["r"]) for path in run.path.glob("monitor/*") for row in read_csv(path, n_comments=1)]
    assert sorted(trace(page["episodes"], "episode")[1]) == sorted(rewards)
    assert trace(page["episodes"], "mean of 5")[0] == trace(page["episodes"], "episode")[0]
    assert "algo: ppo" in page["text/Settings"]["data"][0]["content"]
    titles = {window["opts"]["title"] for window in page.values()}
    assert {"Training reward", "Training episodes", "Evaluation", "Entropy of the policy", "Speed"} <= titles
    assert f"watch it live: http://localhost:{fake.port}/env/{page_name(run)}\n" in done.out
    same = shared_run(tmp_path_factory, "cartpole_ppo")  # trained without being watched
    assert not differences(run.tensors("last"), same.tensors("last"))
    assert [row["mean_reward"] for row in run.evaluations] == [row["mean_reward"] for row in same.evaluations]


def test_a_robot_is_seen_from_above_and_by_the_camera(
    fake: FakeVisdom, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run, _ = call_train(*KUKA_PPO, *shown_on(fake), log_dir=tmp_path)
    page = page_of(fake, run)
    x, y = trace(page["path"], "path")
    assert len(x) == len(y) == 32 and page["path"]["opts"]["title"] == "Way in an evaluation episode, from above"
    assert page["path"]["layout"]["xaxis"]["title"]["text"] == "x in metres (after 192 timesteps)"
    assert (trace(page["path"], "start")[0], trace(page["path"], "end")[0]) == ([x[0]], [x[-1]])
    assert trace(page["path"], "target") == ([0.5], [0.0])
    stored = json.loads((run.path / "plots" / "last_evaluation.json").read_text())
    assert (stored["timesteps"], stored["points"][5]) == (192, [x[5], y[5]])
    with Image.open(run.path / "plots" / "last_evaluation.png") as image:
        pixels = np.array(image)
    assert pixels.shape == (256, 256, 3) and pixels.std() > 20
    assert page["picture"]["opts"]["title"] == "End of an evaluation episode"
    same = shared_run(tmp_path_factory, "kuka_ppo")
    assert not (same.path / "plots" / "last_evaluation.png").exists()  # nobody asked for a picture
    assert not differences(run.tensors("last"), same.tensors("last"))
    assert [row["mean_reward"] for row in run.evaluations] == [row["mean_reward"] for row in same.evaluations]


def test_a_run_that_goes_on_continues_its_page(fake: FakeVisdom, tmp_path: Path) -> None:
    run, _ = call_train(*CARTPOLE_PPO, "--no-vis", log_dir=tmp_path)
    assert not fake.windows
    done = call(train, "--resume", run.path, "--num-timesteps", 800, *shown_on(fake))
    assert (done.code, done.err) == (0, "")
    page = page_of(fake, newest(tmp_path))
    steps, rewards = trace(page["reward"], "training")
    assert (steps, rewards) == columns(Run(run.path).progress, "rollout/ep_rew_mean", "time/total_timesteps")
    assert steps[0] == 64 and steps[-1] == 832
    assert trace(page["evaluation"], "evaluation")[0] == [128, 256, 384, 512, 640, 768, 832]


def test_a_run_goes_on_without_the_server_that_it_was_shown_on(fake: FakeVisdom, tmp_path: Path) -> None:
    flags = ("--num-timesteps", 3000, "--stop-after", "1s", *shown_on(fake))
    done = call(train, *CARTPOLE_PPO, *flags, "--log-dir", tmp_path)
    assert done.code == 75
    fake.die()
    run = newest(tmp_path)
    done = call(train, "--resume", run.path, "--stop-after", "1s", "--no-vis")
    assert (done.code, done.err) == (75, "") and "live view" not in done.out
    done = call(train, "--resume", run.path)
    assert (done.code, done.err) == (0, "") and f"http://127.0.0.1:{fake.port} does not answer" in done.out


def test_a_fine_tune_shows_its_parent_before_the_hand_over(
    fake: FakeVisdom, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parent = shared_run(tmp_path_factory, "cartpole_ppo")
    flags = ("--num-timesteps", 128, "--eval-freq", 64, "--eval-episodes", 2, "--compare-episodes", 6)
    source = f"{parent.path}@step:384"
    run, _ = call_train("--load-rl-model-path", source, *flags, *shown_on(fake), log_dir=tmp_path)
    page = page_of(fake, run)
    x, y = trace(page["evaluation"], "parent's evaluation")
    assert x == [-256, -128, 0]
    assert y == [pytest.approx(float(row["mean_reward"])) for row in parent.evaluations[:3]]
    assert trace(page["evaluation"], "evaluation")[0] == [64, 128]
    assert page["evaluation"]["layout"]["shapes"][0]["x0"] == 0
    assert max(trace(page["episodes"], "parent, mean of 40")[0]) <= 0
    heat_map = page["matrix/Parent and child: reward"]["data"][0]
    comparisons = run.record["comparisons"]
    after = comparisons.get("after (best)") or comparisons["after (last)"]
    assert [row[1] for row in heat_map["z"]] == [comparisons["before"]["mean_reward"], after["mean_reward"]]
    assert (heat_map["x"], heat_map["y"]) == (["parent's environment", "new environment"], ["parent", "child"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--port", 0), "--port must be from 1 to 65535, got 0"),
        (("--port", 70000), "--port must be from 1 to 65535, got 70000"),
        (("--vis-server", "http://127.0.0.1:9"), "no visdom server answers at --vis-server http://127.0.0.1:9; start"),
        (("--vis-server", "127.0.0.1:8097"), "the address of a visdom server is http://HOST:PORT"),
        (("--no-vis", "--vis-server", "http://127.0.0.1:9"), "--no-vis and --vis-server contradict each other"),
    ],
)
def test_what_cannot_be_shown_is_refused_before_anything_begins(
    flags: tuple[object, ...], message: str, tmp_path: Path
) -> None:
    done = call(train, "--env", "CartPole-v1", "--num-timesteps", 64, *flags, "--log-dir", tmp_path)
    assert done.code == 2 and done.err.startswith(f"error: {message}") and len(done.err.splitlines()) == 1
    assert not list(tmp_path.rglob("run.json"))


def test_a_port_that_answers_otherwise_is_no_visdom(fake: FakeVisdom, tmp_path: Path) -> None:
    fake.mood = "error"
    done = call(train, "--env", "CartPole-v1", *shown_on(fake), "--log-dir", tmp_path)
    assert done.code == 2 and done.err.startswith("error: no visdom server answers at --vis-server")


def test_nothing_is_started_where_nobody_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RL_BASELINES_CACHE", str(tmp_path / "cache"))
    flags = ("--env", "CartPole-v1", "--num-timesteps", 64, "--hyperparam", "n_steps:32", "--eval-freq", 0)
    _, done = call_train(*flags, log_dir=tmp_path)
    assert done.out.count("live view: none, for the environment variable CI is set") == 1
    _, done = call_train(*flags, "--no-vis", log_dir=tmp_path)
    assert "live view" not in done.out
    assert not (tmp_path / "cache").exists()  # nor was one looked for


def test_without_the_page_training_goes_on_and_leaves_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI")
    monkeypatch.setenv("RL_BASELINES_CACHE", str(tmp_path / "cache"))
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    flags = ("--env", "CartPole-v1", "--num-timesteps", 64, "--hyperparam", "n_steps:32", "--eval-freq", 32)
    run, done = call_train(*flags, "--eval-episodes", 2, "--port", port, log_dir=tmp_path / "logs")
    assert done.out.count("no live view: its page is not installed; run: python -m rl_baselines.live install") == 1
    report = (run.path / "report.html").read_text()
    assert table_row(done.out, "report").endswith("report.html") and run.id in report
    shown = {path.stem for path in (run.path / "plots").iterdir()}
    assert {"evaluation", "episodes", "learning_rate", "learning_curve"} <= shown
    assert report.count("data:image/png;base64,") == len(shown) - 1  # all but the learning curve


def test_a_report_can_be_had_of_any_run(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    parent = shared_run(tmp_path_factory, "cartpole_ppo")
    flags = ("--num-timesteps", 64, "--eval-freq", 0, "--best-by", "train", "--compare-episodes", 6)
    run, _ = call_train("--load-rl-model-path", f"{parent.path}@last", *flags, log_dir=tmp_path)
    assert not (run.path / "report.html").exists()
    done = call(live, "report", run.path)
    assert (done.code, done.err) == (0, "") and done.out.strip().endswith("report.html")
    page = (run.path / "report.html").read_text()
    before = run.record["comparisons"]["before"]["mean_reward"]
    for text in ("CartPole-v1", "finished: all timesteps done", "64 of 64", f"mean reward {before:.3g}, 6 episodes"):
        assert text in page
    done = call(live, "report", tmp_path / "none")
    assert done.code == 2 and len(done.err.splitlines()) == 1
