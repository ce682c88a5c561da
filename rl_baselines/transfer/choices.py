"""What a fine-tune loads and how it goes about it, settled before anything is built.

What the user left open is decided here, each with its reason, and written into the configuration, so that a resumed run
need not read the source again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gymnasium.spaces import Space

from rl_baselines.algorithms import find_algorithm
from rl_baselines.config import FineTuningConfig, RunConfig, changed, default_of, flag_of, settings_of, to_flat
from rl_baselines.errors import UsageError
from rl_baselines.representations import check_together
from rl_baselines.resolution import RunPlan, complete
from rl_baselines.sources import Source
from rl_baselines.transfer.inheritance import inherited_layer
from rl_baselines.transfer.parts import parse_parts
from rl_baselines.transfer.residual import widened_net_arch
from rl_baselines.transfer.source_replay import has_replay

WITHOUT_GRADIENTS = ("trpo", "ars", "cma_es", "random_agent")
"""Algorithms that move their policy otherwise than by an optimiser's steps."""
WITHOUT_CRITIC = ("dqn", "qrdqn")
WITHOUT_RETURNS = ("distillation",)
"""Algorithms whose critic learns otherwise than from the policy's returns."""
WITH_BATCH_STATISTICS = ("crossq",)
"""Algorithms whose networks would change while their parameters stand still."""
CHECKED_ELSEWHERE = ("load_rl_model_path", "new_lr")


@dataclass(frozen=True)
class TransferChoices:
    """What is loaded, and why the rest is not.

    :param parts: of the model, see `PARTS`
    :param resets: why a part is not loaded, where that was not the user's choice
    :param replay_reason: why the source's replay buffer is used or not; None where there is none in the algorithm
    :param parent: the configuration that the source was trained with, as far as it tells; None where its environment
        is not known or cannot be built here
    """

    parts: tuple[str, ...]
    resets: Mapping[str, str] = field(default_factory=dict)
    replay_reason: str | None = None
    parent: RunConfig | None = None

    def same_environment(self, config: RunConfig) -> bool:
        """Tell whether a run's environment is the one that the source was trained in."""
        return self.parent is not None and self.parent.environment == config.environment


@dataclass(frozen=True)
class FineTunePlan(RunPlan):
    """The plan of a fine-tune.

    :param choices: what is loaded from its source
    """

    choices: TransferChoices = field(default_factory=lambda: TransferChoices(()))


def check_scratch(config: RunConfig) -> None:
    """Refuse settings of a fine-tune in a run that begins from scratch, and what its algorithm cannot do.

    :raises UsageError: naming the first
    """
    _check_gradients(config)
    for item, _ in settings_of((FineTuningConfig,)):
        value = getattr(config.fine_tuning, item.name)
        if item.name not in CHECKED_ELSEWHERE and value != default_of(item):
            raise UsageError(
                f"{flag_of(item.name)} is of a fine-tune: name what it starts from with --load-rl-model-path"
            )


def settle(plan: RunPlan, source: Source) -> FineTunePlan:
    """Decide what was left open, and write it into the plan.

    :raises UsageError: for what was asked for and cannot be done
    """
    config, environment = plan.config, plan.config.environment
    here = {"env": environment.env, "gym_packages": environment.gym_packages, "algo": config.algorithm.algo}
    inherited: Mapping[str, Any] = inherited_layer(source, here)[0].values
    parent, other_spaces = None, ""
    known = _parent(source)
    if known is not None:
        parent, *spaces = known
        check_together(parent.environment.srl_model_path, environment.srl_model_path, str(source))
        inherited = to_flat(parent)
        other_spaces = _other_spaces(spaces, (plan.observation_space, plan.action_space), parent, config)
    algorithm = config.algorithm.algo
    _check_algorithm(config, algorithm)
    parts, resets = _parts(config, source, inherited)
    replay, reason = _use_of_replay(config, source, inherited, parts, other_spaces)
    if not replay:
        parts = tuple(part for part in parts if part != "replay-buffer")
    choices = TransferChoices(parts, resets, None if find_algorithm(algorithm).on_policy else reason, parent)
    mix = config.fine_tuning.replay_mix
    if config.fine_tuning.retain == "replay" and not find_algorithm(algorithm).on_policy:
        if config.fine_tuning.retain_coef is not None or config.fine_tuning.retain_decay != "constant":
            raise UsageError(
                f"--retain replay of {algorithm} draws a share of each batch from the source's buffer; set it by "
                "--replay-mix, it has no coefficient"
            )
        mix = mix or 0.5
    if config.fine_tuning.residual:
        config = _residual(config, source, parts)
    settled = changed(
        config,
        norm=_norm(config, source, parts, replay),
        critic_warmup=_critic_warmup(config, algorithm, inherited, parts),
        replay_mix=mix,
    )
    return FineTunePlan(**{**vars(plan), "config": settled}, choices=choices)


