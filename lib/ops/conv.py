"""Convolutions (cross-correlations) of image batches, written tap by tap.

A kernel of ``(kh, kw)`` taps is held by its first ``taps`` taps in raster order, as an array of shape
``(O, C, taps)``. All masks of the paper are such prefixes::

    vstack 3x3      A, 3x3          B, 3x3          horizontal 1x3, A   row above, 3x1
    x x x           x x x           x x x           x . .               x
    x x x           x . .           x x .           horizontal 1x3, B   .
    . . .           . . .           . . .           x x .               .

so a masked convolution computes and stores its non-zero taps alone. "Half" padding: the output is as large
as the input, or its half (rounded up) at stride 2. On the CPU the C++ in ``c/correlate.h`` does the work;
elsewhere (a GPU, ``PIXELVAE_NATIVE=0``) :mod:`lib.ops.lowering` replaces these operations by Theano's own.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import theano.tensor as T
from theano import gof
from theano.gof import ParamsType
from theano.gof.type import Generic
from theano.scalar import int64 as scalar_int64
from theano.tensor.type_other import NoneConst, NoneTypeT

from lib.ops._native import CHECK_CONTIGUOUS, NativeOp, c_type, same_dtype

_GEOMETRY = ("kh", "kw", "taps", "stride")


def _optional(given: list, variables) -> list:
    """The variables in turn from ``given``, and where there is none a None that one graph may own."""
    return [given.pop(0) if v is not None else NoneConst.clone() for v in variables]


def present(variable) -> bool:
    return not isinstance(variable.type, (NoneTypeT, Generic))


_einsum = partial(np.einsum, optimize=True)  # by matrix products


def output_size(size, kernel: int, stride: int):
    """Height or width after a strided convolution with half padding."""
    return (size + 2 * (kernel // 2) - kernel) // stride + 1


class _Correlation(NativeOp):
    """The geometry the three operations share; not an operation itself."""

    __props__ = _GEOMETRY
    header = "correlate.h"
    params_type = ParamsType(**{name: scalar_int64 for name in _GEOMETRY})

    def __init__(self, kh: int, kw: int, taps: int, stride: int = 1):
        if kh % 2 == 0 or kw % 2 == 0:
            raise ValueError(f"kernels have odd sizes, not {kh}x{kw}")
        if not 0 < taps <= kh * kw:
            raise ValueError(f"a {kh}x{kw} kernel has 1 to {kh * kw} taps, not {taps}")
        self.kh, self.kw, self.taps, self.stride = kh, kw, taps, stride

    def c_support_code(self):
        return CHECK_CONTIGUOUS

    def _offsets(self):
        for t in range(self.taps):
            yield t, t // self.kw, t % self.kw  # measured from the padded image's corner

    def _pad(self, x: np.ndarray) -> np.ndarray:
        ph, pw = self.kh // 2, self.kw // 2
        return np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), "constant")

    def _window(self, padded: np.ndarray, dy: int, dx: int, h: int, w: int) -> np.ndarray:
        s = self.stride
        return padded[:, :, dy : dy + s * (h - 1) + 1 : s, dx : dx + s * (w - 1) + 1 : s]

    def _output_hw(self, h, w):
        return output_size(h, self.kh, self.stride), output_size(w, self.kw, self.stride)


class Correlate(_Correlation):
    """``y = acc + bias + sum over taps of w x``; see the module's docstring.

    Inputs: x (N, C, H, W), w (O, C, taps), bias (O,) or None, acc (N, O, Ho, Wo) or None.
    Output: y (N, O, Ho, Wo).
    """

    def make_node(self, x, w, bias=None, acc=None):
        ranked = ((x, 4), (w, 3), (bias, 1), (acc, 4))
        given = same_dtype(*[self.as_tensor(v, ndim) for v, ndim in ranked if v is not None])
        # What is known to be one image stays so, for the gate to share it among latents.
        out = T.TensorType(given[0].dtype, (given[0].broadcastable[0], False, False, False))()
        inputs = _optional(given, (x, w, bias, acc))
        return gof.Apply(self, inputs, [out])

    def infer_shape(self, node, shapes):
        (n, _, h, w), (o, _, _) = shapes[:2]
        return [(n, o) + self._output_hw(h, w)]

    def perform(self, node, inputs, outputs, params=None):
        x, w, bias, acc = inputs
        h, width = self._output_hw(*x.shape[2:])
        shape = (x.shape[0], w.shape[0], h, width)
        self.require(
            w.shape[1:] == (x.shape[1], self.taps)
            and (bias is None or bias.shape == shape[1:2])
            and (acc is None or acc.shape == shape)
        )
        y = np.zeros(shape, x.dtype)
        padded = self._pad(x)
        for t, dy, dx in self._offsets():
            y += _einsum("ncij,oc->noij", self._window(padded, dy, dx, h, width), w[:, :, t])
        if bias is not None:
            y += bias[None, :, None, None]
        if acc is not None:
            y += acc
        outputs[0][0] = y

    def grad(self, inputs, output_gradients):
        x, w, bias, acc = inputs
        (gy,) = output_gradients
        geometry = (self.kh, self.kw, self.taps, self.stride)
        gx = CorrelateInputs(*geometry)(gy, w, x.shape[2], x.shape[3])
        gw = CorrelateWeights(*geometry)(x, gy)
        gb = gy.sum(axis=(0, 2, 3)) if present(bias) else T.DisconnectedType()()
        return [gx, gw, gb, gy if present(acc) else T.DisconnectedType()()]

    def connection_pattern(self, node):
        return [[present(v)] for v in node.inputs]

    def c_code(self, node, name, inputs, outputs, sub):
        x, w, bias, acc = inputs
        has_bias, has_acc = (int(present(v)) for v in node.inputs[2:])
        return _C_CORRELATE % dict(
            locals(),
            y=outputs[0],
            T=c_type(node.inputs[0]),
            fail=sub["fail"],
            p=sub["params"],
            bias=bias if has_bias else "NULL",
            acc=acc if has_acc else "NULL",
        )


class CorrelateInputs(_Correlation):
    """The adjoint of :class:`Correlate` in x; forward, it is the transposed convolution.

    Inputs: gy (N, O, Ho, Wo), w (O, C, taps), the height and width of the result, bias (C,) or None,
    acc (N, C, H, W) or None. Output: (N, C, H, W).
    """

    def make_node(self, gy, w, height, width, bias=None, acc=None):
        ranked = ((gy, 4), (w, 3), (bias, 1), (acc, 4))
        given = same_dtype(*[self.as_tensor(v, ndim) for v, ndim in ranked if v is not None])
        out = T.TensorType(given[0].dtype, (given[0].broadcastable[0], False, False, False))()
        gy, w = given[:2]
        del given[:2]
        extra = _optional(given, (bias, acc))
        size = [T.as_tensor_variable(v).astype("int64") for v in (height, width)]
        return gof.Apply(self, [gy, w] + size + extra, [out])

    def infer_shape(self, node, shapes):
        return [(shapes[0][0], shapes[1][1], node.inputs[2], node.inputs[3])]

    def perform(self, node, inputs, outputs, params=None):
        gy, w, height, width, bias, acc = inputs
        shape = (gy.shape[0], w.shape[1], int(height), int(width))
        self.require(
            w.shape[::2] == (gy.shape[1], self.taps)
            and gy.shape[2:] == self._output_hw(*shape[2:])
            and (bias is None or bias.shape == shape[1:2])
            and (acc is None or acc.shape == shape)
        )
        padded = self._pad(np.zeros(shape, gy.dtype))
        for t, dy, dx in self._offsets():
            window = self._window(padded, dy, dx, *gy.shape[2:])
            window += _einsum("noij,oc->ncij", gy, w[:, :, t])
        ph, pw = self.kh // 2, self.kw // 2
        x = padded[:, :, ph : ph + shape[2], pw : pw + shape[3]]
        if bias is not None:
            x = x + bias[None, :, None, None]
        outputs[0][0] = np.ascontiguousarray(x if acc is None else x + acc)

    def grad(self, inputs, output_gradients):
        gy, w, height, width, bias, acc = inputs
        (gx,) = output_gradients
        geometry = (self.kh, self.kw, self.taps, self.stride)
        none = T.DisconnectedType()
        return [
            Correlate(*geometry)(gx, w),
            CorrelateWeights(*geometry)(gx, gy),
            none(),
            none(),
            gx.sum(axis=(0, 2, 3)) if present(bias) else none(),
            gx if present(acc) else none(),
        ]

    def connection_pattern(self, node):
        gy, w, height, width, bias, acc = node.inputs
        return [[True], [True], [False], [False], [present(bias)], [present(acc)]]

    def c_code(self, node, name, inputs, outputs, sub):
        gy, w, height, width, bias, acc = inputs
        has_bias, has_acc = (int(present(v)) for v in node.inputs[4:])
        return _C_CORRELATE_INPUTS % dict(
            locals(),
            gx=outputs[0],
            T=c_type(node.inputs[0]),
            fail=sub["fail"],
            p=sub["params"],
            bias=bias if has_bias else "NULL",
            acc=acc if has_acc else "NULL",
        )


class CorrelateWeights(_Correlation):
    """The adjoint of :class:`Correlate` in w. Inputs: x (N, C, H, W), gy (N, O, Ho, Wo); output: (O, C, taps)."""

    def make_node(self, x, gy):
        x, gy = same_dtype(self.as_tensor(x, 4), self.as_tensor(gy, 4))
        return gof.Apply(self, [x, gy], [T.TensorType(x.dtype, (False,) * 3)()])

    def infer_shape(self, node, shapes):
        return [(shapes[1][1], shapes[0][1], self.taps)]

    def perform(self, node, inputs, outputs, params=None):
        x, gy = inputs
        self.require(gy.shape[:1] + gy.shape[2:] == x.shape[:1] + self._output_hw(*x.shape[2:]))
        padded = self._pad(x)
        gw = np.empty((gy.shape[1], x.shape[1], self.taps), x.dtype)
        for t, dy, dx in self._offsets():
            window = self._window(padded, dy, dx, *gy.shape[2:])
            gw[:, :, t] = _einsum("ncij,noij->oc", window, gy)
        outputs[0][0] = gw

    def grad(self, inputs, output_gradients):
        x, gy = inputs
        (gw,) = output_gradients
        geometry = (self.kh, self.kw, self.taps, self.stride)
        gx = CorrelateInputs(*geometry)(gy, gw, x.shape[2], x.shape[3])
        return [gx, Correlate(*geometry)(x, gw)]

    def c_code(self, node, name, inputs, outputs, sub):
        x, gy = inputs
        return _C_CORRELATE_WEIGHTS % dict(
            locals(), gw=outputs[0], T=c_type(node.inputs[0]), fail=sub["fail"], p=sub["params"]
        )


_C_CORRELATE = """
{
    const npy_intp *xd = PyArray_DIMS(%(x)s), *wd = PyArray_DIMS(%(w)s);
    const long kh = %(p)s->kh, kw = %(p)s->kw, taps = %(p)s->taps, stride = %(p)s->stride;
    const npy_intp yd[4] = {xd[0], wd[0], pixelvae::output_size(xd[2], kh, stride),
                            pixelvae::output_size(xd[3], kw, stride)};
    PyArrayObject *bias = (PyArrayObject *)%(bias)s, *acc = (PyArrayObject *)%(acc)s;
    if (wd[1] != xd[1] || wd[2] != taps || (bias && PyArray_DIM(bias, 0) != wd[0]) ||
        (acc && !PyArray_CompareLists(PyArray_DIMS(acc), yd, 4))) {
        PyErr_Format(PyExc_ValueError, "Correlate: shapes do not fit: %%ld input channels, weights (%%ld, %%ld, %%ld)",
                     (long)xd[1], (long)wd[0], (long)wd[1], (long)wd[2]);
        %(fail)s;
    }
    PyArrayObject *x = contiguous(%(x)s), *w = contiguous(%(w)s);
    if (bias) bias = contiguous(bias);
    if (acc) acc = contiguous(acc);
    if (!x || !w || reuse(&%(y)s, 4, yd, PyArray_TYPE(%(x)s))) { %(fail)s; }
    #define DATA(a) ((%(T)s *)PyArray_DATA(a))
    pixelvae::correlate<%(T)s>(DATA(x), DATA(w), bias ? DATA(bias) : 0, acc ? DATA(acc) : 0, DATA(%(y)s), xd[0],
                               xd[1], xd[2], xd[3], wd[0], kh, kw, taps, stride);
    #undef DATA
    Py_DECREF(x); Py_DECREF(w); Py_XDECREF(bias); Py_XDECREF(acc);
}
"""

_C_CORRELATE_INPUTS = """
{
    const npy_intp *gd = PyArray_DIMS(%(gy)s), *wd = PyArray_DIMS(%(w)s);
    const long kh = %(p)s->kh, kw = %(p)s->kw, taps = %(p)s->taps, stride = %(p)s->stride;
    const npy_intp xd[4] = {gd[0], wd[1], ((npy_int64 *)PyArray_DATA(%(height)s))[0],
                            ((npy_int64 *)PyArray_DATA(%(width)s))[0]};
    PyArrayObject *bias = (PyArrayObject *)%(bias)s, *acc = (PyArrayObject *)%(acc)s;
    if (wd[0] != gd[1] || wd[2] != taps || (bias && PyArray_DIM(bias, 0) != wd[1]) ||
        (acc && !PyArray_CompareLists(PyArray_DIMS(acc), xd, 4)) ||
        gd[2] != pixelvae::output_size(xd[2], kh, stride) || gd[3] != pixelvae::output_size(xd[3], kw, stride)) {
        PyErr_Format(PyExc_ValueError, "CorrelateInputs: shapes do not fit: (%%ld, %%ld) from (%%ld, %%ld)",
                     (long)xd[2], (long)xd[3], (long)gd[2], (long)gd[3]);
        %(fail)s;
    }
    PyArrayObject *gy = contiguous(%(gy)s), *w = contiguous(%(w)s);
    if (bias) bias = contiguous(bias);
    if (acc) acc = contiguous(acc);
    if (!gy || !w || reuse(&%(gx)s, 4, xd, PyArray_TYPE(%(gy)s))) { %(fail)s; }
    #define DATA(a) ((%(T)s *)PyArray_DATA(a))
    pixelvae::correlate_inputs<%(T)s>(DATA(gy), DATA(w), bias ? DATA(bias) : 0, acc ? DATA(acc) : 0,
                                      DATA(%(gx)s), xd[0], xd[1], xd[2], xd[3], gd[1], gd[2], gd[3], kh, kw, taps,
                                      stride);
    #undef DATA
    Py_DECREF(gy); Py_DECREF(w); Py_XDECREF(bias); Py_XDECREF(acc);
}
"""

_C_CORRELATE_WEIGHTS = """
{
    const npy_intp *xd = PyArray_DIMS(%(x)s), *gd = PyArray_DIMS(%(gy)s);
    const long kh = %(p)s->kh, kw = %(p)s->kw, taps = %(p)s->taps, stride = %(p)s->stride;
    if (gd[0] != xd[0] || gd[2] != pixelvae::output_size(xd[2], kh, stride) ||
        gd[3] != pixelvae::output_size(xd[3], kw, stride)) {
        PyErr_SetString(PyExc_ValueError, "CorrelateWeights: shapes do not fit");
        %(fail)s;
    }
    const npy_intp wd[3] = {gd[1], xd[1], taps};
    PyArrayObject *x = contiguous(%(x)s), *gy = contiguous(%(gy)s);
    if (!x || !gy || reuse(&%(gw)s, 3, wd, PyArray_TYPE(%(x)s))) { %(fail)s; }
    #define DATA(a) ((%(T)s *)PyArray_DATA(a))
    pixelvae::correlate_weights<%(T)s>(DATA(x), DATA(gy), DATA(%(gw)s), xd[0], xd[1], xd[2], xd[3], gd[1], gd[2],
                                       gd[3], kh, kw, taps, stride);
    #undef DATA
    Py_DECREF(x); Py_DECREF(gy);
}
"""
