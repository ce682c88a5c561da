"""Weights and optimiser states of a source put into a new model, by name and shape, and what became of each part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import recursive_setattr

from rl_baselines.errors import UsageError
from rl_baselines.model_zip import ModelZip
from rl_baselines.transfer.parts import NETWORK_PARTS, optimized_names, optimizers_of, part_of


class Layout(Protocol):
    """How tensors of a source lie in a model for other spaces, or with another network."""

    def follows(self, name: str) -> bool:
        """Tell whether a tensor has another layout than the source's."""

    def keeps_moments(self, name: str) -> bool:
        """Tell whether an optimiser's moments of a parameter may be taken over."""

    def lay_out(self, name: str, tensor: torch.Tensor, initial: torch.Tensor) -> torch.Tensor | None:
        """Give a tensor of the source in the layout of the model; None where it does not fit."""


Row = tuple[str, str, str]  # component, fate, reason

ENTROPY_VARIABLES = ("log_ent_coef", "ent_coef_tensor")


@dataclass
class Matches:
    """What became of the tensors of a model when a source was loaded.

    :param loaded: same shape, taken as they are
    :param padded: laid out for other spaces or another network
    :param left_out: kept as initialised because their part was not asked for
    :param missing: in the model, not in the source
    :param misshapen: of another shape: the one there and the one here
    :param unexpected: in the source, not in the model
    """

    loaded: list[str] = field(default_factory=list)
    padded: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    misshapen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)

    def rows(self, resets: Mapping[str, str]) -> list[Row]:
        """Say by part of the network what became of it.

        :param resets: why a part was not asked for, where it was not the user's choice
        """
        rows = []
        for part in NETWORK_PARTS:
            loaded, padded, left = (
                [name for name in names if part_of(name) == part] for names in (self.loaded, self.padded, self.left_out)
            )
            if loaded or padded:
                words = f"{len(loaded) + len(padded)} tensors"
                rows.append((part, "padded" if padded else "loaded", words + _padded_words(padded)))
            elif left:
                rows.append((part, "reset", resets.get(part, "not among --load-parts")))
        return rows


def _padded_words(names: Sequence[str]) -> str:
    return f", {', '.join(names)} laid out anew" if names else ""


def load_networks(
    model: BaseAlgorithm, source: ModelZip, parts: Sequence[str], layout: Layout | None = None
) -> Matches:
    """Put the networks of a source into a model.

    :param parts: those to load; the others keep what the initialiser gave
    :param layout: of tensors that lie otherwise here; None: all lie as they do there
    :raises UsageError: when a tensor of these parts is missing or of another shape, or when nothing at all is loaded
    """
    own, theirs = model.policy.state_dict(), source.parameters["policy"]
    matches = Matches(unexpected=[name for name in theirs if name not in own and part_of(name) in parts])
    merged = dict(own)
    for name, tensor in own.items():
        if part_of(name) not in parts:
            matches.left_out.append(name)
        elif name not in theirs:
            matches.missing.append(name)
        elif layout is not None and layout.follows(name):
            laid_out = layout.lay_out(name, theirs[name], tensor)
            if laid_out is None:
                matches.misshapen[name] = tuple(theirs[name].shape), tuple(tensor.shape)
            else:
                merged[name] = laid_out
                matches.padded.append(name)
        elif theirs[name].shape != tensor.shape:
            matches.misshapen[name] = tuple(theirs[name].shape), tuple(tensor.shape)
        else:
            merged[name] = theirs[name]
            matches.loaded.append(name)
    _check(matches, source)
    model.policy.load_state_dict(merged)
    if hasattr(model, "weights"):  # ARS keeps its parameters as one vector besides the policy's
        model.weights = torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()
    return matches


def _check(matches: Matches, source: ModelZip) -> None:
    """Refuse what does not fit.

    :raises UsageError: naming the first tensor that differs, its shape there and here, and how many do
    """
    for name, (there, here) in matches.misshapen.items():
        raise UsageError(
            f"the {part_of(name)} of {source.path} does not fit: {name} has shape {there} in the source and {here} in "
            f"this run{_counted(matches)}; the observation space, the action space or the policy options (net_arch) "
            "differ"
        )
    for name in (*matches.missing, *matches.unexpected):
        where = "in this run but not in the source" if name in matches.missing else "in the source but not in this run"
        raise UsageError(
            f"the {part_of(name)} of {source.path} does not fit: {name} is {where}{_counted(matches)}; the networks "
            "differ (net_arch, or the kind of policy)"
        )
    if not matches.loaded and not matches.padded:
        raise UsageError(f"nothing of {source.path} would be loaded: it has no parameters of the parts asked for")


def _counted(matches: Matches) -> str:
    n_others = len(matches.misshapen) + len(matches.missing) + len(matches.unexpected) - 1
    return f", and {n_others} more" if n_others else ""


