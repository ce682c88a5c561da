"""The humanoid: its body, its motions, and rewards and ends of hand-placed states, against numbers computed by hand."""

import itertools
import math

import gymnasium
import numpy as np
import pytest
from test_environments_images import pixels_of, seen_at

import environments  # noqa: F401  (registers the ids)
from environments.bullet import pybullet
from environments.registry import ENVIRONMENTS

TOMATO = "InmoovGymEnv-v0"
BUTTON = "InmoovOneArmButtonGymEnv-v0"
CONTROLLED = (
    *("waist_rotate", "waist_lean", "head_up_down", "head_left_right"),
    *("right_shoulder_up", "right_shoulder_side", "right_bicep_rotate", "right_elbow", "right_wrist"),
    *("left_shoulder_up", "left_shoulder_side", "left_bicep_rotate", "left_elbow", "left_wrist"),
)
RIGHT_LIMITS = {
    **{"waist_rotate": (-1.222, 1.222), "waist_lean": (-0.524, 0.524)},
    **{"head_tilt": (-1.57, 1.57), "head_up_down": (-1.57, 1.57), "head_left_right": (-1.57, 1.57)},
    **{"jaw": (0, 0.15), "eyes_up_down": (-0.45, 0.45)},
    **{"right_eye_left_right": (-0.45, 0.45), "left_eye_left_right": (-0.45, 0.45)},
    **{"right_shoulder_up": (-1.571, 1.571), "right_shoulder_side": (-1.571, 1.571)},
    **{"right_bicep_rotate": (-1.571, 1.571), "right_elbow": (-1.571, 0), "right_wrist": (-3.14, 0)},
}
N_FINGER_JOINTS = {"thumb": 3, "index": 3, "middle": 3, "ring": 4, "pinky": 4}
STILL = np.zeros(3)


def make(env_id=TOMATO, **env_kwargs):
    env = gymnasium.make(env_id, **env_kwargs).unwrapped
    env.reset(seed=0)
    return env


def expected_limits():
    """Of every joint, in radians."""
    fingers = {f"finger_{finger}_{part + 1}" for finger, parts in N_FINGER_JOINTS.items() for part in range(parts)}
    right = RIGHT_LIMITS | {f"right_{finger}": (0, 1.57) for finger in fingers}
    left = {
        name.replace("right", "left"): (-high, -low)
        for name, (low, high) in right.items()
        if name.startswith("right") and "eye" not in name
    }
    return right | left


def ask(env, function, *arguments, **keywords):
    """Ask PyBullet about the robot."""
    world = env._world()
    return world.bind(function)(world.bodies["robot"], *arguments, **keywords)


def joint_info(env):
    """PyBullet's description of each joint, by name."""
    found = [ask(env, pybullet.getJointInfo, joint) for joint in range(ask(env, pybullet.getNumJoints))]
    return {info[1].decode(): info for info in found}


def centre(env, joint):
    """Middle of the box around the link that a joint moves, in world metres."""
    return np.mean(ask(env, pybullet.getAABB, joint_info(env)[joint][0]), axis=0)


def frame_of(env, link):
    """Where the frame of a link of the robot is, in world metres, and how it is turned: (3,) and (3, 3)."""
    info = next(info for info in joint_info(env).values() if info[12].decode() == link)
    state = ask(env, pybullet.getLinkState, info[0], computeForwardKinematics=1)
    return np.array(state[4]), np.reshape(pybullet.getMatrixFromQuaternion(state[5]), (3, 3))


def seen_by(env, camera, point, size):
    """Row and column at which a camera, which the robot may carry, shows a point of the world."""
    if camera.link is not None:
        place, turned = frame_of(env, camera.link)
        point = turned.T @ (np.array(point) - place)
    return seen_at(camera, point, size)


def put_target(env, distance, direction=(0.6, 0.0, -0.8)):
    """Place the tomato at a distance from where the hand is."""
    env._task.target = tuple(env.robot_position + distance * np.array(direction))


