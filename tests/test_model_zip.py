"""Model zips: plain for others, read without running anything, refused when they do not fit."""

import json
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from sb3_contrib import ARS, QRDQN, TQC, TRPO, CrossQ, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise

from rl_baselines.algorithms import find_algorithm
from rl_baselines.errors import UsageError
from rl_baselines.foreign.zip_algorithm import identify_algorithm
from rl_baselines.model_zip import load_tensors, plain_fields, read_model_zip, write_model_zip
from rl_baselines.schedules import LearningRateSchedule
from rl_baselines.sources import Source
from rl_baselines.transfer.inheritance import inherited_layer

STOCK: dict[str, Any] = {  # algorithm, environment, policy
    "ppo": (PPO, "CartPole-v1", "MlpPolicy"),
    "a2c": (A2C, "CartPole-v1", "MlpPolicy"),
    "dqn": (DQN, "CartPole-v1", "MlpPolicy"),
    "sac": (SAC, "Pendulum-v1", "MlpPolicy"),
    "td3": (TD3, "Pendulum-v1", "MlpPolicy"),
    "ddpg": (DDPG, "Pendulum-v1", "MlpPolicy"),
    "trpo": (TRPO, "CartPole-v1", "MlpPolicy"),
    "tqc": (TQC, "Pendulum-v1", "MlpPolicy"),
    "qrdqn": (QRDQN, "CartPole-v1", "MlpPolicy"),
    "ars": (ARS, "CartPole-v1", "MlpPolicy"),
    "crossq": (CrossQ, "Pendulum-v1", "MlpPolicy"),
    "ppo_lstm": (RecurrentPPO, "CartPole-v1", "MlpLstmPolicy"),
}


def build(name: str, seed: int = 0, **arguments: object) -> BaseAlgorithm:
    cls, env_id, policy = STOCK[name]
    return cls(policy, env_id, seed=seed, device="cpu", **arguments)


@pytest.mark.parametrize("name", sorted(STOCK))
def test_a_stock_zip_tells_its_algorithm_and_loads_bit_for_bit(name: str, tmp_path: Path) -> None:
    stock = build(name, seed=1)
    stock.save(tmp_path / "stock.zip")
    content = read_model_zip(tmp_path / "stock.zip")
    assert identify_algorithm(content.fields) == name
    assert content.version.startswith("2.") and content.origin == {}
    other = build(name, seed=2)
    load_tensors(other, content)
    for key, tensor in stock.policy.state_dict().items():
        assert torch.equal(tensor, other.policy.state_dict()[key]), key
    if name == "ars":
        assert torch.equal(other.weights, stock.weights)
    if name == "sac":
        assert other.log_ent_coef.item() == stock.log_ent_coef.item()


def test_settings_are_read_from_the_plain_fields_of_a_stock_zip(tmp_path: Path) -> None:
    options = {"net_arch": [32, 16], "activation_fn": torch.nn.ReLU}
    stock = build(
        "ppo", n_steps=64, batch_size=32, clip_range=0.3, gamma=0.9, learning_rate=1e-3, policy_kwargs=options
    )
    stock.learn(64)
    stock.save(tmp_path / "stock.zip")
    source = Source(tmp_path / "stock.zip")
    layer, notes = inherited_layer(source, {"env": "CartPole-v1"})
    hyperparameters = layer.values["hyperparam"]
    expected = {
        "n_steps": 64,
        "batch_size": 32,
        "clip_range": 0.3,
        "gamma": 0.9,
        "n_epochs": 10,
        "stats_window_size": 100,
    }
    assert {name: hyperparameters[name] for name in expected} == expected
    assert layer.values["policy_kwargs"] == {"net_arch": [32, 16], "activation": "relu"}
    assert (layer.values["n_envs"], layer.values["num_timesteps"], layer.values["norm_obs"]) == (1, 64, False)
    assert layer.values["lr_decay"] == "constant"
    assert source.root_learning_rate == 1e-3
    assert notes == ["seed (drawn anew)", "normalization statistics (a lone zip has none)"]


