"""The losses of representations against numbers computed by hand, and what of a state each of them touches."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from state_representation.losses import (
    DEFAULT_WEIGHTS,
    LOSSES,
    Autoencoder,
    DenoisingAutoencoder,
    Loss,
    Step,
    Surroundings,
    Transitions,
    VariationalAutoencoder,
    divergence_from_normal,
)
from state_representation.networks import ENCODERS, make_decoder, make_encoder, to_bytes, to_network
from state_representation.objectives import Objective, RepresentationError, parse_objectives

SHAPE = (8, 8, 3)


def surroundings(name: str, start: int = 0, stop: int = 2, **changes: Any) -> Surroundings:
    values: dict[str, Any] = {
        "objective": Objective(name, 1.0, start, stop),
        "encoder": make_encoder("linear", SHAPE, 4),
        "architecture": "linear",
        "shape": SHAPE,
        "n_actions": 2,
        "action_dim": 1,
    }
    return Surroundings(**{**values, **changes})


def a_batch(n: int, **changes: Any) -> Transitions:
    rng = torch.Generator().manual_seed(0)
    pictures = torch.rand(2, n, 3, 8, 8, generator=rng) * 2 - 1
    values: dict[str, Any] = {
        "images": pictures[0],
        "next_images": pictures[1],
        "actions": torch.arange(n) % 2,
        "rewards": torch.zeros(n),
        "truths": torch.zeros(n, 2),
    }
    return Transitions(**{**values, **changes})


def a_step(states: Any, next_states: Any, encode: Any = None, **changes: Any) -> Step:
    first, second = torch.tensor(states), torch.tensor(next_states)
    batch = a_batch(len(first), **changes)
    return Step(batch, first, second, torch.zeros(len(first), 5), encode, torch.Generator().manual_seed(0))


def set_linear(layer: Any, weight: list[list[float]], bias: list[float]) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))


def test_autoencoder_is_the_mean_error_of_both_pictures() -> None:
    """A decoder that gives 0.5 everywhere, of pictures that are 0 and 1: 0.25 each."""
    loss = Autoencoder(surroundings("autoencoder"))
    with torch.no_grad():
        loss.decoder[0].weight.zero_()  # type: ignore[index, union-attr]
        loss.decoder[0].bias.fill_(0.5)  # type: ignore[index, union-attr]
    pictures = {"images": torch.zeros(3, 3, 8, 8), "next_images": torch.ones(3, 3, 8, 8)}
    step = a_step([[0.0, 0.0]] * 3, [[1.0, 1.0]] * 3, **pictures)
    assert loss(step).item() == pytest.approx(0.25 + 0.25)


def test_dae_covers_a_black_rectangle_and_wants_the_whole_picture() -> None:
    loss = DenoisingAutoencoder(surroundings("dae", occlusion=0.5))
    covered = loss.cover(torch.ones(50, 3, 8, 8), torch.Generator().manual_seed(0))
    black = covered == -1
    assert (black.flatten(1).sum(dim=1) == 3 * 4 * 4).all() and (covered[~black] == 1).all()
    assert (black[:, 0] == black[:, 2]).all()
    rows = {int(one.any(dim=1).float().argmax()) for one in black[:, 0]}
    assert rows == {0, 1, 2, 3, 4}
    seen = []

    def encode(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return torch.zeros(len(images), 4)

    with torch.no_grad():
        loss.decoder[0].bias.zero_()  # type: ignore[index, union-attr]
    step = a_step(
        [[9.0] * 4] * 2, [[9.0] * 4] * 2, encode, images=torch.ones(2, 3, 8, 8), next_images=torch.ones(2, 3, 8, 8)
    )
    assert loss(step).item() == pytest.approx(1 + 1)
    assert [int((one == -1).sum()) for one in seen] == [2 * 3 * 16] * 2


def test_vae_is_the_summed_error_and_the_divergence() -> None:
    """KL(N(1, 4) || N(0, 1)) = (1 + 4 - 1 - ln 4) / 2 for each of two elements."""
    mean, log_variance = torch.tensor([[1.0, 1.0]]), torch.full((1, 2), float(np.log(4)))
    by_hand = 2 * (1 + 4 - 1 - np.log(4)) / 2
    assert divergence_from_normal(mean, log_variance).item() == pytest.approx(by_hand)
    encoder = make_encoder("linear", SHAPE, 4)
    encoder.n_features = 5
    loss = VariationalAutoencoder(surroundings("vae", encoder=encoder, beta=3.0))
    with torch.no_grad():
        loss.log_variance.weight.zero_()
        loss.log_variance.bias.fill_(float(np.log(4)))
        loss.decoder[0].weight.zero_()  # type: ignore[index, union-attr]
        loss.decoder[0].bias.fill_(1.0)  # type: ignore[index, union-attr]
    step = a_step([[1.0, 1.0]] * 2, [[0.0, 0.0]] * 2, images=torch.zeros(2, 3, 8, 8))
    assert loss(step).item() == pytest.approx(3 * 64 + 3 * by_hand)
    assert DEFAULT_WEIGHTS["vae"] == pytest.approx(1.6e-5)


def test_inverse_is_the_cross_entropy_of_the_action() -> None:
    """Logits 0 and s' - s = 1 for actions 0 and 1: ln(1 + e) and ln(1 + e) - 1."""
    loss = LOSSES["inverse"](surroundings("inverse", stop=1))
    set_linear(loss.model[0], [[0, 0], [-1, 1]], [0, 0])  # type: ignore[index, union-attr]
    step = a_step([[2.0], [5.0]], [[3.0], [6.0]])
    assert loss(step).item() == pytest.approx(np.log(1 + np.e) - 0.5)


