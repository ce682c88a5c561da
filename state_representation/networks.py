"""Networks from pictures to states and back, for pictures of any size.

Pictures are float32, (n, channels, height, width), within [-1, 1]; `to_network` makes them of bytes.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

ImageShape = tuple[int, int, int]
"""Height, width, channels, as environments and datasets have them."""


def to_network(images: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """Give pictures as networks take them.

    :param images: uint8, (n, height, width, channels)
    :return: float32, (n, channels, height, width), within [-1, 1]
    """
    tensor = torch.as_tensor(np.ascontiguousarray(images), device=device)
    return tensor.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def to_bytes(images: torch.Tensor) -> np.ndarray:
    """Give pictures of networks as bytes: uint8, (n, height, width, channels)."""
    scaled = images.detach().add(1.0).mul(127.5).round().clamp(0, 255)
    found: np.ndarray = scaled.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return found


class Encoder(nn.Module):
    """A network from pictures to states: features, and a linear layer over them.

    :param trunk: gives features, (n, n_features)
    :param n_features: of the trunk
    :param state_dim: of the states
    """

    def __init__(self, trunk: nn.Module, n_features: int, state_dim: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.n_features = n_features
        self.head = nn.Linear(n_features, state_dim)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give the states of pictures: (n, state_dim)."""
        states: torch.Tensor = self.head(self.trunk(images))
        return states


def _block(n_in: int, n_out: int, size: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(n_in, n_out, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(n_out), nn.ReLU())


def _custom_cnn(shape: ImageShape) -> nn.Module:
    """Give the three convolutions of the S-RL Toolbox."""
    pools = [nn.MaxPool2d(3, 2, padding=1) for _ in range(3)]
    return nn.Sequential(
        *(_block(shape[2], 64, 7, 2), pools[0]),
        *(_block(64, 64, 3, 1), pools[1]),
        *(_block(64, 64, 3, 2), pools[2]),
        nn.Flatten(),
    )


class _ResidualBlock(nn.Module):
    """Two convolutions beside a short cut.

    He et al., Deep residual learning for image recognition, 2016.
    """

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        second = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.body = nn.Sequential(_block(n_in, n_out, 3, stride), second, nn.BatchNorm2d(n_out))
        convolution = nn.Conv2d(n_in, n_out, 1, stride, bias=False)
        is_same = n_in == n_out and stride == 1
        self.short_cut = nn.Identity() if is_same else nn.Sequential(convolution, nn.BatchNorm2d(n_out))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(features) + self.short_cut(features))


def _resnet18(shape: ImageShape) -> nn.Module:
    """Give the residual network of 18 layers, without weights from elsewhere."""
    blocks: list[nn.Module] = [_block(shape[2], 64, 7, 2), nn.MaxPool2d(3, 2, padding=1)]
    n_before = 64
    for n_channels, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        blocks += [_ResidualBlock(n_before, n_channels, stride), _ResidualBlock(n_channels, n_channels, 1)]
        n_before = n_channels
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _mlp(shape: ImageShape) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())


def _linear(shape: ImageShape) -> nn.Module:
    return nn.Flatten()


ENCODERS: dict[str, Callable[[ImageShape], nn.Module]] = {
    "custom_cnn": _custom_cnn,
    "resnet18": _resnet18,
    "mlp": _mlp,
    "linear": _linear,
}
"""The trunks by the names of their architectures."""


def make_encoder(architecture: str, shape: ImageShape, state_dim: int) -> Encoder:
    """Make an encoder.

    :param architecture: one of ENCODERS
    :param shape: of a picture
    :param state_dim: of a state
    """
    trunk = ENCODERS[architecture](shape)
    with torch.no_grad():
        trunk.eval()
        n_features = trunk(torch.zeros(1, shape[2], *shape[:2])).shape[1]
        trunk.train()
    return Encoder(trunk, n_features, state_dim)


class _UpTo(nn.Module):
    """Takes pictures to a size."""

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self._size = shape[:2]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[2:] == self._size:
            return images
        return nn.functional.interpolate(images, self._size, mode="bilinear", align_corners=False)


def make_decoder(architecture: str, shape: ImageShape, dim: int) -> nn.Module:
    """Make a network from states to pictures, (n, dim) to (n, channels, height, width).

    :param architecture: of the encoder: linear and mlp have one of their kind, the others transposed convolutions
    :param shape: of a picture
    :param dim: of what it sees of a state
    """
    height, width, n_channels = shape
    pixels = (n_channels, height, width)
    if architecture == "linear":
        return nn.Sequential(nn.Linear(dim, math.prod(shape)), nn.Unflatten(1, pixels))
    if architecture == "mlp":
        hidden = (nn.Linear(dim, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        return nn.Sequential(*hidden, nn.Linear(64, math.prod(shape)), nn.Unflatten(1, pixels))
    small = (64, max(1, round(height / 8)), max(1, round(width / 8)))
    layers: list[nn.Module] = [nn.Linear(dim, math.prod(small)), nn.Unflatten(1, small), nn.ReLU()]
    for _ in range(2):
        layers += [nn.ConvTranspose2d(64, 64, 4, 2, padding=1), nn.BatchNorm2d(64), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(64, n_channels, 4, 2, padding=1), _UpTo(shape))
