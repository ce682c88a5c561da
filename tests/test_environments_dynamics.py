"""Dynamics that differ from the usual ones, fixed or drawn for every episode."""

import math
import re

import gymnasium
import numpy as np
import pytest

import environments  # noqa: F401  (registers the ids)
from environments.bullet import pybullet
from environments.robot_env import RobotEnv

KUKA = "KukaButtonGymEnv-v0"
MOBILE = "MobileRobotGymEnv-v0"
EVERYTHING = {
    "mass_scale": [0.5, 2.0],
    "friction_scale": [0.5, 2.0],
    "gain_scale": [0.3, 1.0],
    "action_delay": [0, 4],
    "observation_noise": [0.0, 0.01],
}


def make(env_id, **env_kwargs) -> RobotEnv:
    env = gymnasium.make(env_id, **env_kwargs).unwrapped
    assert isinstance(env, RobotEnv)
    return env


def links_of(env):
    """Masses, lateral frictions and inertias of the robot's links."""
    world = env._world()
    body = world.bodies["robot"]
    info = world.bind(pybullet.getDynamicsInfo)
    found = [info(body, link)[:3] for link in range(-1, world.bind(pybullet.getNumJoints)(body))]
    return tuple(np.array(column) for column in zip(*found, strict=True))


def play(env, seed, n_steps):
    """Observations of an episode of random actions, or of its beginning."""
    rng = np.random.default_rng(seed)
    observations = [env.reset(seed=seed)[0]]
    for action in rng.uniform(-1, 1, (n_steps, *env.action_space.shape)).astype(np.float32):
        observation, _, terminated, truncated, _ = env.step(action)
        observations.append(observation)
        if terminated or truncated:
            break
    return np.array(observations)


def test_masses_and_frictions_are_those_of_the_episode():
    usual = links_of(make(KUKA))
    env = make(KUKA, mass_scale=[0.5, 2.0], friction_scale=[0.2, 0.8])
    drawn = []
    for seed in (1, 2, 1):
        dynamics = env.reset(seed=seed)[1]["dynamics"]
        drawn.append((dynamics["mass_scale"], dynamics["friction_scale"]))
        assert 0.5 <= dynamics["mass_scale"] <= 2.0 and 0.2 <= dynamics["friction_scale"] <= 0.8
        masses, frictions, inertias = links_of(env)
        np.testing.assert_allclose(masses, usual[0] * dynamics["mass_scale"], rtol=1e-9)
        np.testing.assert_allclose(frictions, usual[1] * dynamics["friction_scale"], rtol=1e-9)
        np.testing.assert_allclose(inertias, usual[2] * dynamics["mass_scale"], rtol=1e-9)
    assert drawn[0] == drawn[2] != drawn[1]


def test_what_is_fixed_draws_nothing():
    """An episode with a fixed dynamics starts as it does without; told the usual values, it goes on so too."""
    expected = play(make(MOBILE, is_discrete=False), 3, 30)
    told = make(MOBILE, is_discrete=False, gain_scale=1, action_delay=0, observation_noise=0)
    np.testing.assert_array_equal(play(told, 3, 30), expected)
    slower = play(make(MOBILE, is_discrete=False, gain_scale=0.5), 3, 30)
    np.testing.assert_array_equal(slower[0], expected[0])
    np.testing.assert_allclose(np.diff(slower[:5], axis=0), np.diff(expected[:5], axis=0) / 2, atol=1e-6)


