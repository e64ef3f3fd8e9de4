"""Forms of operations for a GPU with cuDNN: functions of an operation and its inputs.

:mod:`pixelvae.lib.ops.lowering` takes the function that an operation names by ``cudnn``. Theano's
own cuDNN rewrites check every shape on the host again at each step, which took more nodes than the
arithmetic; here shapes are known. And they do not cover batch norm, so that mean and variance would
be divided by numbers from the host.
"""

from __future__ import annotations

import numpy as np
import theano.tensor as T
from theano import scalar
from theano.gpuarray import dnn
from theano.gpuarray.basic_ops import (
    GpuAllocEmpty,
    as_gpuarray_variable,
    gpu_contiguous,
    host_from_gpu,
)

from pixelvae.lib.ops.batch_norm import EPSILON


def _on_device(x):
    """The variable in the device's memory, in raster order, as cuDNN wants it."""
    return gpu_contiguous(as_gpuarray_variable(x, None))


def _empty(dtype: str, *shape):
    return GpuAllocEmpty(dtype, None)(*shape)


def _geometry(op, dtype: str):
    """cuDNN's description of the convolution; equal ones in a step are one."""
    kernel = T.constant(np.array([1, 1, op.kh, op.kw]))  # only the number of axes is read
    padding, strides = (op.kh // 2, op.kw // 2), (op.stride, op.stride)
    describe = dnn.GpuDnnConvDesc(padding, strides, conv_mode="cross", precision=dtype)
    return describe(kernel)


def correlate(op, x, w, bias, acc):
    """For :class:`pixelvae.lib.ops.conv.Correlate`."""
    height, width = (op.output_size(x.shape[i], k, op.stride) for i, k in ((2, op.kh), (3, op.kw)))
    out = _empty(x.dtype, x.shape[0], w.shape[0], height, width)
    kernels = _on_device(op.kernels(w))
    y = dnn.GpuDnnConv()(_on_device(x), kernels, out, _geometry(op, x.dtype))
    return op.plus(host_from_gpu(y), bias, acc)


def correlate_inputs(op, gy, w, height, width, bias, acc):
    """For :class:`pixelvae.lib.ops.conv.CorrelateInputs`."""
    out = _empty(gy.dtype, gy.shape[0], w.shape[1], height, width)
    kernels = _on_device(op.kernels(w))
    gx = dnn.GpuDnnConvGradI()(kernels, _on_device(gy), out, _geometry(op, gy.dtype))
    return op.plus(host_from_gpu(gx), bias, acc)


def correlate_weights(op, x, gy):
    """For :class:`pixelvae.lib.ops.conv.CorrelateWeights`."""
    out = _empty(x.dtype, gy.shape[1], x.shape[1], op.kh, op.kw)
    gw = dnn.GpuDnnConvGradW()(_on_device(x), _on_device(gy), out, _geometry(op, x.dtype))
    return host_from_gpu(gw).flatten(3)[:, :, : op.taps]


def batch_norm(op, x, scale, offset):
    """For :class:`pixelvae.lib.ops.batch_norm.BatchNorm`.

    CuDNN gives the inverse deviation instead of the variance.
    """
    y, mean, inverse = dnn.GpuDnnBatchNorm(mode="spatial")(
        _on_device(x), _spatial(scale), _spatial(offset), _as_double()
    )
    inverse = host_from_gpu(inverse).flatten()
    return [host_from_gpu(y), host_from_gpu(mean).flatten(), 1 / T.sqr(inverse) - _epsilon(x)]


def batch_norm_gradient(op, x, scale, mean, variance, g):
    """For :class:`pixelvae.lib.ops.batch_norm.BatchNormGradient`."""
    inverse = 1 / T.sqrt(variance + _epsilon(x))
    gradients = dnn.GpuDnnBatchNormGrad(mode="spatial")(
        _on_device(x),
        _on_device(g),
        _spatial(scale),
        _spatial(mean),
        _spatial(inverse),
        _as_double(),
    )
    gx, gscale, goffset = (host_from_gpu(gradient) for gradient in gradients)
    return [gx, gscale.flatten(), goffset.flatten()]


def _spatial(v):
    """(C,) as cuDNN wants it, (1, C, 1, 1)."""
    return _on_device(v.dimshuffle("x", 0, "x", "x"))


def _as_double():
    """ε as cuDNN takes it.

    A mere number would become a constant of ``floatX``, and that a double of it.
    """
    return scalar.constant(EPSILON, dtype="float64")


def _epsilon(x):
    return T.constant(EPSILON, dtype=x.dtype)
