"""The gradient of rectified linear units, and its sums, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import BOTH, apply, guarded, threads

from pixelvae.lib.ops.bias import relu_gradient


@pytest.mark.parametrize("mode", BOTH, ids=["C", "NumPy"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "shape", [(3, 5, 3, 7), (2, 1, 28, 28), (4, 9, 4, 4), (0, 3, 4, 4), (5, 7, 9, 31)]
)
def test_equal_to_numpy(shape, dtype, mode):
    rng = np.random.RandomState(0)
    y, g = (guarded(rng.standard_normal(shape).astype(dtype)) for _ in range(2))
    y[y < 0] = 0  # as the units do
    ga, sums = apply(relu_gradient, y, g, mode=mode)
    truth = np.where(y == 0, 0, g)
    np.testing.assert_array_equal(ga, truth)
    assert ga.dtype == sums.dtype == dtype
    np.testing.assert_allclose(
        sums,
        [c.sum(dtype="float64") for c in truth.swapaxes(0, 1)],
        atol=1e-5 if dtype == "float32" else 1e-12,
    )


def test_bits_do_not_depend_on_threads():
    y, g = np.random.RandomState(0).standard_normal((2, 9, 5, 13, 11)).astype("float32")
    results = []
    for count in (1, 2, 3):
        with threads(count):
            results.append(b"".join(r.tobytes() for r in apply(relu_gradient, y, g)))
    assert len(set(results)) == 1
