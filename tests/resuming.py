"""Runs that are killed and resumed, and the comparison with those that were not, to the last bit."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
from cli import Finished, Run, call_train, differences, flatten, newest, read_csv, run_command, without_times
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

CLOCKS = ("seconds", "t", "time/fps", "time/time_elapsed", "checkpoint_seconds")
NOT_COMPARED = ("records", "machine")  # lengths of files, which hold times of the day


def train_whole(flags: tuple[object, ...], log_dir: Path) -> Run:
    """A run that is never interrupted, in this process: only what is killed and resumed needs one of its own."""
    return call_train(*flags, log_dir=log_dir)[0]


def train_killed(flags: tuple[object, ...], log_dir: Path, kill_at_step: int, **variables: str) -> Run:
    """A run that is killed in the middle of a rollout."""
    log_dir.mkdir(parents=True, exist_ok=True)
    variables = {**variables, "KILL_AT_STEP": str(kill_at_step)}
    done = run_command("rl_baselines.train", *flags, "--log-dir", log_dir, folder=log_dir, timeout_s=280, **variables)
    assert done.code == -signal.SIGKILL, done.out + done.err
    return newest(log_dir)


def resume(run: Run | str, *flags: object, folder: Path, code: int = 0, **variables: str) -> Finished:
    """Resume a run, which must end with the exit code."""
    name = run.path if isinstance(run, Run) else run
    done = run_command("rl_baselines.train", "--resume", name, *flags, folder=folder, timeout_s=280, **variables)
    assert done.code == code and (code or not done.err), done.out + done.err
    return done


def content(run: Run, name: str | int = "last") -> dict[str, Any]:
    """Everything in a checkpoint that does not tell the time of the day, by path."""
    folder = run.checkpoint(name)
    found: dict[str, Any] = dict(run.tensors(name))
    if (folder / "vecnormalize.json").exists():
        found |= flatten("statistics", json.loads((folder / "vecnormalize.json").read_text()))
    state = json.loads((folder / "state" / "state.json").read_text())
    found |= flatten("state", without_clocks({key: part for key, part in state.items() if key not in NOT_COMPARED}))
    with np.load(folder / "state" / "arrays.npz") as arrays:
        found |= {f"array/{name}": (str(array.dtype), array.shape, array.tobytes()) for name, array in arrays.items()}
    for kind in ("replay", "second_replay"):
        chunks = sorted((folder / "state" / kind).glob("*.npz"))
        found |= {f"{kind}/{path.name}": path.read_bytes() for path in chunks}
    return found


def without_clocks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_clocks(part) for key, part in value.items() if key not in CLOCKS}
    return [without_clocks(part) for part in value] if isinstance(value, list) else value


def records(run: Run) -> dict[str, Any]:
    """All records of a run but for the times of the day."""
    found: dict[str, Any] = {"progress": without_times(read_csv(run.path / "progress.csv"))}
    evaluations = run.path / "evaluations.csv"
    found["evaluations"] = evaluations.read_text() if evaluations.exists() else None
    for path in sorted(run.path.glob("monitor/*")):
        found[path.name] = [(row["r"], row["l"]) for row in read_csv(path, n_comments=1)]
    events = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    for tag in events.Tags()["scalars"]:
        if tag not in CLOCKS:
            found[f"tensorboard/{tag}"] = [(event.step, event.value) for event in events.Scalars(tag)]
    for name in ("best", "last"):
        found[name] = run.checkpoint(name).name if os.path.lexists(run.path / name) else None
    found["steps"] = run.steps
    return found


def assert_same(run: Run, reference: Run) -> None:
    """Assert that two runs ended in the same state with the same records, to the last bit."""
    assert differences(content(run), content(reference)) == []
    ours, theirs = records(run), records(reference)
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert ours[name] == theirs[name], name
    for name in ("timesteps", "episodes", "best", "status", "reason", "comparisons"):
        assert run.record[name] == reference.record[name], name
