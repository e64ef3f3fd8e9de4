"""Operations that cuDNN has, for a GPU: what :mod:`lib.ops.lowering` puts in place of those with C++ inside.

Theano would choose cuDNN for its own convolutions, too; but it asks for the shape of everything again at every step,
on the host, and checks each, which took more nodes than the arithmetic. Shapes are known here. It has no rule at all
for batch norm as it is meant here, whose mean and variance would be divided by numbers that come from the host.
"""

from __future__ import annotations

import numpy as np
import theano.tensor as T
from theano.gpuarray import dnn
from theano.gpuarray.basic_ops import (
    GpuAllocEmpty,
    as_gpuarray_variable,
    gpu_contiguous,
    host_from_gpu,
)

from lib.ops.batch_norm import EPSILON
from lib.ops.conv import output_size


def _on_device(x):
    """The variable in the device's memory, in raster order, as cuDNN wants it."""
    return gpu_contiguous(as_gpuarray_variable(x, None))


def _empty(dtype: str, *shape):
    return GpuAllocEmpty(dtype, None)(*shape)


def _geometry(op, dtype: str):
    """cuDNN's description of the convolution; one for all of a step's that are alike."""
    kernel = T.constant(np.array([1, 1, op.kh, op.kw]))  # only the number of axes is read
    return dnn.GpuDnnConvDesc(
        border_mode=(op.kh // 2, op.kw // 2), subsample=(op.stride, op.stride), conv_mode="cross",
        precision=dtype,
    )(kernel)  # fmt: skip


def correlate(op, x, kernels):
    """x (N, C, H, W), kernels (O, C, kh, kw) -> (N, O, Ho, Wo)."""
    height, width = (output_size(x.shape[i], k, op.stride) for i, k in ((2, op.kh), (3, op.kw)))
    out = _empty(x.dtype, x.shape[0], kernels.shape[0], height, width)
    y = dnn.GpuDnnConv()(_on_device(x), _on_device(kernels), out, _geometry(op, x.dtype))
    return host_from_gpu(y)


def correlate_inputs(op, gy, kernels, height, width):
    """gy (N, O, Ho, Wo), kernels (O, C, kh, kw) -> (N, C, height, width)."""
    out = _empty(gy.dtype, gy.shape[0], kernels.shape[1], height, width)
    gx = dnn.GpuDnnConvGradI()(_on_device(kernels), _on_device(gy), out, _geometry(op, gy.dtype))
    return host_from_gpu(gx)


def correlate_weights(op, x, gy):
    """x (N, C, H, W), gy (N, O, Ho, Wo) -> (O, C, kh, kw)."""
    out = _empty(x.dtype, gy.shape[1], x.shape[1], op.kh, op.kw)
    gw = dnn.GpuDnnConvGradW()(_on_device(x), _on_device(gy), out, _geometry(op, x.dtype))
    return host_from_gpu(gw)


def batch_norm(op, x, scale, offset):
    """The meaning of :class:`lib.ops.batch_norm.BatchNorm`; cuDNN gives the inverse deviation for the variance."""
    y, mean, inverse = dnn.GpuDnnBatchNorm(mode="spatial")(
        _on_device(x), _spatial(scale), _spatial(offset), EPSILON
    )
    inverse = host_from_gpu(inverse).flatten()
    return [host_from_gpu(y), host_from_gpu(mean).flatten(), 1 / T.sqr(inverse) - _epsilon(x)]


def batch_norm_gradient(op, x, scale, mean, variance, g):
    """The meaning of :class:`lib.ops.batch_norm.BatchNormGradient`."""
    inverse = 1 / T.sqrt(variance + _epsilon(x))
    gradients = dnn.GpuDnnBatchNormGrad(mode="spatial")(
        _on_device(x), _on_device(g), _spatial(scale), _spatial(mean), _spatial(inverse), EPSILON
    )
    gx, gscale, goffset = (host_from_gpu(gradient) for gradient in gradients)
    return [gx, gscale.flatten(), goffset.flatten()]


def _spatial(v):
    """(C,) as cuDNN wants it, (1, C, 1, 1)."""
    return _on_device(v.dimshuffle("x", 0, "x", "x"))


def _epsilon(x):
    return T.constant(EPSILON, dtype=x.dtype)
