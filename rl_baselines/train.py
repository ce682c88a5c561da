"""``python -m rl_baselines.train``: train a policy, or fine-tune one that exists.

Exit codes: 0 done, 2 wrong usage, 75 stopped by a signal with the last model saved.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_baselines.command_line import parse, run_command
from rl_baselines.config import TRAIN_GROUPS, options_from_flat, setting
from rl_baselines.config_files import preset_names

if TYPE_CHECKING:
    from rich.console import Console

    from rl_baselines.resolution import Layer, RunPlan
    from rl_baselines.sources import Source
    from rl_baselines.training import Outcome, TrainingRun

EXIT_STOPPED = 75
DESCRIPTION = "Train a policy for a robot, or fine-tune one with --load-rl-model-path."


@dataclass(frozen=True)
class TrainFiles:
    """Files of settings"""

    config: tuple[str, ...] = setting(
        (), f"YAML files or presets ({', '.join(preset_names())}); later ones win, flags win over all.", metavar="FILE"
    )


def plan_from(given: dict[str, Any]) -> "tuple[RunPlan, dict[str, Any]]":
    """Turn what was given on the command line into a plan.

    :param given: settings by name, `config` among them
    :return: the plan, and all settings merged (options among them)
    :raises UsageError: for the first thing that cannot be done
    """
    from rl_baselines.config_files import read_settings
    from rl_baselines.finetuning import inherited_layer
    from rl_baselines.resolution import Layer, combine, plan_run

    layers = [Layer(f"--config {name}", read_settings(name)) for name in given.get("config", ())]
    layers.append(Layer("flags", {name: value for name, value in given.items() if name != "config"}))
    merged = combine(layers)
    source = _find_source(merged, layers)
    notes: list[str] = []
    if source is not None:
        parent, notes = inherited_layer(source, merged)
        layers.insert(0, parent)
    return plan_run(layers, source, notes), merged


def _find_source(merged: dict[str, Any], layers: "list[Layer]") -> "Source | None":
    from rl_baselines.errors import UsageError
    from rl_baselines.sources import resolve

    path = merged.get("load_rl_model_path")
    if path is None:
        return None
    if "learning_rate" in layers[-1].values.get("hyperparam", {}):
        raise UsageError("the learning rate of a fine-tune is set by --new-lr, not by --hyperparam learning_rate")
    return resolve(path, Path(options_from_flat(merged).log_dir))


def _show_start(console: "Console", run: "TrainingRun") -> None:
    from rl_baselines.reports import start_rows
    from rl_baselines.screen import show_table

    kind = "Fine-tuning" if run.plan.source else "Training"
    show_table(console, f"{kind}: {run.folder.run_id}", start_rows(run))


def _carry_out(console: "Console", run: "TrainingRun") -> "Outcome":
    from rl_baselines.callbacks import SignalStop
    from rl_baselines.screen import TrainingProgress
    from rl_baselines.training import Outcome, train

    outcome = Outcome()

    def announce(what: str) -> None:
        console.print(what)

    with SignalStop(lambda name: announce(f"{name}: stopping after this update; once more stops at once")) as stopper:
        _show_start(console, run)
        with TrainingProgress(console, run.model, run.plan.steps_planned) as progress:
            train(run, [progress, stopper], outcome, announce)
    return outcome


def _draw(run: "TrainingRun") -> Path:
    from rl_baselines.plots import RunRecords, learning_curve

    path = run.folder.plots / "learning_curve.png"
    records = RunRecords(run.folder.run_id, run.folder.monitor, run.folder.evaluations)
    learning_curve(records, path, run.options.episode_window)
    return path


def command(argv: list[str]) -> int:
    """Carry out the command line.

    :return: the exit code
    """
    given = parse((TrainFiles, *TRAIN_GROUPS), argv, "python -m rl_baselines.train", DESCRIPTION)

    from rl_baselines.reports import end_rows, how_to_go_on
    from rl_baselines.screen import make_console, show_table
    from rl_baselines.training import TrainingRun

    console = make_console()
    plan, merged = plan_from(given)
    run = TrainingRun(plan, options_from_flat(merged), argv)
    outcome = _carry_out(console, run)
    curve = _draw(run)
    show_table(console, f"{outcome.status.capitalize()}: {outcome.reason}", end_rows(run, outcome, curve))
    console.print(how_to_go_on(run, outcome), soft_wrap=True, markup=False)
    return EXIT_STOPPED if outcome.by_signal else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; prints, and gives the exit code."""
    return run_command(command, argv)


if __name__ == "__main__":
    sys.exit(main())
