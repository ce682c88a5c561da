"""Parameters that stand still for a part of a fine-tune, or for all of it: frozen ones, and a critic's warm-up."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_baselines.algorithms import find_algorithm
from rl_baselines.config import RunConfig
from rl_baselines.transfer.parts import matching_names, optimized_names, optimizers_of, parameters_of, part_of

EXPLAINED_VARIANCE = 0.5
"""From here on a critic tells good states from bad ones well enough to teach the policy."""
LONGEST_SHARE = 0.1
"""Of the run: an automatic warm-up ends then at the latest."""


@dataclass(frozen=True)
class CriticWarmUp:
    """How long only the critic is trained.

    :param until: timesteps at which it ends at the latest
    :param by_variance: whether it ends as soon as the critic explains the returns' variance well enough; what tells
        is in the logs of on-policy algorithms only
    """

    until: int
    by_variance: bool


class Freezing:
    """Decides at every boundary which parameters of a policy are trained.

    A frozen parameter gets no gradient, so optimisers pass it by and it stays the same to the last bit. Where all
    parameters of an optimiser are frozen, a loss could have nothing to be differentiated by: they get their gradients,
    which are thrown away before the step.

    :param model: what is trained
    :param patterns: parts of the model, or shell patterns for names of parameters
    :param until: timesteps from which they are trained after all; None: never
    :param warm_up: of the critic; all else stands still meanwhile, the entropy coefficient too
    :raises UsageError: for a pattern that matches nothing
    """

    def __init__(
        self, model: BaseAlgorithm, patterns: tuple[str, ...], until: int | None, warm_up: CriticWarmUp | None
    ) -> None:
        self.model, self.until, self.warm_up = model, until, warm_up
        names = [name for name, _ in model.policy.named_parameters()]
        self.names = matching_names(names, patterns)
        self.is_warming_up = warm_up is not None
        self._idle: list[torch.optim.Optimizer] = []
        for optimizer in optimizers_of(model).values():
            optimizer.register_step_pre_hook(self._drop_gradients)
        self._apply()

    def at_boundary(self) -> None:
        """Train what is to be trained from here on."""
        if self.warm_up is not None and self.is_warming_up:
            explained = self.model.logger.name_to_value.get("train/explained_variance")
            is_good = self.warm_up.by_variance and explained is not None and explained > EXPLAINED_VARIANCE
            self.is_warming_up = not is_good and self.model.num_timesteps < self.warm_up.until
        self._apply()

    def is_frozen(self, name: str) -> bool:
        """Tell whether a parameter stands still now; that of the entropy coefficient is called ``entropy``."""
        is_held = name in self.names and (self.until is None or self.model.num_timesteps < self.until)
        return is_held or (self.is_warming_up and part_of(name) != "critic")

    def state(self) -> dict[str, Any]:
        """Give what resuming needs."""
        return {"is_warming_up": self.is_warming_up, "until": None if self.warm_up is None else self.warm_up.until}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.is_warming_up = state["is_warming_up"]
        if self.warm_up is not None:  # a longer run keeps the warm-up that it began with
            self.warm_up = replace(self.warm_up, until=state["until"])
        self._apply()

    def _apply(self) -> None:
        optimizers = optimizers_of(self.model).values()
        self._idle = [one for one in optimizers if all(map(self.is_frozen, optimized_names(self.model, one)))]
        idle = {id(parameter) for optimizer in self._idle for parameter in parameters_of(optimizer)}
        for name, parameter in self.model.policy.named_parameters():
            has_gradient = not self.is_frozen(name) or id(parameter) in idle
            if parameter.requires_grad and not has_gradient:
                parameter.grad = None
            if parameter.requires_grad != has_gradient and not _is_target(name):
                parameter.requires_grad_(has_gradient)

    def _drop_gradients(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if any(optimizer is one for one in self._idle):
            for parameter in parameters_of(optimizer):
                parameter.grad = None


def _is_target(name: str) -> bool:
    """Tell whether a parameter belongs to a target network, which no optimiser trains."""
    return any(word.endswith("_target") for word in name.split("."))


def make_freezing(model: BaseAlgorithm, config: RunConfig, steps_planned: int) -> Freezing | None:
    """Give what a fine-tune's settings ask for; None when nothing is to stand still.

    :param config: with ``critic_warmup`` settled: ``auto`` means that there is one
    """
    settings = config.fine_tuning
    if not settings.freeze and settings.critic_warmup == "off":
        return None
    warm_up = None
    if settings.critic_warmup == "auto":
        starts = config.algorithm.hyperparam.get("learning_starts", 0)
        on_policy = find_algorithm(config.algorithm.algo).on_policy
        warm_up = CriticWarmUp(starts + int(LONGEST_SHARE * steps_planned), by_variance=on_policy)
    elif settings.critic_warmup != "off":
        warm_up = CriticWarmUp(int(settings.critic_warmup), by_variance=False)
    return Freezing(model, settings.freeze, settings.freeze_until, warm_up)
