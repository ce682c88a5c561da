"""The InMoov humanoid, a life-size upper body, moved by its right hand or by its joints."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from environments.bullet import pybullet
from environments.camera import Vector
from environments.dynamics import Dynamics
from environments.options import EnvOptions, Settings, option
from environments.robots.actions import action_index, action_vector, index_toward, vector_toward
from environments.robots.robot import Robot
from environments.simulation import ASSETS, Simulation

MODEL = ASSETS / "inmoov.urdf"
HAND_JOINT = "right_wrist"
"""PyBullet knows a link by the joint that moves it."""
FINGER_PARTS = {"thumb": 3, "index": 3, "middle": 3, "ring": 4, "pinky": 4}
WAIST = ("waist_rotate", "waist_lean")
GAZE = ("head_up_down", "head_left_right")
ARM = ("shoulder_up", "shoulder_side", "bicep_rotate", "elbow", "wrist")


def _of(side: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{side}_{name}" for name in names)


FINGERS = tuple(f"finger_{finger}_{part}" for finger, parts in FINGER_PARTS.items() for part in range(1, parts + 1))
RIGHT_ARM = _of("right", ARM)
LEFT_ARM = _of("left", ARM)
JOINTS = (
    *(*WAIST, "head_tilt", *GAZE, "jaw", "eyes_up_down", "right_eye_left_right", "left_eye_left_right"),
    *(*RIGHT_ARM, *_of("right", FINGERS)),
    *(*LEFT_ARM, *_of("left", FINGERS)),
)
CHAIN = (*WAIST, *RIGHT_ARM)
"""What moves the right hand."""

ARM_START = {"shoulder_up": -0.15, "shoulder_side": 0.15, "bicep_rotate": 0.0, "elbow": -0.35, "wrist": -1.57}
HAND_START = {finger: 0.08 if finger in ("finger_ring_1", "finger_pinky_1") else 0.25 for finger in FINGERS}
"""Of the right hand: fingers slightly bent, the palm nearly flat."""
FIST = dict.fromkeys(FINGERS, 1.3) | {
    **{"finger_ring_1": 0.08, "finger_pinky_1": 0.08},
    **{"finger_thumb_1": 0.9, "finger_thumb_2": 0.5, "finger_thumb_3": 0.5},
}
JAW_START_RAD = 0.03
START_SPREAD_RAD = 0.1
"""Of a controlled joint to either side of its start angle, at the beginning of an episode."""
SETTLE_STEPS = 100

WORKSPACE_LOW = (-0.4, 0.05, 0.25)
WORKSPACE_HIGH = (0.8, 1.0, 1.3)
"""Of the commanded hand position, in metres from the robot's origin."""
LEAD_M = 0.02
"""Of the commanded hand position before the hand, along an axis, at most."""
CENTRE_HEIGHT_M = 0.6
REACH_M = 1.2
"""Of the hand from the waist, which is as high as ``CENTRE_HEIGHT_M``, at most."""

POSITION_GAIN = 0.3
VELOCITY_GAIN = 1.0
IK_ITERATIONS = 2
CONTINUOUS_STEP_M = 0.003
JOINT_STEP_RAD = 0.02
LIMIT_SLACK_RAD = 0.2

