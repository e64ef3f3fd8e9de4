"""Weight normalisation against Salimans & Kingma's formula, row by row."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import BOTH, C, apply, guarded, threads
from theano.tensor import verify_grad

from pixelvae.lib.ops.weight_norm import WeightNorm, WeightNormGradient

TOLERANCE = {"float32": 1e-6, "float64": 1e-14}
in_both = pytest.mark.parametrize("mode", BOTH, ids=["C", "NumPy"])
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def draw(taps, dtype="float64"):
    rng = np.random.RandomState(2)
    arrays = rng.standard_normal((5, 3, 9)), rng.standard_normal(5), rng.rand(5, 3, taps)
    return [guarded(v.astype(dtype)) for v in arrays]


@in_both
@every_dtype
@pytest.mark.parametrize("taps", [1, 4, 9])
def test_equal_to_loops(taps, dtype, mode):
    v, g, gw = draw(taps, dtype)
    w = apply(WeightNorm(taps), v, g, mode=mode)
    gv, gg = apply(WeightNormGradient(taps), v, g, gw, mode=mode)
    assert w.dtype == gv.dtype == gg.dtype == dtype and w.shape == (5, 3, taps)
    mask = np.array([1] * taps + [0] * (9 - taps))
    for o in range(5):
        row, scale = v[o].astype("float64"), float(g[o])
        norm = np.sqrt(sum(x * x for x in row.ravel()))  # masked taps included
        upstream = np.zeros((3, 9))
        upstream[:, :taps] = gw[o]
        inner = (upstream * mask * row).sum()
        close(w[o], (scale * row / norm * mask)[:, :taps], dtype)
        close(gg[o], inner / norm, dtype)
        close(gv[o], scale / norm * upstream - scale * inner / norm**3 * row, dtype)


def close(ours, truth, dtype):
    np.testing.assert_allclose(ours, truth, rtol=0, atol=TOLERANCE[dtype] * np.abs(truth).max())


@pytest.mark.parametrize("taps", [1, 4, 9])
def test_gradients_against_finite_differences(taps):
    v, g, _ = draw(taps)
    verify_grad(WeightNorm(taps), [v, g], rng=np.random.RandomState(0), mode=C)


@every_dtype
def test_norms_far_from_one(dtype):
    """Rows whose squares are lost in float32 still have a direction."""
    v, g, _ = draw(9, dtype)
    for scale in (1e-15, 1e15):
        ours = apply(WeightNorm(9), v * v.dtype.type(scale), g)
        np.testing.assert_allclose(ours, apply(WeightNorm(9), v, g), rtol=1e-5)


@in_both
def test_nan_and_a_row_of_zeros_stay_in_their_row(mode):
    v, g, gw = draw(4)
    v[1, 2, 8], v[3], g[4] = np.nan, 0, np.nan
    expected = np.array([False, True, False, True, True])
    with np.errstate(divide="ignore", invalid="ignore"):
        w = apply(WeightNorm(4), v, g, mode=mode)
        gv, _ = apply(WeightNormGradient(4), v, g, gw, mode=mode)
    for rows in (w, gv):
        np.testing.assert_array_equal(np.isnan(rows).all(axis=(1, 2)), expected)
        np.testing.assert_array_equal(np.isnan(rows).any(axis=(1, 2)), expected)


def test_arrays_that_are_not_contiguous():
    v, g, gw = draw(4)
    views = [np.repeat(a, 2, axis=0)[::2] for a in (v, g, gw)]
    assert not any(a.flags.c_contiguous for a in views)
    np.testing.assert_array_equal(apply(WeightNorm(4), *views[:2]), apply(WeightNorm(4), v, g))
    op = WeightNormGradient(4)
    for ours, dense in zip(apply(op, *views), apply(op, v, g, gw)):
        np.testing.assert_array_equal(ours, dense)


@in_both
def test_shapes_that_do_not_fit(mode):
    v, g, gw = draw(4)
    for op, given in [
        (WeightNorm(4), (v, g[1:])),
        (WeightNorm(10), (v, g)),
        (WeightNormGradient(4), (v, g[1:], gw)),
        (WeightNormGradient(4), (v, g, gw[1:])),
        (WeightNormGradient(4), (v, g, gw[:, 1:])),
        (WeightNormGradient(4), (v, g, gw[:, :, 1:])),
        (WeightNormGradient(10), (v, g, np.zeros((5, 3, 10)))),
    ]:
        with pytest.raises(ValueError, match=rf"^{type(op).__name__}:"):
            apply(op, *given, mode=mode)


def test_arrays_of_the_wrong_rank():
    v, g, gw = draw(4)
    for op, given in [
        (WeightNorm(1), (v[0], g)),
        (WeightNorm(1), (v, v)),
        (WeightNormGradient(4), (v, g, g)),
    ]:
        with pytest.raises(ValueError, match=rf"^{type(op).__name__}: .*dimensions"):
            apply(op, *given)


@every_dtype
@pytest.mark.parametrize(("channels", "full", "taps"), [(24, 9, 9), (24, 9, 5), (210, 1, 1)])
def test_arrays_large_enough_for_threads(channels, full, taps, dtype):
    """Equal to NumPy, and the same bits with any number of threads."""
    rng = np.random.RandomState(3)
    shapes = (4000, channels, full), (4000,), (4000, channels, taps)
    v, g, gw = (guarded(rng.standard_normal(shape).astype(dtype)) for shape in shapes)
    gradient = WeightNormGradient(taps)
    truth = [WeightNorm(taps).reference(*map(np.float64, (v, g)))]
    truth += gradient.reference(*map(np.float64, (v, g, gw)))
    of_threads = []
    for count in (1, 2, 3):
        with threads(count):
            ours = [apply(WeightNorm(taps), v, g), *apply(gradient, v, g, gw)]
        for own, true in zip(ours, truth):
            close(own, true, dtype)
        of_threads.append([own.tobytes() for own in ours])
    assert of_threads[0] == of_threads[1] == of_threads[2]