def test_inverse_of_continuous_actions_is_their_mean_squared_error() -> None:
    loss = LOSSES["inverse"](surroundings("inverse", stop=1, n_actions=None, action_dim=2))
    set_linear(loss.model[0], [[0, 1], [1, 0]], [0, 0])  # type: ignore[index, union-attr]
    step = a_step([[2.0]], [[3.0]], actions=torch.tensor([[1.0, 2.0]]))
    assert loss(step).item() == pytest.approx((2**2 + 0) / 2)
    assert len(list(LOSSES["inverse"](surroundings("inverse", inverse_model="mlp")).parameters())) == 6


def test_forward_predicts_the_difference() -> None:
    """Action 1 adds 0.5, action 0 nothing: errors 0 - 0.5 and 1 - 1."""
    loss = LOSSES["forward"](surroundings("forward", stop=1))
    set_linear(loss.model, [[0, 0, 0.5]], [0])
    step = a_step([[1.0], [1.0]], [[1.5], [1.5]])
    assert loss(step).item() == pytest.approx((0.5**2 + 0) / 2)


def test_reward_tells_signs_apart() -> None:
    loss = LOSSES["reward"](surroundings("reward", stop=1))
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.zero_()
        loss.model[-1].bias.copy_(torch.tensor([0.0, 1.0, 2.0]))  # type: ignore[index, union-attr]
    step = a_step([[0.0]] * 3, [[0.0]] * 3, rewards=torch.tensor([-5.0, 0.0, 0.2]))
    assert loss(step).item() == pytest.approx(np.log(1 + np.e + np.e**2) - 1)


def test_priors_by_hand() -> None:
    """Transitions 0 and 2 have equal actions; their states are 1 apart, their differences 1 and 2 long, opposite."""
    loss = LOSSES["priors"](surroundings("priors", stop=1))
    states, next_states = [[0.0], [7.0], [1.0]], [[1.0], [7.0], [-1.0]]
    coherence, proportionality = (1 + 0 + 4) / 3, (2 - 1) ** 2
    repeatability, causality = np.exp(-1) * 3**2, np.exp(-1)
    step = a_step(states, next_states, rewards=torch.tensor([0.0, 0.0, 1.0]))
    assert loss(step).item() == pytest.approx(coherence + proportionality + repeatability + causality)
    same_reward = a_step(states, next_states)
    assert loss(same_reward).item() == pytest.approx(coherence + proportionality + repeatability)
    assert loss(a_step([[0.0]], [[1.0]])).item() == pytest.approx(1.0)


def test_triplet_has_a_margin() -> None:
    """Two moments 1 apart; the second camera's states are 0.9 off: max(0, 0.2 + 0.81 - 1) = 0.01 each."""
    loss = LOSSES["triplet"](surroundings("triplet", stop=1))
    step = a_step(
        [[0.0], [1.0]], [[0.0], [0.0]], lambda images: torch.tensor([[-0.9], [1.9]]), views=torch.zeros(2, 3, 8, 8)
    )
    assert loss(step).item() == pytest.approx(0.01, abs=1e-6)
    near = replace(step, encode=lambda images: torch.tensor([[0.1], [1.1]]))
    assert loss(near).item() == 0


