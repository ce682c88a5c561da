"""Rewards, ends and motions of the robots that slide over a floor, against numbers computed by hand."""

import math
import re

import gymnasium
import numpy as np
import pytest

import environments  # noqa: F401  (registers the ids)
from environments.robot_env import RobotEnv

SIDE = 0.6125
STILL = np.zeros(2, np.float32)


def make(env_id, seed=0, **env_kwargs) -> RobotEnv:
    env = gymnasium.make(env_id, **env_kwargs).unwrapped
    assert isinstance(env, RobotEnv)
    env.reset(seed=seed)
    return env


def put(env, x, y=0.0, target=None):
    """Place the robot, and the target unless it stays where it is."""
    env._robot._x, env._robot._y = x, y
    env._position = (x, y, 0.0)
    if target is not None:
        env._task.target = (*target, 0.0)


def omni(task="reach", **env_kwargs):
    """A robot without noise, whose continuous action zero holds it still."""
    quiet = {"position_noise": 0, "yaw_noise": 0, "picture_noise": 0, "is_discrete": False}
    return make("OmnirobotEnv-v0", task=task, **{**quiet, **env_kwargs})


def step(env, action=STILL):
    """Reward, terminated, truncated and success of one step."""
    _, reward, terminated, truncated, info = env.step(action)
    return reward, terminated, truncated, info.get("is_success")


# ------------------------------------------------------------------------------------------------- mobile robot


def test_two_targets_are_touched_in_turn_and_the_second_stays():
    env = make("MobileRobot2TargetGymEnv-v0", is_discrete=False)
    assert env.feature_names == ("robot_from_target_x", "robot_from_target_y")
    put(env, 0.45, 3.0)
    assert step(env)[0] == 0.0, "the second target does not count before the first"
    put(env, 3.5, 3.0)
    observation, reward, *_ = env.step(STILL)
    assert reward == 1.0
    np.testing.assert_allclose(observation, [3.5 - 0.4, 0.0], atol=1e-6)
    assert step(env)[0] == 0.0, "the first target does not count any more"
    put(env, 0.45, 3.2)
    assert [step(env)[0] for _ in range(3)] == [1.0, 1.0, 1.0]
    put(env, 3.5, 3.0)
    assert step(env)[0] == 0.0


def test_two_targets_are_a_success_when_the_second_is_reached_at_the_end():
    ends = []
    for first, last in (((3.5, 3.0), (0.45, 3.0)), ((3.5, 3.0), (3.5, 3.0)), ((2.0, 2.0), (3.5, 3.0))):
        env = make("MobileRobot2TargetGymEnv-v0", is_discrete=False, max_steps=1)
        put(env, *first)
        step(env)
        put(env, *last)
        ends.append(step(env))
    assert [end[2:] for end in ends] == [(True, True), (True, False), (True, False)]


def test_a_random_target_moves_both_of_two_targets():
    env = make("MobileRobot2TargetGymEnv-v0", random_target=True)
    places = []
    for seed in range(5):
        env.reset(seed=seed)
        places.append([*env._task._targets[0][:2], *env._task._targets[1][:2]])
    assert len({tuple(place) for place in places}) == 5 and (np.std(places, axis=0) > 0.3).all()
    assert (np.array(places) >= 0.4).all() and (np.array(places) <= 3.6).all()


def test_a_car_in_a_corridor_has_two_actions_and_one_coordinate():
    env = make("MobileRobot1DGymEnv-v0")
    assert env.action_space.n == 2 and env.feature_names == ("robot_from_target_x",)
    put(env, 3.1)
    observation, reward, *_ = env.step(0)
    assert (reward, observation.shape) == (0.0, (1,))
    assert observation[0] == pytest.approx(3.0 - 3.6)
    assert [env.step(1)[1] for _ in range(3)] == [0.0, 1.0, 1.0]  # at 3.1, 3.2 and 3.3 m, of which 3.2 is near enough
    assert env.robot_position.tolist() == pytest.approx([3.3])
    put(env, 3.5)
    assert step(env, 1)[0] == -1.0, "the wall begins 0.425 m before 4 m"
    assert env.robot_position.tolist() == pytest.approx([3.5])
    shaped = make("MobileRobot1DGymEnv-v0", shape_reward=True)
    put(shaped, 2.0)
    assert step(shaped, 0)[0] == pytest.approx(-1.7)


