"""A penalty in the updates is what an edited `train` would give, holds the policy, comes back, and leaves nothing."""

import copy
import inspect
import json
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_envs
from gymnasium import spaces
from sb3_contrib import TQC, TRPO, CrossQ, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize, VecTransposeImage

from rl_baselines.episode_seeds import EpisodeSeeds
from rl_baselines.errors import UsageError
from rl_baselines.model_zip import write_model_zip
from rl_baselines.retention.extra_loss import ExtraLoss
from rl_baselines.retention.fisher import actor_parameters, fisher_information
from rl_baselines.retention.penalties import (
    MEMORY_BATCH,
    MemoryAndValueDistance,
    MemoryDistance,
    StartDistance,
    TeacherDistance,
    distance,
)
from rl_baselines.retention.policy_outputs import OutputKind, action_parameters, output_kind, policy_input, state_values
from rl_baselines.retention.retention import RETENTION_KINDS, Retention, check_retention
from rl_baselines.retention.state_memory import StateMemory, collect
from rl_baselines.state_files import first_difference, read_state, write_state


class SlidingWalk(toy_envs.Walk):
    """The walk with a continuous action of two parts."""

    action_space = spaces.Box(-2.0, 2.0, (2,), np.float32)

    def shift(self, action: Any) -> float:
        return float(np.sum(action))


class BitsWalk(SlidingWalk):
    action_space = spaces.MultiBinary(2)


ROLLOUT: dict[str, Any] = {"n_steps": 16, "learning_rate": 1e-2, "policy_kwargs": {"net_arch": [8]}}
REPLAY: dict[str, Any] = {
    **{"learning_starts": 16, "batch_size": 16, "buffer_size": 500, "learning_rate": 1e-2},
    "policy_kwargs": {"net_arch": [8]},
}
CASES: dict[str, tuple[type[BaseAlgorithm], type[toy_envs.Walk], dict[str, Any]]] = {
    "ppo": (PPO, SlidingWalk, {**ROLLOUT, "batch_size": 16, "n_epochs": 2}),
    "ppo_choices": (PPO, toy_envs.Walk, {**ROLLOUT, "batch_size": 16, "n_epochs": 2}),
    "a2c": (A2C, toy_envs.Walk, ROLLOUT),
    "a2c_gsde": (A2C, SlidingWalk, {**ROLLOUT, "use_sde": True}),
    "a2c_bits": (A2C, BitsWalk, {**ROLLOUT, "policy_kwargs": {"net_arch": [8], "share_features_extractor": False}}),
    "sac": (SAC, SlidingWalk, REPLAY),
    "sac_gsde": (SAC, SlidingWalk, {**REPLAY, "use_sde": True}),
    "td3": (TD3, SlidingWalk, REPLAY),
    "ddpg": (DDPG, SlidingWalk, REPLAY),
    "tqc": (TQC, SlidingWalk, REPLAY),
    "crossq": (CrossQ, SlidingWalk, REPLAY),
}
ON_POLICY_LOSS = ("self.vf_coef * value_loss\n", "rollout_data.observations")
LOSSES = {
    **dict.fromkeys((PPO, A2C), ON_POLICY_LOSS),
    SAC: ("actor_loss = (ent_coef * log_prob - min_qf_pi).mean()\n", "replay_data.observations"),
    CrossQ: ("(ent_coef * log_prob.reshape(-1, 1) - min_qf_pi).mean()\n", "replay_data.observations"),
    TQC: ("actor_loss = (ent_coef * log_prob - qf_pi).mean()\n", "replay_data.observations"),
    TD3: ("self.actor(replay_data.observations)).mean()\n", "replay_data.observations"),
}


def algorithm_of(name: str) -> str:
    return name.split("_")[0]


def environments(env: type[toy_envs.Walk]) -> VecEnv:
    return DummyVecEnv([lambda seed=seed: EpisodeSeeds(env(), seed) for seed in range(2)])


