"""Batch norm by the batch's own statistics, or by known ones (section E.2)."""

from __future__ import annotations

from typing import Any, Callable

from pixelvae.lib.layers.parameters import Parameters
from pixelvae.lib.ops import batch_norm

Norm = Callable[["BatchNorm", Any], Any]


class BatchNorm:
    """The trained scale and offset of a batch norm, and its moving mean and variance.

    Examples
    --------
    >>> p = Parameters(seed=0)
    >>> layer = BatchNorm(p, "norm", width=2)
    >>> list(p), len(p.trained)
    (['norm.scale', 'norm.offset', 'norm.mean', 'norm.variance'], 2)
    """

    def __init__(self, p: Parameters, name: str, width: int):
        self.scale = p.new(f"{name}.scale", (width,), 1)
        self.offset = p.new(f"{name}.offset", (width,), 0)
        self.mean = p.new(f"{name}.mean", (width,), 0, trained=False)
        self.variance = p.new(f"{name}.variance", (width,), 1, trained=False)


class BatchStatistics:
    """Normalises by the batch's own statistics.

    ``values`` maps each moving statistic to the batch's.

    Examples
    --------
    >>> layer, x = BatchNorm(Parameters(seed=0), "norm", width=2), np.ones((1, 2, 3, 3))
    >>> norm = BatchStatistics()
    >>> norm(layer, x).eval().shape, norm.values[layer.mean].eval()
    ((1, 2, 3, 3), array([1., 1.]))
    """

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}

    def __call__(self, layer: BatchNorm, x):
        y, mean, variance = batch_norm.BatchNorm()(x, layer.scale, layer.offset)
        self.values.update({layer.mean: mean, layer.variance: variance})
        return y


class KnownStatistics:
    """Normalises by the moving statistics; each item's own enter with the share ``own``.

    Examples
    --------
    >>> layer, x = BatchNorm(Parameters(seed=0), "norm", width=2), np.zeros((1, 2, 3, 3))
    >>> KnownStatistics(own=0.0)(layer, x).eval().shape
    (1, 2, 3, 3)
    """

    def __init__(self, own: float):
        self._own = own

    def __call__(self, layer: BatchNorm, x):
        return batch_norm.batch_norm_inference(
            x, layer.scale, layer.offset, layer.mean, layer.variance, self._own
        )
