"""The environment wrappers that can be asked for by name, and how an environment is built with them.

Listed are wrappers that keep nothing from one episode to the next and no earlier picture within one: a run with them
can be resumed exactly, because an episode is brought back by repeating its actions.
"""

import importlib
import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium as gym

from environments.names import nearest_match
from environments.registry import find_spec
from rl_baselines.errors import UsageError, unknown
from rl_baselines.literals import parse_literal

GYMNASIUM_WRAPPERS = (
    *("ClipAction", "ClipReward", "DiscretizeAction", "FilterObservation", "FlattenObservation"),
    *("GrayscaleObservation", "RepeatAction", "RescaleAction", "RescaleObservation"),
    *("ReshapeObservation", "ResizeObservation", "StickyAction", "TimeAwareObservation", "TimeLimit"),
)
ENV_WRAPPERS: dict[str, str] = {  # names and the modules they lie in
    "TimeFeatureWrapper": "sb3_contrib.common.wrappers",
    **dict.fromkeys(GYMNASIUM_WRAPPERS, "gymnasium.wrappers"),
}


def wrapper_text(name: str, arguments: Mapping[str, Any]) -> str:
    """Write a wrapper as ``--env-wrapper`` takes it."""
    inside = ", ".join(f"{key}: {_written(value)}" for key, value in arguments.items())
    return f"{name}:{{{inside}}}" if arguments else name


def _written(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_written, value)) + "]"
    if isinstance(value, str):
        return value if value.isidentifier() else json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)


def parse_wrapper(text: str) -> tuple[str, dict[str, Any]]:
    """Read a wrapper's name and arguments.

    :param text: ``NAME`` or ``NAME:{argument: value}``
    :raises UsageError: for a wrapper that is not listed, an argument it does not have, or one that is missing
    """
    name, colon, rest = str(text).partition(":")
    if name not in ENV_WRAPPERS:
        near = nearest_match(name, ENV_WRAPPERS)
        hint = f"did you mean {near}? known" if near else "known"
        raise UsageError(f"unknown environment wrapper '{name}'; {hint}: {', '.join(ENV_WRAPPERS)}")
    arguments = parse_literal(rest) if colon else {}
    if not isinstance(text, str) or not isinstance(arguments, dict):
        raise UsageError(f"--env-wrapper expects NAME or NAME:{{argument:value}}, got {text!r}")
    parameters = list(inspect.signature(_load(name)).parameters.values())[1:]
    for key in arguments:
        if key not in {parameter.name for parameter in parameters}:
            raise unknown(f"argument of {name}", str(key), [parameter.name for parameter in parameters])
    missing = [one.name for one in parameters if one.default is one.empty and one.name not in arguments]
    if missing:
        example = ", ".join(f"{key}:..." for key in missing)
        raise UsageError(f"--env-wrapper {name} needs {' and '.join(missing)}: write {name}:{{{example}}}")
    return name, {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}


def _load(name: str) -> Any:
    return getattr(importlib.import_module(ENV_WRAPPERS[name]), name)


def make_env(
    env_id: str, gym_packages: Sequence[str], env_kwargs: Mapping[str, Any], wrappers: Iterable[str]
) -> gym.Env[Any, Any]:
    """Build one environment with the wrappers asked for, the first one innermost.

    :param gym_packages: packages to import first
    :param wrappers: as `parse_wrapper` reads them
    :raises UsageError: for a wrapper that does not fit the environment
    """
    find_spec(env_id, gym_packages)
    parsed = [parse_wrapper(text) for text in wrappers]
    env = gym.make(env_id, disable_env_checker=True, **env_kwargs)
    for name, arguments in parsed:
        try:
            env = _load(name)(env, **arguments)
        except (AssertionError, TypeError, ValueError, AttributeError, KeyError, gym.error.Error) as error:
            env.close()
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UsageError(f"--env-wrapper {name} does not fit {env_id}: {reason}") from None
    return env
