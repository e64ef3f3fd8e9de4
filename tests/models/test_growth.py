"""Weights that were taken into a larger model compute what they computed before."""

from __future__ import annotations

import numpy as np
import pytest
import theano
import theano.tensor as T
from small_models import SMALL

from pixelvae.lib.model import draw_noise, noise_variables
from pixelvae.lib.sampling.images import ImageSampler
from pixelvae.machine.errors import UserError
from pixelvae.models.growth import channels, spread
from pixelvae.models.hierarchical.presets import HIERARCHICAL
from pixelvae.models.mnist.presets import MNIST, Settings
from pixelvae.models.mnist.table1 import VARIANTS
from pixelvae.models.weights import Weights, grow

pytestmark = pytest.mark.usefixtures("fast_compile")

BINARY = dict(layers=1, dim_pix=3, latent_dim=2, filter_size=3, height=5, width=4)
LARGER = dict(layers=3, dim_pix=8, latent_dim=5)

# Old sizes, and larger ones.
COLOURED = {
    "all that can grow": (
        {},
        dict(stages=((10, 2),), top_stages=((10, 2),), latents=(4, 3), pixel_width=7, pixel_kernels=(3, 3),
             latent_width=9, latent_kernels=(3, 1, 1), embed=4),
    ),
    "several stages": (
        dict(stages=((4, 1), (5, 1)), top_stages=((5, 1), (4, 0))),
        dict(stages=((8, 1), (9, 1)), top_stages=((9, 1), (6, 0))),
    ),
    "masked blocks without a shortcut": (
        dict(pixel_width=8, latent_width=8),
        dict(stages=((9, 1),), top_stages=((9, 1),), pixel_width=18, latent_width=18),
    ),
    "Gaussian decoders": (
        dict(pixel_decoder="gaussian", top_decoder="gaussian"),
        dict(latents=(3, 3), stages=((7, 1),), top_stages=((7, 2),)),
    ),
    "one level without masked blocks": (
        dict(top_stages=(), latents=(3,), latent_width=0, latent_kernels=(), pixel_kernels=()),
        dict(stages=((9, 2),), embed=3),
    ),
    "a mean over space": (
        dict(top_stages=(), latents=(3,), latent_width=0, latent_kernels=(), code="mean", embed=0),
        dict(stages=((9, 2),), pixel_width=6, pixel_kernels=(3, 3)),
    ),
}  # fmt: skip


def weights_of(family, settings) -> Weights:
    """A model in which no parameter is what it is at first."""
    model, rng = family.build(settings, seed=1), np.random.RandomState(2)
    arrays = model.parameters.arrays()
    if "encoder.linear.g" in arrays:
        arrays["encoder.linear.g"] *= 20  # so that the posterior depends on the image
    model.parameters.assign(
        {
            name: array * rng.uniform(0.9, 1.4, array.shape) + rng.uniform(-0.1, 0.1, array.shape)
            for name, array in arrays.items()
        }
    )
    return Weights(model, family, {"iteration": 7})


def terms(model, noise):
    """The bound's parts of some images; the noise is cut to the model's latents."""
    variables, x = noise_variables(model), T.tensor4()
    found = model.terms(x, variables)
    function = theano.function(
        [x, *variables.values()], [found.reconstruction, *found.kls.values()]
    )
    images = np.random.RandomState(3).randint(model.levels, size=(6, *model.image_shape))
    cut = [n[:, : shape[0]] for n, shape in zip(noise, model.noise_shapes.values())]
    return function(images.astype(theano.config.floatX), *cut)


def assert_same_samples(old: Weights, new: Weights) -> None:
    before, after = (ImageSampler(weights.model).sample(5, seed=0) for weights in (old, new))
    assert before.any()
    np.testing.assert_array_equal(after, before)