def built(name: str, seed: int = 1, cls: type[BaseAlgorithm] | None = None) -> Any:
    algorithm, env, arguments = CASES[name]
    return (cls or algorithm)("MlpPolicy", environments(env), seed=seed, device="cpu", **copy.deepcopy(arguments))  # type: ignore[arg-type]


def trained(name: str, timesteps: int = 64) -> Any:
    return built(name).learn(timesteps)


def remembered(name: str, model: Any, n_states: int = 50) -> StateMemory:
    return collect(model, environments(CASES[name][1]), n_states, seed=3)


def retention(
    name: str, model: Any, kind: str, coefficient: float | None = None, decay: str = "constant", n_states: int = 50
) -> Retention:
    """A retention that has begun from the model as it is."""
    one = Retention(model, algorithm_of(name), kind, coefficient, decay)
    one.begin(remembered(name, model, n_states) if RETENTION_KINDS[kind].needs_memory else None, seed=7)
    return one


def penalty_of(one: Retention, observations: Any = None) -> torch.Tensor:
    assert one._penalty is not None
    return one._penalty(observations)


def edited(algorithm: type[BaseAlgorithm]) -> type[BaseAlgorithm]:
    """The algorithm with a `train` whose text adds a term to the loss that steps the policy."""
    old, observations = LOSSES[algorithm]
    source = textwrap.dedent(inspect.getsource(algorithm.train))
    assert source.count(old) == 1
    names = dict(vars(sys.modules[algorithm.__module__]))
    exec(source.replace(old, f"{old.rstrip()} + self.extra({observations})\n"), names)
    return type(algorithm.__name__, (algorithm,), {"train": names["train"]})


def known_kinds(name: str) -> list[str]:
    return [kind for kind, row in RETENTION_KINDS.items() if name.startswith(("ppo", "a2c")) or row.off_policy]


KINDS_OF_CASES = [
    *(("ppo", kind) for kind in RETENTION_KINDS),
    *((name, kind) for name in ("a2c", "sac", "td3", "tqc", "crossq") for kind in ("bc", "kl")),
]


@pytest.mark.parametrize(("name", "kind"), KINDS_OF_CASES)
def test_training_is_that_of_an_edited_algorithm(name: str, kind: str) -> None:
    ours = built(name)
    with retention(name, ours, kind, coefficient=0.5).attached():
        ours.learn(64)
    reference = built(name, cls=edited(CASES[name][0]))
    its = retention(name, reference, kind)
    reference.extra = lambda observations: 0.5 * penalty_of(its, observations)
    reference.learn(64)
    assert first_difference(ours.policy.state_dict(), reference.policy.state_dict()) is None
    assert first_difference(ours.policy.state_dict(), trained(name).policy.state_dict()) is not None


@pytest.mark.parametrize(("name", "kind"), [("ppo", kind) for kind in RETENTION_KINDS] + [("sac", "kl"), ("td3", "bc")])
def test_a_coefficient_of_zero_changes_nothing(name: str, kind: str) -> None:
    results = []
    for has_retention in (True, False):
        model = built(name)
        if has_retention:
            with retention(name, model, kind, coefficient=0).attached():
                model.learn(96)
        else:
            model.learn(96)
        results.append([model.policy.state_dict(), torch.get_rng_state()])
    assert first_difference(*results) is None


