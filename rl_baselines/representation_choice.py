"""Which learnt representation a training names: by a key in a file, or the newest of its environment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rl_baselines.config import EnvironmentConfig
from rl_baselines.errors import UsageError, unknown
from rl_baselines.representations import SETTING
from state_representation.folder import default_folder
from state_representation.model import RECORD_NAME
from state_representation.registry import STATE_REPRESENTATIONS


def chosen_representation(merged: Mapping[str, Any], file: str | None, latest: bool) -> dict[str, str]:
    """Give the settings of the representation that was named otherwise than by its folder; nothing where none was.

    :param merged: all settings that were given
    :param file: of ``--srl-config-file``
    :param latest: whether ``--latest`` was given
    :raises UsageError: when there is no such representation
    """
    ways = [flag for flag, given in (("--srl-config-file", file), ("--latest", latest)) if given]
    ways += ["--srl-model-path"] if merged.get(SETTING) is not None else []
    if len(ways) > 1:
        raise UsageError(f"{ways[0]} and {ways[1]} both say where a representation lies; give one of them")
    env = merged.get("env") or EnvironmentConfig.env
    if latest:
        return {SETTING: str(_newest(env))}
    return {} if file is None else {SETTING: str(_from_file(Path(file), env, merged.get("srl_model")))}


def _newest(env: str) -> Path:
    """Give the representation of an environment that was finished last."""
    parent = default_folder(env)
    found = sorted(parent.glob(f"*/{RECORD_NAME}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UsageError(f"--latest: there is no representation in {parent}; state_representation.train learns one")
    return found[-1].parent


def _from_file(path: Path, env: str, key: str | None) -> Path:
    """Give the folder that a file names for an environment and a key."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UsageError(f"--srl-config-file: cannot read {path}: {reason}") from None
    keys = content.get(env) if isinstance(content, dict) else None
    if not isinstance(keys, dict) or not all(isinstance(folder, str) for folder in keys.values()):
        raise UsageError(
            f"--srl-config-file: {path} must say of {env} which folder each key stands for: {env}: {{KEY: DIR}}"
        )
    if key is None:
        raise UsageError(f"--srl-config-file {path} needs --srl-model: {', '.join(map(str, keys))}")
    if key in STATE_REPRESENTATIONS:
        raise UsageError(f"--srl-model {key} is not learnt: leave --srl-config-file out")
    if key not in keys:
        raise unknown("--srl-model", key, keys, f"{path}, {env}")
    return path.parent / keys[key]
