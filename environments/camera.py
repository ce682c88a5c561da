"""Where a camera stands and how it sees."""

from dataclasses import dataclass, replace

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Camera:
    """A perspective camera that orbits a target point, in PyBullet's convention (z up).

    :param target: the point looked at, in metres; in the world frame, or relative to the robot when it follows it
    :param distance: from the eye to the target, in metres
    :param yaw: rotation about z, in degrees; 0 looks along +y, 90 along -x
    :param pitch: elevation of the line of sight, in degrees; -90 looks straight down
    :param fov: vertical field of view, in degrees
    :param near: nearest depth drawn, in metres
    :param far: farthest depth drawn, in metres
    :param follows_robot: whether the target moves along with the robot
    :param link: the link of the robot that carries the camera; the target is then relative to the frame of that link,
        which turns the camera too
    """

    target: Vector
    distance: float
    yaw: float
    pitch: float
    fov: float = 60.0
    near: float = 0.1
    far: float = 100.0
    follows_robot: bool = False
    link: str | None = None

    def moved(self, yaw: float, pitch: float, distance: float, fov: float) -> "Camera":
        """Give the camera from somewhere else, looking at the same point.

        :param yaw: in degrees, added
        :param pitch: likewise
        :param distance: factor
        :param fov: in degrees, added
        """
        return replace(
            self,
            yaw=self.yaw + yaw,
            pitch=self.pitch + pitch,
            distance=self.distance * distance,
            fov=self.fov + fov,
        )

    def target_near(self, robot_position: Vector) -> Vector:
        """Give the point looked at, in world metres, while the robot is at a position.

        :param robot_position: in world metres
        """
        if not self.follows_robot:
            return self.target
        x, y, z = (offset + origin for offset, origin in zip(self.target, robot_position, strict=True))
        return (x, y, z)
