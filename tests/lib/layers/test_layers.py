"""Layers against the definitions, written out in NumPy with masks of zeros and ones."""

from __future__ import annotations

import numpy as np
import pytest
import theano
import theano.tensor as T
from scipy.special import expit

from pixelvae.lib.layers.conv import Conv, TransposedConv
from pixelvae.lib.layers.gated import GatedLayer
from pixelvae.lib.layers.linear import Linear
from pixelvae.lib.layers.parameters import Parameters


@pytest.fixture(scope="module", autouse=True)
def double_precision():
    with theano.configparser.change_flags(floatX="float64"):
        yield


@pytest.fixture
def p():
    return Parameters(seed=1)


def perturb(p: Parameters) -> None:
    """Away from the initial values, where gains equal norms and biases are zero."""
    rng = np.random.RandomState(4)
    for variable in p.values():
        value = variable.get_value()
        variable.set_value(value + 0.5 * rng.standard_normal(value.shape))


def draw(*shape) -> np.ndarray:
    return np.random.RandomState(9).standard_normal(shape)


def evaluate(layer, *arrays):
    inputs = [T.TensorType("float64", (False,) * a.ndim)() for a in arrays]
    return theano.function(inputs, layer(*inputs), mode="FAST_COMPILE")(*arrays)


def kernel(p: Parameters, name: str, mask) -> np.ndarray:
    """g v / ||v||, then the mask."""
    v, g = p[f"{name}.v"].get_value(), p[f"{name}.g"].get_value()
    norm = np.sqrt((v.reshape(len(v), -1) ** 2).sum(axis=1))
    mask = np.array(mask)
    return (v * (g / norm)[:, None, None]).reshape(*v.shape[:2], *mask.shape) * mask


def correlate(x, w, b, stride=1):
    """Cross-correlation with half padding and a bias."""
    kh, kw = w.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2)))
    rows = range(0, padded.shape[2] - kh + 1, stride)
    columns = range(0, padded.shape[3] - kw + 1, stride)
    y = np.zeros((len(x), len(w), len(rows), len(columns)))
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            window = padded[:, :, r : r + kh, c : c + kw]
            y[:, :, i, j] = np.einsum("ncuv,ocuv->no", window, w)
    return y + b[:, None, None]


@pytest.mark.parametrize("stride", [1, 2])
def test_convolution(p, stride):
    layer = Conv(p, "layer", 3, 4, 3, stride=stride)
    perturb(p)
    x, w, b = draw(2, 3, 7, 6), kernel(p, "layer", np.ones((3, 3))), p["layer.b"].get_value()
    truth = correlate(x, w, b, stride)
    np.testing.assert_allclose(evaluate(layer, x), truth, atol=1e-12)
    acc = draw(*truth.shape)
    np.testing.assert_allclose(evaluate(layer, x, acc), truth + acc, atol=1e-12)
    without = evaluate(layer.without_bias, x)
    np.testing.assert_allclose(without, truth - b[:, None, None], atol=1e-12)


MASKS = {
    "A": [[1, 1, 1], [1, 0, 0], [0, 0, 0]],
    "B": [[1, 1, 1], [1, 1, 0], [0, 0, 0]],
    "rows": [[1, 1, 1], [1, 1, 1], [0, 0, 0]],
}


@pytest.mark.parametrize("mask", MASKS)
def test_masked_convolution(p, mask):
    layer = Conv(p, "layer", 3, 4, 3, mask)
    perturb(p)
    x = draw(2, 3, 5, 6)
    truth = correlate(x, kernel(p, "layer", MASKS[mask]), p["layer.b"].get_value())
    np.testing.assert_allclose(evaluate(layer, x), truth, atol=1e-12)


@pytest.mark.parametrize("mask", ["A", "B"])
def test_colours_see_those_before_them(p, mask):
    """Two blocks of 6 outputs over 9 inputs in three colours: by index modulo 3, block by block."""
    layer = Conv(p, "layer", 9, 6, 3, mask, groups=3, blocks=2)
    perturb(p)
    seen = np.tile(np.array(MASKS["A"]), (12, 9, 1, 1))
    for output, by in np.ndindex(12, 9):
        before, own = by % 3 < output % 6 % 3, by % 3 == output % 6 % 3
        seen[output, by, 1, 1] = before or (own and mask == "B")
    x = draw(2, 9, 4, 5)
    w = kernel(p, "layer", np.ones((3, 3))) * seen
    truth = correlate(x, w, p["layer.b"].get_value())
    np.testing.assert_allclose(evaluate(layer, x), truth, atol=1e-12)


def test_a_small_kernel_reaches_the_row_above(p):
    layer = Conv(p, "layer", 3, 4, 1, reach=(3, 1))
    perturb(p)
    x, b = draw(2, 3, 5, 6), p["layer.b"].get_value()
    above = np.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]
    truth = correlate(above, kernel(p, "layer", [[1]]), b)
    np.testing.assert_allclose(evaluate(layer, x), truth, atol=1e-12)


