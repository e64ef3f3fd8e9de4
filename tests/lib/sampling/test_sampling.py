"""The cached sampler against full passes of the same networks; what is drawn against its law."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import theano
import theano.tensor as T
from scipy.special import expit, log_softmax, softmax
from small_models import small
from theano import gof

from pixelvae.lib import noise
from pixelvae.lib.ops.conv import Correlate
from pixelvae.lib.ops.gate import gate
from pixelvae.lib.ops.gaussian import draw as gaussian
from pixelvae.lib.pixels import Bernoulli, Categorical
from pixelvae.lib.sampling import ImageSampler, Sampler
from pixelvae.lib.sampling.rules import Pointwise, pointwise
from pixelvae.machine.errors import UserError
from pixelvae.models.mnist.model import MnistModel, Settings
from pixelvae.models.mnist.table1 import VARIANTS

pytestmark = pytest.mark.usefixtures("fast_compile")

LEVELS = 4
bernoulli, categorical = Bernoulli().draw, Categorical(LEVELS, 3).draw


def mnist_model(name, layers=1, filter_size=3, height=6, width=5):
    """A small model whose every parameter matters: all are off their initial values."""
    model = MnistModel(Settings(name, layers, 4, 3, filter_size, height, width), seed=1)
    rng = np.random.RandomState(2)
    arrays = model.parameters.arrays().items()
    model.parameters.assign({n: a + 0.3 * rng.standard_normal(a.shape) for n, a in arrays})
    return model


def rand(*shape, seed=0):
    return np.random.RandomState(seed).standard_normal(shape).astype("float32")


def uniform(*shape, seed=0):
    return np.random.RandomState(seed).random_sample(shape).astype("float32")


def full_pass(x, outputs, *inputs):
    return theano.function([x, *inputs], outputs, on_unused_input="ignore")


def convolve(x, inputs, outputs, kh, kw, taps, seed=0, centre=None, acc=None):
    """A convolution with fixed random weights; ``centre`` (outputs, inputs) masks the last tap."""
    w = rand(outputs, inputs, taps, seed=seed) / np.sqrt(inputs * taps)
    if centre is not None:
        w[:, :, -1] *= centre
    return Correlate(kh, kw, taps)(x, w, rand(outputs, seed=seed + 1), acc)


# The models of the paper


@pytest.mark.parametrize(
    "layers, filter_size, height, width", [(0, 3, 6, 5), (2, 3, 6, 5), (1, 5, 9, 7)]
)
@pytest.mark.parametrize("name", VARIANTS)
def test_cached_sampler_draws_what_full_passes_draw(name, layers, filter_size, height, width):
    model = mnist_model(name, layers, filter_size, height, width)
    x, z = T.tensor4("x"), T.matrix("z")
    logits = model.decode(x, {"z": z})
    cached, naive = (
        Sampler(x, logits, [z], bernoulli, method=method) for method in ("cached", "naive")
    )
    u, latent = uniform(5, 1, height, width), rand(5, 3)
    images = cached(u, latent)
    assert 0.1 < images.mean() < 0.9
    np.testing.assert_array_equal(images, naive(u, latent))
    # Only the image that the sampler should draw agrees with its noise in every pixel.
    full = full_pass(x, logits, z)
    np.testing.assert_array_equal(images, u < expit(full(images, latent)))
    # The logits themselves, for images that the model would hardly draw.
    given = (uniform(5, 1, height, width, seed=3) < 0.5).astype("float32")
    np.testing.assert_allclose(cached.outputs(given, latent), full(given, latent), atol=1e-4)
    # Each call starts afresh.
    np.testing.assert_array_equal(images, cached(u, latent))


@pytest.mark.parametrize("name", ["gated-pixelcnn", "gated-pixelvae-noup"])
def test_frequencies_of_samples_are_the_probabilities_of_the_model(name):
    model = mnist_model(name, height=2, width=2)
    x, z = T.tensor4("x"), T.matrix("z")
    logits, count, latent = model.decode(x, {"z": z}), 20_000, rand(1, 3)
    drawn = Sampler(x, logits, [z], bernoulli)(
        uniform(count, 1, 2, 2, seed=5), np.repeat(latent, count, 0)
    )
    every = np.array(list(itertools.product([0, 1], repeat=4)), "float32").reshape(16, 1, 2, 2)
    on = expit(full_pass(x, logits, z)(every, np.repeat(latent, 16, 0)))
    p = np.where(every == 1, on, 1 - on).prod(axis=(1, 2, 3))
    assert p.sum() == pytest.approx(1, abs=1e-5)
    found = (drawn[:, None] == every[None]).all(axis=(2, 3, 4)).mean(axis=0)
    assert (np.abs(found - p) < 4 * np.sqrt(p * (1 - p) / count)).all()


def test_samples_are_functions_of_the_seed_and_their_number():
    model = mnist_model("gated-pixelvae-noup")
    three = ImageSampler(model).sample(3, seed=7)
    assert three.dtype == np.uint8 and three.shape == (3, 1, 6, 5) and set(three.flat) == {0, 1}
    np.testing.assert_array_equal(three[:2], ImageSampler(model).sample(2, seed=7))
    np.testing.assert_array_equal(three, ImageSampler(model, "naive").sample(3, seed=7))
    assert (three != ImageSampler(model).sample(3, seed=8)).any()


def test_more_samples_than_one_batch():
    model = mnist_model("gated-pixelvae-noup")
    at_once = ImageSampler(model)
    assert at_once.batch == 100
    in_parts = ImageSampler(model)
    in_parts.batch = 2
    np.testing.assert_array_equal(at_once.sample(5, seed=7), in_parts.sample(5, seed=7))


def test_reconstructions_are_drawn_from_posterior_and_likelihood():
    model = mnist_model("conv-vae")
    images = (uniform(3, 1, 6, 5) < 0.5).astype("uint8")
    x, eps = T.tensor4("x"), T.matrix("eps")
    logits = model.decode(x, {"z": model.posteriors(x)["z"].sample(eps)})
    each = [noise.standard_normal(4, "reconstruction latent", n, (3,)) for n in range(3)]
    u = np.stack([noise.uniform(4, "sample pixels", n, (1, 6, 5)) for n in range(3)])
    expected = u < expit(full_pass(x, logits, eps)(images.astype("float32"), np.stack(each)))
    np.testing.assert_array_equal(ImageSampler(model).reconstruct(images, seed=4), expected)


@pytest.mark.parametrize("kept", ["z2", "z1"])
def test_reconstructions_of_two_levels_draw_what_lies_below_again(kept):
    model = small("hierarchical")
    sampler, numbers = ImageSampler(model), range(2)
    images = np.random.RandomState(0).randint(0, 4, (2, 3, 4, 4)).astype("uint8")
    shapes = {"z2": (3,), "z1": (2, 4, 4)}
    own = {
        n: noise.standard_normals(4, f"reconstruction {n}", numbers, s) for n, s in shapes.items()
    }
    x, eps = T.tensor4("x"), T.TensorType("float32", (False,) * own[kept].ndim)()
    z = full_pass(x, model.posteriors(x)[kept].sample(eps), eps)(
        images.astype("float32"), own[kept]
    )
    pixels = noise.uniforms(4, "reconstruction pixels", numbers, model.image_shape)
    drawn = sampler.reconstruct(images, 4, kept)
    if kept == "z2":  # the highest latent is its noise
        np.testing.assert_array_equal(drawn, sampler({**own, "z2": z, "pixels": pixels}))
    else:  # only what should be drawn agrees with its noise in every colour
        logits = full_pass(x, model.decode(x, {"z1": eps}), eps)(drawn.astype("float32"), z)
        cdf = softmax(logits.reshape(2, 4, 3, 4, 4), axis=1).cumsum(axis=1)
        np.testing.assert_array_equal(drawn, (cdf[:, :-1] <= pixels[:, None]).sum(axis=1))


def test_bad_requests_are_refused():
    with pytest.raises(UserError, match="no latent"):
        ImageSampler(mnist_model("gated-pixelcnn")).reconstruct(np.zeros((1, 1, 6, 5)), seed=0)
    with pytest.raises(UserError, match="method quick: choose cached or naive"):
        ImageSampler(mnist_model("conv-vae"), "quick").sample(1, seed=0)


# Other networks: three colours, embeddings, Gaussian maps


def masked_block(h, width, centre, seed):
    """ELU, two masked convolutions, tanh times sigmoid, a masked one, and the shortcut."""
    both = np.concatenate([centre, centre])
    y = convolve(T.nnet.elu(h), width, 2 * width, 3, 3, 5, seed, both)
    y = T.tanh(y[:, :width]) * T.nnet.sigmoid(y[:, width:])
    return h + convolve(y, width, width, 3, 3, 5, seed + 2, centre)


def colour_mask(inputs, outputs, own):
    """(outputs, inputs): what may feed what at the centre (mask A, or B with ``own``)."""
    i, j = np.arange(inputs) % 3, np.arange(outputs)[:, None] % 3
    return i <= j if own else i < j


class Embed(gof.Op):
    """x (N, C, H, W) of whole numbers, table (levels, E) -> (N, E * C, H, W), channel e * C + c."""

    __props__ = ()

    def make_node(self, x, table):
        return gof.Apply(self, [x, T.as_tensor_variable(table)], [T.tensor4()])

    def perform(self, node, inputs, outputs):
        x, table = inputs
        n, c, h, w = x.shape
        vectors = table[x.astype(int)].transpose(0, 4, 1, 2, 3)
        outputs[0][0] = vectors.reshape(n, table.shape[1] * c, h, w)


@pointwise(Embed)
def _embed(node):
    def compute(x, table):
        vectors = table.reshape(-1, table.shape[-1])[x.astype(int)]
        return np.swapaxes(vectors, -1, -2).reshape(x.shape[:-1] + (-1,))

    return Pointwise(tuple(node.inputs), compute, lambda x, table: np.tile(x, table.shape[-1]))


def colours(x, z, own_first=False):
    """Logits (N, LEVELS * 3, H, W) of three colours given maps z, by masked residual blocks."""
    h = Embed()(x, rand(LEVELS, 2, seed=11))
    h = convolve(h, 6, 9, 5, 5, 13, 12, colour_mask(6, 9, own_first))
    h = T.concatenate([z, h], axis=1)
    for seed in (20, 30):
        h = masked_block(h, 12, colour_mask(12, 12, own=True), seed)
    return convolve(h, 12, LEVELS * 3, 1, 1, 1, 14, colour_mask(12, LEVELS * 3, own=True))


def test_three_colours_are_drawn_one_after_another():
    x, z = T.tensor4("x"), T.tensor4("z")
    logits = colours(x, z)
    u, maps = uniform(6, 3, 5, 4), rand(6, 3, 5, 4, seed=1)
    images = Sampler(x, logits, [z], categorical, groups=3)(u, maps)
    assert set(images.flat) == set(range(LEVELS))
    naive = Sampler(x, logits, [z], categorical, groups=3, method="naive")
    np.testing.assert_array_equal(images, naive(u, maps))
    cached = Sampler(x, logits, [z], categorical, groups=3)
    given = np.floor(LEVELS * uniform(6, 3, 5, 4, seed=9)).astype("float32")
    expected = full_pass(x, logits, z)(given, maps)
    np.testing.assert_allclose(cached.outputs(given, maps), expected, atol=1e-4)


def test_frequencies_of_colours_are_their_probabilities():
    x, z = T.tensor4("x"), T.tensor4("z")
    logits, count = colours(x, z), 20_000
    z_value = rand(1, 3, 1, 1, seed=1)
    drawn = Sampler(x, logits, [z], categorical, groups=3)(
        uniform(count, 3, 1, 1), np.repeat(z_value, count, 0)
    )
    every = np.array(list(itertools.product(range(LEVELS), repeat=3)), "float32")
    every = every.reshape(-1, 3, 1, 1)
    out = full_pass(x, logits, z)(every, np.repeat(z_value, len(every), 0))
    log_p = log_softmax(out.reshape(-1, LEVELS, 3), axis=1)
    chosen = np.take_along_axis(log_p, every.reshape(-1, 1, 3).astype(int), axis=1)
    p = np.exp(chosen.sum(axis=(1, 2)))
    assert p.sum() == pytest.approx(1, abs=1e-5)
    found = (drawn[:, None] == every[None]).all(axis=(2, 3, 4)).mean(axis=0)
    assert (np.abs(found - p) < 4 * np.sqrt(p * (1 - p) / count)).all()


def test_a_colour_that_sees_itself_is_refused():
    x, z = T.tensor4("x"), T.tensor4("z")
    sampler = Sampler(x, colours(x, z, own_first=True), [z], categorical, groups=3)
    with pytest.raises(ValueError, match="depend on the very value"):
        sampler(uniform(1, 3, 5, 4), rand(1, 3, 5, 4))


def test_gaussian_maps():
    x, z = T.tensor4("x"), T.tensor4("z")
    h = convolve(x, 4, 6, 5, 5, 12)
    h = masked_block(T.concatenate([z, h], axis=1), 8, np.ones((8, 8)), 20)
    out = convolve(h, 8, 8, 1, 1, 1, 14)
    mean, s = out[:, :4], out[:, 4:]
    log_sigma = T.log(0.5 * (s / (1 + abs(s)) + 1))
    outputs = T.concatenate([2 * T.clip(mean, -1, 1), log_sigma], axis=1)
    eps, maps = rand(3, 4, 4, 5), rand(3, 2, 4, 5, seed=1)
    drawn, naive = (
        Sampler(x, outputs, [z], gaussian, method=m)(eps, maps) for m in ("cached", "naive")
    )
    np.testing.assert_allclose(drawn, naive, atol=1e-4)
    mean, log_sigma = np.split(full_pass(x, outputs, z)(drawn, maps), 2, axis=1)
    np.testing.assert_allclose(drawn, mean + np.exp(log_sigma) * eps, atol=1e-4)


def test_convolution_of_fixed_maps_with_an_image_added():
    x, z = T.tensor4("x"), T.tensor4("z")
    h = convolve(z, 2, 3, 3, 3, 9, acc=convolve(x, 1, 3, 3, 3, 4))
    logits = convolve(h + z.mean() + x.shape[2], 3, 1, 1, 1, 1)
    given, maps = uniform(2, 1, 4, 5), rand(2, 2, 4, 5)
    found = Sampler(x, logits, [z], bernoulli).outputs(given, maps)
    np.testing.assert_allclose(found, full_pass(x, logits, z)(given, maps), atol=1e-4)


# What the planning accepts


def test_convolution_with_rectified_units():
    x = T.tensor4("x")
    h = Correlate(3, 3, 4, relu=True)(x, rand(5, 1, 4), rand(5), None)
    logits = convolve(h, 5, 1, 3, 3, 5)
    u = uniform(6, 1, 5, 4)
    ours = [Sampler(x, logits, [], bernoulli, method=m)(u) for m in ("cached", "naive")]
    assert 0 < ours[0].mean() < 1
    np.testing.assert_array_equal(*ours)


def row_above(h):
    return convolve(h, 2, 1, 3, 1, 1)


GOOD = {
    "mask A": lambda x: convolve(x, 1, 1, 3, 3, 4),
    "left": lambda x: convolve(x, 1, 1, 1, 3, 1),
    "own row, one row up": lambda x: row_above(convolve(x, 1, 2, 3, 3, 6)),
    "two rows up": lambda x: convolve(row_above(convolve(x, 1, 2, 3, 3, 6)), 1, 1, 3, 1, 1),
    "rows below, two rows up": lambda x: convolve(convolve(x, 1, 1, 3, 3, 9), 1, 1, 5, 1, 1),
    "gate of the row above, seen to the right": lambda x: convolve(
        gate(convolve(x, 1, 2, 3, 3, 3), rand(2)), 1, 1, 1, 5, 5
    ),
    "own row, one row up, twice": lambda x: row_above(
        convolve(row_above(convolve(x, 1, 2, 5, 5, 15)), 1, 2, 3, 3, 6)
    ),
}

BAD = {
    "own pixel": lambda x: convolve(x, 1, 1, 1, 1, 1),
    "mask B": lambda x: convolve(x, 1, 1, 3, 3, 5),
    "left and right": lambda x: convolve(x, 1, 1, 1, 3, 3),
    "own row": lambda x: convolve(x, 1, 1, 3, 3, 6),
    "rows below, one row up": lambda x: convolve(convolve(x, 1, 1, 3, 3, 9), 1, 1, 3, 1, 1),
    "rows below": lambda x: convolve(x, 1, 1, 3, 3, 9),
    "own row and one row up": lambda x: (
        row_above(convolve(x, 1, 2, 3, 3, 6)) + convolve(x, 1, 1, 3, 3, 6)
    ),
    "left, then back": lambda x: convolve(convolve(x, 1, 1, 1, 3, 1), 1, 1, 1, 3, 3),
    "accumulated image": lambda x: convolve(x, 1, 1, 3, 3, 4, acc=x),
}


@pytest.mark.parametrize("network", GOOD.values(), ids=GOOD)
def test_networks_in_raster_order_are_accepted(network):
    x = T.tensor4("x")
    logits = network(x)
    given = uniform(2, 1, 5, 6)
    found = Sampler(x, logits, [], bernoulli).outputs(given)
    np.testing.assert_allclose(found, full_pass(x, logits)(given), atol=1e-4)


@pytest.mark.parametrize("network", BAD.values(), ids=BAD)
def test_networks_that_look_ahead_are_refused(network):
    x = T.tensor4("x")
    with pytest.raises(ValueError, match="raster order"):
        Sampler(x, network(x), [], bernoulli)(uniform(2, 1, 5, 6))


@pytest.mark.parametrize(
    "network, name",
    [
        (lambda h: h.sum(axis=1, keepdims=True), "Sum"),
        (lambda h: h[:, :, ::-1], "Subtensor"),
        (lambda h: T.concatenate([h, h], axis=2), "Join"),
        (lambda h: T.nnet.softplus(h), "softplus"),
        (lambda h: Correlate(3, 3, 4, stride=2)(h, rand(1, 1, 4)), "Correlate"),
    ],
)
def test_operations_without_a_rule_are_named(network, name):
    x = T.tensor4("x")
    with pytest.raises(NotImplementedError, match=name):
        Sampler(x, network(convolve(x, 1, 1, 3, 3, 4)), [], bernoulli)


# How values are drawn


def test_categorical_is_the_inverse_cdf():
    logits, u = 3 * rand(200, 256), uniform(200, 1)
    u[:2, 0] = 0, 1 - 2.0**-24
    cdf = softmax(logits.astype("float64"), axis=1).cumsum(axis=1)
    expected = [np.searchsorted(row, point, side="right") for row, point in zip(cdf, u[:, 0])]
    np.testing.assert_array_equal(categorical(logits, u)[:, 0], expected)


def test_categorical_never_draws_what_cannot_be():
    logits = np.array([[-1e9, 0, -1e9], [0, -1e9, -1e9], [-1e9, -1e9, 0]], "float32")
    for u in (0, 0.5, np.nextafter(1, 0)):
        drawn = categorical(logits, np.full((3, 1), u))
        np.testing.assert_array_equal(drawn, [[1], [0], [2]])
    # Ten times 0.1 is less than 1.
    assert categorical(np.zeros((1, 10)), np.full((1, 1), np.nextafter(1, 0))) == 9


def test_bernoulli_and_gaussian():
    logits = np.array([[-200.0, 0, 0, 200]], "float32")
    u = np.array([[0.0, 0.49, 0.5, 0.999]], "float32")
    np.testing.assert_array_equal(bernoulli(logits, u), [[0, 1, 0, 1]])
    outputs = np.array([[1.0, 2, 0, np.log(3)]], "float32")
    np.testing.assert_allclose(gaussian(outputs, np.array([[0.5, -1]])), [[1.5, -1]], rtol=1e-6)
