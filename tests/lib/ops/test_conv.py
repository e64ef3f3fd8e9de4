"""Correlations and their adjoints against loops that are written out, tap by tap."""

from __future__ import annotations

import numpy as np
import pytest
import theano
import theano.tensor as T
from compiled import BOTH, PYTHON, C, apply, threads
from convolutions import (
    GEOMETRIES,
    Arrays,
    arguments,
    by_loops,
    close,
    inputs_by_loops,
    of_size,
    weights_by_loops,
)
from theano.tensor import verify_grad

from pixelvae.lib.ops.conv import Correlate, CorrelateInputs, CorrelateWeights

every_geometry = pytest.mark.parametrize("g", GEOMETRIES.values(), ids=GEOMETRIES)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
in_both = pytest.mark.parametrize("mode", BOTH, ids=["C", "NumPy"])


@in_both
@every_dtype
@every_geometry
def test_equal_to_loops(g, dtype, mode):
    a = Arrays(g, dtype)
    y = apply(Correlate(*arguments(g)), a.x, a.w, None, None, mode=mode)
    gx = apply(CorrelateInputs(*arguments(g)), a.gy, a.w, *g.inputs, None, None, mode=mode)
    gw = apply(CorrelateWeights(*arguments(g)), a.x, a.gy, mode=mode)
    close(y, by_loops(g, a.x, a.w), dtype)
    close(gx, inputs_by_loops(g, a.gy, a.w), dtype)
    close(gw, weights_by_loops(g, a.x, a.gy), dtype)


@every_dtype
@pytest.mark.parametrize(
    "size", [(1, 1), (4, 4), (7, 7), (8, 8), (5, 13), (3, 27), (14, 14), (28, 28)]
)
@pytest.mark.parametrize("inputs, outputs", [(1, 9), (10, 17), (19, 1), (32, 8)])
@pytest.mark.parametrize("name", ["3x3", "3x3, stride 2, odd", "stride 3", "vstack 5x5", "1x1"])
def test_equal_to_numpy_whatever_the_blocks_leave(name, inputs, outputs, size, dtype):
    """Sizes and channels around whole vectors and blocks of rows."""
    g = of_size(name, size)
    a = Arrays(g, dtype, images=2, inputs=inputs, outputs=outputs)
    for op, given in [
        (Correlate(*arguments(g)), (a.x, a.w, a.b, a.acc)),
        (CorrelateInputs(*arguments(g)), (a.gy, a.w, *g.inputs, a.b_in, a.acc_in)),
        (CorrelateWeights(*arguments(g)), (a.x, a.gy)),
    ]:
        exact = [v.astype("float64") if isinstance(v, np.ndarray) else v for v in given]
        truth = apply(op, *exact, mode=PYTHON)
        ours = apply(op, *given)
        assert ours.dtype == dtype
        tolerance = {"float32": 3e-6, "float64": 1e-14}[dtype]
        np.testing.assert_allclose(ours, truth, rtol=0, atol=tolerance * np.abs(truth).max())


@in_both
@pytest.mark.parametrize("channels", [(5, 6), (131, 149)], ids=["narrow", "wide"])
@pytest.mark.parametrize("size", [(7, 7), (8, 27)])
@pytest.mark.parametrize("name", ["3x3", "3x3, stride 2, odd", "stride 3", "1x1"])
def test_rectified(name, size, channels, mode):
    """max(0, y) of the whole sum, with bias, acc or neither; NaN stays NaN."""
    g = of_size(name, size)
    a = Arrays(g, images=2, inputs=channels[0], outputs=channels[1])
    a.b[0] = a.b_in[0] = np.nan
    for op, given, terms in [
        (Correlate, (a.x, a.w), (a.b, a.acc)),
        (CorrelateInputs, (a.gy, a.w, *g.inputs), (a.b_in, a.acc_in)),
    ]:
        for bias, acc in [terms, (terms[0], None), (None, terms[1]), (None, None)]:
            plain = apply(op(*arguments(g)), *given, bias, acc, mode=PYTHON)
            ours = apply(op(*arguments(g), relu=True), *given, bias, acc, mode=mode)
            assert (plain < 0).any()
            np.testing.assert_allclose(
                ours, np.maximum(plain, 0), rtol=0, atol=1e-13 * np.nanmax(np.abs(plain))
            )


