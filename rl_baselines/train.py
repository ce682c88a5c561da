"""``python -m rl_baselines.train``: train a policy, fine-tune one that exists, or go on with a run.

Exit codes: 0 done, 1 a file of the run could not be written, 2 wrong usage, 75 stopped and to be resumed.
"""

import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_baselines.command_line import parse, run_command
from rl_baselines.config import (
    TRAIN_GROUPS,
    ResumeOptions,
    RunOptions,
    TrustOptions,
    flag_of,
    options_from_flat,
    setting,
)
from rl_baselines.config_files import preset_names

if TYPE_CHECKING:
    from rich.console import Console

    from rl_baselines.callbacks import BoundaryAction
    from rl_baselines.layers import Layer
    from rl_baselines.live.live_view import LiveView
    from rl_baselines.resolution import RunPlan
    from rl_baselines.sources import Source
    from rl_baselines.training import Outcome, TrainingRun

EXIT_STOPPED = 75
AUTO = "auto"
DESCRIPTION = "Train a policy for a robot, fine-tune one with --load-rl-model-path, or go on with a run with --resume."


@dataclass(frozen=True)
class TrainFiles:
    """Files of settings"""

    config: tuple[str, ...] = setting(
        (),
        "YAML files, presets, or auto: the tuned preset of environment and algorithm. Later ones win, flags win over "
        f"all. Presets: {', '.join(preset_names())}.",
        metavar="FILE",
    )


@dataclass(frozen=True)
class RepresentationNames:
    """Learnt representations by name"""

    srl_config_file: str | None = setting(
        None,
        "YAML file with the folders of learnt representations by environment and key; --srl-model KEY takes one.",
        metavar="FILE",
    )
    latest: bool = setting(False, "Observe by the newest learnt representation of the environment.")


OF_FILES = ("config", "srl_config_file", "latest")


def plan_from(given: dict[str, Any]) -> "tuple[RunPlan, dict[str, Any]]":
    """Turn what was given on the command line into a plan.

    :param given: settings by name, `config` among them
    :return: the plan, and all settings merged (options among them)
    :raises UsageError: for the first thing that cannot be done
    """
    from rl_baselines.config_files import read_settings
    from rl_baselines.layers import Layer, combine, tuned_layer
    from rl_baselines.representation_choice import chosen_representation
    from rl_baselines.resolution import plan_run
    from rl_baselines.transfer.choices import check_scratch, settle
    from rl_baselines.transfer.inheritance import inherited_layer

    flags = Layer("flags", {name: value for name, value in given.items() if name not in OF_FILES})
    files = [Layer(f"--config {name}", read_settings(name)) for name in given.get("config", ()) if name != AUTO]
    layers = [*files, flags]
    if AUTO in given.get("config", ()):
        layers.insert(given["config"].index(AUTO), tuned_layer(layers))
    merged = combine(layers)
    chosen = chosen_representation(merged, given.get("srl_config_file"), given.get("latest", False))
    if chosen:
        layers[-1] = Layer("flags", {**flags.values, **chosen})
        merged = combine(layers)
    source = _find_source(merged, layers)
    notes: list[str] = []
    if source is not None:
        parent, notes = inherited_layer(source, merged)
        layers.insert(0, parent)
    plan = plan_run(layers, source, notes)
    if source is None:
        check_scratch(plan.config)
        return plan, merged
    return settle(plan, source), merged


def _find_source(merged: dict[str, Any], layers: "list[Layer]") -> "Source | None":
    from rl_baselines.algorithms import find_algorithm
    from rl_baselines.errors import UsageError
    from rl_baselines.sources import resolve

    path = merged.get("load_rl_model_path")
    if path is None:
        return None
    source = resolve(path, Path(options_from_flat(merged).log_dir), layers[-1].values.get("trust_source", False))
    has_rate = source.algorithm is None or find_algorithm(source.algorithm).learning_rate
    if has_rate and "learning_rate" in layers[-1].values.get("hyperparam", {}):
        raise UsageError("the learning rate of a fine-tune is set by --new-lr, not by --hyperparam learning_rate")
    return source


def set_up(given: dict[str, Any], argv: list[str], console: "Console") -> "TrainingRun | None":
    """Set up the run that a command line asks for; None when it is finished already, which is said.

    :param given: settings by name
    :raises UsageError: for the first thing that cannot be done
    """
    from rl_baselines.errors import UsageError

    resumed, auto = given.pop("resume", None), given.pop("auto_resume", False)
    if resumed is not None and auto:
        raise UsageError("--resume names a run and --auto-resume looks for one; give one of them")
    if resumed is not None:
        _check_resume_flags(resumed, given, argv)
        return _resume(resumed, given, argv, console)
    if auto:
        return _auto_resume(given, argv, console)
    return _begin(given, argv)


