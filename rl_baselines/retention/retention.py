"""Retention: a penalty that holds a fine-tuned policy near the one that it began from.

====== ===================================================================================== =====================
kind   what is penalised                                                                     needs a state memory
====== ===================================================================================== =====================
bc     distance of actions to the remembered ones, in remembered states                      yes
replay the same, and the distance of values to the remembered ones (ppo, a2c)                yes
kl     distance of actions to those of a frozen copy, in the states that are trained on      no
l2sp   squared distance of the actor's parameters to where they began                        no
ewc    the same, weighted by the Fisher information in remembered states                     yes
====== ===================================================================================== =====================

The distances are those of `penalties`. kl is for a task whose right actions are still those of the parent, such as one
with other dynamics; on another task it holds back what is to be learned.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_baselines.errors import UsageError, unknown
from rl_baselines.retention.extra_loss import ALGORITHMS_WITH_EXTRA_LOSS, ExtraLoss
from rl_baselines.retention.penalties import (
    MemoryAndValueDistance,
    MemoryDistance,
    Penalty,
    StartDistance,
    TeacherDistance,
    WeightedStartDistance,
)
from rl_baselines.retention.state_memory import StateMemory

DECAYS = ("constant", "linear")
ON_POLICY = ("ppo", "a2c")


@dataclass(frozen=True)
class RetentionKind:
    """One row of the table.

    :param penalty: its class
    :param on_policy: default coefficient of ppo and a2c
    :param off_policy: that of the others, where rewards are of the order of one; None: they cannot
    :param needs_memory: whether it needs the source's state memory
    """

    penalty: type[Penalty]
    on_policy: float
    off_policy: float | None
    needs_memory: bool


# The defaults are from a reaching task, rewards between -2 and 0, where a policy for one goal learned the opposite one.
# bc, replay and ewc kept the first goal and learned the second at every coefficient around these, over a factor of ten
# and more; but ewc with td3 kept nothing up to 100, for the policy moved along parameters without Fisher information.
# l2sp went from forgetting the first goal to not learning the second between 1 and 10, and kl between 0.1 and 1, with
# no coefficient that did both.
RETENTION_KINDS = {
    "bc": RetentionKind(MemoryDistance, 0.1, 1.0, True),
    "kl": RetentionKind(TeacherDistance, 0.1, 0.1, False),
    "l2sp": RetentionKind(StartDistance, 3.0, 0.1, False),
    "ewc": RetentionKind(WeightedStartDistance, 1.0, 1.0, True),
    "replay": RetentionKind(MemoryAndValueDistance, 0.1, None, True),
}


def check_retention(kind: str, algorithm: str) -> None:
    """Check that an algorithm has a kind of retention.

    :param algorithm: name in the table of algorithms
    :raises UsageError: naming those that have it
    """
    if kind not in RETENTION_KINDS:
        raise unknown("kind of retention", kind, RETENTION_KINDS)
    able = ALGORITHMS_WITH_EXTRA_LOSS if RETENTION_KINDS[kind].off_policy is not None else ON_POLICY
    if algorithm not in able:
        raise UsageError(f"{algorithm} has no retention of kind {kind}; algorithms that have it: {', '.join(able)}")


def default_coefficient(kind: str, algorithm: str) -> float:
    """Give the coefficient of a retention where none is named.

    :param kind: in the table
    :param algorithm: one that has it, by its name in the table of algorithms
    """
    row = RETENTION_KINDS[kind]
    default = row.on_policy if algorithm in ON_POLICY else row.off_policy
    assert default is not None, f"{algorithm} has no retention of kind {kind}"
    return default


class Retention:
    """Adds coefficient times penalty to the loss of every update of the actor.

    Begin it with the policy as it is before training, or restore it, and attach it while the model learns. With a
    coefficient of 0 the training is what it would be without.

    :param model: what is trained
    :param algorithm: its name in the table of algorithms
    :param kind: in the table
    :param coefficient: at the start of the run, at least 0; None takes the kind's default
    :param decay: ``constant``, or ``linear`` to 0 at the end of the run
    :raises UsageError: when the algorithm cannot, or a setting makes no sense
    """

    def __init__(
        self,
        model: BaseAlgorithm,
        algorithm: str,
        kind: str,
        coefficient: float | None = None,
        decay: str = "constant",
    ) -> None:
        check_retention(kind, algorithm)
        self.initial_coefficient = default_coefficient(kind, algorithm) if coefficient is None else coefficient
        if not 0 <= self.initial_coefficient < math.inf:
            raise UsageError(f"the coefficient of retention must be a number of at least 0, not {coefficient}")
        if decay not in DECAYS:
            raise unknown("decay of retention", decay, DECAYS)
        self.model, self.kind, self.decay = model, kind, decay
        self._loss = ExtraLoss(model, self._backward)
        self._penalty: Penalty | None = None

    @property
    def coefficient(self) -> float:
        """The coefficient at this point of the run, by the same progress as the learning rate's."""
        if self.decay == "constant":
            return self.initial_coefficient
        return self.initial_coefficient * min(1.0, max(0.0, self.model._current_progress_remaining))

    def begin(self, memory: StateMemory | None, seed: int) -> None:
        """Hold on to the policy as it is now.

        :param memory: of the policy that is held on to; None if the kind needs none
        :param seed: of the minibatches of remembered states
        :raises UsageError: when it is missing or does not fit
        """
        self._take(RETENTION_KINDS[self.kind].penalty.begin(self.model, memory, seed))

    def state(self) -> dict[str, Any]:
        """Give what resuming needs; the policy that is held on to need not be read again."""
        assert self._penalty is not None
        return {"kind": self.kind, "penalty": self._penalty.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        assert state["kind"] == self.kind
        self._take(state["penalty"])

    def _take(self, state: Mapping[str, Any]) -> None:
        self._penalty = RETENTION_KINDS[self.kind].penalty(self.model, state)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Take part in the updates for a while; in the end nothing is left behind."""
        self.attach()
        try:
            yield
        finally:
            self.detach()

    def attach(self) -> None:
        """Take part in the updates from now on."""
        assert self._penalty is not None, "neither begun nor restored"
        self._loss.attach()

    def detach(self) -> None:
        """Take part no more."""
        self._loss.detach()

    def _backward(self, observations: Any) -> None:
        """Add the gradient, and record the coefficient and the mean of the penalty between two rows of the log."""
        coefficient = self.coefficient
        self.model.logger.record("retention/coefficient", coefficient)
        if coefficient == 0:
            return
        assert self._penalty is not None
        penalty = self._penalty(observations)
        if penalty.requires_grad:  # else all that it depends on is frozen
            (coefficient * penalty).backward()
        self.model.logger.record_mean("retention/penalty", penalty.item())
