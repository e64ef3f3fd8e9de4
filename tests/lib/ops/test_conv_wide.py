"""Correlations of layers that are wide enough for a way of their own, against NumPy's loops and einsum."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import PYTHON, C, apply, threads
from convolutions import (
    GEOMETRIES,
    Wide,
    arguments,
    by_loops,
    close,
    inputs_by_loops,
    of_size,
    weights_by_loops,
)
from theano.tensor import verify_grad

from pixelvae.lib.ops.conv import Correlate, CorrelateWeights


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("g", GEOMETRIES.values(), ids=GEOMETRIES)
def test_equal_to_loops(g, dtype):
    a = Wide(g, dtype)
    y, gx, gw = (apply(op, *given) for op, given in a.of_each(g))
    tolerance = {"float32": 3e-6, "float64": 1e-14}[dtype]
    for ours, truth in [
        (y, by_loops(g, a.x, a.w) + a.b[:, None, None] + a.acc),
        (gx, inputs_by_loops(g, a.gy, a.w) + a.b_in[:, None, None] + a.acc_in),
        (gw, weights_by_loops(g, a.x, a.gy)),
    ]:
        assert ours.shape == truth.shape and ours.dtype == dtype
        np.testing.assert_allclose(ours, truth, rtol=0, atol=tolerance * np.abs(truth).max())


@pytest.mark.parametrize(
    "images, inputs, outputs, size",
    [(1, 300, 270, (3, 5)), (2, 140, 160, (41, 37)), (27, 49, 47, (40, 41)), (2, 96, 640, (4, 4))],
    ids=["one image", "many columns", "many images", "many rows"],
)
@pytest.mark.parametrize("name", ["3x3", "3x3, stride 2, odd", "vstack 5x5", "1x1"])
def test_equal_to_numpy_over_many_blocks(name, images, inputs, outputs, size):
    g = of_size(name, size)
    a = Wide(g, "float32", images, inputs, outputs)
    for op, given in a.of_each(g):
        exact = [v.astype("float64") if isinstance(v, np.ndarray) else v for v in given]
        truth = apply(op, *exact, mode=PYTHON)
        np.testing.assert_allclose(
            apply(op, *given), truth, rtol=0, atol=3e-6 * np.abs(truth).max()
        )


@pytest.mark.parametrize("name", ["3x3", "3x3, stride 2, odd", "mask B 5x5", "1x1"])
def test_bits_depend_neither_on_threads_nor_on_the_batch(name):
    g = GEOMETRIES[name]
    a = Wide(g, "float32", images=5)
    for op, given in a.of_each(g):
        results = []
        for count in (1, 2, 3, 1):
            with threads(count):
                results.append(apply(op, *given))
        assert len({result.tobytes() for result in results}) == 1
        if not isinstance(op, CorrelateWeights):
            first = [v[:1] if isinstance(v, np.ndarray) and v.ndim == 4 else v for v in given]
            assert apply(op, *first).tobytes() == results[0][:1].tobytes()


@pytest.mark.parametrize("name", ["3x3, stride 2, odd", "mask B 5x5", "1x1"])
def test_gradients_against_finite_differences(name):
    g = GEOMETRIES[name]
    a, rng = Wide(g, images=2, inputs=130, outputs=136), np.random.RandomState(3)
    x, w = a.x[:, :, :3, :3], a.w
    # Along the inputs alone: of the weights, there are too many to move each.
    verify_grad(
        lambda x: Correlate(*arguments(g))(x, w), [x[:1, :2].repeat(65, 1)], rng=rng, mode=C
    )


def test_what_is_masked_is_not_read():
    """Infinite weights and pixels stay where a tap brings them."""
    g = GEOMETRIES["mask A 7x7"]
    a = Wide(g)
    a.x[0, 1, 2, 3] = np.inf
    y = apply(Correlate(*arguments(g)), a.x, a.w, None, None)
    truth = by_loops(g, a.x, a.w)
    np.testing.assert_array_equal(np.isfinite(y), np.isfinite(truth))
    close(np.where(np.isfinite(y), y, 0), np.where(np.isfinite(y), truth, 0))