def reach(env, observation, n_steps):
    """Go straight for the tomato; the distance after each step."""
    distances = []
    for _ in range(n_steps):
        if env.options.is_discrete:
            axis = int(np.abs(observation).argmax())
            action = 2 * axis + int(observation[axis] < 0)
        else:
            action = np.clip(-observation / 0.03, -1, 1)
        observation = env.step(action)[0]
        distances.append(float(np.linalg.norm(observation)))
        if distances[-1] < 0.01:
            break
    return np.array(distances)


def test_the_body_has_53_revolute_joints_with_the_limits_of_the_original():
    env = make()
    info = joint_info(env)
    assert len(info) == 53
    assert tuple(info) == env._robot.joint_names
    assert {joint[2] for joint in info.values()} == {pybullet.JOINT_REVOLUTE}
    limits = expected_limits()
    assert {name: joint[8] for name, joint in info.items()} == pytest.approx({name: limits[name][0] for name in info})
    assert {name: joint[9] for name, joint in info.items()} == pytest.approx({name: limits[name][1] for name in info})
    assert {tuple(joint[10:12]) for joint in info.values()} == {(1000.0, 0.5)}


@pytest.mark.parametrize(
    ("part", "n_joints"),
    [("waist", 2), ("head", 3), ("jaw", 1), ("eye", 3), ("right_finger", 17), ("left_finger", 17)],
)
def test_the_joints_are_where_the_original_has_them(part, n_joints):
    assert sum(part in name for name in ENVIRONMENTS[TOMATO].robot.joint_names) == n_joints


def test_every_link_has_a_mass_and_the_robot_weighs_as_much_as_an_upper_body():
    env = make()
    masses = np.array([ask(env, pybullet.getDynamicsInfo, link)[0] for link in range(53)])
    inertias = np.array([ask(env, pybullet.getDynamicsInfo, link)[2] for link in range(53)])
    assert (masses > 0).all()
    assert (inertias > 0).all()
    assert 30 < masses.sum() < 60


def test_the_robot_is_a_life_size_upper_body_that_faces_y():
    env = make()
    head, jaw, torso = (centre(env, joint) for joint in ("head_left_right", "jaw", "waist_lean"))
    right, left = centre(env, "right_eye_left_right"), centre(env, "left_eye_left_right")
    shoulder, elbow, hand, finger = (
        centre(env, f"right_{joint}") for joint in ("shoulder_side", "elbow", "wrist", "finger_middle_3")
    )
    assert right[0] > 0 > left[0]
    assert min(right[1], left[1], jaw[1]) > head[1] - 0.02
    assert right[2] > jaw[2] > torso[2] + 0.25
    assert head[2] > shoulder[2] > elbow[2] > hand[2] > finger[2] > 0.05
    assert 0.4 < shoulder[0] - centre(env, "left_shoulder_side")[0] < 0.6
    assert 0.55 < np.linalg.norm(shoulder - elbow) + np.linalg.norm(elbow - hand) < 0.7
    top = ask(env, pybullet.getAABB, joint_info(env)["head_left_right"][0])[1][2]
    assert 1.3 < top < 1.45


def test_the_same_pose_of_the_left_arm_has_angles_of_opposite_sign():
    env = make()
    info = joint_info(env)
    rng = np.random.default_rng(3)
    names = [name for name in info if name.startswith("right") and "eye" not in name]
    for name in names:
        angle = rng.uniform(*info[name][8:10])
        ask(env, pybullet.resetJointState, info[name][0], angle)
        ask(env, pybullet.resetJointState, info[name.replace("right", "left")][0], -angle)
    for name in ("waist_rotate", "waist_lean"):
        ask(env, pybullet.resetJointState, info[name][0], 0.0)
    for name in names:
        sides = [centre(env, joint) for joint in (name, name.replace("right", "left"))]
        np.testing.assert_allclose(sides[0] * (-1, 1, 1), sides[1], atol=1e-3, err_msg=name)


