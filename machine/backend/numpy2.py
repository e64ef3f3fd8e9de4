"""What Theano 1.0.5 and Fuel 0.2.0 miss on CPython 3.12 and later, where NumPy is a version 2.

:mod:`.compat` makes these repairs on those Pythons alone, each to the module that it is for.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NoReturn

from pixelvae.machine.errors import UserError


def _edited(old: str, new: str) -> Callable[[ModuleType, Callable[[], None]], None]:
    def run_edited(module: ModuleType, run: Callable[[], None]) -> None:
        loader: Any = module.__loader__
        source, changes = re.subn(old, new, loader.get_source(module.__name__))
        if not changes:
            raise UserError(f"{module.__name__} is not of the version that requirements.txt pins")
        exec(compile(source, str(module.__file__), "exec"), vars(module))

    return run_edited


#: Modules that run from edited source.
EDITS = {
    # A field of shape (1,) is an array and no longer a number, and so nothing to index with.
    "fuel.datasets.hdf5": _edited(r"(\('\w+', [^()]*), 1\)", r"\1)"),
    # Methods that NumPy no longer has.
    "theano.tensor.blas": _edited(r"\bz\.itemset\((.*)\)", r"z[()] = \1"),
    "theano.compile.debugmode": _edited(
        r"(storage_map\[r\]\[0\])\.itemset\((.*)\)", r"\1[()] = \2"
    ),
    "theano.printing": _edited(r"\.tostring\(\)", ".tobytes()"),
    # Integers that are out of bounds wrapped around, and are an error now. Of the types that hold
    # a constant, Theano tries the smaller ones first.
    "theano.misc.safe_asarray": _edited(
        r"( +)rval = (np\.asarray\(a, dtype=)dtype(, order=order\))",
        r"\1try:\n\1    rval = \2dtype\3\n"
        r"\1except OverflowError:\n\1    rval = \2'int64'\3.astype(dtype)",
    ),
    # A number of Python's takes the type of what it is compared with: any is equal to itself
    # rounded to a smaller type, into which Theano would put it.
    "theano.scalar.basic": _edited(r"\b(x|data) == (x_|converted_data)\b", r"np.asarray(\1) == \2"),
}


class _Casts(dict):
    """``numpy.cast``: by data type, what converts to it."""

    def __missing__(self, dtype: Any) -> Callable[[Any], Any]:
        return lambda value: sys.modules["numpy"].asarray(value).astype(dtype)


#: The axis that means all axes, ``NPY_RAVEL_AXIS``; it was the greatest number of axes before.
_ALL_AXES = -(2**31)


def restore_names(numpy: Any) -> None:
    """Give ``numpy`` the names back that Theano and Lasagne use, numpy.distutils among them."""
    names = vars(numpy)
    for name, value in {
        "complex": complex,
        "product": numpy.prod,
        "cast": _Casts(),
        "sctype2char": lambda dtype: numpy.dtype(dtype).char,
        "ComplexWarning": numpy.exceptions.ComplexWarning,
        "MAXDIMS": _ALL_AXES,
    }.items():
        names.setdefault(name, value)
    # Of distutils, Theano wants the folder of the headers, and what NumPy was linked with, which
    # it does not know here.
    for name in ("distutils", "distutils.misc_util", "distutils.__config__"):
        module = ModuleType(f"numpy.{name}", "Stands in for what NumPy no longer has.")
        sys.modules[module.__name__] = module
    package = sys.modules["numpy.distutils"]
    package.__path__ = []
    for name in ("misc_util", "__config__"):
        setattr(package, name, sys.modules[f"numpy.distutils.{name}"])
    package.misc_util.get_numpy_include_dirs = lambda: [numpy.get_include()]  # type: ignore[attr-defined]
    numpy.distutils = package


# NumPy's header for both Pythons lost these names of Python 2.
_PRELUDE = """
#define NPY_PY3K 1
#define PyInt_Check PyLong_Check
#define PyInt_AsLong PyLong_AsLong
#define PyInt_FromLong PyLong_FromLong
#define PyNumber_Int PyNumber_Long
#define PyString_Check PyUnicode_Check
#define PyString_FromString PyUnicode_FromString
#define PyString_AsString PyUnicode_AsUTF8
"""

#: Patterns in the C that Theano writes, and what NumPy 2 wants there.
_C = (
    # All axes: the name is still there, and now a number that means a single axis too far.
    (r"\bNPY_MAXDIMS\b", "NPY_RAVEL_AXIS"),
    # Descriptors are opaque.
    (r"PyArray_DESCR\(((?:[^()]|\([^()]*\))*)\)\s*->\s*elsize", r"PyArray_ITEMSIZE(\1)"),
    # Complex numbers are those of C and have no members.
    *(
        (
            rf"struct theano_complex{bits}\s*: public npy_complex{bits}\b",
            f"struct theano_parts{bits} {{ npy_float{bits // 2} real, imag; }};\n"
            f"struct theano_complex{bits} : public theano_parts{bits}",
        )
        for bits in (64, 128)
    ),
)


def translate_c(cmodule: Any) -> None:
    """Translate all C that Theano compiles. Takes ``theano.gof.cmodule``."""
    compile_str = cmodule.GCC_compiler.compile_str

    def translate_and_compile(name: str, source: str, *arguments: Any, **options: Any) -> Any:
        for old, new in _C:
            source = re.sub(old, new, source)
        return compile_str(name, _PRELUDE + source, *arguments, **options)

    cmodule.GCC_compiler.compile_str = staticmethod(translate_and_compile)


def add_at_in_numpy(subtensor: Any) -> None:
    """Leave indexed additions to ``perform``: NumPy's C interface lost the iterators for them.

    Its own ``add.at``, which ``perform`` calls, has become fast. Takes ``theano.tensor.subtensor``.
    """

    def no_c(self: Any, *arguments: Any) -> NoReturn:
        raise NotImplementedError

    subtensor.AdvancedIncSubtensor1.c_code = no_c


def refuse_scan(module: Any) -> None:
    """Refuse ``scan``, whose loop in C is text that Cython wrote for older Pythons.

    Nothing here uses it. Takes ``theano.scan_module.scan``.
    """

    def scan(*arguments: Any, **options: Any) -> NoReturn:
        raise UserError("theano.scan works on CPython 3.8 to 3.11 only")

    module.scan = scan


def lend_imp(module: ModuleType, run: Callable[[], None]) -> None:
    """Run a module that looks for debuggers with the module imp, which Python gave up.

    DebugMode imports it.
    """
    imp = sys.modules["imp"] = ModuleType("imp")
    imp.find_module = find_spec  # type: ignore[attr-defined]
    try:
        run()
    finally:
        del sys.modules["imp"]
