"""Properties that every environment of the registry has, under every legal combination of options."""

import gc
import itertools
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_with_gymnasium
from stable_baselines3.common.env_checker import check_env as check_with_sb3

import environments  # noqa: F401  (registers the ids)
from environments.bullet import pybullet
from environments.registry import ENVIRONMENTS, check_env_kwargs
from environments.robot_env import RobotEnv

SWITCHES = ("is_discrete", "action_joints", "random_target", "shape_reward", "multi_view", "observe_task")


def is_legal(env_id, env_kwargs):
    try:
        check_env_kwargs(env_id, env_kwargs)
    except ValueError:
        return False
    return True


def legal_combinations(switches=SWITCHES):
    """All pairs of an id and env kwargs that the registry accepts."""
    for env_id, row in ENVIRONMENTS.items():
        for task, observation in itertools.product(row.tasks, row.observations):
            named = {"task": task} if task != row.default_task else {}
            for values in itertools.product((False, True), repeat=len(switches)):
                env_kwargs = {"observation": observation, **named, **dict(zip(switches, values, strict=True))}
                if is_legal(env_id, env_kwargs):
                    yield env_id, env_kwargs


def name_of(value):
    """The switches that are on and the words chosen, for the id of a test."""
    if not isinstance(value, dict):
        return value
    return "-".join(str(chosen if isinstance(chosen, str) else key) for key, chosen in value.items() if chosen)


def richest(env_id):
    """The low-dimensional observation that holds all the others."""
    return "joints_position" if "joints_position" in ENVIRONMENTS[env_id].observations else "ground_truth"


def checked_by(env_id, env_kwargs):
    """The combination as a parameter, slow where another one differs only in a part of what is seen or drawn."""
    is_all = env_kwargs["multi_view"] or env_kwargs["observation"] == richest(env_id)
    both, neither = ({**env_kwargs, "random_target": is_on, "shape_reward": is_on} for is_on in (True, False))
    is_fast = is_all and env_kwargs == (both if is_legal(env_id, both) else neither)
    return pytest.param(env_id, env_kwargs, marks=() if is_fast else pytest.mark.slow)


COMBINATIONS = list(legal_combinations())
ACTION_MODES = [
    (env_id, {**env_kwargs, "random_target": is_legal(env_id, {**env_kwargs, "random_target": True})})
    for env_id, env_kwargs in legal_combinations(("is_discrete", "action_joints"))
    if env_kwargs["observation"] != "raw_pixels"
]
every_id = pytest.mark.parametrize("env_id", ENVIRONMENTS)
RICHEST = [mode for mode in ACTION_MODES if mode[1]["observation"] == richest(mode[0])]
# The humanoid takes long to simulate; before its table it has the body and the actions of the one with the tomato.
MOTIONS = [
    pytest.param(*mode, marks=pytest.mark.slow) if mode[0] == "InmoovOneArmButtonGymEnv-v0" else mode
    for mode in RICHEST
]
PARTS = [pytest.param(*mode, marks=pytest.mark.slow) for mode in ACTION_MODES if mode not in RICHEST]
every_motion = pytest.mark.parametrize(("env_id", "env_kwargs"), MOTIONS, ids=str)
every_action_mode = pytest.mark.parametrize(("env_id", "env_kwargs"), [*MOTIONS, *PARTS], ids=str)


def make(env_id, **env_kwargs) -> RobotEnv:
    env = gymnasium.make(env_id, **env_kwargs).unwrapped
    assert isinstance(env, RobotEnv)
    return env


def sample_actions(env, seed, n_actions):
    """Random actions of which a part presses downwards, so that arms meet table and button."""
    rng = np.random.default_rng(seed)
    if isinstance(env.action_space, gymnasium.spaces.Discrete):
        return np.where(
            rng.random(n_actions) < 0.4, env.action_space.n - 1, rng.integers(env.action_space.n, size=n_actions)
        )
    return rng.uniform(-1, 1, (n_actions, *env.action_space.shape)).astype(np.float32)


def long_enough(env_id):
    """Steps in which random actions meet table and button; the humanoid is slow to simulate, and has its own tests."""
    return 100 if env_id.startswith("Inmoov") else 400


