"""Principal components of pictures, a batch at a time: what a linear encoder can do without learning.

D. Ross et al., Incremental learning for robust visual tracking, 2008.
"""

from collections.abc import Callable

import numpy as np
import torch

from state_representation.networks import Encoder, to_network

BATCH = 200


class IncrementalComponents:
    """The mean and the first principal components of all rows that were taken in.

    :param n_components: k
    """

    def __init__(self, n_components: int) -> None:
        self._k = n_components
        self._n = 0
        self.mean = np.zeros(0)
        self.components = np.zeros((0, 0))
        """float64, (k, d), of length 1, in the order of their variance."""
        self._strengths = np.zeros(0)

    def take(self, rows: np.ndarray) -> None:
        """Take in rows: (n, d), together at least k before the components are asked for."""
        n, mean = len(rows), rows.mean(axis=0)
        stacked = rows - mean
        if self._n:
            shift = np.sqrt(self._n * n / (self._n + n)) * (self.mean - mean)
            stacked = np.concatenate([self._strengths[:, None] * self.components, stacked, shift[None]])
            mean = (self._n * self.mean + n * mean) / (self._n + n)
        _, strengths, directions = np.linalg.svd(stacked, full_matrices=False)
        self._n, self.mean = self._n + n, mean
        self._strengths, self.components = strengths[: self._k], directions[: self._k]


def fit_principal_components(encoder: Encoder, images: np.ndarray, on_batch: Callable[[], None]) -> None:
    """Set a linear encoder so that states are the principal components of pictures, mean 0.

    :param encoder: linear
    :param images: uint8, (n, height, width, channels), at least as many as a state has elements
    :param on_batch: called after each of some parts of the work
    """
    found = IncrementalComponents(encoder.head.out_features)
    for start in range(0, len(images), BATCH):
        part = to_network(images[start : start + BATCH]).flatten(1).numpy().astype(np.float64)
        found.take(part)
        on_batch()
    with torch.no_grad():
        encoder.head.weight.copy_(torch.as_tensor(found.components))
        encoder.head.bias.copy_(torch.as_tensor(-found.components @ found.mean))
