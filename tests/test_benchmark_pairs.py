"""What the benchmarks of fine-tuning rest on: their intervals, and what counts as a run that is done."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from cli import ROOT

sys.path.append(str(ROOT / "benchmarks"))

import pairs


def test_interval_is_that_of_the_paired_t_test() -> None:
    rng = np.random.default_rng(3)
    ours, theirs = rng.normal(1, 1, 7), rng.normal(0, 1, 7)
    expected = scipy.stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    found = pairs.paired(ours.tolist(), theirs.tolist())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx((ours - theirs).mean()) and found.n == 7


def test_sign_needs_the_whole_interval() -> None:
    assert [pairs.Interval(1.0, low, 2.0, 5).sign for low in (-0.1, 0.0, 0.1)] == [0, 0, 1]
    assert pairs.Interval(-1.0, -2.0, -0.1, 5).sign == -1


def test_a_finished_run_is_not_repeated_and_other_flags_are_refused(tmp_path: Path) -> None:
    target = tmp_path / "arm" / "seed_4"
    folder = target / "Env-v0" / "native" / "ppo" / "26-01-01_00h00_00"
    words = ["--num-timesteps", "10", "--seed", "4", "--log-dir", str(target)]
    record = {"command": ["python", "-m", "rl_baselines.train", *words], "status": "finished"}
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(record))
    assert pairs.Runs(tmp_path, 1).train("arm", 4, "--num-timesteps", 10).path == folder
    with pytest.raises(SystemExit, match="holds a run with other flags"):
        pairs.Runs(tmp_path, 1).train("arm", 4, "--num-timesteps", 20)


def test_episodes_come_in_the_order_of_their_ends(tmp_path: Path) -> None:
    for name, rows in (("000.monitor.csv", "1.0,1,0.5\n3.0,1,2.5\n"), ("001.monitor.csv", "2.0,1,1.5\n")):
        (tmp_path / name).write_text(f"#{{}}\nr,l,t\n{rows}")
    assert pairs.episode_rewards(tmp_path) == [1.0, 2.0, 3.0]