def test_a_lower_gain_lags_more_and_a_heavier_arm_moves_differently():
    """Commanded sideways slowly enough for the joints, by 10 cm."""
    ways = {}
    for name, kwargs in {"usual": {}, "gain": {"gain_scale": 0.05}, "mass": {"mass_scale": 3.0}}.items():
        env = make(KUKA, is_discrete=False, force_down=False, action_repeat=10, **kwargs)
        env.reset(seed=0)
        start = env.robot_position
        for _ in range(30):
            env.step(np.array([0.0, 0.1, 0.0], dtype=np.float32))
        ways[name] = (env.robot_position - start)[1]
    assert ways["usual"] == pytest.approx(0.105, abs=0.005)
    assert ways["usual"] - ways["gain"] > 0.015, "a twentieth of the gain lags by its step over its gain, about 2 cm"
    assert 1e-6 < abs(ways["mass"] - ways["usual"]) < 0.3 * ways["usual"]


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_actions_come_late(delay):
    """The car drives right, left, right ...; before its first action has come it stands still."""
    env = make(MOBILE, action_delay=delay)
    env.reset(seed=0)
    x = [env.robot_position[0]]
    for step in range(8):
        env.step(1 if step % 3 else 0)
        x.append(env.robot_position[0])
    moves = [0.0] * delay + [0.1 if step % 3 else -0.1 for step in range(8 - delay)]
    np.testing.assert_allclose(np.diff(x), moves, atol=1e-9)
    env.reset(seed=0)
    x = env.robot_position[0]
    env.step(1)
    assert env.robot_position[0] == pytest.approx(x + (0.0 if delay else 0.1)), "nothing is left of the last episode"


def test_a_delayed_arm_holds_still():
    """Its position command stays, be it of the effector or of the joints; a caller may reuse its action array."""
    for kwargs in ({}, {"action_joints": True}):
        env = make(KUKA, is_discrete=False, action_delay=5, **kwargs)
        env.reset(seed=0)
        action = np.full(env.action_space.shape, -1.0, np.float32)
        command = (env._robot._effector, list(env._robot._joint_targets))
        for _ in range(5):
            env.step(action)
            action[:] = 0.0
            if not kwargs:
                assert env._robot._effector == command[0]
        before = env.robot_position
        for _ in range(30):
            env.step(action)
        assert np.linalg.norm(env.robot_position - before) > 1e-3, "the first action has come, with the values it had"


def test_noise_is_seen_and_not_rewarded():
    env = make(MOBILE, is_discrete=False, observation_noise=0.05, shape_reward=True, max_steps=2000)
    env.reset(seed=0)
    errors = []
    for _ in range(2000):
        observation, reward, *_ = env.step(np.zeros(2))
        truth = env.robot_position - env.target_position
        errors.append(observation - truth)
        assert reward == pytest.approx(-math.hypot(*truth))
        assert env.observation_space.contains(observation)
    np.testing.assert_allclose(np.std(errors, axis=0), 0.05, rtol=0.1)
    np.testing.assert_allclose(np.mean(errors, axis=0), 0.0, atol=0.005)


def test_noise_stays_inside_the_space():
    env = make(MOBILE, observation_noise=3.0)
    env.reset(seed=0)
    for _ in range(50):
        assert env.observation_space.contains(env.step(0)[0])


@pytest.mark.parametrize("env_id", [KUKA, MOBILE, "OmnirobotEnv-v0"])
def test_an_episode_is_decided_by_its_seed_whatever_was_drawn_before(env_id):
    kinematic = {name: value for name, value in EVERYTHING.items() if name not in ("mass_scale", "friction_scale")}
    env_kwargs = {"is_discrete": False, **(EVERYTHING if env_id == KUKA else kinematic)}
    used = make(env_id, **env_kwargs)
    for seed in range(4):
        expected = play(make(env_id, **env_kwargs), seed, 120)
        np.testing.assert_array_equal(play(used, seed, 120), expected)
        play(used, 50 + seed, 60 * seed)


