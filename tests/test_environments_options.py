"""Keyword arguments and ids that cannot be honoured: one clear line each, before anything is built."""

import re
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

import environments  # noqa: F401  (registers the ids)
from environments.names import nearest_match, unknown_name
from environments.registry import ENVIRONMENTS, check_env_kwargs, find_spec
from environments.simulation import Simulation

KUKA = "KukaButtonGymEnv-v0"
MOBILE = "MobileRobotGymEnv-v0"

ILLEGAL = [
    (
        KUKA,
        {"random_targt": True},
        "unknown KukaButtonGymEnv-v0 argument 'random_targt'; did you mean 'random_target'?",
    ),
    (KUKA, {"max_distnce": 1.0}, "unknown KukaButtonGymEnv-v0 argument 'max_distnce'; did you mean 'max_distance'?"),
    (KUKA, {"observation": "ground_thruth"}, "unknown observation 'ground_thruth'; did you mean 'ground_truth'?"),
    (
        KUKA,
        {"observation": "xyz"},
        "unknown observation 'xyz'; known: ground_truth, joints, joints_position, raw_pixels",
    ),
    (
        KUKA,
        {"observation": 3},
        "observation must be one of ground_truth, joints, joints_position, raw_pixels, not 3",
    ),
    (KUKA, {"render_mode": "rgb_aray"}, "unknown render_mode 'rgb_aray'; did you mean 'rgb_array'?"),
    (KUKA, {"image_size": 0}, "image_size must be a positive integer, not 0"),
    (KUKA, {"image_size": 64.0}, "image_size must be a positive integer, not 64.0"),
    (KUKA, {"image_size": True}, "image_size must be a positive integer, not True"),
    (KUKA, {"action_repeat": -1}, "action_repeat must be a positive integer, not -1"),
    (KUKA, {"max_steps": "many"}, "max_steps must be a positive integer, not 'many'"),
    (KUKA, {"is_discrete": 1}, "is_discrete must be True or False, not 1"),
    (KUKA, {"random_target": "yes"}, "random_target must be True or False, not 'yes'"),
    (KUKA, {"max_distance": 0}, "max_distance must be a positive number, not 0"),
    (KUKA, {"discrete_step": float("nan")}, "discrete_step must be a positive number, not nan"),
    (KUKA, {"discrete_step": float("inf")}, "discrete_step must be a positive number, not inf"),
    (KUKA, {"motor_speed": 0}, "motor_speed must be a positive number, not 0"),
    (
        KUKA,
        {"multi_view": True},
        "KukaButtonGymEnv-v0: multi_view needs observation='raw_pixels', not 'ground_truth'",
    ),
    (
        KUKA,
        {"action_joints": True},
        "KukaButtonGymEnv-v0: action_joints needs is_discrete=False, joint actions are continuous",
    ),
    (
        KUKA,
        {"action_joints": True, "is_discrete": False, "force_down": False},
        "KukaButtonGymEnv-v0: force_down=False concerns effector actions; leave it out with action_joints=True",
    ),
    (
        KUKA,
        {"is_discrete": False, "discrete_step": 0.1},
        "KukaButtonGymEnv-v0: discrete_step concerns discrete actions; leave it out with is_discrete=False",
    ),
    (
        MOBILE,
        {"observation": "joints"},
        "MobileRobotGymEnv-v0: no observation 'joints'; it supports ground_truth, raw_pixels",
    ),
    (MOBILE, {"observe_task": True}, "MobileRobotGymEnv-v0: observe_task is not supported, it has one task"),
    (
        "OmnirobotEnv-v0",
        {"observe_task": True, "observation": "raw_pixels"},
        "OmnirobotEnv-v0: observe_task concerns ground truth, not 'raw_pixels'",
    ),
    (
        MOBILE,
        {"action_joints": True, "is_discrete": False},
        "MobileRobotGymEnv-v0: action_joints is not supported, its robot has no joints to command",
    ),
    (
        MOBILE,
        {"force_down": True},
        "unknown MobileRobotGymEnv-v0 argument 'force_down'; known: action_delay, action_joints, action_repeat,"
        " camera_distance, camera_fov, camera_pitch, camera_yaw, friction_scale, gain_scale, image_size, is_discrete,"
        " mass_scale, max_steps, multi_view, observation, observation_noise, observe_task, random_target, render_mode,"
        " render_size, shape_reward, target_region, task",
    ),
]


@pytest.fixture
def no_simulation(monkeypatch):
    def refuse(self, has_window=False):
        raise AssertionError("a simulation was built")

    monkeypatch.setattr(Simulation, "__init__", refuse)


@pytest.mark.parametrize(("env_id", "env_kwargs", "message"), ILLEGAL)
@pytest.mark.parametrize("use", [check_env_kwargs, lambda env_id, kwargs: gymnasium.make(env_id, **kwargs)])
def test_what_cannot_be_honoured_is_refused_in_one_line(use, env_id, env_kwargs, message, no_simulation):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        use(env_id, env_kwargs)


@pytest.mark.parametrize("env_id", ENVIRONMENTS)
def test_the_defaults_are_accepted_without_a_simulation(env_id, no_simulation):
    check_env_kwargs(env_id, {})
    check_env_kwargs(env_id, ENVIRONMENTS[env_id].option_defaults())


