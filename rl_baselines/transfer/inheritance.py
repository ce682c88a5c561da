"""The settings that a fine-tune takes from its source."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from environments.registry import ENVIRONMENTS, task_of, task_options
from rl_baselines.algorithms import find_algorithm
from rl_baselines.config import DistillationConfig, FineTuningConfig
from rl_baselines.errors import UsageError
from rl_baselines.foreign.settings import foreign_layer
from rl_baselines.layers import Layer, without_shortcuts
from rl_baselines.sources import Source

NOT_INHERITED = (
    *("seed", "stop_value", "device", "lr_warmup", "lr_scale"),
    *("perform_cross_evaluation_cc", "eval_episode_window", "cross_tasks"),
    *(item.name for item in (*fields(FineTuningConfig), *fields(DistillationConfig))),
)


def inherited_layer(source: Source, given: Mapping[str, Any]) -> tuple[Layer, list[str]]:
    """Give the settings that a fine-tune takes from its source, and in words what it does not.

    :param given: the settings of files and flags together
    :raises UsageError: when a setting is needed that the source does not tell
    """
    algo = source.algorithm
    if algo is not None and given.get("algo") is not None:
        able = {algo, find_algorithm(algo).continued_by}
        if find_algorithm(given["algo"]).name not in able:
            raise UsageError(
                f"{source} is a model of {algo}, --algo {given['algo']} cannot continue it; leave --algo out or take "
                f"another source"
            )
    layer, notes = _from_run(source.settings, given) if source.settings else foreign_layer(source, given)
    if algo is not None and find_algorithm(algo).continued_by:
        notes += _hand_over(layer.values, given)
    epsilon = layer.values["hyperparam"].get("exploration_final_eps")
    if epsilon is not None:
        layer.values["hyperparam"]["exploration_initial_eps"] = epsilon
        notes.append(f"exploration at random (its share starts at {epsilon:g}, where the source's ended)")
    return layer, notes


def _hand_over(values: Any, given: Mapping[str, Any]) -> list[str]:
    """Let the algorithm that continues another one's models take over, and say what is not kept.

    Of a student neither hyperparameters nor lengths mean the same to another algorithm, nor to one that has other
    lessons.

    :param values: settings of the source, changed in place
    """
    row = find_algorithm(values["algo"])
    values["algo"] = find_algorithm(given.get("algo") or row.continued_by).name
    values["hyperparam"] = {}
    left_out = ("lr_decay", "num_timesteps", "n_envs", "num_cpu", "vec_env", "eval_freq", "best_by")
    for name in left_out:
        values.pop(name, None)
    return [f"hyperparameters, numbers of environments and timesteps, and how the best model is found, of {row.name}"]


def _from_run(settings: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[Layer, list[str]]:
    values = {name: value for name, value in settings.items() if name not in NOT_INHERITED}
    notes = ["seed (drawn anew from the seed, the purpose and the parent)"]
    values["hyperparam"] = {name: value for name, value in values["hyperparam"].items() if name != "learning_rate"}
    if settings.get("stop_value") is not None:
        notes.append(f"stop value {settings['stop_value']:g}")
    if given.get("env") not in (None, settings["env"]) and settings["env_kwargs"]:
        values["env_kwargs"] = {}
        options = ", ".join(f"{name}:{value}" for name, value in settings["env_kwargs"].items())
        notes.append(f"environment options of {settings['env']} ({options})")
    elif settings["env"] in ENVIRONMENTS:
        values["env_kwargs"], left_out = _without_other_task(settings, given)
        notes += left_out
    env = given.get("env") or settings["env"]
    if (env in ENVIRONMENTS) != (settings["env"] in ENVIRONMENTS) and settings.get("srl_model"):
        values["srl_model"] = None
        notes.append(f"observations {settings['srl_model']}, which {env} has not")
    return Layer("parent", values), notes


def _without_other_task(settings: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Give the environment options that a fine-tune takes over: none of the source's task where it has another."""
    kwargs = dict(settings["env_kwargs"])
    wanted = without_shortcuts(Layer("given", given)).get("env_kwargs", {}).get("task")
    if wanted in (None, task_of(settings["env"], kwargs)):
        return kwargs, []
    left_out = {name: kwargs.pop(name) for name in task_options(settings["env"], kwargs)}
    options = ", ".join(f"{name}:{value}" for name, value in left_out.items())
    return kwargs, [f"options of the source's task ({options})"] if left_out else []
