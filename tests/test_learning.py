"""The tuned presets learn their robots in a short time, to thresholds that several seeds have met."""

import json
from pathlib import Path

import numpy as np
import pytest
from cli import call_train, run_command

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("flags", "n_steps", "threshold"),
    [
        (("--env", "MobileRobotGymEnv-v0", "-r", "--algo", "ppo"), 300_000, 234.0),  # published 234.4, ceiling 237
        (("--env", "OmnirobotEnv-v0", "-sc", "--algo", "ppo"), 50_000, 242.0),  # published 241.9, greedy 245
        (("--env", "OmnirobotEnv-v0", "-cc", "--algo", "ppo"), 150_000, 1500.0),
    ],
    ids=["mobile", "reach", "circle"],
)
def test_published_scores_are_met_in_few_steps(
    flags: tuple[str, ...], n_steps: int, threshold: float, tmp_path: Path
) -> None:
    """The best model, deterministic, over 500 episodes with start seeds of their own."""
    run, _ = call_train(*flags, "--config", "auto", "--num-timesteps", n_steps, log_dir=tmp_path / "logs")
    done = run_command("rl_baselines.enjoy", run.path, "-n", 500, "--json", folder=tmp_path)
    assert (done.code, done.err) == (0, "")
    result = json.loads(done.out)
    assert result["n_episodes"] == 500 and np.isfinite(result["std_reward"])
    assert result["mean_reward"] >= threshold
