"""The losses of state representation learning: one table, each a module that may have heads of its own.

A loss sees its part of the states alone, so that its gradients touch no other. What stands in its docstring is what it
gives, averaged over the n transitions of a minibatch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from state_representation.networks import Encoder, ImageShape, make_decoder
from state_representation.objectives import Objective

USUAL_BATCH = 32


@dataclass(frozen=True)
class Surroundings:
    """What a loss is built for.

    :param objective: its place in the sum
    :param encoder: that learns, which stays what it is
    :param architecture: of the encoder
    :param shape: of a picture as the encoder takes it
    :param n_actions: of discrete actions; None for continuous ones
    :param action_dim: elements of a continuous action
    :param occlusion: share of height and of width that dae covers
    :param beta: weight of the divergence of vae, beside the squared error
    :param inverse_model: ``linear`` or ``mlp``
    """

    objective: Objective
    encoder: Encoder
    architecture: str
    shape: ImageShape
    n_actions: int | None
    action_dim: int
    occlusion: float = 0.5
    beta: float = 1.0
    inverse_model: str = "linear"

    @property
    def action_size(self) -> int:
        """The number of elements of an action as networks take it: one for each choice of a discrete one."""
        return self.n_actions if self.n_actions is not None else self.action_dim


@dataclass(frozen=True)
class Transitions:
    """A minibatch of n transitions, as networks take them.

    :param images: (n, channels, height, width), within [-1, 1]
    :param next_images: those after the action
    :param actions: int64, (n,), or float32, (n, action_dim)
    :param rewards: float32, (n,)
    :param truths: float32, (n, truth_dim), the standardized ground truth of the pictures
    :param views: pictures of the same moments from the second camera; None without one
    """

    images: torch.Tensor
    next_images: torch.Tensor
    actions: torch.Tensor
    rewards: torch.Tensor
    truths: torch.Tensor
    views: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.rewards)


@dataclass(frozen=True)
class Step:
    """A minibatch and what the encoder makes of it.

    :param batch: of n transitions
    :param states: whole ones, (n, state_dim)
    :param next_states: (n, state_dim)
    :param features: below the states, (n, n_features)
    :param encode: gives the whole states of other pictures
    :param rng: draws what is random
    """

    batch: Transitions
    states: torch.Tensor
    next_states: torch.Tensor
    features: torch.Tensor
    encode: Callable[[torch.Tensor], torch.Tensor]
    rng: torch.Generator


class Loss(nn.Module):
    """A row of the table.

    :param around: what it is built for
    """

    default_weight: ClassVar[float] = 1.0
    needs_views: ClassVar[bool] = False
    needs_truth: ClassVar[bool] = False
    needs_discrete: ClassVar[bool] = False

    def __init__(self, around: Surroundings) -> None:
        super().__init__()
        self.part = around.objective.part
        self.n_actions = around.n_actions

    def forward(self, step: Step) -> torch.Tensor:
        """Give the loss, a number."""
        return self._loss(step)

    def _loss(self, step: Step) -> torch.Tensor:
        raise NotImplementedError

    def pair(self, step: Step) -> tuple[torch.Tensor, torch.Tensor]:
        """Give its part of the states, before and after the action."""
        return step.states[:, self.part], step.next_states[:, self.part]

    def action_inputs(self, actions: torch.Tensor) -> torch.Tensor:
        """Give actions as inputs of a network: (n, action_size), discrete ones as one-hot."""
        if self.n_actions is None:
            return actions
        return functional.one_hot(actions, self.n_actions).float()


class Autoencoder(Loss):
    """Mean squared error of the pixels, of picture and next picture."""

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self.decoder = make_decoder(around.architecture, around.shape, around.objective.dim)

    def _loss(self, step: Step) -> torch.Tensor:
        return self.errors(step.batch, *self.pair(step))

    def errors(self, batch: Transitions, states: torch.Tensor, next_states: torch.Tensor) -> torch.Tensor:
        """Give the error of both pictures together."""
        first = functional.mse_loss(self.decoder(states), batch.images)
        return first + functional.mse_loss(self.decoder(next_states), batch.next_images)


class DenoisingAutoencoder(Autoencoder):
    """The same, where the encoder sees pictures with a rectangle covered.

    P. Vincent et al., Extracting and composing robust features with denoising autoencoders, 2008. The rectangle has
    the share `occlusion` of the height and of the width, its place is drawn for each picture, and it is black.
    """

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._occlusion = around.occlusion

    def _loss(self, step: Step) -> torch.Tensor:
        covered = (self.cover(images, step.rng) for images in (step.batch.images, step.batch.next_images))
        states, next_states = (step.encode(images)[:, self.part] for images in covered)
        return self.errors(step.batch, states, next_states)

    def cover(self, images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Give pictures with a black rectangle each."""
        n, _, *size = images.shape
        hidden = torch.ones(n, *size, dtype=torch.bool)
        for axis, length in enumerate(size):
            covered = round(self._occlusion * length)
            starts = torch.randint(0, length - covered + 1, (n, 1), generator=rng)
            places = torch.arange(length)
            along = (places >= starts) & (places < starts + covered)
            hidden &= along[:, :, None] if axis == 0 else along[:, None, :]
        return images.masked_fill(hidden[:, None].to(images.device), -1.0)