@pytest.mark.parametrize(
    "env_kwargs", [{"is_discrete": False}, {"is_discrete": False, "action_joints": True}], ids=["hand", "joints"]
)
def test_the_robot_carries_itself(env_kwargs):
    """Told to do nothing for 400 physics steps, it stays where it is, and no joint speeds up."""
    env = make(observation="joints_position", **env_kwargs)
    start, first = env.robot_position, env.step(np.zeros(env.action_space.shape))[0]
    for _ in range(200):
        last = env.step(np.zeros(env.action_space.shape))[0]
    assert np.linalg.norm(env.robot_position - start) < 0.005
    np.testing.assert_allclose(last[3:], first[3:], atol=0.02)
    assert max(abs(state[1]) for state in ask(env, pybullet.getJointStates, range(53))) < 0.02


def test_no_joint_turns_faster_than_its_motor_allows():
    env = make(observation="joints", is_discrete=False, action_joints=True)
    rng = np.random.default_rng(0)
    fastest = 0.0
    for _ in range(60):
        env.step(rng.choice([-1.0, 1.0], 14))
        speeds = [abs(state[1]) for state in ask(env, pybullet.getJointStates, range(53))]
        fastest = max(fastest, *speeds)
    assert 0.45 < fastest < 0.52


def test_fourteen_joints_are_controlled():
    env = make(is_discrete=False, action_joints=True)
    assert env.action_space.shape == (14,)
    assert env.action_names == tuple(f"turn_{joint}" for joint in CONTROLLED)


def test_a_joint_action_turns_the_controlled_joints_and_no_other():
    env = make(observation="joints", is_discrete=False, action_joints=True)
    before = env.step(np.zeros(14))[0]
    signs = np.where(np.arange(14) % 2, 1.0, -1.0)
    for _ in range(20):
        after = env.step(signs)[0]
    turned = dict(zip(env.feature_names, after - before, strict=True))
    for sign, name in zip(signs, CONTROLLED, strict=True):
        assert 0.05 < sign * turned.pop(name) < 0.1, name
    assert np.abs(list(turned.values())).max() < 5e-3


def test_joint_actions_are_offsets_to_the_angles_of_the_moment():
    env = make(observation="joints", is_discrete=False, action_joints=True)
    observation, *_ = env.step(np.full(14, 0.4))
    live = dict(zip(env.feature_names, observation, strict=True))
    action = np.linspace(-2.0, 2.0, 14)
    env._robot.command(action, env.np_random)
    expected = [live[name] + 0.02 * value for name, value in zip(CONTROLLED, action.clip(-1, 1), strict=True)]
    np.testing.assert_allclose(env._robot._joint_targets, expected, atol=1e-6)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_joint_actions_stop_at_the_limits(sign):
    env = make(observation="joints", is_discrete=False, action_joints=True)
    info = joint_info(env)
    ends = [info[name][8 if sign < 0 else 9] for name in CONTROLLED]
    for name, end in zip(CONTROLLED, ends, strict=True):
        ask(env, pybullet.resetJointState, info[name][0], end - 0.002 * sign)
    for _ in range(20):
        observation = env.step(np.full(14, sign))[0]
    assert env._robot._joint_targets == ends
    reached = dict(zip(env.feature_names, observation, strict=True))
    np.testing.assert_allclose([reached[name] for name in CONTROLLED], ends, atol=5e-3)


@pytest.mark.parametrize(
    ("action", "direction"),
    list(enumerate([(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)])),
)
def test_a_discrete_action_moves_the_hand_along_an_axis(action, direction):
    env = make()
    env._task.target = (0.35, 0.4, 0.6)
    reach(env, env.robot_position - env.target_position, 150)
    before = env.robot_position
    env._robot._hand = tuple(before)
    for _ in range(40):
        env.step(action)
    move = env.robot_position - before
    along = move @ np.array(direction)
    assert 0.08 < along < 0.3
    assert np.linalg.norm(move - along * np.array(direction)) < 0.2 * along


@pytest.mark.parametrize(("env_kwargs", "step"), [({}, 0.01), ({"discrete_step": 0.004}, 0.004)])
def test_a_discrete_action_moves_the_commanded_position_one_step_per_physics_step(env_kwargs, step):
    env = make(**env_kwargs)
    commanded = np.array(env._robot._hand)
    env.step(3)
    np.testing.assert_allclose(env._robot._hand - commanded, (0, 2 * step, 0), atol=1e-9)


