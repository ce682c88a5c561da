"""What older versions of Stable-Baselines3 wrote otherwise, brought to the names of today."""

import re
from collections.abc import Mapping
from typing import Any

import torch

from rl_baselines.errors import UsageError

SHARED_LAYERS = "mlp_extractor.shared_net."
_TARGETS = ("q_net_target.", "quantile_net_target.")


def modern_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Give a zip's state dictionaries under the names of today.

    Before 1.7, actor and critic had one features extractor with one name. Before 2.4, the optimiser of DQN and QR-DQN
    listed the parameters of the target network too.
    """
    modern = dict(parameters)
    modern["policy"] = _with_both_extractors(modern["policy"])
    if "policy.optimizer" in modern:
        modern["policy.optimizer"] = _without_targets(modern["policy.optimizer"], modern["policy"])
    return modern


def _with_both_extractors(policy: Mapping[str, Any]) -> Mapping[str, Any]:
    names = [name for name in policy if name.startswith("features_extractor.")]
    is_actor_critic = any(name.startswith(("mlp_extractor.", "value_net.")) for name in policy)
    if not names or not is_actor_critic or any(name.startswith("pi_features_extractor.") for name in policy):
        return policy
    return {**policy, **{f"{part}_{name}": policy[name] for name in names for part in ("pi", "vf")}}


def _without_targets(optimizer: Any, policy: Mapping[str, Any]) -> Any:
    n_targets = sum(name.startswith(_TARGETS) for name in policy)
    groups = optimizer.get("param_groups") or [{}]
    numbers = groups[0].get("params", [])
    if not n_targets or len(groups) != 1 or len(numbers) != 2 * n_targets:
        return optimizer
    kept = numbers[:n_targets]
    state = {number: moments for number, moments in optimizer["state"].items() if number in kept}
    return {**optimizer, "state": state, "param_groups": [{**groups[0], "params": kept}]}


def modern_net_arch(net_arch: Any, policy: Mapping[str, Any], where: str) -> Any:
    """Give layer sizes as they are written today.

    :param policy: the policy's parameters
    :raises UsageError: for layers that actor and critic share, which there are no more
    """
    if any(name.startswith(SHARED_LAYERS) for name in policy):
        raise UsageError(
            f"{where} has layers that actor and critic share (net_arch {net_arch}), which Stable-Baselines3 no longer "
            "has since 1.8: it cannot be loaded, train a new model or take another source"
        )
    if isinstance(net_arch, list) and len(net_arch) == 1 and isinstance(net_arch[0], Mapping):
        return {part: list(net_arch[0].get(part, ())) for part in ("pi", "vf")}
    return net_arch


def told_by_parameters(version: str, algo: str, policy: Mapping[str, Any]) -> dict[str, Any]:
    """Give the policy options of an off-policy zip that had another default when it was written.

    Before 1.6, actor and critic of SAC, TD3, DDPG and TQC shared the features extractor, and no layers followed a
    convolutional one.
    """
    number = re.match(r"(\d+)\.(\d+)", version)
    if algo not in ("sac", "td3", "ddpg", "tqc") or number is None or tuple(map(int, number.groups())) >= (1, 6):
        return {}
    extractor = [name for name in policy if name.startswith("actor.features_extractor.")]
    if not extractor:
        return {}
    others = [policy.get(name.replace("actor.", "critic.", 1)) for name in extractor]
    shared = all(
        other is not None and torch.equal(policy[name], other) for name, other in zip(extractor, others, strict=True)
    )
    layers = [name for name in policy if re.fullmatch(r"actor\.latent_pi\.\d+\.weight", name)]
    has_layers = bool(layers) or "actor.mu.2.weight" in policy
    return {"share_features_extractor": shared} | ({} if has_layers else {"net_arch": []})


def check_goal_wrapper(fields: Mapping[str, Any], where: str) -> None:
    """Refuse a model of the HER class of Stable-Baselines3 1.0, which was no buffer but an algorithm of its own.

    :raises UsageError: for such a model
    """
    if {"n_sampled_goal", "goal_selection_strategy", "max_episode_length"} <= fields.keys():
        raise UsageError(
            f"{where} was saved by the HER class of Stable-Baselines3 1.0, whose policy observes the goal as a part of "
            "one vector; policies of later versions observe a dictionary: take a model of version 1.1 or newer"
        )