def test_on_the_way_to_a_line_only_one_coordinate_counts():
    env = make("MobileRobotLineTargetGymEnv-v0", is_discrete=False)
    assert env.feature_names == ("robot_from_line_x",)
    for x, y, reward in ((3.31, 0.3, 1.0), (3.29, 3.0, 0.0), (3.4, 3.7, 1.0)):
        put(env, x, y)
        observation, given, *_ = env.step(STILL)
        assert given == reward and observation.tolist() == pytest.approx([x - 3.6])
    put(env, 1.0, 1.0, target=(0.8, 2.0))
    assert step(env)[0] == 1.0
    put(env, 3.5, 1.0)
    assert step(env, np.array([1.0, 0.0]))[0] == -1.0
    shaped = make("MobileRobotLineTargetGymEnv-v0", is_discrete=False, shape_reward=True)
    put(shaped, 1.0, 3.0)
    assert step(shaped)[0] == pytest.approx(-2.6)


@pytest.mark.parametrize("env_id", ["MobileRobot1DGymEnv-v0", "MobileRobotLineTargetGymEnv-v0"])
def test_random_targets_of_one_coordinate_stay_in_their_range(env_id):
    env = make(env_id, random_target=True)
    places = [(env.reset(seed=seed), env.target_position[0])[1] for seed in range(50)]
    assert min(places) >= 0.4 and max(places) <= 3.6 and np.std(places) > 0.6
    narrow = make(env_id, random_target=True, target_region=[0.5, 1.0])
    places = [(narrow.reset(seed=seed), narrow.target_position[0])[1] for seed in range(50)]
    assert min(places) >= 2.0 and max(places) <= 3.6 and np.std(places) > 0.3


# ---------------------------------------------------------------------------------------------------- omnirobot


def test_moves_of_the_omnirobot():
    """Discrete: forward, backward, left, right. Continuous: no move is longer than a step. Out of bounds: none."""
    env = omni(is_discrete=True)
    put(env, 0.0, 0.0)
    places = [(env.step(action), env.robot_position.tolist())[1] for action in (0, 2, 1, 3)]
    np.testing.assert_allclose(places, [(0.1, 0), (0.1, 0.1), (0, 0.1), (0, 0)], atol=1e-12)
    env = omni()
    for action, way in (((1.0, 1.0), 0.1 / math.sqrt(2)), ((0.6, 0.6), 0.06), ((-2.0, -2.0), -0.1 / math.sqrt(2))):
        put(env, 0.0, 0.0)
        env.step(np.array(action, np.float32))
        np.testing.assert_allclose(env.robot_position, [way, way], atol=1e-8)
    put(env, 0.8, 0.0)
    assert step(env, np.array([1.0, 0.0]))[0] == -1.0
    assert env.robot_position.tolist() == [0.8, 0.0]


def test_reach_pays_at_the_target_and_takes_for_bumps_elsewhere():
    env = omni()
    for x, bumps, reward in ((0.1999, False, 1.0), (0.2001, False, 0.0), (0.8, True, -1.0)):
        put(env, x, 0.0)
        assert step(env, np.array([1.0, 0.0]) if bumps else STILL)[:2] == (reward, False)
    put(env, 0.8, 0.0, target=(0.7, 0.0))
    assert step(env, np.array([1.0, 0.0]))[0] == 1.0, "a bump at the target costs nothing"
    shaped = omni(shape_reward=True)
    put(shaped, 0.3, -0.4)
    assert step(shaped)[0] == pytest.approx(-0.5)


def test_reach_observes_the_robot_from_the_target():
    env = omni(random_target=True)
    put(env, 0.3, -0.4, target=(-0.1, 0.2))
    observation = env.step(STILL)[0]
    np.testing.assert_allclose(observation, [0.4, -0.6], atol=1e-6)
    assert env.feature_names == ("robot_from_target_x", "robot_from_target_y")


def test_targets_are_at_the_centre_or_anywhere():
    fixed, anywhere = omni(), omni(random_target=True)
    places, starts = [], []
    for seed in range(100):
        fixed.reset(seed=seed)
        assert fixed.target_position.tolist() == [0.0, 0.0]
        starts.append(fixed.robot_position)
        anywhere.reset(seed=seed)
        places.append(anywhere.target_position)
    for found in (np.array(places), np.array(starts)):
        assert 0.6 < np.abs(found).max() <= 0.7 and (found.std(axis=0) > 0.3).all()


