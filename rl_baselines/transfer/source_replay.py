"""The replay buffer that was saved with a source, if any."""

from rl_baselines.checkpoint import Checkpoint
from rl_baselines.replay_chunks import read_slots
from rl_baselines.sources import Source
from rl_baselines.state_files import read_state
from rl_baselines.transfer.transitions import Transitions


def has_replay(source: Source) -> bool:
    """Tell whether a replay buffer was saved with a source, and not before it held anything."""
    checkpoint = _checkpoint(source)
    if checkpoint is not None:
        return any(checkpoint.replay.glob("*.npz"))
    return source.replay_pickle is not None


def read_replay(source: Source) -> Transitions:
    """Read a source's replay buffer; nothing is unpickled but inert records with arrays.

    :param source: one that has one
    :raises UsageError: when it cannot be read
    """
    checkpoint = _checkpoint(source)
    if checkpoint is None:
        arrays, pos, full = source.read_replay_pickle()
        return Transitions.from_slots(arrays, pos, full)
    description = read_state(checkpoint.state)["replay"]
    slots = read_slots(checkpoint.replay, description)
    return Transitions.from_slots(slots, description["pos"], description["full"])


def _checkpoint(source: Source) -> Checkpoint | None:
    checkpoint = Checkpoint(source.model.parent) if source.run is not None else None
    return checkpoint if checkpoint is not None and checkpoint.can_be_resumed() else None