def _parent(source: Source) -> tuple[RunConfig, Space[Any], Space[Any]] | None:
    """Give the parent's configuration and spaces; None where its environment is not known or cannot be built."""
    try:
        return complete([inherited_layer(source, {})[0]])
    except UsageError:
        return None


def _other_spaces(theirs: Sequence[Space[Any]], own: Sequence[Space[Any]], parent: RunConfig, config: RunConfig) -> str:
    """Say which spaces are not the parent's; nothing when they are."""
    if parent.environment.num_stack != config.environment.num_stack:
        return "the observations are stacked otherwise here"
    for name, their, mine in zip(("observations", "actions"), theirs, own, strict=True):
        if (their.shape, their.dtype) != (mine.shape, mine.dtype):
            return f"the {name} are other ones here"
    return ""


def _check_gradients(config: RunConfig) -> None:
    """Refuse what an optimiser would have to do, where none moves the policy."""
    algorithm = config.algorithm.algo
    for flag, is_given in (("--freeze", config.fine_tuning.freeze), ("--lr-scale", config.algorithm.lr_scale)):
        if is_given and algorithm in WITHOUT_GRADIENTS:
            raise UsageError(
                f"{flag} does not go with {algorithm}, which moves its policy otherwise than by an optimiser"
            )


def _check_algorithm(config: RunConfig, algorithm: str) -> None:
    settings = config.fine_tuning
    asks_for_warmup = settings.critic_warmup not in ("auto", "off")
    if algorithm in WITH_BATCH_STATISTICS and (settings.freeze or asks_for_warmup):
        flag = "--freeze" if settings.freeze else "--critic-warmup"
        raise UsageError(
            f"{flag} does not go with {algorithm}: the batch statistics of its networks would go on changing"
        )
    _check_gradients(config)
    if asks_for_warmup:
        if not settings.critic_warmup.isdigit():
            raise UsageError(f"--critic-warmup expects auto, off or a number of steps, got {settings.critic_warmup}")
        if algorithm in (*WITHOUT_GRADIENTS, *WITHOUT_CRITIC, *WITHOUT_RETURNS):
            raise UsageError(
                f"--critic-warmup needs a critic that learns from returns, beside a policy; {algorithm} has none such"
            )
    if find_algorithm(algorithm).on_policy:
        asks_for_buffer = bool(settings.load_parts) and "replay-buffer" in parse_parts(settings.load_parts)
        if asks_for_buffer or settings.replay_mix is not None:
            flag = "--load-parts replay-buffer" if asks_for_buffer else "--replay-mix"
            raise UsageError(f"{flag} needs an off-policy algorithm, {algorithm} has no replay buffer")


def _parts(config: RunConfig, source: Source, inherited: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, str]]:
    settings, resets = config.fine_tuning, dict[str, str]()
    parts = parse_parts(settings.load_parts)
    if settings.load_parts:
        _check_there(source, parts)
        parts = _with_optimizer_only_of_networks(parts)
    else:
        changes = value_changes(config, inherited)
        if changes and config.algorithm.algo not in WITHOUT_CRITIC:
            resets["critic"] = f"it would foretell other returns: {'; '.join(changes)}"
        if source.algorithm != config.algorithm.algo and source.algorithm in WITHOUT_RETURNS:
            resets["optimizer"] = f"its moments are of the loss of {source.algorithm}"
            if not source.fields.get("value_coef"):
                resets["critic"] = "the student has learnt no values"
    if settings.reset_optimizer:
        if settings.load_parts and "optimizer" in parts:
            raise UsageError("--reset-optimizer and --load-parts optimizer contradict each other; give one of them")
        resets["optimizer"] = "--reset-optimizer"
    return tuple(part for part in parts if part not in resets), resets


def _residual(config: RunConfig, source: Source, parts: tuple[str, ...]) -> RunConfig:
    """Give the configuration with room for a correction in the actor's network."""
    if "policy" not in parts:
        raise UsageError("--residual corrects the loaded policy: load the part policy")
    net_arch = widened_net_arch(config.algorithm.algo, source.content.parameters["policy"])
    return changed(config, policy_kwargs={**config.algorithm.policy_kwargs, "net_arch": net_arch})


def _with_optimizer_only_of_networks(parts: tuple[str, ...]) -> tuple[str, ...]:
    if not {"policy", "critic", "features", "entropy"} & set(parts):
        raise UsageError(f"--load-parts {','.join(parts)} loads no parameters: name policy, critic or features too")
    return parts


