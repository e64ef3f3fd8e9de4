"""How the cached sampler evaluates operations at single pixels and rows.

An operation is either a :class:`Convolution` or :class:`Pointwise`: then a NumPy function of arrays
with channels last, (N, C) at a pixel and (N, W, C) on a row. This module knows Theano's own
operations; those of :mod:`pixelvae.lib.ops` have a function for positions themselves, or are taken
by their meaning in Theano's own operations.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, Callable, NamedTuple

import numpy as np
import scipy.special
import theano.scalar as scalar
import theano.tensor as T
from theano.tensor.elemwise import Elemwise
from theano.tensor.nnet.sigm import ScalarSigmoid

from pixelvae.lib.ops.conv import Correlate
from pixelvae.lib.ops.native import NativeOp

HERE = (0, 0)


class Pointwise(NamedTuple):
    """Values at a position are a function of the operands' there.

    Operands are maps (N, C, H, W), or, not depending on the image, matrices (N, C) for all
    positions alike.
    """

    operands: tuple
    compute: Callable[..., np.ndarray]
    #: Which output channels depend on which: from booleans (..., C) of the operands to those of the
    #: output.
    connect: Callable[..., np.ndarray]

    def reads(self) -> list:
        """Pairs of a variable and the offsets (rows, columns) at which it is read."""
        return [(v, (HERE,)) for v in self.operands]


class Convolution(NamedTuple):
    """``acc + bias + sum over taps of w x``.

    Bias and acc may be None (see :mod:`pixelvae.lib.ops.conv`).
    """

    x: Any
    w: Any
    bias: Any
    acc: Any
    offsets: tuple  #: of the taps, (rows, columns) from the output's position, in raster order

    @property
    def operands(self) -> tuple:
        return tuple(v for v in (self.x, self.w, self.bias, self.acc) if v is not None)

    def reads(self) -> list:
        """Pairs of a variable and the offsets (rows, columns) at which it is read."""
        return [(self.x, self.offsets)] + ([] if self.acc is None else [(self.acc, (HERE,))])


_POINTWISE: dict = {}


def pointwise(op_class: type):
    """Decorator that registers a rule for a Theano operation: a function ``node -> Pointwise``."""

    def register(rule):
        _POINTWISE[op_class] = rule
        return rule

    return register


def meaning_of(node) -> list:
    """The outputs in Theano's own operations, of an operation that is best taken by its meaning.

    An empty list if there is a rule for the operation itself, or none for its meaning either.
    """
    op = node.op
    if isinstance(op, Correlate) and op.relu:
        return [T.maximum(Correlate(*op.geometry)(*op.given(node.inputs)), 0)]
    if not isinstance(op, NativeOp) or isinstance(op, Correlate) or op.at_positions:
        return []
    return op.expressed(op.meaning, node.inputs)


def rule_for(node, depends: Callable[[object], bool]):
    """The rule of an apply node, with ``depends``, the inputs that depend on the image.

    Raises NotImplementedError, naming the operation, if there is none.
    """
    op = node.op
    if isinstance(op, Correlate):
        return _correlate(node, depends)
    if isinstance(op, NativeOp) and op.at_positions:
        return Pointwise(tuple(node.inputs), op.at_positions, op.connect)
    for op_class, rule in _POINTWISE.items():
        if isinstance(op, op_class):
            return rule(node)
    raise _unknown(op)


def _unknown(op, why: str = "") -> NotImplementedError:
    return NotImplementedError(
        f"the cached sampler has no rule for {op}{why}: add one to pixelvae.lib.sampling.rules, "
        "or use the naive sampler"
    )


def _correlate(node, depends):
    op = node.op
    x, w, bias, acc = op.given(node.inputs)
    if op.stride != 1 or depends(w) or (bias is not None and depends(bias)):
        raise _unknown(op, " with a stride, or with weights that depend on the image,")
    if not depends(x):
        fixed = Correlate(op.kh, op.kw, op.taps)(x, w, bias)
        return Pointwise((fixed, acc), np.add, np.logical_or)
    offsets = tuple((t // op.kw - op.kh // 2, t % op.kw - op.kw // 2) for t in range(op.taps))
    return Convolution(x, w, bias, acc, offsets)


@pointwise(Elemwise)
def _elemwise(node) -> Pointwise:
    function, dtype = _scalar_function(node), node.outputs[0].dtype

    def compute(*arrays):
        with np.errstate(all="ignore"):  # infinity and NaN as in Theano
            return np.asarray(function(*arrays), dtype)

    return Pointwise(tuple(node.inputs), compute, _variadic(np.logical_or))


_SCALAR_FUNCTIONS = {
    scalar.Cast: np.asarray,
    scalar.Identity: np.asarray,
    scalar.Clip: np.clip,
    ScalarSigmoid: scipy.special.expit,
}


def _scalar_function(node):
    op = node.op.scalar_op
    if type(op) in _SCALAR_FUNCTIONS:
        return _SCALAR_FUNCTIONS[type(op)]
    name, arity, _ = getattr(op, "nfunc_spec", None) or ("", 0, 0)
    if not hasattr(np, name):
        raise _unknown(node.op)
    function = getattr(np, name)
    # Sums and products take any number, two of which are what NumPy's take.
    return function if len(node.inputs) == arity else _variadic(function)


def _variadic(function):
    return lambda *arrays: reduce(function, arrays)


@pointwise(T.Join)
def _join(node) -> Pointwise:
    if T.get_scalar_constant_value(node.inputs[0]) != 1:
        raise _unknown(node.op, " over anything but channels")

    def join(*arrays):
        positions = np.broadcast_shapes(*[a.shape[:-1] for a in arrays])
        return np.concatenate(
            [np.broadcast_to(a, positions + a.shape[-1:]) for a in arrays], axis=-1
        )

    return Pointwise(tuple(node.inputs[1:]), join, join)


@pointwise(T.Subtensor)
def _subtensor(node) -> Pointwise:
    try:
        index = node.op.get_constant_idx(node.inputs)
    except T.NotScalarConstantError:
        index = []
    whole = slice(None)
    channels = index[1] if len(index) > 1 else None
    if index[:1] + index[2:] != [whole] * (len(index) - 1) or not isinstance(channels, slice):
        raise _unknown(node.op, " of anything but channels, by constant bounds")

    def select(x):
        return x[..., channels]

    return Pointwise(tuple(node.inputs[:1]), select, select)