def test_a_short_episode_of_reach_ends_after_fifteen_contacts():
    env = omni(short_episodes=True)
    put(env, 0.5, 0.0)
    assert step(env) == (0.0, False, False, None)
    put(env, 0.0, 0.0)
    assert [step(env) for _ in range(15)] == [(1.0, False, False, None)] * 14 + [(1.0, True, False, True)]
    long = omni()
    put(long, 0.0, 0.0)
    assert all(step(long)[:2] == (1.0, False) for _ in range(20))


@pytest.mark.parametrize(("task", "n_steps"), [("circle", 75), ("reach", 251)])
def test_how_long_short_episodes_last_that_are_not_solved(task, n_steps):
    env = omni(task, short_episodes=True)
    put(env, 0.7, 0.7)
    ends = [step(env)[1:3] for _ in range(n_steps)]
    assert ends == [(False, False)] * (n_steps - 1) + [(False, True)]


@pytest.mark.parametrize(
    ("task", "place", "reward"),
    [
        ("circle", (SIDE, 0.0), 10.0),
        ("circle", (0.0, 0.0), 10 * (1 - 0.37515625)),
        ("circle", (0.3, 0.4), 10 * (1 - 0.1125**2)),
        ("square", (SIDE, 0.2), 10.0),
        ("square", (0.5, -0.5), 10 * (1 - 0.1125**2)),
        ("square", (0.0, 0.0), 10 * (1 - 0.37515625)),
        ("eight", (0.0, 0.0), 10.0),
        ("eight", (0.4, 0.0), 10 * (1 - (0.16 - 0.7503125 * 0.16) ** 2)),
        ("eight", (0.3, -0.4), 10 * (1 - (0.25 + 0.7503125 * 0.07) ** 2)),
    ],
)
def test_rewards_of_paths_at_known_points(task, place, reward):
    """In the first nine steps the factor is one, although the robot stands still."""
    env = omni(task)
    put(env, *place)
    assert [step(env)[0] for _ in range(9)] == pytest.approx([reward] * 9, abs=1e-12)
    assert step(env)[0] == pytest.approx(0.0, abs=1e-12), "from the tenth step on, who stands still gets nothing"


def test_the_lemniscate_of_the_eight():
    env = omni("eight", lemniscate=True)
    place = (math.sqrt(2) * SIDE * 0.9, 0.1)
    square, difference = place[0] ** 2 + 0.01, place[0] ** 2 - 0.01
    put(env, *place)
    assert step(env)[0] == pytest.approx(10 * (1 - (square**2 - 2 * SIDE**2 * difference) ** 2))
    x = SIDE * math.sqrt(2) * math.cos(0.5) / (1 + math.sin(0.5) ** 2)  # on Bernoulli's lemniscate
    put(env, x, x * math.sin(0.5))
    assert step(env)[0] == pytest.approx(10.0)


def test_the_factor_is_the_way_made_in_nine_steps():
    """Along the square's right side by 0.05 m a step: 9 x 0.05 m, then less because of a rest, and of a jump back."""
    env = omni("square")
    put(env, SIDE, -0.6)
    up = np.array([0.0, 0.5])
    rewards = [step(env, up)[0] for _ in range(12)]
    assert rewards == pytest.approx([10.0] * 9 + [4.5] * 3)
    assert [step(env)[0] for _ in range(3)] == pytest.approx([4.0, 3.5, 3.0])
    env.reset(seed=1)
    put(env, SIDE, 0.0)
    assert step(env, up)[0] == pytest.approx(10.0), "the way of the last episode does not count"


@pytest.mark.parametrize("task", ["circle", "square", "eight"])
def test_a_bump_costs_a_hundred_on_paths(task):
    env = omni(task)
    put(env, 0.84, 0.0)
    free = step(env)[0]
    assert step(env, np.array([1.0, 0.0]))[0] == pytest.approx(free - 100.0)
    assert step(env)[0] == pytest.approx(free)


@pytest.mark.parametrize("task", ["circle", "square", "eight"])
def test_paths_know_no_success(task):
    env = omni(task, max_steps=1)
    env.step(STILL)
    *_, truncated, info = env.step(STILL)
    assert truncated and info == {}


