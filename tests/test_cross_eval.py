"""``python -m rl_baselines.cross_eval``: every policy on every task, in any order and however often it is killed."""

import csv
import fcntl
import hashlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stable_baselines3 as sb3
from cli import TINY, Finished, call, call_train, start
from PIL import Image

from rl_baselines.__main__ import main as verbs
from rl_baselines.cross_eval import main
from rl_baselines.cross_evaluation import playing
from rl_baselines.cross_evaluation.plan import PURPOSE, Cell, Plan, find_policies, make_plan
from rl_baselines.evaluation import EvaluationResult, evaluation_seeds
from rl_baselines.evaluation_tasks import parse_tasks
from rl_baselines.transfer_matrix import sequence_summary

RUN = (
    *("--env", "OmnirobotEnv-v0", "--env-kwargs", "max_steps:12", "--n-envs", 2, "--hyperparam", "n_steps:32"),
    *("n_epochs:1", *TINY, "--num-timesteps", 128, "--save-interval", 64, "--keep-checkpoints", 0, "--eval-freq", 0),
    *("--memory-states", 0, "--no-vis"),
)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log folder with runs in reach and circle, named by links; tests must not change it."""
    folder = tmp_path_factory.mktemp("cross")
    for name, flag, seed in (("reach", "-sc", 1), ("circle", "-cc", 2)):
        run, _ = call_train(*RUN, flag, "--seed", seed, log_dir=folder / "logs")
        (folder / name).symlink_to(run.path)
    return folder


def crossed(*args: object) -> Finished:
    done = call(main, *args)
    assert (done.code, done.err) == (0, ""), done.err
    return done


def arrays(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "cross_eval.npz", allow_pickle=False) as found:
        return dict(found)


def refused(*args: object) -> str:
    done = call(main, *args)
    assert (done.code, done.out) == (2, ""), done.out
    return done.err


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def cells_of(folder: Path) -> dict[str, tuple[int, str]]:
    """The stored cells, with the time of their last change and their content."""
    return {
        path.name: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted((folder / "cells").glob("*.npz"))
    }


def test_the_arrays_are_the_episodes_of_each_policy_in_each_task(logs: Path, tmp_path: Path) -> None:
    """A cell is what an evaluation of the policy in that task gives, success where it is told."""
    tasks = ("sc", "cc", "square")
    crossed("--policies", logs / "reach", logs / "circle", "--tasks", *tasks, "-n", 3, "--output", tmp_path / "out")
    found = arrays(tmp_path / "out")
    assert (found["policies"].tolist(), found["tasks"].tolist()) == (["reach", "circle"], ["reach", "circle", "square"])
    assert found["rewards"].shape == found["successes"].shape == (2, 3, 3) and found["rewards"].dtype == np.float64
    assert found["start_seeds"].tolist() == evaluation_seeds(3, PURPOSE)
    plan, misfits = make_plan(
        find_policies([str(logs / "reach"), str(logs / "circle")], tmp_path), parse_tasks(tasks), 3
    )
    assert not misfits and [cell.name for cell in plan.cells][-3:] == ["random_00", "random_01", "random_02"]
    for cell in plan.cells:
        result = playing.play(plan, cell)
        expected = (
            found["random_rewards"][cell.task] if cell.policy is None else found["rewards"][cell.policy, cell.task]
        )
        assert result.rewards.tolist() == expected.tolist()
    assert np.isfinite(found["successes"][:, 0]).all() and np.isnan(found["successes"][:, 1:]).all()
    assert (found["lengths"] == 13).all()


def test_scores_are_0_for_random_actions_and_1_for_the_best(logs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = json.loads(
        crossed(
            *("--policies", logs / "reach", f"b={logs / 'circle'}", "--tasks", "sc", "cc", "-n", 4, "--output", out),
            "--json",
        ).out
    )
    found, levels = arrays(out), result["tasks"]
    for t, level in enumerate(levels):
        zero, one = found["random_rewards"][t].mean(), found["rewards"][:, t].mean(axis=1).max()
        assert (level["zero"], level["one"]) == (zero, one)
        if one > zero:
            assert found["scores"][:, t].tolist() == ((found["rewards"][:, t] - zero) / (one - zero)).tolist()
        else:
            assert np.isnan(found["scores"][:, t]).all()
    rows = read(out / "cells.csv")
    assert [(row["policy"], row["task"]) for row in rows] == [
        (policy, task) for policy in ("reach", "b", "random") for task in ("reach", "circle")
    ]
    assert [float(row["mean_reward"]) for row in rows[:4]] == found["rewards"].mean(axis=2).ravel().tolist()
    assert [cell["mean_reward"] for cell in result["cells"]] == [float(row["mean_reward"]) for row in rows]
    episodes = read(out / "episodes.csv")
    assert [float(row["reward"]) for row in episodes[:16]] == found["rewards"].ravel().tolist()
    assert episodes[0]["start_seed"] == str(found["start_seeds"][0]) and len(episodes) == 6 * 4
    assert result == json.loads((out / "result.json").read_text()) and result["sequence"] is None
    with Image.open(out / "heat_map.png") as picture:
        assert picture.width > 600


def test_no_figure_depends_on_the_number_of_processes_or_the_order(logs: Path, tmp_path: Path) -> None:
    policies, tasks = [logs / "reach", logs / "circle"], ["sc", "cc"]
    crossed("--policies", *policies, "--tasks", *tasks, "-n", 3, "--output", tmp_path / "one", "--jobs", 1)
    turned = ("--policies", *policies[::-1], "--tasks", *tasks[::-1])
    crossed(*turned, "-n", 3, "--output", tmp_path / "two", "--jobs", 3)
    one, two = arrays(tmp_path / "one"), arrays(tmp_path / "two")
    for name in ("rewards", "lengths", "successes"):
        assert np.array_equal(one[name], two[name][::-1, ::-1], equal_nan=True), name
    assert one["random_rewards"].tolist() == two["random_rewards"][::-1].tolist()


def test_a_sequence_tells_forgetting_and_transfer(logs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = crossed(
        *("--policies", logs / "reach", logs / "circle", "--tasks", "sc", "cc", "-n", 3, "--sequential"),
        *("--output", out),
    )
    found = json.loads((out / "result.json").read_text())["sequence"]
    raw = arrays(out)
    for name, expected in sequence_summary(raw["rewards"], raw["random_rewards"]).items():
        assert found["reward"][name] == {"mean": expected.mean, "low": expected.low, "high": expected.high}
    assert "forward transfer" in done.out and str(out / "heat_map.png") in done.out


def test_the_same_command_finds_its_folder_and_plays_nothing_again(logs: Path, tmp_path: Path) -> None:
    """Without --output the folder is named by policies, tasks and episodes; runs stay as they are."""
    before = {path: path.stat().st_mtime_ns for path in (logs / "logs").rglob("*")}
    command = ("--policies", logs / "reach", "--tasks", "sc", "-n", 2, "--log-dir", tmp_path)
    first = json.loads(crossed(*command, "--json").out)
    folder = Path(first["folder"])
    assert folder.parent == tmp_path / "cross_eval"
    stored = cells_of(folder)
    assert list(stored) == ["000_00.npz", "random_00.npz"]
    assert json.loads(crossed(*command, "--json").out) == first and cells_of(folder) == stored
    other = json.loads(crossed(*command, "-n", 3, "--json").out)
    assert other["folder"] != first["folder"]
    assert {path: path.stat().st_mtime_ns for path in (logs / "logs").rglob("*")} == before


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_with_what_is_missing(logs: Path, tmp_path: Path) -> None:
    command = ("--policies", logs / "reach", logs / "circle", "--tasks", "sc", "cc", "sqc", "ec", "-n", 60)
    out = tmp_path / "killed"
    process = start("rl_baselines.cross_eval", *command, "--output", out, "--jobs", 1, out=tmp_path / "printed")
    deadline = time.monotonic() + 100
    while len(list((out / "cells").glob("*.npz"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    stored = cells_of(out)
    assert 2 <= len(stored) < 12 and not (out / "result.json").exists()
    crossed(*command, "--output", out)
    after = cells_of(out)
    assert {name: after[name] for name in stored} == stored and len(after) == 12
    crossed(*command, "--output", tmp_path / "whole")
    whole, killed = arrays(tmp_path / "whole"), arrays(out)
    assert all(
        np.array_equal(whole[name], killed[name], equal_nan=name != "policies") for name in ("rewards", "scores")
    )


def test_a_damaged_cell_is_played_again(logs: Path, tmp_path: Path) -> None:
    command = ("--policies", logs / "reach", "--tasks", "sc", "-n", 2, "--output", tmp_path / "out")
    crossed(*command)
    cell = tmp_path / "out" / "cells" / "000_00.npz"
    whole = cell.read_bytes()
    cell.write_bytes(whole[: len(whole) // 2])
    crossed(*command)
    assert playing.unpack(cell.read_bytes()).rewards.tolist() == playing.unpack(whole).rewards.tolist()


def test_a_dead_worker_is_one_line_and_what_is_done_stays(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = playing.play

    def play_or_die(plan: Plan, cell: Cell) -> EvaluationResult:
        if cell.name == "001_00":
            os.kill(os.getpid(), signal.SIGKILL)
        return play(plan, cell)

    monkeypatch.setattr(playing, "play", play_or_die)
    command = ("--policies", logs / "reach", logs / "circle", "--tasks", "sc", "-n", 2, "--output", tmp_path / "out")
    done = call(main, *command, "--jobs", 1)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "error: a worker process died with exit code -9 (SIGKILL) while it played circle on reach; 1 of 3 cells are "
        f"stored in {tmp_path / 'out'}, the same command goes on with the rest\n"
    )
    assert list(cells_of(tmp_path / "out")) == ["000_00.npz"]
    monkeypatch.setattr(playing, "play", play)
    crossed(*command)


def test_an_interrupt_is_one_line_too(logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rl_baselines.cross_eval.play_missing", interrupted)
    done = call(main, "--policies", logs / "reach", "--tasks", "sc", "--output", tmp_path / "out")
    assert (done.code, done.out) == (130, "")
    assert done.err == (
        f"interrupted; 0 of 2 cells are stored in {tmp_path / 'out'}, the same command goes on with the rest\n"
    )


def test_a_folder_in_use_is_an_error(logs: Path, tmp_path: Path) -> None:
    command = ("--policies", logs / "reach", "--tasks", "sc", "-n", 2, "--output", tmp_path / "out")
    crossed(*command)
    with open(tmp_path / "out" / ".lock", "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert " is in use by process " in refused(*command)


def test_all_checkpoints_of_a_run(logs: Path, tmp_path: Path) -> None:
    result = json.loads(
        crossed("--policies", f"{logs / 'circle'}@all", "--tasks", "cc", "-n", 2, "--log-dir", tmp_path, "--json").out
    )
    assert [policy["label"] for policy in result["policies"]] == ["step 64", "step 128"]
    assert [policy["selection"] for policy in result["policies"]] == ["step:64", "step:128"]
    assert [Path(policy["path"]).name for policy in result["policies"]] == ["000000064", "000000128"]


def test_pairs_that_do_not_fit(logs: Path, tmp_path: Path) -> None:
    """All of them are named before anything runs; asked for, their cells stay empty and the others are played."""
    command = ("--policies", logs / "reach", logs / "circle", "--tasks", "cc", "escape", "CartPole-v1", "tomato")
    command = (*command, "-n", 2, "--output", tmp_path / "out")
    message = refused(*command)
    assert message.startswith("error: 6 of 8 pairs of policy and task do not fit: ") and message.count("\n") == 1
    for policy in ("reach", "circle"):
        assert f"{policy} on escape (it observes 2 numbers, and the task gives 4 numbers)" in message
        assert f"{policy} on CartPole-v1 (it observes 2 numbers, and the task gives 4 numbers)" in message
        assert f"{policy} on tomato (OmnirobotEnv-v0 has no task tomato; it has reach, circle," in message
    assert message.endswith("; --skip-unfit leaves those cells empty\n") and not (tmp_path / "out").exists()
    done = crossed(*command, "--skip-unfit")
    rewards = arrays(tmp_path / "out")["rewards"]
    assert np.isfinite(rewards[:, 0]).all() and np.isnan(rewards[:, 1:]).all()
    assert json.loads((tmp_path / "out" / "result.json").read_text())["cells"][1]["mean_reward"] is None
    assert [cell.strip() for cell in done.out.splitlines()[4].split("│")[3:6]] == ["-", "-", "-"]
    nothing = refused("--policies", logs / "reach", "--tasks", "escape", "--skip-unfit", "--log-dir", tmp_path)
    assert nothing.endswith("; nothing is left to play\n")


def test_a_lone_zip_acts_where_an_environment_is_named(tmp_path: Path) -> None:
    model = sb3.PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, policy_kwargs={"net_arch": [4]}, seed=0)
    model.save(tmp_path / "pole.zip")
    command = ("--policies", tmp_path / "pole.zip", "-n", 2, "--log-dir", tmp_path)
    result = json.loads(crossed(*command, "--tasks", "CartPole-v1", "--json").out)
    assert result["cells"][0]["policy"] == "pole" and result["cells"][0]["mean_reward"] >= 8
    assert "does not tell its environment" in refused(*command, "--tasks", "cc")
    assert "pole on Pendulum-v1 (" in refused(*command, "--tasks", "CartPole-v1", "Pendulum-v1")


def test_a_folder_of_something_else_is_left_alone(logs: Path, tmp_path: Path) -> None:
    command = ("--policies", logs / "reach", "--tasks", "sc", "-n", 2)
    crossed(*command, "--output", tmp_path / "out")
    stored = cells_of(tmp_path / "out")
    for change in (("-n", 3), ("--tasks", "cc"), ("--policies", logs / "circle")):
        message = refused(*command, *change, "--output", tmp_path / "out")
        assert message.endswith("/out holds another cross-evaluation (other policies, tasks or episodes); name another "
                                "--output\n")  # fmt: skip
    assert cells_of(tmp_path / "out") == stored
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert "is there and holds no cross-evaluation" in refused(*command, "--output", tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


BAD: list[tuple[tuple[object, ...], str]] = [
    ((), "name the policies: --policies RUN ..."),
    (("--policies", "x"), "name the tasks: --tasks sc cc sqc, or circle, or an environment's id ..."),
    (("--policies", "x", "--tasks", "cc", "-n", 0), "--n-episodes must be at least 1, got 0"),
    (("--policies", "x", "--tasks", "cc", "--jobs", 0), "--jobs must be at least 1, got 0"),
    (("--policies", "x", "--tasks", "cicle"), "unknown task 'cicle'; did you mean 'circle'?"),
    (("--policies", "x", "--tasks", "cc"), "there is no model at x"),
    (("--policies", "x@all", "--tasks", "cc"), "there is no run at x"),
]


@pytest.mark.parametrize(("args", "message"), BAD)
def test_mistakes(args: tuple[object, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(*args) == f"error: {message}\n"


def test_mistakes_of_policies_that_are_there(logs: Path, tmp_path: Path) -> None:
    assert refused("--policies", logs / "reach", "--tasks", "sc", "cc", "--sequential") == (
        "error: --sequential takes as many policies as tasks, at least two, the learner after each task; got 1 and 2\n"
    )
    assert "the label 'a' stands for another policy too" in refused(
        "--policies", f"a={logs / 'reach'}", f"a={logs / 'circle'}", "--tasks", "sc"
    )


def test_it_is_a_verb_that_prints_one_object(logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(verbs, "cross_eval", "--policies", logs / "reach", "--tasks", "sc", "-n", 2, "--json")
    assert (done.code, done.err) == (0, "") and done.out.count("\n") == 1
    result: dict[str, Any] = json.loads(done.out)
    assert (tmp_path / "logs" / "cross_eval").is_dir() and result["n_episodes"] == 2