def assert_the_same(old: Weights, new: Weights) -> None:
    noise = draw_noise(new.model, 0, "test", 0, 6)
    for before, after in zip(terms(old.model, noise), terms(new.model, noise)):
        assert np.isfinite(before).all() and np.std(before) > 0.003
        np.testing.assert_allclose(after, before, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_larger_model_of_binary_images_computes_the_same(name):
    old = weights_of(MNIST, Settings(name, **BINARY))
    new, grown = grow(old, Settings(name, **{**BINARY, **LARGER}), seed=4)
    assert grown == ["dim_pix: 3 → 8", "latent_dim: 2 → 5", "layers: 1 → 3"]
    assert new.iteration == 7
    assert_the_same(old, new)
    if name == "gated-pixelvae-noup":
        assert_same_samples(old, new)


@pytest.mark.parametrize("kind", COLOURED)
def test_a_larger_model_of_coloured_images_computes_the_same(kind):
    sizes, larger = COLOURED[kind]
    before = SMALL.changed(sizes)
    old = weights_of(HIERARCHICAL, before)
    new, _ = grow(old, before.changed({**larger, "name": "larger"}))
    assert new.model.parameters.count() > old.model.parameters.count()
    assert_the_same(old, new)
    if kind == "all that can grow":
        assert_same_samples(old, new)


def test_what_is_new_learns_and_copies_part():
    """Nothing new is at a saddle, but for latents, which leave theirs by their own noise."""
    old = weights_of(MNIST, Settings("gated-pixelvae-noup", **BINARY))
    new, _ = grow(old, Settings("gated-pixelvae-noup", **{**BINARY, "layers": 2, "dim_pix": 6}))
    p, variables, x = new.model.parameters, noise_variables(new.model), T.tensor4()
    cost, _ = new.model.objective(x, variables, {"alpha": 1})
    names = ["pixelcnn.layer2.out.g", "pixelcnn.layer1.horizontal.v"]
    gradients = theano.function([x, *variables.values()], theano.grad(cost, [p[n] for n in names]))
    images = np.random.RandomState(3).randint(2, size=(6, 1, 5, 4)).astype(theano.config.floatX)
    silent, copied = gradients(images, *draw_noise(new.model, 0, "test", 0, 6))
    assert (abs(silent) > 1e-6).all()
    first, second = copied[:3], copied[3:6]  # the tanh half: three channels and their copies
    assert (abs(first - second) > 1e-3 * abs(first)).mean() > 0.5


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(layers=0), "layers: 1 → 0"),
        (dict(dim_pix=2, latent_dim=3), "dim_pix: 3 → 2"),
        (dict(filter_size=5), "filter_size: 3 → 5"),
        (dict(model="gated-pixelcnn"), "model: gated-pixelvae-noup → gated-pixelcnn"),
        (dict(height=6), "height: 5 → 6"),
    ],
)
def test_what_cannot_grow_is_refused(changes, says):
    settings = Settings("gated-pixelvae-noup", **BINARY)
    old = Weights(MNIST.build(settings), MNIST, {})
    with pytest.raises(UserError, match=f"these settings cannot grow: {says}$"):
        grow(old, settings.changed(changes))
    assert grow(old, settings) == (old, [])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(latents=(2, 4)), r"latents: \(2, 3\) → \(2, 4\)"),
        (dict(pixel_kernels=(5, 3)), "pixel_kernels"),
        (dict(stages=((4, 0),)), "stages"),
        (dict(stages=((4, 1), (4, 1))), "stages"),
        (dict(top_stages=(), latents=(3,)), "top_stages"),
        (dict(stages=((5, 1),), top_stages=((5, 1),)), "from 4 to 5: take one that is a little"),
        (dict(stages=((8, 1),), top_stages=((8, 1),), pixel_width=16), "would leave .*shortcut"),
    ],
)
def test_what_cannot_grow_of_larger_models_is_refused(changes, says):
    old = Weights(HIERARCHICAL.build(SMALL), HIERARCHICAL, {})
    with pytest.raises(UserError, match=says):
        grow(old, SMALL.changed(changes))


def test_weights_of_smaller_images_are_carried_over():
    """What fits by name and shape is kept, and the rest begins anew, or grows."""
    before = SMALL.changed(dict(stages=((4, 1), (4, 1)), height=8, width=8))
    old = weights_of(HIERARCHICAL, before)
    larger = dict(height=16, width=16, batch=2, top_stages=((4, 1), (5, 1)), pixel_width=5)
    new, grown = grow(old, before.changed({**larger, "name": "larger"}))
    assert "height: 8 → 16" in grown and "batch: 4 → 2" in grown and new.iteration == 7
    arrays, had = new.model.parameters.arrays(), old.model.parameters.arrays()
    kept = [name for name, array in had.items() if np.array_equal(arrays[name], array)]
    assert {name.partition(".")[0] for name in kept} >= {"enc1", "dec1", "enc2", "dec2"}
    assert len(kept) > 0.8 * len(had)
    words = next(words for words in grown if "begin anew" in words)
    share, layers = words.split("% of the parameters begin anew: ")
    fresh = sum(a.size for n, a in arrays.items() if n.split(".")[:2] == ["enc2", "down1"])
    assert "enc2.down1" in layers and "dec1" not in layers
    assert fresh < int(share) / 100 * sum(array.size for array in arrays.values())
    assert "enc2.down1.conv1.w" not in had and arrays["enc2.down1.conv1.w"].std() > 0.01
    assert np.isfinite(terms(new.model, draw_noise(new.model, 0, "test", 0, 6))[0]).all()


def test_masked_blocks_that_would_need_a_shortcut_do_not_grow():
    narrow = SMALL.changed(dict(pixel_width=8))
    with pytest.raises(UserError, match="would need dec1.pixelcnn.block1.shortcut"):
        grow(
            Weights(HIERARCHICAL.build(narrow), HIERARCHICAL, {}),
            narrow.changed(dict(pixel_width=9)),
        )


def test_channels_copy_those_of_their_colour():
    assert channels(3, 8).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert channels(4, 7, groups=3).tolist() == [0, 1, 2, 3, 1, 2, 0]
    shifted = channels(4, 8, groups=3, shift=4)
    assert ((shifted + 4) % 3 == (np.arange(8) + 8) % 3).all() and set(shifted) == {0, 1, 2, 3}
    assert spread(np.array([0, 1, 0, -1]), 4, 2).tolist() == [0, 1, 0, -1, 2, 3, 2, -1]
    assert spread(np.array([0, 1, 0, -1]), 4, 2, inner=True).tolist() == [0, 1, 2, 3, 0, 1, -1, -1]