class VariationalAutoencoder(Autoencoder):
    """Squared error summed over the pixels + beta x KL(N(state, exp(log variance)) || N(0, 1)).

    D. Kingma and M. Welling, Auto-encoding variational Bayes, 2014; beta of I. Higgins et al., beta-VAE, 2017. The
    state is the mean; the log variance is a linear layer over the features. The S-RL Toolbox's weight of 0.5e-6 is of a
    sum over a batch of 32, here it is of the mean over a batch.
    """

    default_weight = 0.5e-6 * USUAL_BATCH

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self.log_variance = nn.Linear(around.encoder.n_features, around.objective.dim)
        self._beta = around.beta

    def _loss(self, step: Step) -> torch.Tensor:
        mean = step.states[:, self.part]
        log_variance = self.log_variance(step.features)
        noise = torch.randn(mean.shape, generator=step.rng).to(mean.device)
        drawn = mean + (log_variance / 2).exp() * noise
        error = (self.decoder(drawn) - step.batch.images).square().sum() / len(step.batch)
        return error + self._beta * divergence_from_normal(mean, log_variance).mean()


def divergence_from_normal(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Give KL(N(mean, exp(log_variance)) || N(0, 1)), summed over the elements: (n,)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


class Inverse(Loss):
    """What action led from one state to the next: cross-entropy, or mean squared error of a continuous action.

    E. Shelhamer et al., Loss is its own reward, 2017.
    """

    default_weight = 2.0

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        hidden = (128, 128) if around.inverse_model == "mlp" else ()
        self.model = _head(2 * around.objective.dim, around.action_size, hidden)

    def _loss(self, step: Step) -> torch.Tensor:
        found = self.model(torch.cat(self.pair(step), dim=1))
        if self.n_actions is None:
            return functional.mse_loss(found, step.batch.actions)
        return functional.cross_entropy(found, step.batch.actions)


class Forward(Loss):
    """Mean squared error of the next state, whose difference is a linear function of state and action."""

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self.model = nn.Linear(around.objective.dim + around.action_size, around.objective.dim)

    def _loss(self, step: Step) -> torch.Tensor:
        states, next_states = self.pair(step)
        difference = self.model(torch.cat([states, self.action_inputs(step.batch.actions)], dim=1))
        return functional.mse_loss(states + difference, next_states)


class Reward(Loss):
    """Cross-entropy of the sign of the reward, from both states."""

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self.model = _head(2 * around.objective.dim, 3, (16, 16))

    def _loss(self, step: Step) -> torch.Tensor:
        found = self.model(torch.cat(self.pair(step), dim=1))
        return functional.cross_entropy(found, step.batch.rewards.sign().long() + 1)


class Priors(Loss):
    """Four robotic priors, each with weight 1; d is the difference of a state to the next one.

    R. Jonschkowski and O. Brock, Learning state representations with robotic priors, 2015:

    - temporal coherence: mean of |d|^2
    - proportionality: mean of (|d_j| - |d_i|)^2 over pairs of equal actions
    - repeatability: mean of exp(-|s_j - s_i|^2) |d_j - d_i|^2 over pairs of equal actions
    - causality: mean of exp(-|s_j - s_i|^2) over pairs of equal actions and different rewards

    Pairs are those within the minibatch; a prior without any is 0.
    """

    needs_discrete = True

    def _loss(self, step: Step) -> torch.Tensor:
        states, next_states = self.pair(step)
        steps = next_states - states
        first, second = torch.triu_indices(len(states), len(states), 1, device=states.device)
        is_equal = step.batch.actions[first] == step.batch.actions[second]
        first, second = first[is_equal], second[is_equal]
        nearness = (-(states[second] - states[first]).square().sum(dim=1)).exp()
        lengths = steps.square().sum(dim=1).add(1e-12).sqrt()  # of which there is a slope at 0
        is_causal = step.batch.rewards[first] != step.batch.rewards[second]
        parts = (
            steps.square().sum(dim=1),
            (lengths[second] - lengths[first]).square(),
            nearness * (steps[second] - steps[first]).square().sum(dim=1),
            nearness[is_causal],
        )
        return torch.stack([part.sum() / max(1, len(part)) for part in parts]).sum()


class Triplet(Loss):
    """max(0, margin + |a - p|^2 - |a - q|^2): a moment's state from two cameras, and another moment's.

    P. Sermanet et al., Time-contrastive networks, 2018. The other moment is the minibatch's next transition.
    """

    needs_views = True
    margin: ClassVar[float] = 0.2

    def _loss(self, step: Step) -> torch.Tensor:
        assert step.batch.views is not None
        anchors, same = step.states[:, self.part], step.encode(step.batch.views)[:, self.part]
        near = (anchors - same).square().sum(dim=1)
        far = (anchors - anchors.roll(1, dims=0)).square().sum(dim=1)
        return torch.relu(self.margin + near - far).mean()


class Supervised(Loss):
    """Mean squared error of the ground truth, standardized: its part of the state is the prediction."""

    needs_truth = True

    def _loss(self, step: Step) -> torch.Tensor:
        return functional.mse_loss(step.states[:, self.part], step.batch.truths)


LOSSES: dict[str, type[Loss]] = {
    "autoencoder": Autoencoder,
    "dae": DenoisingAutoencoder,
    "vae": VariationalAutoencoder,
    "inverse": Inverse,
    "forward": Forward,
    "reward": Reward,
    "priors": Priors,
    "triplet": Triplet,
    "supervised": Supervised,
}
"""All losses that are descended."""

RANDOM, PCA = "random", "pca"
UNTRAINED = (RANDOM, PCA)
"""Representations that descend no loss: an encoder as it was made, and principal components."""

DEFAULT_WEIGHTS = {**{name: loss.default_weight for name, loss in LOSSES.items()}, **dict.fromkeys(UNTRAINED, 1.0)}


def _head(n_in: int, n_out: int, hidden: tuple[int, ...]) -> nn.Sequential:
    sizes = (n_in, *hidden)
    layers: list[nn.Module] = []
    for before, size in zip(sizes, hidden, strict=False):
        layers += [nn.Linear(before, size), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], n_out))
