"""Fine-tunes: what they start from, what they take over, what they leave behind and what they record."""

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
import toy_envs  # noqa: F401 - registers them
from cli import (
    TINY,
    Run,
    call,
    call_train,
    differences,
    flatten,
    run_train,
    shared_run,
    table_row,
    without_times,
    zip_tensors,
)

import environments.registry
from rl_baselines.beginnings import begin
from rl_baselines.config import options_from_flat
from rl_baselines.evaluation import evaluation_seeds
from rl_baselines.run_folder import RunFolder
from rl_baselines.sources import resolve
from rl_baselines.train import main as train
from rl_baselines.train import plan_from
from rl_baselines.training import Outcome
from rl_baselines.transfer.inheritance import inherited_layer

LOAD = "--load-rl-model-path"
SHORT = ("--num-timesteps", 64, "--compare-episodes", 0, "--eval-freq", 0, "--best-by", "train")
STILL = ("--new-lr", 1e-300)  # too small to change a float32
CLASSES = {"cartpole_ppo": sb3.PPO, "pendulum_sac": sb3.SAC, "cartpole_dqn": sb3.DQN, "kuka_ppo": sb3.PPO}
WALK = ("--env", "Walk-v0", "--gym-packages", "toy_envs", "--n-envs", 1, *TINY)
LOGGED = ("--env", "LoggedWalk-v0", "--gym-packages", "toy_envs", *TINY)
REPLAY = ("--hyperparam", "learning_starts:20", "batch_size:8", "buffer_size:200")
ROLLOUT = ("--hyperparam", "n_steps:16", "n_minibatches:1")

environments.registry.register_environments()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_plain(name: str, checkpoint: Path) -> tuple[Any, Callable[[Any], Any]]:
    """What stock Stable-Baselines3 makes of a checkpoint: the model, and the normalization of observations."""
    with open(checkpoint / "vecnormalize.pkl", "rb") as file:
        statistics = pickle.load(file)
    return CLASSES[name].load(checkpoint / "model.zip", device="cpu"), statistics.normalize_obs


def recorded_observations(env: gym.Env[Any, Any], n: int) -> np.ndarray:
    """The observations of a walk at random."""
    observations = [env.reset(seed=1)[0]]
    env.action_space.seed(1)
    while len(observations) < n:
        observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
        observations.append(env.reset()[0] if terminated or truncated else observation)
    return np.array(observations)


