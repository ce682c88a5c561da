"""Residual fine-tuning: the frozen parent's output plus a learnt correction that is zero at first.

The actor's network is made twice as wide. One half of the units of each layer are the parent's, frozen, and read only
each other; the other half are new, may read all, and reach the output through weights that start at zero. What comes
out is an ordinary policy with a wider ``net_arch``: it is saved, loaded and fine-tuned like any other, and needs
nothing of its parent. It acts as the parent did but for the rounding of sums over wider layers. Of squashed policies
the correction is added before the ``tanh``.

T. Silver et al., Residual policy learning, 2018; T. Johannink et al., Residual reinforcement learning for robot
control, 2019.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_baselines.errors import UsageError
from rl_baselines.transfer.alignment import Alignment

NO_NOISE_LOG_STD = -9.0
"""With state-dependent exploration: of the noise that new units bring, which is next to none at first."""
ALGORITHMS = ("ppo", "a2c", "maskable_ppo", "sac", "tqc", "td3", "ddpg")


@dataclass(frozen=True)
class Chain:
    """The linear layers of an actor from input to output, by the names of its modules.

    :param hidden: each with an activation behind it
    :param heads: what reads the last hidden layer
    """

    hidden: tuple[str, ...]
    heads: tuple[str, ...]


def chains_of(parameters: Mapping[str, torch.Tensor]) -> list[Chain]:
    """Find the actor's layers among the parameters of a policy; target networks have a chain of their own."""
    if any(name.startswith("mlp_extractor.policy_net.") for name in parameters):
        return [Chain(_layers(parameters, "mlp_extractor.policy_net."), ("action_net",))]
    if any(name.startswith("actor.latent_pi.") for name in parameters):
        heads = [name for name in ("actor.mu", "actor.log_std") if f"{name}.weight" in parameters]
        return [Chain(_layers(parameters, "actor.latent_pi."), tuple(heads))]
    found = [_layers(parameters, f"{actor}.mu.") for actor in ("actor", "actor_target")]
    return [Chain(layers[:-1], layers[-1:]) for layers in found if layers]


def _layers(parameters: Mapping[str, torch.Tensor], prefix: str) -> tuple[str, ...]:
    names = (
        name.removesuffix(".weight") for name in parameters if name.startswith(prefix) and name.endswith(".weight")
    )
    return tuple(sorted(names, key=lambda name: int(name.rsplit(".", 1)[1])))


def widened_net_arch(algorithm: str, parameters: Mapping[str, torch.Tensor]) -> dict[str, list[int]]:
    """Give the ``net_arch`` of a policy with an actor twice as wide as a parent's and the same critic.

    :param parameters: of the parent's policy
    :raises UsageError: for an algorithm or a network that this is not made for
    """
    chains = chains_of(parameters) if algorithm in ALGORITHMS else []
    if not chains or not chains[0].hidden:
        raise UsageError(
            f"--residual needs an actor of linear layers with hidden units, of {', '.join(ALGORITHMS)}; here is "
            f"{algorithm}"
        )
    actor = [2 * len(parameters[f"{layer}.weight"]) for layer in chains[0].hidden]
    if any(name.startswith("critic.qf0.") for name in parameters):
        critic = _layers(parameters, "critic.qf0.")[:-1]
        return {"pi": actor, "qf": [len(parameters[f"{layer}.weight"]) for layer in critic]}
    critic = _layers(parameters, "mlp_extractor.value_net.")
    return {"pi": actor, "vf": [len(parameters[f"{layer}.weight"]) for layer in critic]}


class ResidualLayout:
    """Lays the parameters of a parent's actor out in one that is twice as wide.

    :param policy: the parameters of the new policy
    :param alignment: of the spaces, where they differ
    """

    def __init__(self, policy: Mapping[str, torch.Tensor], alignment: Alignment | None) -> None:
        self._alignment = alignment
        chains = chains_of(policy)
        self._hidden = {name: index > 0 for chain in chains for index, name in enumerate(chain.hidden)}
        self._noise = {name for name in ("log_std", "actor.log_std") if name in policy and policy[name].dim() == 2}
        self._heads = {name for chain in chains for name in chain.heads}

    def follows(self, name: str) -> bool:
        """Tell whether a tensor has another layout than the parent's."""
        return (
            name in self._noise
            or self._is_widened(name)
            or (self._alignment is not None and self._alignment.follows(name))
        )

    def keeps_moments(self, name: str) -> bool:
        """Tell whether an optimiser's moments may be taken over: frozen weights must have none, or they would move."""
        return name not in self._noise and not self._is_widened(name)

    def lay_out(self, name: str, tensor: torch.Tensor, initial: torch.Tensor) -> torch.Tensor | None:
        """Give a tensor of the parent in the layout of the new policy; None where it does not fit."""
        if name in self._noise:
            laid_out = torch.full_like(initial, NO_NOISE_LOG_STD)
            laid_out[: len(tensor)] = tensor
            return laid_out
        if not self._is_widened(name):
            return None if self._alignment is None else self._alignment.lay_out(name, tensor, initial)
        laid_out = initial.clone()
        block = laid_out[: len(tensor)] if self._layer(name) in self._hidden else laid_out
        if self._layer(name) in self._heads or self._hidden[self._layer(name)]:
            block[:] = 0
            block = block[..., : tensor.shape[-1]] if tensor.dim() == 2 else block
        if self._alignment is not None and self._alignment.follows(name):
            aligned = self._alignment.lay_out(name, tensor, block.clone())
            if aligned is None:
                return None
            tensor = aligned
        if block.shape != tensor.shape:
            return None
        block[:] = tensor
        return laid_out

    def _layer(self, name: str) -> str:
        return name.rpartition(".")[0]

    def _is_widened(self, name: str) -> bool:
        return self._layer(name) in self._hidden or self._layer(name) in self._heads


def hold_parent(model: BaseAlgorithm) -> None:
    """Keep the parent's half of the actor as it is: no gradient reaches it."""
    parameters: dict[str, Any] = dict(model.policy.named_parameters())
    for chain in chains_of(parameters):
        for layer in chain.hidden:
            for name in (f"{layer}.weight", f"{layer}.bias"):
                _mask(parameters[name], 0, len(parameters[name]) // 2)
        for layer in chain.heads:
            _mask(parameters[f"{layer}.weight"], 1, parameters[f"{layer}.weight"].shape[1] // 2)


def _mask(parameter: torch.nn.Parameter, dim: int, n_frozen: int) -> None:
    mask = torch.ones_like(parameter)
    mask.narrow(dim, 0, n_frozen).zero_()
    parameter.register_hook(lambda gradient: gradient * mask)
