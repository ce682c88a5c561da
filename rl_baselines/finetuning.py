"""What a fine-tune takes from its parent: settings, weights, optimiser, statistics."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_baselines.algorithms import find_algorithm
from rl_baselines.config import FineTuningConfig
from rl_baselines.errors import UsageError
from rl_baselines.foreign_settings import foreign_layer
from rl_baselines.model_zip import load_tensors
from rl_baselines.resolution import Layer
from rl_baselines.sources import Source

NOT_INHERITED = (
    *("seed", "stop_value", "device", "lr_warmup", "lr_scale"),
    *(item.name for item in fields(FineTuningConfig)),
)


def inherited_layer(source: Source, given: Mapping[str, Any]) -> tuple[Layer, list[str]]:
    """Give the settings that a fine-tune takes from its source, and in words what it does not.

    :param given: the settings of files and flags together
    :raises UsageError: when a setting is needed that the source does not tell
    """
    algo = source.algorithm
    if algo is not None and given.get("algo") is not None and find_algorithm(given["algo"]).name != algo:
        raise UsageError(
            f"{source} is a model of {algo}, --algo {given['algo']} cannot continue it; leave --algo out or take "
            f"another source"
        )
    layer, notes = _from_run(source.settings, given) if source.settings else foreign_layer(source, given)
    epsilon = layer.values["hyperparam"].get("exploration_final_eps")
    if epsilon is not None:
        layer.values["hyperparam"]["exploration_initial_eps"] = epsilon
        notes.append(f"exploration at random (its share starts at {epsilon:g}, where the source's ended)")
    return layer, notes


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
    return Layer("parent", values), notes


def load_model_state(model: BaseAlgorithm, source: Source, own_entropy: bool) -> list[tuple[str, str]]:
    """Put weights and optimiser state of a source into a model.

    :param own_entropy: keep the model's own entropy coefficient, because another one was asked for
    :return: what was loaded or left out, as pairs of part and words
    """
    skip = ("ent_coef_optimizer", "log_ent_coef", "ent_coef_tensor") if own_entropy else ()
    load_tensors(model, source.content, skip)
    n_tensors = len(source.content.parameters["policy"])
    optimizers = [name for name in source.content.parameters if name.endswith("optimizer") and name not in skip]
    report = [("weights", f"loaded, {n_tensors} tensors")]
    report.append(("optimizer", "loaded: " + ", ".join(optimizers) if optimizers else "the source has none"))
    if own_entropy:
        report.append(("entropy coefficient", "not loaded: ent_coef was set for this run"))
    return report
