"""Hyperparameters: typed by the constructor, complete, and in agreement with each other."""

import pytest
import torch

from rl_baselines.algorithms import ALGORITHMS, find_algorithm
from rl_baselines.errors import UsageError
from rl_baselines.hyperparameters import (
    check_hyperparameters,
    complete_hyperparameters,
    constructor_arguments,
    policy_arguments,
    steps_per_rollout,
)

PPO = find_algorithm("ppo")


def test_the_table_has_every_algorithm_and_old_names() -> None:
    expected = [
        "a2c",
        "ars",
        "cma_es",
        "crossq",
        "ddpg",
        "distillation",
        "dqn",
        "maskable_ppo",
        "ppo",
        "ppo_lstm",
        "qrdqn",
        "random_agent",
        "sac",
        "td3",
        "tqc",
        "trpo",
    ]
    assert sorted(ALGORITHMS) == expected
    old_names = ("ppo2", "ppo1", "deepq", "cma-es")
    assert [find_algorithm(name).name for name in old_names] == ["ppo", "ppo", "dqn", "cma_es"]


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_every_class_can_be_imported_and_its_defaults_are_its_own(name: str) -> None:
    row = ALGORITHMS[name]
    assert set(row.defaults) <= set(complete_hyperparameters(row, {}))
    assert set(check_hyperparameters(row, row.defaults)) == set(row.defaults)
    assert "learning_rate" in complete_hyperparameters(row, {}) or not row.learning_rate


def test_ppo_has_the_toolboxs_defaults() -> None:
    complete = complete_hyperparameters(PPO, {})
    expected = {
        "n_steps": 128,
        "n_minibatches": 4,
        "n_epochs": 4,
        "learning_rate": 2.5e-4,
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "clip_range": 0.2,
        "ent_coef": 0.01,
        "vf_coef": 0.5,
        "max_grad_norm": 0.5,
    }
    assert {name: complete[name] for name in expected} == expected
    assert PPO.lr_decay == "linear" and PPO.default_n_envs == 8


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_step": 3}, r"^unknown hyperparameter of ppo 'n_step'; did you mean 'n_steps'\?$"),
        ({"n_steps": "many"}, r"^hyperparameter n_steps expects a whole number, got 'many'$"),
        ({"n_steps": 2.5}, r"^hyperparameter n_steps expects a whole number, got 2.5$"),
        ({"learning_rate": "fast"}, r"^hyperparameter learning_rate expects a number, got 'fast'$"),
        ({"use_sde": 1}, r"^hyperparameter use_sde expects true or false, got 1$"),
        ({"seed": 1}, r"^hyperparameter 'seed' is set by --seed$"),
        ({"batch_size": 64, "n_minibatches": 4}, r"^hyperparameters batch_size and n_minibatches exclude each other"),
    ],
)
def test_wrong_hyperparameters(given: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_hyperparameters(PPO, given)


def test_numbers_may_be_written_as_powers_and_unions_are_understood() -> None:
    dqn = find_algorithm("dqn")
    checked = check_hyperparameters(dqn, {"buffer_size": 1e5, "train_freq": [2, "episode"], "learning_rate": 1})
    assert checked == {"buffer_size": 100_000, "train_freq": (2, "episode"), "learning_rate": 1.0}
    assert check_hyperparameters(find_algorithm("sac"), {"ent_coef": "auto_0.1"}) == {"ent_coef": "auto_0.1"}
    assert check_hyperparameters(find_algorithm("sac"), {"ent_coef": 0.2}) == {"ent_coef": 0.2}


def test_minibatches_divide_the_rollout() -> None:
    complete = complete_hyperparameters(PPO, {})
    assert constructor_arguments(complete, 8, ())["batch_size"] == 128 * 8 // 4
    with pytest.raises(UsageError, match=r"n_steps x n_envs = 128 x 8 = 1024 steps does not divide into 3 minibatches"):
        constructor_arguments({**complete, "n_minibatches": 3}, 8, ())
    assert "n_minibatches" not in complete_hyperparameters(PPO, {"batch_size": 32})


def test_action_noise_by_name() -> None:
    td3 = find_algorithm("td3")
    complete = complete_hyperparameters(td3, check_hyperparameters(td3, {"noise_type": "normal", "noise_std": 0.3}))
    noise = constructor_arguments(complete, 1, (2,))["action_noise"]
    assert type(noise).__name__ == "NormalActionNoise" and noise._sigma.tolist() == [0.3, 0.3]
    with pytest.raises(UsageError, match="unknown noise_type 'norml'; did you mean 'normal'"):
        check_hyperparameters(td3, {"noise_type": "norml"})


@pytest.mark.parametrize(
    ("given", "n_envs", "expected"),
    [
        ({"n_steps": 128}, 8, 1024),
        ({"train_freq": 4}, 2, 8),
        ({"train_freq": (4, "step")}, 1, 4),
        ({"train_freq": (1, "episode")}, 1, None),
        ({"n_delta": 8}, 1, None),
    ],
)
def test_steps_of_a_rollout(given: dict, n_envs: int, expected: int | None) -> None:
    assert steps_per_rollout(given, n_envs) == expected


def test_off_policy_rollouts_are_counted_by_train_freq_not_by_n_step_returns() -> None:
    dqn = find_algorithm("dqn")
    assert steps_per_rollout(complete_hyperparameters(dqn, {"train_freq": 4, "n_steps": 3}), 1) == 4


def test_policy_options_by_name() -> None:
    arguments = policy_arguments(PPO, "MlpPolicy", {"net_arch": [64, 32], "activation": "leaky_relu"})
    assert arguments == {"net_arch": [64, 32], "activation_fn": torch.nn.LeakyReLU}


@pytest.mark.parametrize(
    ("policy", "given", "message"),
    [
        ("MlpPolic", {}, r"^unknown policy of ppo 'MlpPolic'; did you mean 'MlpPolicy'\?$"),
        ("MlpPolicy", {"net_arc": [8]}, r"^unknown option of MlpPolicy 'net_arc'; did you mean 'net_arch'\?$"),
        ("MlpPolicy", {"activation": "relux"}, r"^unknown activation 'relux'; did you mean 'relu'\?$"),
        ("MlpPolicy", {"net_arch": 64}, r"^policy option net_arch expects "),
    ],
)
def test_wrong_policy_options(policy: str, given: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        policy_arguments(PPO, policy, given)