def test_supervised_is_the_error_of_the_ground_truth() -> None:
    loss = LOSSES["supervised"](surroundings("supervised", start=1, stop=3))
    step = a_step([[9.0, 1.0, 2.0, 9.0]], [[0.0] * 4], truths=torch.tensor([[1.0, 4.0]]))
    assert loss(step).item() == pytest.approx((0 + 4) / 2)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_touches_its_own_part_of_the_state(name: str) -> None:
    """The gradient is 0 outside of it, and not inside."""
    torch.manual_seed(0)
    encoder = make_encoder("linear", SHAPE, 4)
    loss: Loss = LOSSES[name](surroundings(name, 1, 3, encoder=encoder))
    rewards = torch.tensor([-1.0, 0.0, 1.0, 0.0, 1.0, -1.0])
    batch = a_batch(6, rewards=rewards, views=torch.rand(6, 3, 8, 8))
    features = encoder.trunk(batch.images)
    states, next_states = encoder.head(features), encoder(batch.next_images)
    loss(Step(batch, states, next_states, features, encoder, torch.Generator().manual_seed(0))).backward()
    gradient = encoder.head.weight.grad
    assert gradient is not None and not gradient[[0, 3]].any()
    assert gradient[1].any() and gradient[2].any()


def test_parts_of_a_state() -> None:
    first, second, third = parse_objectives(("autoencoder:1:198", "inverse:5:2", "reward:1:-1"), DEFAULT_WEIGHTS, 200)
    assert (first.start, first.stop, second.start, second.stop, second.weight) == (0, 198, 198, 200, 5.0)
    assert third.part == second.part
    one, other = parse_objectives(("autoencoder", "inverse"), DEFAULT_WEIGHTS, 50)
    assert (one.weight, other.weight, one.dim, other.dim, other.start) == (1.0, 2.0, 50, 50, 0)
    assert parse_objectives(("autoencoder:1:3", "inverse:1:2"), DEFAULT_WEIGHTS, None)[-1].stop == 5


@pytest.mark.parametrize(
    ("words", "state_dim", "message"),
    [
        ((), 5, "name at least one loss, such as --losses autoencoder inverse"),
        (("autoencode",), 5, "unknown loss 'autoencode'; did you mean 'autoencoder'?"),
        (("inverse", "inverse:2"), 5, "--losses names inverse twice"),
        (("inverse:x",), 5, "a loss is name, name:weight or name:weight:dimension, got 'inverse:x'"),
        (("inverse:1:0",), 5, "a loss is name, name:weight or name:weight:dimension, got 'inverse:1:0'"),
        (("inverse:-1",), 5, "a loss is name, name:weight or name:weight:dimension, got 'inverse:-1'"),
        (("autoencoder:1:3", "inverse"), 5, "either all losses have a dimension or none has: inverse has none"),
        (("inverse:1:-1",), 5, "inverse:1:-1 is the first loss, there is no part to share"),
        (("autoencoder:1:3", "inverse:1:3"), 5, "the dimensions of --losses add up to 6, --state-dim is 5"),
        (("inverse",), 0, "--state-dim must be at least 1, got 0"),
    ],
)
def test_losses_that_make_no_sense(words: tuple[str, ...], state_dim: int, message: str) -> None:
    with pytest.raises(RepresentationError) as caught:
        parse_objectives(words, DEFAULT_WEIGHTS, state_dim)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("architecture", ENCODERS)
@pytest.mark.parametrize("shape", [(64, 64, 3), (20, 33, 6), (8, 8, 1)])
def test_networks_take_pictures_of_any_size(architecture: str, shape: tuple[int, int, int]) -> None:
    encoder, decoder = make_encoder(architecture, shape, 5), make_decoder(architecture, shape, 5)
    pictures = torch.zeros(2, shape[2], *shape[:2])
    assert encoder(pictures).shape == (2, 5) and decoder(encoder(pictures)).shape == pictures.shape


def test_pictures_come_back_as_bytes() -> None:
    pictures = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    tensor = to_network(pictures)
    assert tensor.shape == (1, 1, 16, 16) and (tensor.min().item(), tensor.max().item()) == (-1, 1)
    assert np.array_equal(to_bytes(tensor), pictures)