@pytest.mark.parametrize(("name", "kind"), [("ppo", kind) for kind in RETENTION_KINDS] + [("sac", "kl"), ("td3", "bc")])
def test_a_penalty_draws_from_no_global_generator(name: str, kind: str) -> None:
    model = trained(name)
    observations = policy_input(model.policy, remembered(name, model, 8).observations, None)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    one = retention(name, model, kind)
    one.restore(one.state())
    penalty_of(one, observations)
    assert first_difference(before, (torch.get_rng_state(), np.random.get_state()[1].tolist())) is None  # type: ignore[index]  # noqa: NPY002


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in CASES for kind in known_kinds(name)])
def test_penalty_and_gradient_are_zero_at_the_start(name: str, kind: str) -> None:
    model = trained(name)
    model.policy.set_training_mode(False)
    observations = policy_input(model.policy, remembered(name, model, 8).observations, None)
    penalty = penalty_of(retention(name, model, kind), observations)
    gradients = torch.autograd.grad(penalty, list(actor_parameters(model.policy).values()), allow_unused=True)
    limit = 0.0 if kind in ("l2sp", "ewc") else 1e-6  # another size of batch rounds differently
    assert abs(penalty.item()) <= limit
    assert all(one is None or one.abs().max() <= 10 * limit for one in gradients)


@pytest.mark.parametrize("kind", RETENTION_KINDS)
def test_a_policy_that_has_moved_is_penalised(kind: str) -> None:
    model = trained("ppo")
    one = retention("ppo", model, kind)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter += 0.1
    assert penalty_of(one, policy_input(model.policy, np.ones((3, 2), np.float32), None)).item() > 1e-3


def test_distances_by_hand() -> None:
    def tensors(**values: Any) -> dict[str, torch.Tensor]:
        return {name: torch.tensor(value) for name, value in values.items()}

    target, own = [[1.0, 2.0], [0.0, 0.0]], [[1.5, 0.0], [0.0, 0.0]]
    means = (tensors(mean=side, log_std=[[scale] * 2] * 2) for side, scale in ((target, -3.0), (own, 1.0)))
    assert distance(OutputKind("gaussian"), *means).tolist() == [4.25, 0.0]
    assert distance(OutputKind("deterministic"), tensors(action=target), tensors(action=own)).tolist() == [4.25, 0.0]
    squashed = distance(OutputKind("squashed_gaussian"), tensors(mean=target), tensors(mean=own))
    expected = (np.tanh(1.5) - np.tanh(1)) ** 2 + np.tanh(2) ** 2
    np.testing.assert_allclose(squashed.numpy(), [expected, 0], rtol=1e-6)
    there, here = np.array([0.2, 0.8, 0.5, 0.25, 0.25]), np.array([0.6, 0.4, 0.2, 0.2, 0.6])
    sides = [tensors(logits=[(np.log(side) + 3).tolist()]) for side in (there, here)]
    found = distance(OutputKind("categorical", (2, 3)), *sides)
    np.testing.assert_allclose(found.numpy(), [(there * np.log(there / here)).sum()], rtol=1e-6)
    bits = [tensors(logits=[np.log(side / (1 - side)).tolist()]) for side in (there[:2], here[:2])]
    rest = [(1 - side[:2]) * np.log((1 - side[:2]) / (1 - other[:2])) for side, other in ((there, here),)][0]
    expected = (there[:2] * np.log(there[:2] / here[:2]) + rest).sum()
    np.testing.assert_allclose(distance(OutputKind("bernoulli"), *bits).numpy(), [expected], rtol=1e-6)


def test_penalties_by_hand() -> None:
    model = trained("ppo")
    memory = remembered("ppo", model)
    begun = {cls: cls(model, cls.begin(model, memory, 7)) for cls in (MemoryDistance, MemoryAndValueDistance)}
    start, teacher = (cls(model, cls.begin(model, None, 7)) for cls in (StartDistance, TeacherDistance))
    old = {name: one.detach().clone() for name, one in actor_parameters(model.policy).items()}
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter += 0.1
    rows = torch.randint(len(memory), (MEMORY_BATCH,), generator=torch.Generator().manual_seed(7)).numpy()
    observations = torch.as_tensor(np.asarray(memory.observations)[rows])
    with torch.no_grad():
        mean = action_parameters(model.policy, observations)["mean"].numpy()
        values = state_values(model.policy, observations).numpy()
    actions = np.square(mean - memory.parameters["mean"][rows]).sum(axis=1).mean()
    errors = np.square(values - memory.values[rows]).mean() / memory.values.var()
    assert begun[MemoryDistance](None).item() == pytest.approx(actions, rel=1e-5)
    assert begun[MemoryAndValueDistance](None).item() == pytest.approx(actions + errors, rel=1e-5)
    assert teacher(observations).item() == pytest.approx(actions, rel=1e-4)
    n_parameters = sum(one.numel() for one in old.values())
    assert start(None).item() == pytest.approx(0.5 * 0.01 * n_parameters, rel=1e-4)


