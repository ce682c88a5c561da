"""Learning rates of their own for the parts of a model."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_baselines.errors import UsageError
from rl_baselines.transfer.parts import optimized_names, optimizers_of, parameters_of, part_of


def scale_rates(model: BaseAlgorithm, factors: Mapping[str, float]) -> None:
    """Train parts of a model at a multiple of the learning rate, whatever the rate is set to later.

    An optimiser's step of a parameter is multiplied by the factor of its part. For the optimisers of
    Stable-Baselines3's algorithms, whose steps are proportional to the rate, that is the same as a rate of its own.

    :param factors: at least 0, by part: ``policy``, ``critic``, ``features`` or ``entropy``; others go at the rate
        itself
    :raises UsageError: for another part, or one that no optimiser trains
    """
    wanted = {part: float(factor) for part, factor in factors.items()}
    seen: set[str] = set()
    for optimizer in optimizers_of(model).values():
        scaled = []
        for parameter, name in zip(parameters_of(optimizer), optimized_names(model, optimizer), strict=True):
            part = name if name == "entropy" else part_of(name)
            seen.add(part)
            if wanted.get(part, 1.0) != 1.0:
                scaled.append((parameter, wanted[part]))
        if scaled:
            _scale_steps(optimizer, scaled)
    for part in wanted:
        if part not in seen:
            raise UsageError(
                f"--lr-scale {part}: no optimiser of this model trains such a part; there are {', '.join(sorted(seen))}"
            )


def _scale_steps(optimizer: torch.optim.Optimizer, scaled: Sequence[tuple[torch.nn.Parameter, float]]) -> None:
    before: list[torch.Tensor] = []

    def remember(*_: Any) -> None:
        before[:] = [parameter.detach().clone() for parameter, _ in scaled]

    def shorten(*_: Any) -> None:
        with torch.no_grad():
            for (parameter, factor), start in zip(scaled, before, strict=True):
                parameter.copy_(start + factor * (parameter - start))

    optimizer.register_step_pre_hook(remember)
    optimizer.register_step_post_hook(shorten)
