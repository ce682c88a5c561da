"""What a fine-tune takes from its source and what it does with it: printed before training and stored as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from rl_baselines.config import RunConfig
from rl_baselines.evaluation import EvaluationResult
from rl_baselines.retention.retention import Retention
from rl_baselines.transfer.freezing import EXPLAINED_VARIANCE, Freezing
from rl_baselines.transfer.networks import Row

SHIFT_SHOWN = 1.0
"""Standard deviations of the parent's observations by which a feature's mean must have moved to be shown."""
SCALE_SHOWN = 2.0
"""Factor by which a feature's standard deviation must have changed to be shown."""
COLLAPSED_STD = 0.2


@dataclass(frozen=True)
class FeatureShift:
    """How one element of the observation differs between the parent's environment and the new one.

    :param name: of the element
    :param old_mean: over the parent's observations
    :param old_std: likewise
    :param new_mean: over what the loaded policy observes in the new environment
    :param new_std: likewise
    """

    name: str
    old_mean: float
    old_std: float
    new_mean: float
    new_std: float

    @property
    def shift(self) -> float:
        """How far the mean has moved, in standard deviations of the parent's observations."""
        return abs(self.new_mean - self.old_mean) / max(self.old_std, 1e-8)

    @property
    def is_large(self) -> bool:
        """Whether it is worth a word."""
        ratio = max(self.new_std, 1e-8) / max(self.old_std, 1e-8)
        return self.shift > SHIFT_SHOWN or not 1 / SCALE_SHOWN <= ratio <= SCALE_SHOWN


def feature_shifts(
    names: Sequence[str], old_mean: np.ndarray, old_var: np.ndarray, observations: np.ndarray
) -> list[FeatureShift]:
    """Compare observations with the statistics of the parent's.

    :param old_mean: (n,)
    :param old_var: (n,)
    :param observations: raw, (m, n)
    """
    new_mean, new_std, old_std = observations.mean(axis=0), observations.std(axis=0), np.sqrt(old_var)
    columns = zip(names, old_mean.tolist(), old_std.tolist(), new_mean.tolist(), new_std.tolist(), strict=True)
    return [FeatureShift(*column) for column in columns]


@dataclass
class TransferPlan:
    """What is loaded, reset, padded, frozen, left out, each with its reason, and what the policy is worth before.

    :param rows: component, fate, reason
    :param zero_shot: the loaded policy's evaluations, by the name of the environment
    :param shifts: of every feature, where the two environments differ and the parent's statistics are known
    :param advice: what measured facts suggest
    """

    rows: list[Row]
    zero_shot: dict[str, EvaluationResult] = field(default_factory=dict)
    shifts: list[FeatureShift] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    def to_json(self, learning_rates: Mapping[str, float], rule: str) -> dict[str, Any]:
        """Give all of it in a form that JSON can hold.

        :param learning_rates: of the first update and at shares of the run
        :param rule: which decided it
        """
        return {
            "components": [dict(zip(("component", "fate", "reason"), row, strict=True)) for row in self.rows],
            "learning_rate": {"rates": dict(learning_rates), "rule": rule},
            "zero_shot": {name: result.summary() for name, result in self.zero_shot.items()},
            "shifts": [{**asdict(shift), "shift": shift.shift} for shift in self.shifts],
            "advice": self.advice,
        }


def training_rows(config: RunConfig, freezing: Freezing | None, retention: Retention | None) -> list[Row]:
    """Say what of the loaded model is trained, when and how fast, where that is not all of it alike."""
    rows = []
    if freezing is not None and freezing.names:
        until = "to the end" if freezing.until is None else f"until step {freezing.until:,}"
        rows.append(("frozen", "frozen", f"{until}: {_listed(freezing.names)}"))
    if freezing is not None and freezing.warm_up is not None:
        until = f"until step {freezing.warm_up.until:,}"
        if freezing.warm_up.by_variance:
            until += f" at the latest, or until it explains {100 * EXPLAINED_VARIANCE:g} % of the returns' variance"
        rows.append(("critic warm-up", "frozen", f"only the critic is trained {until}"))
    if config.fine_tuning.residual:
        rows.append(("residual", "frozen", "the loaded policy; a correction of the same size is added, zero at first"))
    if config.algorithm.lr_scale:
        factors = ", ".join(f"{part} at {factor:g} times" for part, factor in config.algorithm.lr_scale.items())
        rows.append(("learning rates", "scaled", f"{factors} the rate"))
    if retention is not None:
        rows.append(("retention", retention.kind, f"coefficient {retention.initial_coefficient:g}, {retention.decay}"))
    return rows


def _listed(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def advise(
    config: RunConfig, model: BaseAlgorithm, is_worse: bool, has_replay: bool, has_default_rate: bool
) -> list[str]:
    """Say what measured facts suggest for this fine-tune.

    :param is_worse: whether it is clearly worse here than in its own environment, or fails in most episodes
    :param has_replay: whether the source's replay buffer is used
    :param has_default_rate: whether nobody asked for the learning rate
    """
    advice = []
    if is_worse and has_default_rate:
        advice.append(
            "the policy does badly here, and the default learning rate, one hundredth of the ancestor's, makes for "
            "small changes: --new-lr with a rate nearer to the ancestor's learns sooner where much is to be learnt anew"
        )
    std = _independent_std(model)
    if std is not None and std < COLLAPSED_STD and is_worse and not config.fine_tuning.reset_std:
        advice.append(
            f"the policy hardly explores any more (standard deviation {std:.2g}) and does badly here: --reset-std lets "
            "it explore anew"
        )
    if isinstance(model, OffPolicyAlgorithm) and not has_replay:
        advice.append(
            "training begins without a replay buffer: expect the score to dip at first; a whole checkpoint of ours, "
            "such as RUN@last, brings its buffer along"
        )
    return advice


def _independent_std(model: BaseAlgorithm) -> float | None:
    """Give the mean standard deviation of a Gaussian policy whose spread does not depend on the state."""
    log_std = getattr(model.policy, "log_std", None)
    if not isinstance(log_std, torch.nn.Parameter) or getattr(model, "use_sde", False):
        return None
    return float(log_std.detach().exp().mean())
