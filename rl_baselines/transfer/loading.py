"""A source loaded into a new run: networks, optimisers, statistics, replay buffer, each with what became of it."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from rl_baselines.errors import UsageError
from rl_baselines.normalization import apply_statistics
from rl_baselines.retention.state_memory import StateMemory, collect, read_memory, relabelled, states_that_fit
from rl_baselines.sources import Source
from rl_baselines.transfer.alignment import (
    Alignment,
    ElementMap,
    element_names,
    identity_map,
    layout_of,
    match_elements,
)
from rl_baselines.transfer.choices import TransferChoices
from rl_baselines.transfer.networks import Layout, Row, load_entropy, load_networks, load_optimizers, reset_std
from rl_baselines.transfer.residual import ResidualLayout
from rl_baselines.transfer.source_replay import read_replay
from rl_baselines.transfer.transitions import MixedBatches, empty_buffer_like, fill, find_obstacle
from rl_baselines.vec_env import make_evaluation_env, share_statistics

if TYPE_CHECKING:
    from rl_baselines.training import TrainingRun

ADAPT_COUNT = 10_000
"""Observations that the source's statistics count for at most when they are to adapt to new ones."""


def load_source(run: "TrainingRun", source: Source, choices: TransferChoices) -> list[Row]:
    """Put all that is to be loaded from a source into a run that is set up.

    :return: what became of each part
    :raises UsageError: when something does not fit
    """
    settings, parts = run.config.fine_tuning, choices.parts
    alignment = _align(run, choices)
    run.observation_map = None if alignment is None else alignment.observation
    rows = [*_space_rows(alignment)]
    layout: Layout | None = alignment
    if settings.residual:
        layout = ResidualLayout(run.model.policy.state_dict(), alignment)
    matches = load_networks(run.model, source.content, parts, layout)
    rows += matches.rows(choices.resets)
    if "optimizer" in parts:
        rows += load_optimizers(run.model, source.content, matches, layout)
    else:
        rows.append(("optimizer", "reset", choices.resets.get("optimizer", "not among --load-parts")))
    rows += _entropy_rows(run, source, parts)
    if settings.reset_std:
        rows.append(reset_std(run.model))
    rows.append(_load_statistics(run, source, choices, alignment))
    run.model.acts_by_policy = "policy" in parts  # type: ignore[attr-defined]
    if isinstance(run.model, OffPolicyAlgorithm):
        rows.append(_load_replay(run, run.model, source, choices, alignment))
    return rows


def _align(run: "TrainingRun", choices: TransferChoices) -> Alignment | None:
    """Match the elements of the parent's spaces to those here; None when they are the same, or have no names."""
    if choices.parent is None or choices.same_environment(run.config):
        return None
    parents = make_evaluation_env(choices.parent, 1)
    try:
        maps = []
        for kind, space in (("observation", run.model.observation_space), ("action", run.model.action_space)):
            old, new = element_names(parents, kind), element_names(run.env, kind)
            named = old is not None and new is not None
            maps.append(match_elements(kind, old, new) if named else identity_map(kind, space))  # type: ignore[arg-type]
    finally:
        parents.close()
    if all(mapped.is_identity for mapped in maps):
        return None
    return Alignment(layout_of(run.model.policy), *maps)


def _space_rows(alignment: Alignment | None) -> list[Row]:
    if alignment is None:
        return []
    return [_space_row(mapped) for mapped in (alignment.observation, alignment.action) if not mapped.is_identity]


def _space_row(mapped: ElementMap) -> Row:
    kept = len(mapped.new) - len(mapped.added)
    words = [f"{kept} of {len(mapped.new)} elements by name"]
    if mapped.added:
        words.append(f"new, without effect at first: {', '.join(mapped.added)}")
    if mapped.dropped:
        words.append(f"left out: {', '.join(mapped.dropped)}")
    renamed = mapped.renamed
    if renamed:
        words.append("taken as the same: " + ", ".join(f"{old} as {new}" for old, new in renamed))
    return f"{mapped.kind} space", "padded" if mapped.added else "aligned", "; ".join(words)


def _entropy_rows(run: "TrainingRun", source: Source, parts: tuple[str, ...]) -> list[Row]:
    if _keeps_own_entropy(run, source):
        return [("entropy", "reset", f"ent_coef {run.config.algorithm.hyperparam['ent_coef']} was asked for")]
    if "entropy" in parts:
        return load_entropy(run.model, source.content)
    return [("entropy", "reset", "not among --load-parts")] if hasattr(run.model, "ent_coef_optimizer") else []


def _keeps_own_entropy(run: "TrainingRun", source: Source) -> bool:
    """Tell whether an entropy coefficient set for this run replaces the tensor that SAC and its kin learnt."""
    own, variables = run.config.algorithm.hyperparam.get("ent_coef"), source.content.variables
    if not {"log_ent_coef", "ent_coef_tensor"} & variables.keys():
        return False
    theirs = source.content.fields if source.settings is None else source.settings["hyperparam"]
    return bool(own != theirs.get("ent_coef"))


