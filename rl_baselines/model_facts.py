"""What is known of a saved model, found in JSON fields and tensors alone.

None of its code runs, no network and no environment is built.
"""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from rl_baselines.checkpoint import Checkpoint
from rl_baselines.errors import UsageError
from rl_baselines.normalization import JSON_NAME
from rl_baselines.sources import Source
from rl_baselines.state_files import read_state

UNKNOWN_SPACE = "unknown: taken from the env"
MAX_SPACE_TEXT = 160
SYSTEM_INFO = {  # lines of the member that Stable-Baselines3 writes, and what we call them
    "Python": "python",
    "PyTorch": "torch",
    "Numpy": "numpy",
    "Gymnasium": "gymnasium",
    "OpenAI Gym": "gym",
}
SPACE_PARTS = ("_shape", "shape", "dtype", "low", "high", "n", "nvec", "start", "spaces")
NEEDED_SETTINGS = {"env", "algo", "policy", "norm_obs", "norm_reward"}


def gather(source: Source) -> dict[str, Any]:
    """Give all that is known of a model, ready for JSON.

    :raises UsageError: when the model or its run's record cannot be read
    """
    record, content = read_record_of(source), source.content
    observation_space, action_space = _spaces(record, content.fields)
    networks = describe_networks(content.parameters)
    return {
        "source": source.path,
        "selection": source.selection,
        "kind": _kind(source),
        "run": source.run_id,
        "algorithm": source.algorithm,
        "environment": environment_of(source),
        "timesteps": source.timesteps,
        "policy": policy_name(content.fields, source.settings),
        "observation_space": observation_space,
        "action_space": action_space,
        "learning_rate": _learning_rate(source, record),
        "networks": networks,
        "n_parameters": sum(network["n_parameters"] for network in networks if network["shared_with"] is None),
        "optimizers": describe_optimizers(content.parameters),
        "variables": {name: _value(tensor) for name, tensor in content.variables.items()},
        "statistics": describe_statistics(source),
        "replay_buffer": _replay_buffer(source),
        "state_memory": source.run is not None and source.run.state_memory.is_file(),
        "passed_over": sorted(content.fields.keys() - source.fields.keys()),
        "parent": record.get("parent"),
        "is_parent_known": "parent" in record,
        "versions": _versions(source, record),
    }


def read_record_of(source: Source) -> dict[str, Any]:
    """Give the record of the run that a model belongs to; empty where it belongs to none.

    :raises UsageError: when the record or the settings of the run are not complete
    """
    record = {} if source.run is None else source.run.read_record()
    if not isinstance(record, dict):
        raise UsageError(f"{source.path}: the run.json of its run holds no record but a {type(record).__name__}")
    if source.settings is not None and (missing := NEEDED_SETTINGS - source.settings.keys()):
        raise UsageError(f"the settings of {source.path} are not complete: {', '.join(sorted(missing))} missing")
    return record


def _kind(source: Source) -> str:
    if source.run is not None:
        return "checkpoint of a run"
    if source.content.origin:
        return "zip of a run, outside of its folder"
    return "zip of Stable-Baselines3" if source.zoo is None else "zip in a folder of rl-zoo"


def environment_of(source: Source) -> str | None:
    """Name the environment it was trained in, where that is told."""
    told = source.settings if source.zoo is None else source.zoo.arguments
    return None if told is None or told.get("env") is None else str(told["env"])


def policy_name(fields: Mapping[str, Any], settings: Mapping[str, Any] | None) -> str:
    """Name the policy's class, which a zip tells in the texts beside its pickled form."""
    policy = fields.get("policy_class")
    if not isinstance(policy, dict):
        return "unknown"
    functions = (re.match(r"<function (\w+)\.", str(text)) for text in policy.values())
    own = next((match.group(1) for match in functions if match), "a class")
    name = f"{own} of {policy.get('__module__', 'an unknown module')}"
    return name if settings is None else f"{settings['policy']}: {name}"


def _spaces(record: Mapping[str, Any], fields: Mapping[str, Any]) -> tuple[str, str]:
    """Describe the observation and the action space."""
    environment = record.get("environment")
    known = environment if isinstance(environment, dict) else {}
    names = ("observation_space", "action_space")
    observation, action = (str(known.get(name) or space_text(fields.get(name))) for name in names)
    return observation, action


def space_text(field: Any) -> str:
    """Describe a space by what stands in a zip's field as text."""
    if not isinstance(field, dict):
        return UNKNOWN_SPACE
    kind = re.sub(r"<class '(?:.*\.)?(\w+)'>", r"\1", str(field.get(":type:", "")))
    told = [name for name in SPACE_PARTS if field.get(name) not in (None, "None", "[]", [])]
    parts = [f"{name.strip('_')} {' '.join(str(field[name]).split())}" for name in told]
    text = ", ".join([kind, *parts])
    if not kind or not parts:
        return UNKNOWN_SPACE
    return text if len(text) <= MAX_SPACE_TEXT else f"{text[:MAX_SPACE_TEXT]} ..."


