"""Operations that are one call of a C++ function on dense arrays."""

from __future__ import annotations

import theano.tensor as T
from theano import gof

from lib.ops._native import CHECK_CONTIGUOUS, NativeOp, c_type, same_dtype


class FusedOp(NativeOp):
    """An operation of which its class says, in C, how sizes follow from the inputs' shapes.

    ``ranks`` are the inputs' dimensions. With d0, d1, … for the inputs' shapes: ``sizes`` declares
    what the other fields mention, ``fits`` is the condition on the shapes, ``results`` are the
    outputs' shapes, and ``call`` is the function with its arguments, in which a0, a1, … are the
    inputs' data and r0, r1, … the outputs'. It returns an error's text, or NULL.
    """

    __props__ = ()
    ranks: tuple[int, ...]
    sizes: str
    fits: str
    results: tuple[str, ...]
    call: str

    def make_node(self, *inputs):
        inputs = same_dtype(*[self.as_tensor(v, n) for v, n in zip(inputs, self.ranks)])
        outputs = [
            T.TensorType(inputs[0].dtype, (False,) * (shape.count(",") + 1))()
            for shape in self.results
        ]
        return gof.Apply(self, inputs, outputs)

    def c_support_code(self):
        return CHECK_CONTIGUOUS

    def c_code(self, node, name, inputs, outputs, sub):
        kind, fail = c_type(node.inputs[0]), sub["fail"]
        lines = [f"const npy_intp *d{i} = PyArray_DIMS({v});" for i, v in enumerate(inputs)]
        lines += [self.sizes, f'const char *problem = {self.fits} ? NULL : "shapes do not fit";']
        lines += [f"PyArrayObject *p{i} = NULL;" for i in range(len(inputs))]
        lines += ["if (!problem) {"]
        for i, v in enumerate(inputs):
            lines.append(f"p{i} = contiguous({v}); if (!p{i}) {{ {fail} }}")
            lines.append(f"{kind} *a{i} = ({kind} *)PyArray_DATA(p{i});")
        for i, (v, shape) in enumerate(zip(outputs, self.results)):
            lines.append(f"const npy_intp s{i}[] = {{{shape}}};")
            lines.append(
                f"if (reuse(&{v}, {shape.count(',') + 1}, s{i}, PyArray_TYPE(p0))) {{ {fail} }}"
            )
            lines.append(f"{kind} *r{i} = ({kind} *)PyArray_DATA({v});")
        lines += [f"problem = pixelvae::{self.call};", "}"]
        lines += [f"Py_XDECREF(p{i});" for i in range(len(inputs))]
        lines.append(
            f'if (problem) {{ PyErr_Format(PyExc_ValueError, "{type(self).__name__}: %s", problem);'
            f" {fail} }}"
        )
        return "{\n" + "\n".join(lines) + "\n}"
