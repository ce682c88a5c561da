"""``python -m rl_baselines.verify RUN``: train from one checkpoint to the next once more, and compare."""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_baselines.command_line import parse, run_command
from rl_baselines.config import setting

if TYPE_CHECKING:
    from rl_baselines.checkpoint import Checkpoint
    from rl_baselines.model_zip import ModelZip
    from rl_baselines.run_folder import RunFolder

EXIT_DIFFERS = 1
DESCRIPTION = (
    "Train from one checkpoint of a run to the next in this process, and compare what comes out with what was saved."
)


@dataclass(frozen=True)
class VerifyOptions:
    """Verify"""

    run: str = setting(
        "latest",
        "A run folder (its last two checkpoints), RUN@step:N (N and the one before), or latest.",
        positional=True,
    )
    log_dir: str = setting("logs", "Where latest is looked for.", metavar="FOLDER")


def neighbours(folder: "RunFolder", selection: str) -> "tuple[Checkpoint, Checkpoint]":
    """Give the checkpoint to verify and the one before it.

    :param selection: ``step:N``, ``last``, ``best``, or nothing for the last
    :raises UsageError: when there are no two, or one is damaged
    """
    from rl_baselines.checkpoint import Checkpoint
    from rl_baselines.errors import UsageError
    from rl_baselines.sources import of_run

    found = [one for one in folder.all_checkpoints() if one.can_be_resumed()]
    end = Checkpoint(of_run(folder, selection or "last").model.parent)
    earlier = [one for one in found if one.timesteps < end.timesteps]
    if not earlier or not end.can_be_resumed():
        raise UsageError(
            f"{folder.path} has no two checkpoints with the state of training up to step {end.timesteps}; "
            "--save-interval and --keep-checkpoints decide how many there are"
        )
    for checkpoint in (earlier[-1], end):
        if damage := checkpoint.damage():
            raise UsageError(f"the checkpoint {checkpoint.path} is damaged: {damage}")
    return earlier[-1], end


def train_again(folder: "RunFolder", begin: "Checkpoint", end: "Checkpoint", scratch: Path) -> "tuple[Checkpoint, str]":
    """Train from one checkpoint to the step of another in a copy of the run.

    :param scratch: an empty folder for the copy
    :return: the checkpoint that came out, and how exactly it could be done on this machine
    """
    from rl_baselines.beginnings import go_on
    from rl_baselines.callbacks import StopTraining
    from rl_baselines.config import RunOptions
    from rl_baselines.resuming import open_resumption, plan_resumption
    from rl_baselines.run_folder import RunFolder
    from rl_baselines.training import Outcome, TrainingRun

    copy = RunFolder(scratch.joinpath(*folder.path.parts[-4:]))
    copy.checkpoints.mkdir(parents=True)
    for path in (copy.monitor, copy.tensorboard, copy.plots):
        path.mkdir()
    for path in (folder.config, folder.record, folder.plan, folder.progress, folder.evaluations):
        if path.is_file():
            shutil.copy2(path, copy.path)
    shutil.copytree(begin.path, copy.checkpoint_at(begin.timesteps).path)

    class StopThere:
        """Ends the training at the step of the other checkpoint."""

        def __init__(self, run: TrainingRun) -> None:
            self.model = run.model

        def at_boundary(self) -> None:
            """Stop if it is there."""
            if self.model.num_timesteps >= end.timesteps:
                raise StopTraining("the step of the other checkpoint", can_go_on=True)

    resumption = open_resumption(str(copy.path), scratch)
    plan = plan_resumption(resumption, _horizon_of(end))
    run = go_on(resumption, plan, RunOptions(log_dir=str(scratch), save_interval=sys.maxsize, keep_checkpoints=0), ())
    outcome = Outcome()
    try:
        run.learn([StopThere(run)], outcome)
    finally:
        run.close(outcome)
    return copy.checkpoint_at(end.timesteps), resumption.verdict


