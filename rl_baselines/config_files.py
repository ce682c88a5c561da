"""Configuration on disk: YAML files and the presets that ship with the package."""

import os
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from rl_baselines.config import CONFIG_GROUPS, RunConfig, check_settings
from rl_baselines.errors import UsageError, unknown


def preset_names() -> list[str]:
    """Name the presets that ship with the package."""
    folder = resources.files("rl_baselines") / "presets"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def read_settings(name: str) -> dict[str, Any]:
    """Read settings from a YAML file, or from a preset by its name.

    :raises UsageError: when there is no such file or preset, or when its content is not settings
    """
    if name in preset_names():
        text = (resources.files("rl_baselines") / "presets" / f"{name}.yaml").read_text()
    else:
        try:
            text = Path(name).read_text()
        except OSError as error:
            if os.sep in name or name.endswith((".yaml", ".yml")):
                raise UsageError(f"cannot read --config {name}: {error.strerror or error}") from None
            raise unknown("preset", name, preset_names()) from None
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{name} must hold settings as 'name: value' lines, got a {type(content).__name__}")
    return check_settings(content, name)


def write_config(config: RunConfig, path: Path) -> None:
    """Store the complete configuration, a comment above each group."""
    from environments.durable import replace_file  # not above: that imports the simulator, and `--help` would wait

    parts = []
    for group, cls in CONFIG_GROUPS.items():
        values = {item.name: _plain(getattr(getattr(config, group), item.name)) for item in fields(cls)}
        parts.append(f"# {cls.__doc__}\n{yaml.safe_dump(values, sort_keys=False)}")
    replace_file(path, "\n".join(parts).encode())


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
