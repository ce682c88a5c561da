"""Rewards, ends and motions of the moving button, of the one among distractors and of two, against numbers by hand."""

import itertools
import math

import gymnasium
import numpy as np
import pytest
from test_environments_images import pixels_of, seen_at
from test_environments_rewards import STILL, bounds_of, lift, outcomes

import environments  # noqa: F401  (registers the ids)
from environments.bullet import pybullet
from environments.registry import ENVIRONMENTS, check_env_kwargs
from environments.robot_env import RobotEnv
from environments.tasks import cluttered_button

MOVING = "KukaMovingButtonGymEnv-v0"
CLUTTERED = "KukaRandButtonGymEnv-v0"
TWO = "Kuka2ButtonGymEnv-v0"
PLATE = 0.204
TABLE_TOP = -0.195
WIDTHS = {"duck_vhacd.urdf": 0.104, "cube_small.urdf": 0.072, "lego.urdf": 0.046}
"""Of a circle that holds a thing seen from above."""
NAMES = [f"distractor_{index}" for index in range(10)]


def make(env_id, seed=0, **env_kwargs) -> RobotEnv:
    env = gymnasium.make(env_id, **env_kwargs).unwrapped
    assert isinstance(env, RobotEnv)
    env.reset(seed=seed)
    return env


def two(**env_kwargs):
    return make(TWO, **{"is_discrete": False, **env_kwargs})


def cluttered(**env_kwargs):
    return make(CLUTTERED, **{"is_discrete": False, **env_kwargs})


def moving(**env_kwargs):
    return make(MOVING, **{"is_discrete": False, **env_kwargs})


def put(env, body, x, y):
    env._world().place(body, (x, y, -0.2))


def distance_to(env, *target):
    return math.dist(env.robot_position, target)


@pytest.mark.parametrize(
    ("env_id", "own"),
    [
        (MOVING, {"max_steps": 1500, "wide_workspace": True}),
        (CLUTTERED, {}),
        (TWO, {"max_steps": 1500, "max_distance": 2.0, "force_down": False}),
    ],
)
def test_defaults_are_those_of_the_button_but_for_a_few(env_id, own):
    usual = ENVIRONMENTS["KukaButtonGymEnv-v0"].option_defaults()
    (task,) = ENVIRONMENTS[env_id].tasks
    assert ENVIRONMENTS[env_id].option_defaults() == {**usual, **own, "task": task}


@pytest.mark.parametrize(("env_id", "n_steps"), [(MOVING, 1501), (CLUTTERED, 1001), (TWO, 1501)])
def test_an_episode_is_truncated_when_its_physics_steps_exceed_the_limit(env_id, n_steps):
    env = make(env_id, is_discrete=False, action_repeat=7)
    ends = [env.step(STILL)[2:] for _ in range(math.ceil(n_steps / 7))]
    assert ends == [(False, False, {})] * (len(ends) - 1) + [(False, True, {"is_success": False})]


@pytest.mark.parametrize("env_id", [MOVING, TWO])
def test_own_defaults_that_concern_the_effector_do_not_stand_in_the_way_of_joint_actions(env_id):
    check_env_kwargs(env_id, {"is_discrete": False, "action_joints": True})


@pytest.mark.parametrize("option", [{"wide_workspace": True}, {"force_down": False}])
def test_what_concerns_the_effector_is_refused_with_joint_actions_where_it_is_no_default(option):
    name = next(iter(option))
    with pytest.raises(ValueError, match=f"{name}={option[name]} concerns effector actions; leave it out"):
        check_env_kwargs(CLUTTERED, {"is_discrete": False, "action_joints": True, **option})


# ------------------------------------------------------------------------------------------------------ two buttons


