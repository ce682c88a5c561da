"""From rl-zoo's ``config.yml`` to our settings."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rl_baselines.algorithms import Algorithm
from rl_baselines.env_wrappers import parse_wrapper, wrapper_text
from rl_baselines.errors import UsageError
from rl_baselines.foreign.zoo_values import linear_start, zoo_value
from rl_baselines.hyperparameters import ACTIVATIONS, hyperparameter_hints
from rl_baselines.literals import coerce

POLICY_FIELDS = (  # policy options that can be written as plain values
    *("net_arch", "ortho_init", "log_std_init", "n_critics", "share_features_extractor", "normalize_images"),
    *("n_quantiles", "lstm_hidden_size", "n_lstm_layers", "enable_critic_lstm", "shared_lstm", "squash_output"),
)
RENAMED = {"n_timesteps": "num_timesteps", "n_envs": "n_envs", "frame_stack": "num_stack"}
READ_ELSEWHERE = {
    *("learning_rate", "policy", "policy_kwargs", "normalize", "normalize_kwargs", "env_wrapper", "env_kwargs"),
    *("replay_buffer_class", "replay_buffer_kwargs", *RENAMED),
}
WRAPPER_MODULES = re.compile(
    r"(gym|gymnasium)\.wrappers(\.\w+)?|sb3_contrib\.common\.wrappers(\.\w+)?|(utils|rl_zoo3)\.wrappers"
)
FORMER_WRAPPERS = {  # names that rl-zoo and gym gave to what Gymnasium has under another one
    "GrayScaleObservation": ("GrayscaleObservation", {}),
    "FrameSkip": ("RepeatAction", {"skip": "num_repeats"}),
}
DROPPED_REPLAY = {
    "online_sampling": "hindsight goals are always sampled online now",
    "max_episode_length": "not needed",
}
NORMALIZATION = ("norm_obs", "norm_reward", "clip_obs", "clip_reward")


@dataclass
class Told:
    """What a source tells about its settings.

    :param values: settings by name
    :param hyperparam: hyperparameters by name
    :param policy_kwargs: policy options by name
    :param notes: what could not be taken over, in words
    """

    values: dict[str, Any] = field(default_factory=dict)
    hyperparam: dict[str, Any] = field(default_factory=dict)
    policy_kwargs: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def told_by_config(config: Mapping[str, Any], algorithm: Algorithm, where: str) -> Told:
    """Read a ``config.yml``.

    :param where: the file, for error messages
    :raises UsageError: for an environment wrapper that is not listed, or a value of another type
    """
    content = {name: zoo_value(value, f"{where}: {name}") for name, value in config.items()}
    told = Told()
    for name, ours in RENAMED.items():
        if content.get(name) is not None:
            told.values[ours] = coerce(content[name], int, f"{where}: {name}")
    if isinstance(content.get("policy"), str):
        told.values["policy"] = content["policy"]
    if isinstance(content.get("learning_rate"), (int, float, str)):
        told.values["lr_decay"] = "constant" if linear_start(content["learning_rate"]) is None else "linear"
    told.values |= normalization_of(content, where)
    told.values["env_wrapper"] = _wrappers(content.get("env_wrapper"), where)
    options = _mapping(content.get("policy_kwargs"), f"{where}: policy_kwargs")
    told.policy_kwargs = plain_policy_options(options)
    if left := [name for name in options if name not in ("activation_fn", *told.policy_kwargs)]:
        told.notes.append(f"policy options of {where}: {', '.join(f'{name}={options[name]}' for name in left)}")
    _read_replay(content, told, where)
    _read_hyperparameters(content, algorithm, told, where)
    return told


def plain_policy_options(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Give the policy options that can be written as plain values, the activation by our name."""
    options = {name: kwargs[name] for name in POLICY_FIELDS if name in kwargs}
    for name, cls in ACTIVATIONS.items():
        if re.search(rf"\b{cls}\b", str(kwargs.get("activation_fn", ""))):
            options["activation"] = name
    return options


