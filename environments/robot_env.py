"""The Gymnasium environment: it joins a robot, a task and the world they share."""

import time
from collections import deque
from dataclasses import asdict
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from environments.camera import Camera, Vector
from environments.dynamics import USUAL, DynamicsSettings
from environments.observed_task import ObservedTask
from environments.options import OF_GROUND_TRUTH, OF_JOINTS, RENDER_MODES, EnvOptions
from environments.robots.robot import Robot
from environments.simulation import Simulation
from environments.tasks.task import Task


class RobotEnv(gymnasium.Env[np.ndarray, Any]):
    """One robot at one task.

    An episode ends as terminated on success or failure, as the task says, and as truncated when its physics steps
    exceed ``max_steps``; ``info["is_success"]`` comes with either end. An episode is decided by its seed and its
    actions alone, whatever was played before it.

    :param robot: what acts
    :param task: what is to be done
    :param options: how
    :param dynamics: what of the dynamics differs from the usual, or is drawn for every episode
    :param cameras: the first for pictures, all of them with ``multi_view``
    :param truth: gives the ground truth; None: the task does
    :ivar draws_observations: whether pictures that are observed are drawn; they are black otherwise, which is enough
        while an episode is repeated only to come back to where it was
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 60}

    def __init__(
        self,
        robot: Robot,
        task: Task,
        options: EnvOptions,
        dynamics: DynamicsSettings,
        cameras: tuple[Camera, ...],
        truth: Task | ObservedTask | None = None,
    ) -> None:
        self.metadata = {**RobotEnv.metadata, "render_fps": robot.render_fps}
        self.render_mode = options.render_mode
        self.options = options
        self._robot = robot
        self._task = task
        self._truth = task if truth is None else truth
        self._cameras = cameras
        self._observed_cameras = cameras if options.multi_view else cameras[:1]
        self.draws_observations = True
        self._reads_pixels = options.observation == "raw_pixels"
        self._reads_target = options.observation in OF_GROUND_TRUTH
        self._reads_joints = options.observation in OF_JOINTS
        self._action_repeat = options.action_repeat
        self._max_steps = min(options.max_steps, task.max_steps or options.max_steps)
        self._has_window = options.render_mode == "human"
        self._is_closed = False
        self._dynamics_settings = dynamics
        self._has_usual_dynamics = dynamics.are_usual
        self._dynamics = USUAL
        self._delayed: deque[Any] = deque()
        self._picture_seed = 0
        self._n_steps = 0
        self._position: Vector = (0.0, 0.0, 0.0)
        self._simulation: Simulation | None = None
        if not robot.is_kinematic or self._has_window:
            self._world()
        self.action_space = robot.action_space
        self.observation_space = self._make_observation_space()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each element of an observation; empty when it is a picture.

        Ground truth is in metres along the world's axes, relative to the target unless the task says otherwise; joints
        are angles in radians.
        """
        ground_truth = self._truth.feature_names(self._robot.point_name) if self._reads_target else ()
        return ground_truth + (self._robot.joint_names if self._reads_joints else ())

    @property
    def action_names(self) -> tuple[str, ...]:
        """The name of each element of a continuous action; empty for discrete ones."""
        return self._robot.action_names

    @property
    def robot_position(self) -> np.ndarray:
        """The robot's present position in world metres: float64, (n_axes,)."""
        return np.array(self._position[: len(self._robot.axes)])

    @property
    def target_position(self) -> np.ndarray:
        """The target's present position in world metres: float64, (n_axes,)."""
        return np.array(self._task.target[: len(self._robot.axes)])

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the physics besides the code: models by hash, timestep, solver, gravity, unusual dynamics."""
        self._require_open()
        usual = asdict(DynamicsSettings())
        unusual = {name: value for name, value in asdict(self._dynamics_settings).items() if value != usual[name]}
        return {**self._world().fingerprint(), **unusual}

    def observation_of(self, kind: str) -> np.ndarray:
        """Give what would be observed now with a kind other than the environment's own: float32, (n,), without noise.

        :param kind: any but ``raw_pixels``
        """
        self._require_open()
        return np.array(self._values(kind in OF_GROUND_TRUTH, kind in OF_JOINTS), np.float32)

    def walker_action(self) -> Any:
        """Give the action of a script that knows where everything is: it leads towards the target."""
        self._require_open()
        return self._robot.action_toward(self._task.waypoint(self._position))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode.

        :param seed: starts the random numbers anew; None lets them run on
        :param options: none are known
        :raises ValueError: when options are given, or after ``close``
        """
        if options:
            raise ValueError(f"reset takes no options, but got {', '.join(map(str, options))}; pass env kwargs instead")
        self._require_open()
        super().reset(seed=seed)
        if not self._robot.is_kinematic:
            self._world().restore_start()
        self._n_steps = 0
        if not self._has_usual_dynamics:
            self._begin_dynamics()
        self._robot.reset(self.np_random, self._task.reset(self.np_random))
        if self._robot.picture_noise is not None:
            self._picture_seed = int(self.np_random.integers(2**32))
        self._position = self._robot.position()
        if self._has_window:
            self._show()
        return self._observe(), self._facts()

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Act for ``action_repeat`` physics steps, or fewer when the time limit is met.

        :param action: an element of ``action_space``; continuous ones are clipped to it
        :raises ValueError: for what is not an action, or after ``close``
        """
        self._require_open()
        robot, task = self._robot, self._task
        self._command(action)
        last = min(self._n_steps + self._action_repeat, self._max_steps + 1)
        while self._n_steps < last:
            task.advance(self._position)
            robot.advance()
            if robot.is_kinematic:
                self._position = robot.position()
            else:
                self._world().step()
            self._n_steps += 1
        self._position = robot.position()
        reward, terminated, is_success = task.evaluate(self._position, robot.has_bumped)
        truncated = not terminated and self._n_steps > self._max_steps
        if self._has_window:
            self._show()
        info: dict[str, Any] = {}
        if terminated or truncated:
            info = self._facts() if is_success is None else {"is_success": is_success, **self._facts()}
        return self._observe(), reward, terminated, truncated, info

    def render(self) -> np.ndarray | None:
        """Give a picture, uint8, (render_size, render_size, 3), in mode ``rgb_array``; a window shows itself."""
        return self.picture(self.options.render_size) if self.render_mode == "rgb_array" else None

    def picture(self, size: int) -> np.ndarray:
        """Draw what the first camera sees, whatever the render mode: uint8, (size, size, 3)."""
        return self._picture(self._cameras[:1], size)

    def views(self, size: int) -> list[np.ndarray]:
        """Draw what each camera sees, also those that are not observed: uint8, (size, size, 3) each."""
        return np.split(self._picture(self._cameras, size), len(self._cameras), axis=2)

    def key_events(self) -> dict[int, int]:
        """Give PyBullet's codes of the keys that changed or are held down in the window, with their states."""
        self._require_open()
        return self._world().key_events()

    def close(self) -> None:
        """Release the physics client; a second call does nothing."""
        self._is_closed = True
        if self._simulation is not None:
            self._simulation.close()
            self._simulation = None

    def _begin_dynamics(self) -> None:
        """Draw the dynamics of an episode and have the robot take them on."""
        self._dynamics = self._dynamics_settings.draw(self.np_random)
        self._robot.set_dynamics(self._dynamics)
        self._delayed.clear()

    def _facts(self) -> dict[str, Any]:
        """Give what the info of an episode's two ends says: its dynamics, where they are not the usual ones."""
        return {} if self._has_usual_dynamics else {"dynamics": asdict(self._dynamics)}

    def _command(self, action: Any) -> None:
        """Hand an action to the robot, or the one that is due when actions are delayed."""
        if not self._dynamics.action_delay:
            self._robot.command(action, self.np_random)
            return
        self._delayed.append(np.array(action))
        if len(self._delayed) > self._dynamics.action_delay:
            self._robot.command(self._delayed.popleft(), self.np_random)
        else:
            self._robot.idle()

    def _require_open(self) -> None:
        """Refuse to go on after ``close``: another environment may own the physics client's number by now."""
        if self._is_closed:
            raise ValueError("this environment was closed; make a new one")

    def _world(self) -> Simulation:
        """Give the world, built and settled on first use: a kinematic robot needs it for pictures only."""
        if self._simulation is None:
            simulation = Simulation(self._has_window, self._robot.gravity)
            self._task.build(simulation)
            self._robot.build(simulation)
            self._task.connect(simulation)
            simulation.save_start()
            if self._has_window:
                simulation.look_through(self._cameras[0])
            self._simulation = simulation
        return self._simulation

    def _make_observation_space(self) -> spaces.Box:
        """Give the space of the chosen observation, with bounds that it never leaves."""
        if self._reads_pixels:
            size = self.options.image_size
            return spaces.Box(0, 255, (size, size, 3 * len(self._observed_cameras)), np.uint8)
        low, high = self._robot.joint_bounds() if self._reads_joints else ([], [])
        if self._reads_target:
            lowest, highest = self._truth.ground_truth_bounds(self._robot.position_low, self._robot.position_high)
            low, high = [*lowest, *low], [*highest, *high]
        return spaces.Box(np.array(low, np.float32), np.array(high, np.float32), dtype=np.float32)

    def _observe(self) -> np.ndarray:
        """Give a new array with the chosen observation of the present state."""
        if self._reads_pixels:
            if not self.draws_observations:
                return np.zeros(self.observation_space.shape or (), np.uint8)
            return self._picture(self._observed_cameras, self.options.image_size)
        values = self._values(self._reads_target, self._reads_joints)
        noise = self._dynamics.observation_noise
        if not noise:
            return np.array(values, dtype=np.float32)
        noisy = values + noise * self.np_random.standard_normal(len(values))
        space = self.observation_space
        assert isinstance(space, spaces.Box)
        return np.clip(noisy.astype(np.float32), space.low, space.high)

    def _values(self, reads_target: bool, reads_joints: bool) -> list[float]:
        values = self._truth.ground_truth(self._position) if reads_target else []
        return values + self._robot.joints() if reads_joints else values

    def _picture(self, cameras: tuple[Camera, ...], size: int) -> np.ndarray:
        """Draw what cameras see, side by side in the channels: uint8, (size, size, 3 * n_cameras)."""
        self._require_open()
        world, noise = self._draw(), self._robot.picture_noise
        if noise is None:
            return np.concatenate([world.camera_image(camera, size, self._position) for camera in cameras], axis=2)
        others = [world.camera_image(camera, size, self._position) for camera in cameras[1:]]
        random = np.random.default_rng((self._picture_seed, self._n_steps))
        brightness = noise.disturb(world, cameras[0], random)  # moves bodies, as the first camera is to see them
        first = world.camera_image(cameras[0], size, self._position)
        return np.clip(brightness * np.concatenate([first, *others], axis=2), 0, 255).astype(np.uint8)

    def _draw(self) -> Simulation:
        """Bring the bodies of a kinematic robot and its task up to date and give the world."""
        world = self._world()
        self._robot.draw(world)
        self._task.draw(world)
        return world

    def _show(self) -> None:
        """Let the window follow at a pace for the eye."""
        self._draw()
        time.sleep(1 / self.metadata["render_fps"])
