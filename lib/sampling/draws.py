"""How a position's values are drawn: outputs of the network and noise in, values out.

``draw(outputs, noise)`` takes the network's outputs at one position, (N, O), and the noise there,
(N, C), and gives the values, (N, C). All randomness lies in the noise, so that it can be held fixed
(figure 6).
"""

from __future__ import annotations

from typing import Callable

import numpy as np
from scipy.special import expit, ndtri, softmax

Draw = Callable[[np.ndarray, np.ndarray], np.ndarray]


def bernoulli(logits: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """0 or 1; logits (N, C) of a 1, noise (N, C) uniform on [0, 1)."""
    return noise < expit(logits)


def categorical(logits: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """0 … levels - 1 by the inverse CDF; logits (N, levels), noise (N, 1) uniform on [0, 1)."""
    cdf = softmax(logits.astype("float64"), axis=1).cumsum(axis=1)
    # The last entry is not a threshold: rounding may leave it below the noise.
    return (cdf[:, :-1] <= noise).sum(axis=1, keepdims=True)


def gaussian(outputs: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """mean + sigma · noise; outputs (N, 2C): means, log sigmas; noise (N, C) standard normal."""
    mean, log_sigma = np.split(outputs, 2, axis=1)
    return mean + np.exp(log_sigma) * noise


def discretised_gaussian(levels: int) -> Draw:
    """Whole numbers 0 … levels - 1 by the inverse CDF of a Gaussian whose mass the levels share out.

    The outputs (N, 2C) are means and then log sigmas, in levels; noise (N, C) is uniform on [0, 1).
    """

    def draw(outputs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        # 0 has no finite quantile; like any small number it belongs to level 0.
        quantile = ndtri(np.maximum(noise.astype("float64"), 1e-300))
        return np.clip(np.floor(gaussian(outputs, quantile) + 0.5), 0, levels - 1)

    return draw
