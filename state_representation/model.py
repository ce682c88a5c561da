"""A learnt representation and the folder that holds it.

::

    DIR/model.json           what it is and what it was learnt from
    DIR/encoder.safetensors  the encoder's weights

Nothing is unpickled, and nothing of the packages of this project is in the weights.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from environments.durable import replace_file
from state_representation.networks import ENCODERS, Encoder, ImageShape, make_encoder, to_network
from state_representation.objectives import RepresentationError

FORMAT = 1
RECORD_NAME, WEIGHTS_NAME, PLAN_NAME = "model.json", "encoder.safetensors", "training.json"
BATCH = 256


@dataclass(frozen=True)
class Description:
    """What a representation is.

    :param architecture: of the encoder
    :param image_shape: of a picture as the environment gives it: height, width, channels
    :param n_channels: of which the encoder sees the first so many: one camera of two
    :param state_dim: elements of a state
    :param losses: as they were given, ``name:weight:dimension``
    :param env_id: of the environment that it was learnt in
    :param env_kwargs: its options
    :param dataset: hash of the episodes that it was learnt from
    :param settings: of the training
    """

    architecture: str
    image_shape: ImageShape
    n_channels: int
    state_dim: int
    losses: tuple[str, ...]
    env_id: str
    env_kwargs: Mapping[str, Any]
    dataset: str
    settings: Mapping[str, Any]

    @property
    def key(self) -> str:
        """What it is called in commands and run folders: its losses."""
        return "_".join(word.split(":")[0] for word in self.losses)

    @property
    def summary(self) -> str:
        """What it is, for people."""
        height, width, _ = self.image_shape
        return f"{self.architecture} of {', '.join(self.losses)}; pictures {width} x {height}, learnt in {self.env_id}"

    @property
    def encoder_shape(self) -> ImageShape:
        """The shape of a picture as the encoder takes it."""
        return (*self.image_shape[:2], self.n_channels)

    def make_encoder(self) -> Encoder:
        """Make the encoder, with new weights."""
        return make_encoder(self.architecture, self.encoder_shape, self.state_dim)


class StateModel:
    """An encoder that is used, not trained: pictures to states.

    :param description: what it is
    :param encoder: its network
    """

    def __init__(self, description: Description, encoder: Encoder) -> None:
        self.description = description
        self.encoder = encoder.eval()

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.encoder.head.weight.device

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Give the states of pictures, each as if it were alone, up to rounding.

        :param images: uint8, (n, height, width, channels)
        :return: float32, (n, state_dim)
        :raises RepresentationError: for pictures of another shape
        """
        expected = self.description.image_shape
        if images.shape[1:] != expected or images.dtype != np.uint8:
            raise RepresentationError(f"it encodes pictures uint8 {expected}, got {images.dtype} {images.shape[1:]}")
        found = []
        with torch.no_grad():
            for start in range(0, len(images), BATCH):
                part = images[start : start + BATCH, :, :, : self.description.n_channels]
                found.append(self.encoder(to_network(part, self.device)).cpu().numpy())
        return np.concatenate(found) if found else np.zeros((0, self.description.state_dim), np.float32)

    def save(self, folder: Path) -> None:
        """Write it into a folder that exists."""
        weights = {name: value.detach().cpu().contiguous() for name, value in self.encoder.state_dict().items()}
        replace_file(folder / WEIGHTS_NAME, safetensors.torch.save(weights))
        record = {"format": FORMAT, **asdict(self.description)}
        replace_file(folder / RECORD_NAME, json.dumps(record, indent=1).encode())

    @classmethod
    def load(cls, folder: Path | str, device: torch.device | str = "cpu") -> "StateModel":
        """Read it from its folder.

        :raises RepresentationError: when it is none, not finished, or damaged
        """
        description = read_description(Path(folder))
        encoder = description.make_encoder()
        try:
            weights = safetensors.torch.load_file(Path(folder) / WEIGHTS_NAME)
            encoder.load_state_dict(weights)
        except (OSError, safetensors.SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise RepresentationError(f"the representation {folder} is damaged: {WEIGHTS_NAME}: {reason}") from None
        return cls(description, encoder.to(device))


def read_description(folder: Path) -> Description:
    """Read what a folder says of its representation.

    :raises RepresentationError: when it is none, not finished, or damaged
    """
    path = folder / RECORD_NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.pop("format") != FORMAT:
            raise RepresentationError(f"the representation {folder} has another format than {FORMAT}")
        record["image_shape"] = tuple(record["image_shape"])
        description = Description(**{**record, "losses": tuple(record["losses"])})
    except (FileNotFoundError, NotADirectoryError):
        if (folder / PLAN_NAME).is_file():
            reason = "is not finished; give the command that learns it once more"
            raise RepresentationError(f"the representation {folder} {reason}") from None
        raise RepresentationError(f"{folder} is no representation: it has no {RECORD_NAME}") from None
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, RepresentationError):
            raise
        raise RepresentationError(f"the representation {folder} is damaged: {RECORD_NAME}: {error}") from None
    if not (folder / WEIGHTS_NAME).is_file():
        raise RepresentationError(f"the representation {folder} is damaged: {WEIGHTS_NAME} is missing")
    if description.architecture not in ENCODERS:
        raise RepresentationError(f"the representation {folder} has an unknown encoder {description.architecture!r}")
    return description