@pytest.mark.parametrize(("distance", "reward"), [(0.301, 1.0), (0.399, 1.0), (0.401, 0.0), (0.299, 0.0), (0.0, 0.0)])
def test_chase_pays_in_a_band_of_distance(distance, reward, monkeypatch):
    env = omni("chase")
    monkeypatch.setattr(env._task, "advance", lambda position: None)
    put(env, 0.1 + distance, 0.2, target=(0.1, 0.2))
    assert step(env)[0] == reward
    put(env, 0.84, 0.84, target=(0.0, 0.0))
    assert step(env, np.array([1.0, 0.0]))[0] == -1.0


def test_the_chased_marker_turns_once_in_seventy_steps_and_stops_at_the_bounds():
    env = omni("chase")
    put(env, 0.0, 0.0, target=(0.0, -0.5))
    places = [env.target_position]
    for _ in range(70):
        step(env)
        places.append(env.target_position)
    moves = np.diff(places, axis=0)
    np.testing.assert_allclose(np.linalg.norm(moves, axis=1), 0.05, atol=1e-9)
    np.testing.assert_allclose(moves[0], [0.05 * math.cos(math.tau / 70), 0.05 * math.sin(math.tau / 70)], atol=1e-9)
    np.testing.assert_allclose(places[70], places[0], atol=1e-9)
    env.reset(seed=0)
    put(env, 0.0, 0.0, target=(0.82, 0.0))
    assert env.target_position.tolist() == [0.82, 0.0]
    step(env)
    assert env.target_position.tolist() == [0.82, 0.0]


@pytest.mark.parametrize(
    ("env_kwargs", "distance", "reward"),
    [
        ({}, 0.399, -1.0),
        ({}, 0.401, 1.0),
        ({"escape_band": True}, 0.299, -1.0),
        ({"escape_band": True}, 0.301, 0.0),
        ({"escape_band": True}, 0.599, 0.0),
        ({"escape_band": True}, 0.601, 1.0),
    ],
)
def test_escape_pays_for_distance(env_kwargs, distance, reward, monkeypatch):
    env = omni("escape", **env_kwargs)
    monkeypatch.setattr(env._task, "advance", lambda position: None)
    put(env, -0.2, distance - 0.4, target=(-0.2, -0.4))
    assert step(env)[0] == reward
    put(env, 0.84, 0.84, target=(-0.8, -0.8))
    assert step(env, np.array([0.0, 1.0]))[0] == -1.0, "who bumps is caught"


def test_the_pursuer_comes_along_the_larger_gap():
    env = omni("escape")
    put(env, 0.5, 0.1, target=(0.4, -0.2))
    observation = env.step(STILL)[0]
    np.testing.assert_allclose(observation, [0.5, 0.1, 0.4, -0.15], atol=1e-6)
    assert env.feature_names == ("robot_x", "robot_y", "pursuer_x", "pursuer_y")
    put(env, -0.5, 0.1, target=(0.4, -0.2))
    np.testing.assert_allclose(env.step(STILL)[0], [-0.5, 0.1, 0.35, -0.2], atol=1e-6)
    put(env, 0.42, -0.2, target=(0.4, -0.2))
    np.testing.assert_allclose(env.step(STILL)[0], [0.42, -0.2, 0.42, -0.2], atol=1e-6)


def test_the_pursuer_follows_within_a_repeated_action():
    env = omni("escape", action_repeat=4)
    put(env, 0.6, 0.0, target=(0.0, 0.0))
    np.testing.assert_allclose(env.step(STILL)[0], [0.6, 0.0, 0.2, 0.0], atol=1e-6)


def test_noise_of_place_does_not_add_up():
    """Standing still, the robot is seen beside its place, by a centimetre, after a thousand steps as after one."""
    env = omni(position_noise=0.01, max_steps=2000)
    put(env, 0.2, -0.1)
    places = []
    for _ in range(1000):
        env.step(STILL)
        places.append(env.robot_position)
    errors = np.array(places) - [0.2, -0.1]
    np.testing.assert_allclose(errors.std(axis=0), 0.01, rtol=0.1)
    assert np.abs(errors.mean(axis=0)).max() < 0.0015 and np.abs(errors).max() < 0.05