def test_each_of_two_buttons_in_turn_pays_five_contacts_and_the_last_one_ends_in_success():
    env = two()
    assert outcomes(env, STILL, 1) == [(0.0, False, None)]
    np.testing.assert_allclose(env.target_position, (0.5, 0.125, 0.08))
    lift(env, "button", 0)
    assert outcomes(env, STILL, 5) == [(1.0, False, None)] * 5
    np.testing.assert_allclose(env.target_position, (0.5, -0.125, 0.08))
    assert outcomes(env, STILL, 3) == [(0.0, False, None)] * 3, "the first button has had its turn"
    put(env, "button", 0.5, 0.125)
    lift(env, "second_button", 0)
    assert outcomes(env, STILL, 5) == [(1.0, False, None)] * 4 + [(1.0, True, True)]


def test_contacts_with_the_second_button_do_not_count_before_the_first_is_done():
    env = two()
    lift(env, "second_button", 0)
    assert outcomes(env, STILL, 8) == [(0.0, False, None)] * 8
    put(env, "second_button", 0.5, -0.125)
    lift(env, "button", 0)
    assert outcomes(env, STILL, 5) == [(1.0, False, None)] * 5


def test_contacts_need_not_follow_each_other_and_are_counted_anew_in_the_next_episode():
    env = two()
    lift(env, "button", 0)
    outcomes(env, STILL, 3)
    put(env, "button", 0.5, 0.125)
    assert outcomes(env, STILL, 2) == [(0.0, False, None)] * 2
    lift(env, "button", 0)
    outcomes(env, STILL, 2)
    np.testing.assert_allclose(env.target_position, (0.5, -0.125, 0.08))
    env.reset()
    np.testing.assert_allclose(env.target_position, (0.5, 0.125, 0.08))
    lift(env, "button", 0)
    assert outcomes(env, STILL, 5) == [(1.0, False, None)] * 5
    np.testing.assert_allclose(env.target_position, (0.5, -0.125, 0.08))


@pytest.mark.parametrize("is_discrete", [False, True])
def test_the_shaped_reward_of_two_buttons(is_discrete):
    """Minus the distance to the button whose turn it is, 25 when the first is done, 50 for both."""
    env = two(is_discrete=is_discrete, shape_reward=True)
    action = 4 if is_discrete else STILL
    for body, y, bonus, is_last in (("button", 0.125, 25.0, False), ("second_button", -0.125, 50.0, True)):
        lift(env, body, 0)
        for n_contacts in range(1, 6):
            _, reward, terminated, _, _ = env.step(action)
            expected = bonus if n_contacts == 5 else -distance_to(env, 0.5, y, 0.08)
            assert reward == pytest.approx(expected, abs=1e-6)
            assert terminated == (is_last and n_contacts == 5)
        put(env, body, 0.5, y)


@pytest.mark.parametrize(
    ("env_kwargs", "action", "reward"),
    [
        ({}, STILL, -1.0),
        ({"is_discrete": True}, 4, -1.0),
        ({"shape_reward": True}, STILL, -250.0),
        ({"shape_reward": True, "is_discrete": True}, 4, -250.0),
    ],
)
@pytest.mark.parametrize("n_contacts", [0, 4, 5, 9])
def test_touching_the_table_fails_at_any_time_even_with_the_last_contact(env_kwargs, action, reward, n_contacts):
    env = two(**env_kwargs)
    for body, most in (("button", 5), ("second_button", 4)):
        if n_contacts > 0:
            lift(env, body, 0)
            outcomes(env, action, min(n_contacts, most))
            n_contacts -= most
        if n_contacts > 0:
            put(env, body, 0.5, 0.125)
    lift(env, "table", -1)
    assert outcomes(env, action, 1) == [(reward, True, False)]


@pytest.mark.parametrize(("shape_reward", "reward"), [(False, -1.0), (True, -20.0)])
def test_to_be_out_of_bounds_costs_and_does_not_end_the_episode(shape_reward, reward):
    """The effector starts about .3 m from the first button, and twice as far from where nothing is out of bounds."""
    env = two(shape_reward=shape_reward, max_distance=0.2)
    assert outcomes(env, STILL, 3) == [(reward, False, None)] * 3
    near = two(shape_reward=shape_reward, max_distance=0.5)
    expected = -distance_to(near, 0.5, 0.125, 0.08) if shape_reward else 0.0
    assert outcomes(near, STILL, 1)[0][0] == pytest.approx(expected, abs=0.01)