def test_the_parameters_of_the_actor_are_those_that_decide_the_action() -> None:
    found = {name: sorted(actor_parameters(built(name).policy)) for name in ("ppo", "sac", "td3")}
    assert found["ppo"] == [
        *("action_net.bias", "action_net.weight"),
        *("mlp_extractor.policy_net.0.bias", "mlp_extractor.policy_net.0.weight"),
    ]
    assert found["sac"] == ["latent_pi.0.bias", "latent_pi.0.weight", "mu.bias", "mu.weight"]
    assert found["td3"] == ["mu.0.bias", "mu.0.weight", "mu.2.bias", "mu.2.weight"]


@pytest.mark.parametrize("name", CASES)
def test_fisher_information_is_nonnegative_with_mean_one(name: str) -> None:
    model = trained(name)
    found = fisher_information(model, remembered(name, model), seed=7)
    numbers = torch.cat([one.flatten() for one in found.values()])
    assert found.keys() == actor_parameters(model.policy).keys()
    assert numbers.min() >= 0 and numbers.max() > 1
    assert numbers.mean().item() == pytest.approx(1, rel=1e-5)
    assert first_difference(found, fisher_information(model, remembered(name, model), seed=7)) is None


def linear(name: str) -> tuple[Any, StateMemory]:
    algorithm, env, arguments = CASES[name]
    arguments = {**arguments, "policy_kwargs": {"net_arch": []}}
    model: Any = algorithm("MlpPolicy", environments(env), seed=1, device="cpu", **arguments)  # type: ignore[arg-type]
    with torch.no_grad():
        model.policy.action_net.weight += 0.3
    return model, remembered(name, model, 30)


def test_fisher_information_of_a_linear_gaussian_by_hand() -> None:
    """The gradient of log p by the mean W x + b is noise / std, by W its outer product with x."""
    model, memory = linear("ppo")
    model.policy.log_std.data = torch.tensor([-1.0, 0.5])
    generator = torch.Generator().manual_seed(7)
    noise = np.stack([torch.randn((1, 2), generator=generator).numpy()[0] for _ in range(30)])
    by_mean = noise / np.exp([-1.0, 0.5])
    weight = np.square(by_mean[:, :, None] * np.asarray(memory.observations)[:, None, :]).mean(axis=0)
    bias = np.square(by_mean).mean(axis=0)
    mean = np.concatenate([weight.ravel(), bias]).mean()
    found = fisher_information(model, memory, seed=7)
    np.testing.assert_allclose(found["action_net.weight"].numpy(), weight / mean, rtol=1e-4)
    np.testing.assert_allclose(found["action_net.bias"].numpy(), bias / mean, rtol=1e-4)


def test_fisher_information_of_linear_choices_by_hand() -> None:
    """The gradient of log p by the logits is the drawn choice as a one-hot vector minus the probabilities."""
    model, memory = linear("ppo_choices")
    probabilities = torch.as_tensor(memory.parameters["logits"]).softmax(dim=1)
    generator = torch.Generator().manual_seed(7)
    choices = [int(torch.multinomial(one[None], 1, generator=generator)) for one in probabilities]
    by_logits = np.eye(3)[choices] - probabilities.numpy()
    weight = np.square(by_logits[:, :, None] * np.asarray(memory.observations)[:, None, :]).mean(axis=0)
    bias = np.square(by_logits).mean(axis=0)
    mean = np.concatenate([weight.ravel(), bias]).mean()
    found = fisher_information(model, memory, seed=7)
    np.testing.assert_allclose(found["action_net.weight"].numpy(), weight / mean, rtol=1e-4)
    np.testing.assert_allclose(found["action_net.bias"].numpy(), bias / mean, rtol=1e-4)


