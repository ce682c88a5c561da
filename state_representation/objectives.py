"""What a representation learns from: losses, their weights, and the part of the state that each of them sees."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from environments.names import nearest_match

SAME = -1
"""As the dimension of an objective: it shares the part of the one before."""


class RepresentationError(ValueError):
    """What was asked of a representation cannot be done; the message is one line."""


class DivergenceError(Exception):
    """A loss became infinite or no number; the message is one line."""


@dataclass(frozen=True)
class Objective:
    """One loss on its part of the state.

    :param name: in the table of losses
    :param weight: in the sum of losses
    :param start: first element of its part
    :param stop: behind the last one
    """

    name: str
    weight: float
    start: int
    stop: int

    @property
    def dim(self) -> int:
        """The number of elements of its part."""
        return self.stop - self.start

    @property
    def part(self) -> slice:
        """Its part of a state."""
        return slice(self.start, self.stop)


def parse_objectives(
    words: Sequence[str], default_weights: dict[str, float], state_dim: int | None
) -> tuple[Objective, ...]:
    """Read ``autoencoder:1:198 inverse:2:2``: names, perhaps with weights, perhaps with dimensions.

    Without dimensions all of them see the whole state. With dimensions each has a part of its own, in order; -1 shares
    the part of the one before.

    :param default_weights: of the losses that there are
    :param state_dim: of the whole state; None takes the sum of the dimensions
    :raises RepresentationError: when it makes no sense
    """
    if not words:
        raise RepresentationError("name at least one loss, such as --losses autoencoder inverse")
    named = [_parse_word(word, default_weights) for word in words]
    names = [name for name, _, _ in named]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RepresentationError(f"--losses names {twice} twice")
    dims = [dim for _, _, dim in named]
    if all(dim is None for dim in dims):
        if state_dim is None or state_dim < 1:
            raise RepresentationError(f"--state-dim must be at least 1, got {state_dim}")
        return tuple(Objective(name, weight, 0, state_dim) for name, weight, _ in named)
    if any(dim is None for dim in dims):
        missing = names[dims.index(None)]
        raise RepresentationError(
            f"either all losses have a dimension or none has: {missing} has none; {SAME} shares that of the one before"
        )
    objectives: list[Objective] = []
    end = 0
    for name, weight, dim in named:
        assert dim is not None
        if dim == SAME:
            if not objectives:
                raise RepresentationError(f"{name}:{weight:g}:{SAME} is the first loss, there is no part to share")
            objectives.append(Objective(name, weight, objectives[-1].start, objectives[-1].stop))
        else:
            objectives.append(Objective(name, weight, end, end + dim))
            end += dim
    if state_dim is not None and state_dim != end:
        raise RepresentationError(f"the dimensions of --losses add up to {end}, --state-dim is {state_dim}")
    return tuple(objectives)


def _parse_word(word: str, default_weights: dict[str, float]) -> tuple[str, float, int | None]:
    name, *rest = word.split(":")
    if name not in default_weights:
        near = nearest_match(name, list(default_weights))
        hint = f"did you mean {near!r}?" if near else f"there are {', '.join(default_weights)}"
        raise RepresentationError(f"unknown loss {name!r}; {hint}")
    try:
        weight = float(rest[0]) if rest else default_weights[name]
        dim = int(rest[1]) if len(rest) > 1 else None
    except ValueError:
        weight, dim = math.nan, None
    if len(rest) > 2 or not 0 <= weight < math.inf or (dim is not None and dim < 1 and dim != SAME):
        raise RepresentationError(f"a loss is name, name:weight or name:weight:dimension, got {word!r}")
    return name, weight, dim