def test_to_press_from_out_of_bounds_counts_all_the_same():
    """Sparse it is punished; shaped the step that completes a button is paid for."""
    for shape_reward, rewards in ((False, [-1.0] * 5), (True, [-20.0] * 4 + [25.0])):
        env = two(shape_reward=shape_reward, max_distance=0.1)
        lift(env, "button", 0)
        assert [reward for reward, _, _ in outcomes(env, STILL, 5)] == rewards
        np.testing.assert_allclose(env.target_position, (0.5, -0.125, 0.08))


def test_two_random_buttons_both_move_within_their_rectangle_and_lie_beside_each_other():
    env = two(random_target=True)
    world, pairs = env._world(), []
    for _ in range(400):
        env.reset()
        pairs.append([world.position(body)[:2] for body in ("button", "second_button")])
        np.testing.assert_allclose(env.target_position, (*pairs[-1][0], 0.08), atol=1e-9)
    pairs = np.array(pairs)
    assert (np.abs(pairs - (0.5, 0.0)) <= np.array((0.15, 0.3)) + 1e-9).all()
    np.testing.assert_allclose(np.ptp(pairs, axis=0), [(0.3, 0.6)] * 2, atol=0.03)
    apart = pairs[:, 0, 1] - pairs[:, 1, 1]
    assert (np.abs(apart) >= PLATE).all()
    assert 0.4 < (apart > 0).mean() < 0.6, "either may be the one on the left"


def test_the_second_target_of_random_buttons_is_the_second_body():
    env = two(random_target=True)
    lift(env, "button", 0)
    outcomes(env, STILL, 5)
    np.testing.assert_allclose(env.target_position[:2], env._world().position("second_button")[:2], atol=1e-9)


def test_a_region_without_room_for_two_buttons_is_refused():
    check_env_kwargs(TWO, {"random_target": True, "target_region": [0.3, 0.66]})
    message = "^Kuka2ButtonGymEnv-v0: target_region must span at least 0.35 of the range, so that two buttons lie"
    with pytest.raises(ValueError, match=message):
        check_env_kwargs(TWO, {"random_target": True, "target_region": [0.3, 0.64]})


@pytest.mark.parametrize("view", [0, 1])
def test_two_buttons_look_different_and_are_seen_where_they_are(view):
    env = two(observation="raw_pixels", multi_view=True, image_size=128)
    picture = env.reset(seed=0)[0][:, :, 3 * view : 3 * view + 3]
    camera = ENVIRONMENTS[TWO].cameras[view]
    for colour, y in (("red", 0.125), ("blue", -0.125)):
        pixels = pixels_of(picture if colour == "red" else picture[:, :, ::-1], "red")
        hue = np.ptp(picture[tuple(pixels.T)], axis=1)
        pixels = pixels[hue > 100]  # neither the arm nor the floor is as colourful
        assert len(pixels) > 100
        np.testing.assert_allclose(pixels.mean(axis=0), seen_at(camera, (0.5, y, -0.165), 128), atol=4)


# --------------------------------------------------------------------------------------------------- a moving button


def ys_of(env, n_steps):
    """Where the target is along y, at the start and after each step; its body is there too."""
    ys = [env.target_position[1]]
    for _ in range(n_steps):
        env.step(STILL)
        ys.append(env.target_position[1])
        assert env._world().position("button") == pytest.approx((env.target_position[0], ys[-1], -0.2), abs=1e-12)
    return np.array(ys)


def there_and_back(way):
    """Where something is along a way of .6 m that it walks to and fro; it starts in the middle."""
    return np.abs((way + 0.9) % 1.2 - 0.6) - 0.3


def test_the_button_moves_a_millimetre_per_step_and_turns_back_thirty_centimetres_from_the_middle():
    env = moving()
    ys = ys_of(env, 1450)
    np.testing.assert_allclose(ys, np.sign(ys[1]) * there_and_back(0.001 * np.arange(1451)), atol=1e-9)
    assert ys.max() == pytest.approx(0.3, abs=1e-9) and ys.max() <= 0.3
    assert ys.min() == pytest.approx(-0.3, abs=1e-9) and ys.min() >= -0.3
    np.testing.assert_allclose(env.target_position[[0, 2]], (0.5, 0.08))


