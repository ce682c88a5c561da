"""Zips of old versions and folders of rl-zoo: what is read of them, and that enjoy and train take them."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from cli import Finished, call, call_train, table_row
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.envs import BitFlippingEnv, FakeImageEnv
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from strangers import edit_fields, gym_class, linear_schedule, members_of, pickled, save_old, write_members, zoo_folder

from rl_baselines import enjoy
from rl_baselines import train as train_command
from rl_baselines.errors import UsageError
from rl_baselines.model_zip import load_tensors, read_model_zip
from rl_baselines.normalization import read_statistics_pickle
from rl_baselines.resolution import complete
from rl_baselines.sources import Source, resolve
from rl_baselines.transfer.inheritance import inherited_layer

LOAD = "--load-rl-model-path"
CONFIG = {
    "n_steps": 32,
    "batch_size": 64,
    "gamma": 0.97,
    "learning_rate": "lin_0.004",
    "clip_range": "lin_0.2",
    "n_envs": 2,
    "n_timesteps": 4096.0,
    "policy": "MlpPolicy",
    "policy_kwargs": "dict(net_arch=[dict(pi=[8], vf=[8])], activation_fn=nn.ReLU)",
}
OPTIONS = {"net_arch": {"pi": [8], "vf": [8]}, "activation_fn": torch.nn.ReLU}


def small_ppo(env: Any = "CartPole-v1", seed: int = 0, **options: Any) -> PPO:
    return PPO("MlpPolicy", env, n_steps=32, batch_size=32, seed=seed, device="cpu", policy_kwargs=OPTIONS | options)


def told(source: Source, **given: Any) -> tuple[dict[str, Any], list[str]]:
    layer, notes = inherited_layer(source, given)
    return dict(layer.values), notes


def refused(done: Finished) -> str:
    assert (done.code, done.out) == (2, ""), done.out
    assert done.err.startswith("error: ") and done.err.count("\n") == 1, done.err
    return done.err.removeprefix("error: ").strip()


@pytest.fixture
def cartpole_folder(tmp_path: Path) -> Path:
    return zoo_folder(tmp_path / "ppo_CartPole-v1_1", "CartPole-v1", small_ppo().learn(64), CONFIG)


def test_a_folder_tells_its_settings(cartpole_folder: Path) -> None:
    source = resolve(str(cartpole_folder), Path("logs"))
    values, notes = told(source)
    hyperparameters = values.pop("hyperparam")
    expected = {"n_steps": 32, "batch_size": 64, "gamma": 0.97, "clip_range": 0.2, "n_epochs": 10}
    assert {name: hyperparameters[name] for name in expected} == expected
    assert values == {
        "algo": "ppo",
        "env": "CartPole-v1",
        "policy": "MlpPolicy",
        "policy_kwargs": {"net_arch": {"pi": [8], "vf": [8]}, "activation": "relu"},
        "n_envs": 2,
        "num_timesteps": 4096,
        "lr_decay": "linear",
        "norm_obs": False,
        "norm_reward": False,
        "env_wrapper": (),
    }
    assert source.root_learning_rate == 0.004
    assert notes == [
        "seed (drawn anew)",
        "hyperparameters that the zip does not have: normalize_advantage, stats_window_size",
        "decay of clip_range (it fell from 0.2 to 0, here it stays at 0.2)",
    ]


def test_which_of_the_models_is_taken(cartpole_folder: Path) -> None:
    def chosen(text: str) -> tuple[str, str]:
        source = resolve(text, Path("logs"))
        return source.model.name, source.selection

    last = cartpole_folder / "CartPole-v1.zip"
    assert chosen(str(cartpole_folder)) == ("CartPole-v1.zip", "last, there is no best_model.zip")
    for name in ("best_model.zip", "rl_model_500_steps.zip"):
        shutil.copy(last, cartpole_folder / name)
    assert chosen(str(cartpole_folder)) == ("best_model.zip", "best")
    assert chosen(f"{cartpole_folder}@best") == ("best_model.zip", "best")
    assert chosen(f"{cartpole_folder}@last") == ("CartPole-v1.zip", "last")
    assert chosen(f"{cartpole_folder}@step:500") == ("rl_model_500_steps.zip", "step:500")
    assert chosen(str(cartpole_folder / "rl_model_500_steps.zip")) == ("rl_model_500_steps.zip", "step:500")
    assert resolve(str(last), Path("logs")).root_learning_rate == 0.004
    for selector, message in (
        ("step:7", "has no model step:7; its zips: CartPole"),
        ("bets", "unknown selection @bets"),
    ):
        with pytest.raises(UsageError, match=message):
            resolve(f"{cartpole_folder}@{selector}", Path("logs"))


def test_enjoy_takes_a_folder_and_acts_as_the_model_does(cartpole_folder: Path) -> None:
    done = call(enjoy.main, cartpole_folder, "-n", 3, "--json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert found["source"] == str(cartpole_folder / "CartPole-v1.zip")
    policy, env = small_ppo().learn(64), gym.make("CartPole-v1")
    source = resolve(str(cartpole_folder), Path("logs"))
    from rl_baselines.model_building import load_to_act

    model, venv = load_to_act(source, [inherited_layer(source, {})[0]], 1)
    observation, _ = env.reset(seed=1)
    for _ in range(8):
        action, _ = policy.predict(observation, deterministic=True)
        assert model.predict(observation[None], deterministic=True)[0].item() == action
        observation = env.step(action)[0]
    venv.close()


def test_a_fine_tune_begins_at_one_hundredth_of_the_rate_in_config_yml(cartpole_folder: Path, tmp_path: Path) -> None:
    flags = ("--num-timesteps", 64, "--compare-episodes", 0, "--eval-freq", 0, "--torch-threads", 1)
    run, done = call_train(LOAD, cartpole_folder, *flags, log_dir=tmp_path / "logs")
    assert run.settings["env"] == "CartPole-v1" and run.settings["hyperparam"]["gamma"] == 0.97
    assert (run.settings["new_lr"], run.settings["lr_decay"]) == (4e-5, "linear")
    assert run.record["root_learning_rate"] == 0.004
    assert table_row(done.out, "parent").startswith(str(cartpole_folder)[:20])


def test_an_environment_that_is_gone_is_named_with_its_newest_version(tmp_path: Path) -> None:
    model = small_ppo()
    folder = zoo_folder(tmp_path / "a", "CartPole-v9", model, CONFIG)
    line = refused(call(enjoy.main, folder))
    assert line.endswith(
        "was trained in CartPole-v9 (args.yml), which Gymnasium does not know; did you mean --env CartPole-v1?"
    )
    folder = zoo_folder(tmp_path / "b", "Warehouse-v1", model, CONFIG, gym_packages=["warehouse_gym"])
    line = refused(call(train_command.main, LOAD, folder, "--log-dir", tmp_path / "logs"))
    assert line.endswith("give --env, and --gym-packages warehouse_gym where a package registers it")
    assert call(enjoy.main, folder, "--env", "CartPole-v1", "-n", 1).code == 0


def test_statistics_of_an_old_version_are_those_that_stock_code_reads(tmp_path: Path) -> None:
    model = small_ppo(VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")]))).learn(64)
    env = model.get_env()
    assert isinstance(env, VecNormalize)
    folder = zoo_folder(tmp_path / "zoo", "CartPole-v1", model, {**CONFIG, "normalize": "{'norm_reward': False}"})
    mean, var, spaces = env.obs_rms.mean, env.obs_rms.var, (env.observation_space, env.action_space)
    with pytest.raises(
        UsageError, match=r"CartPole-v1.zip was trained on normalized observations .* vecnormalize.pkl is"
    ):
        told(resolve(str(folder), tmp_path))
    with gym_class("Box") as cls:
        env.observation_space = env.action_space = cls()
        del env.norm_obs_keys
        (folder / "CartPole-v1" / "vecnormalize.pkl").write_bytes(pickle.dumps(env))
        env.observation_space, env.action_space = spaces
    source = resolve(str(folder), tmp_path)
    assert source.statistics is not None
    assert source.statistics["observations"] == {"mean": mean.tolist(), "var": var.tolist(), "count": env.obs_rms.count}
    assert source.statistics["returns"]["var"] == env.ret_rms.var.item()
    assert (source.statistics["clip_obs"], source.statistics["norm_obs_keys"]) == (10.0, None)
    assert told(source)[0]["norm_obs"] is True and told(source)[0]["norm_reward"] is True
    shutil.copy(folder / "CartPole-v1" / "vecnormalize.pkl", folder / "rl_model_vecnormalize_8_steps.pkl")
    shutil.copy(folder / "CartPole-v1.zip", folder / "rl_model_8_steps.zip")
    zoo = resolve(f"{folder}@step:8", tmp_path)
    assert zoo.zoo is not None and zoo.zoo.statistics(zoo.model) == folder / "rl_model_vecnormalize_8_steps.pkl"


def test_statistics_beside_a_lone_zip_are_taken(tmp_path: Path) -> None:
    model = small_ppo(VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")]), norm_reward=False)).learn(32)
    save_old(model, tmp_path / "lone.zip")
    assert (
        told(Source(tmp_path / "lone.zip"), env="CartPole-v1")[1][1] == "normalization statistics (a lone zip has none)"
    )
    model.get_env().save(str(tmp_path / "vec_normalize.pkl"))
    values, notes = told(Source(tmp_path / "lone.zip"), env="CartPole-v1")
    assert (values["norm_obs"], values["norm_reward"]) == (True, False)
    assert "normalization statistics (a lone zip has none)" not in notes
    (tmp_path / "vec_normalize.pkl").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UsageError, match=r"vec_normalize.pkl holds a dict, not the statistics of a VecNormalize$"):
        read_statistics_pickle(tmp_path / "vec_normalize.pkl")


def goal_env() -> gym.Env:
    return BitFlippingEnv(n_bits=3, continuous=True)


CASES: dict[str, Any] = {  # algorithm, policy, environment, options
    "ppo": (PPO, "MlpPolicy", lambda: gym.make("CartPole-v1"), {"n_steps": 16, "batch_size": 16}),
    "ppo images": (PPO, "CnnPolicy", lambda: FakeImageEnv(36, 36), {"n_steps": 8, "batch_size": 8, "n_epochs": 1}),
    "ppo dictionaries": (PPO, "MultiInputPolicy", goal_env, {"n_steps": 8, "batch_size": 8}),
    "sac": (SAC, "MlpPolicy", lambda: gym.make("Pendulum-v1"), {"learning_starts": 4, "buffer_size": 50}),
    "dqn": (DQN, "MlpPolicy", lambda: gym.make("CartPole-v1"), {"learning_starts": 4, "buffer_size": 50}),
}


def optimizers_of(model: BaseAlgorithm) -> dict[str, Any]:
    return {name: value for name, value in model.get_parameters().items() if name.endswith("optimizer")}


@pytest.mark.parametrize("name", CASES)
def test_an_old_zip_loads_bit_for_bit_with_its_optimisers(name: str, tmp_path: Path) -> None:
    cls, policy, make, options = CASES[name]
    options = {**options, "policy_kwargs": {"net_arch": [8]}, "device": "cpu"}
    model = cls(policy, make(), seed=1, **options).learn(24)
    save_old(model, tmp_path / "old.zip")
    if name == "dqn":  # before 2.4 its optimiser had the target network's parameters too
        members = members_of(tmp_path / "old.zip")
        optimizer = optimizers_of(model)["policy.optimizer"]
        optimizer["param_groups"][0]["params"] = list(range(2 * len(optimizer["param_groups"][0]["params"])))
        torch.save(optimizer, tmp_path / "o.pth")
        write_members(tmp_path / "old.zip", members | {"policy.optimizer.pth": (tmp_path / "o.pth").read_bytes()})
    content = read_model_zip(tmp_path / "old.zip")
    other = cls(policy, make(), seed=2, **options)
    load_tensors(other, content)
    for key, tensor in model.policy.state_dict().items():
        assert torch.equal(tensor, other.policy.state_dict()[key]), key
    for part, optimizer in optimizers_of(model).items():
        loaded = optimizers_of(other)[part]
        assert loaded["state"].keys() == optimizer["state"].keys() != set()
        for number, moments in optimizer["state"].items():
            assert torch.equal(loaded["state"][number]["exp_avg"], moments["exp_avg"])
            assert float(loaded["state"][number]["step"]) == float(moments["step"])
    if name == "sac":
        assert other.log_ent_coef.item() == model.log_ent_coef.item() != 0.0
    other.learn(24)


def test_functions_that_hold_one_number_are_read_without_being_run(tmp_path: Path) -> None:
    save_old(small_ppo(), tmp_path / "old.zip", learning_rate=pickled(linear_schedule(0.002), "function"))
    source = Source(tmp_path / "old.zip")
    values, _ = told(source, env="CartPole-v1")
    assert values["hyperparam"]["clip_range"] == 0.3
    assert (values["lr_decay"], source.root_learning_rate) == ("linear", 0.002)


def test_trust_reads_what_is_not_read_else(tmp_path: Path) -> None:
    model = small_ppo()
    model.learning_rate = lambda progress: 0.003  # type: ignore[assignment]
    model.save(tmp_path / "model.zip")
    assert Source(tmp_path / "model.zip").root_learning_rate is None
    assert Source(tmp_path / "model.zip", trusted=True).root_learning_rate == 0.003


def test_tensors_pth_is_read(tmp_path: Path) -> None:
    model = SAC("MlpPolicy", "Pendulum-v1", buffer_size=10, device="cpu", policy_kwargs={"net_arch": [8]})
    save_old(model, tmp_path / "old.zip")
    members = members_of(tmp_path / "old.zip")
    members["tensors.pth"] = members.pop("pytorch_variables.pth")
    write_members(tmp_path / "older.zip", members)
    assert read_model_zip(tmp_path / "older.zip").variables["log_ent_coef"].item() == model.log_ent_coef.item()


def test_shared_layers_and_the_former_her_class_are_refused(tmp_path: Path) -> None:
    save_old(small_ppo(), tmp_path / "old.zip", policy_kwargs={"net_arch": [8, {"pi": [8], "vf": [8]}]})
    members = members_of(tmp_path / "old.zip")
    policy = small_ppo().policy.state_dict() | {"mlp_extractor.shared_net.0.weight": torch.zeros(8, 4)}
    torch.save(policy, tmp_path / "p.pth")
    write_members(tmp_path / "old.zip", members | {"policy.pth": (tmp_path / "p.pth").read_bytes()})
    assert "layers that actor and critic share (net_arch [8, " in refused(
        call(enjoy.main, tmp_path / "old.zip", "--env", "CartPole-v1")
    )
    save_old(small_ppo(), tmp_path / "her.zip")
    edit_fields(tmp_path / "her.zip", n_sampled_goal=4, goal_selection_strategy=0, max_episode_length=50)
    assert "was saved by the HER class of Stable-Baselines3 1.0" in refused(
        call(enjoy.main, tmp_path / "her.zip", "--env", "CartPole-v1")
    )


def test_defaults_of_old_versions_come_from_the_parameters(tmp_path: Path) -> None:
    options = {"net_arch": [], "share_features_extractor": True, "features_extractor_kwargs": {"features_dim": 16}}
    env = FakeImageEnv(36, 36, discrete=False)
    model = SAC("CnnPolicy", env, buffer_size=10, device="cpu", policy_kwargs=options)
    for version, expected in (("1.5.0", {"net_arch": [], "share_features_extractor": True}), ("2.0.0", {})):
        save_old(model, tmp_path / "old.zip", version, policy_kwargs={})
        assert told(Source(tmp_path / "old.zip"), env="Pendulum-v1")[0]["policy_kwargs"] == expected


def test_hindsight_replay_of_an_old_version(tmp_path: Path) -> None:
    config = {
        "learning_rate": 0.001,
        "normalize": True,
        "policy": "MultiInputPolicy",
        "replay_buffer_class": "HerReplayBuffer",
        "replay_buffer_kwargs": "dict( online_sampling=True, goal_selection_strategy='future', n_sampled_goal=4 )",
        "train_freq": "(2, 'step')",
        "noise_type": "normal",
        "noise_std": 0.2,
        "callback": {"some.Callback": {"a": 1}},
    }
    options = {"net_arch": [8]}
    model = SAC("MultiInputPolicy", goal_env(), buffer_size=10, device="cpu", policy_kwargs=options)
    folder = zoo_folder(tmp_path / "sac", "Goal-v1", model, config, algo="sac", env_kwargs={"reward_type": "dense"})
    env = VecNormalize(DummyVecEnv([goal_env]), norm_obs=False)
    env.reset()
    env.save(str(folder / "Goal-v1" / "vecnormalize.pkl"))
    values, notes = told(resolve(str(folder), tmp_path), env="CartPole-v1")
    assert values["her"] is True and values["norm_reward"] is True and "env_kwargs" not in values
    expected = {
        "replay_buffer_kwargs": {"goal_selection_strategy": "future", "n_sampled_goal": 4},
        "train_freq": (2, "step"),
        "noise_type": "normal",
        "noise_std": 0.2,
    }
    assert {name: values["hyperparam"][name] for name in expected} == expected
    for note in (
        "environment options of Goal-v1 (reward_type:dense)",
        "online_sampling of the replay buffer (hindsight goals are always sampled online now)",
        'what has no counterpart of config.yml: callback: {"some.Callback": {"a": 1}}',
    ):
        assert note in notes


def test_a_pickled_replay_buffer_gives_its_arrays(tmp_path: Path) -> None:
    model = SAC("MlpPolicy", "Pendulum-v1", buffer_size=40, learning_starts=100, device="cpu").learn(30)
    save_old(model, tmp_path / "model.zip")
    source = Source(tmp_path / "model.zip")
    assert source.replay_pickle is None
    model.save_replay_buffer(tmp_path / "replay_buffer.pkl")
    arrays, position, is_full = source.read_replay_pickle()
    buffer = model.replay_buffer
    assert isinstance(buffer, ReplayBuffer) and (position, is_full) == (30, False)
    for name in ("observations", "next_observations", "actions", "rewards", "dones", "timeouts"):
        assert np.array_equal(arrays[name], getattr(buffer, name)) and type(arrays[name]) is np.ndarray


def test_env_wrappers_of_a_folder(tmp_path: Path) -> None:
    wrapper = "sb3_contrib.common.wrappers.TimeFeatureWrapper"
    from sb3_contrib.common.wrappers import TimeFeatureWrapper

    model = small_ppo(TimeFeatureWrapper(gym.make("CartPole-v1")))
    folder = zoo_folder(tmp_path / "a", "CartPole-v1", model, {**CONFIG, "env_wrapper": wrapper})
    layer, _ = inherited_layer(resolve(str(folder), tmp_path), {})
    config, observation_space, _ = complete([layer])
    assert config.environment.env_wrapper == ("TimeFeatureWrapper",) and observation_space.shape == (5,)
    assert call(enjoy.main, folder, "-n", 1).code == 0
    skipping = [{"utils.wrappers.FrameSkip": {"skip": 2}}, wrapper]
    folder = zoo_folder(tmp_path / "b", "CartPole-v1", model, {**CONFIG, "env_wrapper": skipping})
    assert told(resolve(str(folder), tmp_path))[0]["env_wrapper"] == (
        "RepeatAction:{num_repeats: 2}",
        "TimeFeatureWrapper",
    )
    for name in ("rl_zoo3.wrappers.HistoryWrapper", "stranger.TimeFeatureWrapper"):
        folder = zoo_folder(tmp_path / name, "CartPole-v1", model, {**CONFIG, "env_wrapper": name})
        line = refused(call(enjoy.main, folder))
        assert line.startswith(f"config.yml: env_wrapper {name} cannot be used: unknown environment wrapper")
        assert "TimeFeatureWrapper, ClipAction" in line
