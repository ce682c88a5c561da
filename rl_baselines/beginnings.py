"""The beginnings of a run: from scratch, from a loaded model, or from a checkpoint of its own."""

import datetime
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from rl_baselines.checkpoint import Checkpoint
from rl_baselines.config import RunOptions, changed, check_settings, from_flat
from rl_baselines.config_files import write_config
from rl_baselines.records import trim
from rl_baselines.representations import keep_copy
from rl_baselines.resolution import RunPlan
from rl_baselines.resuming import Resumption, trimmed_row
from rl_baselines.retention.retention import RETENTION_KINDS
from rl_baselines.retention.state_memory import write_memory
from rl_baselines.run_folder import RunFolder
from rl_baselines.run_record import first_record, resumed_record
from rl_baselines.sources import Source, resolve
from rl_baselines.training import TrainingRun
from rl_baselines.transfer.choices import FineTunePlan, TransferChoices
from rl_baselines.transfer.loading import load_source, retention_memory
from rl_baselines.transfer.networks import Row
from rl_baselines.transfer.plan import TransferPlan, training_rows


def begin(plan: RunPlan, options: RunOptions, argv: Sequence[str]) -> TrainingRun:
    """Set up a new run, from scratch or from a loaded model.

    :param argv: the command's arguments, kept in the record
    :raises UsageError: when something does not fit; then nothing is left behind
    """
    environment, algorithm = plan.config.environment, plan.config.algorithm
    now = datetime.datetime.now()
    levels = (environment.env, environment.srl_model or "", algorithm.algo)
    folder = RunFolder.create(Path(options.log_dir), levels, now)
    with ExitStack() as undo, _storage_errors_named(folder):
        undo.callback(folder.discard)
        plan = _with_own_encoder(plan, folder)
        run = TrainingRun(plan, options, folder, continues=False)
        undo.callback(run.env.close)
        if isinstance(plan, FineTunePlan) and plan.source is not None:
            run.transfer = _load(run, plan.source, plan.choices)
        write_config(plan.config, folder.config)
        run.record = first_record(folder.run_id, plan, options, run.model.device, run.fingerprint, now, argv)
        if run.schooling is not None:
            run.record["schooling"] = run.schooling.to_record()
            for teacher in plan.config.distillation.teachers:
                _mark_parent(resolve(teacher, Path(options.log_dir)), folder.run_id)
        folder.write_record(run.record)
        run.open_logs()
        if run.transfer is not None:
            run.transfer.rows += _mark_parent(plan.source, folder.run_id)
        undo.pop_all()
    return run


def _with_own_encoder(plan: RunPlan, folder: RunFolder) -> RunPlan:
    """Give the run its own copy of the encoder that its policy observes by, where there is one."""
    source = plan.config.environment.srl_model_path
    if source is None:
        return plan
    return replace(plan, config=changed(plan.config, srl_model_path=keep_copy(folder.path, source)))


def go_on(resumption: Resumption, plan: RunPlan, options: RunOptions, argv: Sequence[str]) -> TrainingRun:
    """Set up a run that goes on from one of its checkpoints; its records are cut back to there.

    :param argv: the command's arguments, kept in the record
    :raises UsageError: when something does not fit
    """
    folder, state = resumption.folder, resumption.state
    aside = folder.new_aside(datetime.datetime.now())
    with ExitStack() as undo, _storage_errors_named(folder):
        moved = folder.set_aside_after(int(resumption.checkpoint.path.name), aside)
        trimmed = trim(folder, state["records"], aside)
        run = TrainingRun(plan, options, folder, continues=True)
        undo.callback(run.env.close)
        run.restore(resumption)
        _recall_parent(run)
        resumption.rows.append(_point_best(run))
        resumption.rows.append(trimmed_row(trimmed, moved, aside))
        folder.point("last", resumption.checkpoint)
        if plan.steps_planned != state["steps_planned"]:
            write_config(plan.config, folder.config)
        run.record = resumed_record(resumption, plan, argv)
        folder.write_record(run.record)
        run.open_logs()
        undo.pop_all()
    return run


@contextmanager
def _storage_errors_named(folder: RunFolder) -> Iterator[None]:
    """Let an error of writing name at least the run's folder."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(folder.path)
        raise


def _load(run: TrainingRun, source: Source, choices: TransferChoices) -> TransferPlan:
    """Load a source into a run, and give what became of everything."""
    run.parent_config = choices.parent
    rows = load_source(run, source, choices)
    if run.retention is not None:
        memory = retention_memory(run, source, choices) if RETENTION_KINDS[run.retention.kind].needs_memory else None
        if memory is not None:
            write_memory(memory, run.folder.inherited_memory)
        run.retention.begin(memory, run.seed("retention"))
    rows += training_rows(run.config, run.freezing, run.retention)
    return TransferPlan([*rows, ("settings", "left out", "; ".join(run.plan.notes))])


def _recall_parent(run: TrainingRun) -> None:
    """Let a fine-tune that goes on know the environment of its parent."""
    try:
        settings = json.loads(run.folder.plan.read_text())["parent_settings"]
    except (OSError, ValueError, KeyError):
        return  # not a fine-tune, or one of an earlier version
    if settings is not None:
        run.parent_config = from_flat(check_settings(settings, str(run.folder.plan)))


def _mark_parent(source: Source | None, run_id: str) -> list[Row]:
    """Note in the checkpoint that a run was started from it."""
    if source is None or source.run is None:
        return []
    try:
        Checkpoint(source.model.parent).add_child(run_id)
    except OSError as error:
        return [("parent", "not marked", f"cannot note there that it has a child: {error.strerror}")]
    return []


def _point_best(run: TrainingRun) -> tuple[str, str, str]:
    """Let ``best`` name what was the best model at the checkpoint."""
    if run.best.timesteps is None:
        run.folder.unpoint("best")
        return "best model", "not applicable", "none was saved by then"
    checkpoint = run.folder.checkpoint_at(run.best.timesteps)
    if checkpoint.is_complete():
        run.folder.point("best", checkpoint)
        return "best model", "restored", f"step {run.best.timesteps:,}, {run.best}"
    run.folder.unpoint("best")
    return "best model", "lost", f"the checkpoint of step {run.best.timesteps:,} is gone; its score stays to beat"
