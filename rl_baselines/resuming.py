"""Resuming: which run and checkpoint a command names, what may change, and what came back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from environments.registry import find_spec
from rl_baselines.checkpoint import Checkpoint
from rl_baselines.config import RunConfig, changed, from_flat
from rl_baselines.config_files import read_settings
from rl_baselines.distillation.settings import check_resumed
from rl_baselines.errors import UsageError
from rl_baselines.hyperparameters import steps_per_rollout
from rl_baselines.representations import with_own_copy
from rl_baselines.resolution import LearningRatePlan, RunPlan, probe_spaces
from rl_baselines.run_folder import RunFolder, short
from rl_baselines.schedules import LearningRateSchedule, planned_steps
from rl_baselines.sources import of_run, resolve_run
from rl_baselines.state_files import read_state

STATE_FORMAT = 1


@dataclass
class Resumption:
    """A run that goes on, and what is known about how exactly it does.

    :param folder: of the run, claimed by this process
    :param checkpoint: from where
    :param state: that was saved with it, model and replay buffer apart
    :param rows: what was restored, rebuilt or lost: component, fate, reason
    :param reasons: why the numbers may differ from those of a run that was never interrupted; none: they do not
    """

    folder: RunFolder
    checkpoint: Checkpoint
    state: dict[str, Any]
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    @property
    def timesteps(self) -> int:
        """Timesteps done."""
        return int(self.state["model"]["counters"]["num_timesteps"])

    @property
    def is_newest(self) -> bool:
        """Whether the run has no later checkpoint."""
        return self.folder.checkpoint_folders()[-1].path == self.checkpoint.path

    @property
    def verdict(self) -> str:
        """Say in words how exactly the run goes on."""
        return "exact" if not self.reasons else "reproducible, not exact: " + "; ".join(self.reasons)


def open_resumption(text: str, log_dir: Path) -> Resumption:
    """Claim the run that a text names and read the state of its checkpoint.

    :param text: a run folder (its newest checkpoint), ``RUN@step:N``, ``RUN@last``, ``RUN@best`` or ``latest``
    :param log_dir: where ``latest`` is looked for
    :raises UsageError: when there is nothing intact to resume; an older checkpoint that is, is named
    """
    folder, selection = resolve_run(text, log_dir)
    folder.lock()
    try:
        checkpoint = _selected(folder, selection)
        _check(folder, checkpoint)
        return Resumption(folder, checkpoint, _read(checkpoint))
    except BaseException:
        folder.unlock()
        raise


def _selected(folder: RunFolder, selection: str) -> Checkpoint:
    if not selection:
        found = [one for one in folder.checkpoint_folders() if one.can_be_resumed() or not one.is_complete()]
        if not found:
            raise UsageError(_nothing_to_resume(folder))
        return found[-1]
    return Checkpoint(of_run(folder, selection).model.parent)


def _nothing_to_resume(folder: RunFolder) -> str:
    anew = f"start it anew, with python -m rl_baselines.train --config {short(folder.config)}"
    if folder.all_checkpoints():  # models alone, as runs of earlier versions have them
        anew += f", or a new run from its model, with --load-rl-model-path {short(folder.path)}"
    return f"{short(folder.path)} has no checkpoint that can be resumed: {anew}"


def _check(folder: RunFolder, checkpoint: Checkpoint) -> None:
    """Check every file of a checkpoint.

    :raises UsageError: when one is not as it was saved, or when the checkpoint holds only a model
    """
    if not checkpoint.can_be_resumed() and checkpoint.is_complete():
        raise UsageError(
            f"{short(checkpoint.path)} holds a model but not the state of its training, so it cannot be resumed; "
            f"a new run can start from it: --load-rl-model-path {short(checkpoint.path)}"
        )
    damage = checkpoint.damage()
    if damage is None:
        return
    message = f"the checkpoint {short(checkpoint.path)} is damaged: {damage}"
    older = newest_intact(folder, before=int(checkpoint.path.name))
    if older is None:
        raise UsageError(f"{message}; the run has no older one that is intact")
    raise UsageError(
        f"{message}; the newest intact one before it is that of step {older.timesteps:,}: "
        f"--resume {short(folder.path)}@step:{older.timesteps}"
    )


def _read(checkpoint: Checkpoint) -> dict[str, Any]:
    state = read_state(checkpoint.state)
    if state.get("format") != STATE_FORMAT:
        raise UsageError(
            f"{short(checkpoint.path)} was saved by another version, in format {state.get('format')} of the state; "
            f"this one reads format {STATE_FORMAT}: resume it with that version, or start a new run from it: "
            f"--load-rl-model-path {short(checkpoint.path)}"
        )
    return state


def newest_intact(folder: RunFolder, before: int) -> Checkpoint | None:
    """Give the newest checkpoint before a step that can be resumed and has no damage."""
    found = [one for one in folder.checkpoint_folders() if int(one.path.name) < before and one.can_be_resumed()]
    return next((one for one in reversed(found) if one.damage() is None), None)


def plan_resumption(resumption: Resumption, num_timesteps: int | None) -> RunPlan:
    """Give the plan of the run that goes on, its own but for the horizon.

    :param num_timesteps: another horizon; None keeps it
    :raises UsageError: when it lies before what is done
    """
    settings = with_own_copy(read_settings(str(resumption.folder.config)), resumption.folder.path)
    if not {"env", "algo", "num_timesteps"} <= settings.keys():
        raise UsageError(f"{resumption.folder.config} is not complete: it does not tell what is trained")
    settings.setdefault("critic_warmup", "off")  # runs of earlier versions had none
    config = from_flat(settings)
    find_spec(config.environment.env, config.environment.gym_packages)
    if num_timesteps is not None:
        config = changed(config, num_timesteps=num_timesteps)
    rollout = steps_per_rollout(config.algorithm.hyperparam, config.vector.n_envs or 1)
    steps = planned_steps(config.training.num_timesteps, rollout)
    if steps < resumption.timesteps and steps != resumption.state["steps_planned"]:  # a run may end beyond its plan
        raise UsageError(
            f"--num-timesteps {num_timesteps} lies before step {resumption.timesteps}, from which "
            f"{short(resumption.folder.path)} is resumed; give a larger number"
        )
    check_resumed(config, resumption.state.get("schooling"))
    learning_rate = _plan_learning_rate(resumption, config, steps)
    observation_space, action_space = probe_spaces(config)
    identity = resumption.state.get("parent_identity", "")  # earlier versions did not save it
    return RunPlan(
        config, None, learning_rate, rollout, steps, observation_space, action_space, parent_identity=identity
    )


def _plan_learning_rate(resumption: Resumption, config: RunConfig, steps_planned: int) -> LearningRatePlan:
    """Keep the schedule, or hand over to one for what remains when the horizon is another one."""
    saved, root = resumption.state["schedule"], resumption.folder.read_record().get("root_learning_rate")
    if saved is None:
        return LearningRatePlan(None, f"{config.algorithm.algo} has none", None)
    schedule = LearningRateSchedule(**saved)
    before = resumption.state["steps_planned"]
    if steps_planned == before:
        return LearningRatePlan(schedule, "the run's own schedule", root)
    progress = resumption.state["model"]["counters"]["_current_progress_remaining"]
    reason = f"the rate of the last update, over what remains: the horizon was {before:,}"
    return LearningRatePlan(schedule.handed_over(progress, resumption.timesteps, steps_planned), reason, root)


def resume_rows(
    state: Mapping[str, Any], replay_loaded: bool | None, failed: Mapping[int, str], has_statistics: bool
) -> list[tuple[str, str, str]]:
    """Say what became of every component.

    :param state: as it was captured
    :param replay_loaded: None where the algorithm has no replay buffer
    :param failed: environments that did not come back, and why
    :param has_statistics: whether observations or rewards are normalized
    """
    model = state["model"]
    n_actions = [len(episode["actions"]) for episode in model["environments"]]
    rows = [
        ("parameters, optimisers", "restored", "from model.zip"),
        ("counters, schedules", "restored", f"step {model['counters']['num_timesteps']:,}"),
        ("random generators", "restored", "Python, NumPy, torch, action space"),
        _statistics_row(has_statistics),
        _replay_row(state, replay_loaded),
    ]
    if failed:
        rows.append(("open episodes", "lost", f"{len(failed)} of {len(n_actions)} did not come back: all begin anew"))
    else:
        rows.append(("open episodes", "restored", f"{sum(n_actions):,} actions of {len(n_actions)} repeated"))
    stack, lstm, noise = model["vector"]["stack"], model["lstm"], model["noise"]
    rows += [
        _optional_row("frame stack", stack, "no stacked observations"),
        _optional_row("recurrent state", lstm, "no recurrent policy"),
        _optional_row("action noise", noise, "none that remembers"),
        ("best score, evaluations", "restored", "the best model stays the one to beat"),
    ]
    if "search" in model:
        rows.append(("search distribution", "restored", f"generation {model['search']['g']}"))
    is_on_policy = replay_loaded is None
    fate = ("rebuilt", "empty at this point of the training") if is_on_policy else ("not applicable", "off-policy")
    return [*rows, ("rollout buffer", *fate)]


def _statistics_row(has_statistics: bool) -> tuple[str, str, str]:
    if has_statistics:
        return "normalization", "restored", "statistics and running returns"
    return "normalization", "not applicable", "none in this run"


def _replay_row(state: Mapping[str, Any], replay_loaded: bool | None) -> tuple[str, str, str]:
    if replay_loaded is None:
        return "replay buffer", "not applicable", "on-policy"
    if replay_loaded:
        return "replay buffer", "restored", f"{state['replay_size']:,} transitions"
    return "replay buffer", "lost", "saved with --save-replay-buffer none; the policy fills it again"


def _optional_row(name: str, value: Any, without: str) -> tuple[str, str, str]:
    return (name, "restored", "") if value is not None else (name, "not applicable", without)


def trimmed_row(trimmed: Sequence[str], moved: Sequence[int], aside: Path) -> tuple[str, str, str]:
    """Say what of the records and checkpoints lay beyond the checkpoint."""
    words = [*trimmed, *([f"checkpoints {', '.join(map(str, moved))}"] if moved else [])]
    if not words:
        return "records", "restored", "nothing lay beyond the checkpoint"
    kept = f"; kept in {short(aside)}" if aside.exists() else ""
    return "records", "restored", f"cut back: {'; '.join(words)}{kept}"
