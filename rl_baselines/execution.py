"""Carrying out a run that is set up, from the evaluation of what was loaded to that of what came out."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rl_baselines.callbacks import BoundaryAction
from rl_baselines.checkpoint import write_json
from rl_baselines.comparison import Comparison
from rl_baselines.config import to_flat
from rl_baselines.errors import STORAGE_ERRORS, StorageError
from rl_baselines.retention.state_memory import (
    Label,
    can_remember,
    collect,
    joined,
    read_memory,
    states_that_fit,
    write_memory,
)
from rl_baselines.run_folder import short
from rl_baselines.schedules import preview
from rl_baselines.training import Outcome, TrainingRun
from rl_baselines.transfer.alignment import element_names
from rl_baselines.transfer.before_and_after import (
    BEFORE,
    PARENT_AT_HOME,
    is_worse_than_at_home,
    judge,
    measure_after,
    measure_before,
    measure_shifts,
)
from rl_baselines.transfer.plan import TransferPlan, advise

MEMORY_SEED = 0


def train(
    run: TrainingRun,
    actions: Sequence[BoundaryAction],
    outcome: Outcome,
    announce: Callable[[str], None],
    begin: Callable[[], None] = lambda: None,
) -> None:
    """Carry out a run that is set up; a fine-tune is evaluated before and after.

    :param actions: further things to do at boundaries
    :param outcome: filled in
    :param announce: told in words what takes a while
    :param begin: called when all that comes before the first step is done
    :raises StorageError: when a file of the run cannot be written
    """
    outcome.comparisons = run.comparisons
    try:
        _train(run, actions, outcome, announce, begin)
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        raise _storage_error(run, error) from error


def _train(
    run: TrainingRun,
    actions: Sequence[BoundaryAction],
    outcome: Outcome,
    announce: Callable[[str], None],
    begin: Callable[[], None],
) -> None:
    try:
        if run.is_fine_tune:
            measure_before(run, run.plan.source, announce)
            if run.transfer is not None:
                complete_plan(run, run.transfer)
        begin()
        run.learn(actions, outcome)
        if not outcome.can_go_on:
            store_memory(run, announce)
            if run.is_fine_tune:
                measure_after(run, announce)
                outcome.comparison = store_comparison(run)
    except BaseException as error:
        outcome.status, outcome.reason = "failed", f"{type(error).__name__}: {error}"
        raise
    finally:
        run.close(outcome)


def complete_plan(run: TrainingRun, plan: TransferPlan) -> None:
    """Add to a plan what the loaded policy is worth, and store it."""
    here = "new environment" if acts_as_parent(run) else "new environment, by a new policy"
    names = ((BEFORE, here), (PARENT_AT_HOME, "parent's environment"))
    plan.zero_shot = {words: run.comparisons[name] for name, words in names if name in run.comparisons}
    has_changed = run.home is not None or run.observation_map is not None
    if has_changed and run.plan.source is not None and plan.zero_shot:
        plan.shifts = measure_shifts(run, run.plan.source)
    uses_replay = any(row[:2] == ("replay buffer", "loaded") for row in plan.rows)
    rate = run.plan.learning_rate
    is_worse, is_default = is_worse_than_at_home(run.comparisons), rate.is_default
    plan.advice = advise(run.config, run.model, is_worse, uses_replay, is_default)
    schedule = run.plan.learning_rate.schedule
    starts = getattr(run.model, "learning_starts", 0)
    rates = {} if schedule is None else preview(schedule, run.plan.steps_per_rollout, run.plan.steps_planned, starts)
    parent = None if run.parent_config is None else to_flat(run.parent_config)
    write_json(run.folder.plan, {**plan.to_json(rates, run.plan.learning_rate.reason), "parent_settings": parent})


def store_memory(run: TrainingRun, announce: Callable[[str], None]) -> None:
    """Store a memory of states and of what the last policy does there, where that can be.

    A fine-tune that held on to remembered states goes on remembering them: the next one is to hold on to these too.
    """
    n_wanted = min(run.options.memory_states, run.model.num_timesteps)
    if not n_wanted or not can_remember(run.model):
        return
    environment = run.config.environment
    n_states = states_that_fit(run.model.observation_space, n_wanted)
    announce(f"storing what the policy does in {n_states:,} states ...")
    env = run.make_evaluation_env(run.config.vector.n_envs or 1)
    try:
        label = Label(
            algorithm=run.config.algorithm.algo,
            env=environment.env,
            env_kwargs=environment.env_kwargs,
            run=run.folder.run_id,
            timesteps=run.model.num_timesteps,
            feature_names=element_names(env, "observation"),
        )
        memory = collect(run.model, env, n_states, MEMORY_SEED, label)
        if run.folder.inherited_memory.is_file():
            memory = joined(memory, read_memory(run.folder.inherited_memory), run.model, n_states)
        write_memory(memory, run.folder.state_memory)
    finally:
        env.close()


def acts_as_parent(run: TrainingRun) -> bool:
    """Tell whether a fine-tune began with its parent's policy."""
    return bool(run.model.acts_by_policy)  # type: ignore[attr-defined]


def store_comparison(run: TrainingRun) -> Comparison | None:
    """Judge the fine-tune by its evaluations, and store the judgement.

    None where the parent's policy was not loaded: what came before is not the parent then.
    """
    if not acts_as_parent(run):
        return None
    found = judge(run.comparisons, run.home is not None, run.not_at_home)
    if found is not None:
        write_json(run.folder.comparison, found.to_dict())
    return found


def _storage_error(run: TrainingRun, error: OSError) -> StorageError:
    what = f"{short(Path(str(error.filename or run.folder.path)))}: {error.strerror}"
    last = [checkpoint for checkpoint in run.folder.all_checkpoints() if checkpoint.can_be_resumed()][-1:]
    if not last:
        return StorageError(f"training stopped at step {run.model.num_timesteps:,}, with no checkpoint yet: {what}")
    return StorageError(
        f"training stopped at step {run.model.num_timesteps:,}: {what}; the checkpoint of step "
        f"{last[0].timesteps:,} is intact: mend that, then go on with --resume {short(run.folder.path)}"
    )