def test_a_continuous_action_is_clipped_and_scaled():
    env = make(is_discrete=False)
    env._robot.command(np.array([0.5, -3.0, 1.0]), env.np_random)
    np.testing.assert_allclose(env._robot._displacement, (0.0015, -0.003, 0.003), atol=1e-12)


def test_the_commanded_position_never_leads_the_hand_by_much_and_stays_in_the_workspace():
    env = make(discrete_step=0.05)
    leads, commanded = [], []
    for action in (3, 5, 1, 4, 2, 0):
        for _ in range(60):
            before = env.robot_position
            env.step(action)
            commanded.append(env._robot._hand)
            leads.append(np.abs(np.array(env._robot._hand) - before))
    assert 0.018 < np.max(leads) < 0.03
    assert (np.array(commanded) >= (-0.4, 0.05, 0.25)).all()
    assert (np.array(commanded) <= (0.8, 1.0, 1.3)).all()


def test_a_hand_action_leaves_the_left_arm_and_the_gaze_where_they_are():
    env = make(observation="joints")
    before = env.step(3)[0]
    for _ in range(40):
        after = env.step(3)[0]
    still = [name.startswith("left") or name.startswith("head") for name in env.feature_names]
    np.testing.assert_allclose(after[still], before[still], atol=5e-3)


def test_the_hand_is_the_middle_of_the_right_palm():
    env = make()
    hand = joint_info(env)["right_wrist"][0]
    state = ask(env, pybullet.getLinkState, hand, computeForwardKinematics=1)
    np.testing.assert_array_equal(env.robot_position, state[0])
    assert np.linalg.norm(np.subtract(state[0], state[4])) == pytest.approx(0.065, abs=1e-6)
    np.testing.assert_allclose(env.robot_position, centre(env, "right_wrist"), atol=0.01)


def test_the_world_has_the_physics_of_the_original():
    env = make()
    parameters = env._world().bind(pybullet.getPhysicsEngineParameters)()
    assert parameters["fixedTimeStep"] == 1 / 240
    assert parameters["numSolverIterations"] == 150
    assert parameters["gravityAccelerationZ"] == -9.8
    np.testing.assert_allclose(env._world().position("plant"), (0.4, 0.4, 0.5))
    np.testing.assert_array_equal(env.target_position, (0.4, 0.4, 0.5))


@pytest.mark.parametrize("env_kwargs", [{}, {"is_discrete": False}, {"is_discrete": False, "action_joints": True}])
def test_the_reward_is_minus_the_distance_unless_asked_otherwise(env_kwargs):
    env = make(**env_kwargs)
    put_target(env, 0.5)
    action = 4 if env.options.is_discrete else np.zeros(env.action_space.shape)
    observation, reward, terminated, truncated, info = env.step(action)
    assert reward == pytest.approx(-math.dist(env.robot_position, env.target_position), abs=1e-12)
    assert reward == pytest.approx(-0.5, abs=0.01)
    np.testing.assert_allclose(observation, env.robot_position - env.target_position, atol=1e-6)
    assert (terminated, truncated, info) == (False, False, {})


@pytest.mark.parametrize(("distance", "reward"), [(0.0, 1.0), (0.095, 1.0), (0.105, 0.0), (0.5, 0.0)])
def test_the_sparse_reward_is_one_while_the_hand_is_within_ten_centimetres(distance, reward):
    env = make(is_discrete=False, shape_reward=False)
    put_target(env, distance)
    for _ in range(3):
        assert env.step(STILL)[1:] == (reward, False, False, {})


@pytest.mark.parametrize(("distance", "is_near"), [(0.09999, True), (0.10001, False)])
def test_near_means_within_exactly_ten_centimetres(distance, is_near):
    for shape_reward, reward in ((False, float(is_near)), (True, -distance)):
        task = make(shape_reward=shape_reward)._task
        task.target = (0.1, 0.2, 0.3)
        given = task.evaluate((0.1, 0.2 + distance, 0.3), False)
        assert given == (pytest.approx(reward, abs=1e-12), False, is_near)


