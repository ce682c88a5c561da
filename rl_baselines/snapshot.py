"""All the state of a training that a plain Stable-Baselines3 zip leaves out, captured and put back.

Parameters, optimisers and further tensors are in the zip, normalization statistics beside it and the replay buffer in
chunks of its own; everything else that a rollout or an update can change is captured here, between an update and the
next rollout. `state_inventory` names every attribute with the place where it is saved or the reason why it need not be.
"""

import random
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import ActionNoise, OrnsteinUhlenbeckActionNoise, VectorizedActionNoise
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvWrapper

COUNTERS = (
    *("num_timesteps", "n_episodes", "n_rollouts", "_episode_num", "_n_updates", "_n_calls", "old_count"),
    *("exploration_rate", "_current_progress_remaining", "_rollout_start_timesteps", "acts_by_policy"),
    *("learning_starts", "exploration_fraction"),
)
TENSORS = ("_last_obs", "_last_original_obs", "_last_episode_starts", "weights")


def capture(model: BaseAlgorithm) -> dict[str, Any]:
    """Capture what the model zip, the statistics and the replay buffer leave out.

    :param model: at a rollout boundary
    :return: nested JSON-ready values, arrays and tensors
    """
    return {
        "counters": {name: getattr(model, name) for name in COUNTERS if hasattr(model, name)},
        "tensors": {name: _copy(getattr(model, name)) for name in TENSORS if getattr(model, name, None) is not None},
        "lstm": _lstm_states(model),
        **({"search": model.search_state()} if hasattr(model, "search_state") else {}),
        "windows": {name: _window(getattr(model, name)) for name in ("ep_info_buffer", "ep_success_buffer")},
        "seconds": seconds_learning(model),
        "logger": _pending_records(model),
        "random": random_state(model),
        "noise": _noise_state(model.action_noise),
        "vector": vector_state(_env(model)),
        "environments": _env(model).env_method("episode_state"),
    }


def restore(model: BaseAlgorithm, state: Mapping[str, Any]) -> dict[int, str]:
    """Put back what `capture` gave, but for what `restore_at_boundary` does.

    :param model: with its parameters, optimisers and statistics already loaded
    :return: the environments that did not come back exactly, and why
    """
    for name, value in state["counters"].items():
        setattr(model, name, value)
    for name, value in state["tensors"].items():
        setattr(model, name, torch.as_tensor(value, device=model.device) if name == "weights" else value)
    if state["lstm"] is not None:
        pairs = [tuple(torch.as_tensor(part, device=model.device) for part in pair) for pair in state["lstm"]]
        model._last_lstm_states = type(model._last_lstm_states)(*pairs)  # type: ignore[attr-defined]
    if "search" in state:
        model.restore_search(state["search"])  # type: ignore[attr-defined]
    for name, window in state["windows"].items():
        setattr(model, name, deque(window["values"], window["length"]) if window["length"] else list(window["values"]))
    return _restore_environments(model, state)


def restore_at_boundary(model: BaseAlgorithm, state: Mapping[str, Any]) -> None:
    """Put back what the start of `learn` disturbs: the clock, pending records, action noise and random generators."""
    model.start_time = time.time_ns() - int(state["seconds"] * 1e9)
    model._num_timesteps_at_start = 0
    records = state["logger"]
    model.logger.name_to_value.update(records["values"])
    model.logger.name_to_count.update(records["counts"])
    model.logger.name_to_excluded.update({name: tuple(outputs) for name, outputs in records["excluded"].items()})
    _restore_noise(model.action_noise, state["noise"])
    _restore_random(model, state["random"])


def seconds_learning(model: BaseAlgorithm) -> float:
    """Give the wall time since learning began, the time between a stop and a resume left out."""
    return (time.time_ns() - model.start_time) / 1e9 if model.start_time else 0.0


def _env(model: BaseAlgorithm) -> VecEnv:
    assert model.env is not None
    return model.env


def _lstm_states(model: BaseAlgorithm) -> list[list[torch.Tensor]] | None:
    states = getattr(model, "_last_lstm_states", None)
    return None if states is None else [list(pair) for pair in states]


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(part) for key, part in value.items()}
    return value.clone() if isinstance(value, torch.Tensor) else np.array(value)


def _window(values: Any) -> dict[str, Any]:
    """Give the last episodes' results; ARS keeps a list of them instead of a window of fixed length."""
    plain = [dict(value) if isinstance(value, Mapping) else value for value in values or ()]
    return {"values": plain, "length": getattr(values, "maxlen", None)}


