"""What can be done with a saved model, why not, and with which command."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec as find_module
from pathlib import Path

from environments.registry import find_spec
from rl_baselines.algorithms import find_algorithm
from rl_baselines.checkpoint import Checkpoint
from rl_baselines.errors import UsageError
from rl_baselines.model_facts import environment_of
from rl_baselines.resuming import STATE_FORMAT
from rl_baselines.run_folder import RunFolder, short
from rl_baselines.sources import Source
from rl_baselines.state_files import read_state
from rl_baselines.transfer.inheritance import inherited_layer


@dataclass(frozen=True)
class Use:
    """Whether something can be done with a model.

    :param reason: why not, or what must be given besides; empty for a plain yes
    :param command: what to type; empty where it cannot be done
    """

    possible: bool
    reason: str
    command: str = ""

    def __str__(self) -> str:
        answer = "yes" if self.possible else "no"
        return f"{answer}: {self.reason}" if self.reason else answer


def judge_uses(source: Source) -> dict[str, Use]:
    """Tell whether a model can be enjoyed, fine-tuned and resumed."""
    return {"enjoyed": _enjoyed(source), "fine-tuned": _fine_tuned(source), "resumed": _resumed(source)}


def _enjoyed(source: Source) -> Use:
    return _used(source, ["python", "-m", "rl_baselines.enjoy", short(Path(source.path))], [])


def _fine_tuned(source: Source) -> Use:
    words = ["python", "-m", "rl_baselines.train", "--load-rl-model-path", short(Path(source.path))]
    if not source.content.parameters["policy"]:
        return Use(False, "it has no parameters, so there is nothing to train on")
    has_rate = source.algorithm is None or find_algorithm(source.algorithm).learning_rate
    return _used(source, words, ["--new-lr"] if has_rate and source.root_learning_rate is None else [])


def _used(source: Source, words: Sequence[str], needed: Sequence[str]) -> Use:
    """Judge a use that needs the environment, the algorithm and the statistics.

    :param needed: flags that must be given besides
    """
    placeholders = {"--env": "ID", "--algo": "NAME", "--new-lr": "X"}
    try:
        flags = [*_untold(source), *needed]
        _ = source.statistics
    except UsageError as error:
        return Use(False, str(error))
    if "--env" not in flags and (missing := _missing_environment(source)):
        return Use(False, missing)
    given = [word for flag in flags for word in (flag, placeholders[flag])]
    reason = f"with {', '.join(flags)}" if flags else ""
    if "--env" in flags and (trained_in := environment_of(source)) is not None:
        reason += f" ({trained_in} is not known here)"
    return Use(True, reason, shlex.join([*words, *given]))


def _untold(source: Source) -> list[str]:
    """Name the flags for what the source does not tell about itself.

    :raises UsageError: when it could not be used with these either
    """
    flags = ["--algo"] if source.algorithm is None else []
    given = {"algo": "ppo"} if flags else {}
    find_algorithm(source.algorithm or given["algo"])
    try:
        inherited_layer(source, given)
    except UsageError:
        inherited_layer(source, {**given, "env": "any"})
        return ["--env", *flags]
    return flags


def _missing_environment(source: Source) -> str:
    """Say that the environment is not installed, without importing the packages that would bring it."""
    settings = source.settings or {}
    for package in settings.get("gym_packages", ()):
        if find_module(package.partition(".")[0]) is None:
            return f"its environment {settings['env']} comes with the package {package}, which is not installed"
    if settings.get("gym_packages") or "env" not in settings or ":" in settings["env"]:
        return ""
    try:
        find_spec(settings["env"])
    except ValueError as error:
        return f"{error}; --env names another environment"
    return ""


def _resumed(source: Source) -> Use:
    if source.run is None:
        return Use(False, "only a checkpoint in its run's folder holds the state of a training")
    checkpoint = Checkpoint(source.model.parent)
    tests: tuple[Callable[[Checkpoint], str | None], ...] = (_lack_of_state, _damage, _other_format)
    for test in tests:
        if reason := test(checkpoint):
            return Use(False, reason)
    words = ["python", "-m", "rl_baselines.train", "--resume", f"{short(source.run.path)}@step:{checkpoint.timesteps}"]
    newest = source.run.checkpoint_folders()[-1].path == checkpoint.path
    reasons = [] if newest else ["later checkpoints and records are set aside"]
    planned = _planned_beyond(source.run, checkpoint)
    if planned is not None:
        reasons.append("all its timesteps are done, --num-timesteps sets a larger number")
        words += ["--num-timesteps", str(2 * planned)]
    return Use(True, "; ".join(reasons), shlex.join(words))


def _lack_of_state(checkpoint: Checkpoint) -> str | None:
    return None if checkpoint.can_be_resumed() else "it holds a model but not the state of its training"


def _damage(checkpoint: Checkpoint) -> str | None:
    damage = checkpoint.damage()
    return damage and f"the checkpoint is damaged: {damage}"


def _other_format(checkpoint: Checkpoint) -> str | None:
    saved = read_state(checkpoint.state).get("format")
    return None if saved == STATE_FORMAT else f"its state has format {saved}, this version reads {STATE_FORMAT}"


def _planned_beyond(run: RunFolder, checkpoint: Checkpoint) -> int | None:
    """Give the horizon of a run where a checkpoint has reached it."""
    planned = run.read_record().get("steps_planned")
    return planned if isinstance(planned, int) and checkpoint.timesteps >= planned else None
