"""What a student shall do in a state, and how far it is from that.

What teachers of different kinds do becomes one of three targets; see `OutputKind` for their parameters.

==================== ============= ===================================================================================
teacher              target        loss of a state
==================== ============= ===================================================================================
categorical          categorical   KL(softmax(z / T) || softmax(student's logits)), summed over the actions
q_values             categorical   the same with Q values as logits z
gaussian             gaussian      KL(N(mean, T * std^2) || the student's), both diagonal
squashed_gaussian    deterministic squared distance of the student's mean to tanh(mean), in units in which actions
                                   reach from -1 to 1
deterministic        deterministic the same with the teacher's action
==================== ============= ===================================================================================

The temperature T means the same in the first three: the target is the teacher's distribution to the power 1 / T,
normalized. T below 1 sharpens it; T = 1 leaves it as it is. A squashed distribution has no counterpart among the
student's, which is a Gaussian, so that its most likely action alone is learnt, as is a deterministic teacher's.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from rl_baselines.errors import UsageError
from rl_baselines.retention.penalties import distance
from rl_baselines.retention.policy_outputs import (
    CATEGORICAL,
    DETERMINISTIC,
    GAUSSIAN,
    Q_VALUES,
    SQUASHED_GAUSSIAN,
    OutputKind,
    distribution_parameters,
)

DEFAULT_TEMPERATURES = {CATEGORICAL: 0.1, GAUSSIAN: 1.0}
"""By the kind of target. Sharpened choices let a student of few samples agree with its teacher; a sharpened Gaussian
would only take away what exploration there is."""

Parameters = Mapping[str, torch.Tensor]


def target_of(teacher: OutputKind, action_space: spaces.Space[Any]) -> OutputKind:
    """Give the kind of target that a teacher's outputs become.

    :param action_space: of the student
    :raises UsageError: when the student's actions are of another kind
    """
    if isinstance(action_space, spaces.Discrete):
        own = OutputKind(CATEGORICAL, (int(action_space.n),))
    elif isinstance(action_space, spaces.MultiDiscrete):
        own = OutputKind(CATEGORICAL, tuple(int(size) for size in action_space.nvec))
    else:
        own = OutputKind(GAUSSIAN)
    if teacher.name == Q_VALUES and len(own.sizes) == 1:
        return own
    if own.name == GAUSSIAN and teacher.name in (SQUASHED_GAUSSIAN, DETERMINISTIC):
        return OutputKind(DETERMINISTIC)
    if teacher != own:
        raise UsageError(f"a {_named(teacher)} teacher cannot teach a student whose actions are {action_space}")
    return own


def _named(kind: OutputKind) -> str:
    return f"{kind.name} {kind.sizes}" if kind.sizes else kind.name


def target_parameters(teacher: OutputKind, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give the parameters of the target that a teacher's outputs become, before any temperature.

    :param outputs: (n, size) each, see `OutputKind`
    :return: float32, (n, size) each
    """
    named = {name: np.asarray(values, dtype=np.float32) for name, values in outputs.items()}
    if teacher.name == Q_VALUES:
        return {"logits": named["q_values"]}
    if teacher.name == SQUASHED_GAUSSIAN:
        return {"action": np.tanh(named["mean"])}
    return named


def settled_temperature(kind: OutputKind, temperature: float | None) -> float | None:
    """Give the temperature of a kind of target: the one asked for, or else its default.

    :raises UsageError: when it is no positive number, or when the targets have none
    """
    if temperature is None:
        return DEFAULT_TEMPERATURES.get(kind.name)
    if kind.name not in DEFAULT_TEMPERATURES:
        raise UsageError(
            "hyperparameter temperature: these teachers' actions are learnt without a distribution, so that there is "
            "nothing to sharpen; leave it out"
        )
    if not 0 < temperature < math.inf:
        raise UsageError(f"hyperparameter temperature must be a positive number, got {temperature:g}")
    return temperature


def tempered(kind: OutputKind, target: Parameters, temperature: float | None) -> Parameters:
    """Give the target to the power 1 / T, normalized.

    :param target: (n, size) each
    :param temperature: as `settled_temperature` gives it
    """
    if temperature is None:
        return target
    if kind.name == CATEGORICAL:
        return {"logits": target["logits"] / temperature}
    return {"mean": target["mean"], "log_std": target["log_std"] + 0.5 * math.log(temperature)}


def losses(kind: OutputKind, target: Parameters, own: Parameters) -> torch.Tensor:
    """Give the loss of each state.

    :param target: tempered, (n, size) each
    :param own: the student's parameters; of deterministic targets its action, in [-1, 1] where the target is
    :return: (n,)
    """
    if kind.name != GAUSSIAN:
        return distance(kind, target, own)
    ratio = (2 * (target["log_std"] - own["log_std"])).exp()
    gap = (target["mean"] - own["mean"]).square() / (2 * own["log_std"]).exp()
    return (0.5 * (ratio + gap - 1) + own["log_std"] - target["log_std"]).sum(dim=1)


def student_outputs(
    policy: Any, observations: Any, kind: OutputKind, action_space: spaces.Space[Any]
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Give what a student does, in the form of its targets, and the values it gives to the states.

    :param policy: an actor-critic policy of Stable-Baselines3
    :param observations: tensors, n states
    :param kind: of the targets
    :return: parameters (n, size) each, and values (n,)
    """
    features = policy.extract_features(observations)
    if policy.share_features_extractor:
        latent_pi, latent_vf = policy.mlp_extractor(features)
    else:
        latent_pi = policy.mlp_extractor.forward_actor(features[0])
        latent_vf = policy.mlp_extractor.forward_critic(features[1])
    own = distribution_parameters(policy._get_action_dist_from_latent(latent_pi))
    if kind.name == DETERMINISTIC:
        own = {"action": scaled(own["mean"], action_space)}
    return own, policy.value_net(latent_vf).flatten()


def scaled(actions: torch.Tensor, space: spaces.Space[Any]) -> torch.Tensor:
    """Give actions in units in which the bounds of their space are -1 and 1.

    :param actions: (n, size)
    """
    assert isinstance(space, spaces.Box)
    low, high = (torch.as_tensor(bound.ravel(), device=actions.device) for bound in (space.low, space.high))
    return 2 * (actions - low) / (high - low) - 1


def agreement(kind: OutputKind, target: Parameters, own: Parameters) -> torch.Tensor:
    """Tell in which states the student's likeliest action is the teacher's: bool, (n,).

    :param kind: categorical
    """
    pairs = zip(*(side["logits"].split(kind.sizes, dim=1) for side in (target, own)), strict=True)
    return torch.stack([there.argmax(dim=1) == here.argmax(dim=1) for there, here in pairs]).all(dim=0)


def action_gaps(kind: OutputKind, target: Parameters, own: Parameters) -> torch.Tensor:
    """Give the mean squared gap between the elements of the two deterministic actions: (n,).

    :param kind: gaussian (in units of the action space) or deterministic (of which the bounds are -1 and 1)
    """
    name = "mean" if kind.name == GAUSSIAN else "action"
    return (target[name] - own[name]).square().mean(dim=1)
