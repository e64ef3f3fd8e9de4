"""The operations with C++ inside, put in terms of Theano's own.

A graph optimisation that every ``theano.function`` runs by itself. It does nothing while the C++
serves. On a GPU, which the C++ cannot reach, or with ``PIXELVAE_NATIVE=0`` in the environment, it
replaces each of these operations by what it means, equal within rounding.
"""

from __future__ import annotations

import os
from typing import Any

import theano.tensor as T
from theano import gof
from theano.compile import optdb
from theano.tensor.nnet import abstract_conv

from lib.backend import device
from lib.ops.batch_norm import EPSILON, BatchNorm, BatchNormGradient
from lib.ops.conv import Correlate, CorrelateInputs, CorrelateWeights, present
from lib.ops.elu import Elu, EluGradient
from lib.ops.embedding import Embed, EmbedGradient
from lib.ops.gate import Gate, GateGradient
from lib.ops.likelihood import Categorical, CategoricalGradient
from lib.ops.weight_norm import WeightNorm, WeightNormGradient


def native() -> bool:
    """Whether functions that are compiled now use the C++ operations."""
    return os.environ.get("PIXELVAE_NATIVE") != "0" and not device.active()


def _convolution(kind, op):
    """Theano's convolution, or an adjoint of it, of the operation's geometry."""
    return kind(
        kshp=(None, None, op.kh, op.kw),
        border_mode="half",
        subsample=(op.stride, op.stride),
        filter_flip=False,
    )


def _kernels(op, w):
    """The taps (O, C, taps) as whole kernels (O, C, kh, kw), zero where they are masked."""
    outputs, inputs, taps = w.shape[0], w.shape[1], op.kh * op.kw
    if op.taps < taps:
        w = T.concatenate([w, T.zeros((outputs, inputs, taps - op.taps), w.dtype)], axis=2)
    return w.reshape((outputs, inputs, op.kh, op.kw))


def _plus(y, bias, acc):
    if present(bias):
        y += _channels(bias)
    return y + acc if present(acc) else y


def _correlate(op, x, w, bias, acc):
    kernels = _kernels(op, w)
    if device.active():
        y = _gpu().correlate(op, x, kernels)
    else:
        y = _convolution(abstract_conv.AbstractConv2d, op)(x, kernels)
    return [_plus(y, bias, acc)]


def _correlate_inputs(op, gy, w, height, width, bias, acc):
    kernels = _kernels(op, w)
    if device.active():
        gx = _gpu().correlate_inputs(op, gy, kernels, height, width)
    else:
        adjoint = _convolution(abstract_conv.AbstractConv2d_gradInputs, op)
        gx = adjoint(kernels, gy, [height, width])
    return [_plus(gx, bias, acc)]


def _correlate_weights(op, x, gy):
    if device.active():
        gw = _gpu().correlate_weights(op, x, gy)
    else:
        adjoint = _convolution(abstract_conv.AbstractConv2d_gradWeights, op)
        gw = adjoint(x, gy, [op.kh, op.kw])
    return [gw.flatten(3)[:, :, : op.taps]]


def _gpu():
    """Not imported before a GPU is active: Theano's own module needs pygpu."""
    from lib.ops import _gpu

    return _gpu


def _halves(y, c):
    y, half = y + c.dimshuffle(0, 1, "x", "x"), y.shape[1] // 2
    return T.tanh(y[:, :half]), T.nnet.sigmoid(y[:, half:])


def _gate(op, y, c):
    t, s = _halves(y, c)
    return [t * s]


def _gate_gradient(op, y, c, g):
    t, s = _halves(y, c)
    gy = T.concatenate([g * s * (1 - T.sqr(t)), g * t * s * (1 - s)], axis=1)
    return [gy, gy.sum(axis=(2, 3))]


def _weight_norm(op, v, g):
    return [v[:, :, : op.taps] * (g / v.norm(2, axis=(1, 2))).dimshuffle(0, "x", "x")]


def _weight_norm_gradient(op, v, g, gw):
    norm = v.norm(2, axis=(1, 2))
    inner = (v[:, :, : op.taps] * gw).sum(axis=(1, 2))
    along = -v * (inner / T.sqr(norm)).dimshuffle(0, "x", "x")
    gv = T.inc_subtensor(along[:, :, : op.taps], gw) * (g / norm).dimshuffle(0, "x", "x")
    return [gv, inner / norm]


def _channels(v):
    return v.dimshuffle("x", 0, "x", "x")


def _inverse_deviation(variance):
    return 1 / T.sqrt(variance + T.constant(EPSILON, dtype=variance.dtype))


def _batch_norm(op, x, scale, offset):
    if device.active():
        return _gpu().batch_norm(op, x, scale, offset)
    mean, variance = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
    factor = scale * _inverse_deviation(variance)
    return [(x - _channels(mean)) * _channels(factor) + _channels(offset), mean, variance]


