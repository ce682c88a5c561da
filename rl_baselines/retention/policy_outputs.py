"""What a policy does in given states: the parameters of its action distribution, and the values of the states.

Nothing here draws random numbers, and all of it can be differentiated.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize

GAUSSIAN, SQUASHED_GAUSSIAN, DETERMINISTIC = "gaussian", "squashed_gaussian", "deterministic"
CATEGORICAL, BERNOULLI, Q_VALUES = "categorical", "bernoulli", "q_values"

Observations = np.ndarray | Mapping[str, np.ndarray]


@dataclass(frozen=True)
class OutputKind:
    """What the outputs of a policy are parameters of.

    ========================= ==================== ==================================================================
    name                      parameters           meaning; all are float32, (n, size)
    ========================= ==================== ==================================================================
    gaussian                  mean, log_std        of the action
    squashed_gaussian         mean, log_std        of what ``tanh`` turns into an action in [-1, 1]
    deterministic             action               in [-1, 1]
    categorical               logits               log-probabilities of the choices of one or more actions, joined
    bernoulli                 logits               log-odds of each bit
    q_values                  q_values             expected return of each action
    ========================= ==================== ==================================================================

    :param name: as in the table
    :param sizes: for categorical actions, the number of choices of each
    """

    name: str
    sizes: tuple[int, ...] = ()


def acting_part(policy: Any) -> Any:
    """Give the module that turns observations into actions: an actor beside critics, or the policy itself."""
    return getattr(policy, "actor", policy)


def output_kind(policy: Any) -> OutputKind | None:
    """Tell what the outputs of a policy are.

    None where observations do not decide them, as in a recurrent policy, or where there is no value to go with them,
    as in a policy of ARS.
    """
    acting = acting_part(policy)
    if hasattr(acting, "get_action_dist_params"):
        return OutputKind(SQUASHED_GAUSSIAN)
    if hasattr(acting, "mu"):
        return OutputKind(DETERMINISTIC)
    if hasattr(policy, "q_net") or hasattr(policy, "quantile_net"):
        return OutputKind(Q_VALUES)
    if hasattr(policy, "lstm_actor") or not hasattr(policy, "value_net"):
        return None
    space = policy.action_space
    if isinstance(space, spaces.Box):
        return OutputKind(SQUASHED_GAUSSIAN if policy.squash_output else GAUSSIAN)
    if isinstance(space, spaces.Discrete):
        return OutputKind(CATEGORICAL, (int(space.n),))
    if isinstance(space, spaces.MultiDiscrete):
        return OutputKind(CATEGORICAL, tuple(int(size) for size in space.nvec))
    # A maskable policy can forbid either value of a bit, and has a choice of two for each.
    bits = policy.action_dist
    return OutputKind(CATEGORICAL, tuple(bits.action_dims)) if hasattr(bits, "distributions") else OutputKind(BERNOULLI)


def action_parameters(policy: Any, observations: Any) -> dict[str, torch.Tensor]:
    """Give the parameters of the action distribution; action masks play no part in it.

    :param policy: one that has an `output_kind`, or the actor of one
    :param observations: tensors as `policy_input` gives them, n states
    :return: tensors (n, size), named as in `OutputKind`
    """
    acting = acting_part(policy)
    if hasattr(acting, "get_action_dist_params"):
        mean, log_std, latent = acting.get_action_dist_params(observations)
        if latent:  # exploration that depends on the state has its standard deviation from the latent features
            log_std = acting.action_dist.proba_distribution(mean, log_std, **latent).distribution.stddev.log()
        return {"mean": mean, "log_std": log_std}
    if hasattr(acting, "mu"):  # not by its `forward`, which may be wrapped
        return {"action": acting.mu(acting.extract_features(observations, acting.features_extractor))}
    if hasattr(policy, "q_net"):
        return {"q_values": policy.q_net(observations)}
    if hasattr(policy, "quantile_net"):
        return {"q_values": policy.quantile_net(observations).mean(dim=1)}
    return distribution_parameters(policy.get_distribution(observations))


def distribution_parameters(distribution: Any) -> dict[str, torch.Tensor]:
    """Give the parameters of one of Stable-Baselines3's distributions that is not squashed.

    :param distribution: of n actions
    :return: tensors (n, size), named as in `OutputKind`
    """
    parts = distribution.distributions if hasattr(distribution, "distributions") else distribution.distribution
    if isinstance(parts, list):
        return {"logits": torch.cat([part.logits for part in parts], dim=1)}
    if isinstance(parts, torch.distributions.Normal):
        return {"mean": parts.mean, "log_std": parts.stddev.log()}
    return {"logits": parts.logits}


def state_values(policy: Any, observations: Any) -> torch.Tensor:
    """Give the values of states: V(s), the largest Q value, or the critics' least Q of the deterministic action.

    Critics of quantiles (TQC) give their mean, which is what the actor learns from.

    :param observations: tensors, n states
    :return: float32, (n,)
    """
    if hasattr(policy, "value_net"):
        values: torch.Tensor = policy.predict_values(observations).flatten()
        return values
    parameters = action_parameters(policy, observations)
    if "q_values" in parameters:
        return parameters["q_values"].max(dim=1).values
    actions = parameters["action"] if "action" in parameters else torch.tanh(parameters["mean"])
    critics = policy.critic(observations, actions)
    if isinstance(critics, torch.Tensor):
        return critics.mean(dim=(1, 2))
    return torch.cat(critics, dim=1).min(dim=1).values


def policy_input(policy: Any, observations: Observations, normalizer: VecNormalize | None) -> Any:
    """Turn raw observations into what a policy takes.

    :param observations: as the environment gives them, n states
    :param normalizer: whose statistics, as they are now, normalize them
    """
    plain: Any = dict(observations) if isinstance(observations, Mapping) else observations
    return policy.obs_to_tensor(plain if normalizer is None else normalizer.normalize_obs(plain))[0]


def select(observations: Observations, rows: Any) -> Observations:
    """Give some rows of observations.

    :param rows: a slice or int64 indices
    """
    if isinstance(observations, Mapping):
        return {key: part[rows] for key, part in observations.items()}
    return observations[rows]


@contextmanager
def set_to_act(policy: Any) -> Iterator[None]:
    """Set a policy to act instead of to train, and put back its modes in the end.

    What the action distribution keeps of its latest batch is put back too.
    """
    modes = {module: module.training for module in policy.modules()}
    holders = [module.action_dist for module in modes if hasattr(module, "action_dist")]
    contents = [dict(vars(holder)) for holder in holders]
    policy.set_training_mode(False)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for holder, content in zip(holders, contents, strict=True):
            vars(holder).clear()
            vars(holder).update(content)
