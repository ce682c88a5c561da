"""Transitions taken from one replay buffer to another, whatever number of environments each was filled by.

The order within each environment is kept. Where a sequence is cut, its last transition is marked as truncated, which
leaves its learning target as it is: no sampling runs across the cut, and open episodes are closed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.her import HerReplayBuffer

from rl_baselines.errors import UsageError
from rl_baselines.replay_chunks import chunked_arrays


@dataclass(frozen=True, eq=False)
class Transitions:
    """The content of a replay buffer in the order of time.

    :param arrays: (n_steps, n_envs, ...) by name: ``observations``, ``observations/key`` of dictionaries,
        ``next_observations``, ``actions``, ``rewards``, ``dones``, ``timeouts``
    """

    arrays: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        n_steps, n_envs = self.arrays["rewards"].shape[:2]
        return int(n_steps * n_envs)

    @classmethod
    def from_slots(cls, arrays: Mapping[str, np.ndarray], pos: int, full: bool) -> "Transitions":
        """Take the arrays of a ring buffer.

        :param arrays: a row per slot; without ``timeouts`` none was truncated
        :param pos: the slot that would be written next
        :param full: whether slots from there on are filled, with older transitions
        :raises UsageError: when the arrays do not go together
        """
        ordered = {name: np.roll(array, -pos, axis=0) if full else array[:pos] for name, array in arrays.items()}
        ordered.setdefault("timeouts", np.zeros_like(ordered["dones"]))
        if len({array.shape[:2] for array in ordered.values()}) != 1:
            raise UsageError("the arrays of the replay buffer are of different lengths")
        return cls(ordered)

    def dealt_to(self, n_envs: int, n_slots: int) -> dict[str, np.ndarray]:
        """Give the newest transitions for a buffer of another shape, cut sequences marked: (n_rows, n_envs, ...).

        :param n_slots: rows that there are at most
        """
        n_steps, n_old = self.arrays["rewards"].shape[:2]
        kept, n_rows = self._n_rows(n_envs, n_slots)
        n_dropped = kept * n_old - n_rows * n_envs
        ends = np.arange(kept - 1, kept * n_old, kept) - n_dropped
        dealt = {name: _in_sequence(array[n_steps - kept :])[n_dropped:] for name, array in self.arrays.items()}
        dealt |= {name: dealt[name].copy() for name in ("dones", "timeouts")}
        cuts = np.unique(np.concatenate([ends[ends >= 0], np.arange(n_rows - 1, n_rows * n_envs, n_rows)]))
        open_cuts = cuts[dealt["dones"][cuts] == 0]
        dealt["dones"][open_cuts] = dealt["timeouts"][open_cuts] = 1
        return {name: array.reshape(n_envs, n_rows, *array.shape[1:]).swapaxes(0, 1) for name, array in dealt.items()}

    def has_rows_for(self, n_envs: int, n_slots: int) -> bool:
        """Tell whether there is anything to deal to a buffer of another shape."""
        return self._n_rows(n_envs, n_slots)[1] > 0

    def _n_rows(self, n_envs: int, n_slots: int) -> tuple[int, int]:
        """Give how many of the newest rows are dealt, and to how many."""
        n_steps, n_old = self.arrays["rewards"].shape[:2]
        kept = min(n_steps, n_slots * n_envs // n_old)
        return kept, kept * n_old // n_envs


def _in_sequence(array: np.ndarray) -> np.ndarray:
    """Put the environments' sequences one after the other: (n_steps * n_envs, ...)."""
    return array.swapaxes(0, 1).reshape(-1, *array.shape[2:])


def find_obstacle(buffer: ReplayBuffer, transitions: Transitions) -> str | None:
    """Say why transitions cannot be put into a buffer, or give None."""
    if buffer.optimize_memory_usage:
        return "this run's buffer keeps no next observations (optimize_memory_usage)"
    own, theirs = chunked_arrays(buffer), transitions.arrays
    if not any(name.startswith("next_observations") for name in theirs):
        return "it keeps no next observations (optimize_memory_usage)"
    for name in sorted({*own, *theirs} - {"timeouts"}):
        kinds = [_kind(side.get(name)) for side in (theirs, own)]
        if kinds[0] != kinds[1]:
            return f"its {name} are {kinds[0]}, here {kinds[1]}"
    if not transitions.has_rows_for(buffer.n_envs, buffer.buffer_size):
        n_old = theirs["rewards"].shape[1]
        none = f"of its {len(transitions)} transitions, those of {n_old} environments, none can be dealt to"
        return f"{none} {buffer.n_envs} here"
    return None


