"""The statistics of observation and reward normalization, saved beside every model.

Two files: ``vecnormalize.pkl``, which plain Stable-Baselines3 and rl-zoo read, and ``vecnormalize.json``, which we read
because it runs no code. JSON keeps every bit of a float64.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

from rl_baselines.errors import UsageError
from rl_baselines.foreign.restricted_pickle import attributes_of, class_of, read_pickle

PICKLE_NAME, JSON_NAME = "vecnormalize.pkl", "vecnormalize.json"
_SETTINGS = ("norm_obs", "norm_reward", "clip_obs", "clip_reward", "gamma", "epsilon")


def write_statistics(env: VecNormalize, folder: Path) -> None:
    """Write both files into a folder."""
    content = {
        **{name: getattr(env, name) for name in _SETTINGS},
        "norm_obs_keys": env.norm_obs_keys,
        "observations": _observation_statistics(env),
        "returns": _to_json(env.ret_rms),
    }
    (folder / JSON_NAME).write_text(json.dumps(content, indent=1))
    infos, env.reset_infos = env.reset_infos, []  # infos of environments may hold anything
    try:
        env.save(os.fspath(folder / PICKLE_NAME))
    finally:
        env.reset_infos = infos


def read_statistics(path: Path) -> dict[str, Any]:
    """Read the JSON file.

    :raises UsageError: when it is torn
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        if not {"observations", "returns"} <= content.keys():
            raise ValueError("it holds no observations and returns")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the normalization statistics {path}: {error}") from None
    return content


def read_statistics_pickle(path: Path, trusted: bool = False) -> dict[str, Any]:
    """Read the statistics that Stable-Baselines3 or rl-zoo pickled, in the form of `read_statistics`.

    :param trusted: load the file as Python does, whatever that runs
    :raises UsageError: when it is torn, holds something else, or holds more than is read without trust
    """
    normalization = read_pickle(path, str(path), trusted)
    values = attributes_of(normalization)
    if class_of(normalization) != "VecNormalize":
        raise UsageError(f"{path} holds a {class_of(normalization)}, not the statistics of a VecNormalize")
    try:
        content = {name: values[name] for name in _SETTINGS}
        observations = _from_record(values["obs_rms"]) if values["norm_obs"] else None
        content |= {"norm_obs_keys": values.get("norm_obs_keys"), "observations": observations}
        return content | {"returns": _from_record(values["ret_rms"])}
    except KeyError as error:
        raise UsageError(f"the normalization statistics {path} lack {error}") from None
    except (TypeError, ValueError) as error:
        raise UsageError(f"cannot read the normalization statistics {path}: {error}") from None


def _from_record(statistics: Any) -> dict[str, Any]:
    if isinstance(statistics, Mapping):
        return {str(key): _from_record(part) for key, part in statistics.items()}
    values = attributes_of(statistics)
    mean, var = (np.asarray(values[name], dtype=np.float64) for name in ("mean", "var"))
    if mean.shape != var.shape:
        raise ValueError(f"mean has shape {mean.shape} and variance {var.shape}")
    return {"mean": mean.tolist(), "var": var.tolist(), "count": float(values["count"])}


def apply_statistics(env: VecNormalize, content: Mapping[str, Any], where: str) -> None:
    """Give an environment the statistics that were saved.

    :param content: as `read_statistics` gives it
    :param where: what they belong to, for the error message
    :raises UsageError: when they are for other observations
    """
    saved = content["observations"]
    own = _observation_statistics(env)
    if own is not None and saved is not None:
        if _shapes(own) != _shapes(saved):
            raise UsageError(
                f"the normalization statistics of {where} are for observations of shape {_shapes(saved)}, "
                f"here they have {_shapes(own)}"
            )
        if isinstance(env.obs_rms, dict):
            env.obs_rms = {key: _from_json(saved[key]) for key in env.obs_rms}
        else:
            env.obs_rms = _from_json(saved)
    env.ret_rms = _from_json(content["returns"])


def _observation_statistics(env: VecNormalize) -> dict[str, Any] | None:
    if not env.norm_obs:
        return None
    if isinstance(env.obs_rms, dict):
        return {key: _to_json(value) for key, value in env.obs_rms.items()}
    return _to_json(env.obs_rms)


def _shapes(statistics: Mapping[str, Any]) -> Any:
    if "mean" in statistics:
        return np.shape(statistics["mean"])
    return {key: np.shape(value["mean"]) for key, value in statistics.items()}


def _to_json(statistics: RunningMeanStd) -> dict[str, Any]:
    return {"mean": statistics.mean.tolist(), "var": statistics.var.tolist(), "count": float(statistics.count)}


def _from_json(content: Mapping[str, Any]) -> RunningMeanStd:
    statistics = RunningMeanStd(shape=np.shape(content["mean"]))
    statistics.mean = np.asarray(content["mean"], dtype=np.float64)
    statistics.var = np.asarray(content["var"], dtype=np.float64)
    statistics.count = content["count"]
    return statistics
