"""Weights that are set from a file: all or none, and no NaN among them."""

from __future__ import annotations

import numpy as np
import pytest

from pixelvae.machine.errors import NotFiniteError
from pixelvae.models.mnist.model import MnistModel, Settings


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])  # the last is none in single precision
def test_weights_that_are_not_finite_are_refused(bad):
    parameters = MnistModel(Settings("gated-pixelcnn", 0, 2, 2, 3, height=4, width=4)).parameters
    before = parameters.arrays()
    name = list(parameters)[-1]
    arrays = {n: np.zeros(a.shape) for n, a in before.items()}
    arrays[name].flat[-1] = bad
    with pytest.raises(NotFiniteError, match=f"NaN or infinity in {name}"):
        parameters.assign(arrays)
    for n, value in parameters.arrays().items():
        np.testing.assert_array_equal(value, before[n], err_msg=n)
    arrays[name].flat[-1] = 0
    parameters.assign(arrays)
    assert not any(value.any() for value in parameters.arrays().values())