def log_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", CLASSES)
def test_loaded_policy_is_its_source_to_the_last_bit(
    name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Before the first update: parameters, optimiser moments, statistics, actions and values, and counters at 0."""
    parent = shared_run(tmp_path_factory, name)
    plan, settings = plan_from({"load_rl_model_path": f"{parent.path}@last", "log_dir": str(tmp_path)})
    run = begin(plan, options_from_flat(settings), [])
    parts = run.model.get_parameters()
    own = {key: value for part, content in parts.items() for key, value in flatten(part, content)}
    theirs = {key: value for key, value in parent.tensors().items() if key.split("/")[0] in parts}
    assert [key for key in differences(own, theirs) if not key.endswith("/lr")] == []
    assert [key for key in own if key.endswith("/exp_avg_sq")]
    assert (run.model.num_timesteps, run.model.n_episodes, run.model._n_updates) == (0, 0, 0)

    statistics = json.loads((parent.checkpoint("last") / "vecnormalize.json").read_text())["observations"]
    assert run.env.obs_rms.mean.tolist() == statistics["mean"] and run.env.obs_rms.var.tolist() == statistics["var"]
    assert run.env.obs_rms.count == statistics["count"] > 50

    env = gym.make(parent.settings["env"], **parent.settings["env_kwargs"])
    observations = recorded_observations(env, 60)
    env.close()
    source, normalize = load_plain(name, parent.checkpoint("last"))
    actions, _ = run.model.predict(run.env.normalize_obs(observations), deterministic=True)
    expected, _ = source.predict(normalize(observations), deterministic=True)
    assert np.array_equal(actions, expected)
    batch, _ = source.policy.obs_to_tensor(normalize(observations))
    with torch.no_grad():
        if name == "cartpole_dqn":
            assert torch.equal(run.model.q_net(batch), source.q_net(batch)) and len(source.q_net(batch).unique()) > 60
        elif name != "pendulum_sac":
            assert torch.equal(run.model.policy.predict_values(batch), source.policy.predict_values(batch))
    run.close(Outcome())


@pytest.mark.parametrize("name", ["pendulum_sac", "kuka_ppo"])
def test_first_evaluation_is_that_of_the_source(
    name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What the command measures before the first update is what stock Stable-Baselines3 gets from the source."""
    parent = shared_run(tmp_path_factory, name)
    flags = ("--compare-episodes", 1, "--num-timesteps", 64, "--eval-freq", 0, "--best-by", "train")
    child, done = call_train(LOAD, f"{parent.path}@last", *flags, log_dir=tmp_path)

    source, normalize = load_plain(name, parent.checkpoint("last"))
    env = gym.make(parent.settings["env"], **parent.settings["env_kwargs"])
    observation, _ = env.reset(seed=evaluation_seeds(1, "comparison")[0])
    total, over = 0.0, False
    while not over:
        action, _ = source.predict(normalize(observation), deterministic=True)
        observation, reward, terminated, truncated, _ = env.step(action)
        total, over = total + float(reward), terminated or truncated
    env.close()
    before = child.record["comparisons"]["before"]
    assert before["mean_reward"] == round(total, 6) and before["n_episodes"] == 1
    assert table_row(done.out, "before").startswith(f"mean reward {total:.3g}")


def test_weights_stay_while_the_rate_is_too_small_and_statistics_adapt(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parent = shared_run(tmp_path_factory, "cartpole_ppo")
    child, _ = call_train(LOAD, f"{parent.path}@last", *STILL, *SHORT, log_dir=tmp_path)
    before, after = parent.tensors(), child.tensors()
    assert [name for name in differences(before, after) if name.startswith("policy/")] == []
    (steps,) = {float(value) for name, value in before.items() if name.endswith("/step")}
    assert {float(value) for name, value in after.items() if name.endswith("/step")} == {steps + 8}
    counts = [
        json.loads((run.checkpoint("last") / "vecnormalize.json").read_text())["observations"]["count"]
        for run in (parent, child)
    ]
    assert counts[1] == pytest.approx(counts[0] + 2 + 64, abs=1e-6)
    assert child.record["timesteps"] == 64 and child.progress[0]["time/total_timesteps"] == "64"


def test_parent_is_recorded(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    parent = shared_run(tmp_path_factory, "cartpole_ppo")
    child, done = call_train(LOAD, f"{parent.path}@step:320", *SHORT, log_dir=tmp_path)
    folder = parent.checkpoint(320)
    assert child.record["parent"] == {
        **{"run": parent.id, "path": str(folder), "selection": "step:320"},
        **{"sha256": sha256(folder / "model.zip"), "timesteps": 320},
    }
    assert child.id in (folder / "children.txt").read_text().split()
    assert table_row(done.out, "parent").replace(" ", "") == f"{folder}(step:320),after320steps".replace(" ", "")


def test_settings_that_are_inherited_and_those_that_are_not(tmp_path: Path) -> None:
    flags = ("--env", "Trend-v0", "--gym-packages", "toy_envs", "--env-kwargs", "slope:2", "--num-stack", 2)
    more = ("--n-envs", 2, "--norm-reward", "--clip-obs", 5, "--stop-value", 1e6, "--seed", 9, "--lr-decay", "cosine")
    evaluation = ("--eval-freq", 32, "--eval-episodes", 1, "--best-by", "eval", "--num-timesteps", 64)
    hyperparam = ("--hyperparam", "n_steps:16", "gamma:0.9", "learning_rate:0.001", *TINY)
    parent, _ = call_train(*flags, *more, *evaluation, *hyperparam, log_dir=tmp_path / "parent")
    child, done = call_train(LOAD, parent.path, "--compare-episodes", 1, log_dir=tmp_path / "child")
    own = {"seed": 0, "stop_value": None, "compare_episodes": 1, "new_lr": pytest.approx(1e-5)}
    own |= {"norm": "adapt", "critic_warmup": "off"}  # settled
    own["load_rl_model_path"] = str(parent.checkpoint("best"))
    expected = {**parent.settings, **own}
    expected["hyperparam"] = {**parent.settings["hyperparam"], "learning_rate": child.settings["new_lr"]}
    assert child.settings == expected
    left = table_row(done.out, "settings", 2)
    assert left == "seed (drawn anew from the seed, the purpose and the parent); stop value 1e+06"

    other, done = call_train(LOAD, parent.path, "--env", "Walk-v0", "--compare-episodes", 0, log_dir=tmp_path / "other")
    assert (other.settings["env"], other.settings["env_kwargs"], other.settings["num_stack"]) == ("Walk-v0", {}, 2)
    assert table_row(done.out, "settings", 2).endswith("; environment options of Trend-v0 (slope:2)")

    same, _ = call_train(
        *(LOAD, parent.path, "--env", "Trend-v0", "--seed", 5, "--hyperparam", "gamma:0.8", "--compare-episodes", 0),
        log_dir=tmp_path / "same",
    )
    assert (same.settings["env_kwargs"], same.settings["seed"]) == ({"slope": 2.0}, 5)
    assert (same.settings["hyperparam"]["gamma"], same.settings["hyperparam"]["n_steps"]) == (0.8, 16)


def test_options_of_our_robots_are_inherited_one_by_one(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parent = shared_run(tmp_path_factory, "kuka_ppo")
    child, done = call_train(LOAD, parent.path, "--random-target", *SHORT, log_dir=tmp_path)
    kwargs = {"max_steps": 30, "observation": "ground_truth", "random_target": True}
    assert child.settings["env_kwargs"] == child.record["environment"]["kwargs"] == kwargs
    assert child.settings["srl_model"] == "ground_truth" == child.path.parents[1].name


def test_observations_of_our_robots_are_not_asked_of_other_environments(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parent = shared_run(tmp_path_factory, "kuka_ppo")
    source = resolve(str(parent.path), tmp_path)
    layer, notes = inherited_layer(source, {"env": "CartPole-v1"})
    assert layer.values["srl_model"] is None and layer.values["env_kwargs"] == {}
    assert "observations ground_truth, which CartPole-v1 has not" in notes
    layer, notes = inherited_layer(source, {"env": "MobileRobotGymEnv-v0"})
    assert layer.values["srl_model"] == "ground_truth" and not any("which" in note for note in notes)
    done = call(train, LOAD, parent.path, "--env", "CartPole-v1", "--log-dir", tmp_path)
    assert (done.code, len(done.err.splitlines())) == (2, 1) and "--srl-model" not in done.err


def test_children_live_through_other_episodes_than_their_parents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same seed, yet no start comes back; parents with other weights, other starts; with the same, the same starts."""

    def starts(name: str, *flags: object, seed: int = 1) -> tuple[Run, set[float]]:
        monkeypatch.setenv("TOY_LOG", str(tmp_path / f"{name}.log"))
        words = [*flags, "--num-timesteps", 64, "--eval-freq", 0, "--seed", seed, "--memory-states", 0]
        run, _ = call_train(*words, log_dir=tmp_path / name)
        return run, {entry["start"] for entry in log_of(tmp_path / f"{name}.log") if "start" in entry}

    scratch = (*LOGGED, "--n-envs", 2, *ROLLOUT)
    parent, of_parent = starts("parent", *scratch)
    again, of_again = starts("again", *scratch)
    other, _ = starts("other", *scratch, seed=2)
    assert of_parent == of_again and len(of_parent) == 8
    _, of_child = starts("child", LOAD, parent.path, "--compare-episodes", 0)
    _, of_twin = starts("twin", LOAD, again.path, "--compare-episodes", 0)
    _, of_step_child = starts("step child", LOAD, other.path, "--compare-episodes", 0)
    assert of_child == of_twin and len(of_child) == len(of_step_child) == 8
    assert not of_parent & of_child and not of_parent & of_step_child and not of_child & of_step_child


def test_before_and_after_are_measured(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    parent = shared_run(tmp_path_factory, "cartpole_ppo")
    flags = ("--compare-episodes", 3, "--num-timesteps", 256, "--new-lr", 0.02, "--eval-freq", 128)
    child, done = call_train(LOAD, parent.path, *flags, log_dir=tmp_path)
    comparisons = child.record["comparisons"]
    assert {"before", "after (last)"} <= comparisons.keys() <= {"before", "after (last)", "after (best)"}
    for name, result in comparisons.items():
        assert result["n_episodes"] == 3 and result["reward_low"] <= result["mean_reward"] <= result["reward_high"]
        assert table_row(done.out, name).startswith(f"mean reward {result['mean_reward']:.3g} [")
    best_is_last = child.manifest("best")["timesteps"] == 256
    assert ("after (best)" in comparisons) == (not best_is_last)

    silent, _ = call_train(LOAD, parent.path, *SHORT, log_dir=tmp_path / "silent")
    assert silent.record["comparisons"] == {}


SOURCES: dict[str, tuple[Callable[[Run], object], str | int, str]] = {
    "run folder": (lambda run: run.path, "best", "best"),
    "best": (lambda run: f"{run.path}@best", "best", "best"),
    "last": (lambda run: f"{run.path}@last", "last", "last"),
    "step": (lambda run: f"{run.path}@step:128", 128, "step:128"),
    "checkpoint": (lambda run: run.checkpoint(192), 192, "step 192"),
    "link": (lambda run: run.path / "last", "last", "step 640"),
    "zip": (lambda run: run.checkpoint(256) / "model.zip", 256, "step 256"),
    "zip without suffix": (lambda run: run.checkpoint(256) / "model", 256, "step 256"),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_sources_inside_a_run(kind: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    parent = shared_run(tmp_path_factory, "cartpole_ppo")
    name, checkpoint, selection = SOURCES[kind]
    child, _ = call_train(LOAD, name(parent), *STILL, *SHORT, log_dir=tmp_path)
    source = parent.checkpoint(checkpoint)
    expected = {"run": parent.id, "path": str(source), "selection": selection, "timesteps": int(source.name)}
    assert child.record["parent"] == {**expected, "sha256": sha256(source / "model.zip")}
    assert [key for key in differences(parent.tensors(checkpoint), child.tensors()) if key.startswith("policy/")] == []


def test_latest_is_the_newest_run_of_the_log_folder(tmp_path: Path) -> None:
    short = (*WALK, *ROLLOUT, "--num-timesteps", 64, "--eval-freq", 0)
    older, _ = call_train(*short, log_dir=tmp_path)
    newer, _ = call_train(*short, "--seed", 2, log_dir=tmp_path)
    child, _ = call_train(LOAD, "latest", *SHORT, log_dir=tmp_path)
    assert child.record["parent"]["run"] == newer.id != older.id
    grandchild, _ = call_train(LOAD, "latest@last", *SHORT, log_dir=tmp_path)
    assert grandchild.record["parent"]["run"] == child.id


def test_the_options_of_another_task_stay_behind(tmp_path: Path) -> None:
    """From reach with a random target to the square, which has none; the step and the noise of the robot stay."""
    small = (*TINY, "--n-envs", 2, "--hyperparam", "n_steps:32", "--num-timesteps", 64, "--eval-freq", 0)
    robot = ("--env", "OmnirobotEnv-v0", "--env-kwargs", "max_steps:20", "gain_scale:0.5", "position_noise:0")
    parent, _ = call_train(*robot, "short_episodes:true", "-sc", *small, log_dir=tmp_path / "parent")
    assert {"task": "reach", "random_target": True, "short_episodes": True}.items() <= parent.settings[
        "env_kwargs"
    ].items()
    flags = (LOAD, f"{parent.path}@last", "--num-timesteps", 64, "--compare-episodes", 0)
    child, _ = call_train(*flags, "-sqc", log_dir=tmp_path / "child")
    kept = {"max_steps": 20, "gain_scale": 0.5, "position_noise": 0, "observation": "ground_truth"}
    assert child.settings["env_kwargs"] == {**kept, "task": "square"}
    left_out = "options of the source's task (short_episodes:True, task:reach, random_target:True)"
    plan = json.loads((child.path / "plan.json").read_text())
    (row,) = (row for row in plan["components"] if row["component"] == "settings")
    assert row["fate"] == "left out" and left_out in row["reason"]
    same, _ = call_train(*flags, "-sc", log_dir=tmp_path / "same")
    assert same.settings["env_kwargs"] == parent.settings["env_kwargs"]


def test_a_zip_that_was_copied_carries_its_settings(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    parent = shared_run(tmp_path_factory, "cartpole_ppo")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("model.zip", "vecnormalize.json"):
        shutil.copy(parent.checkpoint("last") / name, elsewhere)
    (elsewhere / "model.zip").rename(elsewhere / "mine.zip")
    flags = ("--compare-episodes", 0, "--eval-freq", 0, "--best-by", "train")
    copied, _ = call_train(LOAD, elsewhere / "mine.zip", *flags, log_dir=tmp_path / "copied")
    inside, _ = call_train(LOAD, f"{parent.path}@last", *flags, log_dir=tmp_path / "inside")
    own = {"load_rl_model_path": str(elsewhere / "mine.zip")}
    assert copied.settings == {**inside.settings, **own}
    assert differences(copied.tensors(), inside.tensors()) == [] and copied.rewards == inside.rewards
    assert copied.record["parent"]["run"] == parent.id
    assert copied.record["parent"]["sha256"] == inside.record["parent"]["sha256"]


PLAIN: dict[str, tuple[type, str, dict[str, Any], dict[str, Any]]] = {
    "ppo": (
        sb3.PPO,
        "CartPole-v1",
        {"n_steps": 32, "batch_size": 16, "n_epochs": 2, "gamma": 0.97, "clip_range": 0.3, "ent_coef": 0.02},
        {"net_arch": [12], "activation_fn": torch.nn.ReLU},
    ),
    "a2c": (sb3.A2C, "CartPole-v1", {"n_steps": 16, "gae_lambda": 0.9}, {"net_arch": {"pi": [12], "vf": [10]}}),
    "sac": (sb3.SAC, "Pendulum-v1", {"learning_starts": 10, "batch_size": 8, "tau": 0.02}, {"net_arch": [12]}),
    "td3": (sb3.TD3, "Pendulum-v1", {"learning_starts": 10, "batch_size": 8, "policy_delay": 3}, {"net_arch": [12]}),
    "ddpg": (sb3.DDPG, "Pendulum-v1", {"learning_starts": 10, "batch_size": 8, "gamma": 0.9}, {"net_arch": [12]}),
    "dqn": (
        sb3.DQN,
        "CartPole-v1",
        {"learning_starts": 10, "batch_size": 8, "exploration_final_eps": 0.2},
        {"net_arch": [12]},
    ),
}


@pytest.mark.parametrize("algo", PLAIN)
def test_zips_of_stock_stable_baselines3(algo: str, tmp_path: Path) -> None:
    """Told by its fields: the algorithm, hyperparameters, networks and the initial rate; loaded: every tensor."""
    cls, env, hyperparameters, policy_kwargs = PLAIN[algo]
    cls(
        "MlpPolicy", env, seed=0, device="cpu", learning_rate=0.0123, policy_kwargs=policy_kwargs, **hyperparameters
    ).learn(64).save(tmp_path / "plain.zip")
    flags = (LOAD, tmp_path / "plain.zip", "--env", env, "--compare-episodes", 0, "--eval-freq", 0)
    child, done = call_train(*flags, "--num-timesteps", 32, *STILL, log_dir=tmp_path / "logs")
    assert (child.settings["algo"], child.settings["norm_obs"]) == (algo, False)
    expected = {**hyperparameters, **({"exploration_initial_eps": 0.2} if algo == "dqn" else {})}
    assert {name: child.settings["hyperparam"].get(name) for name in expected} == expected
    assert child.settings["policy_kwargs"]["net_arch"] == policy_kwargs["net_arch"]
    assert child.settings["policy_kwargs"].get("activation") == ("relu" if algo == "ppo" else None)
    assert child.record["root_learning_rate"] == 0.0123 and child.settings["lr_decay"] == "constant"
    moved = [
        key for key in differences(zip_tensors(tmp_path / "plain.zip"), child.tensors()) if key.startswith("policy/")
    ]
    assert [key for key in moved if "target" not in key] == []
    parent = child.record["parent"]
    digest = sha256(tmp_path / "plain.zip")
    assert parent == {
        "run": None,
        "path": str(tmp_path / "plain.zip"),
        "selection": "",
        "sha256": digest,
        "timesteps": 64,
    }

    again, _ = call_train(*flags, "--num-timesteps", 32, log_dir=tmp_path / "hundredth")
    assert again.record["learning_rate"]["initial"] == pytest.approx(0.000123)


def test_td3_with_one_critic_is_no_ddpg(tmp_path: Path) -> None:
    sb3.TD3("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8], "n_critics": 1}).save(tmp_path / "plain.zip")
    flags = ("--env", "Pendulum-v1", *REPLAY, "--num-timesteps", 30, "--compare-episodes", 0, "--eval-freq", 0)
    child, _ = call_train(LOAD, tmp_path / "plain.zip", *flags, log_dir=tmp_path / "logs")
    assert child.settings["algo"] == "td3"


def entropy_of(run: Run) -> float:
    """The entropy coefficient with which the last update worked."""
    return float(next(row["train/ent_coef"] for row in reversed(run.progress) if row.get("train/ent_coef")))


def test_entropy_coefficient_is_the_parents_or_the_one_asked_for(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parent = shared_run(tmp_path_factory, "pendulum_sac")
    flags = ("--num-timesteps", 20, "--compare-episodes", 0, *STILL)
    kept, done = call_train(LOAD, parent.path, *flags, log_dir=tmp_path / "kept")
    assert torch.equal(
        kept.tensors()["pytorch_variables/log_ent_coef"], parent.tensors()["pytorch_variables/log_ent_coef"]
    )
    (learnt,) = {value.item() for value in parent.tensors()["pytorch_variables/log_ent_coef"]}
    assert entropy_of(kept) == pytest.approx(np.exp(learnt), rel=1e-6) and learnt != 0

    fixed, done = call_train(LOAD, parent.path, *flags, "--hyperparam", "ent_coef:0.3", log_dir=tmp_path / "fixed")
    assert entropy_of(fixed) == pytest.approx(0.3)
    assert fixed.tensors()["pytorch_variables/ent_coef_tensor"].item() == pytest.approx(0.3)
    assert table_row(done.out, "entropy", 2) == "ent_coef 0.3 was asked for"

    other, _ = call_train(LOAD, fixed.path, *flags, "--hyperparam", "ent_coef:0.7", log_dir=tmp_path / "other")
    assert entropy_of(other) == pytest.approx(0.7)
    inherited, _ = call_train(LOAD, other.path, *flags, log_dir=tmp_path / "inherited")
    assert entropy_of(inherited) == pytest.approx(0.7)
    learnt_anew, _ = call_train(
        LOAD, other.path, *flags, "--hyperparam", "ent_coef:auto_0.4", log_dir=tmp_path / "auto"
    )
    assert entropy_of(learnt_anew) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("stored", "asked", "used"),
    [
        (0.1, None, 0.1),
        (0.1, "0.5", 0.5),
        ("auto_0.2", None, 0.2),
        ("auto_0.2", "auto_0.6", 0.6),
        ("auto_0.2", "0.5", 0.5),
    ],
)
def test_entropy_coefficient_of_a_plain_zip(stored: Any, asked: str | None, used: float, tmp_path: Path) -> None:
    sb3.SAC("MlpPolicy", "Pendulum-v1", ent_coef=stored, policy_kwargs={"net_arch": [8]}).save(tmp_path / "plain.zip")
    flags = ("--env", "Pendulum-v1", *REPLAY, "--num-timesteps", 24, "--compare-episodes", 0, "--eval-freq", 0, *STILL)
    set_anew = ("--hyperparam", f"ent_coef:{asked}") if asked else ()
    child, _ = call_train(LOAD, tmp_path / "plain.zip", *flags, *set_anew, log_dir=tmp_path / "logs")
    assert entropy_of(child) == pytest.approx(used)


@pytest.mark.parametrize("algo", ["td3", "sac", "dqn"])
def test_off_policy_children_act_by_the_loaded_policy_from_the_first_step(
    algo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every action before the first update is what the source does: no warm-up at random, no epsilon near 1."""
    kwargs = {"continuous": algo != "dqn"}
    options = {"exploration_final_eps": 0.0} if algo == "dqn" else {}
    cls: Any = {"td3": sb3.TD3, "sac": sb3.SAC, "dqn": sb3.DQN}[algo]
    source = cls("MlpPolicy", gym.make("LoggedWalk-v0", **kwargs), policy_kwargs={"net_arch": [8]}, seed=1, **options)
    if algo == "sac":  # a policy with hardly any spread
        torch.nn.init.zeros_(source.actor.log_std.weight)
        torch.nn.init.constant_(source.actor.log_std.bias, -18.0)
    source.save(tmp_path / "source.zip")
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "actions.log"))
    flags = (*LOGGED[:4], "--env-kwargs", f"continuous:{str(kwargs['continuous']).lower()}", *REPLAY, *SHORT)
    call_train(LOAD, tmp_path / "source.zip", *flags, log_dir=tmp_path)
    taken = [entry for entry in log_of(tmp_path / "actions.log") if "action" in entry][:20]
    for entry in taken:
        likely, _ = source.predict(np.array(entry["observation"], np.float32), deterministic=True)
        assert np.allclose(entry["action"], likely, rtol=0, atol=1e-6)


def test_epsilon_goes_on_where_the_source_ended(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    parent = shared_run(tmp_path_factory, "cartpole_dqn")
    assert [parent.settings["hyperparam"][f"exploration_{end}_eps"] for end in ("initial", "final")] == [1.0, 0.05]
    child, done = call_train(LOAD, parent.path, *SHORT, log_dir=tmp_path / "child")
    assert {float(row["rollout/exploration_rate"]) for row in child.progress if row["rollout/exploration_rate"]} == {
        0.05
    }
    assert "exploration at random (its share starts at 0.05, where the source's ended)" in table_row(
        done.out, "settings", 2
    )
    flags = ("--hyperparam", "exploration_initial_eps:0.5")
    asked, _ = call_train(LOAD, parent.path, *SHORT, *flags, log_dir=tmp_path / "asked")
    assert asked.settings["hyperparam"]["exploration_initial_eps"] == 0.5


def test_a_checkpoint_with_children_is_never_deleted(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    parent = shared_run(tmp_path_factory, "cartpole_ppo")
    copy = tmp_path.joinpath(*parent.path.parts[-4:])
    shutil.copytree(parent.path, copy, symlinks=True)
    for notes in copy.glob("checkpoints/*/children.txt"):
        notes.unlink()
    child, _ = call_train(LOAD, f"{copy}@step:128", *SHORT, log_dir=tmp_path / "child")
    best, last = Run(copy).manifest("best")["timesteps"], 640
    RunFolder(copy).prune(1, frozenset({64}))
    assert Run(copy).steps == sorted({64, 128, best, last})
    assert (copy / "checkpoints/000000128/children.txt").read_text() == f"{child.id}\n"


@pytest.mark.slow
def test_a_stored_configuration_repeats_a_fine_tune(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    parent = shared_run(tmp_path_factory, "cartpole_ppo")
    flags = ("--num-timesteps", 128, "--new-lr", 0.002, "--compare-episodes", 2, "--seed", 8)
    child, done = run_train(LOAD, parent.path, *flags, log_dir=tmp_path / "child")
    again, _ = run_train("--config", child.path / "config.yaml", log_dir=tmp_path / "again")
    assert again.settings == child.settings
    assert differences(child.tensors(), again.tensors()) == []
    assert child.rewards == again.rewards and child.evaluations == again.evaluations
    assert without_times(child.progress) == without_times(again.progress)
    for field in ("run", "path", "sha256", "timesteps"):
        assert child.record["parent"][field] == again.record["parent"][field]
    assert child.record["comparisons"] == again.record["comparisons"] and len(again.record["comparisons"]) >= 2
    assert again.record["learning_rate"]["initial"] == 0.002 and again.record["root_learning_rate"] == 2.5e-4
