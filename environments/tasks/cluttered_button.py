"""Press a button between things that lie about, while a ball rolls over the table."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from environments.bullet import pybullet
from environments.camera import Vector
from environments.options import EnvOptions
from environments.simulation import PYBULLET_DATA, Simulation
from environments.tasks.button import PLATE_M, ButtonSettings, ButtonTask, Place

TABLE_TOP_M = -0.195
REGION_LOW = (0.15, -0.45)
REGION_HIGH = (0.75, 0.35)
GAP_M = 0.01
"""Between two things that lie about, at least."""
BUTTON_GAP_M = 0.1
"""From the edge of the button's plate to the centre of anything that lies about, along x or y, at least."""
N_DRAWN = 32

BALL = PYBULLET_DATA / "sphere_small.urdf"
BALL_RADIUS_M = 0.03
BALL_DROP = (0.25, -0.2, 0.1)
PUSH_STEP = 10
PUSH_FORCE_N = 10.0


@dataclass(frozen=True)
class Thing:
    """A kind of thing that can lie about.

    :param file: its description
    :param height_m: of its centre of mass above what it lies on
    :param radius_m: of a circle around its centre of mass that holds all of it, seen from above
    :param tilt_rad: about its x axis, so that it lies on its flat side
    """

    file: Path
    height_m: float
    radius_m: float
    tilt_rad: float = 0.0


DUCK = Thing(PYBULLET_DATA / "duck_vhacd.urdf", height_m=0.0163, radius_m=0.052, tilt_rad=math.pi / 2)
CUBE = Thing(PYBULLET_DATA / "cube_small.urdf", height_m=0.025, radius_m=0.036)
LEGO = Thing(PYBULLET_DATA / "lego" / "lego.urdf", height_m=0.0115, radius_m=0.023)
THINGS = (DUCK,) * 3 + (CUBE,) * 4 + (LEGO,) * 3
"""All there are, the widest first: put down in this order, they always leave room for the next one."""
NAMES = tuple(f"distractor_{index}" for index in range(len(THINGS)))
PARKED = tuple((index * 0.5, 0.0, -20.0) for index in range(len(THINGS)))
"""Where those that are left out begin to fall, in world metres: below the floor, which is ten metres thick."""


class Distractors:
    """Things of which some lie about in each episode, on the table and away from the button and the ball.

    The others fall through the dark below the floor, where they meet nothing: that costs the physics next to nothing,
    and needs no state of theirs that would have to be set back, as sleep would.
    """

    def build(self, simulation: Simulation) -> None:
        """Load all of them.

        :param simulation: the world
        """
        for name, thing, position in zip(NAMES, THINGS, PARKED, strict=True):
            simulation.load(name, thing.file, position, is_fixed=False)

    def connect(self, simulation: Simulation) -> None:
        """Take them back to where they were loaded, and prepare the means to put them down.

        :param simulation: the world, its robot under the name ``"robot"``
        """
        self._bodies = [simulation.bodies[name] for name in NAMES]
        self._put = simulation.bind(pybullet.resetBasePositionAndOrientation)
        for name, position in zip(NAMES, PARKED, strict=True):
            simulation.place(name, position)

    def reset(self, rng: np.random.Generator, button: Vector) -> None:
        """Put down a random number of random ones at random places, each turned at random.

        :param rng: the only source of chance
        :param button: its target, in world metres
        """
        n_chosen = int(rng.integers(len(THINGS) + 1))
        chosen = sorted(rng.permutation(len(THINGS))[:n_chosen].tolist())
        yaws = rng.uniform(-math.pi, math.pi, n_chosen).tolist()
        places = _draw_places(rng)
        taken = [(BALL_DROP[0], BALL_DROP[1], BALL_RADIUS_M)]
        for index, yaw in zip(chosen, yaws, strict=True):
            thing = THINGS[index]
            x, y = next(place for place in places if _is_free(place, thing.radius_m, button, taken))
            taken.append((x, y, thing.radius_m))
            orientation = pybullet.getQuaternionFromEuler((thing.tilt_rad, 0.0, yaw))
            self._put(self._bodies[index], (x, y, TABLE_TOP_M + thing.height_m), orientation)


def _draw_places(rng: np.random.Generator) -> Iterator[Place]:
    """Give random places in the region without end, drawn many at a time, which is faster."""
    while True:
        yield from map(tuple, rng.uniform(REGION_LOW, REGION_HIGH, (N_DRAWN, 2)).tolist())


def _is_free(place: Place, radius: float, button: Vector, taken: list[tuple[float, float, float]]) -> bool:
    """Tell whether a thing can be put down at a place; at worst it can in a quarter of the region.

    :param place: in world metres
    :param radius: of the thing, in metres
    :param button: the target of the button, in world metres
    :param taken: x, y and radius of what lies there already, in metres
    """
    x, y = place
    if max(abs(x - button[0]), abs(y - button[1])) < PLATE_M / 2 + BUTTON_GAP_M:
        return False
    return all(math.hypot(x - other_x, y - other_y) > radius + other + GAP_M for other_x, other_y, other in taken)


class ClutteredButtonTask(ButtonTask):
    """The same between up to ten ducks, cubes and bricks, and with a ball that is pushed soon after the start.

    The ball has come to rest where it was dropped, and is pushed for one physics step with a horizontal force of random
    direction within the quarter circle that leads to the middle of the table.

    :param options: of the environment
    :param settings: of the task
    """

    def __init__(self, options: EnvOptions, settings: ButtonSettings) -> None:
        super().__init__(options, settings)
        self._distractors = Distractors()
        self._n_advances = 0
        self._push: Vector = (0.0, 0.0, 0.0)

    def build(self, simulation: Simulation) -> None:
        """Load floor, table, button, distractors and the ball, which falls on the table while the robot settles.

        :param simulation: the world
        """
        super().build(simulation)
        self._distractors.build(simulation)
        simulation.load("ball", BALL, BALL_DROP, is_fixed=False)

    def connect(self, simulation: Simulation) -> None:
        """Prepare the questions about contacts and the means to move all that moves.

        :param simulation: the world, its robot under the name ``"robot"``
        """
        super().connect(simulation)
        self._distractors.connect(simulation)
        self._simulation = simulation
        self._apply_force = simulation.bind(pybullet.applyExternalForce, simulation.bodies["ball"], -1)

    def reset(self, rng: np.random.Generator) -> None:
        """Draw the place of the button if asked for, what lies about, and the direction of the push.

        :param rng: the only source of chance
        """
        super().reset(rng)
        self._distractors.reset(rng, self.target)
        angle = rng.uniform(0.0, math.pi / 2)
        self._push = (PUSH_FORCE_N * math.cos(angle), PUSH_FORCE_N * math.sin(angle), 0.0)
        self._n_advances = 0

    def advance(self, position: Vector) -> None:
        """Push the ball at its centre when it is time.

        :param position: not used
        """
        self._n_advances += 1
        if self._n_advances == PUSH_STEP:
            self._apply_force(self._push, self._simulation.position("ball"), pybullet.WORLD_FRAME)
