"""Initial values: their bounds and spread as the specification gives them."""

from __future__ import annotations

import numpy as np
import pytest

from pixelvae.lib.layers import initial


@pytest.fixture
def rng():
    return np.random.RandomState(0)


def is_uniform(values: np.ndarray, s: float) -> None:
    """Uniform in ±√3·s: that far and no farther, with second and fourth moments s² and 9/5 s⁴."""
    bound = np.sqrt(3) * s
    assert values.dtype == np.float32 and values.size > 10000
    assert 0.999 * bound < values.max() <= bound * (1 + 1e-6)
    assert -bound * (1 + 1e-6) <= values.min() < -0.999 * bound
    moments = np.mean(values), np.mean(values**2) / s**2, np.mean(values**4) / s**4
    np.testing.assert_allclose(moments, [0, 1, 9 / 5], atol=0.03)


@pytest.mark.parametrize(
    "arguments, s",
    [
        ({}, np.sqrt(4 / (32 * 9 + 48 * 9))),
        ({"he": False}, np.sqrt(2 / (32 * 9 + 48 * 9))),
        ({"masked": True}, np.sqrt(4 / (32 * 9 / 2 + 48 * 9 / 2))),
        ({"he": False, "masked": True}, np.sqrt(2 / (32 * 9 / 2 + 48 * 9 / 2))),
        ({"stride": 2}, np.sqrt(4 / (32 * 9 + 48 * 9 / 4))),
    ],
)
def test_convolutions(rng, arguments, s):
    values = initial.convolution(rng, (48, 32, 9), **arguments)
    assert values.shape == (48, 32, 9)
    is_uniform(values, s)


def test_transposed_convolutions(rng):
    values = initial.transposed_convolution(rng, (48, 32, 9))
    assert values.shape == (48, 32, 9)
    is_uniform(values, 2 * np.sqrt(2) / np.sqrt(48 * 9))


@pytest.mark.parametrize("glorot, s", [(False, np.sqrt(1 / 64)), (True, np.sqrt(2 / (64 + 200)))])
def test_linear(rng, glorot, s):
    values = initial.linear(rng, 200, 64, glorot)
    assert values.shape == (200, 64)
    is_uniform(values, s)


def test_square_linear_layers_are_orthogonal(rng):
    values = initial.linear(rng, 64, 64)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values @ values.T, np.eye(64), atol=1e-5)


def test_orthogonal_matrices_have_no_preferred_direction(rng):
    """Without care for the signs, QR gives matrices of which the first entry is always negative."""
    first = [initial.linear(rng, 3, 3)[0, 0] for _ in range(300)]
    assert abs(np.mean(first)) < 4 * np.sqrt(1 / 3 / 300)


def test_the_same_seed_gives_the_same_values():
    one, two = (initial.convolution(np.random.RandomState(3), (4, 5, 9)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
