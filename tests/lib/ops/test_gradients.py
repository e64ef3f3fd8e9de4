"""Every differentiable function of lib/ops against finite differences, or named with the test that does it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import numpy as np
import pytest
import theano
from compiled import PYTHON
from theano.tensor import verify_grad

import lib.ops
from lib.ops.batch_norm import batch_norm_inference
from lib.ops.gaussian import Gaussian, kl, kl_to_standard, standard_log_density
from lib.ops.likelihood import bernoulli_log_likelihood, discretised_gaussian_log_likelihood

RNG = np.random.RandomState(5)
MAPS = RNG.standard_normal((3, 2, 2, 3, 2))
X = theano.tensor.constant(RNG.randint(0, 2, (2, 2, 3, 2)).astype("float64"))
LEVELS = theano.tensor.constant(RNG.randint(0, 8, (2, 2, 3, 2)).astype("float64"))

CASES = {
    "standard_log_density": (standard_log_density, [MAPS[0]]),
    "kl_to_standard": (lambda m, s: kl_to_standard(Gaussian(m, s)), [MAPS[0], MAPS[1]]),
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
# Checked beside their other tests. The last ones are gradients themselves; where the models never ask for
# theirs, they are compared with loops or with NumPy.
ELSEWHERE = {
    "test_ops_conv": ["Correlate", "CorrelateInputs", "CorrelateWeights"],
    "test_ops_gate": ["Gate", "gate", "GateGradient"],
    "test_ops_weight_norm": ["WeightNorm", "WeightNormGradient"],
    "test_batch_norm": ["BatchNorm", "BatchNormGradient"],
    "test_ops_pixels": [
        "Elu",
        "EluGradient",
        "Embed",
        "EmbedGradient",
        "Categorical",
        "CategoricalGradient",
        "categorical_log_likelihood",
    ],
}
NO_GRADIENT = {"present", "output_size", "native"}


@pytest.mark.parametrize("name", CASES)
def test_gradients_against_finite_differences(name):
    function, points = CASES[name]
    with theano.configparser.change_flags(mode=PYTHON, floatX="float64"):
        verify_grad(function, points, rng=np.random.RandomState(0))


def test_every_public_operation_has_its_gradient_checked():
    public = set()
    for module in pkgutil.iter_modules(lib.ops.__path__):
        if not module.name.startswith("_"):
            content = vars(importlib.import_module(f"lib.ops.{module.name}"))
            public |= {
                name
                for name, value in content.items()
                if (inspect.isfunction(value) or inspect.isclass(value))
                and value.__module__ == f"lib.ops.{module.name}"
                and not name.startswith("_")
            }
    elsewhere = {name for names in ELSEWHERE.values() for name in names}
    assert public == {*CASES, *elsewhere, *NO_GRADIENT}
    for module, names in ELSEWHERE.items():
        text = inspect.getsource(importlib.import_module(module))
        assert "verify_grad" in text and all(name in text for name in names)