class Rows(KVWriter):
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        assert key_values.keys() == key_excluded.keys()
        self.rows.append(dict(key_values))

    def close(self) -> None:
        pass


def logged(model: Any) -> list[dict[str, Any]]:
    writer = Rows()
    model.set_logger(Logger(None, [writer]))
    return writer.rows


def test_the_coefficient_decays_as_said_and_both_are_recorded() -> None:
    model = built("ppo")
    rows = logged(model)
    with retention("ppo", model, "l2sp", coefficient=0.5, decay="linear").attached():
        model.learn(128)
        model.logger.dump()
    assert [row["retention/coefficient"] for row in rows if "train/loss" in row] == [0.375, 0.25, 0.125, 0.0]
    assert ["retention/penalty" in row for row in rows if "train/loss" in row] == [True, True, True, False]
    assert all(row["retention/penalty"] > 0 for row in rows if "retention/penalty" in row)
    one = Retention(model, "ppo", "l2sp", 0.5, "linear")
    for progress, expected in ((1.0, 0.5), (0.5, 0.25), (-0.3, 0.0), (1.2, 0.5)):
        model._current_progress_remaining = progress
        assert one.coefficient == expected
        assert Retention(model, "ppo", "l2sp", 0.5).coefficient == 0.5


def test_the_penalty_recorded_is_the_mean_of_the_updates_before() -> None:
    model = built("ppo")
    rows, seen = logged(model), []
    one = retention("ppo", model, "l2sp", coefficient=0.5)
    penalty: Any = one._penalty
    one._penalty = lambda observations: seen.append(penalty(observations)) or seen[-1]  # type: ignore[assignment, func-returns-value]
    with one.attached():
        model.learn(32)
        model.logger.dump()
    expected = np.mean([one.item() for one in seen])
    assert len(seen) == 4
    assert [row["retention/penalty"] for row in rows if "train/loss" in row] == [pytest.approx(expected)]


def test_the_rows_of_the_log_are_otherwise_the_same() -> None:
    found = []
    for has_retention in (True, False):
        model = built("sac")
        rows = logged(model)
        one = retention("sac", model, "kl", coefficient=0)
        if has_retention:
            one.attach()
        model.learn(120, log_interval=1)
        found.append(
            [{name: row[name] for name in row if not name.startswith(("time/", "retention/"))} for row in rows]
        )
    assert len(found[0]) > 3
    assert first_difference(*found) is None


@pytest.mark.parametrize(("name", "kind"), KINDS_OF_CASES)
def test_a_training_goes_on_to_the_last_bit_after_a_restore(name: str, kind: str, tmp_path: Path) -> None:
    """The penalty of the second half is made from a file alone, without the policy that it holds on to."""
    ends = []
    for is_interrupted in (False, True):
        model = trained(name)
        one = retention(name, model, kind, coefficient=2.0)
        with one.attached():
            model.learn(64, reset_num_timesteps=False)
        if is_interrupted:
            write_state(tmp_path, one.state())
            one = Retention(model, algorithm_of(name), kind, 2.0)
            one.restore(read_state(tmp_path))
        with one.attached():
            model.learn(64, reset_num_timesteps=False)
        ends.append([model.policy.state_dict(), one.state()])
    assert first_difference(*ends) is None


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["ppo", "a2c", "sac", "td3", "tqc", "crossq"])
def test_detaching_leaves_nothing(name: str) -> None:
    model = built(name)
    part = getattr(model.policy, "actor", model.policy)
    model.learn(0)
    before = [set(vars(one)) for one in (model, model.policy, part, part.optimizer)]
    one = retention(name, model, "l2sp")
    model.env.step_wait = interrupt
    with pytest.raises(KeyboardInterrupt), one.attached():
        model.learn(64)
    assert [set(vars(one)) for one in (model, model.policy, part, part.optimizer)] == before
    one.attach()
    with pytest.raises(AssertionError, match="attached already"):
        one.attach()


