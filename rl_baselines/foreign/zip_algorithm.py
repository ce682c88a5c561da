"""Which algorithm a model zip of any origin belongs to."""

from collections.abc import Mapping
from typing import Any


def identify_algorithm(fields: Mapping[str, Any]) -> str | None:
    """Tell which algorithm a zip's fields belong to; None where they fit several.

    Policies of most algorithms lie in a module of that name; those that share a policy differ in their fields.
    """
    policy = fields.get("policy_class")
    module = str(policy.get("__module__", "")) if isinstance(policy, dict) else ""
    if ".ars." in module and "full_covariance" in fields:
        return "cma_es"
    for part in ("sac", "dqn", "tqc", "qrdqn", "crossq", "ars"):
        if f".{part}." in module:
            return part
    if ".td3." in module:
        options = fields.get("policy_kwargs")
        has_one_critic = isinstance(options, dict) and options.get("n_critics") == 1
        return "ddpg" if has_one_critic and fields.get("policy_delay") == 1 else "td3"
    if ".recurrent." in module:
        return "ppo_lstm"
    if ".maskable." in module:
        return "maskable_ppo"
    for name, mark in (("trpo", "cg_max_steps"), ("ppo", "n_epochs"), ("a2c", "gae_lambda")):
        if ".common.policies" in module and mark in fields:
            return name
    return None