def test_what_was_pickled_is_read_where_it_is_plain_and_else_named(tmp_path: Path) -> None:
    build("td3", train_freq=(2, "episode"), action_noise=NormalActionNoise(np.zeros(1), np.full(1, 0.3))).save(
        tmp_path / "td3.zip"
    )
    hyperparameters = inherited_layer(Source(tmp_path / "td3.zip"), {"env": "Pendulum-v1"})[0].values["hyperparam"]
    expected = {"train_freq": (2, "episode"), "noise_type": "normal", "noise_std": 0.3}
    assert {name: hyperparameters[name] for name in expected} == expected
    build("ppo", clip_range=lambda progress: 0.1).save(tmp_path / "ppo.zip")
    notes = inherited_layer(Source(tmp_path / "ppo.zip"), {"env": "CartPole-v1"})[1]
    assert "hyperparameters that the zip does not hold as plain values: clip_range" in notes


def test_an_optimiser_other_than_the_default_is_understood(tmp_path: Path) -> None:
    for use_rms_prop in (True, False):
        build("a2c", use_rms_prop=use_rms_prop).save(tmp_path / "stock.zip")
        layer = inherited_layer(Source(tmp_path / "stock.zip"), {"env": "CartPole-v1"})[0]
        assert layer.values["hyperparam"]["use_rms_prop"] is use_rms_prop


def test_a_learning_rate_that_was_pickled_is_not_known(tmp_path: Path) -> None:
    build("ppo", learning_rate=lambda progress: 1e-3 * progress).save(tmp_path / "stock.zip")
    assert Source(tmp_path / "stock.zip").root_learning_rate is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"stock.zip does not tell its environment: give --env$"),
        ({"env": "CartPole-v1", "algo": "a2c"}, r"stock.zip is a model of ppo, --algo a2c cannot continue it"),
    ],
)
def test_what_a_stock_zip_needs(tmp_path: Path, given: dict, message: str) -> None:
    build("ppo").save(tmp_path / "stock.zip")
    with pytest.raises(UsageError, match=message):
        inherited_layer(Source(tmp_path / "stock.zip"), given)


def test_our_zip_loads_in_plain_stable_baselines3_with_its_optimiser(tmp_path: Path) -> None:
    model = build("ppo", n_steps=64, learning_rate=LearningRateSchedule(1e-3, "linear"))
    model.learn(64)
    write_model_zip(model, tmp_path / "model.zip", {"run": "a/b"}, 1e-3)
    loaded = PPO.load(tmp_path / "model.zip", env=gym.make("CartPole-v1"), device="cpu")
    observation = np.array([[0.01, -0.02, 0.03, 0.04]], dtype=np.float32)
    assert torch.equal(
        loaded.policy.get_distribution(torch.as_tensor(observation)).distribution.logits,
        model.policy.get_distribution(torch.as_tensor(observation)).distribution.logits,
    )
    assert loaded.learning_rate == 1e-3 and loaded.lr_schedule(0.5) == 1e-3
    moments = [state["exp_avg"] for state in loaded.policy.optimizer.state_dict()["state"].values()]
    assert moments and any(moment.abs().max() > 0 for moment in moments)
    assert read_model_zip(tmp_path / "model.zip").origin == {"run": "a/b"}


def test_nothing_of_ours_is_pickled_in_our_zip(tmp_path: Path) -> None:
    model = build("sac", learning_rate=LearningRateSchedule(1e-3, "cosine"))
    write_model_zip(model, tmp_path / "model.zip", {}, 1e-3)
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        data = archive.read("data").decode()
    for package in ("rl_baselines", "environments.", "state_representation"):
        assert package not in data
    import base64

    for value in json.loads(data).values():
        if isinstance(value, dict) and ":serialized:" in value:
            assert b"rl_baselines" not in base64.b64decode(value[":serialized:"])


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


