"""The one table of environments, their registration with Gymnasium, and the look-up of any other environment."""

import dataclasses
import importlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from environments.camera import Camera
from environments.dynamics import OF_BODIES, DynamicsSettings
from environments.names import unknown_name
from environments.options import EnvOptions, Settings
from environments.robot_env import RobotEnv
from environments.robots.inmoov import InmoovRightArm, InmoovRobot
from environments.robots.kuka import KukaArm
from environments.robots.mobile import MobileRobot, MobileRobot1D
from environments.robots.omnirobot import Omnirobot
from environments.robots.robot import Robot
from environments.tasks.button import ButtonTask
from environments.tasks.cluttered_button import ClutteredButtonTask
from environments.tasks.field import ReachMarker
from environments.tasks.moving_button import MovingButtonTask
from environments.tasks.paths import FollowCircle, FollowEight, FollowSquare
from environments.tasks.pursuit import Chase, Escape
from environments.tasks.raised_button import RaisedButtonTask
from environments.tasks.reach_fruit import ReachTomato
from environments.tasks.reach_target import ReachLine, ReachTarget, ReachTarget1D, ReachTwoTargets
from environments.tasks.task import Task
from environments.tasks.two_buttons import TwoButtonsTask

TASK_ALIASES: dict[str, dict[str, object]] = {  # the ancestor's arguments for one task each
    "simple_continual_target": {"task": "reach", "random_target": True},
    "circular_continual_move": {"task": "circle"},
    "square_continual_move": {"task": "square"},
    "eight_continual_move": {"task": "eight"},
    "chasing_continual_move": {"task": "chase"},
    "escape_continual_move": {"task": "escape"},
}
OF_THE_TASK = ("task", "random_target", "target_region", "shape_reward")
"""Common options that mean something else, or nothing, for another task."""

SettingsT = TypeVar("SettingsT", bound=Settings)


@dataclass(frozen=True)
class EnvironmentRow:
    """One environment: which robot does which task, and what it can be asked for.

    :param env_id: the id under which Gymnasium knows it
    :param family: the environments that one tuned preset serves
    :param robot: what acts
    :param tasks: what is to be done, by the names that the argument ``task`` takes; the first unless told otherwise
    :param cameras: the main one, and one more where ``multi_view`` is supported
    :param observations: the observation kinds it offers
    :param plot_dimension: 2 or 3, of a plot of its ground-truth positions
    :param render_fps: pictures per second of a film
    :param defaults: option defaults that differ from the usual ones
    """

    env_id: str
    family: str
    robot: type[Robot]
    tasks: Mapping[str, type[Task]]
    cameras: tuple[Camera, ...]
    observations: tuple[str, ...]
    plot_dimension: int
    render_fps: int
    defaults: Mapping[str, object] = field(default_factory=dict)

    @property
    def default_task(self) -> str:
        """The task that is done when none is named."""
        return next(iter(self.tasks))

    def option_defaults(self, task: str | None = None) -> dict[str, Any]:
        """Give every keyword argument of the environment with its default.

        :param task: one of ``tasks``; None for the default one
        """
        chosen = task or self.default_task
        usual = {field.name: field.default for group in self._groups(chosen) for field in dataclasses.fields(group)}
        return {"task": chosen, **usual, **self.defaults}

    def _groups(self, task: str) -> tuple[type[Settings], ...]:
        """Give the kinds of options that an environment with a task has."""
        return (EnvOptions, DynamicsSettings, self.robot.settings_type, self.tasks[task].settings_type)

    def settings(self, env_kwargs: Mapping[str, object]) -> "EnvironmentSettings":
        """Give the checked options.

        :param env_kwargs: those that differ from the defaults
        :raises ValueError: for an unknown name, a wrong value or a combination that cannot be honoured, in one line
        """
        env_kwargs = without_aliases(env_kwargs)
        task = env_kwargs.get("task", self.default_task)
        if not isinstance(task, str) or task not in self.tasks:
            raise ValueError(unknown_name(f"{self.env_id} task", str(task), self.tasks))
        values = self.option_defaults(task)
        for name in env_kwargs:
            if name not in values:
                raise ValueError(self._unknown_option(name, task, values))
        values |= env_kwargs
        settings = EnvironmentSettings(
            self.tasks[task],
            _pick(EnvOptions, values),
            _pick(DynamicsSettings, values),
            _pick(self.robot.settings_type, values),
            _pick(self.tasks[task].settings_type, values),
        )
        problem = self._find_conflict(settings)
        if problem is not None:
            raise ValueError(f"{self.env_id}: {problem}")
        return settings

    def _unknown_option(self, name: str, task: str, known: Iterable[str]) -> str:
        """Say that a task does not know an option, and which ones do."""
        knowing = [other for other in self.tasks if name in self.option_defaults(other)]
        if knowing:
            return f"{self.env_id}: {name} concerns task:{' and task:'.join(knowing)}, not task:{task}"
        return unknown_name(f"{self.env_id} argument", name, known)

    def _find_conflict(self, settings: "EnvironmentSettings") -> str | None:
        """Say in one line which options cannot be honoured together, or give None."""
        options = settings.options
        return (
            self._find_unsupported(options)
            or self._find_senseless(options, settings.dynamics)
            or self.robot.find_conflict(options, self._without_own(settings.robot))
            or settings.task_type.find_conflict(options, self._without_own(settings.task))
        )

    def _without_own(self, settings: SettingsT) -> SettingsT:
        """Give options with the row's own defaults set back to the usual: they are not the user's to leave out."""
        own = {
            field.name: field.default
            for field in dataclasses.fields(settings)
            if getattr(settings, field.name) == self.defaults.get(field.name)
        }
        return replace(settings, **own)

    def _find_unsupported(self, options: EnvOptions) -> str | None:
        """Say in one line which option this environment cannot honour, or give None."""
        if options.observation not in self.observations:
            return f"no observation '{options.observation}'; it supports {', '.join(self.observations)}"
        if options.multi_view and len(self.cameras) < 2:
            return "multi_view is not supported, it has one camera"
        if options.action_joints and not self.robot.joint_names:
            return "action_joints is not supported, its robot has no joints to command"
        return None

    def _find_senseless(self, options: EnvOptions, dynamics: DynamicsSettings) -> str | None:
        """Say in one line which option another one leaves without effect, or give None."""
        if options.multi_view and options.observation != "raw_pixels":
            return f"multi_view needs observation='raw_pixels', not '{options.observation}'"
        if options.action_joints and options.is_discrete:
            return "action_joints needs is_discrete=False, joint actions are continuous"
        if tuple(options.target_region) != (0.0, 1.0) and not options.random_target:
            return "target_region needs random_target=True"
        usual = DynamicsSettings()
        for name in OF_BODIES if self.robot.is_kinematic else ():
            if getattr(dynamics, name) != getattr(usual, name):
                return f"{name} needs a robot in the physics, and this one is kinematic"
        if options.observation == "raw_pixels" and dynamics.observation_noise != usual.observation_noise:
            return "observation_noise concerns low-dimensional observations, not 'raw_pixels'"
        return None