def _kind(array: np.ndarray | None) -> str:
    """Say what an array holds for each transition; numbers of another precision are of the same kind."""
    if array is None:
        return "absent"
    kinds = {"f": "fractions", "i": "whole numbers", "u": "bytes", "b": "truth values"}
    return f"{kinds.get(array.dtype.kind, str(array.dtype))} {array.shape[2:]}"


def fill(buffer: ReplayBuffer, transitions: Transitions) -> int:
    """Put the newest transitions that fit into an empty buffer, and give their number.

    :raises UsageError: when they do not fit
    """
    obstacle = find_obstacle(buffer, transitions)
    if obstacle is not None:
        raise UsageError(f"the replay buffer cannot be loaded: {obstacle}")
    dealt = transitions.dealt_to(buffer.n_envs, buffer.buffer_size)
    n_rows = len(dealt["rewards"])
    for name, array in chunked_arrays(buffer).items():
        array[:n_rows] = dealt[name]
    buffer.pos, buffer.full = n_rows % buffer.buffer_size, n_rows == buffer.buffer_size
    if isinstance(buffer, HerReplayBuffer):
        for env in range(buffer.n_envs):
            for start, end in _episodes(dealt["dones"][:, env]):
                buffer.ep_start[start:end, env], buffer.ep_length[start:end, env] = start, end - start
        buffer._current_ep_start[:] = buffer.pos
    return n_rows * buffer.n_envs


def _episodes(dones: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield begin and end of the episodes of one environment, the last of which is closed."""
    start = 0
    for last in np.flatnonzero(dones).tolist():
        yield start, last + 1
        start = last + 1


def empty_buffer_like(model: OffPolicyAlgorithm, n_slots: int) -> ReplayBuffer:
    """Build another replay buffer of the kind that a model has.

    :param n_slots: rows of it, one transition of each environment in a row
    """
    assert model.replay_buffer_class is not None
    options = dict(model.replay_buffer_kwargs)
    if issubclass(model.replay_buffer_class, HerReplayBuffer):
        options["env"] = model.env
    return model.replay_buffer_class(
        n_slots * model.n_envs,
        model.observation_space,
        model.action_space,
        device=model.device,
        n_envs=model.n_envs,
        optimize_memory_usage=model.optimize_memory_usage,
        **options,
    )


class MixedBatches:
    """Lets a model's batches come in part from a second buffer, which stays as it is.

    Until the model's own buffer has something to draw, all comes from there.

    :param model: its buffer's ``sample`` is replaced
    :param second: the other buffer
    :param share: of each batch that comes from it, in (0, 1)
    """

    def __init__(self, model: OffPolicyAlgorithm, second: ReplayBuffer, share: float) -> None:
        assert model.replay_buffer is not None
        self.own, self.second, self.share = model.replay_buffer, second, share
        self._sample_own = self.own.sample
        self.own.sample = self.sample  # type: ignore[method-assign]

    def sample(self, batch_size: int, env: Any = None) -> Any:
        """Draw a batch of both, in the form that the buffer's own ``sample`` has."""
        n_second = round(batch_size * self.share) if self._own_can_be_drawn() else batch_size
        batches = [self.second.sample(n_second, env=env)] if n_second else []
        if batch_size > n_second:
            batches.append(self._sample_own(batch_size - n_second, env=env))
        return batches[0] if len(batches) == 1 else type(batches[0])(*map(_joined, *batches))

    def _own_can_be_drawn(self) -> bool:
        if isinstance(self.own, HerReplayBuffer):
            return bool(np.any(self.own.ep_length > 0))
        return bool(self.own.size() > 0)


def _joined(one: Any, other: Any) -> Any:
    """Put one field of two batches together."""
    if one is None:
        return None
    if isinstance(one, Mapping):
        return {key: torch.cat([one[key], other[key]]) for key in one}
    return torch.cat([one, other])