def describe_networks(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the tensors of the policy by the part they belong to; a part that repeats another one's is counted once."""
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in parameters.get("policy", {}).items():
        part, rest = _split_name(name)
        parts.setdefault(part, {})[rest] = tensor
    owners: dict[Any, str] = {}
    return [
        {
            "part": part,
            "shared_with": _owner(part, tensors, owners),
            "n_parameters": sum(tensor.numel() for tensor in tensors.values()),
            "tensors": {name: list(tensor.shape) for name, tensor in tensors.items()},
        }
        for part, tensors in parts.items()
    ]


def _split_name(name: str) -> tuple[str, str]:
    """Part a tensor's name before the first number of a layer, or else before its last word."""
    words = name.split(".")
    end = next((index for index, word in enumerate(words) if word.isdigit()), len(words) - 1)
    return (".".join(words[:end]) or name), ".".join(words[end:])


def _owner(part: str, tensors: Mapping[str, torch.Tensor], owners: dict[Any, str]) -> str | None:
    """Name the part that has the very same tensors, if one came before."""
    key = tuple((name, tensor.data_ptr()) for name, tensor in tensors.items() if tensor.numel())
    owner = owners.setdefault(key, part) if key else part
    return None if owner == part else owner


def describe_optimizers(parameters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Give the kind, the moments and the present rates of every optimiser."""
    described = {}
    for name, state in parameters.items():
        if not (isinstance(state, Mapping) and "param_groups" in state):
            continue
        moments = [values for values in state["state"].values() if values]
        described[name] = {
            "kind": _optimizer_kind(state["param_groups"]),
            "n_moments": sum(_is_moment(key, value) for values in moments for key, value in values.items()),
            "moments": sorted({key for values in moments for key, value in values.items() if _is_moment(key, value)}),
            "learning_rates": [float(group["lr"]) for group in state["param_groups"] if "lr" in group],
        }
    return described


def _is_moment(key: str, value: Any) -> bool:
    return key != "step" and isinstance(value, torch.Tensor)


def _optimizer_kind(groups: list[dict[str, Any]]) -> str:
    """Name an optimiser by the settings that only it has."""
    if any("betas" in group for group in groups):
        return "Adam"
    return "RMSprop" if any("alpha" in group for group in groups) else "unknown"


def _learning_rate(source: Source, record: Mapping[str, Any]) -> dict[str, Any]:
    rate = record.get("learning_rate")
    known = rate if isinstance(rate, dict) else {}
    stored = source.fields.get("learning_rate")
    of_stranger = source.root_learning_rate if source.settings is None else None
    initial = stored if isinstance(stored, int | float) else of_stranger
    decay = None if source.settings is None else source.settings.get("lr_decay")
    return {
        "initial": known.get("initial", initial),
        "root": source.root_learning_rate,
        "decay": known.get("decay", decay),
        "left": {name: one["learning_rates"] for name, one in describe_optimizers(source.content.parameters).items()},
    }


def _value(tensor: torch.Tensor) -> float | str:
    return float(tensor.item()) if tensor.numel() == 1 else f"shape {tuple(tensor.shape)}"


def describe_statistics(source: Source) -> dict[str, Any]:
    """Tell whether normalization statistics are there, in which form, and after how many observations."""
    try:
        statistics = source.statistics
    except UsageError as error:
        return {"form": "missing", "detail": str(error), "n_observations": None}
    if statistics is None:
        told = "unknown whether it was trained with them" if source.settings is None else "trained without"
        return {"form": "none", "detail": told, "n_observations": None}
    form = "json" if (source.model.parent / JSON_NAME).is_file() else "pickle"
    detail = "read as it is" if form == "json" else "arrays and numbers are read from the pickle, nothing else"
    observations = statistics.get("observations") or {}
    first = observations if "count" in observations else next(iter(observations.values()), {})
    return {"form": form, "detail": detail, "n_observations": first.get("count")}


def _replay_buffer(source: Source) -> dict[str, Any]:
    """Tell whether a replay buffer is there and what it holds."""
    pickled, checkpoint = source.replay_pickle, Checkpoint(source.model.parent)
    if source.run is None or not checkpoint.can_be_resumed():
        detail = "" if pickled is None else f"pickled in {pickled.name}"
        return {"present": pickled is not None, "n_transitions": None, "detail": detail}
    try:
        state = read_state(checkpoint.state)
    except UsageError as error:
        return {"present": False, "n_transitions": None, "detail": str(error)}
    present = state.get("replay") is not None
    return {"present": present, "n_transitions": state.get("replay_size") if present else None, "detail": ""}


def _versions(source: Source, record: Mapping[str, Any]) -> dict[str, str]:
    """Give the versions it was made with, from the run's record and from the zip."""
    found = {"stable-baselines3": source.content.version, **_system_info(source.model)}
    for name in ("versions", "machine"):
        part = record.get(name)
        known = part if isinstance(part, dict) else {}
        found |= {key: str(value) for key, value in known.items() if name == "versions" or key == "python"}
    if record.get("git"):
        found["our revision"] = str(record["git"])
    return {name: version for name, version in found.items() if version}


def _system_info(path: Path) -> dict[str, str]:
    """Read the versions from the text that Stable-Baselines3 leaves in a zip."""
    with zipfile.ZipFile(path) as archive:
        if "system_info.txt" not in archive.namelist():
            return {}
        lines = archive.read("system_info.txt").decode(errors="replace").splitlines()
    pairs = (line.removeprefix("- ").partition(":")[::2] for line in lines)
    return {SYSTEM_INFO[name]: version.strip() for name, version in pairs if name in SYSTEM_INFO}
