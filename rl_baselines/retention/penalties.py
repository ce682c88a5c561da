"""How far a policy has moved away from another one, as penalties that can be differentiated.

Each penalty is built from a nested state of arrays and tensors, which is all that it needs and which `state` gives
back; `begin` makes the first one, from a policy as it is before it is trained on. None draws from the global random
generators.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch.nn.functional import logsigmoid

from rl_baselines.errors import UsageError
from rl_baselines.evaluation import random_states_kept
from rl_baselines.retention.fisher import actor_parameters, fisher_information
from rl_baselines.retention.policy_outputs import (
    BERNOULLI,
    CATEGORICAL,
    DETERMINISTIC,
    SQUASHED_GAUSSIAN,
    OutputKind,
    acting_part,
    action_parameters,
    output_kind,
    policy_input,
    select,
    set_to_act,
    state_values,
)
from rl_baselines.retention.state_memory import StateMemory

MEMORY_BATCH = 64

Parameters = Mapping[str, torch.Tensor]
State = dict[str, Any]


class Penalty(Protocol):
    """A distance to where a policy began; it is zero there."""

    def __init__(self, model: BaseAlgorithm, state: Mapping[str, Any]) -> None: ...

    def __call__(self, observations: Any) -> torch.Tensor:
        """Give the penalty, a number; `observations` are those of the minibatch that the update is about."""

    def state(self) -> State:
        """Give all that it needs."""

    @staticmethod
    def begin(model: BaseAlgorithm, memory: StateMemory | None, seed: int) -> State:
        """Give the state for a policy as it is now."""


def distance(kind: OutputKind, target: Parameters, own: Parameters) -> torch.Tensor:
    """Give the distance between two policies' outputs in each state.

    Of continuous actions it is the squared Euclidean distance of the deterministic actions, after the ``tanh`` where
    there is one: then the pull fades in saturation just as the pull of the critic does, so that the balance of the two
    does not depend on it. The standard deviation is left alone: a divergence would divide by its square, and pull it
    back to where exploration had once ended. Of discrete actions it is the Kullback-Leibler divergence
    KL(target || own), whose gradient is that of the cross entropy, summed over the actions.

    :param target: parameters (n, size), see `OutputKind`
    :param own: the same
    :return: (n,)
    """
    if kind.name == DETERMINISTIC:
        return (own["action"] - target["action"]).square().sum(dim=1)
    if kind.name == CATEGORICAL:
        pairs = zip(*(side["logits"].split(kind.sizes, dim=1) for side in (target, own)), strict=True)
        logs = [(there.log_softmax(dim=1), here.log_softmax(dim=1)) for there, here in pairs]
        return torch.stack([(there.exp() * (there - here)).sum(dim=1) for there, here in logs]).sum(dim=0)
    if kind.name == BERNOULLI:
        ones, zeros = ((logsigmoid(sign * target["logits"]), logsigmoid(sign * own["logits"])) for sign in (1, -1))
        return sum((there.exp() * (there - here)).sum(dim=1) for there, here in (ones, zeros))  # type: ignore[return-value]
    means = target["mean"], own["mean"]
    there, here = map(torch.tanh, means) if kind.name == SQUASHED_GAUSSIAN else means
    return (here - there).square().sum(dim=1)


class MemoryDistance:
    """The mean distance to remembered outputs, on minibatches of remembered states drawn by a generator of its own.

    :param model: what is trained
    :param state: ``observations`` (raw), ``targets`` (see `OutputKind`), ``values`` (None: they do not matter), and
        the state of the ``generator``
    """

    def __init__(self, model: BaseAlgorithm, state: Mapping[str, Any]) -> None:
        self._model, self._policy = model, model.policy
        kind = output_kind(model.policy)
        assert kind is not None
        self._kind = kind
        self._observations = state["observations"]
        self._targets = _on_device(state["targets"], model)
        self._values = None if state["values"] is None else _tensor(state["values"], model)
        self._generator = torch.Generator()
        self._generator.set_state(torch.as_tensor(state["generator"]))

    def __call__(self, observations: Any) -> torch.Tensor:
        """Give the penalty on the next minibatch.

        To the distance of actions, that of the values is added if they matter: the mean squared difference, divided by
        the variance of the remembered ones.
        """
        n_states = len(next(iter(self._targets.values())))
        rows = torch.randint(n_states, (MEMORY_BATCH,), generator=self._generator)
        raw = select(self._observations, rows.numpy())
        inputs = policy_input(self._policy, raw, self._model.get_vec_normalize_env())
        rows = rows.to(self._model.device)
        own = action_parameters(self._policy, inputs)
        penalty = distance(self._kind, {name: part[rows] for name, part in self._targets.items()}, own).mean()
        if self._values is None:
            return penalty
        errors = state_values(self._policy, inputs) - self._values[rows]
        return penalty + errors.square().mean() / (self._values.var(correction=0) + 1e-8)

    def state(self) -> State:
        """Give all that it needs."""
        return {
            "observations": self._observations,
            "targets": self._targets,
            "values": self._values,
            "generator": self._generator.get_state(),
        }

    @staticmethod
    def begin(model: BaseAlgorithm, memory: StateMemory | None, seed: int) -> State:
        """Start from a memory."""
        memory = _fitting(memory, model)
        generator = torch.Generator().manual_seed(seed).get_state()
        targets = dict(memory.parameters)
        return {"observations": memory.observations, "targets": targets, "values": None, "generator": generator}


class MemoryAndValueDistance(MemoryDistance):
    """The same for actions and values."""

    @staticmethod
    def begin(model: BaseAlgorithm, memory: StateMemory | None, seed: int) -> State:
        """Start from a memory, with a policy that has values of its own."""
        assert hasattr(model.policy, "value_net")
        return MemoryDistance.begin(model, memory, seed) | {"values": _fitting(memory, model).values}


class TeacherDistance:
    """The mean distance to a frozen copy of the policy, on the minibatches of the training.

    Both get the same observations, normalized by the training's statistics as they are.

    :param model: what is trained
    :param state: the ``teacher``'s parameters
    """

    def __init__(self, model: BaseAlgorithm, state: Mapping[str, Any]) -> None:
        self._policy: Any = model.policy
        kind = output_kind(model.policy)
        assert kind is not None
        self._kind = kind
        with random_states_kept(model, 0):  # it is initialized at random before it is filled
            self._teacher = _new_actor(model.policy).to(model.device)
        self._teacher.load_state_dict(_on_device(state["teacher"], model))
        self._teacher.set_training_mode(False)
        self._teacher.requires_grad_(False)

    def __call__(self, observations: Any) -> torch.Tensor:
        """Give the penalty on a minibatch."""
        with torch.no_grad():
            target = action_parameters(self._teacher, observations)
        return distance(self._kind, target, action_parameters(self._policy, observations)).mean()

    def state(self) -> State:
        """Give all that it needs."""
        return {"teacher": dict(self._teacher.state_dict())}

    @staticmethod
    def begin(model: BaseAlgorithm, memory: StateMemory | None, seed: int) -> State:
        """Start from the policy as it is."""
        return {"teacher": _copied(acting_part(model.policy).state_dict())}


class StartDistance:
    """Half the squared distance of the actor's parameters to where they began, each with its weight.

    With weights of one it is L2-SP (Li, Grandvalet and Davoine 2018): sum((parameter - start)^2) / 2.

    :param model: what is trained
    :param state: the ``start``, and the ``weights`` (None: one each)
    """

    def __init__(self, model: BaseAlgorithm, state: Mapping[str, Any]) -> None:
        self._parameters = actor_parameters(model.policy)
        self._start = _on_device(state["start"], model)
        self._weights = None if state["weights"] is None else _on_device(state["weights"], model)

    def __call__(self, observations: Any) -> torch.Tensor:
        """Give the penalty."""
        squares = {name: (one - self._start[name]).square() for name, one in self._parameters.items()}
        if self._weights is not None:
            squares = {name: self._weights[name] * square for name, square in squares.items()}
        return torch.stack([square.sum() for square in squares.values()]).sum() / 2

    def state(self) -> State:
        """Give all that it needs."""
        return {"start": self._start, "weights": self._weights}

    @staticmethod
    def begin(model: BaseAlgorithm, memory: StateMemory | None, seed: int) -> State:
        """Start from the parameters as they are."""
        return {"start": _copied(actor_parameters(model.policy)), "weights": None}


class WeightedStartDistance(StartDistance):
    """The same with the Fisher information as weights: elastic weight consolidation (Kirkpatrick et al. 2017)."""

    @staticmethod
    def begin(model: BaseAlgorithm, memory: StateMemory | None, seed: int) -> State:
        """Start from the parameters as they are, weighted by what they decide in the remembered states."""
        weights = fisher_information(model, _fitting(memory, model), seed)
        return StartDistance.begin(model, memory, seed) | {"weights": weights}


def _new_actor(policy: Any) -> Any:
    """Build another actor, or policy without one, of the same shapes."""
    if hasattr(policy, "make_actor"):
        return policy.make_actor()
    arguments = policy._get_constructor_parameters()  # these lack one
    return type(policy)(**arguments, share_features_extractor=policy.share_features_extractor)


def _fitting(memory: StateMemory | None, model: BaseAlgorithm) -> StateMemory:
    """Check that a memory is there and that its states and outputs are those of a model.

    :raises UsageError: naming what differs
    """
    if memory is None:
        raise UsageError("this kind of retention needs the state memory of the source, which has none; take kl or l2sp")
    kind = output_kind(model.policy)
    if memory.kind != kind:
        raise UsageError(f"the state memory holds outputs of kind {memory.kind}, this policy gives {kind}")
    try:
        state = policy_input(model.policy, select(memory.observations, slice(0, 1)), model.get_vec_normalize_env())
        with torch.no_grad(), set_to_act(model.policy):
            own = action_parameters(model.policy, state)
    except (KeyError, ValueError, AssertionError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"the states of the state memory are none of {model.observation_space}: {reason}") from None
    sizes = [{name: part.shape[1] for name, part in side.items()} for side in (memory.parameters, own)]
    if sizes[0] != sizes[1]:
        raise UsageError(f"the state memory holds outputs of sizes {sizes[0]}, this policy gives {sizes[1]}")
    return memory


def _tensor(value: Any, model: BaseAlgorithm) -> torch.Tensor:
    return torch.as_tensor(value, device=model.device)


def _on_device(tensors: Mapping[str, Any], model: BaseAlgorithm) -> dict[str, torch.Tensor]:
    return {name: _tensor(value, model) for name, value in tensors.items()}


def _copied(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in tensors.items()}