def _load_statistics(run: "TrainingRun", source: Source, choices: TransferChoices, alignment: Alignment | None) -> Row:
    norm = run.config.fine_tuning.norm
    if not isinstance(run.env, VecNormalize):
        left = source.statistics is not None
        return ("normalization", "left out", "this run does not normalize") if left else ("normalization", "none", "")
    if norm == "fresh" or source.statistics is None:
        return "normalization", "reset", _why_fresh(source, choices.parts)
    content = dict(source.statistics)
    if alignment is not None and not alignment.observation.is_identity and content["observations"] is not None:
        content["observations"] = _aligned(content["observations"], alignment.observation)
    count = _count_of(content["observations"])
    if norm == "adapt":
        content = _with_count_capped(content)
    apply_statistics(run.env, content, str(source))
    words = {
        "keep": f"statistics of {count:,.0f} observations go on with their full count",
        "freeze": f"statistics of {count:,.0f} observations stand still",
        "adapt": f"statistics of {count:,.0f} observations adapt, counting as {min(count, ADAPT_COUNT):,.0f}",
    }
    return "normalization", "frozen" if norm == "freeze" else "loaded", words[norm or "adapt"]


def _why_fresh(source: Source, parts: tuple[str, ...]) -> str:
    if source.statistics is None:
        return "the source has no statistics"
    return "statistics begin anew: --norm fresh" if "normalizer" in parts else "not among --load-parts"


def _aligned(statistics: dict[str, Any], mapped: ElementMap) -> dict[str, Any]:
    """Lay statistics out for other observations; new elements begin with mean 0 and variance 1."""
    laid_out = {"count": statistics["count"]}
    for name, initial in (("mean", 0.0), ("var", 1.0)):
        values = np.asarray(statistics[name], dtype=np.float64)
        laid_out[name] = [initial if source is None else float(values[source]) for source in mapped.sources]
    return laid_out


def _count_of(statistics: Any) -> float:
    if statistics is None:
        return 0.0
    if "count" in statistics and not isinstance(statistics["count"], dict):
        return float(statistics["count"])
    return max(float(part["count"]) for part in statistics.values())


def _with_count_capped(content: Any) -> Any:
    """Let every statistic count for no more than `ADAPT_COUNT` observations."""
    if not isinstance(content, dict):
        return content
    return {
        name: min(float(value), ADAPT_COUNT) if name == "count" else _with_count_capped(value)
        for name, value in content.items()
    }


def _load_replay(
    run: "TrainingRun", model: OffPolicyAlgorithm, source: Source, choices: TransferChoices, alignment: Alignment | None
) -> Row:
    """Append the source's transitions to the run's buffer, or keep them apart to be mixed in."""
    assert model.replay_buffer is not None
    mix = run.config.fine_tuning.replay_mix
    if "replay-buffer" not in choices.parts and mix is None:
        return "replay buffer", "left out", choices.replay_reason or ""
    transitions = read_replay(source)
    obstacle = "the spaces differ" if alignment is not None else find_obstacle(model.replay_buffer, transitions)
    if obstacle is not None:
        if run.config.fine_tuning.load_parts or mix is not None:
            raise UsageError(f"the replay buffer of {source} cannot be used: {obstacle}")
        return "replay buffer", "left out", f"{obstacle}: the loaded policy fills a new one"
    model.learning_starts = 0
    if mix is None:
        n_loaded = fill(model.replay_buffer, transitions)
        return "replay buffer", "loaded", f"{n_loaded:,} of {len(transitions):,} transitions, learning starts at once"
    second = empty_buffer_like(model, -(-len(transitions) // model.n_envs))
    n_loaded = fill(second, transitions)
    run.writer.keep_second(second)
    MixedBatches(model, second, mix)
    return "replay buffer", "loaded", f"{n_loaded:,} transitions kept apart, {100 * mix:g} % of each batch"


def retention_memory(run: "TrainingRun", source: Source, choices: TransferChoices) -> StateMemory:
    """Give states of the parent's environment with what the loaded policy does there.

    They are those that the source's run stored; where it stored none, the loaded policy acts there for some.

    :raises UsageError: when there are none and that environment is not known, or when its observations are others
    """
    stored = None if source.run is None else source.run.state_memory
    if stored is not None and stored.is_file():
        memory = read_memory(stored)
    elif choices.parent is not None:
        env = make_evaluation_env(replace(choices.parent, vector=run.config.vector), run.env.num_envs)
        share_statistics(run.env, env)
        try:
            space = env.observation_space
            if space != run.model.observation_space:
                raise UsageError(_other_states(run, source))
            memory = collect(run.model, env, states_that_fit(space), run.seed("retention memory"))
        finally:
            env.close()
    else:
        raise UsageError(
            f"--retain {run.config.fine_tuning.retain} needs states of the parent's environment, and {source} does not "
            "tell which that is; take --retain kl or l2sp"
        )
    try:
        return relabelled(memory, run.model)
    except (RuntimeError, ValueError, KeyError, AssertionError):
        raise UsageError(_other_states(run, source)) from None


def _other_states(run: "TrainingRun", source: Source) -> str:
    return (
        f"--retain {run.config.fine_tuning.retain}: the states of {source} are not observations of this run; take "
        "--retain kl or l2sp"
    )