def play(env, seed, actions):
    """Observations and rewards of one episode, or of its beginning."""
    observations, rewards = [env.reset(seed=seed)[0]], []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        observations.append(observation)
        rewards.append(reward)
        if terminated or truncated:
            break
    return np.array(observations), np.array(rewards)


def assert_same(episode, other):
    np.testing.assert_array_equal(episode[0], other[0])
    np.testing.assert_array_equal(episode[1], other[1])


@pytest.mark.parametrize(("env_id", "env_kwargs"), list(itertools.starmap(checked_by, COMBINATIONS)), ids=name_of)
def test_the_checkers_of_gymnasium_and_sb3_pass_without_a_warning(env_id, env_kwargs):
    env = make(env_id, **env_kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_with_gymnasium(env, skip_render_check=True)
        check_with_sb3(env)
    env.close()


@every_id
def test_rendering_passes_the_checker(env_id):
    env = gymnasium.make(env_id, render_mode="rgb_array", render_size=48)
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (48, 48, 3)
    assert picture.dtype == np.uint8
    env.close()


@pytest.mark.parametrize(
    ("env_id", "n_combinations"),
    [
        ("KukaButtonGymEnv-v0", 3 * 2 * 2 * 5),
        ("InmoovGymEnv-v0", 3 * 2 * 2 * 5),
        ("InmoovOneArmButtonGymEnv-v0", 3 * 2 * 2 * 5),
        ("MobileRobotGymEnv-v0", 2 * 2 * 2 * 3),
    ],
)
def test_no_legal_combination_is_refused(env_id, n_combinations):
    """Action modes x random target x shaped reward x observations, of which pixels come with one or two views."""
    assert sum(1 for other, _ in COMBINATIONS if other == env_id) == n_combinations


@every_motion
def test_the_same_seed_gives_the_same_trajectory_in_another_instance(env_id, env_kwargs):
    first, second = make(env_id, **env_kwargs), make(env_id, **env_kwargs)
    actions = sample_actions(first, 1, 60)
    assert_same(play(first, 5, actions), play(second, 5, actions))


@every_action_mode
def test_two_resets_without_a_seed_differ(env_id, env_kwargs):
    env = make(env_id, **env_kwargs)
    first, _ = env.reset(seed=0)
    second, _ = env.reset()
    assert not np.array_equal(first, second)


@every_id
def test_two_resets_differ_also_with_a_fixed_target(env_id):
    env = make(env_id)
    assert not np.array_equal(env.reset()[0], env.reset()[0])


@every_motion
def test_an_episode_does_not_depend_on_the_ones_before(env_id, env_kwargs):
    """Bit for bit, also after episodes that ended in contact with the button or the table."""
    used = make(env_id, **env_kwargs)
    for seed in range(2):
        fresh = make(env_id, **env_kwargs)
        actions = sample_actions(fresh, seed, long_enough(env_id))
        expected = play(fresh, seed, actions)
        fresh.close()
        assert_same(play(used, seed, actions), expected)
        assert_same(play(used, seed, actions), expected)
        play(used, 100 + seed, sample_actions(used, 100 + seed, 70 * (seed + 1)))
    used.close()


def press(env, seed):
    """Play one episode with a policy that goes over the button and then down."""
    observations, rewards = [env.reset(seed=seed)[0]], []
    terminated = truncated = False
    while not (terminated or truncated):
        x, y, _ = observations[-1]
        sideways = (0 if x > 0 else 1) if abs(x) > abs(y) else (2 if y > 0 else 3)
        action = sideways if max(abs(x), abs(y)) > 0.03 else 4
        observation, reward, terminated, truncated, info = env.step(action)
        observations.append(observation)
        rewards.append(reward)
    return (np.array(observations), np.array(rewards)), info["is_success"]


@pytest.mark.slow
def test_presses_of_the_button_leave_no_trace_in_the_next_episode():
    used = make("KukaButtonGymEnv-v0", random_target=True)
    n_successes = 0
    for seed in range(12):
        fresh = make("KukaButtonGymEnv-v0", random_target=True)
        expected, is_success = press(fresh, seed)
        fresh.close()
        n_successes += is_success
        assert_same(press(used, seed)[0], expected)
    assert n_successes >= 10


@every_motion
def test_two_environments_in_one_process_do_not_influence_each_other(env_id, env_kwargs):
    alone, one, other = (make(env_id, **env_kwargs) for _ in range(3))
    actions = sample_actions(alone, 2, 50)
    expected, _ = play(alone, 3, actions)
    observations = [one.reset(seed=3)[0]]
    other.reset(seed=4)
    for action in actions:
        other.step(other.action_space.sample())
        observations.append(one.step(action)[0])
    np.testing.assert_array_equal(np.array(observations), expected)


@every_action_mode
def test_observations_are_finite_float32_inside_the_space_and_share_no_memory(env_id, env_kwargs):
    env = make(env_id, **env_kwargs)
    assert env.observation_space.dtype == np.float32
    assert np.isfinite(env.observation_space.low).all()
    assert np.isfinite(env.observation_space.high).all()
    last, _ = env.reset(seed=1)
    for action in sample_actions(env, 6, long_enough(env_id)):
        observation, reward, terminated, truncated, _ = env.step(action)
        assert observation.dtype == np.float32
        assert env.observation_space.contains(observation)
        assert np.isfinite(reward)
        assert not np.shares_memory(observation, last)
        last = env.reset()[0] if terminated or truncated else observation


@every_id
def test_pictures_share_no_memory(env_id):
    env = make(env_id, observation="raw_pixels", image_size=36)
    first, _ = env.reset(seed=0)
    before = first.copy()
    second = env.step(0)[0]
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, before)