def _checked_options(values: dict[str, Any]) -> RunOptions:
    """Give the options, those of the live view checked too.

    :raises UsageError: for a value out of range, or a server that does not answer
    """
    from rl_baselines.live.opening import check_view

    options = options_from_flat(values)
    check_view(options)
    return options


def _resumed_options(recorded: dict[str, Any], given: dict[str, Any]) -> RunOptions:
    """Give the options of a run that goes on: its own, but for what was given now.

    A server that the run was shown on may be gone by now; that keeps no run from going on.

    :raises UsageError: for a tracker that is not installed
    """
    from rl_baselines.live.opening import check_tracker

    if given.get("vis") is False:
        recorded = {**recorded, "vis_server": None}
    elif given.get("vis_server") is not None:
        recorded = {**recorded, "vis": True}
    options = options_from_flat({**recorded, **given})
    check_tracker(options)
    return options


def _begin(given: dict[str, Any], argv: list[str]) -> "TrainingRun":
    from rl_baselines.beginnings import begin

    plan, merged = plan_from(given)
    return begin(plan, _checked_options(merged), argv)


def _check_resume_flags(resumed: str, given: dict[str, Any], argv: list[str]) -> None:
    """Refuse settings that would make another run of it.

    :raises UsageError: with the command that starts such a run
    """
    from rl_baselines.errors import UsageError

    free = {*RunOptions.__dataclass_fields__, "num_timesteps"}
    refused = [flag_of(name) for name in given if name not in free]
    if not refused:
        return
    source = resumed if "@" in resumed else f"{resumed}@last"
    words = ["--load-rl-model-path", source, *_without_resume(argv)]
    raise UsageError(
        f"--resume goes on with the run's own settings, {', '.join(refused)} cannot change them; a new run from its "
        f"last model can have others: {shlex.join(['python', '-m', 'rl_baselines.train', *words])}"
    )


def _without_resume(argv: list[str]) -> list[str]:
    at = next((index for index, word in enumerate(argv) if word == "--resume"), None)
    rest = argv if at is None else argv[:at] + argv[at + 2 :]
    return [word for word in rest if not word.startswith("--resume=")]


def _resume(text: str, given: dict[str, Any], argv: list[str], console: "Console") -> "TrainingRun | None":
    from rl_baselines.beginnings import go_on
    from rl_baselines.resuming import open_resumption, plan_resumption
    from rl_baselines.run_folder import short

    options = options_from_flat(given)
    resumption = open_resumption(text, Path(options.log_dir))
    try:
        plan = plan_resumption(resumption, given.get("num_timesteps"))
        record = resumption.folder.read_record()
        if record["status"] == "finished" and resumption.is_newest and plan.steps_planned <= record["steps_planned"]:
            console.print(
                f"{short(resumption.folder.path)} is finished: {record['reason']}, step {record['timesteps']:,}; "
                "--num-timesteps with a larger number lets it go on",
                soft_wrap=True,
            )
            resumption.folder.unlock()
            return None
        _checked_options(given)
        options = _resumed_options(record.get("options", {}), given)
        return go_on(resumption, plan, options, argv)
    except BaseException:
        resumption.folder.unlock()
        raise


def _auto_resume(given: dict[str, Any], argv: list[str], console: "Console") -> "TrainingRun | None":
    from rl_baselines.auto_resume import describe_fresh_start, find_matches
    from rl_baselines.beginnings import begin
    from rl_baselines.errors import UsageError
    from rl_baselines.run_folder import claimed, short

    plan, merged = plan_from(given)
    sources = (merged.get("load_rl_model_path") or "", *merged.get("teachers", ()))
    if any(source.partition("@")[0] == "latest" for source in sources):
        raise UsageError("--auto-resume needs a source that stays the same: name the run instead of latest")
    options = _checked_options(merged)
    with claimed(Path(options.log_dir)):
        matches = find_matches(plan.config, Path(options.log_dir))
        if matches.unfinished:
            others = len(matches.unfinished) - 1
            note = f", the newest of {others + 1} unfinished ones" if others else ""
            console.print(f"going on with {short(matches.unfinished[0].path)}{note}", soft_wrap=True)
            own = {name: value for name, value in merged.items() if name in RunOptions.__dataclass_fields__}
            return _resume(str(matches.unfinished[0].path), own, argv, console)
        if matches.finished:
            console.print(f"{short(matches.finished[0].path)} is this very run, and finished", soft_wrap=True)
            return None
        for line in describe_fresh_start(matches):
            console.print(line, soft_wrap=True)
        return begin(plan, options, argv)


