"""The models satisfy the contracts of lib/model.py.

mypy checks the annotated assignments, members and their types; the tests run the methods.
"""

from __future__ import annotations

import numpy as np
import pytest
import theano
import theano.tensor as T
from small_models import SMALL, small

from pixelvae.lib.model import (
    LatentModel,
    LayeredModel,
    Model,
    MovingModel,
    draw_image_noise,
    draw_noise,
    noise_variables,
)
from pixelvae.lib.ops.gaussian import Gaussian
from pixelvae.models.hierarchical.model import HierarchicalModel
from pixelvae.models.mnist.model import MnistModel, Settings


def binary(name: str) -> LatentModel:
    """One of the MNIST models, as what sampling and importance weighting ask for."""
    model: LatentModel = MnistModel(Settings(name, 1, 2, 2, 3, height=4, width=4))
    return model


def layered() -> tuple[LayeredModel, MovingModel]:
    """A model of two latents, as what sampling asks for and as what training does."""
    model = HierarchicalModel(SMALL)
    return model, model


def test_a_latent_model_says_its_distributions() -> None:
    model = binary("gated-pixelvae-noup")
    x, z, noise = T.tensor4(), T.matrix(), T.matrix()
    row = T.TensorType("float32", (True, False, False, False))()
    q = model.encode(x)
    weights = model.log_weights(
        row, {"z": Gaussian(T.zeros((1, 2)), T.zeros((1, 2)))}, {"z": noise}
    )
    assert (model.name, model.latent_dim, model.levels) == ("gated-pixelvae-noup", 2, 2)
    assert (q.mean.ndim, model.decode(x, z).ndim, weights.ndim) == (2, 4, 1)
    assert not binary("gated-pixelcnn").noise_shapes


def test_a_layered_model_says_its_distributions() -> None:
    model, moving = layered()
    z = noise_variables(model)
    x = T.tensor4()
    assert {name: q.mean.ndim for name, q in model.posteriors(x).items()} == {"z1": 4, "z2": 2}
    assert model.prior(z["z1"], z["z2"]).mean.ndim == 4
    assert model.decode(x, z["z1"]).ndim == 4 and callable(model.draw)
    statistics = moving.statistics(x, z)
    assert {v.name.rsplit(".", 1)[1] for v in statistics} == {"mean", "variance"}


@pytest.mark.parametrize("name", ["hierarchical", "conv-vae", "gated-pixelcnn"])
def test_a_model_has_all_that_training_asks_for(name: str) -> None:
    model: Model = small(name)
    assert model.name and model.header() and model.unit.nats > 0
    assert isinstance(model, MovingModel) == (name == "hierarchical")
    channels, height, width = model.image_shape
    x, noise = T.zeros((2, channels, height, width)), noise_variables(model)
    scalars = {n: np.float32(1) for n in ("alpha", "alpha1", "alpha2")}
    cost, terms = model.objective(x, noise, scalars)
    assert cost.ndim == 0 and terms.bound.ndim == 1
    assert set(model.parameters.trained) <= set(model.parameters.values())


def test_noise_of_an_image_is_its_own_and_fits_the_variables() -> None:
    model, _ = layered()
    numbers = [4, 0, 9]
    noise = draw_image_noise(model, 3, "valid 0", numbers)
    for one, variable in zip(noise, noise_variables(model).values()):
        assert variable.type.is_valid_value(one)
    for at, number in enumerate(numbers):
        for whole, alone in zip(noise, draw_image_noise(model, 3, "valid 0", [number])):
            np.testing.assert_array_equal(whole[at], alone[0])
    assert [n.shape for n in draw_noise(model, 3, "training", 1, 5)] == [(5, 2, 4, 4), (5, 3)]
    assert theano.config.floatX == "float32"