@every_action_mode
def test_no_controlled_element_of_an_observation_is_constant(env_id, env_kwargs):
    env = make(env_id, **env_kwargs)
    observations = np.concatenate([play(env, seed, sample_actions(env, seed, 150))[0] for seed in range(3)])
    held = ("finger", "gripper", "_tip_", "jaw", "eye", "head_tilt", *(("head", "left") if "OneArm" in env_id else ()))
    is_controlled = [not any(part in name for part in held) for name in env.feature_names]
    assert (observations[:, is_controlled].std(axis=0) > 1e-4).all()


@pytest.mark.parametrize(
    ("env_id", "env_kwargs", "names"),
    [
        ("KukaButtonGymEnv-v0", {}, [f"effector_from_button_{axis}" for axis in "xyz"]),
        ("InmoovGymEnv-v0", {}, [f"hand_from_tomato_{axis}" for axis in "xyz"]),
        ("InmoovOneArmButtonGymEnv-v0", {}, [f"hand_from_button_{axis}" for axis in "xyz"]),
        ("MobileRobotGymEnv-v0", {}, ["robot_from_target_x", "robot_from_target_y"]),
    ],
)
def test_ground_truth_is_the_robot_relative_to_the_target_and_its_elements_have_names(env_id, env_kwargs, names):
    env = make(env_id, random_target=True, **env_kwargs)
    observation, _ = env.reset(seed=0)
    np.testing.assert_allclose(observation, env.robot_position - env.target_position, atol=1e-6)
    assert list(env.feature_names) == names


def test_joint_observations_are_read_live_and_named():
    env = make("KukaButtonGymEnv-v0", observation="joints_position", is_discrete=False, action_joints=True)
    env.reset(seed=0)
    observation = env.step(np.ones(7))[0]
    world = env._world()
    live = [state[0] for state in world.bind(pybullet.getJointStates)(world.bodies["robot"], range(14))]
    np.testing.assert_array_equal(observation[3:], np.array(live, np.float32))
    np.testing.assert_allclose(observation[:3], env.robot_position - env.target_position, atol=1e-6)
    assert len(env.feature_names) == 17
    assert env.feature_names[3:10] == tuple(f"lbr_iiwa_joint_{number}" for number in range(1, 8))
    link_names = [world.bind(pybullet.getJointInfo)(world.bodies["robot"], i)[12].decode() for i in range(7)]
    assert link_names == [name.replace("joint", "link") for name in env.feature_names[3:10]]


