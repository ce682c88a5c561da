"""A state memory holds raw observations and what the policy does there, comes back whole, and disturbs no training."""

import copy
import errno
import io
import json
import os
import random
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import toy_envs
from gymnasium import spaces
from sb3_contrib import ARS, QRDQN, TQC, CrossQ, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize, VecTransposeImage

from rl_baselines.cma_es import CMAES
from rl_baselines.episode_seeds import EpisodeSeeds
from rl_baselines.errors import UsageError
from rl_baselines.random_agent import RandomAgent
from rl_baselines.retention.policy_outputs import OutputKind, policy_input, state_values
from rl_baselines.retention.state_memory import (
    Label,
    StateMemory,
    can_remember,
    collect,
    joined,
    read_memory,
    relabelled,
    states_that_fit,
    write_memory,
)
from rl_baselines.state_files import first_difference


class SlidingWalk(toy_envs.Walk):
    """The walk with a continuous action of two parts."""

    action_space = spaces.Box(-2.0, 2.0, (2,), np.float32)

    def shift(self, action: Any) -> float:
        return float(np.sum(action))


class TwoChoicesWalk(SlidingWalk):
    action_space = spaces.MultiDiscrete([3, 2])


class BitsWalk(SlidingWalk):
    action_space = spaces.MultiBinary(2)


ENVS: dict[str, type[gym.Env[Any, Any]]] = {
    **{"walk": toy_envs.Walk, "sliding": SlidingWalk, "two": TwoChoicesWalk, "bits": BitsWalk},
    **{"goal": toy_envs.GoalWalk, "picture": toy_envs.DictionaryWalk, "masked": toy_envs.MaskedWalk},
}
ACTOR_CRITIC: dict[str, Any] = {"n_steps": 8, "policy_kwargs": {"net_arch": [4]}}
REPLAY: dict[str, Any] = {
    **{"learning_starts": 8, "batch_size": 8, "buffer_size": 100},
    "policy_kwargs": {"net_arch": [4]},
}
GSDE: dict[str, Any] = {"use_sde": True}
CASES: dict[str, tuple[type[BaseAlgorithm], str, dict[str, Any], OutputKind, dict[str, int]]] = {
    "ppo": (PPO, "sliding", {**ACTOR_CRITIC, "batch_size": 16}, OutputKind("gaussian"), {"mean": 2, "log_std": 2}),
    "ppo_gsde": (A2C, "sliding", {**ACTOR_CRITIC, **GSDE}, OutputKind("gaussian"), {"mean": 2, "log_std": 2}),
    "a2c": (A2C, "walk", ACTOR_CRITIC, OutputKind("categorical", (3,)), {"logits": 3}),
    "a2c_two": (A2C, "two", ACTOR_CRITIC, OutputKind("categorical", (3, 2)), {"logits": 5}),
    "a2c_bits": (A2C, "bits", ACTOR_CRITIC, OutputKind("bernoulli"), {"logits": 2}),
    "maskable": (MaskablePPO, "masked", ACTOR_CRITIC, OutputKind("categorical", (3,)), {"logits": 3}),
    "sac": (SAC, "sliding", REPLAY, OutputKind("squashed_gaussian"), {"mean": 2, "log_std": 2}),
    "sac_gsde": (SAC, "sliding", {**REPLAY, **GSDE}, OutputKind("squashed_gaussian"), {"mean": 2, "log_std": 2}),
    "tqc": (TQC, "goal", REPLAY, OutputKind("squashed_gaussian"), {"mean": 1, "log_std": 1}),
    "crossq": (CrossQ, "sliding", REPLAY, OutputKind("squashed_gaussian"), {"mean": 2, "log_std": 2}),
    "td3": (TD3, "sliding", REPLAY, OutputKind("deterministic"), {"action": 2}),
    "ddpg": (DDPG, "goal", REPLAY, OutputKind("deterministic"), {"action": 1}),
    "dqn": (DQN, "walk", REPLAY, OutputKind("q_values"), {"q_values": 3}),
    "qrdqn": (QRDQN, "walk", REPLAY, OutputKind("q_values"), {"q_values": 3}),
}


