"""The settings of models that are not ours: what their zips and rl-zoo's files tell about them."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from environments.registry import find_spec
from rl_baselines.algorithms import Algorithm, find_algorithm
from rl_baselines.errors import UsageError
from rl_baselines.foreign.old_zips import check_goal_wrapper, modern_net_arch, told_by_parameters
from rl_baselines.foreign.zoo_folder import ARGUMENTS, CONFIG
from rl_baselines.foreign.zoo_settings import (
    NORMALIZATION,
    Told,
    plain_policy_options,
    plain_replay_options,
    told_by_config,
)
from rl_baselines.foreign.zoo_values import linear_start
from rl_baselines.hyperparameters import hyperparameter_hints
from rl_baselines.layers import Layer
from rl_baselines.literals import coerce
from rl_baselines.sources import Source

ZIP_FIELDS = {"n_envs": "n_envs", "num_timesteps": "_total_timesteps"}  # settings and the fields that tell them
NOT_FIELDS = ("learning_rate", "n_minibatches", "noise_type", "noise_std", "replay_buffer_kwargs")


def foreign_layer(source: Source, given: Mapping[str, Any]) -> tuple[Layer, list[str]]:
    """Give the settings that a source tells which is not ours, and in words what it does not tell.

    The files of rl-zoo rank above the fields of the zip, and statistics above both.

    :param given: the settings of files and flags together
    :raises UsageError: when a setting is needed that the source does not tell
    """
    check_goal_wrapper(source.fields, str(source))
    environment, notes = _environment(source, given)
    if source.algorithm is None and given.get("algo") is None:
        raise UsageError(f"{source} does not tell its algorithm: give --algo")
    algorithm = find_algorithm(source.algorithm or given["algo"])
    by_zip = _told_by_zip(source, algorithm)
    told = Told() if source.zoo is None else told_by_config(source.zoo.config, algorithm, CONFIG)
    hyperparam = by_zip.hyperparam | told.hyperparam
    options = by_zip.policy_kwargs | told.policy_kwargs
    if source.content.parameters["policy"]:
        options = _modern(options, source)
    values = {"algo": algorithm.name, **environment, **by_zip.values, **told.values, **_normalization(source)}
    values |= {"hyperparam": hyperparam, "policy_kwargs": options}
    notes += _missing(source, algorithm, hyperparam)
    beside = [note for note in by_zip.notes if note not in told.notes and not _is_told(note, told)]
    return Layer("source zip" if source.zoo is None else "source folder", values), [*notes, *beside, *told.notes]


def _missing(source: Source, algorithm: Algorithm, hyperparam: Mapping[str, Any]) -> list[str]:
    """Name the hyperparameters that keep their defaults: those that cannot be read and those that are not there."""
    missing = [name for name in hyperparameter_hints(algorithm) if name not in (*hyperparam, *NOT_FIELDS)]
    stored = source.content.fields
    unread = [name for name in missing if name in stored or f"_{name}" in stored]
    absent = [name for name in missing if name not in unread]
    notes = ["hyperparameters that the zip does not hold as plain values: " + ", ".join(unread)] if unread else []
    return notes + (["hyperparameters that the zip does not have: " + ", ".join(absent)] if absent else [])


def _is_told(note: str, told: Told) -> bool:
    """Tell whether another source has told what a note of the zip misses."""
    return any(f"decay of {name} " in note and name in told.hyperparam for name in told.hyperparam)


def _environment(source: Source, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Give the environment that a source was trained in, if none was given."""
    arguments = {} if source.zoo is None else source.zoo.arguments
    trained_in, kwargs = arguments.get("env"), arguments.get("env_kwargs") or {}
    notes = ["seed (drawn anew)"]
    if source.zoo is None and source.statistics is None:
        notes.append("normalization statistics (a lone zip has none)")
    if given.get("env") is not None:
        if kwargs and given["env"] != trained_in:
            options = ", ".join(f"{name}:{value}" for name, value in kwargs.items())
            return {}, [*notes, f"environment options of {trained_in} ({options})"]
        return ({"env_kwargs": dict(kwargs)} if kwargs else {}), notes
    if not isinstance(trained_in, str):
        raise UsageError(f"{source} does not tell its environment: give --env")
    packages = given.get("gym_packages") or ()
    try:
        find_spec(trained_in, packages)
    except ValueError as error:
        raise UsageError(_unknown_environment(source, trained_in, str(error))) from None
    return {"env": trained_in, **({"env_kwargs": dict(kwargs)} if kwargs else {})}, notes


