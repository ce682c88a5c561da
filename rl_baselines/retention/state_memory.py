"""A memory of states: raw observations and what a policy does there, in one small file.

It lets a later training hold on to that policy, or learn from it, without the policy and without its environment.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize

from environments.durable import replace_file
from rl_baselines.errors import UsageError
from rl_baselines.evaluation import random_states_kept
from rl_baselines.retention.policy_outputs import (
    Observations,
    OutputKind,
    action_parameters,
    output_kind,
    policy_input,
    select,
    set_to_act,
    state_values,
)
from rl_baselines.seeding import derive_seed

FORMAT = 1
N_STATES = 4096
MAX_BYTES = 2**24
_CHUNK = 256
_TORN = (OSError, EOFError, ValueError, KeyError, TypeError, NotImplementedError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Label:
    """Where the states of a memory come from; all of it JSON-ready.

    :param algorithm: name in the table of algorithms
    :param env: id of the environment
    :param env_kwargs: its options
    :param run: id of the run
    :param timesteps: of training behind the policy
    :param feature_names: of the parts of an observation, if they have names
    :param n_tasks: how many tasks have an equal share of the states: those before this one that were held on to, too
    """

    algorithm: str = ""
    env: str = ""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    run: str = ""
    timesteps: int = 0
    feature_names: tuple[str, ...] | None = None
    n_tasks: int = 1


@dataclass(frozen=True, eq=False)
class StateMemory:
    """States and what a policy does there; their order means nothing.

    :param observations: before normalization, as the environment gives them: (n, ...), or a dictionary of such arrays
    :param kind: what the parameters are
    :param parameters: of the policy's action distribution, see `OutputKind`: float32, (n, size) each
    :param values: of the states, see `state_values`: float32, (n,)
    :param label: where all this comes from
    :param normalization: mean, variance (by key, for dictionaries), epsilon and clip_obs of the normalizer that stood
        between observations and policy; None without one
    """

    observations: Observations
    kind: OutputKind
    parameters: Mapping[str, np.ndarray]
    values: np.ndarray
    label: Label = field(default_factory=Label)
    normalization: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        """Give the number of states."""
        return len(self.values)


def can_remember(model: BaseAlgorithm) -> bool:
    """Tell whether a state memory can be made of a model's policy.

    It cannot where states are more than observations (recurrent policies) or have no values (ARS, random agent).
    """
    return output_kind(model.policy) is not None


def states_that_fit(space: spaces.Space[Any], n_states: int = N_STATES, max_bytes: int = MAX_BYTES) -> int:
    """Give the number of states whose observations take at most so many bytes, at least one and at most `n_states`."""
    parts = list(space.spaces.values()) if isinstance(space, spaces.Dict) else [space]
    size = sum(int(np.prod(part.shape or ())) * np.dtype(part.dtype).itemsize for part in parts)
    return max(1, min(n_states, max_bytes // max(1, size)))


def collect(model: BaseAlgorithm, env: VecEnv, n_states: int, seed: int, label: Label | None = None) -> StateMemory:
    """Let the stochastic policy act in evaluation environments, and remember; training goes on as if nothing were.

    The same model, environment and seed give the same memory, to the last bit. Exploration that an algorithm adds to
    its policy's actions (action noise) is left out.

    :param env: as `vec_env.make_evaluation_env` gives it; each of its environments gives an equal share of states
    :param label: what to note about their origin
    :raises UsageError: when the policy is none of which there can be a memory
    """
    if not can_remember(model):
        raise UsageError(f"there is no state memory of {type(model).__name__}: its observations do not tell its states")
    normalizer = unwrap_vec_normalize(env)
    assert normalizer is None or not normalizer.training, "collecting would change the statistics"
    with random_states_kept(model, derive_seed(seed, "remembered policy")), set_to_act(model.policy):
        observations = _play(model, env, normalizer, n_states, seed)
        return _remember(model.policy, observations, normalizer, label or Label())


def relabelled(memory: StateMemory, model: BaseAlgorithm) -> StateMemory:
    """Give a memory of the same states with what this model does there, through its own normalization."""
    with set_to_act(model.policy):
        return _remember(model.policy, memory.observations, model.get_vec_normalize_env(), memory.label)


def joined(newest: StateMemory, earlier: StateMemory, model: BaseAlgorithm, n_states: int) -> StateMemory:
    """Give a memory of several tasks, so that a policy that held on to some can be held on to in all of them.

    :param newest: of the task that was learnt last
    :param earlier: of the tasks before; each has the same share in the end
    :param model: whose doing is remembered, in the earlier states too
    :param n_states: of the outcome, at most
    """
    n_tasks = earlier.label.n_tasks + newest.label.n_tasks
    n_earlier = min(len(earlier), n_states * earlier.label.n_tasks // n_tasks)
    kept = _thinned(relabelled(earlier, model), n_earlier)
    own = _thinned(newest, min(len(newest), n_states - n_earlier))
    if isinstance(own.observations, Mapping):
        assert isinstance(kept.observations, Mapping)
        pairs = {key: (part, kept.observations[key]) for key, part in own.observations.items()}
        observations: Observations = {key: np.concatenate(both) for key, both in pairs.items()}
    else:
        assert isinstance(kept.observations, np.ndarray)
        observations = np.concatenate([own.observations, kept.observations])
    return replace(
        own,
        observations=observations,
        parameters={name: np.concatenate([part, kept.parameters[name]]) for name, part in own.parameters.items()},
        values=np.concatenate([own.values, kept.values]),
        label=replace(own.label, n_tasks=n_tasks),
    )


def _thinned(memory: StateMemory, n_states: int) -> StateMemory:
    """Give so many states of a memory, evenly spread over it."""
    rows = np.linspace(0, len(memory) - 1, n_states).round().astype(np.int64)
    parameters = {name: part[rows] for name, part in memory.parameters.items()}
    observations, values = select(memory.observations, rows), memory.values[rows]
    return replace(memory, observations=observations, parameters=parameters, values=values)


def _play(model: BaseAlgorithm, env: VecEnv, normalizer: VecNormalize | None, n_states: int, seed: int) -> Observations:
    """Act until there are enough states, and give them as they are before normalization."""
    n_steps = -(-n_states // env.num_envs)
    for index in range(env.num_envs):  # an episode has a step at least, so these seeds are enough
        seeds = [derive_seed(seed, "remembered episode", index, episode) for episode in range(n_steps + 1)]
        env.env_method("start_episodes_at", seeds, indices=index)
    wants_masks = "action_masks" in signature(model.predict).parameters and env.has_attr("action_masks")
    _draw_exploration(model.policy, env.num_envs)
    observations: Any = env.reset()
    steps = []
    for _ in range(n_steps):
        steps.append(_copied(observations if normalizer is None else normalizer.get_original_obs()))
        masks: Any = {"action_masks": np.stack(env.env_method("action_masks"))} if wants_masks else {}
        actions, _ = model.predict(observations, deterministic=False, **masks)
        observations, _, _, _ = env.step(actions)
    env.env_method("start_episodes_at", [])
    if isinstance(steps[0], dict):
        return {key: np.concatenate([step[key] for step in steps])[:n_states] for key in steps[0]}
    return np.concatenate(steps)[:n_states]


def _draw_exploration(policy: Any, n_envs: int) -> None:
    """Draw the noise of exploration that depends on the state, so that it is not the one that training drew last."""
    if getattr(policy, "use_sde", False) or getattr(getattr(policy, "actor", None), "use_sde", False):
        policy.reset_noise(n_envs)


def _copied(observations: Any) -> Any:
    if isinstance(observations, Mapping):
        return {key: np.array(part) for key, part in observations.items()}
    return np.array(observations)


def _remember(policy: Any, observations: Observations, normalizer: VecNormalize | None, label: Label) -> StateMemory:
    kind = output_kind(policy)
    assert kind is not None
    n_states = len(next(iter(observations.values())) if isinstance(observations, Mapping) else observations)
    chunks: list[dict[str, np.ndarray]] = []
    for start in range(0, n_states, _CHUNK):
        inputs = policy_input(policy, select(observations, slice(start, start + _CHUNK)), normalizer)
        with torch.no_grad():
            outputs = {**action_parameters(policy, inputs), "values": state_values(policy, inputs)}
        chunks.append({name: tensor.float().cpu().numpy() for name, tensor in outputs.items()})
    joined = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    values = joined.pop("values")
    return StateMemory(observations, kind, joined, values, label, _normalization(normalizer))


def _normalization(normalizer: VecNormalize | None) -> dict[str, Any] | None:
    if normalizer is None or not normalizer.norm_obs:
        return None
    moments: Any = normalizer.obs_rms
    parts = moments if isinstance(moments, dict) else {"": moments}
    mean, variance = ({key: getattr(part, name).tolist() for key, part in parts.items()} for name in ("mean", "var"))
    if not isinstance(moments, dict):
        mean, variance = mean[""], variance[""]
    return {"mean": mean, "var": variance, "epsilon": normalizer.epsilon, "clip_obs": normalizer.clip_obs}


def write_memory(memory: StateMemory, path: Path) -> None:
    """Write a memory as one compressed ``.npz`` file without pickles; the same memory gives the same bytes."""
    arrays = _arrays(memory)
    header = {
        "format": FORMAT,
        "kind": asdict(memory.kind),
        **asdict(memory.label),
        "normalization": memory.normalization,
        "arrays": {name: [str(array.dtype), list(array.shape)] for name, array in arrays.items()},
    }
    file = io.BytesIO()
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez_compressed(file, allow_pickle=False, header=text, **arrays)
    replace_file(path, file.getvalue())


def read_memory(path: Path) -> StateMemory:
    """Read a memory.

    :raises UsageError: when there is none, or the file is damaged or another one
    """
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as stored:
            return _from_arrays(dict(stored))
    except FileNotFoundError:
        raise UsageError(f"no state memory at {path}") from None
    except _TORN as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{path} is no readable state memory: {reason}; give an intact one") from None


def _arrays(memory: StateMemory) -> dict[str, np.ndarray]:
    arrays = {f"parameters/{name}": part for name, part in memory.parameters.items()}
    arrays["values"] = memory.values
    if isinstance(memory.observations, Mapping):
        return arrays | {f"observations/{key}": part for key, part in memory.observations.items()}
    return arrays | {"observations": memory.observations}


def _from_arrays(stored: dict[str, np.ndarray]) -> StateMemory:
    header = json.loads(stored.pop("header").tobytes())
    if header["format"] != FORMAT:
        raise ValueError(f"it has format {header['format']}, this version reads format {FORMAT}")
    if {name: [str(array.dtype), list(array.shape)] for name, array in stored.items()} != header["arrays"]:
        raise ValueError("its arrays are not those that its header lists")
    names = header["feature_names"]
    facts = {name: header[name] for name in ("algorithm", "env", "env_kwargs", "run", "timesteps")}
    return StateMemory(
        observations=_below("observations/", stored) or stored["observations"],
        kind=OutputKind(header["kind"]["name"], tuple(header["kind"]["sizes"])),
        parameters=_below("parameters/", stored),
        values=stored["values"],
        label=Label(**facts, feature_names=None if names is None else tuple(names), n_tasks=header.get("n_tasks", 1)),
        normalization=header["normalization"],
    )


def _below(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
