"""Folders that rl-zoo leaves behind: zips, and beside them or in a subfolder the settings and the statistics.

``FOLDER/ENV.zip`` is the last model, ``FOLDER/best_model.zip`` the best one and ``FOLDER/rl_model_N_steps.zip`` that
of step N; ``config.yml``, ``args.yml`` and ``vecnormalize.pkl`` lie in ``FOLDER/ENV``, or beside the zips.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rl_baselines.errors import UsageError
from rl_baselines.foreign.zoo_values import read_zoo_file

CONFIG, ARGUMENTS, BEST, REPLAY = "config.yml", "args.yml", "best_model.zip", "replay_buffer.pkl"
STATISTICS = ("vecnormalize.pkl", "vec_normalize.pkl")
_STEP = re.compile(r"rl_model_(\d+)_steps\.zip")


@dataclass(frozen=True)
class ZooFolder:
    """A folder of rl-zoo.

    :param path: where the zips lie
    :param settings: where ``config.yml`` or ``args.yml`` lie
    """

    path: Path
    settings: Path

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The hyperparameters; empty where the file is missing."""
        return read_zoo_file(self.settings / CONFIG)

    @cached_property
    def arguments(self) -> Mapping[str, Any]:
        """The command's arguments; empty where the file is missing."""
        return read_zoo_file(self.settings / ARGUMENTS)

    @property
    def best(self) -> Path | None:
        """The best model."""
        return next((path for path in (self.path / BEST,) if path.is_file()), None)

    @property
    def last(self) -> Path | None:
        """The last model: the zip named like the folder of settings, or else the only one that is no other."""
        named = self.path / f"{self.settings.name}.zip"
        if self.settings != self.path and named.is_file():
            return named
        rest = [path for path in self.path.glob("*.zip") if path.name != BEST and not _STEP.fullmatch(path.name)]
        return rest[0] if len(rest) == 1 else None

    @property
    def steps(self) -> dict[int, Path]:
        """The models saved on the way, by their timesteps."""
        matches = {path: _STEP.fullmatch(path.name) for path in self.path.glob("*.zip")}
        return dict(sorted((int(match.group(1)), path) for path, match in matches.items() if match))

    def model(self, selector: str) -> tuple[Path, str]:
        """Give one of the models, and in words which it is.

        :param selector: ``best``, ``last``, ``step:N``, or nothing for the best or else the last
        :raises UsageError: when there is no such model
        """
        step = re.fullmatch(r"step:(\d+)", selector)
        if selector not in ("", "best", "last") and step is None:
            raise UsageError(f"unknown selection @{selector}: expected @best, @last or @step:N")
        if step is not None:
            found = self.steps.get(int(step.group(1)))
        else:
            found = {"best": self.best, "last": self.last}.get(selector, self.best or self.last)
        if found is not None:
            return found, selector or ("best" if found == self.best else "last, there is no best_model.zip")
        there = ", ".join(sorted(path.name for path in self.path.glob("*.zip")))
        raise UsageError(f"{self.path} has no model {selector or 'named like its settings'}; its zips: {there}")

    def selection(self, model: Path) -> str:
        """Tell in words which of the models a zip is."""
        step = _STEP.fullmatch(model.name)
        return f"step:{step.group(1)}" if step else "best" if model.name == BEST else "last"

    def statistics(self, model: Path) -> Path | None:
        """Give the file of a model's normalization statistics: its own, or else those of the end of training."""
        return find_statistics(model) or next(
            (self.settings / name for name in STATISTICS if (self.settings / name).is_file()), None
        )

    @property
    def replay(self) -> Path | None:
        """The file of the replay buffer."""
        return next((path / REPLAY for path in (self.path, self.settings) if (path / REPLAY).is_file()), None)


def find_statistics(model: Path) -> Path | None:
    """Give the pickled statistics that lie beside a zip."""
    step = _STEP.fullmatch(model.name)
    own = (f"rl_model_vecnormalize_{step.group(1)}_steps.pkl",) if step else ()
    return next((model.parent / name for name in (*own, *STATISTICS) if (model.parent / name).is_file()), None)


def zoo_folder(path: Path) -> ZooFolder | None:
    """Give the folder of rl-zoo that a path names; None when it is no such folder."""
    if not path.is_dir() or not any(path.glob("*.zip")):
        return None
    holders = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and _holds_settings(folder)]
    named = [folder for folder in holders if (path / f"{folder.name}.zip").is_file()]
    if len(named) == 1 or len(holders) == 1:
        return ZooFolder(path, (named or holders)[0])
    return ZooFolder(path, path) if _holds_settings(path) else None


def zoo_folder_of(model: Path) -> ZooFolder | None:
    """Give the folder of rl-zoo that a zip belongs to; None for a lone one."""
    own = model.with_suffix("")
    if own.is_dir() and _holds_settings(own):
        return ZooFolder(model.parent, own)
    return zoo_folder(model.parent)


def _holds_settings(folder: Path) -> bool:
    return (folder / CONFIG).is_file() or (folder / ARGUMENTS).is_file()
