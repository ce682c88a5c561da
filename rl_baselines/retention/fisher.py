"""The Fisher information of a policy: how much each of its parameters decides what it does."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_baselines.retention.policy_outputs import (
    BERNOULLI,
    CATEGORICAL,
    DETERMINISTIC,
    OutputKind,
    acting_part,
    action_parameters,
    policy_input,
    select,
    set_to_act,
)
from rl_baselines.retention.state_memory import StateMemory

FISHER_STATES = 1024
_NOT_THE_ACTORS = ("value_net", "mlp_extractor.value_net", "vf_features_extractor", "log_std")


def actor_parameters(policy: Any) -> dict[str, torch.nn.Parameter]:
    """Give the parameters that decide the deterministic action, by name: of features and actor, not of critics.

    What decides the standard deviation is left out, for exploration is free.
    """
    named = acting_part(policy).named_parameters()
    return {name: one for name, one in named if not f"{name}.".startswith(tuple(f"{no}." for no in _NOT_THE_ACTORS))}


def fisher_information(model: BaseAlgorithm, memory: StateMemory, seed: int) -> dict[str, torch.Tensor]:
    """Estimate the diagonal of the Fisher information of the actor's parameters, divided by its mean over all of them.

    It is the mean over states of squared gradients of log p(a | s), with one action each, drawn from the policy itself
    by a generator of its own; of a deterministic policy, with a standard deviation of one around its action.

    :param memory: states that the model's policy can take; at most `FISHER_STATES` of them are used
    :return: like the parameters, nonnegative, by name
    """
    parameters, policy = actor_parameters(model.policy), model.policy
    sums = {name: torch.zeros_like(one) for name, one in parameters.items()}
    generator = torch.Generator().manual_seed(seed)
    with set_to_act(policy), _all_trained(parameters.values()):
        for row in np.linspace(0, len(memory) - 1, min(len(memory), FISHER_STATES)).astype(np.int64):
            state = policy_input(policy, select(memory.observations, [row]), model.get_vec_normalize_env())
            likelihood = _log_likelihood(memory.kind, action_parameters(policy, state), generator)
            gradients = torch.autograd.grad(likelihood, list(parameters.values()), allow_unused=True)
            for total, gradient in zip(sums.values(), gradients, strict=True):
                total += 0 if gradient is None else gradient.square()
    mean = sum(float(total.sum()) for total in sums.values()) / sum(total.numel() for total in sums.values())
    return {name: total / (mean or 1.0) for name, total in sums.items()}


@contextmanager
def _all_trained(parameters: Iterable[torch.nn.Parameter]) -> Iterator[None]:
    """Let gradients be taken of frozen parameters too: they may be trained later."""
    frozen = [one for one in parameters if not one.requires_grad]
    for one in frozen:
        one.requires_grad_(True)
    try:
        yield
    finally:
        for one in frozen:
            one.requires_grad_(False)


def _log_likelihood(kind: OutputKind, outputs: Mapping[str, torch.Tensor], generator: torch.Generator) -> torch.Tensor:
    """Draw an action and give the logarithm of its density, but for what no parameter changes."""
    if kind.name in (CATEGORICAL, BERNOULLI):
        logits = outputs["logits"]
        parts = logits.split(kind.sizes, dim=1) if kind.name == CATEGORICAL else _two_choices(logits)
        logs = [part.log_softmax(dim=1) for part in parts]
        choices = [torch.multinomial(one.detach().exp().cpu(), 1, generator=generator) for one in logs]
        return torch.stack([one.gather(1, c.to(one.device)) for one, c in zip(logs, choices, strict=True)]).sum()
    mean = outputs["action"] if kind.name == DETERMINISTIC else outputs["mean"]
    log_std = torch.zeros_like(mean) if kind.name == DETERMINISTIC else outputs["log_std"]
    noise = torch.randn(mean.shape, generator=generator).to(mean.device)
    action = (mean + log_std.exp() * noise).detach()
    return (-((action - mean) / log_std.exp()).square() / 2 - log_std).sum()


def _two_choices(logits: torch.Tensor) -> list[torch.Tensor]:
    return [torch.stack([torch.zeros_like(column), column], dim=1) for column in logits.unbind(dim=1)]
