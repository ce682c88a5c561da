"""``--auto-resume``: find the run that the same command line has begun before."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rl_baselines.config import RunConfig, changed, from_flat, to_flat
from rl_baselines.config_files import read_settings
from rl_baselines.errors import UsageError
from rl_baselines.representations import SETTING, identity_of, with_own_copy
from rl_baselines.run_folder import RunFolder, find_runs, short


@dataclass(frozen=True)
class Matches:
    """Runs of the same configuration, the newest first.

    :param unfinished: that can be resumed
    :param finished: with nothing left to do
    :param empty: that have no checkpoint to go on from
    :param other_horizon: that differ only in their number of timesteps
    """

    unfinished: list[RunFolder] = field(default_factory=list)
    finished: list[RunFolder] = field(default_factory=list)
    empty: list[RunFolder] = field(default_factory=list)
    other_horizon: list[RunFolder] = field(default_factory=list)


def find_matches(config: RunConfig, log_dir: Path) -> Matches:
    """Find the runs of a configuration under a log folder.

    :param config: resolved
    :raises UsageError: when one of them is being trained now
    """
    matches = Matches()
    for folder in _newest_first(log_dir):
        theirs = _config_of(folder)
        if theirs is None or _text(_without_horizon(theirs)) != _text(_without_horizon(config)):
            continue
        if _text(theirs) != _text(config):
            matches.other_horizon.append(folder)
            continue
        if folder.is_locked():
            raise UsageError(
                f"{short(folder.path)} is this very run and is being trained now: wait for it or stop it; without "
                "--auto-resume a second one begins"
            )
        if folder.read_record().get("status") == "finished":
            matches.finished.append(folder)
        elif any(checkpoint.can_be_resumed() for checkpoint in folder.checkpoint_folders()):
            matches.unfinished.append(folder)
        else:
            matches.empty.append(folder)
    return matches


def describe_fresh_start(matches: Matches) -> Iterator[str]:
    """Yield in words why nothing is resumed, where that may surprise."""
    for folder in matches.empty:
        yield f"{short(folder.path)} has no checkpoint that can be resumed: another run begins"
    for folder in matches.other_horizon[:1]:
        yield (
            f"{short(folder.path)} differs only in --num-timesteps; to give it another horizon: "
            f"--resume {short(folder.path)} --num-timesteps N"
        )


def _newest_first(log_dir: Path) -> list[RunFolder]:
    readable = [folder for folder in find_runs(log_dir) if _started(folder)]
    return sorted(readable, key=_started, reverse=True)


def _started(folder: RunFolder) -> str:
    try:
        return str(folder.read_record().get("started", ""))
    except UsageError:
        return ""


def _config_of(folder: RunFolder) -> RunConfig | None:
    try:
        return from_flat(with_own_copy(read_settings(str(folder.config)), folder.path))
    except UsageError:  # of another version, or torn: not a run to continue
        return None


def _without_horizon(config: RunConfig) -> RunConfig:
    return changed(config, num_timesteps=1)


def _text(config: RunConfig) -> str:
    """Give a configuration as text that is the same for the same run: its encoder by the weights, not by the place."""
    settings = to_flat(config)
    if settings[SETTING] is not None:
        settings[SETTING] = identity_of(settings[SETTING])
    return json.dumps(settings, sort_keys=True, default=list)
