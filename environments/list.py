"""``python -m environments.list``: the table of our environments, and what random and trained policies reach there."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gymnasium import spaces

from environments.environment_row import EnvironmentRow
from environments.registry import ENVIRONMENTS

SCORES = Path(__file__).parent / "scores.json"
"""Measured mean returns: environment, task, then ``random`` or the name of a preset."""
DESCRIPTION = "List our environments: robot, tasks, actions, observations, and what random and trained policies reach."
ACTION_MODES: tuple[dict[str, object], ...] = (
    {"is_discrete": True},
    {"is_discrete": False},
    {"is_discrete": False, "action_joints": True},
)


@dataclass(frozen=True)
class Listed:
    """One task of one environment.

    :param env_id: the id under which Gymnasium knows it
    :param task: what the argument ``task`` calls it
    :param robot: what acts
    :param actions: the action spaces that it can be asked for, in words
    :param observations: the observation kinds
    :param n_steps: steps of an episode that nothing ends before its time
    :param scores: mean returns by policy: ``mean``, ``half_width`` of its 95 % interval, ``n`` episodes or runs
    """

    env_id: str
    task: str
    robot: str
    actions: tuple[str, ...]
    observations: tuple[str, ...]
    n_steps: int
    scores: dict[str, dict[str, Any]]


def listed() -> Iterator[Listed]:
    """Yield every task of every environment; none is built for that."""
    scores = json.loads(SCORES.read_text(encoding="utf-8"))
    for row in ENVIRONMENTS.values():
        for task in row.tasks:
            yield Listed(
                env_id=row.env_id,
                task=task,
                robot=row.robot.__name__,
                actions=tuple(_action_texts(row)),
                observations=row.observations,
                n_steps=_episode_length(row, task),
                scores=scores.get(row.env_id, {}).get(task, {}),
            )


def _action_texts(row: EnvironmentRow) -> Iterator[str]:
    for kwargs in ACTION_MODES:
        if kwargs.get("action_joints") and not row.robot.joint_names:
            continue
        settings = row.settings(kwargs)
        space = row.robot(settings.options, settings.robot).action_space
        if isinstance(space, spaces.Discrete):
            yield f"{space.n} discrete"
        else:
            assert space.shape is not None
            yield f"{space.shape[0]} {'joints' if kwargs.get('action_joints') else 'continuous'}"


def _episode_length(row: EnvironmentRow, task: str) -> int:
    """Give the environment steps until the physics steps exceed their limit."""
    defaults = row.option_defaults(task)
    return -(-(defaults["max_steps"] + 1) // defaults["action_repeat"])  # rounded up


def score_text(score: dict[str, Any]) -> str:
    """Give a mean return with the interval of 95 %, to the digit that the interval leaves certain.

    :param score: as `Listed.scores` has it
    """
    digits = 0 if score["half_width"] >= 10 else 1 if score["half_width"] >= 1 else 2
    return f"{score['mean']:.{digits}f} ± {score['half_width']:.{digits}f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the command line; prints, and gives the exit code."""
    from rl_baselines.command_line import parse, run_command
    from rl_baselines.config import setting
    from rl_baselines.screen import make_console, show_table

    @dataclass(frozen=True)
    class ListOptions:
        """List"""

        json: bool = setting(False, "Print one JSON list on standard output.")

    def command(arguments: list[str]) -> int:
        options = ListOptions(**parse((ListOptions,), arguments, "python -m environments.list", DESCRIPTION))
        found = list(listed())
        if options.json:
            print(json.dumps([asdict(one) for one in found]))
            return 0
        header = ("environment and robot", "task", "actions", "observations", "steps", "mean return")
        show_table(make_console(), "Environments", _cells(found), header)
        print("steps: of an episode that nothing ends before its time; returns: see docs/environments.md")
        return 0

    return run_command(command, argv)


def _cells(found: Sequence[Listed]) -> Iterator[list[str]]:
    """Yield the cells of each row; what a task shares with the one before of the same environment is left out."""
    last = None
    for one in found:
        shared = [f"{one.env_id}\n  {one.robot}", "\n".join(one.actions), "\n".join(one.observations)]
        env_id, actions, observations = [""] * 3 if one.env_id == last else shared
        returns = "\n".join(f"{name} {score_text(score)}" for name, score in one.scores.items())
        yield [env_id, one.task, actions, observations, str(one.n_steps), returns or "not measured"]
        last = one.env_id


if __name__ == "__main__":
    sys.exit(main())
