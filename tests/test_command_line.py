"""The command line: only what was given counts, old spellings work, mistakes are one line."""

import pytest

from rl_baselines.command_line import parse
from rl_baselines.config import TRAIN_GROUPS
from rl_baselines.enjoy import EnjoyOptions
from rl_baselines.errors import UsageError
from rl_baselines.train import TrainFiles


def given(*argv: str) -> dict:
    return parse((TrainFiles, *TRAIN_GROUPS), argv, "train", "")


def test_nothing_given_is_nothing() -> None:
    assert given() == {}


def test_values_have_the_type_of_their_setting() -> None:
    argv = [
        "--env",
        "CartPole-v1",
        "--num-timesteps",
        "500",
        "--new-lr",
        "1e-4",
        "--best-by",
        "eval",
        "--config",
        "a.yaml",
        "b.yaml",
    ]
    assert given(*argv) == {
        "env": "CartPole-v1",
        "num_timesteps": 500,
        "new_lr": 1e-4,
        "best_by": "eval",
        "config": ("a.yaml", "b.yaml"),
    }


def test_a_value_equal_to_the_default_was_still_given() -> None:
    assert given("--seed", "0", "--log-dir", "logs", "--lr-decay", "linear") == {
        "seed": 0,
        "log_dir": "logs",
        "lr_decay": "linear",
    }


@pytest.mark.parametrize(
    ("spelling", "name", "value"),
    [
        ("-c", "continuous_actions", True),
        ("--continuous-actions", "continuous_actions", True),
        ("--no-continuous-actions", "continuous_actions", False),
        ("-joints", "action_joints", True),
        ("-r", "random_target", True),
        ("--shape-reward", "shape_reward", True),
        ("--norm-obs", "norm_obs", True),
        ("--no-norm-obs", "norm_obs", False),
        ("--no-norm-reward", "norm_reward", False),
        ("--her", "her", True),
    ],
)
def test_switches_take_no_value(spelling: str, name: str, value: bool) -> None:
    assert given(spelling) == {name: value}


def test_repeated_lists_append() -> None:
    argv = ["--hyperparam", "n_steps:32", "gamma:.9", "--seed", "3", "--hyperparam", "ent_coef:1e-3"]
    assert given(*argv) == {"hyperparam": {"n_steps": 32, "gamma": 0.9, "ent_coef": 1e-3}, "seed": 3}


def test_pairs_hold_lists_words_and_switches() -> None:
    argv = ["--policy-kwargs", "net_arch:{pi:[64,64],vf:[32]}", "activation:leaky_relu", "ortho_init:false"]
    expected = {"net_arch": {"pi": [64, 64], "vf": [32]}, "activation": "leaky_relu", "ortho_init": False}
    assert given(*argv) == {"policy_kwargs": expected}


@pytest.mark.parametrize("argv", [("--num-timesteps=7",), ("--num_timesteps", "7"), ("--num_timesteps=7",)])
def test_spellings_with_underscores_and_equals(argv: tuple[str, ...]) -> None:
    assert given(*argv) == {"num_timesteps": 7}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--num-timestep 3", r"^unknown flag '--num-timestep'; did you mean --num-timesteps\?$"),
        ("--zzz", r"^unknown flag '--zzz'; --help lists them$"),
        ("--seed abc", r"^Error parsing --seed: invalid literal for int\(\) with base 10: 'abc'$"),
        ("--seed", r"^Missing value for argument '--seed'\. Expected 1 values\.$"),
        ("--lr-decay lin", r"^invalid choice 'lin' for argument '--lr-decay'\. Expected one of "),
        ("stray", r"^unexpected argument 'stray'; settings are given as --name value, --help lists them$"),
        (
            "--hyperparam n_steps",
            r"^--hyperparam expects name:value, got 'n_steps'; for instance --hyperparam n_steps:1$",
        ),
    ],
)
def test_mistakes_are_one_line(argv: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        given(*argv.split())
    assert "\n" not in str(caught.value)


def test_positional_argument_has_a_default() -> None:
    assert parse((EnjoyOptions,), ["-n", "3"], "enjoy", "") == {"n_episodes": 3}
    assert parse((EnjoyOptions,), ["logs/a@best", "--json"], "enjoy", "") == {"run": "logs/a@best", "json": True}


def test_help_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        given("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for flag in ("--load-rl-model-path", "--new-lr", "-c,", "-joints,", "-r,", "--hyperparam", "--no-norm-obs"):
        assert flag in text
