"""The parts of a model that can be loaded, frozen or trained at rates of their own, and which parameter is in which."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import recursive_getattr

from rl_baselines.config import PARTS
from rl_baselines.errors import UsageError, unknown

NETWORK_PARTS = ("policy", "critic", "features")
_CRITICS = ("critic", "critic_target", "value_net", "lstm_critic")


def part_of(name: str) -> str:
    """Name the part that a parameter of a policy belongs to: ``policy``, ``critic`` or ``features``.

    What acts is the policy; that includes the Q network of DQN and its kin.

    :param name: as in the policy's state dictionary
    """
    words = name.split(".")
    if any(word.endswith("features_extractor") for word in words):
        return "features"
    return "critic" if any(word in _CRITICS for word in words) else "policy"


def parse_parts(texts: Sequence[str]) -> tuple[str, ...]:
    """Read a list of parts, each text one of them or several with commas between; none stands for all.

    :raises UsageError: for an unknown part, with the nearest match, or when a text names none
    """
    names = [name for text in texts for name in text.split(",") if name]
    if texts and not names:
        raise UsageError(f"--load-parts names no part; there are {', '.join(PARTS)}")
    for name in names:
        if name not in PARTS:
            raise unknown("part of a model", name, PARTS)
    return tuple(part for part in PARTS if part in names) if names else PARTS


def matching_names(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Give the names that match any of some patterns: a part of a model, or a shell pattern for full names.

    :param patterns: such as ``features``, ``actor.latent_pi.*``; ``mlp_extractor`` stands for all that begins so
    :raises UsageError: for a pattern that matches none
    """
    found: set[str] = set()
    for pattern in patterns:
        matched = {name for name in names if _matches(name, pattern)}
        if not matched and pattern in NETWORK_PARTS:
            raise UsageError(f"--freeze {pattern}: this model has no parameters of that part")
        if not matched:
            raise unknown("parameter or part", pattern, [*NETWORK_PARTS, *names], "--freeze")
        found |= matched
    return [name for name in names if name in found]


def _matches(name: str, pattern: str) -> bool:
    if pattern in NETWORK_PARTS:
        return part_of(name) == pattern
    return fnmatchcase(name, pattern) or name.startswith(f"{pattern}.")


def optimizers_of(model: BaseAlgorithm) -> dict[str, torch.optim.Optimizer]:
    """Give the optimisers of a model by the names that its zip has for them."""
    names = (name for name in model._get_torch_save_params()[0] if name.endswith("optimizer"))
    found = {name: recursive_getattr(model, name) for name in names}
    return {name: optimizer for name, optimizer in found.items() if optimizer is not None}


def optimized_names(model: BaseAlgorithm, optimizer: torch.optim.Optimizer) -> list[str]:
    """Name the parameters of an optimiser in its order; one that is not of the policy is called ``entropy``."""
    names = {id(parameter): name for name, parameter in model.policy.named_parameters()}
    return [names.get(id(parameter), "entropy") for parameter in parameters_of(optimizer)]


def parameters_of(optimizer: torch.optim.Optimizer) -> Iterator[torch.nn.Parameter]:
    """Yield the parameters of an optimiser, in the order of its state."""
    for group in optimizer.param_groups:
        yield from group["params"]