def normalization_of(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Give the settings of normalization that a ``config.yml`` asks for."""
    value = zoo_value(config.get("normalize"), f"{where}: normalize")
    kwargs = dict(_mapping(zoo_value(config.get("normalize_kwargs"), where), f"{where}: normalize_kwargs"))
    if isinstance(value, Mapping):
        kwargs |= value
    if not value:
        return {"norm_obs": False, "norm_reward": False}
    given = {name: kwargs[name] for name in NORMALIZATION if name in kwargs}
    return {"norm_obs": True, "norm_reward": True, **given}


def initial_rate_of(config: Mapping[str, Any]) -> float | None:
    """Give the initial learning rate that a ``config.yml`` tells, if it does."""
    rate = config.get("learning_rate")
    if isinstance(rate, (int, float)) and not isinstance(rate, bool):
        return float(rate)
    return linear_start(rate)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} expects name: value pairs, got {value!r}")
    return {str(name): item for name, item in value.items()}


def _wrappers(value: Any, where: str) -> tuple[str, ...]:
    entries = [] if value is None else value if isinstance(value, list) else [value]
    texts = []
    for entry in entries:
        pairs = entry.items() if isinstance(entry, Mapping) else [(entry, None)]
        texts += [_wrapper(str(name), _mapping(arguments, where), where) for name, arguments in pairs]
    return tuple(texts)


def _wrapper(name: str, arguments: Mapping[str, Any], where: str) -> str:
    module, _, cls = name.rpartition(".")
    ours, renamed = FORMER_WRAPPERS.get(cls, (cls, {}))
    named = {renamed.get(key, key): item for key, item in arguments.items()}
    if ours == "ResizeObservation" and isinstance(named.get("shape"), int):
        named["shape"] = [named["shape"]] * 2
    text = wrapper_text(ours, named)
    try:
        parse_wrapper(text if not module or WRAPPER_MODULES.fullmatch(module) else name)
    except UsageError as error:
        raise UsageError(f"{where}: env_wrapper {name} cannot be used: {error}") from None
    return text


def _read_replay(content: Mapping[str, Any], told: Told, where: str) -> None:
    name = str(content.get("replay_buffer_class") or "")
    if name.rpartition(".")[2] == "HerReplayBuffer":
        told.values["her"] = True
    elif name:
        told.notes.append(f"replay buffer {name} of {where}")
    kwargs = dict(_mapping(content.get("replay_buffer_kwargs"), f"{where}: replay_buffer_kwargs"))
    plain, notes = plain_replay_options(kwargs)
    told.notes += notes
    if plain:
        told.hyperparam["replay_buffer_kwargs"] = plain


def plain_replay_options(kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Give the options of a replay buffer that there still are, and in words those that there are no more."""
    notes = [f"{name} of the replay buffer ({why})" for name, why in DROPPED_REPLAY.items() if name in kwargs]
    plain = {name: value for name, value in kwargs.items() if name not in DROPPED_REPLAY}
    strategy = plain.get("goal_selection_strategy")
    if isinstance(strategy, str):
        plain["goal_selection_strategy"] = strategy.rpartition(".")[2].lower()
    return plain, notes


def _read_hyperparameters(content: Mapping[str, Any], algorithm: Algorithm, told: Told, where: str) -> None:
    hints, unknown = hyperparameter_hints(algorithm), []
    for name, value in content.items():
        if name in READ_ELSEWHERE or value is None:
            continue
        if name not in hints:
            unknown.append(f"{name}: {json.dumps(value, default=str)}")
            continue
        start = linear_start(value)
        if start is not None:
            told.notes.append(f"decay of {name} (it fell from {start:g} to 0, here it stays at {start:g})")
        told.hyperparam[name] = coerce(value if start is None else start, hints[name], f"{where}: {name}")
    if unknown:
        told.notes.append(f"what has no counterpart of {where}: {', '.join(unknown)}")
