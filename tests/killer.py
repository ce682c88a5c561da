"""Imported with ``--gym-packages killer``: kill -9 for the training process at the step of an environment that the
variable KILL_AT_STEP names, counted over all training environments of a process."""

import multiprocessing
import os
import signal
from typing import Any

from stable_baselines3.common.monitor import Monitor

from rl_baselines.episode_seeds import EpisodeSeeds

n_steps = 0
step = EpisodeSeeds.step


def step_or_kill(self: EpisodeSeeds, action: Any) -> Any:
    global n_steps
    monitor = self.env
    if isinstance(monitor, Monitor) and monitor.results_writer is not None:  # a training environment
        n_steps += 1
        if n_steps == int(os.environ["KILL_AT_STEP"]):
            os.kill(os.getppid() if multiprocessing.parent_process() else os.getpid(), signal.SIGKILL)
    return step(self, action)


if "KILL_AT_STEP" in os.environ:
    EpisodeSeeds.step = step_or_kill  # type: ignore[method-assign]
