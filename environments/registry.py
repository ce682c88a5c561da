"""The one table of environments, their registration with Gymnasium, and the look-up of any other environment."""

import dataclasses
import importlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from environments.camera import Camera
from environments.environment_row import OF_THE_TASK, EnvironmentRow, without_aliases
from environments.names import unknown_name
from environments.observed_task import ObservedTask
from environments.robot_env import RobotEnv
from environments.robots.inmoov import InmoovRightArm, InmoovRobot
from environments.robots.kuka import KukaArm
from environments.robots.mobile import MobileRobot, MobileRobot1D
from environments.robots.omnirobot import Omnirobot
from environments.tasks.button import ButtonTask
from environments.tasks.cluttered_button import ClutteredButtonTask
from environments.tasks.field import ReachMarker
from environments.tasks.moving_button import MovingButtonTask
from environments.tasks.paths import FollowCircle, FollowEight, FollowSquare
from environments.tasks.pursuit import Chase, Escape
from environments.tasks.raised_button import RaisedButtonTask
from environments.tasks.reach_fruit import ReachTomato
from environments.tasks.reach_target import ReachLine, ReachTarget, ReachTarget1D, ReachTwoTargets
from environments.tasks.two_buttons import TwoButtonsTask

KUKA_CAMERAS = (
    Camera(target=(0.316, -0.2, -0.1), distance=1.1, yaw=145, pitch=-36),
    Camera(target=(0.316, 0.316, -0.105), distance=1.05, yaw=32, pitch=-13),
)
MOBILE_CAMERAS = (
    Camera(target=(2.0, 2.0, 0.0), distance=4.4, yaw=90, pitch=-90),
    Camera(target=(0.35, 0.0, 0.15), distance=0.3, yaw=-90, pitch=-17, fov=90, near=0.01, follows_robot=True),
)
OMNIROBOT_CAMERAS = (
    Camera(target=(0.0, 0.0, 0.0), distance=2.9, yaw=0, pitch=-90, fov=42),
    Camera(target=(0.5, 0.0, 0.05), distance=0.4, yaw=-90, pitch=-25, fov=90, near=0.01, follows_robot=True),
)
INMOOV_CAMERAS = (
    Camera(target=(0.0, 0.0, 1.0), distance=2.0, yaw=145, pitch=-36),
    Camera(target=(0.0, 0.548, -0.386), distance=0.65, yaw=0, pitch=-50, fov=100, near=0.03, link="head"),
)
FLOOR_DEFAULTS = {"max_steps": 250}

_ROWS = (
    EnvironmentRow(
        env_id="KukaButtonGymEnv-v0",
        family="kuka_button",
        robot=KukaArm,
        tasks={"button": ButtonTask},
        cameras=KUKA_CAMERAS,
    ),
    EnvironmentRow(
        env_id="KukaMovingButtonGymEnv-v0",
        family="kuka_button",
        robot=KukaArm,
        tasks={"moving_button": MovingButtonTask},
        cameras=KUKA_CAMERAS,
        defaults={"max_steps": 1500, "wide_workspace": True},
    ),
    EnvironmentRow(
        env_id="KukaRandButtonGymEnv-v0",
        family="kuka_button",
        robot=KukaArm,
        tasks={"cluttered_button": ClutteredButtonTask},
        cameras=KUKA_CAMERAS,
    ),
    EnvironmentRow(
        env_id="Kuka2ButtonGymEnv-v0",
        family="kuka_button",
        robot=KukaArm,
        tasks={"two_buttons": TwoButtonsTask},
        cameras=KUKA_CAMERAS,
        defaults={"max_steps": 1500, "max_distance": 2.0, "force_down": False},
    ),
    EnvironmentRow(
        env_id="MobileRobotGymEnv-v0",
        family="mobile_robot",
        robot=MobileRobot,
        tasks={"reach": ReachTarget},
        cameras=MOBILE_CAMERAS,
        defaults=FLOOR_DEFAULTS,
    ),
    EnvironmentRow(
        env_id="MobileRobot1DGymEnv-v0",
        family="mobile_robot",
        robot=MobileRobot1D,
        tasks={"reach": ReachTarget1D},
        cameras=(replace(MOBILE_CAMERAS[0], target=(2.0, 0.0, 0.0)), MOBILE_CAMERAS[1]),
        defaults=FLOOR_DEFAULTS,
    ),
    EnvironmentRow(
        env_id="MobileRobot2TargetGymEnv-v0",
        family="mobile_robot",
        robot=MobileRobot,
        tasks={"two_targets": ReachTwoTargets},
        cameras=MOBILE_CAMERAS,
        defaults=FLOOR_DEFAULTS,
    ),
    EnvironmentRow(
        env_id="MobileRobotLineTargetGymEnv-v0",
        family="mobile_robot",
        robot=MobileRobot,
        tasks={"line": ReachLine},
        cameras=MOBILE_CAMERAS,
        defaults=FLOOR_DEFAULTS,
    ),
    EnvironmentRow(
        env_id="OmnirobotEnv-v0",
        family="omnirobot",
        robot=Omnirobot,
        tasks={
            "reach": ReachMarker,
            "circle": FollowCircle,
            "square": FollowSquare,
            "eight": FollowEight,
            "chase": Chase,
            "escape": Escape,
        },
        cameras=OMNIROBOT_CAMERAS,
        defaults=FLOOR_DEFAULTS,
    ),
    EnvironmentRow(
        env_id="InmoovGymEnv-v0",
        family="inmoov",
        robot=InmoovRobot,
        tasks={"tomato": ReachTomato},
        cameras=INMOOV_CAMERAS,
        defaults={"action_repeat": 2, "max_steps": 1999, "shape_reward": True},
    ),
    EnvironmentRow(
        env_id="InmoovOneArmButtonGymEnv-v0",
        family="inmoov",
        robot=InmoovRightArm,
        tasks={"button": RaisedButtonTask},
        cameras=(replace(INMOOV_CAMERAS[0], target=(0.0, 0.6, 1.2)), INMOOV_CAMERAS[1]),
        defaults={"action_repeat": 2, "max_steps": 1999},
    ),
)
ENVIRONMENTS: dict[str, EnvironmentRow] = {row.env_id: row for row in _ROWS}


