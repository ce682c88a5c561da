"""Motions, rewards and ends of hand-placed robots and bodies, against numbers computed by hand."""

import math

import gymnasium
import numpy as np
import pytest

import environments  # noqa: F401  (registers the ids)
from environments.bullet import pybullet

STILL = np.zeros(3)


def make(env_id, **env_kwargs):
    env = gymnasium.make(env_id, **env_kwargs).unwrapped
    env.reset(seed=0)
    return env


def kuka(**env_kwargs):
    return make("KukaButtonGymEnv-v0", **env_kwargs)


def mobile(x, y, target=(3.6, 3.0), **env_kwargs):
    env = make("MobileRobotGymEnv-v0", **env_kwargs)
    env._robot._x, env._robot._y = x, y
    env._task.target = (*target, 0.0)
    return env


def bounds_of(env, body, link):
    """Lowest and highest corner of a link's box, in world metres."""
    world = env._world()
    return np.array(world.bind(pybullet.getAABB)(world.bodies[body], link))


def lift(env, body, top_link):
    """Move a body, such that its upper side meets the right fingertip from below with an overlap of 4 mm."""
    world = env._world()
    tip_low, tip_high = bounds_of(env, "robot", 13)
    position = np.array(world.bind(pybullet.getBasePositionAndOrientation)(world.bodies[body])[0])
    position[:2] = (tip_low + tip_high)[:2] / 2
    position[2] += tip_low[2] + 0.004 - bounds_of(env, body, top_link)[1][2]
    world.place(body, tuple(position))


def distance_to_target(env):
    return math.dist(env.robot_position, (0.5, 0.0, 0.08))


def outcomes(env, action, n_steps):
    """Reward, terminated and success, step by step."""
    steps = [env.step(action) for _ in range(n_steps)]
    return [(reward, terminated, info.get("is_success")) for _, reward, terminated, _, info in steps]


def test_five_contacts_with_the_cap_give_five_points_and_end_in_success():
    env = kuka(is_discrete=False)
    assert outcomes(env, STILL, 1) == [(0.0, False, None)]
    lift(env, "button", 0)
    assert outcomes(env, STILL, 5) == [(1.0, False, None)] * 4 + [(1.0, True, True)]


def test_contacts_are_counted_anew_in_the_next_episode():
    env = kuka(is_discrete=False)
    for _ in range(2):
        env.reset()
        lift(env, "button", 0)
        assert outcomes(env, STILL, 5)[-1] == (1.0, True, True)


def test_the_ring_around_the_cap_does_not_count():
    """The rim of the ring, 9 mm wide, is 8 mm under the right fingertip, the cap beside it."""
    env = kuka(is_discrete=False)
    world = env._world()
    tip_low, tip_high = bounds_of(env, "robot", 13)
    world.place("button", ((tip_low + tip_high)[0] / 2, tip_low[1] + 0.008 - 0.102, tip_low[2] + 0.012 - 0.032))
    assert outcomes(env, STILL, 1) == [(0.0, False, None)]
    touching = world.bind(pybullet.getContactPoints)(world.bodies["button"], world.bodies["robot"])
    assert {point[3] for point in touching} == {-1}


@pytest.mark.parametrize(("is_discrete", "last"), [(True, None), (False, 50.0)])
def test_shaped_reward_of_a_success(is_discrete, last):
    env = kuka(is_discrete=is_discrete, shape_reward=True)
    lift(env, "button", 0)
    for n_contacts in range(1, 6):
        _, reward, terminated, _, _ = env.step(4 if is_discrete else STILL)
        expected = last if n_contacts == 5 and last is not None else -distance_to_target(env)
        assert reward == pytest.approx(expected, abs=1e-6)
        assert terminated == (n_contacts == 5)


@pytest.mark.parametrize(
    ("env_kwargs", "action", "reward"),
    [
        ({}, 4, -1.0),
        ({"is_discrete": False}, STILL, -1.0),
        ({"is_discrete": False, "shape_reward": True}, STILL, -250.0),
        ({"is_discrete": False, "action_joints": True, "shape_reward": True}, np.zeros(7), -250.0),
    ],
)
def test_touching_the_table_ends_in_failure(env_kwargs, action, reward):
    env = kuka(**env_kwargs)
    lift(env, "table", -1)
    assert outcomes(env, action, 1) == [(reward, True, False)]