def _pending_records(model: BaseAlgorithm) -> dict[str, Any]:
    """Give what was recorded and not yet written: the losses of an update belong to the row of the next rollout."""
    logger = model.logger
    excluded = {
        name: [outputs] if isinstance(outputs, str) else list(outputs or ())
        for name, outputs in logger.name_to_excluded.items()
    }
    return {"values": dict(logger.name_to_value), "counts": dict(logger.name_to_count), "excluded": excluded}


def random_state(model: BaseAlgorithm) -> dict[str, Any]:
    """Give the states of all random generators that a training draws from."""
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002
    return {
        "python": list(random.getstate()),
        "numpy": numpy_state,
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "actions": [space.np_random.bit_generator.state for space in _spaces_within(model.action_space)],
    }


def _restore_random(model: BaseAlgorithm, state: Mapping[str, Any]) -> None:
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(state["numpy"])  # noqa: NPY002
    torch.set_rng_state(torch.as_tensor(state["torch"]))
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([torch.as_tensor(one) for one in state["cuda"]])
    for space, generator in zip(_spaces_within(model.action_space), state["actions"], strict=True):
        space.np_random.bit_generator.state = generator


def _spaces_within(space: spaces.Space[Any]) -> Iterator[spaces.Space[Any]]:
    """Yield a space and, of a composed one, its parts: each has a generator of its own."""
    yield space
    parts: Any = space.spaces if isinstance(space, (spaces.Dict, spaces.Tuple)) else ()
    for part in parts.values() if isinstance(parts, dict) else parts:
        yield from _spaces_within(part)


def _noise_state(noise: ActionNoise | None) -> Any:
    if isinstance(noise, VectorizedActionNoise):
        return [_noise_state(one) for one in noise.noises]
    return np.array(noise.noise_prev) if isinstance(noise, OrnsteinUhlenbeckActionNoise) else None


def _restore_noise(noise: ActionNoise | None, state: Any) -> None:
    if isinstance(noise, VectorizedActionNoise):
        for one, part in zip(noise.noises, state, strict=True):
            _restore_noise(one, part)
    elif isinstance(noise, OrnsteinUhlenbeckActionNoise):
        noise.noise_prev = np.array(state)


def _layers(env: VecEnv) -> Iterator[VecEnv]:
    """Yield a vector environment's wrappers from the outermost to the environment itself."""
    yield env
    while isinstance(env, VecEnvWrapper):
        env = env.venv
        yield env


def vector_state(env: VecEnv) -> dict[str, Any]:
    """Give the state of the wrappers around the environments, statistics apart."""
    state: dict[str, Any] = {"stack": None, "normalization": None}
    for layer in _layers(env):
        if isinstance(layer, VecFrameStack):
            state["stack"] = {key: np.array(one.stacked_obs) for key, one in _stacks(layer).items()}
        elif isinstance(layer, VecNormalize):
            state["normalization"] = {
                "returns": np.array(layer.returns),
                "old_obs": _copy(layer.old_obs),
                "old_reward": _copy(layer.old_reward),
            }
    return state


def _stacks(layer: VecFrameStack) -> dict[str, Any]:
    stack = layer.stacked_obs
    return getattr(stack, "sub_stacked_observations", None) or {"": stack}


def _restore_vector(env: VecEnv, state: Mapping[str, Any]) -> None:
    for layer in _layers(env):
        if isinstance(layer, VecFrameStack):
            for key, one in _stacks(layer).items():
                one.stacked_obs = state["stack"][key]
        elif isinstance(layer, VecNormalize):
            for name, value in state["normalization"].items():
                setattr(layer, name, value)


def _restore_environments(model: BaseAlgorithm, state: Mapping[str, Any]) -> dict[int, str]:
    """Replay the open episodes; if one does not come back, all start a new episode, which the model is told."""
    env = _env(model)
    failed: dict[int, str] = {}
    for index, episode in enumerate(state["environments"]):
        (reason,) = env.env_method("restore_episode", episode, indices=index)
        if reason is not None:
            failed[index] = reason
    for layer in _layers(env):
        layer._reset_seeds()  # building the model left seeds there, which the next reset would use
    if failed:
        _start_new_episodes(model)
    else:
        _restore_vector(env, state["vector"])
    return failed


def _start_new_episodes(model: BaseAlgorithm) -> None:
    env = _env(model)
    model._last_obs = env.reset()  # type: ignore[assignment]
    model._last_episode_starts = np.ones(env.num_envs, dtype=bool)
    normalization = model.get_vec_normalize_env()
    if normalization is not None:
        model._last_original_obs = normalization.get_original_obs()