def test_plain_convolution(p):
    layer = Conv(p, "layer", 3, 4, 3, weight_norm=False, bias=False)
    x, w = draw(2, 3, 5, 6), p["layer.w"].get_value().reshape(4, 3, 3, 3)
    np.testing.assert_allclose(evaluate(layer, x), correlate(x, w, np.zeros(4)), atol=1e-12)
    assert list(p) == ["layer.w"]


@pytest.mark.parametrize("stride, blocks, mask", [(1, 1, None), (2, 1, None), (1, 3, "B")])
def test_initial_weights_have_the_spread_of_their_fans(p, stride, blocks, mask):
    """s = √(4 / (fan_in + fan_out)) of one block, fans halved where masked, uniform in ± √3 s."""
    Conv(p, "layer", 20, 30, 3, mask, blocks=blocks, stride=stride)
    fans = 20 * 9 + 30 * 9 / stride**2
    v = p["layer.v"].get_value()
    assert v.shape == (30 * blocks, 20, 9)
    s = np.sqrt(4 / (fans / 2 if mask else fans))
    np.testing.assert_allclose([v.std(), v.max()], [s, np.sqrt(3) * s], rtol=0.03)


def test_weights_are_v_at_first(p):
    """The gain starts at the norm; the mask leaves it alone."""
    layer = Conv(p, "layer", 3, 4, 3, "B")
    weights, v = evaluate(layer.weights), p["layer.v"].get_value()
    np.testing.assert_allclose(weights, v[:, :, :5], rtol=1e-12)


def test_transposed_convolution_is_the_adjoint_and_doubles(p):
    layer = TransposedConv(p, "layer", 3, 4)
    perturb(p)
    x = draw(2, 3, 4, 5)
    ours = evaluate(layer, x) - p["layer.b"].get_value()[:, None, None]
    assert ours.shape == (2, 4, 8, 10)
    y = np.random.RandomState(8).standard_normal(ours.shape)
    w = p["layer.w"].get_value().reshape(3, 4, 3, 3)
    inner = (correlate(y, w, np.zeros(3), stride=2) * x).sum()
    np.testing.assert_allclose((y * ours).sum(), inner, rtol=1e-10)
    assert sorted(p) == ["layer.b", "layer.w"]  # no weight normalisation here


def test_linear(p):
    layer = Linear(p, "layer", 5, 4)
    perturb(p)
    v, g, b = (p[f"layer.{n}"].get_value() for n in "vgb")
    x = draw(3, 5)
    truth = x @ (v * (g / np.sqrt((v**2).sum(axis=1)))[:, None]).T + b
    np.testing.assert_allclose(evaluate(layer, x), truth, atol=1e-12)


def test_blocks_of_a_linear_layer_start_as_layers_of_their_own(p):
    Linear(p, "layer", 5, 5, blocks=3)
    for block in np.split(p["layer.v"].get_value(), 3):
        np.testing.assert_allclose(block @ block.T, np.eye(5), atol=1e-5)


@pytest.mark.parametrize("mask", ["A", "B"])
@pytest.mark.parametrize("conditional", [False, True])
def test_gated_layer(p, mask, conditional):
    """The four steps of the specification as they stand, zero row on top and all."""
    first = mask == "A"
    width, inputs = 3, 2 if first else 3
    layer = GatedLayer(p, "layer", inputs, width, 3, mask)
    perturb(p)
    v, h = draw(2, 2, inputs, 4, 5)
    conditions = 0.5 + draw(2, 2, 2 * width) if conditional else np.zeros((2, 2, 2 * width))

    def convolve(name, x, mask):
        return correlate(x, kernel(p, f"layer.{name}", mask), p[f"layer.{name}.b"].get_value())

    def gate(y, condition):
        y = y + condition[:, :, None, None]
        return np.tanh(y[:, :width]) * expit(y[:, width:])

    padded = np.pad(v, ((0, 0), (0, 0), (1, 0), (0, 0)))
    rows = convolve("vertical", padded, [[1, 1, 1], [1, 1, 1], [0, 0, 0]])
    above = convolve("above", rows[:, :, :-1], [[1]])
    left = convolve("horizontal", h, [[1, 0, 0] if first else [1, 1, 0]])
    out = convolve("out", gate(left + above, conditions[1]), [[1]])
    truth = gate(rows[:, :, 1:], conditions[0]), out if first else out + h

    if conditional:
        ours = evaluate(lambda v, h, a, b: layer(v, h, (a, b)), v, h, *conditions)
    else:
        ours = evaluate(layer, v, h)
    for a, b in zip(ours, truth):
        np.testing.assert_allclose(a, b, atol=1e-12)