@dataclass(frozen=True)
class EnvironmentSettings:
    """The checked options of one environment.

    :param task_type: the task to be done
    :param options: what every environment can be told
    :param dynamics: what differs from the usual dynamics
    :param robot: options of the robot
    :param task: options of the task
    """

    task_type: type[Task]
    options: EnvOptions
    dynamics: DynamicsSettings
    robot: Any
    task: Any


def without_aliases(env_kwargs: Mapping[str, object]) -> dict[str, object]:
    """Give arguments with what the ancestor's arguments for a task stand for in their place.

    :param env_kwargs: of one of our environments
    :raises ValueError: when two of them disagree, in one line
    """
    plain = {name: value for name, value in env_kwargs.items() if name not in TASK_ALIASES}
    given = [name for name in env_kwargs if name in TASK_ALIASES]
    for alias in given:
        if env_kwargs[alias] is not True:
            raise ValueError(f"{alias} can only be True; leave it out, or name another task with task")
        for name, value in TASK_ALIASES[alias].items():
            if plain.setdefault(name, value) != value:
                raise ValueError(f"{alias} stands for {name}:{value}, but {name}:{plain[name]} is asked for too")
    return plain


def task_options(env_id: str, env_kwargs: Mapping[str, object]) -> list[str]:
    """Give the names of those arguments of one of our environments that belong to its task.

    :param env_id: its id
    :param env_kwargs: legal arguments
    """
    row = ENVIRONMENTS[env_id]
    own = {field.name for field in dataclasses.fields(row.settings(env_kwargs).task)}
    return [name for name in env_kwargs if name in own or name in OF_THE_TASK]


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
OMNIROBOT_CAMERAS = (
    Camera(target=(0.0, 0.0, 0.0), distance=2.9, yaw=0, pitch=-90, fov=42),
    Camera(target=(0.5, 0.0, 0.05), distance=0.4, yaw=-90, pitch=-25, fov=90, near=0.01, follows_robot=True),
)
INMOOV_CAMERAS = (
    Camera(target=(0.0, 0.0, 1.0), distance=2.0, yaw=145, pitch=-36),
    Camera(target=(0.0, 0.548, -0.386), distance=0.65, yaw=0, pitch=-50, fov=100, near=0.03, link="head"),
)

