"""Wrappers that are asked for by name: everywhere the same, inherited, and no obstacle to an exact resume."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from cli import TINY, call, call_train

from rl_baselines import enjoy
from rl_baselines.config import changed
from rl_baselines.env_wrappers import ENV_WRAPPERS, make_env, parse_wrapper, wrapper_text
from rl_baselines.errors import UsageError
from rl_baselines.layers import Layer
from rl_baselines.resolution import complete
from rl_baselines.vec_env import make_evaluation_env, make_training_env

LOAD = "--load-rl-model-path"
WRAPPERS = ("TimeFeatureWrapper", "RepeatAction:{num_repeats:2}")
SHORT = ("--num-timesteps", 128, "--eval-freq", 64, "--eval-episodes", 1, "--best-by", "eval", "--seed", 5)
PENDULUM = ("--env", "Pendulum-v1", "--algo", "a2c", "--n-envs", 2, *TINY, "--hyperparam", "n_steps:16")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TimeFeatureWrapper", ("TimeFeatureWrapper", {})),
        ("TimeLimit:{max_episode_steps:7}", ("TimeLimit", {"max_episode_steps": 7})),
        ("ResizeObservation:{shape:[64,48]}", ("ResizeObservation", {"shape": (64, 48)})),
        ("FilterObservation:{filter_keys:[a,b]}", ("FilterObservation", {"filter_keys": ("a", "b")})),
    ],
)
def test_reading(text: str, expected: tuple[str, dict]) -> None:
    assert parse_wrapper(text) == expected
    assert parse_wrapper(wrapper_text(*expected)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "TimeFeature",
            r"unknown environment wrapper 'TimeFeature'; did you mean TimeFeatureWrapper\? known: TimeFeat",
        ),
        ("Monitor", r"unknown environment wrapper 'Monitor'; known: TimeFeatureWrapper, ClipAction, "),
        ("RepeatAction", r"--env-wrapper RepeatAction needs num_repeats: write RepeatAction:\{num_repeats:...\}$"),
        ("TimeLimit:{max_steps:3}", r"unknown argument of TimeLimit 'max_steps'; did you mean 'max_episode_steps'\?$"),
        ("TimeLimit:3", r"--env-wrapper expects NAME or NAME:\{argument:value\}, got 'TimeLimit:3'$"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_wrapper(text)


def test_a_wrapper_that_does_not_fit() -> None:
    with pytest.raises(UsageError, match=r"^--env-wrapper ClipAction does not fit CartPole-v1: "):
        make_env("CartPole-v1", (), {}, ["ClipAction"])


def test_every_listed_wrapper_exists() -> None:
    for name in ENV_WRAPPERS:
        try:
            parse_wrapper(name)
        except UsageError as error:
            assert f"--env-wrapper {name} needs" in str(error)  # noqa: PT017 - most have arguments that are needed


def test_training_and_evaluation_and_the_probe_see_the_same_spaces(tmp_path: Path) -> None:
    flags = {"env": "Pendulum-v1", "algo": "a2c", "n_envs": 1, "env_wrapper": WRAPPERS, "norm_obs": False}
    config, observation_space, _ = complete([Layer("flags", flags)])
    assert isinstance(observation_space, gym.spaces.Box) and observation_space.high.tolist() == [1, 1, 8, 1]
    for processes in (None, 1):
        config = changed(config, num_cpu=processes, vec_env="processes" if processes else "dummy")
        env = make_training_env(config, [1], tmp_path / str(processes))
        evaluation = make_evaluation_env(config, 1)
        assert env.observation_space == evaluation.observation_space == observation_space
        times = [env.reset()[0, 3]] + [env.step(np.zeros((1, 1)))[0][0, 3] for _ in range(2)]
        assert np.allclose(times, [1.0, 0.99, 0.98])  # of 200 steps, two at once
        env.close()
        evaluation.close()


def test_a_run_with_wrappers_resumes_exactly_and_hands_them_on(tmp_path: Path) -> None:
    flags = (*PENDULUM, "--env-wrapper", *WRAPPERS, *SHORT)
    whole, _ = call_train(*flags, log_dir=tmp_path / "whole")
    assert whole.settings["env_wrapper"] == list(WRAPPERS)
    half, _ = call_train(*flags, "--num-timesteps", 64, "--save-interval", 32, log_dir=tmp_path / "half")
    from rl_baselines.train import main

    longer, _ = call_train(*flags, "--save-interval", 32, "--keep-checkpoints", 0, log_dir=tmp_path / "longer")
    done = call(main, "--resume", f"{longer.path}@step:64")
    assert (done.code, done.err) == (0, "")
    expected, found = whole.tensors(), longer.tensors()
    assert expected.keys() == found.keys()
    for key, tensor in expected.items():
        assert np.array_equal(np.asarray(tensor), np.asarray(found[key])), key
    child, _ = call_train(LOAD, half.path, *SHORT, "--compare-episodes", 0, log_dir=tmp_path / "child")
    assert child.settings["env_wrapper"] == list(WRAPPERS)
    assert call(enjoy.main, child.path, "-n", 1).code == 0
