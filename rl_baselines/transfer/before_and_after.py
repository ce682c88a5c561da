"""What a fine-tune is worth: parent and child in the parent's environment and in the new one, on common episodes."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from rl_baselines.comparison import Comparison, Scores, compare
from rl_baselines.config import RunConfig, to_flat
from rl_baselines.errors import UsageError
from rl_baselines.evaluation import EvaluationResult, evaluate, evaluation_seeds, random_states_kept
from rl_baselines.layers import Layer
from rl_baselines.model_building import load_to_act
from rl_baselines.random_agent import RandomPolicy
from rl_baselines.retention.state_memory import can_remember, collect
from rl_baselines.sources import Source
from rl_baselines.transfer.alignment import element_names, identity_map
from rl_baselines.transfer.plan import FeatureShift, feature_shifts
from rl_baselines.vec_env import make_evaluation_env

if TYPE_CHECKING:
    from rl_baselines.training import TrainingRun

MAX_ENVS = 8
N_SHIFT_STATES = 1024

BEFORE, AFTER_LAST, AFTER_BEST = "before", "after (last)", "after (best)"
PARENT_AT_HOME, CHILD_AT_HOME, RANDOM_AT_HOME = "parent, its env", "child, parent's env", "random, parent's env"

Announce = Callable[[str], None]


def score(run: "TrainingRun", n_episodes: int) -> EvaluationResult:
    """Evaluate a run's model as it is on the common episodes."""
    env = run.make_evaluation_env(n_episodes)
    try:
        return evaluate(run.model, env, evaluation_seeds(n_episodes, "comparison"))
    finally:
        env.close()


def _score_saved(source: Source, layers: list[Layer], n_episodes: int) -> EvaluationResult:
    policy, env = load_to_act(source, layers, min(n_episodes, MAX_ENVS))
    try:
        return evaluate(policy, env, evaluation_seeds(n_episodes, "comparison"))
    finally:
        env.close()


def measure_before(run: "TrainingRun", source: Source | None, announce: Announce) -> None:
    """Evaluate the parent in its own environment and the loaded policy in the new one, where that is not done yet."""
    n_episodes = run.config.fine_tuning.compare_episodes
    if not n_episodes or BEFORE in run.comparisons:
        return
    where = "in both environments" if run.home is not None else "in the environment"
    announce(f"evaluating the loaded policy {where}, {n_episodes} episodes ...")
    run.comparisons[BEFORE] = score(run, n_episodes)
    if run.home is not None and source is not None and run.parent_config is not None:
        with random_states_kept(run.model, 0):  # building a model seeds the global generators
            run.comparisons[PARENT_AT_HOME] = _score_saved(source, _layers(run.parent_config), n_episodes)


def measure_after(run: "TrainingRun", announce: Announce) -> None:
    """Evaluate the last and the best model in the new environment, and in the parent's the one that is to be used."""
    n_episodes = run.config.fine_tuning.compare_episodes
    if not n_episodes:
        return
    announce(f"evaluating the last and the best model, {n_episodes} episodes each ...")
    run.comparisons[AFTER_LAST] = score(run, n_episodes)
    best, last = run.folder.pointed("best"), run.folder.pointed("last")
    if best is not None and best.timesteps != run.model.num_timesteps:
        source = Source(best.model, "best", run.folder)
        run.comparisons[AFTER_BEST] = _score_saved(source, _layers(run.config), n_episodes)
    final, home = best or last, run.home
    if home is not None and final is not None:
        announce(f"evaluating in the parent's environment, {n_episodes} episodes ...")
        source = Source(final.model, "best" if best else "last", run.folder)
        try:
            run.comparisons[CHILD_AT_HOME] = _score_saved(source, _layers(home), n_episodes)
        except UsageError as error:
            run.not_at_home = str(error)
            return
        run.comparisons[RANDOM_AT_HOME] = _score_random(home, n_episodes)


def _score_random(config: RunConfig, n_episodes: int) -> EvaluationResult:
    env = make_evaluation_env(config, min(n_episodes, MAX_ENVS))
    try:
        policy = RandomPolicy(env.observation_space, env.action_space)
        policy.action_space.seed(0)
        return evaluate(policy, env, evaluation_seeds(n_episodes, "comparison"))
    finally:
        env.close()


def _layers(config: RunConfig) -> list[Layer]:
    return [Layer("run", to_flat(config))]


def judge(comparisons: Mapping[str, EvaluationResult], has_another_home: bool, reason: str) -> Comparison | None:
    """Judge a fine-tune by its evaluations; None before they are complete.

    :param comparisons: by the names of this module
    :param has_another_home: whether the parent's environment is another one than the run's
    :param reason: why the child was not evaluated in the parent's environment, where it was not
    """
    child = comparisons.get(AFTER_BEST) or comparisons.get(AFTER_LAST)
    if child is None or BEFORE not in comparisons:
        return None
    new = Scores(comparisons[BEFORE], child)
    if not has_another_home:
        return compare(new)
    old = Scores(comparisons.get(PARENT_AT_HOME), comparisons.get(CHILD_AT_HOME), reason)
    random = comparisons.get(RANDOM_AT_HOME)
    return compare(new, old, 0.0 if random is None else random.mean_reward)


def is_worse_than_at_home(comparisons: Mapping[str, EvaluationResult]) -> bool:
    """Tell whether the loaded policy fails in most episodes, or does clearly worse than in its own environment."""
    here, there = comparisons.get(BEFORE), comparisons.get(PARENT_AT_HOME)
    if here is None:
        return False
    if here.success_rate is not None and here.success_rate < 0.5:
        return True
    intervals = (here.reward_interval(), None if there is None else there.reward_interval())
    return intervals[0] is not None and intervals[1] is not None and intervals[0][1] < intervals[1][0]


def measure_shifts(run: "TrainingRun", source: Source) -> list[FeatureShift]:
    """Compare what the loaded policy observes here with the statistics of its parent's observations.

    Of features that the parent did not have nothing is said; nothing at all, where observations are no flat vectors or
    the source has no statistics of them.
    """
    statistics = (source.statistics or {}).get("observations")
    shape = run.model.observation_space.shape
    if statistics is None or "mean" not in statistics or shape is None or not can_remember(run.model):
        return []
    mapped = run.observation_map or identity_map("observation", run.model.observation_space)
    if len(statistics["mean"]) != len(mapped.old) or shape != (len(mapped.new),):
        return []
    env = run.make_evaluation_env(MAX_ENVS)
    try:
        observations = np.asarray(collect(run.model, env, N_SHIFT_STATES, seed=0).observations, dtype=np.float64)
    finally:
        env.close()
    names = element_names(run.env, "observation") or mapped.new
    here = [index for index, source in enumerate(mapped.sources) if source is not None]
    there = [source for source in mapped.sources if source is not None]
    old_mean, old_var = (np.asarray(statistics[name], dtype=np.float64)[there] for name in ("mean", "var"))
    return feature_shifts([names[index] for index in here], old_mean, old_var, observations[:, here])
