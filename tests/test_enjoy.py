"""``python -m rl_baselines.enjoy``: which model acts, what is measured and filmed; nothing of a run changes."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio.v3 as imageio
import pytest
import stable_baselines3 as sb3
from cli import TINY, Finished, Run, call, call_train, run_command, shared_run

import environments.registry
from rl_baselines.enjoy import main
from rl_baselines.evaluation import evaluation_seeds

KEYS = {
    *("source", "selection", "mean_reward", "std_reward", "reward_low", "reward_high", "success_rate"),
    *("success_low", "success_high", "mean_length", "n_episodes"),
}
ROLLOUT = ("--hyperparam", "n_steps:10", "n_minibatches:1")

environments.registry.register_environments()


def measured(*args: object) -> dict[str, Any]:
    """The one JSON object that enjoy prints."""
    done = call(main, *args, "--json")
    assert (done.code, done.err) == (0, ""), done.err
    assert done.out.count("\n") == 1
    result = json.loads(done.out)
    assert set(result) == KEYS
    return result


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    """Every file of a folder with its hash and the time of its last change; links by where they lead."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path)] = (os.readlink(path), path.lstat().st_mtime_ns)
        elif path.is_file():
            found[str(path)] = (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
    return found


def own_copy(run: Run, folder: Path) -> Path:
    """The folder of a shared run, copied: a fine-tune in another test process adds its name to the shared one."""
    copy = folder.joinpath("logs", *run.path.parts[-4:])
    shutil.copytree(run.path, copy, symlinks=True)
    return copy


@pytest.fixture
def cartpole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return shared_run(tmp_path_factory, "cartpole_ppo")


@pytest.fixture
def kuka(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return shared_run(tmp_path_factory, "kuka_ppo")


def test_best_model_acts_unless_another_is_named(cartpole: Run) -> None:
    best = measured(cartpole.path, "-n", 2)
    assert (best["source"], best["selection"], best["n_episodes"]) == (str(cartpole.checkpoint("best")), "best", 2)
    last = measured(f"{cartpole.path}@last", "-n", 2)
    assert (last["source"], last["selection"]) == (str(cartpole.checkpoint("last")), "last")
    step = measured(f"{cartpole.path}@step:64", "-n", 2)
    assert (step["source"], step["selection"]) == (str(cartpole.checkpoint(64)), "step:64")
    assert len({result["mean_reward"] for result in (best, last, step)}) > 1


def test_numbers_repeat_in_another_process_and_nothing_of_the_run_changes(cartpole: Run, tmp_path: Path) -> None:
    copy = own_copy(cartpole, tmp_path)
    before = contents(tmp_path / "logs")
    here = measured(copy, "-n", 4)
    there = run_command("rl_baselines.enjoy", copy, "-n", 4, "--json", folder=tmp_path)
    assert (there.code, there.err) == (0, "")
    assert json.loads(there.out) == here and there.out.count("\n") == 1
    measured("latest", "--log-dir", tmp_path / "logs", "-n", 1, "--stochastic")
    assert contents(tmp_path / "logs") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs"]


@pytest.mark.slow
def test_mean_is_that_of_stock_stable_baselines3(tmp_path_factory: pytest.TempPathFactory) -> None:
    run = shared_run(tmp_path_factory, "pendulum_sac")
    result = measured(run.path, "-n", 1)
    assert result["reward_low"] is None and result["success_rate"] is None and result["std_reward"] == 0
    folder = run.checkpoint("last")
    statistics = sb3.common.vec_env.VecNormalize.load(
        str(folder / "vecnormalize.pkl"), sb3.common.vec_env.DummyVecEnv([lambda: gym.make("Pendulum-v1")])
    )
    policy = sb3.SAC.load(folder / "model.zip", device="cpu")
    env = gym.make("Pendulum-v1")
    observation, _ = env.reset(seed=evaluation_seeds(1, "enjoy")[0])
    total, over = 0.0, False
    while not over:
        action, _ = policy.predict(statistics.normalize_obs(observation), deterministic=True)
        observation, reward, _, over, _ = env.step(action)
        total += float(reward)
    assert result["mean_reward"] == round(total, 6) and result["mean_length"] == 200


def test_stochastic_episodes_repeat_too(cartpole: Run) -> None:
    one, two = (measured(cartpole.path, "-n", 4, "--stochastic") for _ in range(2))
    assert one == two
    assert one["mean_reward"] != measured(cartpole.path, "-n", 4)["mean_reward"]


def test_success_has_an_interval_and_people_can_read_it(kuka: Run) -> None:
    result = measured(kuka.path, "-n", 3)
    assert result["success_rate"] == 0.0 and result["success_low"] == pytest.approx(0, abs=1e-12)
    assert result["success_high"] == pytest.approx(0.5615, abs=1e-3)  # Wilson, 0 of 3
    done = call(main, kuka.path, "-n", 3)
    model, line = done.out.splitlines()
    assert model == f"model:  {kuka.checkpoint('best')} (best)"
    assert line.startswith(f"result: mean reward {result['mean_reward']:.3g} [")
    assert "success 0 % [0, 56], 3 episodes" in line and f"mean length {result['mean_length']:.0f} steps" in line


def test_environment_can_be_changed_by_flags(kuka: Run) -> None:
    """The options of the run hold unless given; the run's own record stays."""
    assert measured(kuka.path, "-n", 1)["mean_length"] <= 31
    assert measured(kuka.path, "-n", 1, "--env-kwargs", "max_steps:12")["mean_length"] == 13
    shaped = ("--shape-reward", "-n", 2)
    fixed, moved = (measured(kuka.path, *shaped, *flags)["mean_reward"] for flags in ((), ("--random-target",)))
    assert fixed < 0 and moved < 0 and fixed != moved
    assert kuka.settings["env_kwargs"] == {"max_steps": 30, "observation": "ground_truth"}


def test_latest_is_the_newest_run_and_may_be_left_out(tmp_path: Path) -> None:
    flags = ("--env", "Trend-v0", "--gym-packages", "toy_envs", "--n-envs", 1, *ROLLOUT, *TINY)
    short = ("--num-timesteps", 10, "--eval-freq", 0)
    call_train(*flags, *short, "--env-kwargs", "slope:1", log_dir=tmp_path)
    call_train(*flags, *short, "--env-kwargs", "slope:4", log_dir=tmp_path)
    for words in (("latest",), ("latest@last",), ()):
        assert measured(*words, "--log-dir", tmp_path, "-n", 1)["mean_reward"] == pytest.approx(4)


def test_films_show_the_episodes(kuka: Run, tmp_path: Path) -> None:
    """Two episodes of 13 steps in 48 x 48 pixels, without a window; a GIF keeps 20 of the 60 pictures a second."""
    small = ("-n", 2, "--env-kwargs", "max_steps:12", "render_size:48")
    films = [tmp_path / "films" / "arm.mp4", tmp_path / "films" / "arm.gif"]
    run = own_copy(kuka, tmp_path)
    before = contents(run)
    done = call(main, run, *small, "--video", *films)
    assert (done.code, done.err) == (0, "")
    assert [line for line in done.out.splitlines() if line.startswith("film:")] == [f"film:   {film}" for film in films]
    for film, n_frames in zip(films, (26, 9), strict=True):
        frames = list(imageio.imiter(film))
        assert {frame.shape for frame in frames} == {(48, 48, 3)} and len(frames) == n_frames
        assert len({frame.tobytes() for frame in frames}) > n_frames / 2
    assert sorted(path.name for path in films[0].parent.iterdir()) == ["arm.gif", "arm.mp4"]
    assert measured(run, *small)["mean_length"] == 13 and contents(run) == before


def plain_zip(folder: Path) -> Path:
    sb3.PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, seed=0, device="cpu").save(folder / "plain.zip")
    return folder / "plain.zip"


def test_a_zip_of_stock_stable_baselines3_acts_in_the_environment_given(tmp_path: Path) -> None:
    path = plain_zip(tmp_path)
    result = measured(path, "--env", "CartPole-v1", "-n", 1)
    assert result["source"] == str(path)
    policy, env = sb3.PPO.load(path, device="cpu"), gym.make("CartPole-v1")
    observation, _ = env.reset(seed=evaluation_seeds(1, "enjoy")[0])
    n_steps, over = 0, False
    while not over:
        action, _ = policy.predict(observation, deterministic=True)
        observation, _, terminated, truncated, _ = env.step(action)
        n_steps, over = n_steps + 1, terminated or truncated
    assert result["mean_reward"] == result["mean_length"] == n_steps

    done = call(main, path)
    assert done == Finished(2, "", f"error: {path} does not tell its environment: give --env\n")
    done = call(main, path, "--env", "Acrobot-v1")
    assert done.code == 2 and done.err.startswith(f"error: the policy of {path} does not fit: ")


def test_a_film_that_cannot_be_made_leaves_no_file(cartpole: Run, tmp_path: Path) -> None:
    missing = tmp_path / "file"
    missing.write_text("")
    done = call(main, cartpole.path, "-n", 1, "--video", missing / "film.gif")
    assert done.code == 2 and done.err.startswith("error: cannot film: ") and done.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