def test_touching_the_table_costs_the_distance_when_actions_are_discrete_and_the_reward_is_shaped():
    env = kuka(shape_reward=True)
    lift(env, "table", -1)
    _, reward, terminated, _, _ = env.step(4)
    assert reward == pytest.approx(-distance_to_target(env), abs=1e-6)
    assert terminated


def test_a_contact_with_the_table_outweighs_a_contact_with_the_cap():
    env = kuka(is_discrete=False)
    lift(env, "button", 0)
    assert outcomes(env, STILL, 4) == [(1.0, False, None)] * 4
    lift(env, "table", -1)
    assert outcomes(env, STILL, 1) == [(-1.0, True, False)]


def test_being_too_far_is_punished_and_does_not_end_the_episode():
    near, far = kuka(max_distance=0.5), kuka(max_distance=0.2)
    assert outcomes(near, 0, 1) == [(0.0, False, None)]
    assert outcomes(far, 0, 2) == [(-1.0, False, None)] * 2


def test_the_shaped_reward_is_minus_the_distance_to_the_point_above_the_button():
    env = kuka(shape_reward=True, random_target=True)
    world = env._world()
    button = np.array(world.bind(pybullet.getBasePositionAndOrientation)(world.bodies["button"])[0])
    np.testing.assert_allclose(env.target_position, button + [0, 0, 0.28], atol=1e-9)
    _, reward, *_ = env.step(1)
    effector = world.bind(pybullet.getLinkState)(world.bodies["robot"], 8, computeForwardKinematics=1)[0]
    assert reward == pytest.approx(-math.dist(effector, button + [0, 0, 0.28]), abs=1e-9)


def test_the_button_has_the_sizes_and_the_cap_the_travel_of_the_original():
    env = kuka()
    world = env._world()
    low, high = bounds_of(env, "button", -1)
    np.testing.assert_allclose(high - low, [0.204, 0.204, 0.032], atol=0.005)
    cap_low, cap_high = bounds_of(env, "button", 0)
    np.testing.assert_allclose((cap_high - cap_low)[:2], [0.184, 0.184], atol=0.005)
    assert cap_high[2] == pytest.approx(-0.2 + 0.037 + 0.01, abs=0.003)
    glider = world.bind(pybullet.getJointInfo)(world.bodies["button"], 0)
    assert glider[2] == pybullet.JOINT_PRISMATIC
    assert (glider[8], glider[9], glider[13]) == (0.0, 0.01, (0.0, 0.0, 1.0))
    assert world.bind(pybullet.getDynamicsInfo)(world.bodies["button"], 0)[0] == pytest.approx(0.1)
    assert world.bind(pybullet.getJointState)(world.bodies["button"], 0)[0] == pytest.approx(0.01, abs=1e-3)


def test_the_world_has_the_physics_of_the_original():
    world = kuka()._world()
    parameters = world.bind(pybullet.getPhysicsEngineParameters)()
    assert parameters["fixedTimeStep"] == 1 / 240
    assert parameters["numSolverIterations"] == 150
    assert parameters["gravityAccelerationZ"] == -10.0
    position_of = world.bind(pybullet.getBasePositionAndOrientation)
    np.testing.assert_allclose(position_of(world.bodies["robot"])[0], (-0.1, 0.0, -0.15))
    np.testing.assert_allclose(position_of(world.bodies["button"])[0], (0.5, 0.0, -0.2))


def displacements(env, action, n_draws=4000):
    """Moves of the commanded effector position that one and the same action gives, in metres."""
    rng = np.random.default_rng(0)
    moves = []
    for _ in range(n_draws):
        env._robot.command(action, rng)
        moves.append(env._robot._displacement)
    return np.array(moves)


@pytest.mark.parametrize(
    ("action", "direction"), list(enumerate([(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, -1)]))
)
def test_a_discrete_action_moves_one_noisy_step_along_an_axis(action, direction):
    moves = displacements(kuka(), action)
    lengths = moves @ np.array(direction)
    np.testing.assert_allclose(moves, lengths[:, None] * np.array(direction), atol=1e-12)
    assert lengths.mean() == pytest.approx(0.03, abs=5e-4)
    assert lengths.std() == pytest.approx(0.01, abs=5e-4)


def test_without_force_down_the_last_action_goes_up():
    assert displacements(kuka(force_down=False), 5)[:, 2].mean() == pytest.approx(0.03, abs=5e-4)


def test_the_discrete_step_can_be_set():
    assert displacements(kuka(discrete_step=0.1), 1)[:, 0].mean() == pytest.approx(0.1, abs=5e-4)