_ROWS = (
    EnvironmentRow(
        env_id="KukaButtonGymEnv-v0",
        family="kuka_button",
        robot=KukaArm,
        tasks={"button": ButtonTask},
        cameras=KUKA_CAMERAS,
        observations=("ground_truth", "joints", "joints_position", "raw_pixels"),
        plot_dimension=3,
        render_fps=60,
    ),
    EnvironmentRow(
        env_id="KukaMovingButtonGymEnv-v0",
        family="kuka_button",
        robot=KukaArm,
        tasks={"moving_button": MovingButtonTask},
        cameras=KUKA_CAMERAS,
        observations=("ground_truth", "joints", "joints_position", "raw_pixels"),
        plot_dimension=3,
        render_fps=60,
        defaults={"max_steps": 1500, "wide_workspace": True},
    ),
    EnvironmentRow(
        env_id="KukaRandButtonGymEnv-v0",
        family="kuka_button",
        robot=KukaArm,
        tasks={"cluttered_button": ClutteredButtonTask},
        cameras=KUKA_CAMERAS,
        observations=("ground_truth", "joints", "joints_position", "raw_pixels"),
        plot_dimension=3,
        render_fps=60,
    ),
    EnvironmentRow(
        env_id="Kuka2ButtonGymEnv-v0",
        family="kuka_button",
        robot=KukaArm,
        tasks={"two_buttons": TwoButtonsTask},
        cameras=KUKA_CAMERAS,
        observations=("ground_truth", "joints", "joints_position", "raw_pixels"),
        plot_dimension=3,
        render_fps=60,
        defaults={"max_steps": 1500, "max_distance": 2.0, "force_down": False},
    ),
    EnvironmentRow(
        env_id="MobileRobotGymEnv-v0",
        family="mobile_robot",
        robot=MobileRobot,
        tasks={"reach": ReachTarget},
        cameras=MOBILE_CAMERAS,
        observations=("ground_truth", "raw_pixels"),
        plot_dimension=2,
        render_fps=25,
        defaults={"max_steps": 250},
    ),
    EnvironmentRow(
        env_id="MobileRobot1DGymEnv-v0",
        family="mobile_robot",
        robot=MobileRobot1D,
        tasks={"reach": ReachTarget1D},
        cameras=(replace(MOBILE_CAMERAS[0], target=(2.0, 0.0, 0.0)), MOBILE_CAMERAS[1]),
        observations=("ground_truth", "raw_pixels"),
        plot_dimension=2,
        render_fps=25,
        defaults={"max_steps": 250},
    ),
    EnvironmentRow(
        env_id="MobileRobot2TargetGymEnv-v0",
        family="mobile_robot",
        robot=MobileRobot,
        tasks={"two_targets": ReachTwoTargets},
        cameras=MOBILE_CAMERAS,
        observations=("ground_truth", "raw_pixels"),
        plot_dimension=2,
        render_fps=25,
        defaults={"max_steps": 250},
    ),
    EnvironmentRow(
        env_id="MobileRobotLineTargetGymEnv-v0",
        family="mobile_robot",
        robot=MobileRobot,
        tasks={"line": ReachLine},
        cameras=MOBILE_CAMERAS,
        observations=("ground_truth", "raw_pixels"),
        plot_dimension=2,
        render_fps=25,
        defaults={"max_steps": 250},
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
        observations=("ground_truth", "raw_pixels"),
        plot_dimension=2,
        render_fps=25,
        defaults={"max_steps": 250},
    ),
    EnvironmentRow(
        env_id="InmoovGymEnv-v0",
        family="inmoov",
        robot=InmoovRobot,
        tasks={"tomato": ReachTomato},
        cameras=INMOOV_CAMERAS,
        observations=("ground_truth", "joints", "joints_position", "raw_pixels"),
        plot_dimension=3,
        render_fps=60,
        defaults={"action_repeat": 2, "max_steps": 1999, "shape_reward": True},
    ),
    EnvironmentRow(
        env_id="InmoovOneArmButtonGymEnv-v0",
        family="inmoov",
        robot=InmoovRightArm,
        tasks={"button": RaisedButtonTask},
        cameras=(replace(INMOOV_CAMERAS[0], target=(0.0, 0.6, 1.2)), INMOOV_CAMERAS[1]),
        observations=("ground_truth", "joints", "joints_position", "raw_pixels"),
        plot_dimension=3,
        render_fps=60,
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
    return RobotEnv(robot, task, settings.options, settings.dynamics, row.cameras, row.render_fps)


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
