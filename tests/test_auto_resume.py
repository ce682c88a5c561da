"""``--auto-resume`` and ``--stop-after``: the same command line again, for schedulers that stop and start jobs."""

import json
import re
import signal
import time
from pathlib import Path

import pytest
from cli import TINY, Run, call, newest, run_command, start
from resuming import assert_same, train_killed, train_whole
from test_resume_exact import CARTPOLE, COMMON, ON_POLICY, PPO, ROLLOUT

from rl_baselines.train import main

AUTO = (*PPO, "--auto-resume")
SLOW = ("--env", "SlowWalk-v0", *COMMON, *TINY, *ON_POLICY, *ROLLOUT, "n_epochs:2")
SLOW_AUTO = (*SLOW, "--auto-resume")


def folders(log_dir: Path) -> list[Path]:
    return sorted(path.parent for path in log_dir.glob("*/*/*/*/run.json"))


def again(*flags: object, log_dir: Path, code: int = 0) -> str:
    done = call(main, *flags, "--log-dir", log_dir)
    assert (done.code, done.err) == (code, ""), done.out + done.err
    return done.out


def stop_soon(*flags: object, log_dir: Path) -> None:
    """Stop a run whose environments are too slow for it to end before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOY_STEP_S", "0.05")
        again(*flags, "--stop-after", "1s", log_dir=log_dir, code=75)


def test_the_same_command_line_begins_goes_on_and_ends(tmp_path: Path) -> None:
    """In processes of their own, one of them killed; the fourth has nothing left to do."""
    whole = train_whole(PPO, tmp_path / "whole")
    log_dir = tmp_path / "logs"
    killed = train_killed(AUTO, log_dir, 150)
    done = run_command("rl_baselines.train", *AUTO, "--log-dir", log_dir, folder=tmp_path)
    assert (done.code, done.err) == (0, ""), done.err
    assert done.out.startswith(f"going on with {killed.path.relative_to(tmp_path)}\n")
    assert folders(log_dir) == [killed.path]
    assert_same(killed, whole)
    assert again(*AUTO, log_dir=log_dir) == f"{killed.path} is this very run, and finished\n"
    assert folders(log_dir) == [killed.path] and len(killed.record["resumes"]) == 1


def test_another_configuration_or_log_folder_begins_another_run(tmp_path: Path) -> None:
    log_dir = tmp_path / "logs"
    stop_soon(*SLOW_AUTO, log_dir=log_dir)
    (first,) = folders(log_dir)
    again(*SLOW_AUTO, "--seed", 9, log_dir=log_dir)
    assert len(folders(log_dir)) == 2
    again(*SLOW_AUTO, log_dir=tmp_path / "others")
    assert len(folders(log_dir)) == 2 and json.loads((first / "run.json").read_text())["status"] == "stopped"
    out = again(*SLOW_AUTO, "--num-timesteps", 320, log_dir=log_dir)
    assert out.startswith(
        f"{first} differs only in --num-timesteps; to give it another horizon: --resume {first} --num-timesteps N\n"
    )
    assert len(folders(log_dir)) == 3


def test_settings_that_cannot_alter_numbers_do_not_matter(tmp_path: Path) -> None:
    log_dir = tmp_path / "logs"
    stop_soon(*SLOW_AUTO, "--save-interval", 32, log_dir=log_dir)
    out = again(*SLOW_AUTO, "--keep-checkpoints", 5, "--episode-window", 3, log_dir=log_dir)
    (run,) = folders(log_dir)
    assert out.startswith(f"going on with {run}\n")


@pytest.mark.slow
def test_of_several_the_newest_unfinished_is_taken_and_named(tmp_path: Path) -> None:
    log_dir = tmp_path / "logs"
    for _ in range(3):
        stop_soon(*SLOW, log_dir=log_dir)
    again(*SLOW, log_dir=log_dir)
    oldest, middle, newest_unfinished, finished = sorted(
        folders(log_dir), key=lambda path: json.loads((path / "run.json").read_text())["started"]
    )
    out = again(*SLOW_AUTO, log_dir=log_dir)
    assert out.startswith(f"going on with {newest_unfinished}, the newest of 3 unfinished ones\n")
    assert again(*SLOW_AUTO, log_dir=log_dir).startswith(f"going on with {middle}, the newest of 2 unfinished ones\n")
    assert again(*SLOW_AUTO, log_dir=log_dir).startswith(f"going on with {oldest}\n")
    assert again(*SLOW_AUTO, log_dir=log_dir) == f"{finished} is this very run, and finished\n"


@pytest.mark.slow
def test_a_run_killed_before_its_first_checkpoint_is_named_and_a_new_one_begins(tmp_path: Path) -> None:
    log_dir = tmp_path / "logs"
    empty = train_killed((*AUTO, "--save-interval", 200), log_dir, 20)
    assert empty.steps == []
    out = again(*AUTO, log_dir=log_dir)
    assert out.startswith(f"{empty.path} has no checkpoint that can be resumed: another run begins\n")
    assert len(folders(log_dir)) == 2


def test_a_source_that_changes_is_refused(tmp_path: Path) -> None:
    again(*SLOW, log_dir=tmp_path / "logs")
    settings = tmp_path / "mine.yaml"
    settings.write_text("load_rl_model_path: latest@last\n")
    for flags in (("--load-rl-model-path", "latest"), ("--config", settings)):
        done = call(main, *flags, "--new-lr", 1e-4, "--auto-resume", "--log-dir", tmp_path / "logs")
        assert (done.code, done.out) == (2, "")
        assert done.err == "error: --auto-resume needs a source that stays the same: name the run instead of latest\n"


def test_a_fine_tune_is_found_again(tmp_path: Path) -> None:
    log_dir = tmp_path / "logs"
    again(*SLOW, log_dir=log_dir)
    parent = newest(log_dir)
    flags = ("--load-rl-model-path", parent.path, *ON_POLICY, "--compare-episodes", 2, "--auto-resume")
    stop_soon(*flags, log_dir=log_dir)
    child = newest(log_dir)
    assert child.path != parent.path
    assert again(*flags, log_dir=log_dir).startswith(f"going on with {child.path}\n")
    assert child.record["status"] == "finished" and len(folders(log_dir)) == 2


@pytest.mark.slow
def test_a_run_that_is_being_trained_in_processes_is_refused_at_once(tmp_path: Path) -> None:
    """Another configuration is not held up either."""
    log_dir = tmp_path / "logs"
    flags = (*SLOW_AUTO, "--num-cpu", 2, "--log-dir", log_dir)
    process = start("rl_baselines.train", *flags, out=tmp_path / "out.txt", TOY_STEP_S="0.2")
    try:
        while process.poll() is None and not list(log_dir.glob("*/*/*/*/run.json")):
            time.sleep(0.02)
        assert process.poll() is None, (tmp_path / "out.txt").read_text()
        done = run_command("rl_baselines.train", *flags, folder=tmp_path, timeout_s=30)
        assert done.code == 2 and "is this very run and is being trained now: wait for it or stop it" in done.err
        done = run_command("rl_baselines.train", *flags, "--seed", 5, folder=tmp_path)
        assert (done.code, done.err) == (0, "")
    finally:
        process.kill()
        process.wait()


STOPS = [pytest.param(how, marks=pytest.mark.slow) for how in ("SIGTERM", "SIGINT", "--stop-after")]


@pytest.mark.parametrize("how", STOPS)
def test_a_stop_from_outside_saves_and_the_resumed_run_equals_one_that_was_not_stopped(
    how: str, tmp_path: Path
) -> None:
    steps = ("--num-timesteps", 3200, "--save-interval", 3200, "--eval-freq", 0, "--best-by", "train")
    flags = (*CARTPOLE, *ON_POLICY, "--hyperparam", "n_steps:16", "n_epochs:2", *steps)
    whole = train_whole(flags, tmp_path / "whole")
    stopped = stop(flags, how, tmp_path)
    done = stopped.record["timesteps"]
    assert stopped.resumable_steps[-1] == done and 0 < done < 3200 and stopped.record["status"] == "stopped"
    done = run_command("rl_baselines.train", "--resume", stopped.path, folder=tmp_path)
    assert (done.code, done.err) == (0, ""), done.err
    kept = {int(stopped.manifest(step)["timesteps"]) for step in stopped.steps}
    for step in kept - set(whole.steps):  # saved because it was stopped there
        (stopped.checkpoint(step)).rename(stopped.path / "plots" / str(step))
    assert_same(stopped, whole)


def stop(flags: tuple[object, ...], how: str, tmp_path: Path) -> Run:
    log_dir = tmp_path / "logs"
    if how == "--stop-after":
        for seconds in range(1, 20):  # the first are over before training has begun
            stop_flags = ("--log-dir", log_dir, "--stop-after", f"{seconds}s")
            done = run_command("rl_baselines.train", *flags, *stop_flags, folder=tmp_path)
            assert (done.code, done.err) == (75, ""), done.err
            out = done.out
            assert f"Stopped: stopped after {seconds}s" in out
            if newest(log_dir).record["timesteps"]:
                break
    else:
        process = start("rl_baselines.train", *flags, "--log-dir", log_dir, out=tmp_path / "out.txt")
        while process.poll() is None and not list(log_dir.glob("*/*/*/*/progress.csv")):
            time.sleep(0.02)
        process.send_signal(signal.Signals[how])
        assert process.wait(60) == 75, (tmp_path / "out.txt").read_text()
        out = (tmp_path / "out.txt").read_text()
    run = newest(log_dir)
    (command,) = re.findall(r"^go on with: (.*)$", out, re.MULTILINE)
    assert command == f"python -m rl_baselines.train --resume {run.path.relative_to(tmp_path)}"
    return run
