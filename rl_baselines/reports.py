"""The rows of the tables that a training prints at its start and end."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from rl_baselines.algorithms import find_algorithm
from rl_baselines.evaluation import EvaluationResult
from rl_baselines.representations import describe as describe_representation
from rl_baselines.resolution import RunPlan
from rl_baselines.run_folder import short
from rl_baselines.schedules import preview
from rl_baselines.space_words import describe_space
from rl_baselines.training import Outcome, TrainingRun
from rl_baselines.transfer.before_and_after import AFTER_BEST, AFTER_LAST, BEFORE
from rl_baselines.transfer.plan import TransferPlan

Row = tuple[str, str]


def start_rows(run: TrainingRun) -> Iterator[Row]:
    """Yield what a run is going to do."""
    plan, config = run.plan, run.plan.config
    environment, vector, algorithm = config.environment, config.vector, config.algorithm
    options = " ".join(f"{name}:{value}" for name, value in environment.env_kwargs.items())
    yield "environment", f"{environment.env}  {options}".rstrip()
    observed = describe_space(plan.observation_space) + _stacked(environment.num_stack)
    yield "observations", f"{environment.srl_model}: {observed}"
    if environment.srl_model_path is not None:
        yield "encoder", describe_representation(environment.srl_model_path).summary
    yield "actions", describe_space(plan.action_space)
    yield "algorithm", f"{algorithm.algo}, {algorithm.policy}" + (", hindsight replay" if algorithm.her else "")
    where = "in this process" if vector.vec_env == "dummy" else f"in {vector.num_cpu} processes"
    yield "environments", f"{vector.n_envs} {where}" if run.unit == "steps" else "none is acted in but to evaluate"
    if run.schooling is not None:
        yield from run.schooling.rows()
    yield "normalization", _normalization(run)
    yield "learning rate", _rates(plan)
    length = "" if run.schooling is None else run.schooling.length(plan.steps_planned)
    yield "timesteps", length or _timesteps(plan)
    yield "best model by", _best_rule(run)
    if run.task_evaluation is not None:
        window, n_episodes = run.task_evaluation.window, config.evaluation.eval_episodes
        tasks = ", ".join(run.task_evaluation.tasks)
        yield "evaluated on", f"{tasks}: {n_episodes} episodes each, every {window:,} training episodes"
    yield "seed, device", f"{config.training.seed}, {run.model.device} ({algorithm.torch_threads} torch threads)"
    if run.resumption is not None and run.record["parent"] is not None:
        yield "parent", f"{run.record['parent']['path']}, after {run.record['parent']['timesteps']:,} steps"
    if plan.source is not None:
        yield "parent", f"{plan.source}, after {plan.source.timesteps:,} steps"
    yield "folder", short(run.folder.path)


def transfer_rows(plan: TransferPlan) -> Iterator[tuple[str, str, str]]:
    """Yield what a fine-tune takes from its source and what the loaded policy is worth."""
    yield from plan.rows
    for name, result in plan.zero_shot.items():
        yield f"score in the {name}", "zero-shot", describe(result)


def transfer_lines(plan: TransferPlan) -> Iterator[str]:
    """Yield what is to be said below that table: features that have shifted, and advice."""
    large = [shift for shift in plan.shifts if shift.is_large]
    if plan.shifts:
        yield f"observations: {len(large)} of {len(plan.shifts)} features are clearly other ones here than the parent's"
    for shift in large:
        yield (
            f"  {shift.name}: {shift.new_mean:.3g} +- {shift.new_std:.3g}, the parent's {shift.old_mean:.3g} +- "
            f"{shift.old_std:.3g} ({shift.shift:.1f} standard deviations away)"
        )
    yield from (f"advice: {advice}" for advice in plan.advice)


def _stacked(n_stack: int) -> str:
    return f", {n_stack} stacked" if n_stack > 1 else ""


def _normalization(run: TrainingRun) -> str:
    vector = run.plan.config.vector
    parts = [name for name, on in (("observations", vector.norm_obs), ("rewards", vector.norm_reward)) if on]
    return " and ".join(parts) or "none"


def _rates(plan: RunPlan) -> str:
    schedule = plan.learning_rate.schedule
    if schedule is None:
        return plan.learning_rate.reason
    warm_up = plan.config.algorithm.hyperparam.get("learning_starts", 0)
    rates = preview(schedule, plan.steps_per_rollout, plan.steps_planned, warm_up)
    points = ", ".join(f"{rate:.3g} ({'first update' if name == 'first' else name})" for name, rate in rates.items())
    return f"{points}; {schedule.decay}; by {plan.learning_rate.reason}"


def _timesteps(plan: RunPlan) -> str:
    asked = plan.config.training.num_timesteps
    text = f"{plan.steps_planned:,}"
    if plan.steps_per_rollout is not None and find_algorithm(plan.config.algorithm.algo).on_policy:
        n_rollouts = plan.steps_planned // plan.steps_per_rollout
        text += f" = {n_rollouts:,} rollout{'s' * (n_rollouts > 1)} of {plan.steps_per_rollout:,}"
    return text + (f" (asked: {asked:,})" if asked != plan.steps_planned else "")


def _best_rule(run: TrainingRun) -> str:
    settings = run.plan.config.evaluation
    if settings.best_by == "validation":
        text = "loss in the episodes kept apart"
    elif settings.best_by == "train":
        text = f"mean reward of the last 100 training episodes, from {settings.min_episodes_save} episodes on"
    else:
        text = "mean reward of evaluations"
    if run.evaluation is None:
        return text + "; no evaluations"
    return text + f"; evaluations of {settings.eval_episodes} episodes every {run.evaluation.frequency:,} {run.unit}"


def end_rows(run: TrainingRun, outcome: Outcome, pictures: Sequence[Path]) -> Iterator[Row]:
    """Yield what came out of a run."""
    steps, seconds, unit = run.model.num_timesteps, max(outcome.seconds, 1e-9), run.unit
    episodes: int = run.model.n_episodes  # type: ignore[attr-defined]
    share = 100 * run.writer.seconds / seconds
    acted = f"; {episodes:,} episodes" if unit == "steps" else ""
    yield "timesteps", f"{steps:,} in {seconds:.0f} s, {steps / seconds:,.0f} {unit}/s{acted}"
    if run.mean_training_reward is not None:
        yield "last 100 training episodes", f"mean reward {run.mean_training_reward:.3g}"
    if run.evaluation is not None and run.evaluation.last_result is not None:
        yield "last evaluation", describe(run.evaluation.last_result)
    for name in (BEFORE, AFTER_LAST, AFTER_BEST):
        if name in outcome.comparisons:
            yield name, describe(outcome.comparisons[name])
    if run.best.timesteps is None:
        yield "best model", "none was saved: too few episodes ended; the last one is there"
    else:
        yield "best model", f"{run.best} at step {run.best.timesteps:,} (by {run.best.rule})"
    yield (
        "checkpoints",
        f"{len(run.folder.all_checkpoints())} kept, {run.writer.seconds:.1f} s ({share:.1f} % of the time)",
    )
    yield from zip(("learning curve", "parent and child"), map(short, pictures), strict=False)
    yield "folder", short(run.folder.path)


def describe(result: EvaluationResult) -> str:
    """Say in one line what an evaluation gave."""
    summary = result.summary()
    text = f"mean reward {result.mean_reward:.3g}"
    if summary["reward_low"] is not None:
        text += f" [{summary['reward_low']:.3g}, {summary['reward_high']:.3g}]"
    if result.success_rate is not None:
        text += f", success {100 * result.success_rate:.0f} %"
        text += f" [{100 * (summary['success_low'] or 0):.0f}, {100 * (summary['success_high'] or 0):.0f}]"
    return f"{text}, {result.n_episodes} episodes"


def how_to_go_on(run: TrainingRun, outcome: Outcome) -> str:
    """Give the command that uses the result, or that goes on after a stop."""
    folder = short(run.folder.path)
    if not outcome.can_go_on:
        video = short(run.folder.videos / "best.mp4")
        return "watch it: " + shlex.join(["python", "-m", "rl_baselines.enjoy", folder, "--video", video])
    return "go on with: " + shlex.join(["python", "-m", "rl_baselines.train", "--resume", folder])
