"""Shows runs again from their records: finished ones, crashed ones, and those of a machine that nobody watched."""

from collections.abc import Callable, Sequence

from rl_baselines.errors import UsageError
from rl_baselines.live.connection import Address, compare_url, page_name
from rl_baselines.live.history import events_of
from rl_baselines.live.writer import VisdomWriter
from rl_baselines.run_folder import RunFolder


def show(runs: Sequence[RunFolder], address: Address, announce: Callable[[str], None]) -> None:
    """Send all that the files of some runs tell, and say where it can be seen.

    :param address: of a visdom server
    :raises UsageError: when the server does not take it
    """
    for run in runs:
        said: list[str] = []
        options = run.read_record().get("options", {})
        writer = VisdomWriter(lambda: address, page_name(run.run_id), said.append, options.get("episode_window", 40))
        for event in events_of(run):
            writer.put(event)
        writer.close()
        if len(said) > 1:
            raise UsageError(f"{run.run_id} could not be shown: {said[1]}")
        announce(said[0])
    if len(runs) > 1:
        announce(f"compare them: {compare_url(address, [page_name(run.run_id) for run in runs])}")
