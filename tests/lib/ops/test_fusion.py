"""Sums with a convolution become part of it, and mean the same."""

import numpy as np
import pytest
import theano
import theano.tensor as T

from pixelvae.lib.ops import lowering
from pixelvae.lib.ops.conv import Correlate, CorrelateInputs

MODE = theano.Mode("py", "fast_run")  # NumPy: nothing to compile
RNG = np.random.RandomState(0)
X = RNG.randn(2, 3, 5, 4).astype("float32")
W = RNG.randn(3, 3, 9).astype("float32")
B = RNG.randn(3).astype("float32")


def adds(function):
    return [n for n in function.maker.fgraph.apply_nodes if isinstance(n.op, T.Elemwise)]


def compare(build, inputs, values, left):
    """The function that ``build`` gives, with ``left`` element-wise operations, equals the one not optimised."""
    out = build(*inputs)
    fast = theano.function(inputs, out, mode=MODE)
    plain = theano.function(inputs, out, mode=theano.Mode("py", None))
    assert len(adds(fast)) == (left if lowering.native() else len(adds(fast)))
    np.testing.assert_allclose(fast(*values), plain(*values), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op", [Correlate(3, 3, 9), CorrelateInputs(3, 3, 9)])
def test_a_map_is_added_inside(op):
    size = () if isinstance(op, Correlate) else (5, 4)
    x, w, b, other = T.tensor4(), T.tensor3(), T.vector(), T.tensor4()
    compare(lambda x, w, b, o: o + op(x, w, *size, b), [x, w, b, other], (X, W, B, X[::-1]), 0)


def test_several_terms():
    x, w, y, z = T.tensor4(), T.tensor3(), T.tensor4(), T.tensor4()
    values = (X, W, X[::-1], 2 * X)
    compare(lambda x, w, y, z: y + Correlate(3, 3, 9)(x, w) + z, [x, w, y, z], values, 1)


def test_two_convolutions():
    x, w = T.tensor4(), T.tensor3()
    both = (X, W)
    compare(lambda x, w: Correlate(3, 3, 9)(x, w) + Correlate(3, 3, 9)(2 * x, w), [x, w], both, 1)


def test_what_must_stay_stays():
    x, w, b = T.tensor4(), T.tensor3(), T.vector()
    op = Correlate(3, 3, 9)
    # A bias is smaller than the maps; a result used twice is needed by itself; acc may be taken.
    compare(lambda x, w, b: op(x, w) + b.dimshuffle("x", 0, "x", "x"), [x, w, b], (X, W, B), 1)
    compare(lambda x, w: (lambda y: y + T.tanh(y))(op(x, w)), [x, w], (X, W), 1)
    compare(lambda x, w: op(x, w) + op(x, w), [x, w], (X, W), 1)
    compare(lambda x, w: x + op(x, w, None, 2 * x), [x, w], (X, W), 2)
    compare(lambda x, w: x + Correlate(3, 3, 9, relu=True)(x, w), [x, w], (X, W), 1)