@pytest.mark.parametrize(("force_down", "z"), [(True, -0.0035), (False, 0.0035)])
def test_a_continuous_action_is_clipped_and_scaled(force_down, z):
    moves = displacements(kuka(is_discrete=False, force_down=force_down), np.array([0.5, -3.0, 1.0]))
    np.testing.assert_allclose(moves.mean(axis=0), [0.00175, -0.0035, z], atol=1e-5)
    np.testing.assert_allclose(moves.std(axis=0), [5e-5, 1e-4, 1e-4], rtol=0.06)


def test_a_joint_action_offsets_the_angles_of_the_moment():
    env = kuka(is_discrete=False, action_joints=True, observation="joints")
    observation, *_ = env.step(np.full(7, 0.3))
    action = np.array([1.0, -1.0, 0.5, 0.0, 2.0, 0.1, -0.2])
    rng = np.random.default_rng(0)
    offsets = []
    for _ in range(4000):
        env._robot.command(action, rng)
        offsets.append(np.array(env._robot._joint_targets) - observation[:7])
    np.testing.assert_allclose(np.mean(offsets, axis=0), 0.1 * action.clip(-1, 1), atol=1e-4)
    assert np.std(offsets, axis=0)[0] == pytest.approx(0.002, rel=0.06)


@pytest.mark.parametrize(
    ("random_target", "low", "high"),
    [(False, (0.5, -0.17, 0.0), (0.65, 0.22, 0.5)), (True, (0.35, -0.3, 0), (0.65, 0.3, 0.5))],
)
def test_the_commanded_effector_position_stays_in_its_box(random_target, low, high):
    env = kuka(random_target=random_target, force_down=False)
    reached = []
    for action in (0, 2, 4, 1, 3, 5):
        for _ in range(60):
            env._robot.command(action, env.np_random)
            env._robot.advance()
        reached.append(env._robot._effector)
    np.testing.assert_array_equal(np.min(reached, axis=0), low)
    np.testing.assert_array_equal(np.max(reached, axis=0), high)


def test_an_action_is_repeated_in_every_physics_step_it_lasts():
    env = kuka(action_repeat=3, is_discrete=False, force_down=False)
    before = np.array(env._robot._effector)
    env.step(np.array([0.0, 1.0, 0.0]))
    move = np.array(env._robot._effector) - before
    np.testing.assert_allclose(move, 3 * np.array(env._robot._displacement), atol=1e-12)
    assert move[1] == pytest.approx(3 * 0.0035, abs=3 * 4e-4)


@pytest.mark.parametrize(("env_kwargs", "step"), [({}, 0.03), ({"is_discrete": False}, 0.0035)])
def test_an_episode_starts_after_five_moves_of_one_step_along_an_axis(env_kwargs, step):
    env = kuka(**env_kwargs, random_target=True)
    starts = []
    for _ in range(200):
        env.reset()
        starts.append(env._robot._effector)
    offsets = (np.array(starts) - (0.537, 0.0, 0.5)) / step
    upward = offsets[:, 2]
    assert (upward <= 1e-9).all(), "the box ends at the starting height"
    np.testing.assert_allclose(offsets[:, 1], offsets[:, 1].round(), atol=1e-9)
    assert np.abs(offsets).max() <= 5 + 1e-9
    assert np.abs(offsets[:, 1]).max() >= 3


def test_a_random_button_fills_its_rectangle_and_lies_where_it_is_said_to_be():
    env = kuka(random_target=True)
    targets = []
    for _ in range(300):
        env.reset()
        targets.append(env.target_position)
    targets = np.array(targets)
    assert (targets >= (0.35, -0.3, 0.08 - 1e-9)).all()
    assert (targets <= (0.65, 0.3, 0.08 + 1e-9)).all()
    np.testing.assert_allclose(targets.mean(axis=0), (0.5, 0.0, 0.08), atol=0.03)
    np.testing.assert_allclose(np.ptp(targets, axis=0), (0.3, 0.6, 0.0), atol=0.02)


def test_the_arm_has_moved_no_faster_than_its_motors_allow():
    env = kuka(is_discrete=False, action_joints=True, observation="joints")
    last = env.step(np.ones(7))[0]
    for _ in range(20):
        observation = env.step(np.ones(7))[0]
        assert np.abs(observation - last)[:7].max() <= 0.35 / 240 + 1e-5
        last = observation
    assert np.abs(env.step(np.ones(7))[0] - last)[:7].max() > 0.3 / 240