@pytest.mark.parametrize(("distance", "is_success"), [(0.09, True), (0.11, False)])
def test_success_is_to_be_near_at_the_end(distance, is_success):
    env = make(is_discrete=False, max_steps=5)
    put_target(env, distance)
    ends = [env.step(STILL)[2:] for _ in range(3)]
    assert ends == [(False, False, {}), (False, False, {}), (False, True, {"is_success": is_success})]


@pytest.mark.parametrize(("is_discrete", "n_steps"), [(True, 150), (False, 120)])
def test_a_greedy_hand_reaches_the_tomato_and_stays(is_discrete, n_steps):
    env = make(is_discrete=is_discrete)
    start = np.linalg.norm(env.robot_position - env.target_position)
    distances = reach(env, env._observe(), n_steps)
    assert 0.25 < start < 0.6
    assert distances[-1] < 0.01
    assert (np.diff(distances) < 0.004).all()


@pytest.mark.slow
def test_a_greedy_hand_reaches_random_tomatoes_and_the_corners_of_their_range():
    env = make(is_discrete=True, random_target=True)
    task = env._task
    corners = list(itertools.product(*zip(task.target_low, task.target_high, strict=True)))
    for seed in range(20 + len(corners)):
        env.reset(seed=seed)
        if seed >= 20:
            task.target = corners[seed - 20]
        distances = reach(env, env._observe(), 250)
        assert distances.min() < 0.1, (seed, task.target)
        assert (distances < 0.1).argmax() < 180


def test_a_greedy_hand_collects_most_of_the_sparse_reward():
    env = make(shape_reward=False, is_discrete=False)
    observation, total, truncated = env._observe(), 0.0, False
    while not truncated:
        observation, reward, _, truncated, info = env.step(np.clip(-observation / 0.03, -1, 1))
        total += reward
    assert 850 < total < 1000
    assert info == {"is_success": True}


def test_random_tomatoes_fill_their_range_and_the_plant_stands_where_they_are():
    env = make(random_target=True)
    targets = []
    for _ in range(300):
        env.reset()
        targets.append(env.target_position)
        np.testing.assert_allclose(env._world().position("plant"), env.target_position, atol=1e-9)
    low, high = (0.25, 0.3, 0.4), (0.5, 0.5, 0.65)
    assert (np.array(targets) >= low).all()
    assert (np.array(targets) <= high).all()
    np.testing.assert_allclose(np.min(targets, axis=0), low, atol=0.01)
    np.testing.assert_allclose(np.max(targets, axis=0), high, atol=0.01)


def test_a_region_of_the_targets_is_kept_to():
    env = make(random_target=True, target_region=(0.5, 0.6))
    targets = []
    for _ in range(50):
        env.reset()
        targets.append(env.target_position)
    assert (np.array(targets) >= (0.375, 0.4, 0.525)).all()
    assert (np.array(targets) <= (0.4, 0.42, 0.55)).all()


def test_an_episode_starts_with_controlled_joints_near_the_start_pose():
    env = make(observation="joints", is_discrete=False)
    starts = np.array([env.reset()[0] for _ in range(200)])
    expected = np.array([env._robot.start[name] for name in env.feature_names])
    is_controlled = np.isin(env.feature_names, CONTROLLED)
    offsets = (starts - expected)[:, is_controlled]
    assert np.abs(offsets).max() <= 0.1 + 1e-6
    assert (np.ptp(offsets, axis=0) > 0.18).all()
    np.testing.assert_allclose(offsets.mean(axis=0), 0, atol=0.02)
    assert np.ptp(starts[:, ~is_controlled], axis=0).max() == 0
    np.testing.assert_allclose(starts[0, ~is_controlled], expected[~is_controlled], atol=1e-3)