def test_option_defaults_are_those_of_the_contract():
    common = {
        "is_discrete": True,
        "action_repeat": 1,
        "random_target": False,
        "multi_view": False,
        "shape_reward": False,
        "action_joints": False,
        "observation": "ground_truth",
        "observe_task": False,
        "render_mode": None,
        "image_size": 64,
        "render_size": 320,
        "target_region": (0.0, 1.0),
        "camera_yaw": 0.0,
        "camera_pitch": 0.0,
        "camera_distance": 1.0,
        "camera_fov": 0.0,
        "mass_scale": 1.0,
        "friction_scale": 1.0,
        "gain_scale": 1.0,
        "action_delay": 0,
        "observation_noise": 0.0,
    }
    of_the_arm = {
        "task": "button",
        "max_steps": 1000,
        "force_down": True,
        "discrete_step": 0.03,
        "motor_speed": 1.0,
        "wide_workspace": False,
        "max_distance": 0.8,
    }
    assert ENVIRONMENTS[KUKA].option_defaults() == common | of_the_arm
    assert ENVIRONMENTS[MOBILE].option_defaults() == common | {"task": "reach", "max_steps": 250}


def test_motor_speed_sets_how_fast_the_arm_can_follow():
    """Commanded sideways faster than its joints turn, an arm of half the speed gets about half as far."""
    ways = []
    for kwargs in ({}, {"motor_speed": 1}, {"motor_speed": 0.5}):
        env = gymnasium.make(KUKA, is_discrete=False, action_repeat=10, **kwargs)
        env.reset(seed=0)
        start = env.unwrapped.robot_position
        for _ in range(10):
            env.step(np.array([0.0, 1.0, 0.0], dtype=np.float32))
        ways.append(env.unwrapped.robot_position - start)
        env.close()
    assert ways[0].tolist() == ways[1].tolist()
    assert 0.4 < ways[2][1] / ways[0][1] < 0.7


def test_names_of_arguments_are_checked_for_other_environments_too():
    check_env_kwargs("Pendulum-v1", {"g": 9.8, "render_mode": "rgb_array"})
    with pytest.raises(ValueError, match="^unknown FrozenLake-v1 argument 'map_nam'; did you mean 'map_name'[?]$"):
        check_env_kwargs("FrozenLake-v1", {"map_nam": "4x4"})


def test_names_of_arguments_pass_where_the_code_of_the_environment_is_not_installed():
    gymnasium.register("Absent-v0", entry_point="no_such_robots:Env")
    check_env_kwargs("Absent-v0", {"anything": 1})
    gymnasium.registry.pop("Absent-v0")


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("KukaButonGymEnv-v0", "unknown environment 'KukaButonGymEnv-v0'; did you mean 'KukaButtonGymEnv-v0'?"),
        ("kukabuttongymenv-v0", "unknown environment 'kukabuttongymenv-v0'; did you mean 'KukaButtonGymEnv-v0'?"),
        ("CartPole", "unknown environment 'CartPole'; did you mean 'CartPole-v1'?"),
        ("CartPole-v7", "unknown environment 'CartPole-v7'; did you mean 'CartPole-v1'?"),
        (
            "zzzzzzzzzzzz",
            "unknown environment 'zzzzzzzzzzzz'; is the package that registers it among the gym packages to import?",
        ),
    ],
)
def test_an_unknown_id_is_refused_with_the_nearest_one(env_id, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        find_spec(env_id)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_env_kwargs(env_id, {})


@pytest.mark.parametrize("env_id", [KUKA, MOBILE, "CartPole-v1", "gymnasium:CartPole-v1"])
def test_a_known_id_is_found(env_id):
    assert find_spec(env_id).id == env_id.rpartition(":")[2]


@pytest.mark.parametrize("env_id", ENVIRONMENTS)
def test_our_ids_leave_the_time_limit_to_the_environment(env_id):
    assert find_spec(env_id).max_episode_steps is None


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("no_such_robots", "the package 'no_such_robots' is not installed; pip install no-such-robots"),
        ("no_such_robots.envs", "the package 'no_such_robots' is not installed; pip install no-such-robots"),
        (
            "lonely_robots",
            "the package 'no_such_thing', which 'lonely_robots' needs, is not installed; pip install no-such-thing",
        ),
    ],
)
def test_a_missing_package_is_named(package, message, tmp_path, monkeypatch):
    (tmp_path / "lonely_robots.py").write_text("import no_such_thing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        find_spec("CartPole-v1", gym_packages=[package])


def test_packages_register_their_environments_before_the_look_up(tmp_path, monkeypatch):
    (tmp_path / "registering_robots.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('Registered-v0', entry_point='gymnasium.envs.classic_control:PendulumEnv')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="^unknown environment 'Registered-v0'"):
        find_spec("Registered-v0")
    assert find_spec("Registered-v0", gym_packages=["registering_robots"]).id == "Registered-v0"
    gymnasium.registry.pop("Registered-v0")


@pytest.mark.parametrize(
    ("name", "known", "match"),
    [
        ("ppo2", ["ppo", "sac"], "ppo"),
        ("PPO", ["ppo", "sac"], "ppo"),
        ("Ant", ["Ant-v4", "Ant-v5"], "Ant-v5"),
        ("zebra", ["ppo", "sac"], None),
        ("anything", [], None),
    ],
)
def test_nearest_match(name, known, match):
    assert nearest_match(name, known) == match


def test_known_names_are_listed_when_none_is_near_and_they_are_few():
    assert unknown_name("algorithm", "zebra", ["sac", "ppo"]) == "unknown algorithm 'zebra'; known: ppo, sac"
    assert unknown_name("number", "zebra", map(str, range(25))) == "unknown number 'zebra'"
    assert unknown_name("algorithm", "pppo", ["sac", "ppo"]) == "unknown algorithm 'pppo'; did you mean 'ppo'?"


def test_import_and_use_print_nothing():
    program = (
        "import environments, gymnasium\n"
        f"env = gymnasium.make('{KUKA}', observation='raw_pixels', image_size=36)\n"
        "env.reset(seed=0); env.step(0); env.close()\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("", "")
