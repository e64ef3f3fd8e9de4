"""Convolutions of every shape that the models use, and some that they do not, for the tests."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from compiled import guarded

from pixelvae.lib.ops.conv import Correlate, CorrelateInputs, CorrelateWeights


class Geometry(NamedTuple):
    mask: tuple[str, ...]  # 1 where the kernel has a tap
    stride: int
    inputs: tuple[int, int]  # height and width
    outputs: tuple[int, int]


ALL3 = ("111",) * 3
VSTACK5 = ("11111",) * 3 + ("00000",) * 2
A7 = ("1111111",) * 3 + ("1110000",) + ("0000000",) * 3
B5 = ("11111",) * 2 + ("11100",) + ("00000",) * 2
ABOVE = ("1", "0", "0")

GEOMETRIES = {
    "3x3": Geometry(ALL3, 1, (5, 6), (5, 6)),
    "3x3, stride 2, odd": Geometry(ALL3, 2, (7, 7), (4, 4)),
    "3x3, stride 2, even": Geometry(ALL3, 2, (8, 6), (4, 3)),
    "5x5, stride 2": Geometry(("11111",) * 5, 2, (9, 4), (5, 2)),
    "vstack 5x5": Geometry(VSTACK5, 1, (6, 8), (6, 8)),
    "mask A 7x7": Geometry(A7, 1, (5, 9), (5, 9)),
    "mask B 5x5": Geometry(B5, 1, (8, 5), (8, 5)),
    "mask B 5x5, stride 2": Geometry(B5, 2, (7, 5), (4, 3)),
    "horizontal A 1x7": Geometry(("1110000",), 1, (4, 9), (4, 9)),
    "horizontal B 1x5": Geometry(("11100",), 1, (6, 6), (6, 6)),
    "row above": Geometry(ABOVE, 1, (5, 4), (5, 4)),
    "1x1": Geometry(("1",), 1, (9, 9), (9, 9)),  # 81 positions: no whole number of vectors
    "1x1, whole vectors": Geometry(("1",), 1, (12, 12), (12, 12)),
    "1x1, stride 2": Geometry(("1",), 2, (9, 5), (5, 3)),
    "kernel larger than the image": Geometry(("1111111",) * 7, 1, (2, 3), (2, 3)),
    "one pixel": Geometry(A7, 1, (1, 1), (1, 1)),
    "one pixel, stride 2": Geometry(ALL3, 2, (1, 1), (1, 1)),
    "stride 3": Geometry(ALL3, 3, (10, 8), (4, 3)),
}
N, C_IN, C_OUT = 3, 5, 6


def of_size(name: str, size: tuple[int, int]) -> Geometry:
    """The geometry of that name for images of that size."""
    g = GEOMETRIES[name]
    height, width = ((n + g.stride - 1) // g.stride for n in size)
    return g._replace(inputs=size, outputs=(height, width))


def mask_of(g: Geometry) -> np.ndarray:
    return np.array([[int(tap) for tap in row] for row in g.mask])


def arguments(g: Geometry) -> tuple[int, int, int, int]:
    """What makes the operation: kernel height and width, taps, stride."""
    mask = mask_of(g)
    height, width = mask.shape
    return (height, width, int(mask.sum()), g.stride)


class Wide:
    """Arrays of so many images and channels, whose numbers are no multiples of any block."""

    def __init__(self, g: Geometry, dtype="float64", images=3, inputs=131, outputs=149):
        rng = np.random.RandomState(5)

        def draw(*shape):
            return guarded(rng.standard_normal(shape).astype(dtype))

        taps = int(mask_of(g).sum())
        self.x, self.gy = draw(images, inputs, *g.inputs), draw(images, outputs, *g.outputs)
        self.w, self.b, self.b_in = draw(outputs, inputs, taps), draw(outputs), draw(inputs)
        self.acc, self.acc_in = draw(*self.gy.shape), draw(*self.x.shape)

    def of_each(self, g: Geometry):
        """The three operations with their arguments."""
        yield Correlate(*arguments(g)), (self.x, self.w, self.b, self.acc)
        yield CorrelateInputs(*arguments(g)), (self.gy, self.w, *g.inputs, self.b_in, self.acc_in)
        yield CorrelateWeights(*arguments(g)), (self.x, self.gy)


class Arrays:
    """Random arrays for one geometry; the same ones, rounded, for every type."""

    def __init__(self, g: Geometry, dtype="float64", images=N, inputs=C_IN, outputs=C_OUT):
        rng = np.random.RandomState(7)

        def draw(*shape):
            return guarded(rng.standard_normal(shape).astype(dtype))

        taps = int(mask_of(g).sum())
        self.x, self.gy = draw(images, inputs, *g.inputs), draw(images, outputs, *g.outputs)
        self.w = draw(outputs, inputs, taps)
        self.b, self.b_in = draw(outputs), draw(inputs)
        self.acc, self.acc_in = draw(*self.gy.shape), draw(*self.x.shape)


TOLERANCE = {"float32": 2e-6, "float64": 1e-14}


def kernel_of(g: Geometry, w: np.ndarray) -> np.ndarray:
    """(O, C, taps) as (O, C, kh, kw), with zeros for the missing taps."""
    mask = mask_of(g)
    kernel = np.zeros(w.shape[:2] + mask.shape)
    for t, (u, v) in enumerate(zip(*np.nonzero(mask))):
        kernel[:, :, u, v] = w[:, :, t]
    return kernel


def products(g: Geometry):
    """Every product of a convolution: where it lies in the output, the kernel and the input."""
    mask = mask_of(g)
    for i in range(g.outputs[0]):
        for j in range(g.outputs[1]):
            for u, v in zip(*np.nonzero(mask)):
                r = g.stride * i + u - mask.shape[0] // 2
                c = g.stride * j + v - mask.shape[1] // 2
                if 0 <= r < g.inputs[0] and 0 <= c < g.inputs[1]:
                    yield i, j, u, v, r, c


def by_loops(g: Geometry, x, w) -> np.ndarray:
    y, kernel = np.zeros((len(x), len(w), *g.outputs)), kernel_of(g, w)
    for i, j, u, v, r, c in products(g):
        y[:, :, i, j] += x[:, :, r, c] @ kernel[:, :, u, v].T
    return y


def inputs_by_loops(g: Geometry, gy, w) -> np.ndarray:
    x, kernel = np.zeros((len(gy), w.shape[1], *g.inputs)), kernel_of(g, w)
    for i, j, u, v, r, c in products(g):
        x[:, :, r, c] += gy[:, :, i, j] @ kernel[:, :, u, v]
    return x


def weights_by_loops(g: Geometry, x, gy) -> np.ndarray:
    kernel = np.zeros((gy.shape[1], x.shape[1], *mask_of(g).shape))
    for i, j, u, v, r, c in products(g):
        kernel[:, :, u, v] += gy[:, :, i, j].T @ x[:, :, r, c]
    return kernel[:, :, mask_of(g) == 1]


def close(ours: np.ndarray, truth: np.ndarray, dtype: str = "float64") -> None:
    assert ours.shape == truth.shape and ours.dtype == dtype
    np.testing.assert_allclose(ours, truth, rtol=0, atol=TOLERANCE[dtype] * np.abs(truth).max())
