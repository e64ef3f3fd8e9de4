"""Adam (Kingma & Ba 2015) on packed vectors, in place and in one pass, and what comes before it.

Lasagne's, which `step.py` takes where no C++ runs, reads and writes each vector several times.
"""

from __future__ import annotations

import numpy as np
import theano.tensor as T
from theano import gof
from theano.compile import optdb
from theano.gof.opt import TopoOptimizer

from pixelvae.lib.ops import _cpp
from pixelvae.lib.ops.native import HEADERS, NativeOp


class Pack(gof.Op):
    """Arrays written one after another over the beginning of a vector.

    Inputs: the vector and the arrays, all of its type. Output: the vector, in place where the
    optimiser allows it, which it decides after all else: as long as nothing works in place, it need
    not look for cycles at each step. Joining the arrays anew took a fifth of a large model's step.
    """

    __props__ = ("in_place",)

    def __init__(self, in_place: bool = False):
        self.in_place = in_place
        if in_place:
            self.destroy_map = {0: [0]}

    def make_node(self, vector, *arrays):
        if any(a.dtype != vector.dtype for a in arrays):
            raise TypeError("Pack: the arrays' types differ")
        return gof.Apply(self, [vector, *arrays], [vector.type()])

    def perform(self, node, inputs, outputs):
        vector, *arrays = inputs
        vector = vector if self.in_place else vector.copy()
        flat = [a.ravel() for a in arrays]
        np.concatenate(flat, out=vector[: sum(len(a) for a in flat)])
        outputs[0][0] = vector

    def c_headers(self):
        return ['"pack.h"']

    def c_header_dirs(self):
        return [str(HEADERS)]

    def c_compile_args(self):
        return ["-O3", "-fopenmp"]

    def c_code_cache_version(self):
        return (1, _cpp.digest(HEADERS / "pack.h"))

    def c_code(self, node, name, inputs, outputs, sub):
        (out,), (vector, *arrays) = outputs, inputs
        real = node.outputs[0].type.dtype_specs()[1]
        made = f"(PyArrayObject *)PyArray_NewCopy({vector}, NPY_CORDER)"
        if self.in_place:
            made = f"(Py_INCREF({vector}), {vector})"
        return f"""
        {{
            PyArrayObject *const given[] = {{{", ".join(arrays)}}};
            std::vector<PyArrayObject *> held;
            std::vector<const {real} *> arrays;
            std::vector<long> starts(1, 0);
            for (PyArrayObject *array : given) {{
                PyArrayObject *whole = (PyArrayObject *)PyArray_GETCONTIGUOUS(array);
                if (!whole) break;
                held.push_back(whole);
                arrays.push_back((const {real} *)PyArray_DATA(whole));
                starts.push_back(starts.back() + PyArray_SIZE(whole));
            }}
            Py_XDECREF({out});
            {out} = 0;
            if (held.size() < {len(arrays)}) {{
            }} else if (starts.back() > PyArray_SIZE({vector}) || !PyArray_IS_C_CONTIGUOUS({vector})) {{
                PyErr_SetString(PyExc_ValueError, "Pack: the vector is too short, or has gaps");
            }} else {{
                {out} = {made};
                if ({out}) pixelvae::pack<{real}>(arrays, starts, ({real} *)PyArray_DATA({out}));
            }}
            for (PyArrayObject *array : held) Py_DECREF(array);
            if (!{out}) {{ {sub["fail"]} }}
        }}
        """

    def infer_shape(self, node, shapes):
        return [shapes[0]]


@gof.local_optimizer([Pack])
def _pack_in_place(node):
    if isinstance(node.op, Pack) and not node.op.in_place:
        return Pack(in_place=True)(*node.inputs, return_list=True)
    return False


_AFTER_ELEMENTWISE = 80  # operations have been made to work in place
optdb.register(
    "pack_in_place",
    TopoOptimizer(_pack_in_place, failure_callback=TopoOptimizer.warn_inplace),
    _AFTER_ELEMENTWISE,
    "fast_run",
    "inplace",
)


class SumOfSquares(NativeOp):
    """Of a vector x (P,): one number, (1,), which does not depend on the number of threads."""

    header = "adam.h"
    takes = {"x": "P"}
    gives = {"squares": "1"}
    call = "sum_of_squares(x, squares, P)"

    def reference(self, x):
        return np.square(x, dtype="float64").sum(keepdims=True)

    def meaning(self, x):
        return T.sqr(x).sum(keepdims=True)


class Adam(NativeOp):
    """One update with β₁ = 0.9, β₂ = 0.999 and ε = 1e-8, written over its inputs.

    Inputs: the gradient (P,); numbers (4,), namely the size of the step (the learning rate with both
    corrections of the moments' bias), a factor of the gradient, the bound of its entries after that,
    and the weight of the new parameters in their average; parameters, first and second moments (P,).
    Outputs: the last three, updated.
    """

    header = "adam.h"
    takes = {"gradient": "P", "numbers": "4", "p": "P", "m": "P", "v": "P"}
    gives = {"new_p": "P", "new_m": "P", "new_v": "P"}
    in_place = {"new_p": "p", "new_m": "m", "new_v": "v"}
    call = "adam(gradient, numbers, p, m, v, (Real *)0, P)"

    def reference(self, *arrays):
        gradient, (step, factor, bound, weight), p, m, v, *average = arrays
        g = np.clip(factor * gradient, -bound, bound)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        p = p - step * m / (np.sqrt(v) + 1e-8)
        return [p, m, v, *(a + weight * (p - a) for a in average)]


class AveragedAdam(Adam):
    """The same with a moving average (P,) of the parameters, the last of inputs and outputs."""

    takes = {**Adam.takes, "average": "P"}
    gives = {**Adam.gives, "new_average": "P"}
    in_place = {**Adam.in_place, "new_average": "average"}
    call = "adam(gradient, numbers, p, m, v, average, P)"
