"""What the records of a run tell those who watch it: for a run that goes on, one that is over, or a parent."""

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

import numpy as np
from PIL import Image

from rl_baselines.evaluations_file import read_task_evaluations
from rl_baselines.live.events import Event, Matrix, Path, Picture, Scalars, Text
from rl_baselines.live.panels import EPISODE_REWARD, EVALUATION, PARENT
from rl_baselines.live.safety import safe_name
from rl_baselines.plots import read_episodes, read_evaluations
from rl_baselines.progress_file import FIRST_COLUMN, complete_rows
from rl_baselines.run_folder import RunFolder
from rl_baselines.run_record import parent_folder
from rl_baselines.transfer.before_and_after import AFTER_BEST, AFTER_LAST, BEFORE, CHILD_AT_HOME, PARENT_AT_HOME

SETTINGS = "Settings"
MAX_RUN_NAME = 180
OLD_ENV, NEW_ENV = "parent's environment", "new environment"


def page_name(folder: RunFolder) -> str:
    """Name the page of a run: a visdom environment has no levels, and runs of several log folders meet on a server."""
    digest = hashlib.sha256(str(folder.path).encode("utf-8", "surrogateescape")).hexdigest()
    return f"{safe_name(folder.run_id.replace('/', '_'))[:MAX_RUN_NAME]}_{digest[:4]}"


def events_of(folder: RunFolder) -> Iterator[Event]:
    """Yield all that the files of a run tell; what is not there, or torn, is left out."""
    try:
        record = folder.read_record()
    except (OSError, ValueError):
        record = {}
    yield from parent_events(record)
    yield from settings_event(folder)
    yield from series_events(folder)
    yield from watched_events(folder)
    yield from comparison_events(record.get("comparisons", {}))


def settings_event(folder: RunFolder) -> Iterator[Event]:
    """Yield the settings of a run."""
    if folder.config.is_file():
        yield Text(SETTINGS, folder.config.read_text(encoding="utf-8"))


def series_events(folder: RunFolder) -> Iterator[Scalars]:
    """Yield the figures of training, the evaluations and the training episodes of a run."""
    yield from _progress(folder.progress)
    for row in read_evaluations(folder.evaluations).to_dict("records"):
        timesteps = int(row.pop("timesteps"))
        yield Scalars(timesteps, {EVALUATION + str(name): value for name, value in row.items() if value == value})
    for timesteps, figures in read_task_evaluations(folder.evaluations):
        yield Scalars(timesteps, {EVALUATION + name: value for name, value in figures.items()})
    episodes = read_episodes(folder.monitor)
    for timesteps, reward in zip(episodes.timesteps.tolist(), episodes.rewards.tolist(), strict=True):
        yield Scalars(timesteps, {EPISODE_REWARD: reward})


def _progress(path: FilePath) -> Iterator[Scalars]:
    rows = csv.DictReader(row.decode() for row in complete_rows(path))
    for row in rows:
        figures = {name: _figure(cell) for name, cell in row.items() if cell and not name.startswith(EVALUATION)}
        timesteps = figures.pop(FIRST_COLUMN, None)
        if timesteps is not None:
            yield Scalars(int(timesteps), {name: value for name, value in figures.items() if value is not None})


def _figure(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def parent_events(record: Mapping[str, Any]) -> Iterator[Scalars]:
    """Yield the evaluations and episodes of the parent's run before the hand-over, at timesteps below 0.

    :param record: of the fine-tune
    """
    folder = parent_folder(record)
    if folder is None:
        return
    handed_over: int = record["parent"]["timesteps"]
    for event in series_events(folder):
        values = {
            PARENT + name: value
            for name, value in event.values.items()
            if name.startswith(EVALUATION) or name == EPISODE_REWARD
        }
        if values and event.timesteps <= handed_over:
            yield Scalars(event.timesteps - handed_over, values)


def comparison_events(comparisons: Mapping[str, Mapping[str, Any]]) -> Iterator[Matrix]:
    """Yield parent and child in the old and in the new environment, as far as they were measured.

    :param comparisons: summaries of evaluations by name, as ``run.json`` holds them
    """
    after = AFTER_BEST if AFTER_BEST in comparisons else AFTER_LAST
    cells = ((PARENT_AT_HOME, BEFORE), (CHILD_AT_HOME, after))
    for measure, unit in (("success_rate", "share of episodes"), ("mean_reward", "mean reward of an episode")):
        found = [[comparisons.get(name, {}).get(measure) for name in row] for row in cells]
        values = np.array([[np.nan if value is None else value for value in row] for row in found], dtype=np.float64)
        if np.isfinite(values).any():
            name = f"Parent and child: {'success' if measure == 'success_rate' else 'reward'}"
            yield Matrix(name, unit, ("parent", "child"), (OLD_ENV, NEW_ENV), values)


def watched_events(folder: RunFolder) -> Iterator[Event]:
    """Yield where the robot went in the last evaluation, and the picture of the end."""
    try:
        told = json.loads(folder.watched_path.read_text())
        points, targets = (np.array(told[name], dtype=np.float64).reshape(-1, 2) for name in ("points", "targets"))
        with Image.open(folder.watched_picture) as image:
            pixels = np.array(image.convert("RGB"))
    except (OSError, ValueError, KeyError):
        return
    yield Path(told["timesteps"], points, targets)
    yield Picture(told["timesteps"], pixels)