def test_info_tells_the_dynamics_at_both_ends_of_an_episode():
    env = make(MOBILE, gain_scale=[0.5, 1.5], action_delay=[1, 3], max_steps=2)
    drawn = []
    for seed in range(30):
        _, info = env.reset(seed=seed)
        dynamics = info["dynamics"]
        assert (dynamics["mass_scale"], dynamics["friction_scale"], dynamics["observation_noise"]) == (1.0, 1.0, 0.0)
        drawn.append((dynamics["gain_scale"], dynamics["action_delay"]))
        assert [env.step(0)[4] for _ in range(2)] == [{}, {}]
        assert env.step(0)[4] == {"is_success": False, "dynamics": dynamics}
    gains, delays = zip(*drawn, strict=True)
    assert set(delays) == {1, 2, 3} and all(isinstance(delay, int) for delay in delays)
    assert 0.5 <= min(gains) < 0.7 and 1.3 < max(gains) <= 1.5


def test_targets_are_drawn_from_the_region_asked_for():
    low, high = make(KUKA, random_target=True, target_region=[0, 0.5]), make(KUKA, random_target=True)
    places = {"low": [], "all": []}
    for seed in range(60):
        for name, env in (("low", low), ("all", high)):
            env.reset(seed=seed)
            places[name].append(env.target_position[:2])
    lower, whole = np.array(places["low"]), np.array(places["all"])
    assert (lower.max(axis=0) <= (0.5, 0.0)).all() and (lower.min(axis=0) >= (0.35, -0.3)).all()
    assert (whole.max(axis=0) > (0.6, 0.2)).all() and (whole.min(axis=0) < (0.4, -0.2)).all()


@pytest.mark.parametrize(
    ("env_id", "env_kwargs", "message"),
    [
        (KUKA, {"mass_scale": 0}, "mass_scale must be a positive number, or [lowest, highest] of two, not 0"),
        (KUKA, {"mass_scale": "2"}, "mass_scale must be a positive number, or [lowest, highest] of two, not '2'"),
        (KUKA, {"gain_scale": [2, 1]}, "gain_scale must be a positive number, or [lowest, highest] of two, not [2, 1]"),
        (KUKA, {"gain_scale": [1]}, "gain_scale must be a positive number, or [lowest, highest] of two, not [1]"),
        (
            KUKA,
            {"action_delay": 1.5},
            "action_delay must be a finite integer not below 0, or [lowest, highest] of two, not 1.5",
        ),
        (
            KUKA,
            {"observation_noise": [-1, 1]},
            "observation_noise must be a finite number not below 0, or [lowest, highest] of two, not [-1, 1]",
        ),
        (
            KUKA,
            {"observation": "raw_pixels", "observation_noise": 0.1},
            f"{KUKA}: observation_noise concerns low-dimensional observations, not 'raw_pixels'",
        ),
        (
            MOBILE,
            {"friction_scale": [0.5, 1]},
            f"{MOBILE}: friction_scale needs a robot in the physics, and this one is kinematic",
        ),
        (
            MOBILE,
            {"random_target": True, "target_region": [0.5, 2]},
            "target_region must be [lowest, highest] within 0 and 1, not [0.5, 2]",
        ),
        (
            MOBILE,
            {"random_target": True, "target_region": 0.5},
            "target_region must be [lowest, highest] within 0 and 1, not 0.5",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(env_id, env_kwargs, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        gymnasium.make(env_id, **env_kwargs)


def test_the_fingerprint_tells_the_physics_and_the_models():
    env = make(KUKA)
    fingerprint = env.fingerprint
    assert fingerprint["timestep_s"] == 1 / 240
    assert (fingerprint["solver_iterations"], fingerprint["gravity_m_s2"]) == (150, -10.0)
    models = [name for name in fingerprint if name.startswith("model ")]
    assert models == [f"model {name}" for name in ("button.urdf", "kuka_with_gripper2.sdf", "plane.urdf", "table.urdf")]
    assert all(re.fullmatch("[0-9a-f]{64}", fingerprint[name]) for name in models)
    assert (
        make(MOBILE).fingerprint["model racecar.urdf"]
        == make("MobileRobot1DGymEnv-v0").fingerprint["model racecar.urdf"]
    )
