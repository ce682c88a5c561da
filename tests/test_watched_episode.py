"""One episode of an evaluation is looked at; nothing of the evaluation changes."""

import numpy as np
import pytest

from rl_baselines.config import from_flat
from rl_baselines.evaluation import evaluate, evaluation_seeds
from rl_baselines.random_agent import RandomAgent
from rl_baselines.vec_env import make_evaluation_env
from rl_baselines.watched_episode import take_watched


@pytest.mark.parametrize("env_id", ["MobileRobotGymEnv-v0", "KukaButtonGymEnv-v0"])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_the_first_episode_is_watched_and_no_result_changes(env_id: str, n_envs: int) -> None:
    config = from_flat({"env": env_id, "env_kwargs": {"max_steps": 20}, "srl_model": "ground_truth", "norm_obs": False})
    seeds = evaluation_seeds(4)
    results = []
    for watched in (False, True):
        env = make_evaluation_env(config, n_envs, watched=watched)
        agent = RandomAgent("MlpPolicy", env, seed=0)
        results.append(evaluate(agent, env, seeds))
        seen = take_watched(env)
        assert (seen is None) is not watched
        if seen is not None:
            n_axes = len(seen.target)
            assert seen.points.shape == (results[-1].lengths[0] + 1, n_axes) and seen.pixels.shape == (256, 256, 3)
            assert seen.pixels.std() > 10 and np.ptp(seen.points, axis=0).max() > 0
            assert take_watched(env) is None
            evaluate(agent, env, seeds)
            again = take_watched(env)
            assert again is not None and np.array_equal(again.points, seen.points)
        env.close()
    one, other = results
    assert np.array_equal(one.rewards, other.rewards) and np.array_equal(one.lengths, other.lengths)


def test_other_environments_are_not_watched() -> None:
    config = from_flat({"env": "CartPole-v1", "srl_model": "native", "norm_obs": False})
    env = make_evaluation_env(config, 2, watched=True)
    evaluate(RandomAgent("MlpPolicy", env, seed=0), env, evaluation_seeds(2))
    assert take_watched(env) is None
    env.close()
