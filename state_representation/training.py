"""Learn an encoder from recorded transitions, epoch by epoch, so that a training that was killed goes on exactly.

All that is random in an epoch derives from the seed and the epoch's number; after each one the whole state is written
as one file, which the next process reads. On one machine the outcome is the same to the last bit.
"""

import copy
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import nn

from environments.durable import replace_file
from state_representation.frames import Frames
from state_representation.losses import LOSSES, PCA, UNTRAINED, Autoencoder, Loss, Step, Surroundings, Transitions
from state_representation.networks import Encoder, make_encoder, to_network
from state_representation.objectives import DivergenceError, Objective, RepresentationError
from state_representation.principal_components import BATCH, fit_principal_components

CHECKPOINT_NAME = "training.safetensors"
VALIDATION = "validation"


@dataclass(frozen=True)
class TrainingSettings:
    """All that decides the outcome, beside the data.

    :param objectives: what is descended
    :param architecture: of the encoder
    :param epochs: passes over the transitions that are learnt from
    :param batch_size: transitions of an update
    :param learning_rate: of Adam
    :param validation: share of the episodes that is kept apart
    :param patience: epochs without a better validation loss after which it ends; 0: never
    :param balanced: whether rewards of each sign are drawn equally often
    :param seed: of all that is random
    :param occlusion: see `Surroundings`
    :param beta: see `Surroundings`
    :param inverse_model: see `Surroundings`
    """

    objectives: tuple[Objective, ...]
    architecture: str = "custom_cnn"
    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 0.005
    validation: float = 0.2
    patience: int = 0
    balanced: bool = False
    seed: int = 0
    occlusion: float = 0.5
    beta: float = 1.0
    inverse_model: str = "linear"

    @property
    def state_dim(self) -> int:
        """The number of elements of a state."""
        return max(objective.stop for objective in self.objectives)

    @property
    def is_untrained(self) -> bool:
        """Whether nothing is descended."""
        return self.objectives[0].name in UNTRAINED