def environments(name: str, n_envs: int = 2, normalized: bool = False) -> VecEnv:
    envs: VecEnv = DummyVecEnv([lambda seed=seed: EpisodeSeeds(ENVS[name](), seed) for seed in range(n_envs)])
    if name == "picture":
        return VecTransposeImage(envs)
    return VecNormalize(envs, training=False, norm_reward=False) if normalized else envs


def built(name: str, seed: int = 1) -> BaseAlgorithm:
    algorithm, env, arguments, _, _ = CASES[name]
    policy = "MultiInputPolicy" if env == "goal" else "MlpPolicy"
    return algorithm(policy, environments(env), seed=seed, device="cpu", **copy.deepcopy(arguments))  # type: ignore[arg-type]


def with_statistics(env: VecEnv) -> VecNormalize:
    assert isinstance(env, VecNormalize)
    env.obs_rms.mean, env.obs_rms.var = np.array([1.0, 4.0]), np.array([4.0, 9.0])  # type: ignore[union-attr]
    return env


def parts(memory: StateMemory) -> dict[str, Any]:
    return {**vars(memory), "kind": [memory.kind.name, *memory.kind.sizes], "label": vars(memory.label)}


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_the_policy(name: str) -> None:
    _, env, _, kind, sizes = CASES[name]
    model = built(name)
    memory = collect(model, environments(env), 21, seed=3)
    assert len(memory) == 21 and memory.kind == kind
    assert {key: (part.dtype, part.shape) for key, part in memory.parameters.items()} == {
        key: (np.float32, (21, size)) for key, size in sizes.items()
    }
    assert memory.values.dtype == np.float32 and memory.values.shape == (21,)
    policy: Any = model.policy
    policy.set_training_mode(False)
    actions = policy.predict(memory.observations, deterministic=True)[0]
    outputs = memory.parameters
    if kind.name == "gaussian":
        expected = outputs["mean"].clip(-2, 2)
    elif kind.name in ("squashed_gaussian", "deterministic"):
        squashed = np.tanh(outputs["mean"]) if "mean" in outputs else outputs["action"]
        expected = squashed * model.action_space.high  # type: ignore[attr-defined]
    elif kind.name == "categorical":
        choices = np.split(outputs["logits"], np.cumsum(kind.sizes)[:-1], axis=1)
        np.testing.assert_allclose([np.exp(one).sum(axis=1) for one in choices], 1, atol=1e-5)
        expected = np.stack([one.argmax(axis=1) for one in choices], axis=1).reshape(actions.shape)
    else:
        expected = outputs["logits"] > 0 if kind.name == "bernoulli" else outputs["q_values"].argmax(axis=1)
    np.testing.assert_allclose(actions, expected, atol=1e-5)


