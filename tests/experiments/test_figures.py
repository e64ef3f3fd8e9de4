"""Pictures of a model of one latent in which one level's noise alone changes, against its probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import theano
import theano.tensor as T
from scipy.special import expit
from small_models import small

from pixelvae.experiments.figures import Figures, variation_grid
from pixelvae.lib import noise
from pixelvae.lib.sampling import ImageSampler
from pixelvae.machine.errors import UserError
from pixelvae.models.mnist.presets import MNIST

pytestmark = pytest.mark.usefixtures("fast_compile")

COUNT = 12  # of images in a row


def changed(name: str):
    """A small model whose every parameter is off its initial value."""
    model, rng = small(name), np.random.RandomState(2)
    arrays = model.parameters.arrays().items()
    model.parameters.assign({n: a + 0.3 * rng.standard_normal(a.shape) for n, a in arrays})
    return model


@pytest.mark.parametrize("name", ["pixelvae", "gated-pixelvae-noup"])
def test_one_level_varies_and_the_other_is_held(name):
    model = changed(name)
    grid = variation_grid(ImageSampler(model), ["z", "pixels"], count=COUNT, scenes=2, seed=5)
    z, uniform = [], []
    for scene in ("vary scene 0", "vary scene 1"):
        latents = noise.standard_normals(5, f"{scene} latent", range(COUNT), (2,))
        pixels = noise.uniforms(5, f"{scene} pixels", range(COUNT), model.image_shape)
        z += [latents, latents[[0] * COUNT]]
        uniform += [pixels[[0] * COUNT], pixels]
    # Only the image that the sampler should draw agrees with its noise in every pixel.
    x, latent = T.tensor4("x"), T.matrix("z")
    logits = theano.function([x, latent], model.decode(x, {"z": latent}))
    p = expit(logits(grid.astype("float32"), np.concatenate(z)))
    np.testing.assert_array_equal(grid, np.concatenate(uniform) < p)
    scenes = grid.reshape(2, 2, COUNT, -1)
    assert (
        (scenes != scenes[:, :, :1]).any(axis=(0, 2, 3)).all()
    )  # each level varies, in some scene


def test_rows_are_named_and_levels_that_are_not_there_refused():
    figures = Figures(small("conv-vae"), MNIST.pictured)
    picture = figures.variations("all", count=2, scenes=1, seed=0)
    assert picture.rows == ["top", "bottom"] and picture.images.shape == (4, 1, 4, 4)
    with pytest.raises(UserError, match="top or bottom"):
        figures.variations("middle", count=2, scenes=1, seed=0)
    with pytest.raises(UserError, match="no latent to vary"):
        Figures(small("gated-pixelcnn"), MNIST.pictured).variations("all", 2, 1, 0)
