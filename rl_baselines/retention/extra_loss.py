"""A further loss in the updates of a policy, added without a change to Stable-Baselines3's `train`.

`train` computes its loss, empties the gradients, back-propagates and steps. The further loss back-propagates right
after the emptying, so that the two gradients add up and whatever follows, clipping and the optimiser, sees their sum.
"""

from collections.abc import Callable
from typing import Any

import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from rl_baselines.errors import UsageError

ALGORITHMS_WITH_EXTRA_LOSS = ("ppo", "a2c", "sac", "td3", "ddpg", "tqc", "crossq")


class ExtraLoss:
    """Calls a function in each update of a policy, at the moment when it may back-propagate a loss of its own.

    :param model: what is trained
    :param backward: gets the observations of the minibatch that the update is about, as tensors, normalized if the
        training normalizes; must not draw from the global random generators
    :raises UsageError: when the algorithm has no such moment
    """

    def __init__(self, model: BaseAlgorithm, backward: Callable[[Any], None]) -> None:
        self._backward = backward
        self._module, self._method = _seen_by(model)
        self._optimizer: Any = self._module.optimizer
        self._observations: Any = None

    def attach(self) -> None:
        """Take part in the updates from now on: two methods are covered on their instances."""
        assert not {self._method} & vars(self._module).keys(), "attached already"
        method, zero_grad = getattr(self._module, self._method), self._optimizer.zero_grad

        def remembering(observations: Any, *args: Any, **kwargs: Any) -> Any:
            if torch.is_grad_enabled():  # else they are the next states
                self._observations = observations
            return method(observations, *args, **kwargs)

        def zero_grad_and_add(*args: Any, **kwargs: Any) -> None:
            zero_grad(*args, **kwargs)
            self._backward(self._observations)

        setattr(self._module, self._method, remembering)
        self._optimizer.zero_grad = zero_grad_and_add

    def detach(self) -> None:
        """Leave the policy and its optimiser as they were."""
        delattr(self._module, self._method)
        del self._optimizer.zero_grad
        self._observations = None


def _seen_by(model: BaseAlgorithm) -> tuple[Any, str]:
    """Give the module that the updates step, and its method that gets the observations of the minibatch."""
    if isinstance(model, (PPO, A2C)):
        return model.policy, "evaluate_actions"
    actor = getattr(model.policy, "actor", None)
    if not isinstance(model, OffPolicyAlgorithm) or actor is None:
        raise UsageError(
            f"{type(model).__name__} takes no further loss; algorithms that do: {', '.join(ALGORITHMS_WITH_EXTRA_LOSS)}"
        )
    return actor, "action_log_prob" if hasattr(actor, "action_log_prob") else "forward"