def register_environments() -> None:
    """Make every environment of the table known to Gymnasium, which then builds it by ``gymnasium.make``.

    They get no ``max_episode_steps``, since their own limit counts physics steps.
    """
    for env_id in ENVIRONMENTS:
        if env_id not in gymnasium.registry:
            gymnasium.register(env_id, entry_point="environments.registry:build", kwargs={"env_id": env_id})


def build(env_id: str, **env_kwargs: object) -> RobotEnv:
    """Build an environment of the table, without Gymnasium's wrappers.

    :param env_id: its id
    :param env_kwargs: as ``check_env_kwargs`` takes them
    :raises ValueError: for arguments that cannot be honoured, in one line
    """
    row = ENVIRONMENTS[env_id]
    settings = row.settings(env_kwargs)
    robot = row.robot(settings.options, settings.robot)
    task = settings.task_type(settings.options, settings.task)
    truth = ObservedTask(task, row.tasks) if settings.options.observe_task else task
    return RobotEnv(robot, task, settings.options, settings.dynamics, row.placed_cameras(settings.options), truth)


def task_options(env_id: str, env_kwargs: Mapping[str, object]) -> list[str]:
    """Give the names of those arguments of one of our environments that belong to its task.

    :param env_id: its id
    :param env_kwargs: legal arguments
    """
    row = ENVIRONMENTS[env_id]
    own = {field.name for field in dataclasses.fields(row.settings(env_kwargs).task)}
    return [name for name in env_kwargs if name in own or name in OF_THE_TASK]


def task_of(env_id: str, env_kwargs: Mapping[str, object]) -> object:
    """Give the name of the task that one of our environments does with these arguments.

    :param env_id: its id
    :param env_kwargs: legal arguments
    """
    return without_aliases(env_kwargs).get("task", ENVIRONMENTS[env_id].default_task)


def check_env_kwargs(env_id: str, env_kwargs: Mapping[str, object]) -> None:
    """Refuse keyword arguments that an environment could not honour, without building it.

    Of an environment from elsewhere only the names can be checked.

    :param env_id: any registered id
    :param env_kwargs: what ``gymnasium.make`` would be given
    :raises ValueError: naming the first argument that is wrong, in one line
    """
    if env_id in ENVIRONMENTS:
        ENVIRONMENTS[env_id].settings(env_kwargs)
    else:
        _check_names(find_spec(env_id), env_kwargs)


def _check_names(spec: EnvSpec, env_kwargs: Mapping[str, object]) -> None:
    """Refuse names that are not in the signature of what builds an environment."""
    if not env_kwargs or spec.entry_point is None:
        return
    try:
        creator = load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
    except (ImportError, gymnasium.error.DependencyNotInstalled):
        return  # to build it will tell what is not installed
    parameters = inspect.signature(creator).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for name in env_kwargs:
        if name not in {*parameters, "render_mode"}:
            raise ValueError(unknown_name(f"{spec.id} argument", name, parameters))


def find_spec(env_id: str, gym_packages: Sequence[str] = ()) -> EnvSpec:
    """Give Gymnasium's description of an environment.

    :param env_id: with its version
    :param gym_packages: modules that register environments when imported
    :raises ValueError: for a package that is not installed or an unknown id, in one line
    """
    for package in gym_packages:
        _import_package(package)
    module, _, name = env_id.rpartition(":")
    if module:
        _import_package(module)
    spec = gymnasium.registry.get(name)
    if spec is None:
        raise ValueError(_unknown_environment(name, gymnasium.registry))
    return spec


def _import_package(package: str) -> None:
    """Import a module that registers environments."""
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        missing = (error.name or package).partition(".")[0]
        needed = "" if package.partition(".")[0] == missing else f", which '{package}' needs,"
        distribution = missing.replace("_", "-")
        raise ValueError(f"the package '{missing}'{needed} is not installed; pip install {distribution}") from error


def _unknown_environment(env_id: str, known: Iterable[str]) -> str:
    """Say that an id is unknown, with the nearest known one and what may have been forgotten."""
    message = unknown_name("environment", env_id, known)
    if "did you mean" in message:
        return message
    return f"{message}; is the package that registers it among the gym packages to import?"
