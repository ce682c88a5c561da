"""What one environment is: a robot, its tasks, and the arguments that it can be asked for."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from environments.camera import Camera
from environments.dynamics import OF_BODIES, DynamicsSettings
from environments.names import unknown_name
from environments.options import OBSERVATIONS, OF_GROUND_TRUTH, EnvOptions, Settings
from environments.robots.robot import Robot
from environments.tasks.task import Task

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
    :param defaults: option defaults that differ from the usual ones
    """

    env_id: str
    family: str
    robot: type[Robot]
    tasks: Mapping[str, type[Task]]
    cameras: tuple[Camera, ...]
    defaults: Mapping[str, object] = field(default_factory=dict)

    @property
    def default_task(self) -> str:
        """The task that is done when none is named."""
        return next(iter(self.tasks))

    @property
    def observations(self) -> tuple[str, ...]:
        """The observation kinds that it offers: those of joints where its robot has any."""
        return tuple(kind for kind in OBSERVATIONS if self.robot.joint_names or "joints" not in kind)

    def placed_cameras(self, options: EnvOptions) -> tuple[Camera, ...]:
        """Give the cameras, the first one where the options want it.

        :param options: of the environment
        """
        first = self.cameras[0].moved(
            options.camera_yaw, options.camera_pitch, options.camera_distance, options.camera_fov
        )
        return (first, *self.cameras[1:])

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
        usual, camera = self.cameras[0], self.placed_cameras(options)[0]
        if abs(camera.pitch) > 90:
            return f"camera_pitch leads from {usual.pitch:g} to {camera.pitch:g} degrees; it must end within 90"
        if not 0 < camera.fov < 180:
            return f"camera_fov leads from {usual.fov:g} to {camera.fov:g} degrees; it must end between 0 and 180"
        if options.multi_view and len(self.cameras) < 2:
            return "multi_view is not supported, it has one camera"
        if options.observe_task and len(self.tasks) < 2:
            return "observe_task is not supported, it has one task"
        if options.action_joints and not self.robot.joint_names:
            return "action_joints is not supported, its robot has no joints to command"
        return None

    def _find_senseless(self, options: EnvOptions, dynamics: DynamicsSettings) -> str | None:
        """Say in one line which option another one leaves without effect, or give None."""
        if options.multi_view and options.observation != "raw_pixels":
            return f"multi_view needs observation='raw_pixels', not '{options.observation}'"
        if options.observe_task and options.observation not in OF_GROUND_TRUTH:
            return f"observe_task concerns ground truth, not '{options.observation}'"
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


def _pick(group: type[SettingsT], values: Mapping[str, Any]) -> SettingsT:
    """Give one group of options, filled from the values of all."""
    return group(**{field.name: values[field.name] for field in dataclasses.fields(group)})
