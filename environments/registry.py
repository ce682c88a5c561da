"""The one table of environments, their registration with Gymnasium, and the look-up of any other environment."""

import dataclasses
import importlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from environments.camera import Camera
from environments.names import unknown_name
from environments.options import EnvOptions, Settings
from environments.robot_env import RobotEnv
from environments.robots.kuka import KukaArm
from environments.robots.mobile import MobileRobot
from environments.robots.robot import Robot
from environments.tasks.button import ButtonTask
from environments.tasks.reach_target import ReachTarget
from environments.tasks.task import Task

SettingsT = TypeVar("SettingsT", bound=Settings)


@dataclass(frozen=True)
class EnvironmentRow:
    """One environment: which robot does which task, and what it can be asked for.

    :param env_id: the id under which Gymnasium knows it
    :param robot: what acts
    :param task: what is to be done
    :param cameras: the main one, and one more where ``multi_view`` is supported
    :param observations: the observation kinds it offers
    :param plot_dimension: 2 or 3, of a plot of its ground-truth positions
    :param render_fps: pictures per second of a film
    :param defaults: option defaults that differ from the usual ones
    """

    env_id: str
    robot: type[Robot]
    task: type[Task]
    cameras: tuple[Camera, ...]
    observations: tuple[str, ...]
    plot_dimension: int
    render_fps: int
    defaults: Mapping[str, object] = field(default_factory=dict)

    def option_defaults(self) -> dict[str, Any]:
        """Give every keyword argument of the environment with its default."""
        groups = (EnvOptions, self.robot.settings_type, self.task.settings_type)
        usual = {field.name: field.default for group in groups for field in dataclasses.fields(group)}
        return {**usual, **self.defaults}

    def settings(self, env_kwargs: Mapping[str, object]) -> tuple[EnvOptions, Any, Any]:
        """Give the checked options: common, of the robot, of the task.

        :param env_kwargs: those that differ from the defaults
        :raises ValueError: for an unknown name, a wrong value or a combination that cannot be honoured, in one line
        """
        values = self.option_defaults()
        for name in env_kwargs:
            if name not in values:
                raise ValueError(unknown_name(f"{self.env_id} argument", name, values))
        values |= env_kwargs
        options = _pick(EnvOptions, values)
        robot_settings = _pick(self.robot.settings_type, values)
        problem = self._find_conflict(options) or self.robot.find_conflict(options, robot_settings)
        if problem is not None:
            raise ValueError(f"{self.env_id}: {problem}")
        return options, robot_settings, _pick(self.task.settings_type, values)

    def _find_conflict(self, options: EnvOptions) -> str | None:
        """Say in one line which option this environment cannot honour, or give None."""
        if options.observation not in self.observations:
            return f"no observation '{options.observation}'; it supports {', '.join(self.observations)}"
        if options.multi_view and len(self.cameras) < 2:
            return "multi_view is not supported, it has one camera"
        if options.multi_view and options.observation != "raw_pixels":
            return f"multi_view needs observation='raw_pixels', not '{options.observation}'"
        if options.action_joints and not self.robot.joint_names:
            return "action_joints is not supported, its robot has no joints to command"
        if options.action_joints and options.is_discrete:
            return "action_joints needs is_discrete=False, joint actions are continuous"
        return None


def _pick(group: type[SettingsT], values: Mapping[str, Any]) -> SettingsT:
    """Give one group of options, filled from the values of all."""
    return group(**{field.name: values[field.name] for field in dataclasses.fields(group)})


KUKA_CAMERAS = (
    Camera(target=(0.316, -0.2, -0.1), distance=1.1, yaw=145, pitch=-36),
    Camera(target=(0.316, 0.316, -0.105), distance=1.05, yaw=32, pitch=-13),
)
MOBILE_CAMERAS = (
    Camera(target=(2.0, 2.0, 0.0), distance=4.4, yaw=90, pitch=-90),
    Camera(target=(0.35, 0.0, 0.15), distance=0.3, yaw=-90, pitch=-17, fov=90, near=0.01, follows_robot=True),
)

_ROWS = (
    EnvironmentRow(
        env_id="KukaButtonGymEnv-v0",
        robot=KukaArm,
        task=ButtonTask,
        cameras=KUKA_CAMERAS,
        observations=("ground_truth", "joints", "joints_position", "raw_pixels"),
        plot_dimension=3,
        render_fps=60,
    ),
    EnvironmentRow(
        env_id="MobileRobotGymEnv-v0",
        robot=MobileRobot,
        task=ReachTarget,
        cameras=MOBILE_CAMERAS,
        observations=("ground_truth", "raw_pixels"),
        plot_dimension=2,
        render_fps=25,
        defaults={"max_steps": 250},
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
    options, robot_settings, task_settings = row.settings(env_kwargs)
    robot = row.robot(options, robot_settings)
    task = row.task(options, task_settings)
    return RobotEnv(robot, task, options, row.cameras, row.render_fps)


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
