"""Dynamics that differ from the usual ones, fixed or drawn for every episode: domain randomization.

After Tobin et al. 2017 (arXiv 1703.06907) and Peng et al. 2018 (arXiv 1710.06537).
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from environments.options import Settings, option


@dataclass(frozen=True)
class Dynamics:
    """The dynamics of one episode.

    :param mass_scale: factor of the mass and inertia of every link of the robot
    :param friction_scale: factor of the lateral friction of every link of the robot
    :param gain_scale: factor of how strongly the robot answers to a command
    :param action_delay: environment steps from an action to its effect
    :param observation_noise: standard deviation of Gaussian noise on every element, in its unit
    """

    mass_scale: float = 1.0
    friction_scale: float = 1.0
    gain_scale: float = 1.0
    action_delay: int = 0
    observation_noise: float = 0.0


USUAL = Dynamics()
OF_BODIES = ("mass_scale", "friction_scale")
"""What only a robot in the physics has."""


@dataclass(frozen=True)
class DynamicsSettings(Settings):
    """What every environment can be told about its dynamics; ``[lowest, highest]`` is drawn from uniformly."""

    mass_scale: Any = option(1.0, "factor of the masses of the robot's links", ranges=True)
    friction_scale: Any = option(1.0, "factor of the lateral friction of the robot's links", ranges=True)
    gain_scale: Any = option(1.0, "factor of the motors' position gain, or of a kinematic robot's step", ranges=True)
    action_delay: Any = option(0, "environment steps from an action to its effect", minimum=0, ranges=True)
    observation_noise: Any = option(
        0.0, "standard deviation of noise on every element, in metres or radians", minimum=0, ranges=True
    )

    @property
    def are_usual(self) -> bool:
        """Whether nothing differs from the usual dynamics."""
        return self == DynamicsSettings()

    def draw(self, rng: np.random.Generator) -> Dynamics:
        """Give the dynamics of an episode; what is fixed draws nothing.

        :param rng: the only source of chance
        """
        return Dynamics(**{field.name: self._draw_one(field, rng) for field in dataclasses.fields(self)})

    def _draw_one(self, field: dataclasses.Field[Any], rng: np.random.Generator) -> Any:
        """Give one number; a whole number is drawn with an equal chance for both ends and all between them."""
        value = getattr(self, field.name)
        if not isinstance(value, list | tuple):
            return value
        low, high = value
        return int(rng.integers(low, high + 1)) if isinstance(field.default, int) else float(rng.uniform(low, high))