@pytest.mark.parametrize(
    ("start", "action", "end"),
    [((2, 2), 0, (1.9, 2)), ((2, 2), 1, (2.1, 2)), ((2, 2), 2, (2, 1.9)), ((2, 2), 3, (2, 2.1))],
)
def test_the_mobile_robot_moves_a_tenth_of_a_metre_without_noise(start, action, end):
    env = mobile(*start)
    observation, reward, *_ = env.step(action)
    np.testing.assert_allclose(env.robot_position, end, atol=1e-12)
    np.testing.assert_allclose(observation, np.subtract(end, (3.6, 3.0)), atol=1e-6)
    assert reward == 0.0


def test_the_mobile_robot_moves_along_a_clipped_vector():
    env = mobile(2, 2, is_discrete=False, action_repeat=2)
    env.step(np.array([0.5, -7.0]))
    np.testing.assert_allclose(env.robot_position, (2.1, 1.8), atol=1e-12)


@pytest.mark.parametrize(("start", "action"), [((0.5, 2.0), 0), ((3.5, 2.0), 1), ((2.0, 0.25), 2), ((2.0, 3.75), 3)])
def test_a_bump_cancels_the_move_and_costs_a_point(start, action):
    env = mobile(*start)
    assert env.step(action)[1] == -1.0
    np.testing.assert_array_equal(env.robot_position, start)
    assert env.step(action ^ 1)[1] == 0.0


def test_a_bump_outweighs_the_target():
    env = mobile(3.5, 3.0)
    assert env.step(1)[1] == -1.0
    assert env.step(0)[1] == 1.0


@pytest.mark.parametrize(("distance", "reward"), [(0.399, 1.0), (0.401, 0.0)])
def test_the_target_is_reached_within_forty_centimetres(distance, reward):
    env = mobile(2.0, 2.0, target=(2.1 + distance, 2.0))
    _, given, terminated, truncated, info = env.step(1)
    assert (given, terminated, truncated, info) == (reward, False, False, {})


def test_the_shaped_reward_of_the_mobile_robot_is_minus_the_distance_even_at_a_bump():
    env = mobile(2.0, 2.0, shape_reward=True)
    assert env.step(1)[1] == pytest.approx(-math.hypot(1.5, 1.0))
    env._robot._x = 3.5
    assert env.step(1)[1] == pytest.approx(-math.hypot(0.1, 1.0))


@pytest.mark.parametrize(("x", "is_success"), [(3.5, True), (1.0, False)])
def test_success_of_the_mobile_robot_is_to_be_near_the_target_at_the_end(x, is_success):
    env = mobile(x, 3.0, is_discrete=False, max_steps=2)
    assert [env.step(np.zeros(2))[4] for _ in range(3)] == [{}, {}, {"is_success": is_success}]


def test_starts_and_targets_of_the_mobile_robot_fill_their_squares():
    env = make("MobileRobotGymEnv-v0", random_target=True)
    starts, targets = [], []
    for _ in range(1000):
        env.reset()
        starts.append(env.robot_position)
        targets.append(env.target_position)
    np.testing.assert_allclose(np.min(starts, axis=0), 2 - 4 / 3, atol=0.02)
    np.testing.assert_allclose(np.max(starts, axis=0), 2 + 4 / 3, atol=0.02)
    np.testing.assert_allclose(np.min(targets, axis=0), 0.4, atol=0.02)
    np.testing.assert_allclose(np.max(targets, axis=0), 3.6, atol=0.02)
    assert np.min(starts) >= 2 - 4 / 3
    assert np.min(targets) >= 0.4


def test_the_target_of_the_mobile_robot_stands_still_unless_asked():
    env = make("MobileRobotGymEnv-v0")
    for _ in range(3):
        env.reset()
        np.testing.assert_array_equal(env.target_position, (3.6, 3.0))


def test_a_greedy_return_of_the_mobile_robot_follows_from_the_rules():
    """From (2, 2) it takes 13 moves along x, then 8 along y, to be near (3.6, 3); from the last one every step pays."""
    env = mobile(2.0, 2.0)
    rewards = []
    truncated = False
    while not truncated:
        dx, dy = env.target_position - env.robot_position
        _, reward, _, truncated, info = env.step(1 if dx > 0.301 else 3 if dy > 0.05 else 2)
        rewards.append(reward)
    assert rewards == [0.0] * 20 + [1.0] * 231
    assert info == {"is_success": True}
