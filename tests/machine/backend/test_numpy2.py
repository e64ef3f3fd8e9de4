"""What Theano computes where NumPy has changed under it, against NumPy itself; most of it on every Python."""

from __future__ import annotations

import importlib
import re
import sys

import numpy as np
import pytest
import theano
import theano.tensor as T
from fresh_process import output

from pixelvae.machine.backend import compat, numpy2
from pixelvae.machine.errors import UserError

RNG = np.random.RandomState(0)
X = RNG.standard_normal((4, 5)).astype("float32")
INDEX = RNG.randint(0, 4, 7)


@pytest.mark.parametrize(
    ("expression", "truth"),
    [
        (lambda x: x.argmax(), X.argmax()),
        (lambda x: x.argmax(1), X.argmax(1)),
        (lambda x: T.max_and_argmax(x, axis=0)[1], X.argmax(0)),
        (lambda x: T.cumsum(x), X.cumsum()),
        (lambda x: T.cumsum(x, axis=1), X.cumsum(1)),
        (lambda x: T.cumprod(x), X.cumprod()),
        (lambda x: T.repeat(x, 2), X.repeat(2)),
        (lambda x: x.take(INDEX), X.take(INDEX)),
        (lambda x: x[INDEX], X[INDEX]),
        (lambda x: x.prod(), X.prod()),
        (lambda x: T.sort(x, axis=None), np.sort(X, axis=None)),
        (lambda x: T.argsort(x, axis=0), np.argsort(X, axis=0)),
        (lambda x: T.mul(x, x, x), X**3),
        (lambda x: T.arccosh(1 + x * x), np.arccosh(1 + X * X)),
        (lambda x: (T.complex(x, x) * T.complex(x, -x)).real, 2 * X * X),
    ],
)
@pytest.mark.parametrize("linker", ["vm", "py"])
def test_theano_is_numpy(expression, truth, linker):
    x = T.fmatrix()
    value = theano.function([x], expression(x), mode=theano.Mode(linker, "fast_compile"))(X)
    np.testing.assert_allclose(value, truth, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("linker", ["vm", "py"])
def test_gradients_of_indices_that_repeat_add_up(linker):
    x = T.fmatrix()
    gradient = T.grad((x[INDEX] * T.arange(7).dimshuffle(0, "x")).sum(), x)
    value = theano.function([x], gradient, mode=theano.Mode(linker, "fast_compile"))(X)
    truth = np.zeros_like(X)
    np.add.at(truth, INDEX, np.arange(7, dtype="float32")[:, None])
    np.testing.assert_array_equal(value, truth)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (0.5, "float32"), (0.1, "float64"), (100, "int8"), (300, "int16"), (-70_000, "int32"), (2**40, "int64"),
        (2**63, "uint64"),
    ],
)  # fmt: skip
def test_a_constant_is_of_the_smallest_type_that_holds_it(value, dtype):
    with theano.configparser.change_flags(floatX="float64"):
        constant = T.constant(value)
    assert constant.dtype == dtype and constant.data.item() == value


def test_values_are_not_rounded_unless_that_is_wanted():
    with theano.configparser.change_flags(floatX="float64"), pytest.raises(TypeError):
        theano.scalar.float32.filter(0.1)
    with pytest.raises(TypeError):
        T.bvector().type.filter([300])
    np.testing.assert_array_equal(T.bvector().type.filter([300], allow_downcast=True), [44])


def test_debug_mode_compares_c_with_numpy():
    x = T.fmatrix()
    total = theano.function([x], [x.sum(), T.dot(x, x.T)], mode="DebugMode")(X)[0]
    np.testing.assert_allclose(total, X.sum(), rtol=1e-5)


def test_values_have_digests():
    assert theano.printing.hex_digest(X) != theano.printing.hex_digest(X + 1)


def test_scan_works_or_is_refused_in_one_line():
    code = "import pixelvae.lib, theano, theano.tensor as T; print(theano.scan(lambda a: a + 1, T.vector())[0].ndim)"
    if sys.version_info < (3, 12):
        assert output(code) == "1"
    else:
        with pytest.raises(UserError, match="theano.scan works on CPython 3.8 to 3.11 only"):
            theano.scan(lambda a: a + 1, T.vector())


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="for the Pythons that need no repair")
def test_nothing_is_changed_where_numpy_is_older():
    code = "import pixelvae.lib, numpy, numpy.distutils.core; print(numpy.MAXDIMS, numpy.cast.__class__.__module__)"
    assert (
        output(f"import warnings; warnings.simplefilter('ignore'); {code}")
        == "32 numpy.core.numerictypes"
    )


def test_c_is_translated():
    """As much of it as the expressions above do not reach."""
    c = "PyArray_DESCR((PyArrayObject*)%s)->elsize; struct theano_complex64 : public npy_complex64 {};"
    for old, new in numpy2._C:
        c = re.sub(old, new, c)
    assert c.startswith("PyArray_ITEMSIZE((PyArrayObject*)%s);")
    assert "npy_float32 real, imag" in c and "npy_complex" not in c


def test_a_module_of_another_version_is_not_edited_by_guess(tmp_path, monkeypatch):
    (tmp_path / "of_another_version.py").write_text("x = 1")
    monkeypatch.syspath_prepend(tmp_path)
    compat.wrap("of_another_version", numpy2._edited("y = 1", "y = 2"))
    with pytest.raises(UserError, match="of_another_version is not of the version"):
        importlib.import_module("of_another_version")
