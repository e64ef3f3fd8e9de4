"""The gate and its gradient, and the accuracy of the functions it is made of."""

from __future__ import annotations

import numpy as np
import pytest
import theano
import theano.tensor as T
from compiled import BOTH, C, apply, guarded, threads
from scipy.special import expit
from theano.tensor import verify_grad

from pixelvae.lib.ops.gate import Gate, GateGradient, gate

N, D, H, W = 3, 5, 4, 7
TOLERANCE = {"float32": 1e-6, "float64": 1e-14}
in_both = pytest.mark.parametrize("mode", BOTH, ids=["C", "NumPy"])
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
shared_or_not = pytest.mark.parametrize("rows", [1, N], ids=["one bias", "a bias an image"])


def draw(rows, dtype="float64", n=N):
    """Maps, biases, and gradients of the gate's output."""
    rng = np.random.RandomState(5)
    y, c, g = rng.standard_normal((n, 2 * D, H, W)), rng.rand(rows, 2 * D), rng.rand(n, D, H, W)
    return [guarded(v.astype(dtype)) for v in (y, c, g)]


def by_loops(y, c):
    """tanh and sigmoid of each pair of channels, in float64."""
    t, s = np.zeros((2, len(y), y.shape[1] // 2, *y.shape[2:]))
    for n in range(len(y)):
        bias = c[n if len(c) > 1 else 0].astype("float64")
        for d in range(t.shape[1]):
            t[n, d] = np.tanh(y[n, d] + bias[d])
            s[n, d] = expit(y[n, t.shape[1] + d] + bias[t.shape[1] + d])
    return t, s


@in_both
@every_dtype
@shared_or_not
def test_equal_to_loops(rows, dtype, mode):
    y, c, g = draw(rows, dtype)
    t, s = by_loops(y, c)
    out = apply(Gate(), y, c, mode=mode)
    gy, gc = apply(GateGradient(), y, c, g, mode=mode)
    truth = np.concatenate([g * s * (1 - t**2), g * t * s * (1 - s)], axis=1)
    for ours, expected in [(out, t * s), (gy, truth), (gc, truth.sum((2, 3)))]:
        assert ours.dtype == dtype and ours.shape == expected.shape
        np.testing.assert_allclose(ours, expected, rtol=0, atol=20 * TOLERANCE[dtype])


@shared_or_not
def test_gradients_against_finite_differences(rows):
    y, c, _ = draw(rows)
    verify_grad(gate, [y, c[0] if rows == 1 else c], rng=np.random.RandomState(0), mode=C)


def sigmoids(x, mode=C):
    """σ(x) as the gate has it: tanh of the other half is 1 in floating point."""
    y = np.zeros((1, 2, 1, len(x)), x.dtype)
    y[:, 0], y[:, 1] = 30, x
    return apply(Gate(), y, np.zeros((1, 2), x.dtype), mode=mode).ravel()


def tanhs(x, mode=C):
    """tanh(x) as the gate has it."""
    y = np.zeros((1, 2, 1, len(x)), x.dtype)
    y[:, 0], y[:, 1] = x, 40
    return apply(Gate(), y, np.zeros((1, 2), x.dtype), mode=mode).ravel()


def both_signs(*sizes):
    return np.concatenate([*sizes, *[-s for s in sizes]])


@every_dtype
def test_tanh_is_accurate_from_the_smallest_to_the_largest(dtype):
    x = both_signs(np.logspace(-30, 2, 20001), np.linspace(0.5, 1, 20001)).astype(dtype)
    np.testing.assert_allclose(tanhs(x), np.tanh(x.astype("float64")), rtol=TOLERANCE[dtype])


@every_dtype
def test_sigmoid_is_accurate_where_it_is_no_denormal(dtype):
    x = both_signs(np.logspace(-30, np.log10(87), 20001), np.linspace(0, 87, 20001)).astype(dtype)
    np.testing.assert_allclose(sigmoids(x), expit(x.astype("float64")), rtol=TOLERANCE[dtype])


@in_both
@every_dtype
def test_saturation(dtype, mode):
    far = np.array([-np.inf, -1e30, -1e4, -100, 100, 1e4, 1e30, np.inf], dtype)
    sign = np.sign(far)
    np.testing.assert_array_equal(tanhs(far, mode), sign)
    np.testing.assert_allclose(sigmoids(far, mode), (1 + sign) / 2, rtol=0, atol=1e-38)
    y = np.stack(np.meshgrid(far, far)).reshape(1, 2, 8, 8)
    gradients = apply(
        GateGradient(), y, np.zeros((1, 2), dtype), np.ones((1, 1, 8, 8), dtype), mode=mode
    )
    for gradient in gradients:
        np.testing.assert_allclose(gradient, 0, atol=1e-30)


@in_both
@every_dtype
def test_nan_reaches_what_depends_on_it_and_nothing_else(dtype, mode):
    y, c, g = draw(N, dtype)
    y[0, 1, 2, 3] = y[1, D + 2, 0, 0] = c[2, 4] = np.nan
    pixels = np.zeros((N, D, H, W), bool)
    pixels[0, 1, 2, 3] = pixels[1, 2, 0, 0] = pixels[2, 4] = True
    np.testing.assert_array_equal(np.isnan(apply(Gate(), y, c, mode=mode)), pixels)
    gy, gc = apply(GateGradient(), y, c, g, mode=mode)
    np.testing.assert_array_equal(np.isnan(gy), np.concatenate([pixels] * 2, axis=1))
    np.testing.assert_array_equal(np.isnan(gc), np.isnan(gy).any(axis=(2, 3)))


@in_both
@pytest.mark.parametrize("rows", [1, 0], ids=["one bias", "a bias an image"])
def test_empty_batch(rows, mode):
    y, c, g = draw(rows, n=0)
    assert apply(Gate(), y, c, mode=mode).shape == (0, D, H, W)
    gy, gc = apply(GateGradient(), y, c, g, mode=mode)
    assert gy.shape == y.shape and gc.shape == (0, 2 * D)


def test_arrays_that_are_not_contiguous():
    y, c, g = draw(N)
    views = [np.repeat(v, 2, axis=-1)[..., ::2].T.copy().T for v in (y, c, g)]
    assert not any(v.flags.c_contiguous for v in views)
    np.testing.assert_array_equal(apply(Gate(), *views[:2]), apply(Gate(), y, c))
    for ours, dense in zip(apply(GateGradient(), *views), apply(GateGradient(), y, c, g)):
        np.testing.assert_array_equal(ours, dense)


def test_threads():
    y, c, g = draw(1, "float32", n=7)
    results = []
    for count in (1, 2, 2):
        with threads(count):
            results.append([apply(Gate(), y, c), *apply(GateGradient(), y, c, g)])
    for one, two, two_again in zip(*results):
        assert one.tobytes() == two.tobytes() == two_again.tobytes()  # no sum crosses threads


@in_both
def test_shapes_that_do_not_fit(mode):
    y, c, g = draw(N)
    for op, given in [
        (Gate(), (y[:, 1:], c[:, 1:])),
        (Gate(), (y, c[:, 1:])),
        (Gate(), (y, c[1:])),
        (Gate(), (y[:2], c)),
        (GateGradient(), (y, c[1:], g)),
        (GateGradient(), (y, c, g[1:])),
        (GateGradient(), (y, c, g[:, 1:])),
        (GateGradient(), (y, c, g[..., 1:])),
    ]:
        with pytest.raises(ValueError, match=rf"^{type(op).__name__}:"):
            apply(op, *given, mode=mode)


@in_both
def test_one_row_of_a_matrix_is_no_bias_for_all(mode):
    """Its gradient would have a row an image, another shape than its own."""
    y, c = T.tensor4(dtype="float64"), T.matrix(dtype="float64")
    function = theano.function([y, c], gate(y, c), mode=mode)
    arrays = draw(1)
    with pytest.raises(ValueError, match="^Gate:"):
        function(*arrays[:2])
    function(arrays[0][:1], arrays[1])


def test_arrays_of_the_wrong_rank():
    with pytest.raises(ValueError, match="^Gate: .*dimensions"):
        gate(T.tensor3(), T.vector())
    with pytest.raises(ValueError, match="^Gate: .*dimensions"):
        gate(T.tensor4(), T.tensor3())


@pytest.mark.parametrize("mode", BOTH)
def test_one_image_serves_many_latents(mode):
    rng = np.random.RandomState(0)
    y, c = rng.randn(1, 6, 4, 5).astype("float32"), rng.randn(7, 6).astype("float32")
    one = T.TensorType("float32", (True, False, False, False))()
    many = T.matrix()
    function = theano.function([one, many], gate(one, many), mode=mode)
    pre = y + c[:, :, None, None]
    expected = np.tanh(pre[:, :3]) / (1 + np.exp(-pre[:, 3:]))
    np.testing.assert_allclose(function(y, c), expected, rtol=1e-5, atol=1e-6)


def test_one_image_with_many_latents_has_no_gradient():
    one = T.TensorType("float32", (True, False, False, False))()
    with pytest.raises(NotImplementedError, match="evaluation"):
        T.grad(gate(one, T.matrix()).sum(), one)
