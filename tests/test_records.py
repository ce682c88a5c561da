"""What a run leaves behind: models that plain Stable-Baselines3 loads, records, checkpoints that are kept."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import TINY, call_train, differences, read_csv, shared_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import environments.registry
from rl_baselines.config import CONFIG_GROUPS
from rl_baselines.enjoy import layers_of
from rl_baselines.model_building import load_to_act
from rl_baselines.sources import resolve
from rl_baselines.train import main

WALK = ("--env", "Walk-v0", "--gym-packages", "toy_envs", "--n-envs", 1, *TINY)
PPO = ("--hyperparam", "n_steps:10", "n_minibatches:1")
REPLAY = ("--hyperparam", "learning_starts:20", "batch_size:8", "buffer_size:99")
SAC = ("--env", "Pendulum-v1", "--algo", "sac", *REPLAY, *TINY)
PLAIN_LOADING = """
import json, sys
from importlib.abc import MetaPathFinder

class Blocker(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("rl_baselines", "environments", "state_representation", "toy_envs"):
            raise ModuleNotFoundError(f"blocked: {name}")

sys.meta_path.insert(0, Blocker())
import gymnasium as gym
import numpy as np
import stable_baselines3 as sb3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

class Empty(gym.Env):
    def __init__(self, model):
        self.observation_space, self.action_space = model.observation_space, model.action_space

answers = {}
observations = np.load("observations.npz")
for name, (algo, folder) in json.loads(sys.argv[1]).items():
    model = getattr(sb3, algo).load(f"{folder}/model.zip", device="cpu")
    normalization = VecNormalize.load(f"{folder}/vecnormalize.pkl", DummyVecEnv([lambda: Empty(model)]))
    normalization.training = False
    answers[name] = model.predict(normalization.normalize_obs(observations[name]), deterministic=True)[0]
np.savez("answers.npz", **answers)

folder = json.loads(sys.argv[1])["cartpole_ppo"][1]
env = VecNormalize.load(f"{folder}/vecnormalize.pkl", DummyVecEnv([lambda: gym.make("CartPole-v1")] * 2))
model = sb3.PPO.load(f"{folder}/model.zip", env=env, device="cpu")
before = model.policy.action_net.weight.clone()
model.learn(64)
assert model.learning_rate == 2.5e-4 and not bool((model.policy.action_net.weight == before).all())
assert not [name for name in sys.modules if name.startswith(("rl_baselines", "environments"))]
"""


@pytest.mark.slow
def test_plain_stable_baselines3_loads_models_and_statistics(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In a process that cannot import our packages, and with the same actions as here."""
    environments.registry.register_environments()
    classes = {"cartpole_ppo": "PPO", "pendulum_sac": "SAC", "kuka_ppo": "PPO", "cartpole_dqn": "DQN"}
    folders: dict[str, tuple[str, str]] = {}
    observations: dict[str, np.ndarray] = {}
    expected: dict[str, np.ndarray] = {}
    for name, algo in classes.items():
        run = shared_run(tmp_path_factory, name)
        source = resolve(f"{run.path}@last", tmp_path)
        model, env = load_to_act(source, layers_of(source, {}), 1)
        low, high = np.clip(env.observation_space.low, -3, 3), np.clip(env.observation_space.high, -3, 3)
        observations[name] = np.random.default_rng(0).uniform(low, high, (50, *low.shape)).astype(np.float32)
        expected[name] = model.predict(env.normalize_obs(observations[name]), deterministic=True)[0]
        folders[name] = (algo, str(run.checkpoint("last")))
        env.close()
    np.savez(tmp_path / "observations.npz", **observations)
    command = [sys.executable, "-c", PLAIN_LOADING, json.dumps(folders)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    answers = np.load(tmp_path / "answers.npz")
    for name in classes:
        assert np.array_equal(answers[name], expected[name]), name


def test_run_is_described(tmp_path: Path) -> None:
    flags = (*WALK, *PPO, "--num-timesteps", 40, "--seed", 3, "--eval-episodes", 1)
    run, _ = call_train(*flags, log_dir=tmp_path)
    record = run.record
    assert record["verb"] == "train" and record["parent"] is None and record["comparisons"] == {}
    flags_given = [str(flag) for flag in flags]
    assert record["command"] == ["python", "-m", "rl_baselines.train", *flags_given, "--log-dir", str(tmp_path)]
    assert record["learning_rate"] == {"initial": 2.5e-4, "decay": "linear", "reason": "default of ppo"}
    assert record["root_learning_rate"] == 2.5e-4
    assert record["environment"] == {
        "id": "Walk-v0",
        "kwargs": {},
        "observation_space": "Box(-20.0, 20.0, (2,), float32)",
        "action_space": "Discrete(3)",
        "fingerprint": {},
    }
    assert set(record["versions"]) >= {"stable-baselines3", "torch", "gymnasium", "numpy"}
    assert record["started"] < record["ended"] and record["seconds"] > 0
    assert (record["timesteps"], record["episodes"]) == (40, 4) == (40, len(run.rewards[0]))
    names = {item.name for group in CONFIG_GROUPS.values() for item in fields(group)}
    assert set(run.settings) == names
    unset = {"srl_model_path", "num_cpu", "stop_value", "eval_freq", "load_rl_model_path", "new_lr"}
    unset |= {"norm", "retain_coef", "replay_mix", "freeze_until", "epochs_distillation", "eval_episode_window"}
    assert {name for name in names if run.settings[name] is None} == unset


def test_episodes_are_recorded_as_stable_baselines3_does(tmp_path: Path) -> None:
    run, _ = call_train(*WALK, *PPO, "--num-timesteps", 40, "--eval-freq", 0, log_dir=tmp_path)
    (file,) = (run.path / "monitor").iterdir()
    assert file.name == "000.monitor.csv"
    header = json.loads(file.read_text().splitlines()[0].removeprefix("#"))
    assert header["env_id"] == "Walk-v0"
    assert [row["l"] for row in read_csv(file, n_comments=1)] == ["10"] * 4


def test_tensorboard_holds_what_progress_holds(tmp_path: Path) -> None:
    run, _ = call_train(*WALK, *PPO, "--num-timesteps", 40, "--eval-freq", 20, "--eval-episodes", 1, log_dir=tmp_path)
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    for name in ("train/learning_rate", "train/loss", "eval/mean_reward", "rollout/ep_rew_mean"):
        rows = [float(row[name]) for row in run.progress if row[name]]
        assert [event.value for event in events.Scalars(name)] == pytest.approx(rows, rel=1e-6) and rows
    evaluated = [float(row["mean_reward"]) for row in run.evaluations]
    assert [float(row["eval/mean_reward"]) for row in run.progress if row["eval/mean_reward"]] == evaluated
    assert len({float(row["train/learning_rate"]) for row in run.progress if row["train/learning_rate"]}) == 4


@pytest.mark.parametrize("flags", [(*WALK, *PPO, "--num-timesteps", 60), (*SAC, "--num-timesteps", 40)])
def test_evaluations_and_records_change_nothing(flags: tuple[Any, ...], tmp_path: Path) -> None:
    bare, _ = call_train(*flags, "--eval-freq", 0, "--save-interval", 1000, log_dir=tmp_path / "bare")
    more = ("--eval-freq", 7, "--eval-episodes", 2, "--save-interval", 9, "--keep-checkpoints", 1, "--best-by", "eval")
    full, _ = call_train(*flags, *more, log_dir=tmp_path / "full")
    assert differences(bare.tensors(), full.tensors()) == []
    assert bare.rewards == full.rewards and len(full.evaluations) >= 6


def test_newest_milestones_and_best_are_kept(tmp_path: Path) -> None:
    """Saved every 10 of 200 steps; kept are 10, 50 and 100 %, the newest three and the best."""
    flags = ("--env", "Trend-v0", "--gym-packages", "toy_envs", "--env-kwargs", "slope:-1", "--n-envs", 1, *TINY)
    best = ("--min-episodes-save", 6, "--eval-freq", 0)
    run, _ = call_train(*flags, *PPO, *best, "--num-timesteps", 200, log_dir=tmp_path / "three")
    assert run.steps == [20, 60, 100, 180, 190, 200]
    assert (run.manifest("best")["timesteps"], run.manifest("last")["timesteps"]) == (60, 200)
    every, _ = call_train(
        *flags, *PPO, *best, "--num-timesteps", 200, "--keep-checkpoints", 0, log_dir=tmp_path / "all"
    )
    assert every.steps == list(range(10, 201, 10))


def test_two_runs_in_one_second_have_folders_of_their_own(tmp_path: Path) -> None:
    runs = [call_train(*WALK, *PPO, "--num-timesteps", 10, "--eval-freq", 0, log_dir=tmp_path)[0] for _ in range(3)]
    assert len({run.path for run in runs}) == 3 and len({run.record["id"] for run in runs}) == 3


def test_a_run_that_fails_says_so(tmp_path: Path) -> None:
    flags = ("--env", "FailingWalk-v0", "--gym-packages", "toy_envs", "--n-envs", "1", *PPO, "--eval-freq", "0")
    with pytest.raises(RuntimeError, match="the robot fell over"):
        main([*map(str, flags), "--num-timesteps", "100", "--log-dir", str(tmp_path)])
    (path,) = tmp_path.glob("*/*/*/*/run.json")
    record = json.loads(path.read_text())
    assert (record["status"], record["reason"]) == ("failed", "RuntimeError: the robot fell over")
    assert json.loads((path.parent / "last" / "manifest.json").read_text())["timesteps"] == 30
    go_on = ("--load-rl-model-path", path.parent, "--env", "Walk-v0", "--num-timesteps", 20, "--compare-episodes", 0)
    again, _ = call_train(*go_on, log_dir=tmp_path / "again")
    assert again.record["parent"]["timesteps"] == 30