def test_a_moving_button_starts_anywhere_when_random_and_turns_back_at_the_same_places():
    env = moving(random_target=True)
    starts = []
    for _ in range(200):
        env.reset()
        starts.append(env.target_position)
    np.testing.assert_allclose(np.ptp(starts, axis=0), (0.3, 0.6, 0.0), atol=0.03)
    env.reset(seed=3)
    ys = ys_of(env, 1300)
    assert ys.max() <= 0.3 and ys.min() >= -0.3
    assert np.ptp(ys) > 0.598
    steps = np.abs(np.diff(ys))
    assert (np.isclose(steps, 0.001, atol=1e-9) | (steps < 0.001)).all()
    assert (steps < 0.00099).sum() <= 3, "it slows down where it turns only"


def test_the_first_direction_of_the_button_is_random_and_decided_by_the_seed():
    env = moving()
    first = []
    for seed in range(60):
        env.reset(seed=seed)
        assert env.target_position[1] == 0.0
        first.append(ys_of(env, 1)[1])
    assert set(np.round(first, 9)) == {0.001, -0.001}
    assert 15 < np.sum(np.array(first) > 0) < 45
    for seed in (5, 0, 7):
        env.reset(seed=seed)
        assert ys_of(env, 1)[1] == first[seed]


def test_the_button_moves_in_every_physics_step_of_a_repeated_action():
    assert abs(np.diff(ys_of(moving(action_repeat=4), 3))) == pytest.approx([0.004] * 3)


@pytest.mark.parametrize(
    ("env_id", "env_kwargs", "low", "high"),
    [
        (MOVING, {}, (0.35, -0.3, 0.0), (0.65, 0.3, 0.5)),
        (MOVING, {"wide_workspace": False}, (0.5, -0.17, 0.0), (0.65, 0.22, 0.5)),
        (TWO, {}, (0.5, -0.17, 0.0), (0.65, 0.22, 0.5)),
        (TWO, {"random_target": True}, (0.35, -0.3, 0.0), (0.65, 0.3, 0.5)),
    ],
)
def test_the_box_of_the_effector_is_wide_where_the_button_moves(env_id, env_kwargs, low, high):
    robot = make(env_id, is_discrete=False, **env_kwargs)._robot
    assert (robot._box_low, robot._box_high) == (low, high)


# ------------------------------------------------------------------------------------------- among distractors


def on_the_table(env):
    """Position and file of each thing that lies about, by name."""
    world = env._world()
    positions = {name: world.position(name) for name in NAMES}
    return {name: (place, world.files[name].name) for name, place in positions.items() if place[2] > -1}


@pytest.mark.parametrize("random_target", [False, True])
def test_up_to_ten_things_lie_on_the_table_apart_from_each_other_and_away_from_the_button(random_target):
    env = cluttered(random_target=random_target)
    numbers, names, angles = [], [], []
    for seed in range(400):
        env.reset(seed=seed)
        things = on_the_table(env)
        numbers.append(len(things))
        names += things
        button = env._world().position("button")
        for place, file in things.values():
            offset = np.abs(np.subtract(place, button))[:2]
            assert np.hypot(*offset) > 0.1, "none within .1 m of the button"
            assert (offset - PLATE / 2).max() >= 0.1 > WIDTHS[file] / 2, "nor of the edge of its plate"
            assert 0.15 <= place[0] <= 0.75 and -0.45 <= place[1] <= 0.35
            assert math.dist(place[:2], (0.25, -0.2)) > 0.03 + WIDTHS[file] / 2, "none in the ball"
        for (place, file), (other, other_file) in itertools.combinations(things.values(), 2):
            assert math.dist(place[:2], other[:2]) > (WIDTHS[file] + WIDTHS[other_file]) / 2
        angles += [env._world().bind(pybullet.getBasePositionAndOrientation)(env._world().bodies[n])[1] for n in things]
    counts = np.bincount(numbers, minlength=11)
    assert len(counts) == 11 and counts.min() > 15, "every number from 0 to 10 comes, all about equally often"
    by_name = np.array([names.count(name) for name in NAMES])
    assert by_name.min() > 150 and by_name.max() < 250, "each thing lies there in about half of the episodes"
    assert len(np.unique(np.round(angles, 3), axis=0)) > 1000


