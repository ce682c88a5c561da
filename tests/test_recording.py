"""Episodes as they are recorded: whole, raw, repeatable, and led to the target where a script acts."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import pytest
from test_dataset import assert_equal

from environments.recording import RandomPolicy, Walker, episode_seeds, record
from environments.registry import ENVIRONMENTS, build
from environments.robots.actions import index_toward, vector_toward

ACTION_MODES: dict[str, dict[str, object]] = {
    "discrete": {},
    "continuous": {"is_discrete": False},
    "joints": {"is_discrete": False, "action_joints": True},
}
KINEMATIC_TASKS = [
    *(("MobileRobotGymEnv-v0", "reach", 200), ("MobileRobot1DGymEnv-v0", "reach", 200)),
    *(("MobileRobot2TargetGymEnv-v0", "two_targets", 170), ("MobileRobotLineTargetGymEnv-v0", "line", 200)),
    *(("OmnirobotEnv-v0", "reach", 235), ("OmnirobotEnv-v0", "circle", 1700), ("OmnirobotEnv-v0", "square", 1800)),
    *(("OmnirobotEnv-v0", "eight", 900), ("OmnirobotEnv-v0", "chase", 120), ("OmnirobotEnv-v0", "escape", 40)),
]
"""With a return that random actions come nowhere near to."""


class Scripted:
    """Takes given actions, and says of each what it saw."""

    def __init__(self, actions: list[int]) -> None:
        self.actions = actions

    def begin(self, seed: int) -> None:
        self.seed, self.n_steps = seed, 0

    def act(self, observation: np.ndarray) -> tuple[int, Mapping[str, np.ndarray]]:
        action = self.actions[self.n_steps % len(self.actions)]
        self.n_steps += 1
        return action, {"seen": observation.copy(), "values": np.array(self.n_steps, np.float32)}


def test_episode_holds_all_that_was_seen_and_done() -> None:
    """T + 1 states, T steps; each action stands beside the state that it was taken in, places beside their moment."""
    env = build("MobileRobotGymEnv-v0", random_target=True, max_steps=5)
    policy = Scripted([1, 3, 0])
    episode = record(env, policy, seed=3, index=2)
    assert (episode.start_seed, policy.seed) == episode_seeds(3, 2)
    assert (episode.n_steps, episode.terminated, episode.truncated) == (6, False, True)
    assert episode.actions.dtype == np.int64 and episode.actions.tolist() == [1, 3, 0, 1, 3, 0]
    assert np.array_equal(episode.teacher["seen"], episode.observations[:-1])
    assert episode.teacher["values"].tolist() == [1, 2, 3, 4, 5, 6]
    first, _ = env.reset(seed=episode.start_seed)
    assert np.array_equal(episode.observations[0], first)
    assert np.allclose(episode.observations, episode.ground_truth - episode.target, atol=1e-6)
    moves = np.diff(episode.ground_truth, axis=0)
    assert np.allclose(moves[:3], [[0.1, 0], [0, 0.1], [-0.1, 0]], atol=1e-6)
    assert episode.rewards.dtype == np.float64 and episode.observations.dtype == np.float32
    assert episode.success is False


def test_pictures_are_recorded_raw() -> None:
    episode = record(build("OmnirobotEnv-v0", observation="raw_pixels", max_steps=3, multi_view=True), Scripted([0]), 0)
    assert episode.observations.shape == (5, 64, 64, 6) and episode.observations.dtype == np.uint8
    assert not np.array_equal(episode.observations[0], episode.observations[-1])


def test_environment_from_elsewhere_has_no_places() -> None:
    env = gymnasium.make("CartPole-v1")
    episode = record(env, RandomPolicy(env.action_space), 0)
    assert episode.ground_truth.shape == episode.target.shape == (episode.n_steps + 1, 0)
    assert episode.terminated and episode.success is None


def test_episode_follows_from_seed_and_index_alone() -> None:
    """Neither episodes played before nor the space of the environment play a part in it; another index does."""
    fresh, used = (build("MobileRobotGymEnv-v0", random_target=True, max_steps=30) for _ in range(2))
    used.action_space.seed(5)
    policy = Walker(used, 0.5)
    record(used, policy, 0, 7)
    assert_equal(record(fresh, Walker(fresh, 0.5), 1, 4), record(used, policy, 1, 4))
    assert not np.array_equal(record(used, policy, 1, 4).actions, record(used, policy, 1, 5).actions)


def test_seeds_of_episodes_stay_what_they_are() -> None:
    """Datasets that were recorded long ago can be recorded again."""
    assert episode_seeds(0, 0) == (821328062, 1529665511)
    assert episode_seeds(3, 2) == (960329833, 524413843)
    assert len({episode_seeds(seed, index) for seed in range(20) for index in range(20)}) == 400


def test_share_of_steps_in_which_the_script_acts() -> None:
    """The script acts in that share of the steps, chance in the others, of which one in four does the same."""
    env = build("MobileRobotGymEnv-v0", max_steps=2000)
    for share, expected in ((0.0, 0.25), (0.6, 0.7), (1.0, 1.0)):
        policy = Walker(env, share)
        policy.begin(0)
        env.reset(seed=0)
        same = []
        for _ in range(1500):
            wanted = env.walker_action()
            action, _ = policy.act(np.zeros(2))
            same.append(action == wanted)
            env.step(action)
        assert np.mean(same) == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize(("env_id", "task", "least"), KINEMATIC_TASKS)
@pytest.mark.parametrize("mode", ["discrete", "continuous"])
def test_script_leads_robots_on_the_floor(env_id: str, task: str, least: float, mode: str) -> None:
    env = build(env_id, task=task, **ACTION_MODES[mode])
    episodes = [record(env, Walker(env), 0, index) for index in range(3)]
    assert np.mean([episode.rewards.sum() for episode in episodes]) > least
    assert all(env.action_space.contains(action) for episode in episodes for action in episode.actions)


def arms() -> list[Any]:
    """Every task of an arm in every action mode; one robot's button in each mode is enough for every day."""
    found = []
    for env_id, row in ENVIRONMENTS.items():
        for mode in ACTION_MODES if not row.robot.is_kinematic else ():
            is_fast = env_id in ("KukaButtonGymEnv-v0", "InmoovOneArmButtonGymEnv-v0")
            found.append(pytest.param(env_id, mode, marks=() if is_fast else pytest.mark.slow))
    return found