def test_pixels_have_no_feature_names():
    assert make("MobileRobotGymEnv-v0", observation="raw_pixels").feature_names == ()


def steps_until_the_end(env, action):
    env.reset(seed=0)
    n_steps, info = 0, {}
    terminated = truncated = False
    while not (terminated or truncated):
        assert info == {}
        _, _, terminated, truncated, info = env.step(action)
        n_steps += 1
    return n_steps, terminated, truncated, info


@pytest.mark.parametrize(
    ("env_id", "env_kwargs", "n_steps"),
    [
        ("KukaButtonGymEnv-v0", {}, 1001),
        ("KukaButtonGymEnv-v0", {"action_repeat": 4}, 251),
        ("KukaButtonGymEnv-v0", {"max_steps": 20}, 21),
        ("KukaButtonGymEnv-v0", {"max_steps": 20, "action_repeat": 7}, 3),
        ("KukaButtonGymEnv-v0", {"max_steps": 21, "action_repeat": 7}, 4),
        ("MobileRobotGymEnv-v0", {}, 251),
        ("InmoovGymEnv-v0", {}, 1000),
        pytest.param("InmoovGymEnv-v0", {"action_repeat": 4}, 500, marks=pytest.mark.slow),
        pytest.param("InmoovOneArmButtonGymEnv-v0", {}, 1000, marks=pytest.mark.slow),
        ("MobileRobotGymEnv-v0", {"action_repeat": 2}, 126),
        ("MobileRobotGymEnv-v0", {"max_steps": 9, "action_repeat": 5}, 2),
    ],
)
def test_an_episode_is_truncated_when_its_physics_steps_exceed_the_limit(env_id, env_kwargs, n_steps):
    env = make(env_id, is_discrete=False, **env_kwargs)
    ended = steps_until_the_end(env, np.zeros(env.action_space.shape))
    assert ended == (n_steps, False, True, {"is_success": False})


@every_id
def test_the_physics_stops_at_the_limit_within_a_repeated_action(env_id):
    long, short = (make(env_id, max_steps=20, action_repeat=repeat, is_discrete=False) for repeat in (30, 21))
    action = np.full(long.action_space.shape, 0.5)
    assert_same(play(long, 0, [action]), play(short, 0, [action]))


@every_id
def test_close_releases_the_physics_client_and_forbids_further_use(env_id):
    env = make(env_id, observation="raw_pixels", image_size=36)
    env.reset(seed=0)
    client = env._simulation._client
    assert pybullet.isConnected(client) == 1
    env.close()
    env.close()
    assert pybullet.isConnected(client) == 0
    for use in (env.reset, lambda: env.step(0)):
        with pytest.raises(ValueError, match="^this environment was closed; make a new one$"):
            use()


def test_an_environment_that_is_forgotten_releases_its_physics_client():
    env = gymnasium.make("KukaButtonGymEnv-v0")
    client = env.unwrapped._simulation._client
    del env
    gc.collect()
    assert pybullet.isConnected(client) == 0


def test_reset_refuses_options():
    env = make("MobileRobotGymEnv-v0")
    with pytest.raises(ValueError, match="^reset takes no options, but got target; pass env kwargs instead$"):
        env.reset(options={"target": (1, 1)})


@pytest.mark.parametrize(
    ("env_kwargs", "action", "message"),
    [
        ({}, 6, "^the action must be an integer from 0 to 5, not 6$"),
        ({}, -1, "^the action must be an integer from 0 to 5, not -1$"),
        ({}, 1.5, "^the action must be an integer from 0 to 5, not 1.5$"),
        ({"is_discrete": False}, np.zeros(2), "^the action must be 3 finite numbers, not array"),
        ({"is_discrete": False}, [0.0, 0.0, float("nan")], "^the action must be 3 finite numbers, not "),
        ({"is_discrete": False}, [0.0, float("inf"), -float("inf")], "^the action must be 3 finite numbers, not "),
        ({"is_discrete": False, "action_joints": True}, np.zeros(3), "^the action must be 7 finite numbers, not array"),
    ],
)
def test_what_is_not_an_action_is_refused(env_kwargs, action, message):
    env = make("KukaButtonGymEnv-v0", **env_kwargs)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)
