"""3x3 layers that are done by Winograd's F(2x2, 3x3): rounding, bits, and what reaches what. 10 s."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import PYTHON, C, apply, threads
from convolutions import Wide, of_size

from pixelvae.lib.ops.conv import Correlate, CorrelateWeights

SIZES = {"odd": (9, 11), "even": (8, 8), "a row": (1, 120), "a column": (120, 1)}


def arrays(size, images=3):
    g = of_size("3x3", size)
    both = Wide(g, "float32", images).of_each(g)
    return [(op, given) for op, given in both if not isinstance(op, CorrelateWeights)]


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_errs_little_more_than_sums_of_products(size):
    for op, given in arrays(size):
        exact = [v.astype("float64") if isinstance(v, np.ndarray) else v for v in given]
        truth = apply(op, *exact, mode=PYTHON)
        ours, plain = (np.linalg.norm(apply(op, *given, mode=m) - truth) for m in (C, PYTHON))
        assert ours < 2 * plain + 1e-6 * np.linalg.norm(truth), (ours, plain)
        assert ours < 5e-7 * np.linalg.norm(truth), ours / np.linalg.norm(truth)


def test_bits_depend_neither_on_threads_nor_on_the_batch():
    for op, given in arrays(SIZES["odd"], images=5):
        results = []
        for count in (1, 2, 3):
            with threads(count):
                results.append(apply(op, *given))
        assert len({result.tobytes() for result in results}) == 1
        last = [v[4:] if isinstance(v, np.ndarray) and v.ndim == 4 else v for v in given]
        assert apply(op, *last).tobytes() == results[0][4:].tobytes()


def test_nan_reaches_the_places_that_see_it_and_no_others():
    """A transformed patch mixes its numbers, but no place's sum holds one that it does not see."""
    (op, (x, w, *_)), _ = arrays(SIZES["odd"])
    for i, j in ((0, 0), (4, 5), (8, 10)):
        x = np.zeros_like(x)
        x[1, 7, i, j] = np.nan
        seen = np.zeros((3, *SIZES["odd"]), bool)
        seen[1, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2] = True
        np.testing.assert_array_equal(np.isnan(apply(op, x, w, None, None)).all(axis=1), seen)
        np.testing.assert_array_equal(np.isnan(apply(op, x, w, None, None)).any(axis=1), seen)


def test_rectified():
    _, (x, w, b, acc) = arrays(SIZES["even"])[0]
    plain, rectified = (apply(Correlate(3, 3, 9, relu=r), x, w, b, acc) for r in (False, True))
    np.testing.assert_array_equal(rectified, np.maximum(plain, 0))