@pytest.mark.parametrize(("env_id", "mode"), arms())
def test_script_solves_the_tasks_of_the_arms(env_id: str, mode: str) -> None:
    env = build(env_id, random_target=True, **ACTION_MODES[mode])
    episode = record(env, Walker(env), 1)
    assert episode.success
    env.close()


@pytest.mark.parametrize("mode", ACTION_MODES)
def test_script_brings_the_hand_nearer_to_the_tomato(mode: str) -> None:
    env = build("InmoovGymEnv-v0", max_steps=100, **ACTION_MODES[mode])
    episode = record(env, Walker(env), 0)
    distances = np.linalg.norm(episode.ground_truth - episode.target, axis=1)
    assert distances[-1] < 0.8 * distances[0]
    env.close()


def test_script_is_refused_where_it_cannot_lead() -> None:
    with pytest.raises(ValueError, match="only our own robots can be led towards a target, and CartPole-v1 is none"):
        Walker(gymnasium.make("CartPole-v1"))
    env = build("MobileRobotGymEnv-v0", is_discrete=False)
    with pytest.raises(ValueError, match="lies between 0 and 1, got 1.5"):
        Walker(env, 1.5)
    rescaled = gymnasium.wrappers.RescaleAction(env, np.float32(-2), np.float32(2))
    with pytest.raises(ValueError, match="whose actions a wrapper has changed"):
        Walker(rescaled)


def test_actions_towards_a_goal_by_hand() -> None:
    """The move that ends nearest; and the straight way, of which no element is beyond 1."""
    moves = [(-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0)]
    assert index_toward(moves, (0.0, 0.0), (2.0, 1.5)) == 1
    assert index_toward(moves, (0.0, 0.0), (-0.2, -5.0)) == 2
    assert vector_toward((0.0, 1.0), (0.4, 0.8), 0.1).tolist() == [1.0, -0.5]
    assert vector_toward((0.0, 1.0), (0.05, 1.0), 0.1).tolist() == [0.5, 0.0]


def test_other_observation_kinds_of_the_moment() -> None:
    """What another kind would show is what an environment with that kind shows after the same actions."""
    env = build("KukaButtonGymEnv-v0", observation="raw_pixels", random_target=True)
    env.reset(seed=4)
    env.step(1)
    for kind in ("ground_truth", "joints", "joints_position"):
        other = build("KukaButtonGymEnv-v0", observation=kind, random_target=True)
        other.reset(seed=4)
        assert np.array_equal(env.observation_of(kind), other.step(1)[0])
        other.close()
    env.close()