def _horizon_of(checkpoint: "Checkpoint") -> int:
    from rl_baselines.state_files import read_state

    return int(read_state(checkpoint.state)["steps_planned"])


def compare(one: "Checkpoint", other: "Checkpoint") -> Iterator[tuple[str, str | None]]:
    """Yield every component with the first place where two checkpoints differ in it, None where they do not."""
    from rl_baselines.model_zip import read_model_zip
    from rl_baselines.normalization import JSON_NAME
    from rl_baselines.state_files import first_difference, read_state

    def difference(parts: Callable[["Checkpoint"], Any]) -> str | None:
        return first_difference(parts(one), parts(other))

    zips = {checkpoint.path: read_model_zip(checkpoint.model) for checkpoint in (one, other)}
    states = {checkpoint.path: read_state(checkpoint.state) for checkpoint in (one, other)}
    yield "parameters", difference(lambda at: {**_split(zips[at.path], False), **zips[at.path].variables})
    yield "optimisers", difference(lambda at: _split(zips[at.path], True))
    if (one.path / JSON_NAME).is_file():
        yield "normalization", difference(lambda at: json.loads((at.path / JSON_NAME).read_text()))
    for name, keys in COMPONENTS.items():
        ours, theirs = ({key: _part(state, key) for key in keys} for state in states.values())
        yield name, first_difference(ours, theirs)
    if states[one.path].get("replay") is not None:  # the hashes of its chunks stand for their content
        yield "replay buffer", difference(lambda at: states[at.path].get("replay"))


def _split(content: "ModelZip", optimizers: bool) -> dict[str, Any]:
    return {name: value for name, value in content.parameters.items() if name.endswith("optimizer") == optimizers}


COMPONENTS = {
    "random generators": ("model/random", "model/noise"),
    "observations": ("model/tensors", "model/vector", "model/lstm", "model/environments"),
    "counters": ("model/counters", "schedule", "steps_planned"),
    "episodes": ("model/windows",),
    "best model and evaluations": ("deciders/best", "deciders/evaluation", "deciders/task_evaluation"),
}
CLOCK = ("t",)  # of an episode's record: seconds since the environment was made


def _part(state: dict[str, Any], key: str) -> Any:
    part: Any = state
    for name in key.split("/"):
        part = part.get(name) if isinstance(part, dict) else None
    return _without_clock(part)


def _without_clock(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_clock(part) for key, part in value.items() if key not in CLOCK}
    return [_without_clock(part) for part in value] if isinstance(value, list) else value


def command(argv: list[str]) -> int:
    """Carry out the command line.

    :return: the exit code
    """
    options = VerifyOptions(**parse((VerifyOptions,), argv, "python -m rl_baselines.verify", DESCRIPTION))

    from rl_baselines.run_folder import short
    from rl_baselines.screen import make_console, show_table, standard_output_kept
    from rl_baselines.sources import resolve_run

    folder, selection = resolve_run(options.run, Path(options.log_dir))
    begin, end = neighbours(folder, selection)
    console = make_console()
    span = f"from step {begin.timesteps:,} to {end.timesteps:,}"
    console.print(f"training {short(folder.path)} {span} ...", soft_wrap=True)
    with tempfile.TemporaryDirectory() as scratch:
        with standard_output_kept(True):
            again, verdict = train_again(folder, begin, end, Path(scratch))
        found = list(compare(end, again))
    show_table(console, "Compared with what was saved", [(name, difference or "equal") for name, difference in found])
    differing = [f"{name}: {difference}" for name, difference in found if difference]
    if verdict != "exact":
        console.print(verdict, soft_wrap=True)
    console.print(f"differs first in {differing[0]}" if differing else "exact", soft_wrap=True)
    return EXIT_DIFFERS if differing else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; prints, and gives the exit code."""
    return run_command(command, argv)


if __name__ == "__main__":
    sys.exit(main())