def _show_start(console: "Console", run: "TrainingRun") -> None:
    from rl_baselines.reports import start_rows
    from rl_baselines.screen import show_table

    resumption = run.resumption
    kind = "Resuming" if resumption else "Fine-tuning" if run.is_fine_tune else "Training"
    show_table(console, f"{kind}: {run.folder.run_id}", start_rows(run))
    if resumption is not None:
        title = f"From step {resumption.timesteps:,}: {resumption.verdict}"
        show_table(console, title, resumption.rows, ("component", "fate", "reason"))


def _show_transfer(console: "Console", run: "TrainingRun") -> None:
    from rl_baselines.reports import transfer_lines, transfer_rows
    from rl_baselines.screen import show_table

    if run.transfer is None:
        return
    show_table(console, "Transfer plan", transfer_rows(run.transfer), ("component", "fate", "reason"))
    for line in transfer_lines(run.transfer):
        console.print(line, soft_wrap=True, markup=False)


def _carry_out(console: "Console", run: "TrainingRun", actions: "list[BoundaryAction]") -> "tuple[Outcome, LiveView]":
    from rl_baselines.callbacks import SignalStop
    from rl_baselines.execution import train
    from rl_baselines.live.opening import open_view
    from rl_baselines.screen import TrainingProgress
    from rl_baselines.training import Outcome

    outcome = Outcome()

    def announce(what: str) -> None:
        console.print(what, soft_wrap=True, markup=False)

    with (
        SignalStop(lambda name: announce(f"{name}: stopping after this update; once more stops at once")) as stopper,
        closing(open_view(run, announce)) as view,
    ):
        _show_start(console, run)
        with TrainingProgress(console, run.model, run.plan.steps_planned, run.unit) as progress:
            train(run, [progress, stopper, *actions], outcome, announce, lambda: _show_transfer(console, run))
        view.show_comparisons(run)
    return outcome, view


def _draw(run: "TrainingRun", outcome: "Outcome") -> list[Path]:
    """Draw the learning curve and, of a fine-tune that is judged, the picture of it and its parent."""
    from rl_baselines.fine_tune_plot import draw_fine_tune
    from rl_baselines.plots import RunRecords, learning_curve

    curve, picture = run.folder.plots / "learning_curve.png", run.folder.plots / "fine_tune.png"
    own = RunRecords(run.folder.run_id, run.folder.monitor, run.folder.evaluations)
    learning_curve(own, curve, run.options.episode_window)
    if outcome.comparison is None:
        return [curve]
    records = [replace(own, run_id="fine-tune")]
    parent = run.parent_folder
    if parent is not None:
        steps = run.record["parent"]["timesteps"]
        records.insert(0, RunRecords("parent", parent.monitor, parent.evaluations, until=steps))
    draw_fine_tune(records, outcome.comparison, picture, run.folder.run_id, run.options.episode_window)
    return [curve, picture]


def _show_end(console: "Console", run: "TrainingRun", outcome: "Outcome", with_report: bool) -> None:
    from rl_baselines.comparison_report import comparison_header, comparison_rows, sentences
    from rl_baselines.live.showing import report
    from rl_baselines.reports import end_rows, how_to_go_on
    from rl_baselines.run_folder import short
    from rl_baselines.screen import show_table
    from rl_baselines.transfer.before_and_after import AFTER_BEST

    ended = list(end_rows(run, outcome, _draw(run, outcome)))
    if with_report:
        ended.append(("report", short(report(run.folder))))
    show_table(console, f"{outcome.status.capitalize()}: {outcome.reason}", ended)
    if outcome.comparison is not None:
        name = "child (best)" if AFTER_BEST in outcome.comparisons else "child"
        rows = comparison_rows(outcome.comparison, name)
        show_table(console, "Parent and child", rows, comparison_header(outcome.comparison))
        for sentence in sentences(outcome.comparison):
            console.print(sentence, soft_wrap=True, markup=False)
    console.print(how_to_go_on(run, outcome), soft_wrap=True, markup=False)


def command(argv: list[str]) -> int:
    """Carry out the command line.

    :return: the exit code
    """
    began = time.monotonic()
    given = parse(
        (TrainFiles, RepresentationNames, ResumeOptions, TrustOptions, *TRAIN_GROUPS),
        argv,
        "python -m rl_baselines.train",
        DESCRIPTION,
    )

    from rl_baselines.callbacks import TimeBudget
    from rl_baselines.screen import make_console

    console = make_console()
    run = set_up(given, argv, console)
    if run is None:
        return 0
    budget = run.options.stop_after
    outcome, view = _carry_out(console, run, [TimeBudget(budget, began)] if budget is not None else [])
    _show_end(console, run, outcome, with_report=view.lacks_server and not outcome.can_go_on)
    return EXIT_STOPPED if outcome.can_go_on else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; prints, and gives the exit code."""
    return run_command(command, argv)


if __name__ == "__main__":
    sys.exit(main())
