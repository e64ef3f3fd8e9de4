"""Theano's ``compute_test_value``: each small model, node by node in NumPy, against what is compiled from it.

Nothing is optimised, fused or compiled on one side, all of it on the other: operations that Theano's rewrites
or the project's own mistake for others would show, and so would shapes and types that do not fit.
"""

from __future__ import annotations

import numpy as np
import pytest
import theano
import theano.tensor as T
from small_models import small
from theano.configparser import change_flags

from pixelvae.models.mnist.table1 import VARIANTS


@pytest.mark.parametrize("name", [*VARIANTS, "hierarchical"])
def test_numpy_and_the_compiled_step_agree(name):
    model, rng = small(name), np.random.RandomState(0)
    for variable in model.parameters.values():
        value = variable.get_value()
        variable.set_value(value + 0.1 * rng.standard_normal(value.shape).astype("float32"))
    x = T.tensor4("x")
    x.tag.test_value = rng.randint(0, model.levels, (3, *model.image_shape)).astype("float32")
    noise = {}
    for key, shape in model.noise_shapes.items():
        noise[key] = T.TensorType("float32", (False,) * (1 + len(shape)))(key)
        noise[key].tag.test_value = rng.standard_normal((3, *shape)).astype("float32")
    inputs = [x, *noise.values()]
    with change_flags(compute_test_value="raise", cxx=""):
        cost = T.mean(model.terms(x, noise).bound)
        parameters = list(model.parameters.values())
        outputs = [cost, *theano.grad(cost, parameters, disconnected_inputs="ignore")]
    compiled = theano.function(inputs, outputs, on_unused_input="ignore")
    results = compiled(*(i.tag.test_value for i in inputs))
    for what, by_node, result in zip(["the cost", *model.parameters], outputs, results):
        truth = by_node.tag.test_value
        scale = max(1e-3, np.abs(truth).max())
        np.testing.assert_allclose(result, truth, rtol=1e-3, atol=1e-4 * scale, err_msg=what)