@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_a_model_zip_is_not_disturbed(name: str, tmp_path: Path) -> None:
    model = built(name)
    with retention(name, model, "kl").attached():
        model.learn(48)
        write_model_zip(model, tmp_path / "attached.zip", {}, 0.1)
    write_model_zip(model, tmp_path / "detached.zip", {}, 0.1)
    with zipfile.ZipFile(tmp_path / "attached.zip") as one, zipfile.ZipFile(tmp_path / "detached.zip") as other:
        fields = [json.loads(archive.read("data")) for archive in (one, other)]
        assert fields[0].keys() == fields[1].keys() and "zero_grad" not in str(fields[0])
        assert one.read("policy.pth") == other.read("policy.pth")
    again = type(model).load(tmp_path / "attached.zip")
    assert first_difference(again.policy.state_dict(), model.policy.state_dict()) is None


HELD = [
    *(("ppo", kind) for kind in RETENTION_KINDS),
    *(("a2c", "bc"), ("td3", "bc")),
    *(pytest.param(*case, marks=pytest.mark.slow) for case in (("sac", "kl"), ("tqc", "l2sp"))),
]


@pytest.mark.parametrize(("name", "kind"), HELD)
def test_a_large_coefficient_holds_the_policy(name: str, kind: str) -> None:
    moved = []
    for coefficient in (0.0, 1000.0 if kind in ("l2sp", "ewc") else 100.0):
        model = trained(name)
        memory = remembered(name, model)
        with retention(name, model, kind, coefficient).attached():
            model.learn(300)
        observations = policy_input(model.policy, memory.observations, None)
        targets = {name: torch.as_tensor(part) for name, part in memory.parameters.items()}
        with torch.no_grad():
            own = action_parameters(model.policy, observations)
            moved.append(distance(memory.kind, targets, own).mean().item())
    assert moved[0] > 0.02
    assert moved[1] < moved[0] / 5


def test_remembered_states_are_normalized_by_the_statistics_as_they_are() -> None:
    model = built("ppo")
    memory = remembered("ppo", model)
    env = VecNormalize(environments(SlidingWalk), norm_reward=False)
    normalized = PPO("MlpPolicy", env, seed=1, device="cpu", **copy.deepcopy(CASES["ppo"][2]))
    normalized.policy.load_state_dict(model.policy.state_dict())
    one = MemoryDistance(normalized, MemoryDistance.begin(normalized, memory, 7))
    assert env.obs_rms.mean.tolist() == [0, 0]  # type: ignore[union-attr]
    assert one(None).item() < 1e-6
    env.obs_rms.mean = np.array([3.0, 5.0])  # type: ignore[union-attr]
    rows = torch.randint(50, (2 * MEMORY_BATCH,), generator=torch.Generator().manual_seed(7))[MEMORY_BATCH:]
    raw = torch.as_tensor(np.asarray(memory.observations)[rows.numpy()])
    with torch.no_grad():
        means = [action_parameters(model.policy, states)["mean"] for states in (raw, raw - torch.tensor([3.0, 5.0]))]
    assert one(None).item() == pytest.approx((means[0] - means[1]).square().sum(dim=1).mean().item(), rel=1e-2)


@pytest.mark.parametrize("kind", ["bc", "kl", "ewc", "replay"])
def test_dictionaries_with_pictures_are_held_on_to(kind: str) -> None:
    """The critic has eyes of its own here: they are not the actor's."""
    env, other = (VecTransposeImage(environments(toy_envs.DictionaryWalk)) for _ in range(2))
    options = {"net_arch": [4], "share_features_extractor": False}
    model = A2C("MultiInputPolicy", env, n_steps=4, seed=1, device="cpu", policy_kwargs=options)
    memory = collect(model, other, 6, seed=3)
    one = Retention(model, "a2c", kind, 0.5)
    one.begin(memory, seed=7)
    observations = policy_input(model.policy, memory.observations, None)
    assert penalty_of(one, observations).item() <= 1e-6
    before = copy.deepcopy(model.policy.state_dict())
    with one.attached():
        model.learn(8)
    assert first_difference(model.policy.state_dict(), before) is not None
    one.restore(one.state())
    assert 0 < penalty_of(one, observations).item() < np.inf