def test_noise_of_pictures_is_drawn_anew_at_each_step_and_only_there():
    """Two pictures of one moment are equal; over the steps marker, size and brightness vary by what is documented."""
    env = make("OmnirobotEnv-v0", render_mode="rgb_array", render_size=224, is_discrete=False, position_noise=0)
    columns, sides, greys = [], [], []
    for _ in range(120):
        put(env, -0.5, -0.5)
        env.step(STILL)
        first, second = env.render(), env.render()
        np.testing.assert_array_equal(first, second)
        red = np.argwhere((first[:, :, 0] > 120) & (first[:, :, 1] < 60))
        columns.append(red[:, 1].mean())
        sides.append(math.sqrt(len(red)))
        greys.append(float(first[20:40, 150:200].mean()))
    pixels_per_m = 224 / (2 * 2.9 * math.tan(math.radians(21)))
    assert np.mean(columns) == pytest.approx(111.5, abs=1.5)
    assert np.std(columns) == pytest.approx(0.03 * pixels_per_m, rel=0.25)
    assert np.mean(sides) == pytest.approx(0.18 * pixels_per_m, rel=0.03)
    assert np.std(sides) / np.mean(sides) == pytest.approx(0.05, rel=0.3)
    assert np.std(greys) / np.mean(greys) == pytest.approx(0.03, rel=0.25)
    quiet = omni(render_mode="rgb_array", render_size=96)
    put(quiet, -0.5, -0.5)
    pictures = [(quiet.step(STILL), quiet.render())[1] for _ in range(3)]
    np.testing.assert_array_equal(pictures[0], pictures[2])


@pytest.mark.parametrize(
    ("env_kwargs", "message"),
    [
        ({"task": "cirle"}, "unknown OmnirobotEnv-v0 task 'cirle'; did you mean 'circle'?"),
        (
            {"task": "button"},
            "unknown OmnirobotEnv-v0 task 'button'; known: chase, circle, eight, escape, reach, square",
        ),
        (
            {"task": "square", "short_episodes": True},
            "OmnirobotEnv-v0: short_episodes concerns task:reach and task:circle, not task:square",
        ),
        ({"lemniscate": True}, "OmnirobotEnv-v0: lemniscate concerns task:eight, not task:reach"),
        (
            {"task": "circle", "random_target": True},
            "OmnirobotEnv-v0: random_target is not supported by this task, the centre of its path does not move",
        ),
        (
            {"task": "eight", "shape_reward": True},
            "OmnirobotEnv-v0: shape_reward is not supported by this task, its reward is dense already",
        ),
        (
            {"task": "escape", "shape_reward": True},
            "OmnirobotEnv-v0: shape_reward is not supported by this task, it has no dense reward",
        ),
        ({"mass_scale": 2}, "OmnirobotEnv-v0: mass_scale needs a robot in the physics, and this one is kinematic"),
        ({"target_region": [0, 0.5]}, "OmnirobotEnv-v0: target_region needs random_target=True"),
        (
            {"camera_pitch": 30},
            "OmnirobotEnv-v0: the noise of pictures is for the camera 2.9 m above; to move it, give picture_noise=0"
            " too",
        ),
        ({"position_noise": -0.1}, "position_noise must be a finite number not below 0, not -0.1"),
    ],
)
def test_what_the_omnirobot_cannot_do_is_said_in_one_line(env_kwargs, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        gymnasium.make("OmnirobotEnv-v0", **env_kwargs)


# ------------------------------------------------------------------------------------------------- observed tasks


@pytest.mark.parametrize("index", range(6))
def test_an_observed_task_is_marked_in_an_observation_that_all_tasks_share(index):
    """Robot relative to the target, robot in the world, then a one for the task among six: numbers placed by hand."""
    tasks = ("reach", "circle", "square", "eight", "chase", "escape")
    env = omni(tasks[index], observe_task=True, max_steps=300)
    put(env, 0.3, -0.2, target=(0.1, 0.4) if tasks[index] == "reach" else None)
    observation, *_ = env.step(STILL)
    target = env.target_position
    marks = [float(place == index) for place in range(6)]
    np.testing.assert_allclose(observation, [0.3 - target[0], -0.2 - target[1], 0.3, -0.2, *marks], atol=1e-6)
    if tasks[index] == "reach":
        np.testing.assert_allclose(observation[:2], [0.2, -0.6], atol=1e-6)
    assert env.feature_names == (
        *("robot_from_target_x", "robot_from_target_y", "robot_x", "robot_y"),
        *("task_is_reach", "task_is_circle", "task_is_square", "task_is_eight", "task_is_chase", "task_is_escape"),
    )
    space = env.observation_space
    np.testing.assert_allclose(space.high, [1.7, 1.7, 0.85, 0.85, 1, 1, 1, 1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(space.low, [-1.7, -1.7, -0.85, -0.85, 0, 0, 0, 0, 0, 0], atol=1e-6)
