"""What the live view learns from environment variables, and nothing else."""

import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Credentials:
    """Name and password of a user of a visdom server."""

    user: str
    password: str = field(repr=False)


def cache_folder() -> Path:
    """Give the folder of the page, the servers' records and what they show: ``RL_BASELINES_CACHE``, or the user's."""
    own = os.environ.get("RL_BASELINES_CACHE")
    shared = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own).absolute() if own else Path(shared).absolute() / "rl-baselines" / "live"


def credentials() -> Credentials | None:
    """Give ``VISDOM_USERNAME`` and ``VISDOM_PASSWORD``, where both are set; a flag would be recorded with the run."""
    user, password = os.environ.get("VISDOM_USERNAME"), os.environ.get("VISDOM_PASSWORD")
    return Credentials(user, password) if user and password else None


def is_ci() -> bool:
    """Tell whether this is a run of continuous integration, where nobody watches."""
    return bool(os.environ.get("CI"))
