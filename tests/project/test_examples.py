"""The examples in docstrings: all public functions, operations and layers have one, and what it prints is true."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import numpy as np
import pytest
import theano.tensor as T

import pixelvae.api
from pixelvae.lib import layers, ops, sampling
from pixelvae.lib.ops.native import Example, NativeOp, NotLowered

pytestmark = pytest.mark.usefixtures("fast_compile")

MODULES = [
    f"{package.__name__}.{module.name}"
    for package in (ops, layers)
    for module in pkgutil.iter_modules(package.__path__)
    if not module.name.startswith("_")
]
#: An error, a record, and what operations are made of: docs/extending.md has an example of that.
OTHERS = (NotLowered, Example, NativeOp)


@pytest.mark.parametrize("name", [*MODULES, f"{sampling.__name__}.plan"])
def test_what_examples_print_is_true(name):
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(
        importlib.import_module(name), extraglobs={"np": np, "T": T}
    ):
        runner.run(test)
    assert not runner.failures


@pytest.mark.parametrize("name", [*MODULES, pixelvae.api.__name__])
def test_whatever_is_public_has_an_example(name):
    """Theano calls the gradients of operations, and nobody else does."""
    module = importlib.import_module(name)
    public = {
        word: thing
        for word, thing in vars(module).items()
        if (inspect.isfunction(thing) or inspect.isclass(thing))
        and thing.__module__ == name
        and not word.startswith("_")
        and not word.endswith("Gradient")
        and thing not in OTHERS
    }
    if name == pixelvae.api.__name__:
        model = public.pop("PixelVAE")
        public |= {
            word: thing for word, thing in vars(model).items() if word[0] != "_" and callable(thing)
        }
        del public["Moments"]
    assert public or name.endswith("lowering")
    assert not [word for word, thing in public.items() if ">>> " not in (thing.__doc__ or "")]
