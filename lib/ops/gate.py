"""The gated activation of the PixelCNN (van den Oord et al. 2016b), plain and conditional."""

from __future__ import annotations

import numpy as np
import theano.tensor as T
from theano import gof

from lib.ops._native import (
    CHECK_CONTIGUOUS,
    NativeOp,
    as_float,
    c_type,
    same_dtype,
    stable_sigmoid,
)


class Gate(NativeOp):
    """``tanh(y[:, :D] + c[:, :D]) * sigmoid(y[:, D:] + c[:, D:])`` with c constant over an image.

    Inputs: y (N, 2D, H, W); c (N, 2D), or (1, 2D) for all images alike. Output: (N, D, H, W).
    Maps whose type says that there is one image, (1, 2D, H, W), serve all rows of c: one image, many latents.
    The first half of the channels goes through tanh, the second through the sigmoid (the released code
    interleaves them; the choice is free as long as it is fixed).
    """

    __props__ = ()
    header = "gate.h"

    def make_node(self, y, c):
        y, c = same_dtype(self.as_tensor(y, 4), self.as_tensor(c, 2))
        one = y.broadcastable[0] and c.broadcastable[0]
        return gof.Apply(self, [y, c], [T.TensorType(y.dtype, (one, False, False, False))()])

    def infer_shape(self, node, shapes):
        n, channels, h, w = shapes[0]
        return [(shapes[1][0] if _single(node) else n, channels // 2, h, w)]

    def perform(self, node, inputs, outputs, params=None):
        y, c = inputs
        self.require(_single(node) and y.shape[1] == c.shape[1] or _fit(node, y, c))
        t, s = _halves(y, c)
        outputs[0][0] = t * s

    def grad(self, inputs, output_gradients):
        y, c = inputs
        if y.broadcastable[0] and not c.broadcastable[0]:
            raise NotImplementedError("one image with many latents is for evaluation alone")
        gy, gc = GateGradient()(y, c, output_gradients[0])
        # A bias shared by all images collects the gradients of all.
        gc = gc.sum(axis=0, keepdims=True) if c.broadcastable[0] else gc
        return [gy, gc]

    def c_support_code(self):
        return CHECK_CONTIGUOUS

    def c_code(self, node, name, inputs, outputs, sub):
        y, c = inputs
        return _C_GATE % dict(
            locals(),
            out=outputs[0],
            T=c_type(node.inputs[0]),
            fail=sub["fail"],
            op="Gate",
            shared=_shared(node),
            single=_single(node),
        )


class GateGradient(NativeOp):
    """Gradients of :class:`Gate`: (y, c, g (N, D, H, W)) -> (N, 2D, H, W) and, image by image, (N, 2D)."""

    __props__ = ()
    header = "gate.h"

    def make_node(self, y, c, g):
        y, c, g = same_dtype(self.as_tensor(y, 4), self.as_tensor(c, 2), self.as_tensor(g, 4))
        outputs = [y.type(), T.TensorType(y.dtype, (False,) * 2)()]
        return gof.Apply(self, [y, c, g], outputs)

    def infer_shape(self, node, shapes):
        return [shapes[0], shapes[0][:2]]

    def perform(self, node, inputs, outputs, params=None):
        y, c, g = inputs
        halved = (y.shape[0], y.shape[1] // 2) + y.shape[2:]
        self.require(_fit(node, y, c) and g.shape == halved)
        t, s = _halves(y, c)
        gy = np.concatenate([g * s * (1 - t * t), g * t * s * (1 - s)], axis=1)
        outputs[0][0] = gy
        outputs[1][0] = gy.sum(axis=(2, 3))

    def grad(self, inputs, output_gradients):
        raise NotImplementedError("second derivatives of the gate are not needed by any model here")

    def c_support_code(self):
        return CHECK_CONTIGUOUS

    def c_code(self, node, name, inputs, outputs, sub):
        (y, c, g), (gy, gc) = inputs, outputs
        return _C_GATE_GRADIENT % dict(
            locals(),
            T=c_type(node.inputs[0]),
            fail=sub["fail"],
            op="GateGradient",
            shared=_shared(node),
            single=False,
        )


def _shared(node) -> bool:
    """Whether one bias serves all images: known from its type, since its gradient must have the same shape."""
    return bool(node.inputs[1].broadcastable[0])


def _single(node) -> bool:
    """Whether one image's maps serve many biases."""
    return bool(node.inputs[0].broadcastable[0]) and not _shared(node)


def _fit(node, y, c) -> bool:
    return y.shape[1] % 2 == 0 and c.shape == (1 if _shared(node) else y.shape[0], y.shape[1])


def _halves(y, c):
    pre = y + c[:, :, None, None]
    d = y.shape[1] // 2
    return np.tanh(pre[:, :d]), stable_sigmoid(pre[:, d:])


def gate(y, c):
    """The gate of ``y`` (N, 2D, H, W) with bias ``c``: (2D,) for a plain gate, (N, 2D) for a conditional one."""
    c = as_float(c)
    return Gate()(y, c.dimshuffle("x", 0) if c.ndim == 1 else c)


_C_CHECK = """
    const npy_intp *yd = PyArray_DIMS(%(y)s), *cd = PyArray_DIMS(%(c)s);
    const bool shared = %(shared)d, single = %(single)d;
    const npy_intp images = single ? cd[0] : yd[0];
    if (yd[1] %% 2 || cd[1] != yd[1] || cd[0] != (shared ? 1 : images)) {
        PyErr_Format(PyExc_ValueError, "%(op)s: maps (%%ld, %%ld, ...) and bias (%%ld, %%ld) do not fit", (long)yd[0],
                     (long)yd[1], (long)cd[0], (long)cd[1]);
        %(fail)s;
    }
"""

_C_GATE = (
    "{"
    + _C_CHECK
    + """
    const npy_intp od[4] = {images, yd[1] / 2, yd[2], yd[3]};
    PyArrayObject *y = contiguous(%(y)s), *c = contiguous(%(c)s);
    if (!y || !c || reuse(&%(out)s, 4, od, PyArray_TYPE(%(y)s))) { %(fail)s; }
    pixelvae::gate<%(T)s>((%(T)s *)PyArray_DATA(y), (%(T)s *)PyArray_DATA(c), (%(T)s *)PyArray_DATA(%(out)s),
                          images, od[1], yd[2] * yd[3], shared, single);
    Py_DECREF(y); Py_DECREF(c);
}
"""
)

_C_GATE_GRADIENT = (
    "{"
    + _C_CHECK
    + """
    const npy_intp *gd = PyArray_DIMS(%(g)s);
    if (gd[0] != yd[0] || gd[1] != yd[1] / 2 || gd[2] != yd[2] || gd[3] != yd[3]) {
        PyErr_SetString(PyExc_ValueError, "GateGradient: shapes do not fit");
        %(fail)s;
    }
    PyArrayObject *y = contiguous(%(y)s), *c = contiguous(%(c)s), *g = contiguous(%(g)s);
    if (!y || !c || !g || reuse(&%(gy)s, 4, yd, PyArray_TYPE(%(y)s)) ||
        reuse(&%(gc)s, 2, yd, PyArray_TYPE(%(y)s))) { %(fail)s; }
    pixelvae::gate_gradient<%(T)s>((%(T)s *)PyArray_DATA(y), (%(T)s *)PyArray_DATA(c), (%(T)s *)PyArray_DATA(g),
                                   (%(T)s *)PyArray_DATA(%(gy)s), (%(T)s *)PyArray_DATA(%(gc)s), yd[0], yd[1] / 2,
                                   yd[2] * yd[3], shared);
    Py_DECREF(y); Py_DECREF(c); Py_DECREF(g);
}
"""
)
