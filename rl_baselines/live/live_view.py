"""Lets a training tell its watchers what happens. Nothing of it alters the training."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path as FilePath
from typing import Any

import numpy as np
from PIL import Image
from stable_baselines3.common.logger import KVWriter

from rl_baselines.evaluation import EvaluationResult
from rl_baselines.evaluations_file import task_figures
from rl_baselines.live.events import Event, Path, Picture, Scalars, Watcher
from rl_baselines.live.history import comparison_events, parent_events, series_events, settings_event
from rl_baselines.live.panels import EPISODE_REWARD, EVALUATION
from rl_baselines.live.writer import VisdomWriter
from rl_baselines.run_folder import RunFolder
from rl_baselines.training import TrainingRun
from rl_baselines.watched_episode import Watched


class LiveView:
    """What a training tells its watchers.

    :param writer: that shows it in the browser; None where it is not to be seen
    :param trackers: told too
    """

    def __init__(self, writer: VisdomWriter | None, trackers: Sequence[Watcher] = ()) -> None:
        self._writer = writer
        self._watchers: tuple[Watcher, ...] = (*([writer] if writer is not None else []), *trackers)

    @property
    def lacks_server(self) -> bool:
        """Whether the run was to be seen in the browser and could not be."""
        return self._writer is not None and not self._writer.has_server

    def put(self, event: Event) -> None:
        """Tell all watchers."""
        for watcher in self._watchers:
            watcher.put(event)

    def attach(self, run: TrainingRun) -> None:
        """Tell what is known of a run so far, and from now on all that happens in it."""
        if not self._watchers:
            return
        played = 0
        for event in (*parent_events(run.record), *settings_event(run.folder), *series_events(run.folder)):
            if isinstance(event, Scalars) and EPISODE_REWARD in event.values:
                played = event.timesteps
            if self._writer is not None:  # a tracker knows what it was told by an earlier process
                self._writer.put(event)
        model: Any = run.model
        model.logger.output_formats.append(_LogOutput(self.put))
        model.on_episode = _Episodes(self.put, played)
        if run.evaluation is not None:
            run.evaluation.on_result = _Evaluations(self.put, run)
        if run.task_evaluation is not None:
            run.task_evaluation.on_results = lambda results: self._show_tasks(run.model.num_timesteps, results)

    def _show_tasks(self, timesteps: int, results: Mapping[str, EvaluationResult]) -> None:
        """Tell the figures of an evaluation on several tasks."""
        known = {name: float(value) for name, value in task_figures(results).items() if value is not None}
        self.put(Scalars(timesteps, {EVALUATION + name: value for name, value in known.items()}))

    def show_comparisons(self, run: TrainingRun) -> None:
        """Tell what the evaluations before and after a fine-tune gave."""
        for event in comparison_events({name: result.summary() for name, result in run.comparisons.items()}):
            self.put(event)

    def close(self) -> None:
        """Hand on what is left."""
        for watcher in self._watchers:
            watcher.close()


class _LogOutput(KVWriter):
    """Tells the figures of Stable-Baselines3's logger; evaluations are told when they happen."""

    def __init__(self, put: Callable[[Event], None]) -> None:
        self._put = put

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Tell the figures of one dump."""
        figures = {
            name: float(value)
            for name, value in key_values.items()
            if isinstance(value, int | float | np.number) and not name.startswith(EVALUATION)
        }
        self._put(Scalars(step, figures))

    def close(self) -> None:
        """Leave the watchers open: what comes after the training is told too."""


class _Episodes:
    """Tells the rewards of training episodes, at the steps of all the episodes that have ended."""

    def __init__(self, put: Callable[[Event], None], timesteps: int) -> None:
        self._put, self._timesteps = put, timesteps

    def __call__(self, episode: Mapping[str, Any]) -> None:
        """Tell of an episode."""
        self._timesteps += int(episode["l"])
        self._put(Scalars(self._timesteps, {EPISODE_REWARD: float(episode["r"])}))


class _Evaluations:
    """Tells the figures of evaluations, and what was seen of an episode, which is stored too."""

    def __init__(self, put: Callable[[Event], None], run: TrainingRun) -> None:
        self._put, self._run = put, run

    def __call__(self, result: EvaluationResult, watched: Watched | None) -> None:
        """Tell of an evaluation."""
        timesteps = self._run.model.num_timesteps
        known = {name: value for name, value in result.summary().items() if value is not None}
        self._put(Scalars(timesteps, {EVALUATION + name: float(value) for name, value in known.items()}))
        if watched is None:
            return
        path = Path(timesteps, _from_above(watched.points), _from_above(watched.target[None]))
        picture = Picture(timesteps, watched.pixels)
        self._put(path)
        self._put(picture)
        with suppress(OSError):  # it is not worth a training
            _store(path, picture, self._run.folder)


def _from_above(points: np.ndarray) -> np.ndarray:
    """Give x and y of points; y is 0 where a robot moves along a line."""
    return np.pad(points[:, :2], ((0, 0), (0, max(0, 2 - points.shape[1]))))


def _store(path: Path, picture: Picture, folder: RunFolder) -> None:
    aside = FilePath(f"{folder.watched_picture}.tmp")
    Image.fromarray(picture.pixels).save(aside, "png")
    aside.replace(folder.watched_picture)
    told = {"timesteps": path.timesteps, "points": path.points.tolist(), "targets": path.targets.tolist()}
    aside = FilePath(f"{folder.watched_path}.tmp")
    aside.write_text(json.dumps(told))
    aside.replace(folder.watched_path)