def test_values_and_standard_deviations_are_those_of_the_policy() -> None:
    with torch.no_grad():
        for name in ("ppo", "ppo_gsde", "sac", "sac_gsde", "td3", "tqc", "dqn"):
            model: Any = built(name)
            memory = collect(model, environments(CASES[name][1]), 10, seed=3)
            observations = policy_input(model.policy, memory.observations, None)
            if name in ("ppo", "ppo_gsde"):
                values = model.policy.predict_values(observations).flatten()
                std = model.policy.get_distribution(observations).distribution.stddev
            elif name == "dqn":
                values = model.q_net(observations).max(dim=1).values
            else:
                actions = model.actor(observations) if name == "td3" else model.actor(observations, deterministic=True)
                critics = model.critic(observations, actions)
                values = critics.mean(dim=(1, 2)) if name == "tqc" else torch.minimum(*critics).flatten()
            if name in ("sac", "sac_gsde"):
                mean, log_std, latent = model.actor.get_action_dist_params(observations)
                std = model.actor.action_dist.proba_distribution(mean, log_std, **latent).distribution.stddev
            np.testing.assert_allclose(memory.values, values.numpy(), rtol=1e-5, atol=1e-6, err_msg=name)
            if "log_std" in memory.parameters and name != "tqc":
                np.testing.assert_allclose(np.exp(memory.parameters["log_std"]), std.numpy(), rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", ["a2c", "ppo", "sac_gsde", "ppo_gsde", "td3", "dqn", "maskable"])
def test_the_same_seed_gives_the_same_memory(name: str) -> None:
    model, env = built(name), environments(CASES[name][1])
    first = collect(model, env, 40, seed=3)
    random.random(), np.random.random(), torch.rand(1), model.action_space.sample()  # noqa: NPY002
    other_model = built(name, seed=2)
    other_model.policy.load_state_dict(model.policy.state_dict())
    if name == "dqn":
        assert other_model.exploration_rate == model.exploration_rate  # type: ignore[attr-defined]
    for again in (collect(model, env, 40, seed=3), collect(other_model, environments(CASES[name][1]), 40, seed=3)):
        assert first_difference(parts(again), parts(first)) is None
    assert first_difference(parts(collect(model, env, 40, seed=4)), parts(first)) is not None


def test_each_environment_gives_an_equal_share() -> None:
    memory = collect(built("a2c"), environments("walk", n_envs=3), 24, seed=3)
    n_steps = np.asarray(memory.observations)[:, 1]
    assert [n_steps[index::3].tolist() for index in range(3)] == [list(range(8))] * 3
    assert len(set(np.asarray(memory.observations)[:3, 0])) == 3
    assert len(collect(built("a2c"), environments("walk", n_envs=3), 7, seed=3)) == 7


@pytest.mark.parametrize("name", ["a2c", "ppo_gsde", "maskable", "sac", "sac_gsde", "td3", "crossq", "dqn"])
def test_training_goes_on_as_if_nothing_had_been_collected(name: str) -> None:
    trained: list[tuple[Any, ...]] = []
    for collects in (False, True):
        model = built(name)
        model.learn(32)
        modes = [module.training for module in model.policy.modules()]
        if collects:
            collect(model, environments(CASES[name][1]), 30, seed=3)
        assert [module.training for module in model.policy.modules()] == modes
        model.learn(32, reset_num_timesteps=False)
        trained.append((model.policy.state_dict(), random.random(), model.action_space.sample()))
    assert first_difference(*trained) is None


def test_observations_are_raw_and_the_normalizer_is_noted() -> None:
    model = built("a2c")
    env = with_statistics(environments("walk", normalized=True))
    memory = collect(model, env, 20, seed=3)
    raw = np.asarray(memory.observations)
    assert raw[:, 1].tolist() == [step for step in range(10) for _ in range(2)]
    assert memory.normalization == {"mean": [1.0, 4.0], "var": [4.0, 9.0], "epsilon": 1e-8, "clip_obs": 10.0}
    normalized = torch.as_tensor((raw - [1, 4]) / [2, 3], dtype=torch.float32)
    with torch.no_grad():
        expected = model.policy.get_distribution(normalized).distribution.logits  # type: ignore[operator]
    np.testing.assert_allclose(memory.parameters["logits"], expected.numpy(), atol=1e-6)
    assert env.obs_rms.count == 1e-4  # type: ignore[union-attr]
    with pytest.raises(AssertionError, match="change the statistics"):
        collect(model, VecNormalize(environments("walk")), 20, seed=3)


def test_dictionaries_with_pictures_come_back(tmp_path: Path) -> None:
    env = environments("picture")
    model = A2C("MultiInputPolicy", env, policy_kwargs={"net_arch": [4]}, seed=1, device="cpu")
    memory = collect(model, env, 6, seed=3)
    assert isinstance(memory.observations, dict)
    kinds = {key: (part.dtype, part.shape) for key, part in memory.observations.items()}
    assert kinds == {"image": (np.uint8, (6, 3, 36, 36)), "vector": (np.float32, (6, 2))}
    write_memory(memory, tmp_path / "memory.npz")
    assert first_difference(parts(read_memory(tmp_path / "memory.npz")), parts(memory)) is None
    with torch.no_grad():
        again = state_values(model.policy, policy_input(model.policy, memory.observations, None))
    assert again.tolist() == memory.values.tolist()


def test_another_model_can_say_what_it_does_in_the_same_states() -> None:
    memory = collect(built("a2c"), environments("walk"), 20, seed=3)
    other = built("a2c", seed=2)
    with torch.no_grad():
        logits = other.policy.get_distribution(torch.as_tensor(memory.observations)).distribution.logits  # type: ignore[operator]
    relabelled_memory = relabelled(memory, other)
    np.testing.assert_allclose(relabelled_memory.parameters["logits"], logits.numpy(), atol=1e-6)
    assert relabelled_memory.observations is memory.observations
    assert first_difference(relabelled_memory.parameters, memory.parameters) is not None


def test_recurrent_policies_and_those_without_values_are_refused() -> None:
    models: list[BaseAlgorithm] = [
        RecurrentPPO("MlpLstmPolicy", environments("walk"), n_steps=4, batch_size=8, device="cpu"),
        ARS("MlpPolicy", environments("walk"), device="cpu"),
        CMAES("MlpPolicy", environments("walk"), seed=0),
        RandomAgent("MlpPolicy", environments("walk")),
    ]
    for model in models:
        assert not can_remember(model)
        with pytest.raises(UsageError, match="there is no state memory of"):
            collect(model, environments("walk"), 20, seed=3)


def test_the_number_of_states_is_bounded_by_the_size_of_their_observations() -> None:
    vector, picture = spaces.Box(-1, 1, (6,), np.float32), spaces.Box(0, 255, (3, 64, 64), np.uint8)
    assert states_that_fit(vector) == 4096
    assert states_that_fit(spaces.Discrete(5)) == 4096
    assert states_that_fit(picture) == 2**24 // (3 * 64 * 64)
    assert states_that_fit(spaces.Dict({"one": vector, "two": picture})) == 2**24 // (3 * 64 * 64 + 24)
    assert states_that_fit(picture, max_bytes=5) == 1


def test_a_file_gives_back_all_of_it_and_is_small(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    memory = StateMemory(
        observations=generator.standard_normal((4096, 6), dtype=np.float32),
        kind=OutputKind("gaussian"),
        parameters={
            "mean": generator.standard_normal((4096, 2), dtype=np.float32),
            "log_std": np.full((4096, 2), -1.0, np.float32),
        },
        values=generator.standard_normal(4096, dtype=np.float32),
        label=Label("ppo", "Some-v0", {"size": 0.1, "goal": [1, 2]}, "a/b", 500, tuple("abcdef")),
        normalization={"mean": [0.1] * 6, "var": [1 / 3] * 6, "epsilon": 1e-8, "clip_obs": 10.0},
    )
    paths = [tmp_path / "one.npz", tmp_path / "two.npz"]
    for path in paths:
        write_memory(memory, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert 100_000 < paths[0].stat().st_size < 160_000
    assert first_difference(parts(read_memory(paths[0])), parts(memory)) is None
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["one.npz", "two.npz"]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("memory") / "memory.npz"
    write_memory(collect(built("a2c"), environments("walk"), 20, seed=3), path)
    return path.read_bytes()


def repacked(good: bytes, **changes: Any) -> bytes:
    with np.load(io.BytesIO(good)) as stored:
        arrays = {**stored, **changes}
    file = io.BytesIO()
    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    return file.getvalue()


def header(good: bytes, **changes: Any) -> np.ndarray:
    with np.load(io.BytesIO(good)) as stored:
        return np.frombuffer(json.dumps(json.loads(stored["header"].tobytes()) | changes).encode(), np.uint8)


def test_damaged_and_foreign_files_are_refused_in_one_line(tmp_path: Path, good: bytes) -> None:
    path = tmp_path / "memory.npz"
    with pytest.raises(UsageError, match="^no state memory at .*memory.npz$"):
        read_memory(path)
    built("a2c").save(tmp_path / "model.zip")
    single = io.BytesIO()
    np.save(single, np.zeros(3))
    contents = {
        "empty": b"",
        "text": b"some words",
        "a single array": single.getvalue(),
        "a model": (tmp_path / "model.zip").read_bytes(),
        "cut": good[: len(good) // 2],
        "no values": repacked(good, values=None),
        "fewer values": repacked(good, values=np.zeros(3, np.float32)),
        "pickled": repacked(good, values=np.array([{}] * 20, dtype=object)),
        "another format": repacked(good, header=header(good, format=2)),
        "no kind": repacked(good, header=header(good, kind=None)),
    }
    for what, content in contents.items():
        path.write_bytes(content)
        with pytest.raises(UsageError, match="is no readable state memory: .+; give an intact one$") as caught:
            read_memory(path)
        assert "\n" not in str(caught.value), what
    path.unlink()
    path.mkdir()
    with pytest.raises(UsageError, match="is no readable state memory"):
        read_memory(path)


def test_no_single_wrong_byte_passes_unnoticed(tmp_path: Path, good: bytes) -> None:
    path = tmp_path / "memory.npz"
    path.write_bytes(good)
    expected = parts(read_memory(path))
    generator = np.random.default_rng(3)
    n_refused = 0
    for place in generator.integers(0, len(good), 300):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
        try:
            assert first_difference(parts(read_memory(path)), expected) is None
        except UsageError:
            n_refused += 1
    assert n_refused > 200


def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good: bytes) -> None:
    path = tmp_path / "memory.npz"
    path.write_bytes(good)

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    memory = read_memory(path)
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_memory(memory, path)
    assert [one.name for one in tmp_path.iterdir()] == ["memory.npz"] and path.read_bytes() == good
    assert zipfile.is_zipfile(path)


def test_tasks_that_were_held_on_to_have_equal_shares_of_a_joined_memory(tmp_path: Path) -> None:
    """Of 60 states a third task has 20 and the two before 40, all with what the present policy does there."""
    model = PPO("MlpPolicy", environments("walk"), n_steps=4, batch_size=8, device="cpu")
    first, second, third = (collect(model, environments("walk"), 60, seed) for seed in range(3))
    both = joined(second, first, model, 60)
    assert len(both) == 60 and both.label.n_tasks == 2
    np.testing.assert_array_equal(
        both.observations[:30], second.observations[np.linspace(0, 59, 30).round().astype(int)]
    )
    np.testing.assert_array_equal(
        both.observations[30:], first.observations[np.linspace(0, 59, 30).round().astype(int)]
    )
    other = PPO("MlpPolicy", environments("walk"), n_steps=4, batch_size=8, device="cpu", seed=9)
    three = joined(relabelled(third, other), both, other, 60)
    assert len(three) == 60 and three.label.n_tasks == 3
    np.testing.assert_array_equal(
        three.observations[20:], both.observations[np.linspace(0, 59, 40).round().astype(int)]
    )
    with torch.no_grad():
        logits = other.policy.get_distribution(torch.as_tensor(three.observations)).distribution.logits  # type: ignore[operator]
    np.testing.assert_allclose(three.parameters["logits"], logits.numpy(), atol=1e-6)
    write_memory(three, tmp_path / "memory.npz")
    assert read_memory(tmp_path / "memory.npz").label.n_tasks == 3


def test_a_smaller_earlier_memory_leaves_its_room_to_the_newest() -> None:
    model = PPO("MlpPolicy", environments("walk"), n_steps=4, batch_size=8, device="cpu")
    newest, earlier = collect(model, environments("walk"), 60, 0), collect(model, environments("walk"), 10, 1)
    both = joined(newest, earlier, model, 60)
    assert len(both) == 60
    np.testing.assert_array_equal(both.observations[50:], earlier.observations)