def test_reading_a_zip_unpickles_nothing(tmp_path: Path) -> None:
    stock = build("ppo")
    stock.policy_kwargs = {"net_arch": [64, 64], "trap": Bomb(tmp_path / "ran")}
    stock.trap = Bomb(tmp_path / "ran")
    stock.save(tmp_path / "stock.zip")
    (tmp_path / "ran").unlink(missing_ok=True)
    content = read_model_zip(tmp_path / "stock.zip")
    plain_fields(content.fields)
    inherited_layer(Source(tmp_path / "stock.zip"), {"env": "CartPole-v1"})
    assert not (tmp_path / "ran").exists()


def test_tensors_that_hold_more_are_refused(tmp_path: Path) -> None:
    build("ppo").save(tmp_path / "stock.zip")
    with zipfile.ZipFile(tmp_path / "stock.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    torch.save({"x": Bomb(tmp_path / "ran")}, tmp_path / "bomb.pth")
    members["policy.pth"] = (tmp_path / "bomb.pth").read_bytes()
    with zipfile.ZipFile(tmp_path / "trap.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(UsageError, match=r"trap.zip: policy.pth holds more than tensors; it is not loaded$"):
        read_model_zip(tmp_path / "trap.zip")
    assert not (tmp_path / "ran").exists()


def test_a_zip_cut_at_any_place_is_one_clear_line(tmp_path: Path) -> None:
    build("ppo").save(tmp_path / "stock.zip")
    content = (tmp_path / "stock.zip").read_bytes()
    for share in (0.0, 0.01, 0.3, 0.6, 0.9, 0.99):
        (tmp_path / "cut.zip").write_bytes(content[: int(share * len(content))])
        with pytest.raises(
            UsageError, match=r"cut.zip (\(\d+ bytes\) is not a complete zip file|is a zip file but no)"
        ) as caught:
            read_model_zip(tmp_path / "cut.zip")
        assert "\n" not in str(caught.value)


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    build("ppo").save(tmp_path / "stock.zip")
    content = bytearray((tmp_path / "stock.zip").read_bytes())
    with zipfile.ZipFile(tmp_path / "stock.zip") as archive:
        place = archive.getinfo("policy.pth").header_offset + 300
    content[place] ^= 0xFF
    (tmp_path / "flipped.zip").write_bytes(bytes(content))
    with pytest.raises(UsageError, match="flipped.zip"):
        read_model_zip(tmp_path / "flipped.zip")


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a.txt", "hello")
    with pytest.raises(
        UsageError, match=r"photos.zip is a zip .* no complete Stable-Baselines3 model: it lacks 'data'"
    ):
        read_model_zip(tmp_path / "photos.zip")


def test_another_network_is_refused_and_named(tmp_path: Path) -> None:
    build("ppo", policy_kwargs={"net_arch": [32]}).save(tmp_path / "narrow.zip")
    message = r"narrow.zip does not fit: .* has shape \(2, 32\) in the source and has shape \(2, 64\) in this run; "
    with pytest.raises(UsageError, match=message):
        load_tensors(build("ppo"), read_model_zip(tmp_path / "narrow.zip"))


def test_a_model_without_parameters_cannot_be_continued(tmp_path: Path) -> None:
    cls = find_algorithm("random_agent").load_class()
    from stable_baselines3.common.env_util import make_vec_env

    agent = cls("MlpPolicy", make_vec_env("CartPole-v1"))
    write_model_zip(agent, tmp_path / "random.zip", {}, 0.0)
    with pytest.raises(UsageError, match=r"random.zip has no parameters: there is nothing to load$"):
        load_tensors(agent, read_model_zip(tmp_path / "random.zip"))


def test_equal_weights_have_one_identity_wherever_and_whenever_they_were_saved(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_model_zip(build("ppo", seed=seed), tmp_path / f"{name}.zip", {"run": name}, 1e-3)
    first, again, other = (Source(tmp_path / f"{name}.zip") for name in "abc")
    assert first.identity == again.identity != other.identity
    assert [source.run_id for source in (first, again, other)] == ["a", "b", "c"]
