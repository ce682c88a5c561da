"""Which watchers a training has, and where it can be seen."""

import json
from collections.abc import Callable
from functools import partial

from rl_baselines.config import RunOptions, to_flat
from rl_baselines.errors import UsageError
from rl_baselines.live.connection import Address, check_port, is_visdom
from rl_baselines.live.events import Watcher
from rl_baselines.live.history import page_name
from rl_baselines.live.live_view import LiveView
from rl_baselines.live.servers import find_or_start
from rl_baselines.live.surroundings import is_ci
from rl_baselines.live.wandb_watcher import WandbWatcher, check_package
from rl_baselines.live.writer import VisdomWriter
from rl_baselines.training import TrainingRun


def check_view(options: RunOptions) -> None:
    """Refuse what cannot be shown, before anything is begun.

    :raises UsageError: for a port out of range, contradicting options, and a server elsewhere that does not answer
    """
    check_port(options.port)
    check_tracker(options)
    if options.vis_server is None:
        return
    if not options.vis:
        raise UsageError("--no-vis and --vis-server contradict each other; give one of them")
    address = Address.parse(options.vis_server)
    if not is_visdom(address):
        raise UsageError(f"no visdom server answers at --vis-server {address}; start it, or leave --vis-server out")


def check_tracker(options: RunOptions) -> None:
    """Refuse a tracker that is not installed.

    :raises UsageError: saying how to install it
    """
    if options.track == "wandb":
        check_package()


def is_watched(options: RunOptions) -> bool:
    """Tell whether a run is to be seen live: nobody watches where ``CI`` is set, unless a server is named."""
    return options.vis and (options.vis_server is not None or not is_ci())


def open_view(run: TrainingRun, announce: Callable[[str], None]) -> LiveView:
    """Give the view of a run, attached to it; one without watchers where it is not to be seen.

    :param announce: told in words why it cannot be seen, and when a server goes or comes back
    """
    writer, trackers = None, list[Watcher]()
    find_server = _server_finder(run.options, announce)
    if find_server is not None:
        page = page_name(run.folder)
        writer = VisdomWriter(find_server, page, announce, run.options.episode_window)
    if run.options.track == "wandb":
        settings = json.loads(json.dumps(to_flat(run.config)))
        trackers.append(
            WandbWatcher(
                run.folder.run_id, settings, run.folder.path, resumed=run.resumption is not None, announce=announce
            )
        )
    view = LiveView(writer, trackers)
    view.attach(run)
    return view


def _server_finder(options: RunOptions, announce: Callable[[str], None]) -> Callable[[], Address | None] | None:
    """Give what finds or starts the server, a matter of a second; None where the run is not to be seen."""
    if not is_watched(options):
        if options.vis:
            announce("live view: none, for the environment variable CI is set")
        return None
    if options.vis_server is not None:
        address = Address.parse(options.vis_server)
        return lambda: address
    return partial(find_or_start, options.port, announce)