def load_optimizers(
    model: BaseAlgorithm, source: ModelZip, matches: Matches, layout: Layout | None = None
) -> list[Row]:
    """Put the moments of a source's optimisers into a model's, for every parameter that was loaded.

    Their options are taken over too, but for the learning rate, which the run's schedule sets.

    :return: what became of each optimiser
    """
    fitting = {*matches.loaded, *matches.padded}
    rows: list[Row] = []
    for name, optimizer in optimizers_of(model).items():
        saved = source.parameters.get(name)
        if name == "ent_coef_optimizer" or saved is None:
            continue
        try:
            rows.append((name, *_load_optimizer(model, optimizer, saved, fitting, layout)))
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise UsageError(
                f"the state of {name} in {source.path} cannot be read ({reason}): leave it out with --reset-optimizer"
            ) from None
    return rows or [("optimizer", "reset", "the source has none")]


def _load_optimizer(
    model: BaseAlgorithm,
    optimizer: torch.optim.Optimizer,
    saved: Mapping[str, Any],
    fitting: set[str],
    layout: Layout | None,
) -> tuple[str, str]:
    """Load one optimiser, and give its fate and the reason."""
    names = optimized_names(model, optimizer)
    ids = [index for group in saved["param_groups"] for index in group["params"]]
    if len(ids) != len(names):
        return "reset", f"the source's has {len(ids)} parameters, this one {len(names)}"
    state = _matched_moments(optimizer, saved["state"], dict(zip(names, ids, strict=True)), fitting, layout)
    options = [
        {**own, **{key: value for key, value in theirs.items() if key in own and key not in ("params", "lr")}}
        for own, theirs in zip(optimizer.state_dict()["param_groups"], saved["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({"state": state, "param_groups": options})
    return "loaded" if state else "reset", f"moments of {len(state)} of {len(names)} parameters"


def _matched_moments(
    optimizer: torch.optim.Optimizer,
    saved: Mapping[int, Mapping[str, Any]],
    ids: Mapping[str, int],
    fitting: set[str],
    layout: Layout | None,
) -> dict[int, dict[str, Any]]:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {}
    for index, (name, there) in enumerate(ids.items()):
        if name not in fitting or there not in saved or not (layout is None or layout.keeps_moments(name)):
            continue
        moments = dict(saved[there])
        if layout is not None and layout.follows(name):
            empty = torch.zeros_like(parameters[index])
            for key, value in moments.items():
                if torch.is_tensor(value) and value.dim():
                    moments[key] = layout.lay_out(name, value, empty)
        if all(_is_moment_of(parameters[index], value) for value in moments.values()):
            state[index] = moments
    return state


def _is_moment_of(parameter: torch.Tensor, value: Any) -> bool:
    """Tell whether a value fits a parameter: a tensor of its shape, or a number such as the count of steps."""
    return value is not None and (not torch.is_tensor(value) or not value.dim() or value.shape == parameter.shape)


def load_entropy(model: BaseAlgorithm, source: ModelZip) -> list[Row]:
    """Put the entropy coefficient that SAC and its kin have learnt, and its optimiser, into a model that has one."""
    own = [name for name in model._get_torch_save_params()[1] if name in ENTROPY_VARIABLES]
    if not own:
        return []
    found = [name for name in own if name in source.variables]
    if not found:
        return [("entropy", "reset", "the source has no coefficient of this kind")]
    for name in found:
        recursive_setattr(model, f"{name}.data", source.variables[name].data.to(model.device))
    optimizer = optimizers_of(model).get("ent_coef_optimizer")
    if optimizer is not None and "ent_coef_optimizer" in source.parameters:
        optimizer.load_state_dict(source.parameters["ent_coef_optimizer"])
    learnt = source.variables[found[0]].detach()
    value = float(learnt.exp() if found[0] == "log_ent_coef" else learnt)
    return [("entropy", "loaded", f"coefficient {value:.3g}")]


def reset_std(model: BaseAlgorithm) -> Row:
    """Let exploration start anew: the policy's standard deviation as the initialiser has it, its moments forgotten.

    :raises UsageError: for a policy that has no standard deviation of its own
    """
    owner: Any = model.policy if hasattr(model.policy, "log_std") else getattr(model.policy, "actor", None)
    parameter = getattr(owner, "log_std", None)
    if not isinstance(parameter, torch.nn.Parameter):
        raise UsageError(
            f"--reset-std needs a policy with a standard deviation of its own (continuous actions of ppo, a2c, trpo, "
            f"ppo_lstm, or use_sde); {type(model).__name__} here has none: set --ent-coef to explore more"
        )
    before = float(parameter.detach().exp().mean())
    with torch.no_grad():
        parameter.fill_(owner.log_std_init)
    for optimizer in optimizers_of(model).values():
        optimizer.state.pop(parameter, None)
    return "std", "reset", f"{before:.3g} on average in the source, {float(parameter.detach().exp().mean()):.3g} now"