DIRECTIONS = (
    *((-1.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, -1.0, 0.0)),
    *((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (0.0, 0.0, 1.0)),
)
STILL = (0.0, 0.0, 0.0)


def start_angles(
    right_arm: Mapping[str, float] = ARM_START,
    left_arm: Mapping[str, float] = ARM_START,
    right_hand: Mapping[str, float] = HAND_START,
) -> dict[str, float]:
    """Give the start angle of every joint, in radians; the left hand mirrors the usual right one.

    :param right_arm: by the names of ``ARM``
    :param left_arm: by the same names, as if it were the right one
    :param right_hand: by the names of ``FINGERS``
    """
    right = {f"right_{name}": angle for name, angle in {**right_arm, **right_hand}.items()}
    left = {f"left_{name}": -angle for name, angle in {**left_arm, **HAND_START}.items()}
    return {**dict.fromkeys(JOINTS, 0.0), "jaw": JAW_START_RAD, **right, **left}


@dataclass(frozen=True)
class InmoovSettings(Settings):
    """What the humanoid can be told."""

    discrete_step: float = option(0.01, "move of a discrete action per physics step, in metres")


class InmoovRobot(Robot):
    """The humanoid on its pedestal; waist, gaze and both arms are controlled, the other joints are held.

    A hand action moves a commanded position of the right hand, which accumulates but never leads the hand by more
    than ``LEAD_M`` along an axis: so the hand goes straight, and one that cannot follow is not pulled long after.
    Null-space inverse kinematics turns it into angles of waist and right arm. A joint action commands offsets to the
    angles of the moment.

    :param options: of the environment
    :param settings: of the robot
    """

    point_name = "hand"
    axes = "xyz"
    gravity = -9.8
    joint_names = JOINTS
    settings_type: ClassVar[type[Settings]] = InmoovSettings
    base: ClassVar[Vector] = (0.0, 0.0, 0.0)
    """Where its pedestal stands, in world metres; it faces +y."""
    controlled: ClassVar[tuple[str, ...]] = (*WAIST, *GAZE, *RIGHT_ARM, *LEFT_ARM)
    """The joints that actions move, ``CHAIN`` among them."""
    start: ClassVar[Mapping[str, float]] = start_angles()
    """Of every joint, in radians."""

    def __init__(self, options: EnvOptions, settings: InmoovSettings) -> None:
        super().__init__(options, settings)
        x, y, z = self.base
        self.position_low = (x - REACH_M, y - REACH_M, z + CENTRE_HEIGHT_M - REACH_M)
        self.position_high = (x + REACH_M, y + REACH_M, z + CENTRE_HEIGHT_M + REACH_M)
        self._is_discrete = options.is_discrete
        self._moves_joints = options.action_joints
        self._discrete_step = settings.discrete_step
        self._box = tuple(
            (origin + low, origin + high)
            for origin, low, high in zip(self.base, WORKSPACE_LOW, WORKSPACE_HIGH, strict=True)
        )
        self._indices = [JOINTS.index(name) for name in self.controlled]
        self._chain = [(self.controlled.index(name), JOINTS.index(name)) for name in CHAIN]
        self._displacement: Vector = STILL
        self._hand: Vector = STILL
        self._joint_targets = [self.start[name] for name in self.controlled]
        if options.is_discrete:
            self.action_space = spaces.Discrete(len(DIRECTIONS))
        else:
            size = len(self.controlled) if options.action_joints else len(self.axes)
            self.action_space = spaces.Box(-1.0, 1.0, (size,), np.float32)

    @property
    def action_names(self) -> tuple[str, ...]:
        """The name of each element of a continuous action; empty for discrete ones."""
        if not self._moves_joints:
            return super().action_names
        return tuple(f"turn_{joint}" for joint in self.controlled)

    @classmethod
    def find_conflict(cls, options: EnvOptions, settings: InmoovSettings) -> str | None:
        """Say which setting the action mode leaves without effect, or give None.

        :param options: the common ones
        :param settings: those of the robot
        """
        if not options.is_discrete and settings.discrete_step != InmoovSettings.discrete_step:
            return "discrete_step concerns discrete actions; leave it out with is_discrete=False"
        return None

    def build(self, simulation: Simulation) -> None:
        """Load the body and let it settle in its start pose.

        :param simulation: already furnished by the task
        """
        body = simulation.load("robot", MODEL, self.base)
        joint_info = [simulation.bind(pybullet.getJointInfo)(body, joint) for joint in range(len(JOINTS))]
        self._limits = [(info[8], info[9]) for info in joint_info]
        self._link_state = simulation.bind(
            pybullet.getLinkState, body, JOINTS.index(HAND_JOINT), computeForwardKinematics=1
        )
        self._joint_states = simulation.bind(pybullet.getJointStates, body, range(len(JOINTS)))
        self._controlled_states = simulation.bind(pybullet.getJointStates, body, self._indices)
        self._set_angle = simulation.bind(pybullet.resetJointState, body)
        self._scale_body = simulation.scaling_of("robot")
        self._bind_motors(simulation, body, joint_info)
        self._bind_inverse_kinematics(simulation, body)
        for _ in range(SETTLE_STEPS):
            simulation.step()

    def _bind_motors(self, simulation: Simulation, body: int, joint_info: list[Any]) -> None:
        """Hold every joint at its start, as fast as the model allows, and prepare to command the controlled ones.

        PyBullet keeps the velocity limit of a motor until another one is given, so the faster call for many motors at
        once, which knows no limit, need not repeat it. The other joints are commanded here once and for all.
        """
        hold = simulation.bind(pybullet.setJointMotorControl2, body, controlMode=pybullet.POSITION_CONTROL)
        for joint, info in enumerate(joint_info):
            angle, force, velocity = self.start[JOINTS[joint]], info[10], info[11]
            self._set_angle(joint, angle)
            hold(jointIndex=joint, targetPosition=angle, force=force, maxVelocity=velocity, positionGain=POSITION_GAIN)
        self._set_motors = simulation.bind(
            pybullet.setJointMotorControlArray,
            *(body, self._indices, pybullet.POSITION_CONTROL),
            targetVelocities=[0.0] * len(self._indices),
            forces=[joint_info[joint][10] for joint in self._indices],
            velocityGains=[VELOCITY_GAIN] * len(self._indices),
        )
        self._set_gain(1.0)

    def _bind_inverse_kinematics(self, simulation: Simulation, body: int) -> None:
        """Prepare the way from a position of the wrist to angles that come near the start pose where there is a choice.

        A few iterations do, since the commanded position is near and the next step goes on from there.
        """
        self._inverse_kinematics = simulation.bind(
            pybullet.calculateInverseKinematics,
            *(body, JOINTS.index(HAND_JOINT)),
            lowerLimits=[low for low, _ in self._limits],
            upperLimits=[high for _, high in self._limits],
            jointRanges=[high - low for low, high in self._limits],
            restPoses=[self.start[name] for name in JOINTS],
            maxNumIterations=IK_ITERATIONS,
        )

    def _set_gain(self, scale: float) -> None:
        """Have the controlled motors follow their command with a factor of the usual gain."""
        gains = [POSITION_GAIN * scale] * len(self._indices)
        self._command_motors = functools.partial(self._set_motors, positionGains=gains)

    def set_dynamics(self, dynamics: Dynamics) -> None:
        """Scale masses, frictions and the motors' gain.

        :param dynamics: of the episode
        """
        self._scale_body(dynamics.mass_scale, dynamics.friction_scale)
        self._set_gain(dynamics.gain_scale)

    def reset(self, rng: np.random.Generator, start: Vector | None) -> None:
        """Turn each controlled joint a little away from the start pose, and hold it there.

        :param rng: the only source of chance
        :param start: not used, the robot stands where it is mounted
        """
        offsets = rng.uniform(-START_SPREAD_RAD, START_SPREAD_RAD, len(self.controlled)).tolist()
        self._joint_targets = [self.start[name] + offset for name, offset in zip(self.controlled, offsets, strict=True)]
        for joint, angle in zip(self._indices, self._joint_targets, strict=True):
            self._set_angle(joint, angle)
        self._hand = self.position()
        self._displacement = STILL

    def command(self, action: Any, rng: np.random.Generator) -> None:
        """Turn an action into a displacement per physics step or into joint targets.

        :param action: an element of ``action_space``
        :param rng: not used, the robot does exactly as told
        :raises ValueError: for what is not an action
        """
        if self._is_discrete:
            self._displace(DIRECTIONS[action_index(action, len(DIRECTIONS))], self._discrete_step)
        elif self._moves_joints:
            self._offset_joints(action_vector(action, len(self.controlled)))
        else:
            x, y, z = action_vector(action, len(self.axes))
            self._displace((x, y, z), CONTINUOUS_STEP_M)

    def action_toward(self, goal: Vector) -> Any:
        """Give the action that leads the right hand straight towards a place.

        :param goal: in world metres
        """
        if self._moves_joints:
            now = [state[0] for state in self._controlled_states()]
            wanted = list(now)
            for place, angle in self._angles_to(goal, self._link_state()):
                wanted[place] = angle
            return vector_toward(now, wanted, JOINT_STEP_RAD)
        if not self._is_discrete:
            return vector_toward(self.position(), goal, CONTINUOUS_STEP_M)
        moves = [[self._discrete_step * unit for unit in direction] for direction in DIRECTIONS]
        return np.int64(index_toward(moves, self.position(), goal))

    def idle(self) -> None:
        """Take in that no action has come yet: the command stays where it is."""
        self._displacement = STILL

    def advance(self) -> None:
        """Command the motors for one physics step."""
        if not self._moves_joints:
            self._aim_hand()
        self._command_motors(targetPositions=self._joint_targets)

    def position(self) -> Vector:
        """Give the position of the middle of the right palm, in world metres."""
        position: Vector = self._link_state()[0]
        return position

    def joints(self) -> list[float]:
        """Give the present angles of all the joints, in radians."""
        return [state[0] for state in self._joint_states()]

    def joint_bounds(self) -> tuple[list[float], list[float]]:
        """Give the limits of each joint in radians, with slack for a limit pushed in by force."""
        return [low - LIMIT_SLACK_RAD for low, _ in self._limits], [high + LIMIT_SLACK_RAD for _, high in self._limits]

    def _displace(self, direction: Vector, length: float) -> None:
        """Set the move of the commanded position per physics step, in metres."""
        x, y, z = direction
        self._displacement = (x * length, y * length, z * length)

    def _offset_joints(self, action: list[float]) -> None:
        """Set joint targets relative to the angles of the moment, within the joints' limits."""
        self._joint_targets = [
            self._within_limits(joint, state[0] + JOINT_STEP_RAD * value)
            for joint, state, value in zip(self._indices, self._controlled_states(), action, strict=True)
        ]

    def _aim_hand(self) -> None:
        """Move the commanded position by one displacement and set the joint targets that lead the hand there."""
        state = self._link_state()
        hand = state[0]
        x, y, z = (
            min(max(commanded + move, live - LEAD_M, low), live + LEAD_M, high)
            for commanded, move, live, (low, high) in zip(self._hand, self._displacement, hand, self._box, strict=True)
        )
        self._hand = (x, y, z)
        for place, angle in self._angles_to(self._hand, state):
            self._joint_targets[place] = angle

    def _angles_to(self, goal: Vector, state: Any) -> Iterator[tuple[int, float]]:
        """Yield the angles that lead the hand to a place, in radians, with the index of each controlled joint.

        Inverse kinematics takes a position of the wrist; the palm is ahead of it by as much as at the moment.
        """
        hand, wrist = state[0], state[4]
        wrist_goal = (goal[0] - hand[0] + wrist[0], goal[1] - hand[1] + wrist[1], goal[2] - hand[2] + wrist[2])
        angles = self._inverse_kinematics(targetPosition=wrist_goal)
        for place, joint in self._chain:
            yield place, self._within_limits(joint, angles[joint])

    def _within_limits(self, joint: int, angle: float) -> float:
        """Give the angle a joint can have that is nearest to one asked for, in radians."""
        low, high = self._limits[joint]
        return min(max(angle, low), high)


class InmoovRightArm(InmoovRobot):
    """The humanoid behind a table, its right fist over it; only waist and right arm are controlled.

    It stands as near as the edge of the table allows, on a floor half a metre up.
    """

    base = (0.0, 0.4, 0.5)
    controlled = CHAIN
    start = start_angles(
        right_arm={"shoulder_up": 0.45, "shoulder_side": 0.2, "bicep_rotate": 0.0, "elbow": -1.45, "wrist": -2.9},
        left_arm={"shoulder_up": -0.4, "shoulder_side": 0.15, "bicep_rotate": 0.0, "elbow": -0.3, "wrist": -1.57},
        right_hand=FIST,
    )
