"""Weight normalisation (Salimans & Kingma 2016) with the mask of a masked kernel applied after it."""

from __future__ import annotations

import numpy as np
import theano.tensor as T
from theano import gof
from theano.gof import ParamsType
from theano.scalar import int64 as scalar_int64

from lib.ops._native import CHECK_CONTIGUOUS, NativeOp, c_type, same_dtype


class WeightNorm(NativeOp):
    """``w = g v / ||v||`` with the norm over everything but the output channel, then the first taps of each kernel.

    Inputs: v (O, C, full), g (O,). Output: w (O, C, taps). The norm covers the masked taps as well: the mask
    multiplies after the normalisation, as in the released code.
    """

    __props__ = ("taps",)
    header = "weight_norm.h"
    params_type = ParamsType(taps=scalar_int64)

    def __init__(self, taps: int):
        self.taps = taps

    def make_node(self, v, g):
        v, g = same_dtype(self.as_tensor(v, 3), self.as_tensor(g, 1))
        return gof.Apply(self, [v, g], [T.TensorType(v.dtype, (False,) * 3)()])

    def infer_shape(self, node, shapes):
        return [(shapes[0][0], shapes[0][1], self.taps)]

    def perform(self, node, inputs, outputs, params=None):
        v, g = inputs
        self.require(g.shape == v.shape[:1] and self.taps <= v.shape[2])
        norm = np.sqrt((v**2).sum(axis=(1, 2)))
        outputs[0][0] = np.ascontiguousarray(v[:, :, : self.taps] * (g / norm)[:, None, None])

    def grad(self, inputs, output_gradients):
        return WeightNormGradient(self.taps)(*(inputs + output_gradients))

    def c_support_code(self):
        return CHECK_CONTIGUOUS

    def c_code(self, node, name, inputs, outputs, sub):
        v, g = inputs
        return _C_WEIGHT_NORM % dict(
            locals(),
            w=outputs[0],
            T=c_type(node.inputs[0]),
            fail=sub["fail"],
            p=sub["params"],
            op=type(self).__name__,
        )


class WeightNormGradient(NativeOp):
    """Gradients of :class:`WeightNorm`: (v, g, gw (O, C, taps)) -> (O, C, full) and (O,)."""

    __props__ = ("taps",)
    header = "weight_norm.h"
    params_type = ParamsType(taps=scalar_int64)

    def __init__(self, taps: int):
        self.taps = taps

    def make_node(self, v, g, gw):
        v, g, gw = same_dtype(self.as_tensor(v, 3), self.as_tensor(g, 1), self.as_tensor(gw, 3))
        return gof.Apply(self, [v, g, gw], [v.type(), g.type()])

    def infer_shape(self, node, shapes):
        return shapes[:2]

    def perform(self, node, inputs, outputs, params=None):
        v, g, gw = inputs
        self.require(g.shape == v.shape[:1] and gw.shape == v.shape[:2] + (self.taps,))
        self.require(self.taps <= v.shape[2])
        full = np.zeros_like(v)
        full[:, :, : self.taps] = gw
        norm = np.sqrt((v**2).sum(axis=(1, 2)))
        inner = (v * full).sum(axis=(1, 2))
        outputs[0][0] = (g / norm)[:, None, None] * (full - v * (inner / norm**2)[:, None, None])
        outputs[1][0] = inner / norm

    def grad(self, inputs, output_gradients):
        raise NotImplementedError(
            "second derivatives of weight normalisation are not needed by any model here"
        )

    def c_support_code(self):
        return CHECK_CONTIGUOUS

    def c_code(self, node, name, inputs, outputs, sub):
        (v, g, gw), (gv, gg) = inputs, outputs
        return _C_WEIGHT_NORM_GRADIENT % dict(
            locals(),
            T=c_type(node.inputs[0]),
            fail=sub["fail"],
            p=sub["params"],
            op=type(self).__name__,
        )


_C_CHECK = """
    const npy_intp *vd = PyArray_DIMS(%(v)s);
    const long taps = %(p)s->taps;
    if (PyArray_DIM(%(g)s, 0) != vd[0] || taps > vd[2]) {
        PyErr_Format(PyExc_ValueError, "%(op)s: v (%%ld, %%ld, %%ld), g (%%ld) and %%ld taps do not fit",
                     (long)vd[0], (long)vd[1], (long)vd[2], (long)PyArray_DIM(%(g)s, 0), taps);
        %(fail)s;
    }
"""

_C_WEIGHT_NORM = (
    "{"
    + _C_CHECK
    + """
    const npy_intp wd[3] = {vd[0], vd[1], taps};
    PyArrayObject *v = contiguous(%(v)s), *g = contiguous(%(g)s);
    if (!v || !g || reuse(&%(w)s, 3, wd, PyArray_TYPE(%(v)s))) { %(fail)s; }
    pixelvae::weight_norm<%(T)s>((%(T)s *)PyArray_DATA(v), (%(T)s *)PyArray_DATA(g), (%(T)s *)PyArray_DATA(%(w)s),
                                 vd[0], vd[1], vd[2], taps);
    Py_DECREF(v); Py_DECREF(g);
}
"""
)

_C_WEIGHT_NORM_GRADIENT = (
    "{"
    + _C_CHECK
    + """
    const npy_intp *wd = PyArray_DIMS(%(gw)s);
    if (wd[0] != vd[0] || wd[1] != vd[1] || wd[2] != taps) {
        PyErr_SetString(PyExc_ValueError, "WeightNormGradient: shapes do not fit");
        %(fail)s;
    }
    PyArrayObject *v = contiguous(%(v)s), *g = contiguous(%(g)s), *gw = contiguous(%(gw)s);
    if (!v || !g || !gw || reuse(&%(gv)s, 3, vd, PyArray_TYPE(%(v)s)) ||
        reuse(&%(gg)s, 1, vd, PyArray_TYPE(%(v)s))) { %(fail)s; }
    pixelvae::weight_norm_gradient<%(T)s>((%(T)s *)PyArray_DATA(v), (%(T)s *)PyArray_DATA(g),
                                          (%(T)s *)PyArray_DATA(gw), (%(T)s *)PyArray_DATA(%(gv)s),
                                          (%(T)s *)PyArray_DATA(%(gg)s), vd[0], vd[1], vd[2], taps);
    Py_DECREF(v); Py_DECREF(g); Py_DECREF(gw);
}
"""
)