def test_the_dynamics_of_an_episode_reach_the_body_and_leave_no_trace_in_the_next():
    usual = make()
    masses = np.array([ask(usual, pybullet.getDynamicsInfo, link)[:2] for link in range(53)])
    ranges = {"mass_scale": [0.5, 2.0], "friction_scale": [0.5, 2.0], "gain_scale": [0.3, 1.0], "action_delay": [0, 3]}
    kwargs = {"is_discrete": False, "action_joints": True, "observation": "joints", **ranges}
    used = make(**kwargs)
    actions = np.random.default_rng(5).uniform(-1, 1, (40, 14))
    for seed in (1, 2, 1):
        fresh = make(**kwargs)
        dynamics = fresh.reset(seed=seed)[1]["dynamics"]
        scaled = np.array([ask(fresh, pybullet.getDynamicsInfo, link)[:2] for link in range(53)])
        np.testing.assert_allclose(scaled[:, 0], masses[:, 0] * dynamics["mass_scale"])
        np.testing.assert_allclose(scaled[:, 1], masses[:, 1] * dynamics["friction_scale"])
        assert used.reset(seed=seed)[1] == {"dynamics": dynamics}
        for action in actions:
            np.testing.assert_array_equal(used.step(action)[0], fresh.step(action)[0])


def test_a_weaker_gain_answers_more_slowly():
    turns = []
    for gain_scale in (1.0, 0.05):
        env = make(observation="joints", is_discrete=False, action_joints=True, gain_scale=gain_scale)
        waist = env.feature_names.index("waist_rotate")
        before = env.step(np.zeros(14))[0][waist]
        for _ in range(20):
            after = env.step(np.eye(14)[0])[0][waist]
        turns.append(after - before)
    assert 0 < turns[1] < 0.3 * turns[0]


def test_a_delayed_action_has_the_robot_hold_still_until_it_is_due():
    prompt, late = make(), make(action_delay=5)
    start = late.robot_position
    for _ in range(5):
        late.step(3)
        assert np.linalg.norm(late.robot_position - start) < 1e-3
    for _ in range(20):
        prompt.step(3)
        late.step(3)
    np.testing.assert_allclose(late.robot_position, prompt.robot_position, atol=2e-3)


@pytest.mark.parametrize("view", [0, 1])
@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_both_cameras_show_the_ripe_tomato_where_it_is(view, seed):
    env = gymnasium.make(
        TOMATO, observation="raw_pixels", multi_view=True, random_target=seed is not None, image_size=128
    ).unwrapped
    picture = env.reset(seed=seed)[0][:, :, 3 * view : 3 * view + 3]
    red = pixels_of(picture, "red")
    assert len(red) >= 8
    expected = seen_by(env, ENVIRONMENTS[TOMATO].cameras[view], env.target_position, 128)
    np.testing.assert_allclose(red.mean(axis=0), expected, atol=2.5)


def test_the_second_view_looks_straight_ahead_and_down_from_between_the_eyes():
    env = make()
    eyes = (centre(env, "right_eye_left_right") + centre(env, "left_eye_left_right")) / 2
    camera = ENVIRONMENTS[TOMATO].cameras[1]
    pitch = math.radians(camera.pitch)
    place, turned = frame_of(env, "head")
    eye = np.array(camera.target) - camera.distance * np.array([0, math.cos(pitch), math.sin(pitch)])
    assert (camera.fov, camera.yaw, camera.link) == (100, 0, "head")
    assert np.linalg.norm(place + turned @ eye - eyes) < 0.1


@pytest.mark.slow
def test_the_second_view_turns_with_the_head():
    """The tomato moves to the left of the picture when the head turns to the right."""
    env = make(is_discrete=False, action_joints=True, observation="raw_pixels", multi_view=True, image_size=128)
    picture = env.reset(seed=0)[0]
    before = pixels_of(picture[:, :, 3:], "red").mean(axis=0)[1]
    action = np.zeros(14, np.float32)
    action[env.action_names.index("turn_head_left_right")] = -1.0
    for _ in range(150):
        picture = env.step(action)[0]
    after = pixels_of(picture[:, :, 3:], "red").mean(axis=0)[1]
    assert after < before - 20


