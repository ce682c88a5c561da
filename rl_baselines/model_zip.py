"""Model zips: written so that plain Stable-Baselines3 loads them, read without running any of their code.

A zip holds no object of our packages. One extra JSON member, which Stable-Baselines3 passes over, says where the model
comes from. Reading takes JSON fields and weights-only tensors; what was pickled is left alone.
"""

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import recursive_getattr, recursive_setattr, save_to_zip_file

from rl_baselines.errors import UsageError
from rl_baselines.foreign.old_zips import modern_parameters
from rl_baselines.foreign.pickled_fields import told_by
from rl_baselines.rollout_boundary import OWN_ATTRIBUTES

ORIGIN_MEMBER = "origin.json"
VARIABLES = ("pytorch_variables.pth", "tensors.pth")  # the latter before Stable-Baselines3 1.0
DAMAGE = (  # what a torn or forged zip can raise
    *(AttributeError, EOFError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError),
    *(struct.error, zlib.error, zipfile.LargeZipFile),
)
_RUN_STATE = ("_last_obs", "_last_original_obs", "_last_episode_starts", "_last_lstm_states", "_last_dones")


@dataclass(frozen=True)
class ModelZip:
    """What a model zip holds.

    :param path: the file
    :param fields: plain JSON fields; pickled ones appear as the dictionary of their readable parts
    :param parameters: state dictionaries by name, such as ``policy`` and ``policy.optimizer``
    :param variables: further tensors by name, such as ``log_ent_coef``
    :param origin: what our own commands noted about the run; empty in other zips
    :param version: of the Stable-Baselines3 that wrote it
    """

    path: Path
    fields: Mapping[str, Any]
    parameters: Mapping[str, Any]
    variables: Mapping[str, torch.Tensor]
    origin: Mapping[str, Any]
    version: str


def write_model_zip(model: BaseAlgorithm, path: Path, origin: Mapping[str, Any], learning_rate: float) -> None:
    """Save a model as a plain Stable-Baselines3 zip, with its optimiser.

    :param origin: JSON-ready facts about the run
    :param learning_rate: the run's initial rate, stored in place of the schedule object
    """
    state_dicts, variables = model._get_torch_save_params()
    left_out = {*model._excluded_save_params(), *OWN_ATTRIBUTES, *_RUN_STATE, "lr_schedule"}
    left_out |= {name.split(".")[0] for name in (*state_dicts, *variables)}
    data = {name: value for name, value in vars(model).items() if name not in left_out}
    data["learning_rate"] = learning_rate
    save_to_zip_file(
        str(path),
        data=data,
        params=model.get_parameters(),
        pytorch_variables={name: recursive_getattr(model, name) for name in variables},
    )
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(ORIGIN_MEMBER, json.dumps(dict(origin), indent=1))


def read_model_zip(path: Path) -> ModelZip:
    """Read a model zip of any origin; nothing is unpickled.

    :raises UsageError: when the file is missing, torn, or no such zip
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_members(path, archive)
    except UsageError:
        raise
    except FileNotFoundError:
        raise UsageError(f"no model at {path}") from None
    except zipfile.BadZipFile:
        size = os.path.getsize(path)
        raise UsageError(
            f"{path} ({size} bytes) is not a complete zip file: a Stable-Baselines3 model is a zip; "
            f"give an intact model.zip or a run folder"
        ) from None
    except DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{path} is not a readable Stable-Baselines3 model: {reason}") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None


def _read_members(path: Path, archive: zipfile.ZipFile) -> ModelZip:
    names = archive.namelist()
    if "data" not in names or "policy.pth" not in names:
        raise UsageError(
            f"{path} is a zip file but no complete Stable-Baselines3 model: it lacks 'data' or 'policy.pth'"
        )
    parameters: dict[str, Any] = {}
    variables: dict[str, Any] = {}
    for name in names:
        if name in VARIABLES:
            variables |= _read_tensors(path, archive, name)
        elif name.endswith(".pth"):
            parameters[name.removesuffix(".pth")] = _read_tensors(path, archive, name)
    fields = json.loads(archive.read("data"))
    if not isinstance(fields, dict):
        raise UsageError(f"{path} is not a readable Stable-Baselines3 model: its data is a {type(fields).__name__}")
    return ModelZip(
        path=path,
        fields=fields,
        parameters=modern_parameters(parameters),
        variables=variables,
        origin=json.loads(archive.read(ORIGIN_MEMBER)) if ORIGIN_MEMBER in names else {},
        version=archive.read("_stable_baselines3_version").decode() if "_stable_baselines3_version" in names else "",
    )


def _read_tensors(path: Path, archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    try:
        content = torch.load(io.BytesIO(archive.read(name)), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UsageError(f"{path}: {name} holds more than tensors; it is not loaded") from None
    if not isinstance(content or {}, Mapping):
        raise UsageError(f"{path}: {name} holds a {type(content).__name__} instead of tensors by name")
    named = dict(content or {})
    return {key: value.detach() if isinstance(value, torch.Tensor) else value for key, value in named.items()}


def plain_fields(fields: Mapping[str, Any], trusted: bool = False) -> dict[str, Any]:
    """Give the fields that are plain JSON, and those pickled ones that can be told in plain values.

    Of pickled dictionaries the items that stand there as text are given.

    :param trusted: load what is pickled as Python does, whatever that runs
    """
    plain = {}
    for name, value in fields.items():
        if not (isinstance(value, dict) and ":serialized:" in value):
            plain[name] = value
        elif value.get(":type:") == "<class 'dict'>":
            plain[name] = {key: item for key, item in value.items() if not key.startswith(":")}
        elif (told := told_by(value[":serialized:"], trusted)) is not None:
            plain[name] = told
    return plain


def load_tensors(model: BaseAlgorithm, source: ModelZip) -> None:
    """Put a zip's parameters, optimiser states and variables into a model of the same algorithm and shapes.

    :raises UsageError: when the two do not fit, naming the first tensor that differs
    """
    own = model.get_parameters()
    merged: Any = {name: source.parameters.get(name, own[name]) for name in own}
    _check_shapes(own["policy"], source.parameters["policy"], source.path)
    try:
        model.set_parameters(merged, exact_match=True, device=model.device)
    except (ValueError, KeyError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{source.path} does not fit this run's networks and optimisers: {reason}") from None
    for name in model._get_torch_save_params()[1]:
        if name in source.variables:
            recursive_setattr(model, f"{name}.data", source.variables[name].data.to(model.device))
    if hasattr(model, "weights"):  # ARS keeps its parameters as one vector besides the policy's
        model.weights = torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()


def load_policy_tensors(model: BaseAlgorithm, source: ModelZip) -> None:
    """Put only the parameters of a zip's policy into a model, to act with it.

    :raises UsageError: when they do not fit
    """
    if model.policy.state_dict():
        _check_shapes(model.policy.state_dict(), source.parameters["policy"], source.path)
        model.policy.load_state_dict(source.parameters["policy"])
    model.policy.set_training_mode(False)


def _check_shapes(own: Mapping[str, Any], other: Mapping[str, Any], path: Path) -> None:
    if not own and not other:
        raise UsageError(f"{path} has no parameters: there is nothing to load")
    for name in sorted(own.keys() | other.keys()):
        shapes = [tuple(side[name].shape) if name in side else None for side in (other, own)]
        if shapes[0] != shapes[1]:
            there, here = (f"has shape {shape}" if shape is not None else "is absent" for shape in shapes)
            raise UsageError(
                f"the policy of {path} does not fit: {name} {there} in the source and {here} in this run; the "
                "observation space, the action space or the policy options (net_arch) differ"
            )
