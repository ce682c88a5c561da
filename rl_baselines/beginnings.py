"""The beginnings of a run: from scratch, from a loaded model, or from a checkpoint of its own."""

import datetime
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stable_baselines3.common.vec_env import VecNormalize

from rl_baselines.checkpoint import Checkpoint
from rl_baselines.config import RunOptions
from rl_baselines.config_files import write_config
from rl_baselines.finetuning import load_model_state
from rl_baselines.normalization import apply_statistics
from rl_baselines.records import trim
from rl_baselines.resolution import RunPlan
from rl_baselines.resuming import Resumption, trimmed_row
from rl_baselines.run_folder import RunFolder
from rl_baselines.run_record import first_record, resumed_record
from rl_baselines.sources import Source
from rl_baselines.training import TrainingRun


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
        run = TrainingRun(plan, options, folder, continues=False)
        undo.callback(run.env.close)
        if plan.source is not None:
            run.loaded += _load_source(run, plan.source)
        write_config(plan.config, folder.config)
        run.record = first_record(folder.run_id, plan, options, run.model.device, now, argv)
        folder.write_record(run.record)
        run.open_logs()
        run.loaded += _mark_parent(plan.source, folder.run_id)
        undo.pop_all()
    return run


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


def _load_source(run: TrainingRun, source: Source) -> list[tuple[str, str]]:
    loaded = load_model_state(run.model, source, _keeps_own_entropy(run, source))
    loaded.append(("normalization", _load_statistics(run, source)))
    run.model.acts_by_policy = True  # type: ignore[attr-defined]
    return loaded


def _keeps_own_entropy(run: TrainingRun, source: Source) -> bool:
    """Tell whether an entropy coefficient set for this run replaces the tensor that SAC and its kin learnt."""
    own, variables = run.config.algorithm.hyperparam.get("ent_coef"), source.content.variables
    if not {"log_ent_coef", "ent_coef_tensor"} & variables.keys():
        return False
    theirs = source.content.fields if source.settings is None else source.settings["hyperparam"]
    return bool(own != theirs.get("ent_coef"))


def _load_statistics(run: TrainingRun, source: Source) -> str:
    has_own = isinstance(run.env, VecNormalize)
    if source.statistics is None:
        return "fresh: the source has no statistics" if has_own else "none"
    if not isinstance(run.env, VecNormalize):
        return "NOT used: the source's statistics are left out, as asked"
    apply_statistics(run.env, source.statistics, str(source))
    return "statistics loaded, they adapt on"


def _mark_parent(source: Source | None, run_id: str) -> list[tuple[str, str]]:
    """Note in the checkpoint that a run was started from it."""
    if source is None or source.run is None:
        return []
    try:
        Checkpoint(source.model.parent).add_child(run_id)
    except OSError as error:
        return [("parent", f"not marked as parent: {error.strerror}")]
    return []


def _point_best(run: TrainingRun) -> tuple[str, str, str]:
    """Let ``best`` name what was the best model at the checkpoint."""
    if run.best.timesteps is None:
        run.folder.unpoint("best")
        return "best model", "not applicable", "none was saved by then"
    checkpoint = run.folder.checkpoint_at(run.best.timesteps)
    if checkpoint.is_complete():
        run.folder.point("best", checkpoint)
        return "best model", "restored", f"step {run.best.timesteps:,}, mean reward {run.best.score:.3g}"
    run.folder.unpoint("best")
    return "best model", "lost", f"the checkpoint of step {run.best.timesteps:,} is gone; its score stays to beat"
