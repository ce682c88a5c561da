"""How many training episodes a run had finished at each of its checkpoints, from the records of its episodes."""

import csv
from itertools import accumulate
from pathlib import Path

from rl_baselines.errors import UsageError
from rl_baselines.run_folder import RunFolder


def checkpoint_after(run: RunFolder, episode: int) -> int:
    """Give the timesteps of the last checkpoint that was saved before more than some training episodes had ended.

    :param episode: number of training episodes
    :raises UsageError: when there is no such checkpoint
    """
    lengths = [_episode_lengths(path) for path in sorted(run.monitor.glob("*.csv"))]
    finished = {c.timesteps: _n_finished(lengths, c.timesteps) for c in run.all_checkpoints()}
    steps = [timesteps for timesteps, n_episodes in finished.items() if n_episodes <= episode]
    if not steps:
        there = ", ".join(f"{n_episodes}" for n_episodes in finished.values()) or "none"
        raise UsageError(f"{run.path} has no checkpoint from before episode {episode}; it has some after: {there}")
    return max(steps)


def _n_finished(lengths: list[list[int]], timesteps: int) -> int:
    """Count the episodes that had ended when all environments together had made some steps.

    :param lengths: of the episodes of each environment, in steps
    """
    n_steps = timesteps // max(1, len(lengths))
    return sum(end <= n_steps for one in lengths for end in accumulate(one))


def _episode_lengths(path: Path) -> list[int]:
    with open(path, newline="") as file:
        next(file)  # a comment
        return [int(row["l"]) for row in csv.DictReader(file)]
