"""The tuned presets learn their robots in a short time, to thresholds that several seeds have met."""

import json
from pathlib import Path

import numpy as np
import pytest
from cli import call_train, run_command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("flags", "n_steps", "n_episodes", "threshold"),
    [
        (("--env", "MobileRobotGymEnv-v0", "-r", "--algo", "ppo"), 300_000, 500, 234.0),  # published 234.4, ceiling 237
        (("--env", "OmnirobotEnv-v0", "-sc", "--algo", "ppo"), 50_000, 500, 242.0),  # published 241.9, greedy 245
        (("--env", "OmnirobotEnv-v0", "-cc", "--algo", "ppo"), 150_000, 500, 1500.0),
        (("--env", "KukaButtonGymEnv-v0", "-r", "--algo", "dqn"), 40_000, 100, 3.5),  # at most 5, at random 1.4
        (("--env", "InmoovGymEnv-v0", "-r", "--algo", "sac"), 5_000, 20, -5.0),  # at random about -32
    ],
    ids=["mobile", "reach", "circle", "arm", "humanoid"],
)
def test_presets_learn_in_few_steps(
    flags: tuple[str, ...], n_steps: int, n_episodes: int, threshold: float, tmp_path: Path
) -> None:
    """The best model, deterministic, with start seeds of its own; published scores are met where there are any."""
    run, _ = call_train(*flags, "--config", "auto", "--num-timesteps", n_steps, log_dir=tmp_path / "logs")
    done = run_command("rl_baselines.enjoy", run.path, "-n", n_episodes, "--json", folder=tmp_path, timeout_s=600)
    assert (done.code, done.err) == (0, "")
    result = json.loads(done.out)
    assert result["n_episodes"] == n_episodes and np.isfinite(result["std_reward"])
    assert result["mean_reward"] >= threshold
