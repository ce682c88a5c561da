"""Hyperparameters and policy options: which there are, of which type, and how they combine."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from rl_baselines.algorithms import Algorithm
from rl_baselines.errors import UsageError, unknown
from rl_baselines.literals import coerce, describe

SET_ELSEWHERE = {  # constructor arguments that have settings of their own
    "policy": "--policy",
    "policy_kwargs": "--policy-kwargs",
    "seed": "--seed",
    "device": "--device",
    "env": "--env",
    "replay_buffer_class": "--her",
    "action_noise": "--hyperparam noise_type:normal noise_std:0.1",
}
NOT_SETTINGS = {
    *SET_ELSEWHERE,
    *("self", "verbose", "tensorboard_log", "_init_setup_model", "monitor_wrapper", "support_multi_env"),
    *("rollout_buffer_class", "rollout_buffer_kwargs"),
}
NOISE_TYPES = ("normal", "ornstein-uhlenbeck")
ACTIVATIONS = {
    "tanh": "Tanh",
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "elu": "ELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "sigmoid": "Sigmoid",
}
POLICY_INTERNALS = {
    *("self", "observation_space", "action_space", "lr_schedule", "use_sde", "activation_fn"),
    *("features_extractor_class", "optimizer_class"),
}


def hyperparameter_hints(algorithm: Algorithm) -> dict[str, Any]:
    """Give the type of every hyperparameter that can be written as text."""
    constructor = algorithm.load_class().__init__
    hints = {name: hint for name, hint in _annotations(constructor).items() if name not in NOT_SETTINGS}
    known = {name: hint for name, hint in hints.items() if describe(hint)}
    if not algorithm.learning_rate:
        known.pop("learning_rate", None)
    if "batch_size" in known and algorithm.on_policy:
        known["n_minibatches"] = int
    if "action_noise" in inspect.signature(constructor).parameters:
        known |= {"noise_type": str | None, "noise_std": float}
    return known


def _annotations(constructor: Callable[..., Any]) -> dict[str, Any]:
    return {name: parameter.annotation for name, parameter in inspect.signature(constructor).parameters.items()}


def check_hyperparameters(algorithm: Algorithm, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check names and types of hyperparameters.

    :return: the same, each of its argument's type
    :raises UsageError: for an unknown name (nearest match), a wrong type, or two that exclude each other
    """
    hints = hyperparameter_hints(algorithm)
    checked = {}
    for name, value in given.items():
        if name in SET_ELSEWHERE:
            raise UsageError(f"hyperparameter {name!r} is set by {SET_ELSEWHERE[name]}")
        if name == "learning_rate" and not algorithm.learning_rate:
            raise UsageError(f"--hyperparam learning_rate: {algorithm.name} has no learning rate; leave it out")
        if name not in hints:
            raise unknown(f"hyperparameter of {algorithm.name}", name, hints)
        checked[name] = coerce(value, hints[name], f"hyperparameter {name}")
    if "batch_size" in checked and "n_minibatches" in checked:
        raise UsageError("hyperparameters batch_size and n_minibatches exclude each other: give one of them")
    if checked.get("noise_type") not in (None, *NOISE_TYPES):
        raise unknown("noise_type", str(checked["noise_type"]), NOISE_TYPES)
    return checked


def complete_hyperparameters(algorithm: Algorithm, given: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in every hyperparameter that was not given: ours, else the constructor's default.

    :param given: checked hyperparameters
    """
    signature = inspect.signature(algorithm.load_class().__init__)
    complete = {
        name: signature.parameters[name].default
        for name in hyperparameter_hints(algorithm)
        if name in signature.parameters
    }
    complete = {name: list(value) if isinstance(value, tuple) else value for name, value in complete.items()}
    complete |= dict(algorithm.defaults) | dict(given)
    if "n_minibatches" in given or ("n_minibatches" in algorithm.defaults and "batch_size" not in given):
        complete.pop("batch_size", None)
    else:
        complete.pop("n_minibatches", None)
    return complete


def steps_per_rollout(hyperparameters: Mapping[str, Any], n_envs: int) -> int | None:
    """Give the environment steps of one rollout over all environments, None where that is not fixed."""
    steps = hyperparameters.get("train_freq", hyperparameters.get("n_steps"))  # off-policy n_steps are those of returns
    if isinstance(steps, (list, tuple)):
        steps = steps[0] if steps[1] == "step" else None
    return None if steps is None else int(steps) * n_envs


def constructor_arguments(
    hyperparameters: Mapping[str, Any], n_envs: int, action_shape: tuple[int, ...]
) -> dict[str, Any]:
    """Turn complete hyperparameters into what the algorithm's constructor takes.

    :raises UsageError: when a rollout does not divide into the minibatches asked for
    """
    arguments = dict(hyperparameters)
    n_minibatches = arguments.pop("n_minibatches", None)
    if n_minibatches is not None:
        rollout = arguments["n_steps"] * n_envs
        if n_minibatches < 1 or rollout % n_minibatches:
            raise UsageError(
                f"a rollout of n_steps x n_envs = {arguments['n_steps']} x {n_envs} = {rollout} steps does not divide "
                f"into {n_minibatches} minibatches; choose n_minibatches or n_envs so that it does"
            )
        arguments["batch_size"] = rollout // n_minibatches
    noise_type, noise_std = arguments.pop("noise_type", None), arguments.pop("noise_std", 0.1)
    if noise_type is not None:
        arguments["action_noise"] = _action_noise(noise_type, noise_std, action_shape)
    if isinstance(arguments.get("train_freq"), list):
        arguments["train_freq"] = tuple(arguments["train_freq"])
    return arguments


def _action_noise(kind: str, std: float, action_shape: tuple[int, ...]) -> Any:
    import numpy as np
    from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise

    noise = NormalActionNoise if kind == "normal" else OrnsteinUhlenbeckActionNoise
    return noise(np.zeros(action_shape), np.full(action_shape, std))


def policy_arguments(algorithm: Algorithm, policy_name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Turn policy options into what the policy's constructor takes.

    :param given: for instance ``{"net_arch": [64, 64], "activation": "relu"}``
    :raises UsageError: for an unknown policy, option or activation
    """
    import torch

    aliases = algorithm.load_class().policy_aliases
    if policy_name not in aliases:
        raise unknown(f"policy of {algorithm.name}", policy_name, aliases)
    hints = _annotations(aliases[policy_name].__init__)
    known = {name: hint for name, hint in hints.items() if name not in POLICY_INTERNALS}
    arguments: dict[str, Any] = {}
    for name, value in given.items():
        if name == "activation" and "activation_fn" in hints:
            if value not in ACTIVATIONS:
                raise unknown("activation", str(value), ACTIVATIONS)
            arguments["activation_fn"] = getattr(torch.nn, ACTIVATIONS[value])
        elif name not in known:
            raise unknown(f"option of {policy_name}", name, [*known, "activation"])
        else:
            arguments[name] = coerce(value, known[name], f"policy option {name}")
    return arguments
