"""Every differentiable function of lib/ops against finite differences."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import numpy as np
import pytest
import theano
from compiled import PYTHON
from theano.tensor import verify_grad

import pixelvae.lib.ops
from pixelvae.lib.ops.batch_norm import batch_norm_inference
from pixelvae.lib.ops.gaussian import Gaussian, StandardNormal, kl
from pixelvae.lib.ops.likelihood import (
    bernoulli_log_likelihood,
    discretised_gaussian_log_likelihood,
)
from pixelvae.lib.ops.native import NativeOp, as_list, examples

RNG = np.random.RandomState(5)
MAPS = RNG.standard_normal((3, 2, 2, 3, 2))
X = theano.tensor.constant(RNG.randint(0, 2, (2, 2, 3, 2)).astype("float64"))
LEVELS = theano.tensor.constant(RNG.randint(0, 8, (2, 2, 3, 2)).astype("float64"))

CASES = {
    "StandardNormal": (StandardNormal().log_density, [MAPS[0]]),
    "kl, of the standard normal": (
        lambda m, s: kl(Gaussian(m, s), StandardNormal()),
        [MAPS[0], MAPS[1]],
    ),
    "kl": (
        lambda m, s, p: kl(Gaussian(m, s), Gaussian(p, 0.5 * p)),
        list(MAPS),
    ),
    "Gaussian": (lambda m, s, z: Gaussian(m, s).log_density(z), list(MAPS)),
    "bernoulli_log_likelihood": (lambda a: bernoulli_log_likelihood(a, X), [MAPS[0]]),
    "discretised_gaussian_log_likelihood": (
        lambda m, s: discretised_gaussian_log_likelihood(Gaussian(3 + m, s), LEVELS, 8),
        [MAPS[0], MAPS[1]],
    ),
    "batch_norm_inference": (
        lambda x, a, b, m, v: batch_norm_inference(x, a, b, m, v**2 + 1),
        [MAPS[0], *RNG.standard_normal((4, 2))],
    ),
}
EXAMPLES = examples()


@pytest.mark.parametrize("name", CASES)
def test_gradients_against_finite_differences(name):
    function, points = CASES[name]
    with theano.configparser.change_flags(mode=PYTHON, floatX="float64"):
        verify_grad(function, points, rng=np.random.RandomState(0))


def expressions(name, dtype="float64"):
    """Variables, the first output and its gradients, of an example."""
    function, shapes = EXAMPLES[name]
    inputs = [theano.tensor.TensorType(dtype, (False,) * len(shape))() for shape in shapes]
    output = as_list(function(*inputs))[0]
    weights = RNG.standard_normal(theano.function(inputs, output.shape, mode=PYTHON)(*draw(name)))
    cost = (weights * output).sum()
    return inputs, output, cost, theano.grad(cost, inputs)


def draw(name):
    return [RNG.standard_normal(shape) for shape in EXAMPLES[name].shapes]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_against_differences_along_a_line(name):
    """The derivative along a random direction in all inputs at once."""
    with theano.configparser.change_flags(mode=PYTHON, floatX="float64"):
        inputs, _, cost, gradients = expressions(name)
        function = theano.function(inputs, [cost, *gradients])
    point, step = draw(name), draw(name)
    above, below = (function(*[p + e * s for p, s in zip(point, step)])[0] for e in (1e-6, -1e-6))
    slope = sum((g * s).sum() for g, s in zip(function(*point)[1:], step))
    assert slope == pytest.approx((above - below) / 2e-6, rel=1e-5)


def test_every_operation_has_an_example():
    """Each operation occurs in an example or in its gradient, so that what goes through all examples
    goes through all operations.
    """
    with theano.configparser.change_flags(mode=PYTHON, floatX="float64"):
        graphs = [gradients for *_, gradients in map(expressions, EXAMPLES)]
    nodes = [n for outputs in graphs for n in theano.gof.graph.io_toposort([], outputs)]
    assert {type(n.op) for n in nodes if isinstance(n.op, NativeOp)} == operations()


def operations() -> set:
    """The classes of pixelvae.lib.ops that are operations; tests may add their own."""

    def below(kind):
        return set().union({kind}, *map(below, kind.__subclasses__()))

    kinds = below(NativeOp) - {NativeOp}
    return {
        k
        for k in kinds
        if k.__module__.startswith("pixelvae.lib.ops.") and not k.__name__.startswith("_")
    }


def test_every_public_operation_has_its_gradient_checked():
    public = set()
    for module in pkgutil.iter_modules(pixelvae.lib.ops.__path__):
        if not module.name.startswith("_") and module.name != "native":
            content = vars(importlib.import_module(f"pixelvae.lib.ops.{module.name}"))
            public |= {
                name
                for name, value in content.items()
                if (inspect.isfunction(value) or inspect.isclass(value))
                and value.__module__ == f"pixelvae.lib.ops.{module.name}"
                and not name.startswith("_")
            }
    public -= {"gate", "categorical_log_likelihood"}  # each a call of an operation
    public -= {"draw"}  # in NumPy
    assert public == {c for c in CASES if c.isidentifier()} | {k.__name__ for k in operations()}
