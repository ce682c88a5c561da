"""Layers of settings: what a file, a parent or the flags say, with short flags written out, and how layers merge."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from environments.environment_row import TASK_ALIASES, without_aliases
from environments.registry import ENVIRONMENTS
from rl_baselines.algorithms import ALGORITHMS, find_algorithm
from rl_baselines.config import from_flat
from rl_baselines.config_files import preset_names, read_settings
from rl_baselines.errors import UsageError
from rl_baselines.literals import parse_literal
from state_representation.registry import STATE_REPRESENTATIONS

SHORTCUTS: dict[str, tuple[str, Callable[[Any], Any]]] = {  # a flag and the environment option that it writes
    "continuous_actions": ("is_discrete", lambda value: not value),
    "action_joints": ("action_joints", bool),
    "random_target": ("random_target", bool),
    "shape_reward": ("shape_reward", bool),
    "action_repeat": ("action_repeat", int),
}
TASK_FLAGS = {  # a flag and the argument that it stands for
    "simple_continual": "simple_continual_target",
    "circular_continual": "circular_continual_move",
    "square_continual": "square_continual_move",
    "eight_continual": "eight_continual_move",
    "chasing_continual": "chasing_continual_move",
    "escape_continual": "escape_continual_move",
}
MAPPINGS = ("env_kwargs", "policy_kwargs", "hyperparam", "lr_scale")
RIVALS = (  # given, the first displaces the second of lower layers
    *(("num_cpu", "vec_env"), ("vec_env", "num_cpu")),
    *(("srl_model", "srl_model_path"), ("srl_model_path", "srl_model")),
)


@dataclass(frozen=True)
class Layer:
    """Settings from one place.

    :param name: the place, in words
    :param values: settings by name
    """

    name: str
    values: Mapping[str, Any]


def combine(layers: Sequence[Layer]) -> dict[str, Any]:
    """Merge layers, later ones first in rank; options by name are merged one by one.

    Shortcuts become environment options, and a setting displaces its rival from lower layers.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        values = without_shortcuts(layer)
        for winner, loser in RIVALS:
            if values.get(winner) is not None and values.get(loser) is None:
                merged.pop(loser, None)
        if "hyperparam" in values:
            merged["hyperparam"] = _without_rival_batch(merged.get("hyperparam", {}), values["hyperparam"])
        for name, value in values.items():
            merged[name] = {**merged.get(name, {}), **value} if name in MAPPINGS else value
    return merged


def _without_rival_batch(lower: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    rival = {"batch_size": "n_minibatches", "n_minibatches": "batch_size"}
    return {name: value for name, value in lower.items() if rival.get(name) not in given}


def without_shortcuts(layer: Layer) -> dict[str, Any]:
    """Give the settings of a layer with environment options in the place of the flags that stand for them.

    :raises UsageError: when two settings of the layer disagree
    """
    values = _without_hyperparameter_shortcuts(layer)
    kwargs = _env_kwargs(layer, values)
    if values.get("env_kwargs") != kwargs and kwargs.get("action_joints"):
        kwargs.setdefault("is_discrete", False)  # joint actions are continuous
    if "observation" in kwargs:
        observation, key = str(kwargs.pop("observation")), values.get("srl_model")
        if key is not None and _observation_of(key) not in (None, observation):
            raise UsageError(
                f"{layer.name}: --srl-model {key} and --env-kwargs observation:{observation} disagree; give one of them"
            )
        values["srl_model"] = key or observation
    row = STATE_REPRESENTATIONS.get(values.get("srl_model") or "")
    if row is not None:  # what the key stands for goes with the key, when a higher layer gives another one
        kwargs = {name: value for name, value in kwargs.items() if (name, value) not in row.env_kwargs.items()}
    if kwargs or "env_kwargs" in values:
        values["env_kwargs"] = kwargs
    return values


def _env_kwargs(layer: Layer, values: dict[str, Any]) -> dict[str, Any]:
    """Give the environment options of a layer, and take the flags that stand for some out of its settings."""
    try:
        kwargs = without_aliases(values.get("env_kwargs", {}))
    except ValueError as error:
        raise UsageError(f"{layer.name}: {error}") from None
    givers = dict.fromkeys(kwargs, "--env-kwargs")
    for flag in (*TASK_FLAGS, *SHORTCUTS):
        given = values.pop(flag, None)
        for name, value in () if given is None else _meaning(layer, flag, given):
            if kwargs.setdefault(name, value) != value:
                raise UsageError(
                    f"{layer.name}: {_spelt(flag)} asks for {name}:{value} and {givers[name]} for "
                    f"{name}:{kwargs[name]}; give one of them"
                )
            givers.setdefault(name, _spelt(flag))
    return kwargs


def _meaning(layer: Layer, flag: str, given: Any) -> Iterable[tuple[str, Any]]:
    """Give the environment options that a flag with a value stands for."""
    if flag in SHORTCUTS:
        name, convert = SHORTCUTS[flag]
        return [(name, convert(given))]
    if not given:
        raise UsageError(f"{layer.name}: --no-{_spelt(flag)[2:]} names no task; name one by --env-kwargs task:NAME")
    return TASK_ALIASES[TASK_FLAGS[flag]].items()


def _spelt(flag: str) -> str:
    return f"--{flag.replace('_', '-')}"


def _without_hyperparameter_shortcuts(layer: Layer) -> dict[str, Any]:
    values = dict(layer.values)
    if values.get("ent_coef") is None:
        values.pop("ent_coef", None)
        return values
    given, hyperparam = parse_literal(str(values.pop("ent_coef"))), values.get("hyperparam", {})
    if hyperparam.get("ent_coef", given) != given:
        raise UsageError(
            f"{layer.name}: --ent-coef {given} and --hyperparam ent_coef:{hyperparam['ent_coef']} disagree; give one"
        )
    values["hyperparam"] = {**hyperparam, "ent_coef": given}
    return values


def _observation_of(key: str) -> Any:
    row = STATE_REPRESENTATIONS.get(key)
    return row.env_kwargs.get("observation") if row else None


def tuned_layer(layers: Sequence[Layer]) -> Layer:
    """Give the preset that was tuned for the environment and the algorithm that other layers ask for.

    :param layers: from the lowest to the highest, all but this one
    :raises UsageError: when there is none
    """
    config = from_flat(combine(layers))
    env, algo = config.environment.env, find_algorithm(config.algorithm.algo).name
    if config.fine_tuning.load_rl_model_path is not None:
        raise UsageError("--config auto is for runs from scratch; a fine-tune takes its settings from its source")
    row = ENVIRONMENTS.get(env)
    tuned = {} if row is None else {other: f"{row.family}_{other}" for other in ALGORITHMS}
    known = [other for other, preset in tuned.items() if preset in preset_names()]
    if algo not in known:
        choice = f"there are presets for {', '.join(known)}" if known else "there are presets for our robots only"
        raise UsageError(f"--config auto: nothing was tuned for {env} with {algo}; {choice}")
    values = read_settings(tuned[algo])
    return Layer(f"--config auto ({tuned[algo]})", {**values, "env": env, "algo": algo})
