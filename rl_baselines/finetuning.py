"""What a fine-tune takes from its parent: settings, weights, optimiser, statistics."""

from collections.abc import Mapping
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_baselines.algorithms import Algorithm, find_algorithm
from rl_baselines.errors import UsageError
from rl_baselines.hyperparameters import ACTIVATIONS, hyperparameter_hints
from rl_baselines.literals import coerce
from rl_baselines.model_zip import load_tensors, plain_fields
from rl_baselines.resolution import Layer
from rl_baselines.sources import Source

NOT_INHERITED = ("seed", "stop_value", "load_rl_model_path", "new_lr", "compare_episodes", "device")
ZIP_FIELDS = {"n_envs": "n_envs", "num_timesteps": "_total_timesteps"}  # settings and the fields that tell them
POLICY_FIELDS = (  # policy options that a zip holds as plain values
    *("net_arch", "ortho_init", "log_std_init", "n_critics", "share_features_extractor", "normalize_images"),
    *("n_quantiles", "lstm_hidden_size", "n_lstm_layers", "enable_critic_lstm", "shared_lstm", "squash_output"),
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
    layer, notes = _from_run(source.settings, given) if source.settings else _from_fields(source, algo, given)
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


def _from_fields(source: Source, algo: str | None, given: Mapping[str, Any]) -> tuple[Layer, list[str]]:
    """Read what a zip that is not ours tells about itself."""
    if given.get("env") is None:
        raise UsageError(f"{source} does not tell its environment: give --env")
    if algo is None and given.get("algo") is None:
        raise UsageError(f"{source} does not tell its algorithm: give --algo")
    algorithm = find_algorithm(algo or given["algo"])
    fields = plain_fields(source.content.fields)
    hyperparameters, unread = _hyperparameters(algorithm, fields)
    values: dict[str, Any] = {"algo": algorithm.name, "hyperparam": hyperparameters, "norm_obs": False}
    values["policy_kwargs"] = _policy_options(fields.get("policy_kwargs") or {})
    values |= {name: fields[field] for name, field in ZIP_FIELDS.items() if isinstance(fields.get(field), int)}
    if not values.get("num_timesteps", 1):
        del values["num_timesteps"]
    if isinstance(fields.get("learning_rate"), (int, float)):
        values["lr_decay"] = "constant"
    notes = ["seed (drawn anew)", "normalization statistics (a lone zip has none)"]
    if unread:
        notes.append("hyperparameters that the zip does not hold as plain values: " + ", ".join(unread))
    return Layer("source zip", values), notes


def _hyperparameters(algorithm: Algorithm, fields: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Read an algorithm's hyperparameters from a zip's fields; also name those that are there but cannot be read."""
    hints, read, unread = hyperparameter_hints(algorithm), {}, []
    for name, hint in hints.items():
        if name in ("learning_rate", "n_minibatches", "noise_type", "noise_std", "replay_buffer_kwargs"):
            continue
        try:
            read[name] = coerce(fields[name] if name in fields else fields[f"_{name}"], hint, name)
        except (KeyError, UsageError):
            unread.append(name)
    if "use_rms_prop" in hints:  # A2C keeps it only as the optimiser of its policy
        read["use_rms_prop"] = "RMSprop" in str((fields.get("policy_kwargs") or {}).get("optimizer_class"))
        unread.remove("use_rms_prop")
    return read, unread


def _policy_options(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    options = {name: kwargs[name] for name in POLICY_FIELDS if name in kwargs}
    text = str(kwargs.get("activation_fn", ""))
    for name, cls in ACTIVATIONS.items():
        if f".{cls}'" in text:
            options["activation"] = name
    return options


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