def test_there_are_ducks_cubes_and_bricks():
    files = [cluttered()._world().files[name].name for name in NAMES]
    assert {file: files.count(file) for file in WIDTHS} == {"duck_vhacd.urdf": 3, "cube_small.urdf": 4, "lego.urdf": 3}


@pytest.mark.parametrize("seed", [4, 6, 20, 22])
def test_things_lie_still_on_the_table_until_something_touches_them(seed):
    env = cluttered(random_target=True)
    env.reset(seed=seed)
    env._task._push = (0.0, 0.0, 0.0)
    before = on_the_table(env)
    assert len(before) >= 9
    for _ in range(240):
        env.step(STILL)
    for name, (place, _) in on_the_table(env).items():
        assert math.dist(place, before[name][0]) < 0.004
        assert bounds_of(env, name, -1)[0][2] == pytest.approx(TABLE_TOP, abs=0.004)
    ball = env._world().position("ball")
    assert math.dist(ball, (0.25, -0.2, TABLE_TOP + 0.03)) < 0.002


def test_what_does_not_lie_about_is_below_the_floor_and_touches_nothing():
    env = cluttered()
    for seed in range(5):
        env.reset(seed=seed)
        hidden = set(NAMES) - set(on_the_table(env))
        for _ in range(50):
            env.step(STILL)
        world = env._world()
        for name in hidden:
            assert world.position(name)[2] < -11.5, "the floor is ten metres thick"
            assert not world.bind(pybullet.getContactPoints)(world.bodies[name])


def test_what_does_not_lie_about_is_not_seen():
    """The same picture as without distractors, when none lies about."""
    env = cluttered(render_mode="rgb_array", render_size=96)
    seed = next(seed for seed in range(100) if not (env.reset(seed=seed), on_the_table(env))[1])
    env.reset(seed=seed)
    world = env._world()
    first = env.render()
    for index, name in enumerate(NAMES):
        world.place(name, (500.0 + index, 500.0, -5.0))
    np.testing.assert_array_equal(env.render(), first)
    world.place(NAMES[0], (0.3, 0.2, TABLE_TOP + 0.02))
    assert (env.render() != first).any()


def test_the_ball_lies_still_until_it_is_pushed_in_the_tenth_step():
    """10 N for 1/240 s give .1 kg a speed of .417 m/s, of which friction takes some at once."""
    env = cluttered()
    world = env._world()
    velocity = world.bind(pybullet.getBaseVelocity, world.bodies["ball"])
    directions = []
    for seed in range(40):
        env.reset(seed=seed)
        start = world.position("ball")
        assert math.dist(start, (0.25, -0.2, TABLE_TOP + 0.03)) < 0.002
        outcomes(env, STILL, 9)
        assert math.dist(world.position("ball"), start) < 1e-4
        env.step(STILL)
        (vx, vy, vz), _ = velocity()
        assert math.hypot(vx, vy) == pytest.approx(10 / 240 / 0.1, abs=0.03)
        assert abs(vz) < 0.02
        directions.append(math.atan2(vy, vx))
        outcomes(env, STILL, 20)
        assert math.dist(world.position("ball"), start) > 0.02
    assert min(directions) >= -0.01 and max(directions) <= math.pi / 2 + 0.01, "towards the middle of the table"
    assert min(directions) < 0.2 and max(directions) > math.pi / 2 - 0.2


