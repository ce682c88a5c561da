"""Files as other people's programs left them: zips of Stable-Baselines3 1.x, folders of rl-zoo, pickles with traps."""

import base64
import contextlib
import io
import json
import pickle
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

NEW_FIELDS = ("_stats_window_size", "normalize_advantage", "rollout_buffer_class", "rollout_buffer_kwargs", "n_steps_")
NEW_GROUP_KEYS = ("foreach", "maximize", "capturable", "differentiable", "fused", "decoupled_weight_decay")


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@contextlib.contextmanager
def gym_class(name: str) -> Iterator[type]:
    """A class that pickles as one of the old gym's, of which nothing is installed."""
    modules = ("gym", "gym.spaces", f"gym.spaces.{name.lower()}")
    assert not set(modules) & sys.modules.keys()
    cls = type(name, (), {"__module__": modules[-1]})
    for module in modules:
        sys.modules[module] = types.ModuleType(module)
    setattr(sys.modules[modules[-1]], name, cls)
    try:
        yield cls
    finally:
        for module in modules:
            del sys.modules[module]


def gym_box(**attributes: Any) -> bytes:
    """The pickle of an old gym's space."""
    with gym_class("Box") as cls:
        space = cls()
        space.__dict__.update(attributes)
        return pickle.dumps(space)


def constant_fn(val: float) -> Callable[[float], float]:
    """What Stable-Baselines3 before 2.6 made of a constant."""

    def func(_: float) -> float:
        return val

    return func


def linear_schedule(initial_value: float) -> Callable[[float], float]:
    """What rl-zoo makes of ``lin_x``."""

    def func(progress_remaining: float) -> float:
        return progress_remaining * initial_value

    return func


def pickled(value: Any, kind: str) -> dict[str, str]:
    """A field of a zip that is no JSON."""
    content = value if isinstance(value, bytes) else cloudpickle.dumps(value)
    return {":type:": f"<class '{kind}'>", ":serialized:": base64.b64encode(content).decode()}


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def edit_fields(path: Path, **fields: Any) -> None:
    """Set fields of a zip; None removes one."""
    members = members_of(path)
    data = json.loads(members["data"]) | fields
    members["data"] = json.dumps({name: value for name, value in data.items() if value is not None}).encode()
    write_members(path, members)


def save_old(model: BaseAlgorithm, path: Path, version: str = "1.0", **fields: Any) -> None:
    """Save a model as Stable-Baselines3 1.x did, on a python of then and with the old gym's spaces."""
    model.save(path)
    members = members_of(path)
    data = {name: value for name, value in json.loads(members["data"]).items() if name not in NEW_FIELDS}
    for name in ("observation_space", "action_space"):
        data[name] = pickled(gym_box(shape=(4,)), "gym.spaces.box.Box")
    for name in ("clip_range", "lr_schedule"):
        if name in data:
            data[name] = pickled(constant_fn(0.3), "function")
    members["data"] = json.dumps(data | fields).encode()
    members["_stable_baselines3_version"] = version.encode()
    for name in [name for name in members if name.endswith(".pth") and name != "pytorch_variables.pth"]:
        members[name] = _old_tensors(members[name])
    write_members(path, members)


def _old_tensors(content: bytes) -> bytes:
    tensors = torch.load(io.BytesIO(content), weights_only=True)
    if "param_groups" in tensors:
        for group in tensors["param_groups"]:
            for key in NEW_GROUP_KEYS:
                group.pop(key, None)
        for state in tensors["state"].values():
            state["step"] = int(state["step"])
    else:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(("pi_feat", "vf_feat"))}
    out = io.BytesIO()
    torch.save(tensors, out)
    return out.getvalue()


def ordered(values: dict[str, Any]) -> str:
    """A YAML file as rl-zoo writes it."""
    import yaml

    rows = yaml.safe_dump([[list(pair) for pair in values.items()]], default_flow_style=None)
    return "!!python/object/apply:collections.OrderedDict\n" + rows


def zoo_folder(path: Path, env_id: str, model: BaseAlgorithm, config: dict[str, Any], **arguments: Any) -> Path:
    """A folder as rl-zoo leaves it."""
    folder = path / env_id
    folder.mkdir(parents=True)
    save_old(model, path / f"{env_id}.zip")
    (folder / "config.yml").write_text(ordered(config))
    (folder / "args.yml").write_text(ordered({"algo": "ppo", "env": env_id, "env_kwargs": None, **arguments}))
    return path
