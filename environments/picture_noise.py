"""Pictures as a real camera over a real floor gives them: bodies a little beside, nearer or darker than they are."""

from dataclasses import dataclass, replace

import numpy as np

from environments.camera import Camera, Vector
from environments.simulation import Simulation

OUT_OF_SIGHT = (0.0, 0.0, -1000.0)
DEEPEST = 1.2
"""How far from the eye a body may be drawn, as a share of its distance: one floor must lie above, the other below."""


@dataclass(frozen=True)
class PictureNoise:
    """Gaussian noise of pictures, taken from above; each number is a standard deviation.

    :param offset_m: of where a body is drawn, along x and y, in metres
    :param size: of how large a body is drawn, as a share
    :param luminosity: of the brightness of the whole picture, as a share
    :param bodies: names of the bodies that are disturbed
    :param floor: name of a body that gives way to a deeper one below it, so that what is drawn smaller does not sink in
    """

    offset_m: float
    size: float
    luminosity: float
    bodies: tuple[str, ...] = ("robot", "target")
    floor: str = "floor"

    def scaled(self, factor: float) -> "PictureNoise":
        """Give the same noise, stronger or weaker.

        :param factor: of every standard deviation
        """
        return replace(
            self, offset_m=self.offset_m * factor, size=self.size * factor, luminosity=self.luminosity * factor
        )

    def disturb(self, simulation: Simulation, camera: Camera, rng: np.random.Generator) -> float:
        """Move the bodies from where they were put, and give the factor of the picture's brightness.

        A body is drawn larger or smaller by moving it along the line of sight of a camera that looks straight down.

        :param simulation: the world
        :param camera: the one from above
        :param rng: the only source of chance
        """
        simulation.move(self.floor, OUT_OF_SIGHT)
        for name in self.bodies:
            offset = self.offset_m * rng.standard_normal(2)
            nearness = min(1 / max(1 + self.size * rng.standard_normal(), 0.5), DEEPEST)
            simulation.move(name, _beside(simulation.position(name), camera, offset, nearness))
        return float(1 + self.luminosity * rng.standard_normal())


def _beside(position: Vector, camera: Camera, offset: np.ndarray, nearness: float) -> Vector:
    """Give a position on the line of sight from a camera straight above to a place beside a position.

    :param offset: of that place, along x and y, in metres
    :param nearness: of the distance from the eye, as a share of what it was
    """
    eye = np.array(camera.target) + (0.0, 0.0, camera.distance)
    x, y, z = eye + (np.array(position) + (*offset, 0.0) - eye) * nearness
    return (float(x), float(y), float(z))