def test_gradient_of_rectified_units_is_that_of_theano():
    """Through units that are on and units that are off; at 0 itself it is 0."""
    g = GEOMETRIES["3x3, stride 2, odd"]
    a, geometry = Arrays(g, images=2), arguments(g)
    variables = [
        v.type(n) for v, n in zip(map(T.as_tensor_variable, (a.x, a.w, a.b, a.acc)), "xwba")
    ]
    cost = [
        (y * T.arange(y.size).reshape(y.shape)).sum()
        for y in (
            Correlate(*geometry, relu=True)(*variables),
            T.nnet.relu(Correlate(*geometry)(*variables)),
        )
    ]
    ours, truth = (
        theano.function(variables, T.grad(c, variables), mode=C)(a.x, a.w, a.b, a.acc) for c in cost
    )
    for one, other in zip(ours, truth):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize(
    "images, inputs, outputs, size", [(17, 9, 11, (32, 33)), (37, 18, 8, (21, 24))]
)
@pytest.mark.parametrize("name", ["3x3", "3x3, stride 2, odd", "vstack 5x5"])
def test_weights_over_many_places(name, images, inputs, outputs, size):
    """So many that they are summed in parts."""
    g = of_size(name, size if GEOMETRIES[name].stride == 1 else tuple(2 * n - 1 for n in size))
    a = Arrays(g, "float32", images, inputs, outputs)
    op, results = CorrelateWeights(*arguments(g)), []
    for count in (1, 2, 3):
        with threads(count):
            results.append(apply(op, a.x, a.gy))
    assert len({result.tobytes() for result in results}) == 1
    truth = apply(op, a.x.astype("float64"), a.gy.astype("float64"), mode=PYTHON)
    np.testing.assert_allclose(results[0], truth, rtol=0, atol=3e-6 * np.abs(truth).max())