def test_the_ball_is_pushed_in_the_tenth_physics_step_also_within_a_repeated_action():
    slow, fast = cluttered(), cluttered(action_repeat=5)
    for env in (slow, fast):
        env.reset(seed=4)
    outcomes(slow, STILL, 30)
    outcomes(fast, STILL, 6)
    assert math.dist(slow._world().position("ball"), fast._world().position("ball")) < 1e-3


# --------------------------------------------------------------------------- episodes do not depend on the ones before


def press(env, seed):
    """Play one episode with a policy that goes over the button whose turn it is, high enough, and then down."""
    observations, rewards = [env.reset(seed=seed)[0]], []
    can_rise = not env._robot.settings.force_down
    terminated = truncated = False
    while not (terminated or truncated):
        x, y, z = observations[-1]
        action = 4
        if max(abs(x), abs(y)) > 0.06:
            action = (0 if x > 0 else 1) if abs(x) > abs(y) else (2 if y > 0 else 3)
            action = 5 if can_rise and z < 0.0 else action
        observation, reward, terminated, truncated, info = env.step(action)
        observations.append(observation)
        rewards.append(reward)
    return np.array(observations), np.array(rewards), info["is_success"]


@pytest.mark.parametrize(
    ("env_id", "random_target", "best", "at_least"),
    [
        *((MOVING, False, 5.0, 4), (CLUTTERED, False, 5.0, 6), (TWO, False, 10.0, 6)),
        *((MOVING, True, 5.0, 4), (CLUTTERED, True, 5.0, 6)),
        pytest.param(TWO, True, 10.0, 2, marks=pytest.mark.slow),
    ],
)
def test_presses_succeed_and_leave_no_trace_in_the_next_episode(env_id, random_target, best, at_least):
    used = make(env_id, random_target=random_target)
    n_successes = 0
    for seed in range(6):
        fresh = make(env_id, random_target=random_target)
        expected, rewards, is_success = press(fresh, seed)
        fresh.close()
        n_successes += is_success
        assert rewards.sum() == best or not is_success
        for _ in range(2):
            again, same_rewards, _ = press(used, seed)
            np.testing.assert_array_equal(again, expected)
            np.testing.assert_array_equal(same_rewards, rewards)
    assert n_successes >= at_least


def sweep(env, seed):
    """Drag the fingers over the table, from thing to thing; also after the end, since presses are many on the way."""
    env.reset(seed=seed)
    world, rng = env._world(), np.random.default_rng(seed)
    names = [*on_the_table(env), "ball"]
    starts = [world.position(name) for name in names]
    trace = []
    for index in range(700):
        if index % 120 == 0:
            goal = np.clip(world.position(names[rng.integers(len(names))])[:2], (0.35, -0.3), (0.65, 0.3))
        height = np.mean([bounds_of(env, "robot", tip)[0][2] for tip in (10, 13)]) - (TABLE_TOP + 0.019)
        observation, *_ = env.step(np.clip([*(goal - env.robot_position[:2]) / 0.05, -height / 0.05], -1, 1))
        trace.append([*observation, *np.ravel([world.position(name) for name in names])])
    n_moved = sum(math.dist(start, world.position(name)) > 0.02 for name, start in zip(names, starts, strict=True))
    return np.array(trace), n_moved - 1


@pytest.mark.slow
def test_distractors_that_were_pushed_leave_no_trace_in_the_next_episode(monkeypatch):
    """Neither in the motions of the arm nor in those of any body; things lie near, that they are met often."""
    monkeypatch.setattr(cluttered_button, "REGION_LOW", (0.3, -0.35))
    monkeypatch.setattr(cluttered_button, "REGION_HIGH", (0.7, 0.35))
    monkeypatch.setattr(cluttered_button, "BUTTON_GAP_M", 0.06)
    options = {"random_target": True, "force_down": False}
    used, n_moved = cluttered(**options), 0
    for seed in (2, 28, 6, 8, 16, 11):
        fresh = cluttered(**options)
        expected, n_moved_now = sweep(fresh, seed)
        fresh.close()
        n_moved += n_moved_now
        for _ in range(2):
            np.testing.assert_array_equal(sweep(used, seed)[0], expected)
    assert n_moved >= 6