@pytest.mark.parametrize(
    ("env_kwargs", "action", "message"),
    [
        ({}, 6, "^the action must be an integer from 0 to 5, not 6$"),
        ({"is_discrete": False}, np.zeros(14), "^the action must be 3 finite numbers, not array"),
        ({"is_discrete": False, "action_joints": True}, np.zeros(3), "^the action must be 14 finite numbers, not "),
    ],
)
def test_what_is_not_an_action_is_refused(env_kwargs, action, message):
    env = make(**env_kwargs)
    with pytest.raises(ValueError, match=message):
        env.step(action)


def test_a_setting_of_discrete_actions_is_refused_with_continuous_ones():
    message = "^InmoovGymEnv-v0: discrete_step concerns discrete actions; leave it out with is_discrete=False$"
    with pytest.raises(ValueError, match=message):
        gymnasium.make(TOMATO, is_discrete=False, discrete_step=0.02)


def make_press(**env_kwargs):
    return make(BUTTON, **env_kwargs)


def fist_bounds(env):
    """Lowest and highest corner of the box around the fingers of the right hand, in world metres."""
    info = joint_info(env)
    boxes = [ask(env, pybullet.getAABB, info[name][0]) for name in info if name.startswith("right_finger")]
    return np.min([box[0] for box in boxes], axis=0), np.max([box[1] for box in boxes], axis=0)


def lift(env, body, top_link):
    """Move a body, such that its upper side meets the fist from below with an overlap of 4 mm."""
    world = env._world()
    low, high = fist_bounds(env)
    top = world.bind(pybullet.getAABB)(world.bodies[body], top_link)[1][2]
    z = world.position(body)[2] + low[2] + 0.004 - top
    world.place(body, ((low + high)[0] / 2, (low + high)[1] / 2, z))


def outcomes(env, action, n_steps):
    """Reward, terminated and success, step by step."""
    steps = [env.step(action) for _ in range(n_steps)]
    return [(reward, terminated, info.get("is_success")) for _, reward, terminated, _, info in steps]


def press(env, observation):
    """Play on with a policy that goes over the button, high enough, and then down: the rewards and the last info."""
    rewards, terminated, truncated = [], False, False
    while not (terminated or truncated):
        x, y, z = observation
        sideways = (0 if x > 0 else 1) if abs(x) > abs(y) else (2 if y > 0 else 3)
        far = max(abs(x), abs(y))
        observation, reward, terminated, truncated, info = env.step(
            5 if far > 0.12 and z < 0.06 else sideways if far > 0.03 else 4
        )
        rewards.append(reward)
    return rewards, info


def test_before_the_button_waist_and_right_arm_are_controlled():
    env = make_press(is_discrete=False, action_joints=True)
    names = (*CONTROLLED[:2], *CONTROLLED[4:9])
    assert env.action_names == tuple(f"turn_{joint}" for joint in names)
    assert env.action_space.shape == (7,)
    assert len(joint_info(env)) == 53


def test_the_table_and_the_button_stand_where_the_original_has_them():
    env = make_press()
    world = env._world()
    np.testing.assert_allclose(world.position("table"), (0, 1, 0.5))
    np.testing.assert_allclose(world.position("button"), (0, 1, 1.1))
    np.testing.assert_allclose(env.target_position, (0, 1, 1.2))
    np.testing.assert_allclose(ask(env, pybullet.getBasePositionAndOrientation)[0][:2], (0, 0.4), atol=1e-9)
    top = world.bind(pybullet.getAABB)(world.bodies["table"], -1)[1][2]
    cap = world.bind(pybullet.getAABB)(world.bodies["button"], 0)[1][2]
    assert cap - top == pytest.approx(1.147 - 1.125, abs=0.003)


def test_the_fist_starts_above_table_and_button_and_nothing_touches():
    env = make_press(random_target=True, max_distance=2)
    for _ in range(60):
        env.reset()
        assert fist_bounds(env)[0][2] > 1.15
        assert outcomes(env, 5, 1) == [(0.0, False, None)]