def _check_there(source: Source, parts: tuple[str, ...]) -> None:
    """Refuse a part that was asked for by name and is not in the source."""
    content = source.content
    has = {
        "optimizer": any(name.endswith("optimizer") for name in content.parameters),
        "normalizer": source.statistics is not None,
        "replay-buffer": has_replay(source),
        "entropy": bool({"log_ent_coef", "ent_coef_tensor"} & content.variables.keys()),
    }
    for part in parts:
        if not has.get(part, True):
            raise UsageError(f"--load-parts {part}: {source} has none; leave it out")


def value_changes(config: RunConfig, inherited: Mapping[str, Any]) -> list[str]:
    """Say in words what makes the returns of this run other ones than those of its parent."""
    changes = []
    before, now = inherited.get("hyperparam", {}).get("gamma"), config.algorithm.hyperparam.get("gamma")
    if before is not None and now is not None and float(before) != float(now):
        changes.append(f"gamma was {before:g}, here {now:g}")
    if bool(inherited.get("norm_reward", False)) != config.vector.norm_reward:
        changes.append(f"rewards are {'normalized' if config.vector.norm_reward else 'not normalized'} here")
    own, theirs = config.environment.env_kwargs, inherited.get("env_kwargs", {})
    if inherited.get("env") == config.environment.env and bool(own.get("shape_reward")) != bool(
        theirs.get("shape_reward")
    ):
        changes.append(f"the reward is {'shaped' if own.get('shape_reward') else 'sparse'} here")
    return changes


def _is_another_env(config: RunConfig, inherited: Mapping[str, Any]) -> bool:
    return inherited.get("env") not in (None, config.environment.env)


def _use_of_replay(
    config: RunConfig, source: Source, inherited: Mapping[str, Any], parts: tuple[str, ...], other_spaces: str
) -> tuple[bool, str]:
    """Tell whether the source's replay buffer is used, and why (not)."""
    settings = config.fine_tuning
    wanted = bool(settings.load_parts) or settings.replay_mix is not None or settings.retain == "replay"
    if find_algorithm(config.algorithm.algo).on_policy:
        return False, "on-policy"
    if not has_replay(source):
        if settings.replay_mix is not None or settings.retain == "replay":
            flag = "--replay-mix" if settings.replay_mix is not None else "--retain replay"
            raise UsageError(f"{flag} needs a replay buffer, and {source} has none")
        return False, "the source has none: the loaded policy fills it"
    if "replay-buffer" not in parts and settings.replay_mix is None and settings.retain != "replay":
        return False, "not among --load-parts: the loaded policy fills it"
    if other_spaces and not wanted:
        return False, f"{other_spaces}: the loaded policy fills a new one"
    changes = [change for change in value_changes(config, inherited) if "gamma" not in change]
    if _is_another_env(config, inherited):
        changes.append(f"the source's is of {inherited['env']}")
    if changes and not wanted:
        return False, f"its rewards may be other ones ({'; '.join(changes)}): the loaded policy fills a new one"
    return True, "from the source"


def _norm(config: RunConfig, source: Source, parts: tuple[str, ...], uses_replay: bool) -> str | None:
    asked = config.fine_tuning.norm
    if not (config.vector.norm_obs or config.vector.norm_reward):
        if asked is not None:
            raise UsageError(f"--norm {asked}: this run normalizes nothing (--norm-obs, --norm-reward)")
        return None
    if source.statistics is None:
        if asked in ("keep", "freeze", "adapt"):
            raise UsageError(f"--norm {asked}: {source} has no normalization statistics; leave it out, or take fresh")
        return "fresh"
    if "normalizer" not in parts:
        if asked in ("keep", "freeze", "adapt"):
            raise UsageError(f"--norm {asked} needs the part normalizer among --load-parts")
        return "fresh"
    holds_on = uses_replay or config.fine_tuning.retain != "none"  # moving statistics would move what is held on to
    return asked or ("freeze" if holds_on else "adapt")


def _critic_warmup(config: RunConfig, algorithm: str, inherited: Mapping[str, Any], parts: tuple[str, ...]) -> str:
    """Give ``off``, a number of timesteps, or ``auto`` where an automatic warm-up takes place."""
    asked = config.fine_tuning.critic_warmup
    if asked != "auto":
        return asked
    unable = (*WITHOUT_GRADIENTS, *WITHOUT_CRITIC, *WITHOUT_RETURNS, *WITH_BATCH_STATISTICS)
    able = algorithm not in unable and "policy" in parts
    return "auto" if able and ("critic" not in parts or _is_another_env(config, inherited)) else "off"