def _batch_norm_gradient(op, x, scale, mean, variance, g):
    if device.active():
        return _gpu().batch_norm_gradient(op, x, scale, mean, variance, g)
    inverse = _inverse_deviation(variance)
    normed = (x - _channels(mean)) * _channels(inverse)
    goffset, gscale = g.sum(axis=(0, 2, 3)), (g * normed).sum(axis=(0, 2, 3))
    count = T.cast(x.shape[0] * x.shape[2] * x.shape[3], x.dtype)
    centred = g - _channels(goffset / count) - normed * _channels(gscale / count)
    return [_channels(scale * inverse) * centred, gscale, goffset]


def _elu(op, x):
    return [T.switch(x > 0, x, T.expm1(T.minimum(x, 0)))]


def _elu_gradient(op, y, g):
    return [T.switch(y > 0, g, g * (y + 1))]


def _embed(op, x, table):
    vectors = table[T.cast(x, "int64").flatten()].reshape((*_shape(x), table.shape[1]))
    n, colors, height, width = _shape(x)
    whole = (n, table.shape[1] * colors, height, width)
    return [vectors.dimshuffle(0, 4, 1, 2, 3).reshape(whole)]


def _embed_gradient(op, x, table, g):
    n, colors, height, width = _shape(x)
    vectors = g.reshape((n, table.shape[1], colors, height, width)).dimshuffle(0, 2, 3, 4, 1)
    rows = T.zeros_like(table)[T.cast(x, "int64").flatten()]
    return [T.inc_subtensor(rows, vectors.reshape((-1, table.shape[1])))]


def _per_level(logits, x):
    """Logits as (N, levels, C, H, W), and where in them the pixels' own levels are."""
    n, colors, height, width = _shape(x)
    levels = logits.shape[1] // colors
    # Counted by a sum, which a GPU does itself, where it would be sent a range from the host.
    numbers = T.cumsum(T.ones((levels,), x.dtype)) - 1
    chosen = T.eq(numbers.dimshuffle("x", 0, "x", "x", "x"), x.dimshuffle(0, "x", 1, 2, 3))
    return logits.reshape((n, levels, colors, height, width)), chosen


def _categorical(op, logits, x):
    per_level, chosen = _per_level(logits, x)
    top = per_level.max(axis=1, keepdims=True)
    norms = T.log(T.exp(per_level - top).sum(axis=1)) + top[:, 0]
    log_p = T.switch(chosen, per_level, 0).sum(axis=1) - norms
    return [log_p.sum(axis=(1, 2, 3)), norms]


def _categorical_gradient(op, logits, x, norms, g):
    per_level, chosen = _per_level(logits, x)
    gradient = chosen - T.exp(per_level - norms.dimshuffle(0, "x", 1, 2, 3))
    return [(g.dimshuffle(0, "x", "x", "x", "x") * gradient).reshape(logits.shape)]


def _shape(x):
    return [x.shape[i] for i in range(x.ndim)]


_MEANINGS: dict[Any, Any] = {
    BatchNorm: _batch_norm,
    BatchNormGradient: _batch_norm_gradient,
    Categorical: _categorical,
    CategoricalGradient: _categorical_gradient,
    Correlate: _correlate,
    CorrelateInputs: _correlate_inputs,
    CorrelateWeights: _correlate_weights,
    Elu: _elu,
    EluGradient: _elu_gradient,
    Embed: _embed,
    EmbedGradient: _embed_gradient,
    Gate: _gate,
    GateGradient: _gate_gradient,
    WeightNorm: _weight_norm,
    WeightNormGradient: _weight_norm_gradient,
}


class _Lowering(gof.Optimizer):
    def add_requirements(self, fgraph):
        fgraph.attach_feature(gof.toolbox.ReplaceValidate())

    def apply(self, fgraph):
        if native():
            return
        for node in fgraph.toposort():
            if type(node.op) in _MEANINGS:
                meaning = _MEANINGS[type(node.op)](node.op, *node.inputs)
                # Theano may know more of the shape now; the type must stay.
                meaning = [
                    T.patternbroadcast(new, old.broadcastable)
                    for new, old in zip(meaning, node.outputs)
                ]
                gof.opt.copy_stack_trace(node.outputs, meaning)
                fgraph.replace_all_validate(list(zip(node.outputs, meaning)), reason="lowering")


# Before shapes are inferred (0.1) and expressions simplified (1), so that both see Theano's own
# operations, and long before the passes that choose a convolution (from 48.5) and the GPU's.
optdb.register("lowering", _Lowering(), 0.05, "fast_run")
if device.active():
    # On a CPU, FAST_COMPILE runs NumPy alone: these operations have it, Theano's convolutions not.
    optdb.add_tags("lowering", "fast_compile")
