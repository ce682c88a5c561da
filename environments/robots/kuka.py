"""The Kuka LBR iiwa arm with a gripper, moved by its effector or by its joints."""

import functools
import math
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
from environments.simulation import PYBULLET_DATA, Simulation

MODEL = PYBULLET_DATA / "kuka_iiwa" / "kuka_with_gripper2.sdf"
BASE_POSITION = (-0.1, 0.0, -0.15)
START_POSE = (
    *(0.0064, 0.1132, -0.0114, -1.2893, 0.0054, 1.7377, -0.0065),
    *(0.00005, -0.2999, 0.0, -0.00004, 0.29996, 0.0, -0.0002),
)
N_JOINTS = len(START_POSE)
N_ARM_JOINTS = 7
CONTROLLED_LINK = 6
POSITION_LINK = 8
TOOL_EULER_RAD = (0.0, -math.pi, 0.0)
IK_JOINT_DAMPING = (1e-5,) * N_JOINTS

EFFECTOR_START = (0.537, 0.0, 0.5)
NARROW_BOX = ((0.5, -0.17, 0.0), (0.65, 0.22, 0.5))
WIDE_BOX = ((0.35, -0.3, 0.0), (0.65, 0.3, 0.5))
REACH_M = 1.6

MOTOR_FORCE = 200.0
MAX_JOINT_VELOCITY = 0.35
POSITION_GAIN = 0.3
VELOCITY_GAIN = 1.0
SETTLE_STEPS = 500
N_START_MOVES = 5

DISCRETE_NOISE_M = 0.01
CONTINUOUS_STEP_M = 0.0035
CONTINUOUS_NOISE_M = 1e-4
JOINT_STEP_RAD = 0.1
JOINT_NOISE_RAD = 0.002
LIMIT_SLACK_RAD = 0.2

AXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
SIDEWAYS = ((-1.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 1.0, 0.0))
DOWN = (0.0, 0.0, -1.0)
UP = (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class KukaSettings(Settings):
    """What the arm can be told."""

    force_down: bool = option(True, "the effector never moves up by an action")
    discrete_step: float = option(0.03, "move of a discrete action per physics step, in metres")
    motor_speed: float = option(1.0, "factor of the joints' top speed: below 1 the arm lags behind its command more")
    wide_workspace: bool = option(False, "the effector moves in the box of random targets also without them")


class KukaArm(Robot):
    """The arm of the button tasks.

    An effector action moves a commanded position, which accumulates and stays in a box; inverse kinematics turns it
    into motor commands. A joint action commands offsets to the angles of the moment. The motors are slow, so the arm
    follows its command with a lag.

    :param options: of the environment
    :param settings: of the arm
    """

    point_name = "effector"
    axes = "xyz"
    joint_names = (
        *(f"lbr_iiwa_joint_{number}" for number in range(1, N_ARM_JOINTS + 1)),
        *("gripper_to_arm", "base_left_finger_joint", "left_finger_base_joint", "left_base_tip_joint"),
        *("base_right_finger_joint", "right_finger_base_joint", "right_base_tip_joint"),
    )
    settings_type: ClassVar[type[Settings]] = KukaSettings
    position_low = (BASE_POSITION[0] - REACH_M, BASE_POSITION[1] - REACH_M, BASE_POSITION[2] - REACH_M)
    position_high = (BASE_POSITION[0] + REACH_M, BASE_POSITION[1] + REACH_M, BASE_POSITION[2] + REACH_M)

    def __init__(self, options: EnvOptions, settings: KukaSettings) -> None:
        super().__init__(options, settings)
        self._is_discrete = options.is_discrete
        self._moves_joints = options.action_joints
        self._force_down = settings.force_down
        self._discrete_step = settings.discrete_step
        self._max_joint_velocity = MAX_JOINT_VELOCITY * settings.motor_speed
        self._directions = (*SIDEWAYS, DOWN, DOWN if settings.force_down else UP)
        is_wide = options.random_target or settings.wide_workspace
        self._box_low, self._box_high = WIDE_BOX if is_wide else NARROW_BOX
        self._displacement: Vector = (0.0, 0.0, 0.0)
        self._effector: Vector = EFFECTOR_START
        self._joint_targets: list[float] = list(START_POSE[:N_ARM_JOINTS])
        if options.is_discrete:
            self.action_space = spaces.Discrete(len(self._directions))
        else:
            size = N_ARM_JOINTS if options.action_joints else len(AXES)
            self.action_space = spaces.Box(-1.0, 1.0, (size,), np.float32)

    @property
    def action_names(self) -> tuple[str, ...]:
        """The name of each element of a continuous action; empty for discrete ones."""
        if not self._moves_joints:
            return super().action_names
        return tuple(f"turn_{joint}" for joint in self.joint_names[:N_ARM_JOINTS])

    @classmethod
    def find_conflict(cls, options: EnvOptions, settings: KukaSettings) -> str | None:
        """Say which setting of the arm the action mode leaves without effect, or give None.

        :param options: the common ones
        :param settings: those of the arm
        """
        if options.action_joints and not settings.force_down:
            return "force_down=False concerns effector actions; leave it out with action_joints=True"
        if options.action_joints and settings.wide_workspace:
            return "wide_workspace=True concerns effector actions; leave it out with action_joints=True"
        if not options.is_discrete and settings.discrete_step != KukaSettings.discrete_step:
            return "discrete_step concerns discrete actions; leave it out with is_discrete=False"
        return None

    def build(self, simulation: Simulation) -> None:
        """Load the arm and let it settle at the place where its commanded position starts.

        :param simulation: already furnished by the task
        """
        body = simulation.load("robot", MODEL, BASE_POSITION)
        self._step = simulation.step
        self._link_state = simulation.bind(pybullet.getLinkState, body, POSITION_LINK, computeForwardKinematics=1)
        self._joint_states = simulation.bind(pybullet.getJointStates, body, range(N_JOINTS))
        self._tool_state = simulation.bind(pybullet.getLinkState, body, CONTROLLED_LINK, computeForwardKinematics=1)
        self._joint_limits = [simulation.bind(pybullet.getJointInfo)(body, i)[8:10] for i in range(N_JOINTS)]
        self._scale_body = simulation.scaling_of("robot")
        self._bind_motors(simulation, body)
        for _ in range(SETTLE_STEPS):
            self._command_effector()
            simulation.step()

    def _bind_motors(self, simulation: Simulation, body: int) -> None:
        """Hold every joint at its start and prepare the calls that move the arm.

        PyBullet keeps the velocity limit of a motor until another one is given, so the faster call for all the
        motors at once, which knows no limit, need not repeat it.
        """
        hold = simulation.bind(pybullet.setJointMotorControl2, body)
        for joint, angle in enumerate(START_POSE):
            limit = {"maxVelocity": self._max_joint_velocity} if joint < N_ARM_JOINTS else {}
            simulation.bind(pybullet.resetJointState)(body, joint, angle)
            hold(joint, pybullet.POSITION_CONTROL, targetPosition=angle, force=MOTOR_FORCE, **limit)
        self._set_motors = simulation.bind(
            pybullet.setJointMotorControlArray,
            *(body, range(N_ARM_JOINTS), pybullet.POSITION_CONTROL),
            targetVelocities=(0.0,) * N_ARM_JOINTS,
            forces=(MOTOR_FORCE,) * N_ARM_JOINTS,
            velocityGains=(VELOCITY_GAIN,) * N_ARM_JOINTS,
        )
        self._set_gain(1.0)
        self._inverse_kinematics = simulation.bind(
            pybullet.calculateInverseKinematics,
            *(body, CONTROLLED_LINK),
            targetOrientation=pybullet.getQuaternionFromEuler(TOOL_EULER_RAD),
            jointDamping=IK_JOINT_DAMPING,
        )

    def _set_gain(self, scale: float) -> None:
        """Have the motors follow their command with a factor of the usual gain."""
        gains = (POSITION_GAIN * scale,) * N_ARM_JOINTS
        self._command_motors = functools.partial(self._set_motors, positionGains=gains)

    def set_dynamics(self, dynamics: Dynamics) -> None:
        """Scale masses, frictions and the motors' gain.

        :param dynamics: of the episode
        """
        self._scale_body(dynamics.mass_scale, dynamics.friction_scale)
        self._set_gain(dynamics.gain_scale)

    def reset(self, rng: np.random.Generator, start: Vector | None) -> None:
        """Make a few random moves from the settled pose, each of one step of the action mode along one axis or joint.

        :param rng: the only source of chance
        :param start: not used, the arm stands where it is mounted
        """
        self._effector = EFFECTOR_START
        step = self._discrete_step if self._is_discrete else CONTINUOUS_STEP_M
        for _ in range(N_START_MOVES):
            sign = 2.0 * rng.integers(2) - 1.0
            if self._moves_joints:
                self._offset_joints([sign * JOINT_STEP_RAD * unit for unit in np.eye(N_ARM_JOINTS)[rng.integers(7)]])
            else:
                self._displace(AXES[rng.integers(3)], sign * step)
            self.advance()
            self._step()

    def command(self, action: Any, rng: np.random.Generator) -> None:
        """Turn an action, with its noise, into a displacement per physics step or into joint targets.

        :param action: an element of ``action_space``
        :param rng: the only source of chance
        :raises ValueError: for what is not an action
        """
        if self._is_discrete:
            direction = self._directions[action_index(action, len(self._directions))]
            self._displace(direction, self._discrete_step + DISCRETE_NOISE_M * rng.standard_normal())
        elif self._moves_joints:
            step = JOINT_STEP_RAD + JOINT_NOISE_RAD * rng.standard_normal()
            self._offset_joints([step * value for value in action_vector(action, N_ARM_JOINTS)])
        else:
            x, y, z = action_vector(action, len(AXES))
            step = CONTINUOUS_STEP_M + CONTINUOUS_NOISE_M * rng.standard_normal()
            self._displace((x, y, -abs(z) if self._force_down else z), step)

    def action_toward(self, goal: Vector) -> Any:
        """Give the action that leads the gripper straight towards a place.

        What is commanded is another link; the gripper is ahead of it by as much as at the moment.

        :param goal: in world metres
        """
        gripper, tool = self.position(), self._tool_state()[4]
        wanted = [there - point + held for there, point, held in zip(goal, gripper, tool, strict=True)]
        if self._moves_joints:
            angles = self._inverse_kinematics(targetPosition=wanted)[:N_ARM_JOINTS]
            return vector_toward(self.joints()[:N_ARM_JOINTS], angles, JOINT_STEP_RAD)
        inside = [
            min(max(value, low), high) for value, low, high in zip(wanted, self._box_low, self._box_high, strict=True)
        ]
        if not self._is_discrete:
            return vector_toward(self._effector, inside, CONTINUOUS_STEP_M)
        moves = [[self._discrete_step * unit for unit in direction] for direction in self._directions]
        return np.int64(index_toward(moves, self._effector, inside))

    def idle(self) -> None:
        """Take in that no action has come yet: the command stays where it is."""
        self._displacement = (0.0, 0.0, 0.0)
        if self._moves_joints:
            self._offset_joints([0.0] * N_ARM_JOINTS)

    def advance(self) -> None:
        """Command the motors for one physics step."""
        if self._moves_joints:
            self._command_motors(targetPositions=self._joint_targets)
            return
        low, high = self._box_low, self._box_high
        x, y, z = self._effector
        dx, dy, dz = self._displacement
        self._effector = (
            min(max(x + dx, low[0]), high[0]),
            min(max(y + dy, low[1]), high[1]),
            min(max(z + dz, low[2]), high[2]),
        )
        self._command_effector()

    def position(self) -> Vector:
        """Give the position of the gripper, in world metres."""
        position: Vector = self._link_state()[0]
        return position

    def joints(self) -> list[float]:
        """Give the present angles of all the joints, in radians."""
        return [state[0] for state in self._joint_states()]

    def joint_bounds(self) -> tuple[list[float], list[float]]:
        """Give the limits of each joint in radians, with slack for a limit pushed in by force.

        A joint without limits is described by a lower one above the upper one; it is held by its motor.
        """
        limits = [limit if limit[0] < limit[1] else (-math.pi, math.pi) for limit in self._joint_limits]
        return [low - LIMIT_SLACK_RAD for low, _ in limits], [high + LIMIT_SLACK_RAD for _, high in limits]

    def _displace(self, direction: Vector, length: float) -> None:
        """Set the move of the commanded position per physics step, in metres."""
        x, y, z = direction
        self._displacement = (x * length, y * length, z * length)

    def _offset_joints(self, offsets: list[float]) -> None:
        """Set joint targets relative to the angles of the moment, in radians, within the joints' limits."""
        states = self._joint_states()
        self._joint_targets = [
            min(max(state[0] + offset, low), high)
            for state, offset, (low, high) in zip(states, offsets, self._joint_limits, strict=False)
        ]

    def _command_effector(self) -> None:
        """Command the motors towards the commanded effector position, tool down."""
        angles = self._inverse_kinematics(targetPosition=self._effector)
        self._command_motors(targetPositions=angles[:N_ARM_JOINTS])
