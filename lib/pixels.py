"""The distribution of an image's pixels, given what a network makes of the pixels before them."""

from __future__ import annotations

import numpy as np
import theano.tensor as T
from scipy.special import expit, ndtri, softmax

from pixelvae.lib.ops import gaussian
from pixelvae.lib.ops.categorical import categorical_log_likelihood
from pixelvae.lib.ops.gaussian import Gaussian
from pixelvae.lib.ops.likelihood import (
    bernoulli_log_likelihood,
    discretised_gaussian_log_likelihood,
)


class Pixels:
    """What the values of a pixel are and how they are distributed.

    Attributes
    ----------
    levels
        How many values there are: whole numbers from 0 to ``levels`` − 1.
    channels
        How many colours a pixel has.
    outputs
        How many maps the network has to give.
    reconstruction_noise
        Which noise a reconstruction's pixels are drawn from: its own, or that of the sample of the
        same number. Recorded pictures depend on it.
    """

    levels: int
    channels: int
    outputs: int
    reconstruction_noise = "reconstruction"

    def log_likelihood(self, outputs, x):
        """log p(x) of each image in nats, symbolic: outputs (N, ``outputs``, H, W) -> (N,).

        x is (N, C, H, W), or by its type one image (1, C, H, W), which counts N times.
        """
        raise NotImplementedError

    def draw(self, outputs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Values of one colour at one position (N, 1), by the inverse CDF.

        ``outputs`` (N, ``outputs`` / C) are that colour's, ``noise`` (N, 1) is uniform on [0, 1).
        All randomness lies in the noise, so that it can be held fixed (figure 6).
        """
        raise NotImplementedError


class Bernoulli(Pixels):
    """Pixels that are 0 or 1; the outputs are the logits of a 1."""

    reconstruction_noise = "sample"

    def __init__(self, channels: int = 1):
        self.levels, self.channels, self.outputs = 2, channels, channels

    def log_likelihood(self, outputs, x):
        return bernoulli_log_likelihood(outputs, x)

    def draw(self, outputs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return noise < expit(outputs)


class Categorical(Pixels):
    """A softmax over the levels.

    Channel k·C + c of the outputs is the logit of level k of colour c.
    """

    def __init__(self, levels: int, channels: int):
        self.levels, self.channels, self.outputs = levels, channels, levels * channels

    def log_likelihood(self, outputs, x):
        return categorical_log_likelihood(outputs, repeated(x, outputs))

    def draw(self, outputs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        cdf = softmax(outputs.astype("float64"), axis=1).cumsum(axis=1)
        # The last entry is not a threshold: rounding may leave it below the noise.
        return (cdf[:, :-1] <= noise).sum(axis=1, keepdims=True)


class DiscretisedGaussian(Pixels):
    """A Gaussian whose mass the levels share out.

    The outputs are C means, then C log sigmas, in levels.
    """

    def __init__(self, levels: int, channels: int):
        self.levels, self.channels, self.outputs = levels, channels, 2 * channels

    def log_likelihood(self, outputs, x):
        p = Gaussian(outputs[:, : self.channels], outputs[:, self.channels :])
        return discretised_gaussian_log_likelihood(p, x, self.levels)

    def draw(self, outputs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        # 0 has no finite quantile; like any small number it belongs to level 0.
        quantile = ndtri(np.maximum(noise.astype("float64"), 1e-300))
        return np.clip(np.floor(gaussian.draw(outputs, quantile) + 0.5), 0, self.levels - 1)


def repeated(x, others):
    """One image (1, C, H, W), known as such by its type, once for each of the others (N, ...).

    Any other number of images is returned as it is.
    """
    if not x.broadcastable[0]:
        return x
    return T.alloc(x, others.shape[0], *(x.shape[axis] for axis in (1, 2, 3)))