class Training:
    """A training of an encoder; `run` does what is left of it.

    :param settings: of it
    :param frames: what it learns from
    :param folder: where its state is kept after each epoch; what lies there is gone on with
    :param device: where it computes
    :raises RepresentationError: when losses and data do not go together, see `check`, or the state there is damaged
    """

    def __init__(
        self, settings: TrainingSettings, frames: Frames, folder: Path, device: torch.device | str = "cpu"
    ) -> None:
        check(settings, frames)
        self.settings, self.frames, self.device = settings, frames, torch.device(device)
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self._folder = folder
        self._train, self._validation = frames.split(settings.validation, settings.seed)
        self._truths = standardized(frames.truths, frames.starts[self._train])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            shape = (*frames.shape[:2], self.n_channels)
            self.encoder = make_encoder(settings.architecture, shape, settings.state_dim).to(self.device)
            self.losses = {} if settings.is_untrained else self._make_losses()
        self._modules = nn.ModuleDict({"encoder": self.encoder, **{f"loss_{n}": m for n, m in self.losses.items()}})
        self._optimizer = torch.optim.Adam(self._modules.parameters(), lr=settings.learning_rate)
        self._best = copy.deepcopy(self.encoder.state_dict())
        self._restore()

    @property
    def n_channels(self) -> int:
        """The channels of the pictures that the encoder sees: with triplet those of one camera of two."""
        n_channels = self.frames.shape[2]
        return n_channels // 2 if any(LOSSES[name].needs_views for name in self._names) else n_channels

    @property
    def _names(self) -> list[str]:
        return [objective.name for objective in self.settings.objectives if objective.name in LOSSES]

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to do."""
        settings = self.settings
        is_over = settings.patience > 0 and len(self.history) - self.best_epoch >= settings.patience
        return settings.is_untrained or len(self.history) >= settings.epochs or is_over

    @property
    def held_out_frames(self) -> np.ndarray:
        """The frames of the episodes that are kept apart: bool, (n_frames,)."""
        frames = self.frames
        apart: np.ndarray = np.isin(frames.episodes, frames.episodes[frames.starts[self._validation]])
        return apart

    def run(self, on_batch: Callable[[], None], on_epoch: Callable[[Mapping[str, float]], None]) -> Encoder:
        """Learn to the end, and give the encoder with the weights that were best in validation.

        :param on_batch: called after each minibatch, of validation too
        :param on_epoch: called with the figures of each epoch
        :raises DivergenceError: when a loss becomes infinite or no number
        """
        if self.settings.objectives[0].name == PCA:
            learnt = self.frames.images[self.frames.starts[self._train]]
            fit_principal_components(self.encoder, learnt, on_batch)
            return self.encoder
        while not self.is_done:
            row = self._epoch(len(self.history) + 1, on_batch)
            self.history.append(row)
            best = min(self.history[: self.best_epoch], key=_validation_loss, default=None)
            if best is None or _validation_loss(row) < _validation_loss(best):
                self.best_epoch, self._best = len(self.history), copy.deepcopy(self.encoder.state_dict())
            self._keep()
            on_epoch(row)
        self.encoder.load_state_dict(self._best)
        return self.encoder

    def n_parts(self) -> tuple[int, int]:
        """Give how often `run` calls `on_batch` in all, and how many of these calls an earlier process has made."""
        if self.settings.is_untrained:
            return (math.ceil(len(self._train) / BATCH) if self.settings.objectives[0].name == PCA else 0), 0
        each = self._n_updates + math.ceil(len(self._validation) / self.settings.batch_size)
        return each * self.settings.epochs, each * len(self.history)

    @property
    def _n_updates(self) -> int:
        """The updates of an epoch, each of a whole minibatch where there are transitions for one."""
        return max(1, len(self._train) // self.settings.batch_size)

    def reconstruct(self, images: np.ndarray) -> torch.Tensor | None:
        """Give what the first decoder makes of the states of pictures; None where there is none.

        :param images: uint8, (n, height, width, channels)
        """
        able = next((loss for loss in self.losses.values() if isinstance(loss, Autoencoder)), None)
        if able is None:
            return None
        self._modules.eval()
        with torch.no_grad():
            states = self.encoder(to_network(images[..., : self.n_channels], self.device))
            found: torch.Tensor = able.decoder(states[:, able.part])
        return found

    def _make_losses(self) -> dict[str, Loss]:
        settings, frames = self.settings, self.frames
        around = partial(
            Surroundings,
            encoder=self.encoder,
            architecture=settings.architecture,
            shape=(*frames.shape[:2], self.n_channels),
            n_actions=frames.n_actions,
            action_dim=frames.action_dim,
            occlusion=settings.occlusion,
            beta=settings.beta,
            inverse_model=settings.inverse_model,
        )
        return {one.name: LOSSES[one.name](around(one)).to(self.device) for one in settings.objectives}

    def _epoch(self, number: int, on_batch: Callable[[], None]) -> dict[str, float]:
        """Learn from every transition once, then look at those that are kept apart."""
        settings = self.settings
        rng = np.random.default_rng((settings.seed, number))
        noise = torch.Generator().manual_seed(int(rng.integers(2**63)))
        order = self._drawn(rng)[: self._n_updates * settings.batch_size]
        self._modules.train()
        learnt = []
        for start in range(0, len(order), settings.batch_size):
            parts = self._losses_of(order[start : start + settings.batch_size], noise)
            total = self._total(parts)
            _check_finite(total.item(), number)
            self._optimizer.zero_grad()
            total.backward()
            self._optimizer.step()
            learnt.append({name: part.item() for name, part in parts.items()} | {"total": total.item()})
            on_batch()
        row = {"epoch": float(number), **{name: float(np.mean([one[name] for one in learnt])) for name in learnt[0]}}
        row |= {f"{VALIDATION}_{name}": value for name, value in self._validate(on_batch).items()}
        _check_finite(_validation_loss(row), number)
        return row

    def _drawn(self, rng: np.random.Generator) -> np.ndarray:
        """Give the transitions of an epoch in their order."""
        if not self.settings.balanced:
            return rng.permutation(self._train)
        signs = np.sign(self.frames.rewards[self._train])
        counts = {sign: (signs == sign).sum() for sign in np.unique(signs)}
        chances = np.array([1 / counts[sign] for sign in signs])
        return rng.choice(self._train, len(self._train), p=chances / chances.sum())

    def _validate(self, on_batch: Callable[[], None]) -> dict[str, float]:
        self._modules.eval()
        noise = torch.Generator().manual_seed(self.settings.seed)
        size, sums = self.settings.batch_size, dict.fromkeys([*self.losses, "total"], 0.0)
        with torch.no_grad():
            for start in range(0, len(self._validation), size):
                chosen = self._validation[start : start + size]
                parts = self._losses_of(chosen, noise)
                for name, part in {**parts, "total": self._total(parts)}.items():
                    sums[name] += part.item() * len(chosen)
                on_batch()
        return {name: value / len(self._validation) for name, value in sums.items()}

    def _losses_of(self, chosen: np.ndarray, noise: torch.Generator) -> dict[str, torch.Tensor]:
        batch = self._transitions(chosen)
        features = self.encoder.trunk(torch.cat([batch.images, batch.next_images]))
        states, next_states = self.encoder.head(features).chunk(2)
        step = Step(batch, states, next_states, features[: len(batch)], self.encoder, noise)
        return {name: loss(step) for name, loss in self.losses.items()}

    def _total(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        weights = {objective.name: objective.weight for objective in self.settings.objectives}
        return torch.stack([weights[name] * part for name, part in parts.items()]).sum()

    def _transitions(self, chosen: np.ndarray) -> Transitions:
        frames, n = self.frames, self.n_channels
        starts = frames.starts[chosen]
        images = frames.images[starts]
        return Transitions(
            images=to_network(images[..., :n], self.device),
            next_images=to_network(frames.images[starts + 1][..., :n], self.device),
            actions=torch.as_tensor(frames.actions[chosen], device=self.device),
            rewards=torch.as_tensor(frames.rewards[chosen], device=self.device),
            truths=torch.as_tensor(self._truths[starts], device=self.device),
            views=to_network(images[..., n:], self.device) if n < frames.shape[2] else None,
        )

    def _keep(self) -> None:
        """Write the state after an epoch as one file, replaced as a whole."""
        tensors = {f"module.{name}": value for name, value in self._modules.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self._best.items()}
        for index, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": value for name, value in state.items()}
        plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        record = {"history": self.history, "best_epoch": self.best_epoch}
        content = safetensors.torch.save(plain, metadata={"record": json.dumps(record)})
        replace_file(self._folder / CHECKPOINT_NAME, content)

    def _restore(self) -> None:
        path = self._folder / CHECKPOINT_NAME
        if not path.exists():
            return
        try:
            with safetensors.safe_open(path, "pt") as file:
                record = json.loads(file.metadata()["record"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dictionary
            self._modules.load_state_dict(_below("module.", tensors))
            self._best = _below("best.", tensors)
            states: dict[int, dict[str, torch.Tensor]] = {}
            for name, value in _below("adam.", tensors).items():
                index, _, field = name.partition(".")
                states.setdefault(int(index), {})[field] = value
            self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": states})
            self.history, self.best_epoch = record["history"], record["best_epoch"]
        except (OSError, safetensors.SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RepresentationError(f"cannot go on from {path}: {reason}") from None


def check(settings: TrainingSettings, frames: Frames) -> None:
    """Refuse losses that cannot be had with some data.

    :raises RepresentationError: for the first one
    """
    names = [objective.name for objective in settings.objectives]
    alone = next((name for name in names if name in UNTRAINED and len(names) > 1), None)
    if alone is not None:
        raise RepresentationError(f"{alone} descends no loss and stands alone: --losses {alone}")
    if names[0] == PCA and settings.architecture != "linear":
        raise RepresentationError(f"pca is a linear map: give --encoder linear, not {settings.architecture}")
    n_learnt = len(frames.split(settings.validation, settings.seed)[0])
    if names[0] == PCA and n_learnt < settings.state_dim:
        raise RepresentationError(
            f"{n_learnt} pictures to learn from have no {settings.state_dim} principal components"
        )
    for objective in settings.objectives:
        loss = LOSSES.get(objective.name)
        if loss is None:
            continue
        if loss.needs_views and frames.shape[2] != 6:
            raise RepresentationError(
                f"{objective.name} needs pictures of two cameras, and these have {frames.shape[2]} channels: record "
                "them with --multi-view"
            )
        if loss.needs_discrete and frames.n_actions is None:
            raise RepresentationError(f"{objective.name} needs discrete actions, to tell which of them are equal")
        if loss.needs_truth and not frames.truth_names:
            raise RepresentationError(f"{objective.name} needs a ground truth, and nothing is known of it in the data")
        if loss.needs_truth and objective.dim != frames.truths.shape[1]:
            names_of_truth = ", ".join(frames.truth_names) or "nothing"
            raise RepresentationError(
                f"{objective.name} predicts the ground truth, of {frames.truths.shape[1]} elements ({names_of_truth}); "
                f"its part of the state has {objective.dim}"
            )


def standardized(truths: np.ndarray, learnt_from: np.ndarray) -> np.ndarray:
    """Give the ground truth with mean 0 and deviation 1 over the frames that are learnt from: float32."""
    mean, spread = truths[learnt_from].mean(axis=0), truths[learnt_from].std(axis=0)
    found: np.ndarray = ((truths - mean) / np.where(spread > 0, spread, 1.0)).astype(np.float32)
    return found


def _check_finite(loss: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise DivergenceError(f"the loss became {loss} in epoch {epoch}: lower --learning-rate, or the losses' weights")


def _validation_loss(row: Mapping[str, Any]) -> float:
    return float(row[f"{VALIDATION}_total"])


def _below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
