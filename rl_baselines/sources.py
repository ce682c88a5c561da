"""What ``--load-rl-model-path`` and the commands that take a RUN can name, and what it resolves to."""

import hashlib
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from environments.names import nearest_match
from rl_baselines.algorithms import ALGORITHMS
from rl_baselines.checkpoint import MANIFEST_NAME, MODEL_NAME, Checkpoint
from rl_baselines.config import check_settings
from rl_baselines.config_files import read_settings
from rl_baselines.errors import UsageError
from rl_baselines.foreign.replay import read_replay_pickle
from rl_baselines.foreign.zip_algorithm import identify_algorithm
from rl_baselines.foreign.zoo_folder import (
    CONFIG,
    REPLAY,
    STATISTICS,
    ZooFolder,
    find_statistics,
    zoo_folder,
    zoo_folder_of,
)
from rl_baselines.foreign.zoo_settings import initial_rate_of, normalization_of
from rl_baselines.model_zip import ModelZip, plain_fields, read_model_zip
from rl_baselines.normalization import JSON_NAME, read_statistics, read_statistics_pickle
from rl_baselines.representations import with_own_copy
from rl_baselines.run_folder import RunFolder, is_run_folder, newest_run, short


@dataclass(frozen=True)
class Source:
    """A saved model and all that is known about where it comes from.

    :param model: the model zip
    :param selection: which of a run's models it is, in words; empty for a lone zip
    :param run: the run it belongs to, if any
    :param zoo: the folder of rl-zoo it belongs to, if any
    :param trusted: whether its pickled objects may be loaded, whatever that runs
    """

    model: Path
    selection: str = ""
    run: RunFolder | None = None
    zoo: ZooFolder | None = None
    trusted: bool = False

    def __str__(self) -> str:
        shown = short(Path(self.path))
        return f"{shown} ({self.selection})" if self.selection else shown

    @property
    def path(self) -> str:
        """What names exactly this model again: its checkpoint folder, or the zip."""
        return str(self.model.parent if self.run is not None else self.model)

    @cached_property
    def content(self) -> ModelZip:
        """The model zip, read."""
        return read_model_zip(self.model)

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """What the zip tells about the model in plain values."""
        return plain_fields(self.content.fields, self.trusted)

    @cached_property
    def settings(self) -> Mapping[str, Any] | None:
        """The complete settings it was trained with; None for a zip that is not ours."""
        if self.run is not None:
            return with_own_copy(read_settings(str(self.run.config)), self.model.parent, self.run.path)
        if "config" in self.content.origin:
            return with_own_copy(check_settings(self.content.origin["config"], str(self.model)), self.model.parent)
        return None

    @cached_property
    def run_id(self) -> str | None:
        """The run it was trained in; None for a zip that is not ours."""
        known = self.run.read_record().get("id") if self.run is not None else self.content.origin.get("run")
        return None if known is None else str(known)

    @cached_property
    def identity(self) -> str:
        """A name for its weights: the same wherever they are copied and whenever a run arrives at them again."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.content.parameters["policy"].items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def statistics(self) -> dict[str, Any] | None:
        """Normalization statistics saved beside the model.

        :raises UsageError: when the model was trained with normalization but they are missing
        """
        path = self.model.parent / JSON_NAME
        if path.is_file():
            return read_statistics(path)
        pickled = find_statistics(self.model) if self.zoo is None else self.zoo.statistics(self.model)
        if pickled is not None:
            return read_statistics_pickle(pickled, self.trusted)
        if self.settings is not None and (self.settings["norm_obs"] or self.settings["norm_reward"]):
            raise UsageError(
                f"{self.model} was trained on normalized observations and {JSON_NAME} is missing beside it: "
                "give its checkpoint folder, or put the file there"
            )
        if self.zoo is not None and any(normalization_of(self.zoo.config, CONFIG).values()):
            raise UsageError(
                f"{self.model} was trained on normalized observations or rewards ({CONFIG}) and {STATISTICS[0]} is "
                f"missing: put the file into {self.zoo.settings}"
            )
        return None

    @property
    def replay_pickle(self) -> Path | None:
        """The replay buffer that was pickled with a model that is not ours."""
        if self.run is not None:
            return None
        beside = self.model.parent / REPLAY
        return self.zoo.replay if self.zoo is not None else beside if beside.is_file() else None

    def read_replay_pickle(self) -> tuple[dict[str, np.ndarray], int, bool]:
        """Read that replay buffer; see `foreign_replay.read_replay_pickle`.

        :raises UsageError: when there is none, or it cannot be read
        """
        if self.replay_pickle is None:
            raise UsageError(f"{self} has no {REPLAY}")
        return read_replay_pickle(self.replay_pickle, self.trusted)

    @property
    def algorithm(self) -> str | None:
        """Name of the algorithm; None when the zip does not tell."""
        if self.settings is not None:
            return str(self.settings["algo"])
        told = identify_algorithm(self.content.fields)
        named = None if self.zoo is None else self.zoo.arguments.get("algo")
        return told or (named if isinstance(named, str) and named in ALGORITHMS else None)

    @property
    def timesteps(self) -> int:
        """Timesteps the model was trained in its own run."""
        if self.run is not None:
            return Checkpoint(self.model.parent).timesteps
        timesteps = self.content.fields.get("num_timesteps")
        return timesteps if isinstance(timesteps, int) else 0

    @property
    def root_learning_rate(self) -> float | None:
        """Initial learning rate of the oldest ancestor that was trained from scratch; None when unknown."""
        known = self.run.read_record() if self.run is not None else self.content.origin
        if "root_learning_rate" in known:
            rate = known["root_learning_rate"]
            return None if rate is None else float(rate)
        told = None if self.zoo is None else initial_rate_of(self.zoo.config)
        return told if told is not None else initial_rate_of(self.fields)


def resolve(text: str, log_dir: Path, trusted: bool = False) -> Source:
    """Find the model that a text names.

    :param text: ``latest``, a run folder, a checkpoint folder, a model zip or a folder of rl-zoo; runs and folders of
        rl-zoo may be followed by ``@best``, ``@last`` or ``@step:N``
    :param log_dir: where ``latest`` is looked for
    :param trusted: whether its pickled objects may be loaded, whatever that runs
    :raises UsageError: when there is no such model
    """
    return replace(_resolve(text, log_dir), trusted=trusted)


def _resolve(text: str, log_dir: Path) -> Source:
    zoo, selector = _find_zoo(text)
    if zoo is not None:
        model, selection = zoo.model(selector)
        return Source(model, selection, zoo=zoo)
    path, selector, run = _find_run(text, log_dir)
    if run is not None:
        return of_run(run, selector)
    if path.is_dir():
        return _from_folder(path)
    if path.is_file():
        return _from_file(path)
    if path.with_name(path.name + ".zip").is_file():
        return _from_file(path.with_name(path.name + ".zip"))
    raise UsageError(_missing(text, path))


def resolve_run(text: str, log_dir: Path) -> tuple[RunFolder, str]:
    """Find the run that a text names, and which of its models.

    :param text: as for `resolve`, but for what lies outside of a run
    :return: the run and ``best``, ``last``, ``step:N`` or nothing
    :raises UsageError: when there is no such run
    """
    path, selector, run = _find_run(text, log_dir)
    if run is not None:
        return run, selector
    if not path.exists():
        raise UsageError(_missing(text, path, "run"))
    parent = RunFolder(path.parent.parent)
    if path.parent == parent.checkpoints and path.name.isdigit() and is_run_folder(parent.path):
        return parent, f"step:{int(path.name)}"
    raise UsageError(f"{path} is not a run folder: it has no run.json")


def _find_zoo(text: str) -> tuple[ZooFolder | None, str]:
    name, _, selector = text.rpartition("@") if "@" in text and not Path(text).exists() else (text, "", "")
    path = Path(name).absolute()
    is_ours = is_run_folder(path) or (path / MANIFEST_NAME).is_file()
    return (None if is_ours else zoo_folder(path)), selector


def _find_run(text: str, log_dir: Path) -> tuple[Path, str, RunFolder | None]:
    name, at, selector = text.rpartition("@") if "@" in text and not Path(text).exists() else (text, "", "")
    path = Path(name).absolute()
    if name == "latest" and not path.exists():
        return path, selector, newest_run(log_dir)
    if is_run_folder(path):
        return path, selector, RunFolder(path)
    if at:
        raise UsageError(f"{name} is not a run folder, so @{selector} selects nothing there")
    return path, "", None


def of_run(run: RunFolder, selector: str) -> Source:
    """Give one of a run's models.

    :param selector: ``best``, ``last``, ``step:N``, or nothing for the best or else the last
    :raises UsageError: when there is no such model
    """
    found: Checkpoint | None
    if selector in ("", "best", "last"):
        found = run.pointed(selector or "best")
        if found is None and not selector:
            found, selector = run.pointed("last"), "last, no best yet"
    elif match := re.fullmatch(r"step:(\d+)", selector):
        steps = int(match.group(1))
        found = next((c for c in run.all_checkpoints() if c.timesteps == steps), None)
    else:
        raise UsageError(f"unknown selection @{selector}: expected @best, @last or @step:N")
    if found is None:
        there = ", ".join(str(c.timesteps) for c in run.all_checkpoints())
        if not there:
            raise UsageError(f"{run.path} has no complete checkpoint yet")
        raise UsageError(f"{run.path} has no checkpoint {selector!r}; complete checkpoints at steps: {there}")
    return Source(found.model, selector or "best", run)


def _from_folder(path: Path) -> Source:
    if (path / MANIFEST_NAME).is_file():
        checkpoint = Checkpoint(path)
        if not checkpoint.is_complete():
            raise UsageError(f"the checkpoint {path} is not complete: a file is missing or has another size")
        return _from_file(checkpoint.model)
    zips = sorted(entry.name for entry in path.glob("*.zip"))
    hint = f"; did you mean {path / zips[0]}?" if zips else ""
    raise UsageError(f"{path} is neither a run folder (no run.json) nor a checkpoint (no {MANIFEST_NAME}){hint}")


def _from_file(path: Path) -> Source:
    if not zipfile.is_zipfile(path):
        candidates = (path.with_suffix(".zip"), path.parent / MODEL_NAME)
        near = next((entry for entry in candidates if entry.is_file() and entry != path), None)
        if near is None and is_run_folder(path.parent):
            near = path.parent
        hint = f"; take {near}" if near else "; give a model zip, a checkpoint or a run folder"
        raise UsageError(f"{path} is not a complete zip file, so no Stable-Baselines3 model{hint}")
    real = path.resolve()
    run = real.parent.parent.parent
    if real.name == MODEL_NAME and (real.parent / MANIFEST_NAME).is_file() and is_run_folder(run):
        return Source(real, f"step {Checkpoint(real.parent).timesteps}", RunFolder(run))
    zoo = zoo_folder_of(real)
    return Source(path) if zoo is None else Source(real, zoo.selection(real), zoo=zoo)


def _missing(text: str, path: Path, what: str = "model") -> str:
    names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = nearest_match(path.name, names)
    hint = f"; did you mean {path.parent / near}?" if near else ""
    return f"there is no {what} at {text}{hint}"