@in_both
@pytest.mark.parametrize("bias, acc", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("name", ["3x3", "3x3, stride 2, odd", "row above", "1x1"])
def test_bias_and_acc_are_added(name, bias, acc, mode):
    g = GEOMETRIES[name]
    a = Arrays(g)
    for op, arrays, truth, b, other in [
        (Correlate, (a.x, a.w), by_loops(g, a.x, a.w), a.b, a.acc),
        (CorrelateInputs, (a.gy, a.w, *g.inputs), inputs_by_loops(g, a.gy, a.w), a.b_in, a.acc_in),
    ]:
        given = (b if bias else None, other if acc else None)
        truth = truth + bias * b[:, None, None] + acc * other
        close(apply(op(*arguments(g)), *arrays, *given, mode=mode), truth)


@pytest.mark.parametrize("name", ["3x3, stride 2, odd", "mask B 5x5", "row above", "1x1"])
def test_gradients_against_finite_differences(name):
    g = GEOMETRIES[name]
    a, geometry, rng = Arrays(g, images=2), arguments(g), np.random.RandomState(3)
    for function, points in [
        (Correlate(*geometry), [a.x, a.w, a.b, a.acc]),
        (lambda gy, w, b, acc: CorrelateInputs(*geometry)(gy, w, *g.inputs, b, acc),
         [a.gy, a.w, a.b_in, a.acc_in]),
        (CorrelateWeights(*geometry), [a.x, a.gy]),
    ]:  # fmt: skip
        verify_grad(function, points, rng=rng, mode=C)


@pytest.mark.parametrize("name", ["3x3", "3x3, stride 2, odd", "mask A 7x7", "1x1"])
def test_empty_batch(name):
    g = GEOMETRIES[name]
    a = Arrays(g, images=0)
    for mode in BOTH:
        y = apply(Correlate(*arguments(g)), a.x, a.w, None, None, mode=mode)
        gx = apply(CorrelateInputs(*arguments(g)), a.gy, a.w, *g.inputs, None, None, mode=mode)
        gw = apply(CorrelateWeights(*arguments(g)), a.x, a.gy, mode=mode)
        assert y.shape == a.gy.shape and gx.shape == a.x.shape
        assert gw.shape == a.w.shape and not gw.any()


@pytest.mark.parametrize("name", ["3x3, stride 2, odd", "mask A 7x7", "1x1"])
def test_arrays_that_are_not_contiguous(name):
    g = GEOMETRIES[name]
    a = Arrays(g)

    def view(array):
        """The same values in Fortran's order, every second number of memory."""
        wide = np.zeros(array.shape[::-1] + (2,)).T
        wide[1] = array
        return wide[1]

    pairs = [
        (Correlate, (a.x, a.w, a.b, a.acc)),
        (CorrelateInputs, (a.gy, a.w, *g.inputs, a.b_in, a.acc_in)),
        (CorrelateWeights, (a.x, a.gy)),
    ]
    for op, given in pairs:
        views = [v if isinstance(v, int) else view(v) for v in given]
        assert not any(v.flags.forc for v in views if isinstance(v, np.ndarray))
        ours, dense = apply(op(*arguments(g)), *views), apply(op(*arguments(g)), *given)
        np.testing.assert_array_equal(ours, dense)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_nan_reaches_what_depends_on_it_and_nothing_else(name):
    g = GEOMETRIES[name]
    a = Arrays(g)
    a.x[1, 2, g.inputs[0] // 2, g.inputs[1] // 2] = np.nan
    a.gy[2, 3, g.outputs[0] // 2, 0] = np.nan
    y = apply(Correlate(*arguments(g)), a.x, a.w, None, None)
    gx = apply(CorrelateInputs(*arguments(g)), a.gy, a.w, *g.inputs, None, None)
    gw = apply(CorrelateWeights(*arguments(g)), a.x, a.gy)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(by_loops(g, a.x, a.w)))
    np.testing.assert_array_equal(np.isnan(gx), np.isnan(inputs_by_loops(g, a.gy, a.w)))
    assert np.isnan(gw)[np.isnan(weights_by_loops(g, a.x, a.gy))].all()


@pytest.mark.parametrize("name", ["3x3", "3x3, stride 2, odd", "vstack 5x5"])
def test_threads(name):
    g = GEOMETRIES[name]._replace(inputs=(28, 28), outputs=(28, 28))
    if g.stride == 2:
        g = g._replace(outputs=(14, 14))
    a = Arrays(g, "float32", images=7)
    for op, given in [
        (Correlate, (a.x, a.w, a.b, None)),
        (CorrelateInputs, (a.gy, a.w, *g.inputs, a.b_in, None)),
        (CorrelateWeights, (a.x, a.gy)),
    ]:
        results = []
        for count in (1, 2, 2, 1):
            with threads(count):
                results.append(apply(op(*arguments(g)), *given))
        assert len({result.tobytes() for result in results}) == 1


def test_weight_gradients_over_many_images_are_exact():
    """Sums over a large batch of small maps, taken in groups, in float32."""
    g = GEOMETRIES["3x3"]
    rng = np.random.RandomState(0)
    x = (1 + rng.rand(300, 2, 5, 6)).astype("float32")
    gy = (1 + rng.rand(300, 3, 5, 6)).astype("float32")
    close(apply(CorrelateWeights(*arguments(g)), x, gy), weights_by_loops(g, x, gy), "float32")


@in_both
def test_shapes_that_do_not_fit(mode):
    x, w, gy = np.zeros((2, 3, 7, 7)), np.zeros((4, 3, 9)), np.zeros((2, 4, 7, 7))
    wrong_size, wrong_batch = np.zeros((2, 4, 6, 7)), np.zeros((1, 4, 7, 7))
    forward, adjoint = Correlate(3, 3, 9), CorrelateInputs(3, 3, 9)
    weights = CorrelateWeights(3, 3, 9)
    for op, given in [
        (forward, (np.zeros((2, 2, 7, 7)), w, None, None)),
        (forward, (x, np.zeros((4, 3, 10)), None, None)),
        (forward, (x, w, np.zeros(3), None)),
        (forward, (x, w, np.zeros(1), None)),
        (forward, (x, w, None, wrong_size)),
        (forward, (x, w, None, wrong_batch)),
        (adjoint, (np.zeros((2, 3, 7, 7)), w, 7, 7, None, None)),
        (adjoint, (gy, np.zeros((4, 3, 8)), 7, 7, None, None)),
        (adjoint, (gy, w, 7, 8, None, None)),
        (adjoint, (gy, w, 7, -1, None, None)),
        (adjoint, (gy, w, 7, 7, np.zeros(4), None)),
        (adjoint, (gy, w, 7, 7, None, gy)),
        (weights, (x, wrong_size)),
        (weights, (x, wrong_batch)),
    ]:
        with pytest.raises(ValueError, match=rf"^{type(op).__name__}:"):
            apply(op, *given, mode=mode)


def test_arrays_of_the_wrong_rank():
    x, w = np.zeros((2, 3, 7, 7)), np.zeros((4, 3, 9))
    for op, given in [
        (Correlate, (x[0], w, None, None)),
        (Correlate, (x, w[:, :, 0], None, None)),
        (Correlate, (x, w, np.zeros((4, 1)), None)),
        (CorrelateInputs, (x[0], w, 7, 7, None, None)),
        (CorrelateWeights, (x, x[0])),
    ]:
        with pytest.raises(ValueError, match=rf"^{op.__name__}: .*dimensions"):
            apply(op(3, 3, 9), *given)


@pytest.mark.parametrize("kh, kw, taps", [(2, 3, 1), (3, 4, 1), (3, 3, 0), (3, 3, 10)])
def test_kernels_that_cannot_be(kh, kw, taps):
    with pytest.raises(ValueError):
        Correlate(kh, kw, taps)
