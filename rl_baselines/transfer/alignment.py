"""Which element of one space is which element of another, by name, and tensors laid out anew accordingly.

New inputs get weights of zero and new continuous actions a mean of zero, so that a policy first does as it did.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from rl_baselines.errors import UsageError

_STARTS_AS_INITIALIZED = ("log_std", "running_var", "scale")  # new elements of these keep what the initialiser gave


@dataclass(frozen=True)
class ElementMap:
    """Where each element of a space comes from.

    :param kind: ``observation`` or ``action``
    :param old: names in the old space
    :param new: names in the new one
    :param sources: for each new element its index in the old space, None for one that is new
    """

    kind: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    sources: tuple[int | None, ...]

    @property
    def is_identity(self) -> bool:
        """Whether the two spaces have the same elements in the same order."""
        return self.sources == tuple(range(len(self.old)))

    @property
    def added(self) -> tuple[str, ...]:
        """The elements that only the new space has."""
        return tuple(name for name, source in zip(self.new, self.sources, strict=True) if source is None)

    @property
    def renamed(self) -> list[tuple[str, str]]:
        """Elements that count as the same under two names: the old one and the new one."""
        pairs = zip(self.new, self.sources, strict=True)
        return [(self.old[source], name) for name, source in pairs if source is not None and self.old[source] != name]

    @property
    def dropped(self) -> tuple[str, ...]:
        """The elements that only the old space has."""
        return tuple(name for index, name in enumerate(self.old) if index not in self.sources)


def identity_map(kind: str, space: gym.spaces.Space[Any]) -> ElementMap:
    """Give the map of a space onto itself.

    :param space: flat or discrete; of others the elements are not told apart
    """
    flat = isinstance(space, spaces.Box) and len(space.shape) == 1
    size = space.shape[0] if flat else int(getattr(space, "n", 0))  # type: ignore[index]
    names = tuple(f"{kind}[{index}]" for index in range(size))
    return ElementMap(kind, names, names, tuple(range(size)))


def match_elements(kind: str, old: Sequence[str], new: Sequence[str]) -> ElementMap:
    """Match the elements of two spaces by name.

    Where both have as many and two elements of different names stand at the same place, each without a namesake in the
    other space, they count as the same under another name: a position relative to another target, for instance.

    :raises UsageError: when no element of the old space is in the new one
    """
    same_length = len(old) == len(new)
    sources: list[int | None] = []
    for index, name in enumerate(new):
        if name in old:
            sources.append(list(old).index(name))
        else:
            sources.append(index if same_length and old[index] not in new else None)
    if all(source is None for source in sources):
        raise UsageError(
            f"no {kind} of the source is one of this run: it has {_listed(old)}, here there are {_listed(new)}; "
            "nothing that it learnt would apply"
        )
    return ElementMap(kind, tuple(old), tuple(new), tuple(sources))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def element_names(env: VecEnv, kind: str) -> tuple[str, ...] | None:
    """Name the elements of the flat observations or actions of an environment; None where they have no names.

    Of stacked observations the newest have the bare names, as they would without a stack.

    :param env: with or without a frame stack, not normalized
    :param kind: ``observation`` or ``action``
    """
    space = env.observation_space if kind == "observation" else env.action_space
    attribute = {"observation": "feature_names", "action": "action_names"}[kind]
    if not isinstance(space, spaces.Box) or len(space.shape) != 1 or not env.has_attr(attribute):
        return None
    names: tuple[str, ...] = tuple(env.get_attr(attribute, 0)[0])
    n_elements = space.shape[0]
    if not names or n_elements % len(names) or (kind == "action" and n_elements != len(names)):
        return None  # a wrapper has changed the space
    n_stack = n_elements // len(names)
    ages = [n_stack - 1 - index for index in range(n_stack)]
    return tuple(name + (f" {age} back" if age else "") for age in ages for name in names)


@dataclass(frozen=True)
class SpaceLayout:
    """Along which dimensions the tensors of a policy follow the observation space and the action space.

    :param observation: dimension by name of the tensor
    :param action: likewise; in a tensor that follows both along one dimension the observation comes first
    """

    observation: Mapping[str, int] = field(default_factory=dict)
    action: Mapping[str, int] = field(default_factory=dict)


def layout_of(policy: BasePolicy) -> SpaceLayout:
    """Find which tensors follow which space, by building the policy with one element more.

    :param policy: for flat observations
    """
    with torch.random.fork_rng(devices=[]):
        return SpaceLayout(_growing(policy, "observation_space"), _growing(policy, "action_space"))


def _growing(policy: BasePolicy, space_name: str) -> dict[str, int]:
    """Give the tensors that grow with a space, and the dimension in which they do."""
    larger = _with_one_more(getattr(policy, space_name))
    if larger is None:
        return {}
    grown = type(policy)(**{**policy._get_constructor_parameters(), space_name: larger}).state_dict()
    found = {}
    for name, tensor in policy.state_dict().items():
        steps = [more - size for size, more in zip(tensor.shape, grown[name].shape, strict=True)]
        if any(steps):
            found[name] = next(dim for dim, step in enumerate(steps) if step)
    return found


def _with_one_more(space: gym.spaces.Space[Any]) -> gym.spaces.Space[Any] | None:
    if isinstance(space, spaces.Discrete):
        return spaces.Discrete(int(space.n) + 1)
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        low, high = np.append(space.low, space.low[:1]), np.append(space.high, space.high[:1])
        return spaces.Box(low, high, dtype=space.dtype)
    return None


class Alignment:
    """Lays tensors of a policy for the old spaces out for the new ones.

    :param layout: of the new policy
    :param observation: map of observations
    :param action: map of actions
    """

    def __init__(self, layout: SpaceLayout, observation: ElementMap, action: ElementMap) -> None:
        self.observation, self.action = observation, action
        self._followers = ((layout.observation, observation), (layout.action, action))

    def follows(self, name: str) -> bool:
        """Tell whether a tensor follows a space that has changed."""
        return any(name in tensors and not mapped.is_identity for tensors, mapped in self._followers)

    def keeps_moments(self, name: str) -> bool:
        """Tell whether an optimiser's moments of a parameter may be taken over, in the same layout."""
        return True

    def lay_out(self, name: str, tensor: torch.Tensor, initial: torch.Tensor) -> torch.Tensor | None:
        """Give a tensor in the layout of the new spaces; None where it cannot have come from the old ones.

        :param name: of a tensor that follows a changed space
        :param tensor: a parameter for the old spaces, or moments of the same shape
        :param initial: what the initialiser gave for the new ones
        """
        dim, indices, n_old = self._indices(name)
        expected = list(initial.shape)
        expected[dim] = n_old
        if list(tensor.shape) != expected or len(indices) != initial.shape[dim]:
            return None
        keeps_initial = name.split(".")[-1] in _STARTS_AS_INITIALIZED
        laid_out = initial.clone() if keeps_initial else torch.zeros_like(initial)
        here = [index for index, source in enumerate(indices) if source is not None]
        there = [source for source in indices if source is not None]
        laid_out.movedim(dim, 0)[here] = tensor.to(initial).movedim(dim, 0)[there]
        return laid_out

    def _indices(self, name: str) -> tuple[int, list[int | None], int]:
        """Give the dimension that changes, where each of its new elements comes from, and its old size."""
        dim, n_old, indices = 0, 0, list[int | None]()
        for tensors, mapped in self._followers:
            if name in tensors:
                dim = tensors[name]
                indices += [None if source is None else source + n_old for source in mapped.sources]
                n_old += len(mapped.old)
        return dim, indices, n_old