def test_a_frozen_actor_is_no_obstacle() -> None:
    model = built("ppo")
    one = retention("ppo", model, "bc")
    for parameter in actor_parameters(model.policy).values():
        parameter.requires_grad_(False)
    with one.attached():
        model.learn(32)
    assert penalty_of(one).item() <= 1e-6


def test_what_cannot_be_held_on_to_is_refused() -> None:
    able = "ppo, a2c, sac, td3, ddpg, tqc, crossq"
    for kind, algorithm, message in (
        ("bc", "dqn", f"^dqn has no retention of kind bc; algorithms that have it: {able}$"),
        ("kl", "ppo_lstm", f"^ppo_lstm has no retention of kind kl; algorithms that have it: {able}$"),
        ("replay", "sac", "^sac has no retention of kind replay; algorithms that have it: ppo, a2c$"),
        ("l2", "ppo", "unknown kind of retention 'l2'.*l2sp"),
    ):
        with pytest.raises(UsageError, match=message):
            check_retention(kind, algorithm)
    for row in RETENTION_KINDS:
        check_retention(row, "a2c")
    others: list[tuple[Any, type[toy_envs.Walk], str, dict[str, Any]]] = [
        *((TRPO, SlidingWalk, "MlpPolicy", {}), (DQN, toy_envs.Walk, "MlpPolicy", {"buffer_size": 10})),
        (RecurrentPPO, SlidingWalk, "MlpLstmPolicy", {"n_steps": 4, "batch_size": 8}),
    ]
    for algorithm, env, policy, arguments in others:
        model = algorithm(policy, environments(env), device="cpu", **arguments)
        with pytest.raises(
            UsageError, match=f"^{algorithm.__name__} takes no further loss; algorithms that do: {able}"
        ):
            ExtraLoss(model, lambda _: None)


def test_settings_and_memories_that_make_no_sense_are_refused() -> None:
    model = built("ppo")
    for coefficient in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match=f"must be a number of at least 0, not {coefficient}"):
            Retention(model, "ppo", "bc", coefficient)
    with pytest.raises(UsageError, match="unknown decay of retention 'lineal'.*linear"):
        Retention(model, "ppo", "bc", decay="lineal")
    assert Retention(built("sac"), "sac", "bc").initial_coefficient == 1.0
    one = Retention(model, "ppo", "bc")
    assert one.initial_coefficient == 0.1
    with pytest.raises(UsageError, match="needs the state memory of the source"):
        one.begin(None, seed=7)
    with pytest.raises(AssertionError, match="neither begun nor restored"):
        one.attach()
    with pytest.raises(UsageError, match="holds outputs of kind .*categorical.*gives .*gaussian"):
        one.begin(remembered("a2c", built("a2c")), seed=7)
    memory = remembered("ppo", model)
    wide = {name: np.concatenate([part, part], axis=1) for name, part in memory.parameters.items()}
    with pytest.raises(UsageError, match="holds outputs of sizes {'mean': 4, 'log_std': 4}, this policy gives"):
        one.begin(StateMemory(memory.observations, memory.kind, wide, memory.values), seed=7)
    for states in (np.zeros((50, 3), np.float32), {"one": np.zeros((50, 2), np.float32)}):
        with pytest.raises(UsageError, match="the states of the state memory are none of Box"):
            one.begin(StateMemory(states, memory.kind, memory.parameters, memory.values), seed=7)
    assert output_kind(model.policy) == memory.kind