def test_five_contacts_of_the_fist_with_the_cap_give_five_points_and_end_in_success():
    env = make_press(is_discrete=False)
    assert outcomes(env, STILL, 1) == [(0.0, False, None)]
    lift(env, "button", 0)
    assert outcomes(env, STILL, 5) == [(1.0, False, None)] * 4 + [(1.0, True, True)]


@pytest.mark.parametrize(("env_kwargs", "reward"), [({}, -1.0), ({"shape_reward": True}, -250.0)])
def test_touching_the_table_ends_in_failure(env_kwargs, reward):
    env = make_press(is_discrete=False, **env_kwargs)
    lift(env, "table", -1)
    assert outcomes(env, STILL, 1) == [(reward, True, False)]


def test_being_too_far_from_the_button_is_punished_and_does_not_end_the_episode():
    near, far = make_press(max_distance=0.5), make_press(max_distance=0.2)
    assert outcomes(near, 5, 1) == [(0.0, False, None)]
    assert outcomes(far, 5, 2) == [(-1.0, False, None)] * 2


def test_the_shaped_reward_before_the_button_is_minus_the_distance_to_the_point_above_it():
    env = make_press(shape_reward=True, random_target=True)
    button = np.array(env._world().position("button"))
    np.testing.assert_allclose(env.target_position, button + [0, 0, 0.1], atol=1e-9)
    observation, reward, *_ = env.step(5)
    assert reward == pytest.approx(-math.dist(env.robot_position, button + [0, 0, 0.1]), abs=1e-9)
    np.testing.assert_allclose(observation, env.robot_position - env.target_position, atol=1e-6)


def test_a_random_button_fills_its_rectangle():
    env = make_press(random_target=True)
    targets = []
    for _ in range(300):
        env.reset()
        targets.append(env.target_position)
    np.testing.assert_allclose(np.min(targets, axis=0), (-0.15, 0.7, 1.2), atol=0.01)
    np.testing.assert_allclose(np.max(targets, axis=0), (0.15, 1.3, 1.2), atol=0.01)
    assert (np.abs(np.array(targets) - (0, 1, 1.2)) <= (0.15 + 1e-9, 0.3 + 1e-9, 1e-9)).all()


@pytest.mark.slow
def test_the_fist_presses_the_button_at_random_places_and_at_the_corners():
    env = make_press(random_target=True)
    corners = list(itertools.product((-0.15, 0.15), (0.7, 1.3)))
    n_steps = []
    for seed in range(8 + len(corners)):
        env.reset(seed=seed)
        if seed >= 8:
            env._task._buttons[0].move(corners[seed - 8])
            env._task.target = env._task._buttons[0].target
        rewards, info = press(env, env.robot_position - env.target_position)
        assert info == {"is_success": True}, (seed, env.target_position)
        assert sum(rewards) == 5.0
        n_steps.append(len(rewards))
    assert max(n_steps) < 450


@pytest.mark.slow
def test_presses_of_the_button_leave_no_trace_in_the_next_episode():
    used = make_press(random_target=True)
    for seed in (1, 2, 1):
        fresh = make_press(random_target=True)
        expected, _ = press(fresh, fresh.reset(seed=seed)[0])
        assert press(used, used.reset(seed=seed)[0])[0] == expected
        np.testing.assert_array_equal(used.robot_position, fresh.robot_position)


@pytest.mark.parametrize("view", [0, 1])
@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_both_cameras_show_the_cap_of_the_button_where_it_is(view, seed):
    env = gymnasium.make(
        BUTTON, observation="raw_pixels", multi_view=True, random_target=seed is not None, image_size=128
    ).unwrapped
    picture = env.reset(seed=seed)[0][:, :, 3 * view : 3 * view + 3]
    red = pixels_of(picture, "red")
    assert len(red) > 60
    x, y, _ = env.target_position
    expected = seen_by(env, ENVIRONMENTS[BUTTON].cameras[view], (x, y, 1.146), 128)
    np.testing.assert_allclose(red.mean(axis=0), expected, atol=3)
