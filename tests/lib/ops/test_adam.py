"""Adam against Lasagne's, in C++, in NumPy and in Theano's terms; and sums of squares against exact ones."""

from __future__ import annotations

import math

import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T
from compiled import BOTH, PYTHON, C, apply, guarded, threads

from pixelvae.lib.ops.adam import Adam, AveragedAdam, SumOfSquares

SIZE = 40_003  # three blocks of those that are summed apart, the last one not whole
LOWERED = theano.Mode("py", "fast_compile").including("lowering")
in_both = pytest.mark.parametrize("mode", BOTH, ids=["C", "NumPy"])
in_place = pytest.mark.parametrize("mode", [C, "FAST_RUN"], ids=["copied", "in place"])


def updating(op, arrays, others, mode=C):
    """Shared variables of the arrays, and a function that updates them."""
    variables = [theano.shared(a) for a in arrays]
    updates = list(zip(variables, op(*others, *variables)))
    return variables, theano.function([], updates=updates, mode=mode)


@pytest.mark.parametrize("mode", [*BOTH, LOWERED], ids=["C", "NumPy", "meaning"])
@pytest.mark.parametrize("dtype, tolerance", [("float32", 2e-6), ("float64", 1e-14)])
def test_five_updates_are_lasagnes(dtype, tolerance, mode, monkeypatch):
    monkeypatch.setenv("PIXELVAE_NATIVE", "0" if mode is LOWERED else "1")
    rng = np.random.RandomState(0)
    start, g = rng.standard_normal((2, SIZE)).astype(dtype)
    rate, factor, bound = 0.03, 0.5, 0.8
    packed, gradient = theano.shared(start), theano.shared(g)
    with theano.configparser.change_flags(floatX=dtype):
        clipped = T.clip(gradient * factor, -bound, bound)
        updates = lasagne.updates.adam([clipped], [packed], np.array(rate, dtype))
    lasagnes = theano.function([], updates=updates, mode=PYTHON)

    numbers = theano.shared(np.zeros(4, dtype))
    zero, weight = np.zeros(SIZE, dtype), 0.25
    vectors, ours = updating(
        AveragedAdam(), [start, zero, zero, start], [gradient, numbers], mode=mode
    )
    average = start.astype("float64")
    for t in range(1, 6):
        gradient.set_value(gradient.get_value() * np.array(-1.1, dtype))
        size = rate * math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        numbers.set_value(np.array([size, factor, bound, weight], dtype))
        lasagnes(), ours()
        average += weight * (packed.get_value() - average)
    assert (abs(gradient.get_value() * factor) > bound).any()
    m, v = list(updates)[:2]
    for variable, truth in zip(
        vectors, [packed.get_value(), m.get_value(), v.get_value(), average]
    ):
        np.testing.assert_allclose(variable.get_value(), truth, rtol=0, atol=10 * tolerance)


@in_both
@pytest.mark.parametrize("dtype, tolerance", [("float32", 3e-7), ("float64", 2e-15)])
def test_the_first_moments_are_these_parts_of_the_gradient(dtype, tolerance, mode):
    """To the last bits: 1 - 0.999 in float32 is off by a hundred times as much."""
    g = np.random.RandomState(4).standard_normal(SIZE).astype(dtype)
    zero, numbers = np.zeros(SIZE, dtype), np.array([0.1, 1, np.inf, 0], dtype)
    others = [T.constant(g), T.constant(numbers)]
    (_, m, v), update = updating(Adam(), [zero, zero, zero], others, mode=mode)
    update()
    exact = g.astype("float64")
    np.testing.assert_allclose(m.get_value(), 0.1 * exact, rtol=tolerance)
    np.testing.assert_allclose(v.get_value(), 0.001 * exact**2, rtol=tolerance)


def test_without_an_average_the_rest_is_the_same():
    rng = np.random.RandomState(1)
    arrays = abs(rng.standard_normal((4, SIZE)).astype("float32"))
    others = [T.constant(arrays[0]), T.constant(np.array([0.1, 1, np.inf, 0.5], "float32"))]
    plain, update = updating(Adam(), arrays[1:], others)
    averaged, update_too = updating(AveragedAdam(), [*arrays[1:], arrays[1]], others)
    update(), update_too()
    for a, b in zip(plain, averaged):
        np.testing.assert_array_equal(a.get_value(), b.get_value())


@in_place
def test_vectors_stay_where_they_are_and_nothing_is_written_beside_them(mode):
    memory = np.full(SIZE + 64, 7.0, "float32")
    arrays = [memory[32:-32], *(np.zeros(SIZE, "float32") for _ in range(2))]
    gradient = T.constant(guarded(np.ones(SIZE, "float32")))
    numbers = T.constant(np.array([0.1, 1, np.inf, 0], "float32"))
    variables = [theano.shared(a, borrow=True) for a in arrays]
    updates = list(zip(variables, Adam()(gradient, numbers, *variables)))
    theano.function([], updates=updates, mode=mode)()
    places = [v.get_value(borrow=True).ctypes.data for v in variables]
    stayed = places == [a.ctypes.data for a in arrays]
    assert stayed == (mode == "FAST_RUN")
    assert (memory[:32] == 7).all() and (memory[-32:] == 7).all()
    assert (variables[0].get_value() < 7).all() and (memory[32:-32] < 7).all() == stayed


def test_a_vector_that_is_asked_for_itself_is_not_written_over():
    vectors = [theano.shared(np.ones(3)) for _ in range(3)]
    others = T.constant(np.ones(3)), T.constant(np.array([0.1, 1, np.inf, 0]))
    f = theano.function([], [vectors[0] * 2, *Adam()(*others, *vectors)])
    first, second = f(), f()
    np.testing.assert_array_equal(first, second)
    assert first[0].tolist() == [2] * 3 and (first[1] < 1).all()


@in_both
def test_sums_of_squares_are_exact_to_the_last_bits(mode):
    x = np.random.RandomState(2).standard_normal(SIZE).astype("float32")
    truth = math.fsum(float(a) ** 2 for a in x)
    (ours,) = apply(SumOfSquares(), guarded(x), mode=mode)
    assert ours == np.float32(truth)
    assert apply(SumOfSquares(), x[:0], mode=mode) == [0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e19])
def test_sums_of_squares_show_what_float32_cannot_hold(value):
    x = np.ones(SIZE, "float32")
    x[SIZE // 2] = value
    assert not np.isfinite(apply(SumOfSquares(), x)).any()


def test_sums_of_squares_do_not_depend_on_the_number_of_threads():
    x = np.random.RandomState(3).standard_normal(SIZE)
    sums = set()
    for count in (1, 2, 3):
        with threads(count):
            sums.add(apply(SumOfSquares(), x).tobytes())
    assert len(sums) == 1
