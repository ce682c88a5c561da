"""When checkpoints are saved during a training, and what goes into them."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize

from rl_baselines.callbacks import BestModel
from rl_baselines.checkpoint import (
    MODEL_NAME,
    REPLAY_NAME,
    SECOND_REPLAY_NAME,
    STATE_NAME,
    Checkpoint,
    StoredFile,
    save_checkpoint,
)
from rl_baselines.model_zip import write_model_zip
from rl_baselines.normalization import write_statistics
from rl_baselines.replay_chunks import ReplayChunks
from rl_baselines.representations import send_along
from rl_baselines.run_folder import RunFolder
from rl_baselines.state_files import write_state

MILESTONES = (0.1, 0.5, 1.0)
MAX_SECONDS_BETWEEN_CHECKPOINTS = 60.0


class CheckpointWriter:
    """Saves all of a training: the model, its statistics, the state that resuming needs, the replay buffer.

    :param model: what is trained
    :param origin: facts stored inside the model zip
    :param learning_rate: initial rate of the run
    :param capture: gives the state of everything else
    :param with_replay: whether the replay buffer is saved
    :param run_with_encoder: the folder of a run whose policy observes learnt states; None for others
    :ivar seconds: time spent here
    """

    def __init__(
        self,
        model: BaseAlgorithm,
        origin: Mapping[str, Any],
        learning_rate: float,
        capture: Callable[[], dict[str, Any]],
        with_replay: bool,
        run_with_encoder: Path | None = None,
    ) -> None:
        self.model, self.origin, self.learning_rate, self.capture = model, origin, learning_rate, capture
        self.replay = ReplayChunks(model.replay_buffer) if with_replay and hasattr(model, "replay_buffer") else None
        self.second: ReplayChunks | None = None
        self._run_with_encoder = run_with_encoder
        self.seconds = 0.0
        self._with_replay = with_replay
        self._replay_timesteps = 0

    def load_replay(self, checkpoint: Checkpoint, description: Mapping[str, Any] | None) -> bool:
        """Fill the replay buffer, also where it will not be saved again.

        :param description: as the state of the checkpoint has it
        :return: whether there was something to load
        """
        self._replay_timesteps = self.model.num_timesteps
        if description is None:
            return False
        chunks = self.replay or ReplayChunks(self.model.replay_buffer)  # type: ignore[attr-defined]
        chunks.load(checkpoint.replay, description)
        return True

    def keep_second(self, buffer: ReplayBuffer) -> None:
        """Save a second replay buffer too, one that does not change."""
        self.second = ReplayChunks(buffer) if self._with_replay else None

    def load_second(self, buffer: ReplayBuffer, checkpoint: Checkpoint, description: Mapping[str, Any]) -> None:
        """Fill the second replay buffer from a checkpoint, and save it from now on.

        :param description: as the state of the checkpoint has it
        """
        chunks = ReplayChunks(buffer)
        chunks.load(checkpoint.second_replay, description)
        self.second = chunks if self._with_replay else None

    def save(self, folder: Path, details: Mapping[str, Any], only_model: bool = False) -> Checkpoint:
        """Save a checkpoint of now.

        :param folder: of all checkpoints
        :param details: further entries of the manifest
        :param only_model: leave out what resuming needs besides the model and its statistics
        """
        began = time.perf_counter()
        write = self._write_model if only_model else self._write
        checkpoint = save_checkpoint(folder, self.model.num_timesteps, write, details)
        if not only_model:
            for chunks, place in ((self.replay, checkpoint.replay), (self.second, checkpoint.second_replay)):
                if chunks is not None:
                    chunks.rebase(place)
        self.seconds += time.perf_counter() - began
        return checkpoint

    def _write_model(self, folder: Path) -> dict[str, StoredFile]:
        write_model_zip(self.model, folder / MODEL_NAME, self.origin, self.learning_rate)
        statistics = self.model.get_vec_normalize_env()
        if isinstance(statistics, VecNormalize):
            write_statistics(statistics, folder)
        if self._run_with_encoder is not None:
            send_along(self._run_with_encoder, folder)
        return {}

    def _write(self, folder: Path) -> dict[str, StoredFile]:
        self._write_model(folder)
        state_folder = folder / STATE_NAME
        state_folder.mkdir()
        state = self.capture()
        files: dict[str, StoredFile] = {}
        done = self.model.num_timesteps
        rows_added = (done - self._replay_timesteps) // self.model.n_envs
        for name, chunks, n_rows in ((REPLAY_NAME, self.replay, rows_added), (SECOND_REPLAY_NAME, self.second, 0)):
            if chunks is None:
                continue
            (state_folder / name).mkdir()
            state[name], written = chunks.save(state_folder / name, n_rows)
            files |= {f"{STATE_NAME}/{name}/{file}": stored for file, stored in written.items()}
        self._replay_timesteps = done
        write_state(state_folder, state)
        return files


class Checkpointing:
    """Saves checkpoints: all of the training at an interval, at the milestones and at the end, and between those the
    model alone when it is the best so far, which may be often.

    It comes after everything else that happens at a boundary, so that a checkpoint holds the outcome of that too.

    :param interval: timesteps between two; None for a twentieth of the run, and at most a minute
    :param steps_planned: length of the run
    :param keep: how many of the newest stay; 0 keeps all
    """

    def __init__(
        self,
        writer: CheckpointWriter,
        folder: RunFolder,
        best: BestModel,
        interval: int | None,
        steps_planned: int,
        keep: int,
    ) -> None:
        self.writer, self.folder, self.best, self.keep = writer, folder, best, keep
        self.interval = interval or max(1, steps_planned // 20)
        self.max_seconds = MAX_SECONDS_BETWEEN_CHECKPOINTS if interval is None else float("inf")
        self._milestones = [int(steps_planned * share) for share in MILESTONES]
        self._saved_milestones: set[int] = set()
        self._last_timesteps, self._last_time = 0, time.monotonic()

    def at_boundary(self) -> None:
        """Save when it is time."""
        timesteps = self.writer.model.num_timesteps
        passed = any(self._last_timesteps < step <= timesteps for step in self._milestones)
        due = timesteps // self.interval > self._last_timesteps // self.interval
        late = time.monotonic() - self._last_time > self.max_seconds and timesteps > self._last_timesteps
        if passed or due or late:
            self.save()
        elif self.best.is_new:
            checkpoint = self.writer.save(self.folder.checkpoints, self._details(), only_model=True)
            self._point_best(checkpoint)

    def save(self) -> None:
        """Save all of the training now, let ``last`` name it, and delete what is no longer needed."""
        timesteps = self.writer.model.num_timesteps
        if any(self._last_timesteps < step <= timesteps for step in self._milestones):
            self._saved_milestones.add(timesteps)
        self._last_timesteps, self._last_time = timesteps, time.monotonic()
        checkpoint = self.writer.save(self.folder.checkpoints, self._details())
        self.folder.point("last", checkpoint)
        self._point_best(checkpoint)

    def _details(self) -> dict[str, Any]:
        score = {"best_by": self.best.rule, self.best.measure: self.best.score} if self.best.is_new else {}
        return {"score": score, "best": self.best.timesteps}

    def _point_best(self, checkpoint: Checkpoint) -> None:
        if self.best.is_new:
            self.folder.point("best", checkpoint)
            self.best.is_new = False
        self.folder.prune(self.keep, frozenset(self._saved_milestones))

    def state(self) -> dict[str, Any]:
        """Give what resuming needs."""
        return {"last_timesteps": self._last_timesteps, "milestones": sorted(self._saved_milestones)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._last_timesteps, self._saved_milestones = state["last_timesteps"], set(state["milestones"])
