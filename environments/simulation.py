"""One private PyBullet world: its bodies by name, its clock, its pictures and its saved start."""

import functools
import hashlib
import itertools
import math
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pybullet_data

from environments.bullet import has_display, pybullet
from environments.camera import Camera, Vector

ASSETS = Path(__file__).parent / "assets"
PYBULLET_DATA = Path(pybullet_data.getDataPath())
TIMESTEP_S = 1 / 240
SOLVER_ITERATIONS = 150
Colour = tuple[float, float, float]
"""Red, green and blue, from 0 to 1."""
UPRIGHT = (0.0, 0.0, 0.0, 1.0)


class Simulation:
    """A physics client of its own, so that worlds in one process never meet.

    :param has_window: whether PyBullet's window shows the world; otherwise it runs without a display
    :param gravity: along z, in m/s^2
    :ivar bodies: PyBullet's ids of the bodies by name
    :ivar files: what the bodies were loaded from, by name
    :raises ValueError: when a window is wanted and there is no display
    """

    def __init__(self, has_window: bool = False, gravity: float = -10.0) -> None:
        if has_window and not has_display():
            raise ValueError(
                "render_mode 'human' opens a window, but no display was found (DISPLAY is not set);"
                " use render_mode='rgb_array', or run under xvfb-run"
            )
        self.gravity = gravity
        self.bodies: dict[str, int] = {}
        self.files: dict[str, Path] = {}
        self._client: int = pybullet.connect(pybullet.GUI if has_window else pybullet.DIRECT)
        if self._client < 0:
            raise RuntimeError("PyBullet gave no physics client; close() environments that are no longer used")
        self._release = weakref.finalize(self, pybullet.disconnect, self._client)
        self._start: int | None = None
        self.step = self.bind(pybullet.stepSimulation)
        self._configure()

    def _configure(self) -> None:
        """Set the physics that all the worlds share: contacts follow from where bodies are, not from where they were.

        PyBullet's usual search for bodies that are near each other notices with a delay that they have parted, and the
        solver groups what is near, so the rounding of an episode would depend on the one before. The simple search
        compares all pairs afresh. Sorted pairs keep contacts in the same order.
        """
        self.bind(pybullet.resetSimulation)(flags=pybullet.RESET_USE_SIMPLE_BROADPHASE)
        self.bind(pybullet.setPhysicsEngineParameter)(
            fixedTimeStep=TIMESTEP_S, numSolverIterations=SOLVER_ITERATIONS, deterministicOverlappingPairs=1
        )
        self.bind(pybullet.setGravity)(0.0, 0.0, self.gravity)

    def bind(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Callable[..., Any]:
        """Give a PyBullet function with its first arguments fixed and this world's client filled in.

        :param function: one of PyBullet's
        :param arguments: the leading positional arguments
        :param keywords: further arguments
        """
        return functools.partial(function, *arguments, physicsClientId=self._client, **keywords)

    def load(
        self,
        name: str,
        file: Path,
        position: Vector,
        colour: Colour | None = None,
        scale: float = 1.0,
        is_fixed: bool = True,
    ) -> int:
        """Load an upright body from a URDF or SDF file and give its id.

        :param name: what ``bodies`` will know it by
        :param file: its description; of an SDF the first model is taken
        :param position: of its base, in world metres
        :param colour: of all of it; None for the colours of the file
        :param scale: factor of its size, of a URDF body
        :param is_fixed: whether the base of a URDF body is immovable
        """
        self.files[name] = file
        if file.suffix == ".sdf":
            self.bodies[name] = self.bind(pybullet.loadSDF)(str(file))[0]
            self.place(name, position)
        else:
            self.bodies[name] = self.bind(pybullet.loadURDF)(
                str(file), position, useFixedBase=is_fixed, globalScaling=scale
            )
        if colour is not None:
            paint = self.bind(pybullet.changeVisualShape, self.bodies[name], rgbaColor=(*colour, 1.0))
            for link in range(-1, self.bind(pybullet.getNumJoints)(self.bodies[name])):
                paint(link)
        return self.bodies[name]

    def place(self, name: str, position: Vector, yaw: float = 0.0) -> None:
        """Put a body upright at a position at once, without physics.

        :param name: one of ``bodies``
        :param position: of the centre of mass of its base, in world metres
        :param yaw: its rotation about z, in radians
        """
        orientation = (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)) if yaw else UPRIGHT
        self.bind(pybullet.resetBasePositionAndOrientation)(self.bodies[name], position, orientation)

    def position(self, name: str) -> Vector:
        """Give the position of the centre of mass of a body's base, in world metres.

        :param name: one of ``bodies``
        """
        position: Vector = self.bind(pybullet.getBasePositionAndOrientation)(self.bodies[name])[0]
        return position

    def move(self, name: str, position: Vector) -> None:
        """Put a body at a position at once, turned as it is.

        :param name: one of ``bodies``
        :param position: of the centre of mass of its base, in world metres
        """
        orientation = self.bind(pybullet.getBasePositionAndOrientation)(self.bodies[name])[1]
        self.bind(pybullet.resetBasePositionAndOrientation)(self.bodies[name], position, orientation)

    def scaling_of(self, name: str) -> Callable[[float, float], None]:
        """Give the means to scale masses and frictions of a body's links, by factors of what they are now.

        They are no part of the kept start.

        :param name: one of ``bodies``
        :return: takes the factor of mass and inertia, and that of lateral friction
        """
        body = self.bodies[name]
        change = self.bind(pybullet.changeDynamics, body)
        links = range(-1, self.bind(pybullet.getNumJoints)(body))
        usual = [self.bind(pybullet.getDynamicsInfo)(body, link)[:3] for link in links]

        def scale(mass_scale: float, friction_scale: float) -> None:
            for link, (mass, friction, inertia) in zip(links, usual, strict=True):
                change(link, lateralFriction=friction * friction_scale)
                if mass > 0:
                    scaled = [mass_scale * moment for moment in inertia]
                    change(link, mass=mass * mass_scale, localInertiaDiagonal=scaled)

        return scale

    def has_contact(self, name: str, other: str, link: int | None = None) -> Callable[[], bool]:
        """Give a question to ask after each step: do two bodies touch?

        :param name: the first body
        :param other: the second body
        :param link: the only link of the first body that counts; None for any
        """
        chosen = {} if link is None else {"linkIndexA": link}
        find = self.bind(pybullet.getContactPoints, self.bodies[name], self.bodies[other], **chosen)
        return lambda: bool(find())

    def unite(self, name: str, other: str) -> None:
        """Have two jointed bodies always solved together, by a gear without any force between their first joints.

        The solver groups bodies that are near each other, and the grouping decides in which order the constraints of
        a body are solved. PyBullet notices with a delay that bodies have parted, so without this the rounding of an
        episode depends on the one before.

        :param name: a body with a joint that moves
        :param other: another one
        """
        first, second = ((self.bodies[body], self._first_joint(self.bodies[body])) for body in (name, other))
        gear = self.bind(pybullet.createConstraint, *first, *second, pybullet.JOINT_GEAR)
        constraint = gear(jointAxis=(0, 0, 1), parentFramePosition=(0, 0, 0), childFramePosition=(0, 0, 0))
        self.bind(pybullet.changeConstraint)(constraint, gearRatio=1, maxForce=0)

    def _first_joint(self, body: int) -> int:
        """Give the index of a body's first joint that is not fixed."""
        joint_info = self.bind(pybullet.getJointInfo, body)
        joints = range(self.bind(pybullet.getNumJoints)(body))
        return next(joint for joint in joints if joint_info(joint)[2] != pybullet.JOINT_FIXED)

    def save_start(self) -> None:
        """Keep the present state in memory as the one that episodes start from."""
        self._start = self.bind(pybullet.saveState)()

    def restore_start(self) -> None:
        """Return to the kept state: positions, velocities and contacts; motor commands are not part of it."""
        self.bind(pybullet.restoreState)(stateId=self._start)

    def camera_image(self, camera: Camera, size: int, robot_position: Vector) -> np.ndarray:
        """Draw what a camera sees, on the CPU: uint8, (size, size, 3), first row on top.

        :param camera: from where
        :param size: height and width in pixels
        :param robot_position: in world metres, for a camera that follows the robot
        """
        target = camera.target_near(robot_position)
        view = pybullet.computeViewMatrixFromYawPitchRoll(target, camera.distance, camera.yaw, camera.pitch, 0, 2)
        if camera.link is not None:
            view = self._carried(view, camera.link)
        projection = pybullet.computeProjectionMatrixFOV(camera.fov, 1.0, camera.near, camera.far)
        rgba = self.bind(pybullet.getCameraImage)(
            size, size, view, projection, renderer=pybullet.ER_TINY_RENDERER, flags=pybullet.ER_NO_SEGMENTATION_MASK
        )[2]
        return np.asarray(rgba, dtype=np.uint8).reshape(size, size, 4)[:, :, :3].copy()

    def look_through(self, camera: Camera) -> None:
        """Show the world in the window as a camera sees it, and keep the window's own keys from working.

        :param camera: one that stands still
        """
        self.bind(pybullet.configureDebugVisualizer)(pybullet.COV_ENABLE_GUI, 0)
        self.bind(pybullet.configureDebugVisualizer)(pybullet.COV_ENABLE_KEYBOARD_SHORTCUTS, 0)
        steep = max(camera.pitch, -89.9)  # the window's camera has no upward direction straight above
        self.bind(pybullet.resetDebugVisualizerCamera)(camera.distance, camera.yaw, steep, camera.target)

    def key_events(self) -> dict[int, int]:
        """Give PyBullet's codes of the keys that changed or are held down in the window, with their states."""
        events: dict[int, int] = self.bind(pybullet.getKeyboardEvents)()
        return events

    def _carried(self, view: tuple[float, ...], link: str) -> tuple[float, ...]:
        """Give the view matrix of a camera that a link of the robot carries, from the one in the link's frame."""
        joint_info = self.bind(pybullet.getJointInfo, self.bodies["robot"])
        index = next(i for i in itertools.count() if joint_info(i)[12].decode() == link)
        state = self.bind(pybullet.getLinkState)(self.bodies["robot"], index, computeForwardKinematics=1)
        frame = np.eye(4)
        frame[:3, :3] = np.reshape(pybullet.getMatrixFromQuaternion(state[5]), (3, 3))
        frame[:3, 3] = state[4]
        return tuple((np.reshape(view, (4, 4)).T @ np.linalg.inv(frame)).T.ravel())

    def fingerprint(self) -> dict[str, Any]:
        """Give what decides the physics besides the code: the models by hash, the timestep, the solver, gravity."""
        hashes = {f"model {file.name}": hashlib.sha256(file.read_bytes()).hexdigest() for file in self.files.values()}
        physics = {"timestep_s": TIMESTEP_S, "solver_iterations": SOLVER_ITERATIONS, "gravity_m_s2": self.gravity}
        return {**physics, **dict(sorted(hashes.items()))}

    def close(self) -> None:
        """Release the physics client; a second call does nothing."""
        self._release()
