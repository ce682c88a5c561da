"""The replay buffer that Stable-Baselines3 or rl-zoo pickled, as plain arrays."""

from pathlib import Path
from typing import Any

import numpy as np

from rl_baselines.errors import UsageError
from rl_baselines.foreign.restricted_pickle import attributes_of, class_of, read_pickle

CLASSES = ("ReplayBuffer", "DictReplayBuffer", "HerReplayBuffer")
ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
NEEDED = {"observations", "actions", "rewards", "dones", "pos", "full"}


def read_replay_pickle(path: Path, trusted: bool = False) -> tuple[dict[str, np.ndarray], int, bool]:
    """Read a pickled replay buffer without running its code.

    :param trusted: load it as Python does
    :return: arrays (n_slots, n_envs, ...) by name, those of dictionaries as ``observations/key``; the slot that would
        be written next; and whether the slots from there on are filled too
    :raises UsageError: when it is torn, no such buffer, or of a version that kept whole episodes
    """
    buffer = read_pickle(path, str(path), trusted)
    kind, values = class_of(buffer), attributes_of(buffer)
    if kind not in CLASSES:
        raise UsageError(f"{path} holds a {kind}, no replay buffer: expected one of {', '.join(CLASSES)}")
    if missing := NEEDED - values.keys():
        raise UsageError(
            f"the replay buffer {path} lacks {', '.join(sorted(missing))}, so it is of a version that is not read: "
            "take one of Stable-Baselines3 2.0 or newer"
        )
    arrays = {name: _array(path, name, part) for name, part in _parts(values)}
    if len({array.shape[:2] for array in arrays.values()}) != 1:
        raise UsageError(f"the arrays of the replay buffer {path} are of different lengths")
    n_slots, position = len(arrays["rewards"]), values["pos"]
    if not isinstance(position, int) or not 0 <= position <= n_slots:
        raise UsageError(f"the replay buffer {path} has {n_slots} slots, and its position is {position!r}")
    return arrays, position, bool(values["full"])


def _parts(values: dict[str, Any]) -> list[tuple[str, Any]]:
    named: list[tuple[str, Any]] = []
    for name in ARRAYS:
        value = values.get(name)
        if isinstance(value, dict):
            named += [(f"{name}/{key}", part) for key, part in value.items()]
        elif value is not None:
            named.append((name, value))
    return named


def _array(path: Path, name: str, value: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.hasobject or value.ndim < 2:
        raise UsageError(f"the replay buffer {path}: {name} is no array of numbers by slot and environment")
    return value.view(np.ndarray)
