"""Packing against NumPy, in C++ and in Theano's terms."""

from __future__ import annotations

import numpy as np
import pytest
import theano
import theano.tensor as T
from compiled import threads

from pixelvae.lib.ops.pack import Pack

in_both = pytest.mark.parametrize("linker", ["py", "c|py"])


@in_both
@pytest.mark.parametrize("optimizer", ["fast_run", "fast_compile"])
def test_arrays_are_packed_over_a_vector(optimizer, linker):
    vector = theano.shared(np.full(9, -1.0))
    arrays = [np.arange(6.0).reshape(2, 3).T, np.array(6.0), np.arange(7.0, 9.0)]
    pack = Pack()(vector, *(T.constant(a) for a in arrays))
    place = vector.get_value(borrow=True).ctypes.data
    theano.function([], updates=[(vector, pack)], mode=theano.Mode(linker, optimizer))()
    assert vector.get_value().tolist() == [0, 3, 1, 4, 2, 5, 6, 7, 8]
    in_place = vector.get_value(borrow=True).ctypes.data == place
    assert in_place == (optimizer == "fast_run" and linker == "c|py")


def test_a_vector_that_is_asked_for_itself_is_not_packed_over():
    vector = theano.shared(np.full(2, -1.0))
    pack = Pack()(vector, T.constant(np.ones(2)))
    f = theano.function([], [vector * 2, pack])
    assert [v.tolist() for v in f()] == [[-2, -2], [1, 1]] == [v.tolist() for v in f()]


@in_both
def test_long_arrays_are_packed_by_threads(linker):
    rng = np.random.RandomState(4)
    sizes = [1, 70_000, 0, 3, 200_000, 65_536]
    arrays = [rng.standard_normal(n).astype("float32") for n in sizes]
    vector = theano.shared(np.zeros(sum(sizes), "float32"))
    pack = Pack()(vector, *map(T.constant, arrays))
    f = theano.function([], updates=[(vector, pack)], mode=theano.Mode(linker, "fast_run"))
    for count in (1, 2, 3):
        vector.set_value(np.zeros(sum(sizes), "float32"))
        with threads(count):
            f()
        np.testing.assert_array_equal(vector.get_value(), np.concatenate(arrays))


@in_both
@pytest.mark.parametrize("size", [3, 5])
def test_a_vector_of_another_length_is_not_written(linker, size):
    vector = theano.shared(np.zeros(size, "float32"))
    pack = Pack()(vector, T.constant(np.ones(4, "float32")))
    with pytest.raises(ValueError, match="do not fill the vector"):
        theano.function([], updates=[(vector, pack)], mode=theano.Mode(linker, "fast_run"))()
    assert not vector.get_value().any()


def test_in_theanos_terms(monkeypatch):
    monkeypatch.setenv("PIXELVAE_NATIVE", "0")
    vector, a, b = T.dvector(), T.dmatrix(), T.dscalar()
    f = theano.function([vector, a, b], Pack()(vector, a, b))
    assert not any(isinstance(n.op, Pack) for n in f.maker.fgraph.toposort())
    assert f([0] * 7, [[1, 2, 3], [4, 5, 6]], 7).tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_arrays_of_other_types_are_not_packed():
    with pytest.raises(TypeError, match="types differ"):
        Pack()(T.dvector(), T.fvector())