def _unknown_environment(source: Source, trained_in: str, error: str) -> str:
    """Say what to give instead of an environment that is not known: another version of it, or the package it is in."""
    assert source.zoo is not None
    near = [name for name in gym.registry if name.rpartition("-v")[0] == trained_in.rpartition("-v")[0]]
    packages = " ".join(map(str, source.zoo.arguments.get("gym_packages") or ["PACKAGE"]))
    message = f"{source} was trained in {trained_in} ({ARGUMENTS})"
    if "is not installed" in error:
        return f"{message}: {error}"
    if near:
        return f"{message}, which Gymnasium does not know; did you mean --env {near[-1]}?"
    return (
        f"{message}, which Gymnasium does not know: give --env, and --gym-packages {packages} where a package "
        "registers it"
    )


def _normalization(source: Source) -> dict[str, Any]:
    """Give how observations and rewards were normalized, as the statistics say."""
    if source.statistics is None:
        return {"norm_obs": False, "norm_reward": False} if source.zoo is None else {}
    return {name: source.statistics[name] for name in NORMALIZATION if name in source.statistics}


def _modern(options: Mapping[str, Any], source: Source) -> dict[str, Any]:
    policy, content = source.content.parameters["policy"], source.content
    modern = {**told_by_parameters(content.version, source.algorithm or "", policy), **options}
    net_arch = modern_net_arch(modern.get("net_arch"), policy, str(source))
    return modern if net_arch is None else {**modern, "net_arch": net_arch}


def _told_by_zip(source: Source, algorithm: Algorithm) -> Told:
    """Read what a zip tells in its fields."""
    fields = source.fields
    kwargs = fields.get("policy_kwargs")
    kwargs = kwargs if isinstance(kwargs, Mapping) else {}
    told = Told(policy_kwargs=plain_policy_options(kwargs))
    told.values |= {name: fields[field] for name, field in ZIP_FIELDS.items() if _is_positive(fields.get(field))}
    rate = fields.get("learning_rate") if algorithm.learning_rate else None
    if isinstance(rate, (int, float)):
        told.values["lr_decay"] = "constant"
    elif linear_start(rate) is not None:
        told.values["lr_decay"] = "linear"
    for name, hint in hyperparameter_hints(algorithm).items():
        if name not in NOT_FIELDS:
            _read_field(
                told, name, fields.get(name, fields.get(f"_{name}")), name in fields or f"_{name}" in fields, hint
            )
    if "use_rms_prop" in hyperparameter_hints(algorithm):  # A2C keeps it only as the optimiser of its policy
        told.hyperparam["use_rms_prop"] = "RMSprop" in str(kwargs.get("optimizer_class"))
    _read_noise_and_replay(told, source, algorithm)
    return told


def _is_positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _read_field(told: Told, name: str, value: Any, is_there: bool, hint: Any) -> None:
    start = linear_start(value)
    if start is not None:
        told.notes.append(f"decay of {name} (it fell from {start:g} to 0, here it stays at {start:g})")
    if not is_there:
        return
    try:
        told.hyperparam[name] = coerce(value if start is None else start, hint, name)
    except UsageError:
        return


def _read_noise_and_replay(told: Told, source: Source, algorithm: Algorithm) -> None:
    fields, stored = source.fields, source.content.fields
    hints = hyperparameter_hints(algorithm)
    if isinstance(fields.get("action_noise"), Mapping) and "noise_type" in hints:
        told.hyperparam |= fields["action_noise"]
    elif stored.get("action_noise") is not None:
        told.notes.append("action noise (the zip does not hold it as plain values)")
    kind = stored.get("replay_buffer_class")
    if not (isinstance(kind, Mapping) and ".her." in str(kind.get("__module__"))):
        return
    told.values["her"] = True
    kwargs = fields.get("replay_buffer_kwargs")
    plain, notes = plain_replay_options(kwargs if isinstance(kwargs, Mapping) else {})
    told.notes += notes
    if plain:
        told.hyperparam["replay_buffer_kwargs"] = plain
