"""Sums of channels against NumPy's in double precision."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import BOTH, apply, guarded, threads

from pixelvae.lib.ops.bias import channel_sums

SHAPES = [
    (3, 5, 3, 7),
    (2, 1, 28, 28),
    (4, 64, 4, 4),
    (1, 3, 1, 1),
    (0, 3, 4, 4),
    (2, 3, 4, 0),
    (5, 7, 9, 31),
]


@pytest.mark.parametrize("mode", BOTH, ids=["C", "NumPy"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_equal_to_numpy(shape, dtype, mode):
    x = guarded(np.random.RandomState(0).standard_normal(shape).astype(dtype))
    ours, truth = (
        apply(channel_sums, x, mode=mode),
        [c.sum(dtype="float64") for c in x.swapaxes(0, 1)],
    )
    assert ours.shape == shape[1:2] and ours.dtype == dtype
    np.testing.assert_allclose(ours, truth, atol=1e-5 if dtype == "float32" else 1e-12)


def test_many_numbers_keep_their_digits():
    """One float32 sum of them all errs in the fourth digit."""
    x = np.full((400, 2, 28, 28), 0.1, "float32")
    np.testing.assert_allclose(
        apply(channel_sums, x), 400 * 28 * 28 * np.float64(np.float32(0.1)), rtol=5e-7
    )


def test_bits_do_not_depend_on_threads():
    x = np.random.RandomState(0).standard_normal((9, 5, 13, 11)).astype("float32")
    results = []
    for count in (1, 2, 3):
        with threads(count):
            results.append(apply(channel_sums, x).tobytes())
    assert len(set(results)) == 1


@pytest.mark.parametrize("mode", BOTH, ids=["C", "NumPy"])
def test_nan_stays_in_its_channel(mode):
    x = np.zeros((2, 3, 4, 5))
    x[1, 1, 3, 4] = np.nan
    np.testing.assert_array_equal(np.isnan(apply(channel_sums, x, mode=mode)), [False, True, False])
