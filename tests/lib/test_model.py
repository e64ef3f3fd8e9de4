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
    Model,
    MovingModel,
    draw_image_noise,
    draw_noise,
    noise_variables,
)
from pixelvae.lib.ops.gaussian import Gaussian, StandardNormal
from pixelvae.models.hierarchical.model import HierarchicalModel
from pixelvae.models.mnist.model import MnistModel, Settings


def binary(name: str) -> Model:
    """One of the MNIST models, as everything that uses it asks for it."""
    return MnistModel(Settings(name, 1, 2, 2, 3, height=4, width=4))


def layered() -> MovingModel:
    """A model of two latents, as training asks for it."""
    return HierarchicalModel(SMALL)


def test_a_model_of_one_latent_gives_its_distributions() -> None:
    model = binary("gated-pixelvae-noup")
    x, z, noise = T.tensor4(), T.matrix(), T.matrix()
    row = T.TensorType("float32", (True, False, False, False))()
    q = model.posteriors(x)["z"]
    weights = model.log_weights(
        row, {"z": Gaussian(T.zeros((1, 2)), T.zeros((1, 2)))}, {"z": noise}
    )
    assert (model.name, model.levels) == ("gated-pixelvae-noup", 2)
    assert [(latent.name, latent.shape) for latent in model.latents] == [("z", (2,))]
    assert (q.mean.ndim, model.decode(x, {"z": z}).ndim, weights.ndim) == (2, 4, 1)
    assert isinstance(model.prior("z", {"z": z}), StandardNormal)


def test_a_model_without_latent_gives_its_pixels_alone() -> None:
    model, x = binary("gated-pixelcnn"), T.tensor4()
    assert not model.latents and not model.noise_shapes and not model.posteriors(x)
    assert model.decode(x, {}).ndim == 4 and not model.terms(x, {}).kls


def test_a_model_of_two_latents_gives_its_distributions_from_the_top() -> None:
    model = layered()
    z = noise_variables(model)
    x = T.tensor4()
    assert [latent.name for latent in model.latents] == ["z2", "z1"]
    assert {name: q.mean.ndim for name, q in model.posteriors(x).items()} == {"z1": 4, "z2": 2}
    below, top = model.prior("z1", z), model.prior("z2", z)
    assert isinstance(below, Gaussian) and below.mean.ndim == 4
    assert isinstance(top, StandardNormal)
    assert model.decode(x, {"z1": z["z1"]}).ndim == 4
    statistics = model.statistics(x, z)
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
    model = layered()
    numbers = [4, 0, 9]
    noise = draw_image_noise(model, 3, "valid 0", numbers)
    for one, variable in zip(noise, noise_variables(model).values()):
        assert variable.type.is_valid_value(one)
    for at, number in enumerate(numbers):
        for whole, alone in zip(noise, draw_image_noise(model, 3, "valid 0", [number])):
            np.testing.assert_array_equal(whole[at], alone[0])
    assert [n.shape for n in draw_noise(model, 3, "training", 1, 5)] == [(5, 2, 4, 4), (5, 3)]
    assert theano.config.floatX == "float32"
