"""``python -m rl_baselines.verify``: train from one checkpoint to the next once more and compare."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli import Run, call, call_train, run_command, table_row
from test_resume_command import forge
from test_resume_exact import PENDULUM, PPO

from rl_baselines.verify import main

SAC = (
    *(*PENDULUM, "--algo", "sac", "--hyperparam", "learning_starts:30", "batch_size:8", "buffer_size:100"),
    *("--num-timesteps", 160, "--save-interval", 40, "--eval-freq", 50, "--min-episodes-save", 1),
)
NAMES = ("parameters", "optimisers", "normalization", "random generators", "observations", "counters", "episodes")


def listing(run: Run) -> dict[str, tuple[float, int]]:
    return {str(path): (path.stat().st_mtime, path.stat().st_size) for path in run.path.rglob("*")}


@pytest.mark.parametrize(("flags", "replay"), [(PPO, False), pytest.param(SAC, True, marks=pytest.mark.slow)])
def test_a_run_of_this_machine_is_exact_and_is_not_touched(
    flags: tuple[object, ...], replay: bool, tmp_path: Path
) -> None:
    run, _ = call_train(*flags, log_dir=tmp_path / "logs")
    before = listing(run)
    done = run_command("rl_baselines.verify", run.path, folder=tmp_path)
    assert (done.code, done.err) == (0, ""), done.out + done.err
    first, *_, last = done.out.splitlines()
    start, end = run.resumable_steps[-2:]
    assert (first, last) == (f"training {run.path.relative_to(tmp_path)} from step {start} to {end} ...", "exact")
    for name in (*NAMES, *(["replay buffer"] if replay else [])):
        assert table_row(done.out, name) == "equal", name
    assert listing(run) == before


def test_an_earlier_pair_can_be_named(tmp_path: Path) -> None:
    run, _ = call_train(*PPO, log_dir=tmp_path / "logs")
    done = call(main, f"{run.path}@step:128")
    assert done.code == 0 and "from step 64 to 128 ..." in done.out
    done = call(main, f"{run.path}@step:32")
    assert (done.code, done.out) == (2, "")
    assert "has no two checkpoints with the state of training up to step 32; --save-interval" in done.err
    done = call(main, tmp_path / "none")
    assert (done.code, done.err) == (2, f"error: there is no run at {tmp_path / 'none'}\n")


def test_a_changed_horizon_between_two_checkpoints_is_taken_into_account(tmp_path: Path) -> None:
    from rl_baselines.train import main as train

    run, _ = call_train(*PPO, log_dir=tmp_path / "logs")
    assert call(train, "--resume", run.path, "--num-timesteps", 320).code == 0
    done = call(main, run.path)
    assert done.code == 0 and "from step 256 to 320 ..." in done.out, done.out
    done = call(main, f"{run.path}@step:256")  # trained under the horizon of then
    assert done.code == 0 and done.out.splitlines()[-1] == "exact", done.out


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    run, _ = call_train(*PPO, log_dir=tmp_path / "logs")
    for step in (256, 192):
        model = run.checkpoint(step) / "model.zip"
        model.write_bytes(model.read_bytes()[:-1] + b"x")
        done = call(main, run.path)
        assert (done.code, done.out) == (2, "")
        assert done.err == f"error: the checkpoint {run.checkpoint(step)} is damaged: model.zip was changed\n"


@pytest.mark.parametrize("part", ["array", "json", "tensor"])
def test_the_first_component_that_differs_is_named(part: str, tmp_path: Path) -> None:
    """As if the run had gone differently: what was saved is changed, hashes included."""
    run, _ = call_train(*PPO, log_dir=tmp_path / "logs")
    end = run.checkpoint(256)
    manifest = json.loads((end / "manifest.json").read_text())
    if part == "array":
        with np.load(end / "state" / "arrays.npz") as arrays:
            changed = dict(arrays)
        changed["model/tensors/_last_obs"][0, 0] += 1
        np.savez(end / "state" / "arrays.npz", **changed)
        expected = "observations: model/tensors/_last_obs: 1 of 8 numbers differ, by 1 at most"
    elif part == "json":
        state = json.loads((end / "state" / "state.json").read_text())
        state["model"]["counters"]["_n_updates"] += 1
        (end / "state" / "state.json").write_text(json.dumps(state))
        expected = "counters: model/counters/_n_updates: 17 and 16"
    else:
        other, _ = call_train(*PPO, "--seed", 8, log_dir=tmp_path / "other")
        shutil.copy(other.checkpoint(256) / "model.zip", end / "model.zip")
        expected = "parameters: policy/"
    forge(end, manifest)
    done = call(main, run.path)
    assert done.code == 1, done.out
    assert done.out.splitlines()[-1].startswith(f"differs first in {expected}"), done.out


def test_another_machine_is_said(tmp_path: Path) -> None:
    run, _ = call_train(*PPO, log_dir=tmp_path / "logs")
    begin = run.checkpoint(192)
    manifest = json.loads((begin / "manifest.json").read_text())
    state = json.loads((begin / "state" / "state.json").read_text())
    state["machine"]["cpu"] = "Z80"
    (begin / "state" / "state.json").write_text(json.dumps(state))
    forge(begin, manifest)
    done = call(main, run.path)
    lines = done.out.splitlines()
    assert done.code == 0 and lines[-1] == "exact"
    assert lines[-2].startswith("reproducible, not exact: other cpu: Z80 then, ")
