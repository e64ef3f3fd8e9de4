"""The five models: a likelihood is a likelihood, and the layers are those of table E.1."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import theano
import theano.tensor as T
from scipy.special import expit, logsumexp
from scipy.stats import norm

from pixelvae.lib.ops.conv import Correlate, CorrelateInputs
from pixelvae.lib.ops.gaussian import Gaussian
from pixelvae.models.mnist.model import MnistModel, Settings
from pixelvae.models.mnist.table1 import VARIANTS

GATED = [model for model in VARIANTS if model.startswith("gated")]


@pytest.fixture(scope="module", autouse=True)
def double_precision():
    with theano.configparser.change_flags(floatX="float64"):
        yield


def build(name: str, seed: int = 0, **sizes) -> MnistModel:
    """A model with all parameters off their initial values, so that no bias is zero."""
    model = MnistModel(Settings(name, **sizes), seed)
    rng = np.random.RandomState(6)
    for variable in model.parameters.values():
        value = variable.get_value()
        variable.set_value(value + 0.1 * rng.standard_normal(value.shape))
    return model


def compiled(inputs, outputs):
    return theano.function(inputs, outputs, mode="FAST_COMPILE", on_unused_input="ignore")


class Tiny:
    """A model of 3x3 images and one latent dimension, with its functions."""

    def __init__(self, name: str):
        self.model = model = build(
            name, layers=1, dim_pix=3, latent_dim=1, filter_size=3, height=3, width=3
        )
        x, z, noise = T.tensor4("x"), T.matrix("z"), T.matrix("noise")
        self.logits = compiled([x, z], model.decode(x, {"z": z}))
        terms = model.terms(x, {"z": noise})
        self.reconstruction = compiled([x, noise], terms.reconstruction)
        if model.latents:
            q = model.posteriors(x)["z"]
            self.encode = compiled([x], [q.mean, q.log_sigma])
            self.kl = compiled([x], terms.kl)
            mean, log_sigma = T.row("mean"), T.row("log_sigma")
            one = T.TensorType("float64", (True, False, False, False))("one")
            given = {"z": Gaussian(mean, log_sigma)}
            weights = model.log_weights(one, given, {"z": noise})
            self.log_weights = compiled([one, mean, log_sigma, noise], weights)

    def log_likelihood(self, x, z) -> np.ndarray:
        """log p(x|z) from the logits alone."""
        p = expit(self.logits(x, z))
        return np.log(np.where(x == 1, p, 1 - p)).sum(axis=(1, 2, 3))


@pytest.fixture(scope="module", params=VARIANTS)
def tiny(request):
    return Tiny(request.param)


@pytest.fixture(scope="module")
def tiny_latent(tiny):
    if not tiny.model.latents:
        pytest.skip("a model without latent")
    return tiny


ALL_IMAGES = np.array(list(itertools.product([0.0, 1.0], repeat=9))).reshape(-1, 1, 3, 3)


@pytest.mark.parametrize("z", [-1.3, 0.2, 3.0])
def test_probabilities_of_all_images_add_up_to_one(tiny, z):
    log_p = tiny.log_likelihood(ALL_IMAGES, np.full((512, 1), z))
    assert log_p.std() > 0.05  # not all alike
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, atol=1e-5)


def test_reconstruction_is_the_likelihood_at_a_posterior_sample(tiny):
    noise = np.random.RandomState(0).standard_normal((512, 1))
    z = noise
    if tiny.model.latents:
        mean, log_sigma = tiny.encode(ALL_IMAGES)
        z = mean + np.exp(log_sigma) * noise
    ours = tiny.reconstruction(ALL_IMAGES, noise)
    np.testing.assert_allclose(ours, -tiny.log_likelihood(ALL_IMAGES, z), rtol=1e-9)


def test_bound_against_the_likelihood_by_quadrature(tiny_latent):
    """log p(x) = bound + KL(q ‖ p(z|x)), the integrals over a one-dimensional z taken on a grid."""
    z = np.linspace(-6, 6, 401)[:, None]
    step = z[1, 0] - z[0, 0]
    prior = norm.logpdf(z[:, 0])
    for image in ALL_IMAGES[[137, 511]]:
        x = image[None]
        (mean,), (log_sigma,) = tiny_latent.encode(x)
        q = norm.logpdf(z[:, 0], mean, np.exp(log_sigma))
        reconstruction = tiny_latent.log_likelihood(np.repeat(x, len(z), axis=0), z)
        log_p = logsumexp(reconstruction + prior) + np.log(step)
        posterior = reconstruction + prior - log_p
        gap = (np.exp(q) * (q - posterior)).sum() * step

        noise = (z - mean) / np.exp(log_sigma)
        sampled = tiny_latent.reconstruction(np.repeat(x, len(z), axis=0), noise)
        bound = -(np.exp(q) * sampled).sum() * step - tiny_latent.kl(x)[0]
        assert bound < log_p and gap > 1e-4
        np.testing.assert_allclose(bound + gap, log_p, atol=1e-5)

        weights = tiny_latent.log_weights(x, [mean], [log_sigma], noise)
        np.testing.assert_allclose(logsumexp(weights + q) + np.log(step), log_p, atol=1e-6)


# Which pixels each logit sees, as (pixels, pixels), in images of this size:
HEIGHT, WIDTH = 5, 6


def jacobian(name: str, layers: int) -> np.ndarray:
    """Where derivatives of logits with respect to pixels are not exactly zero, for some image."""
    model = build(
        name, layers=layers, dim_pix=6, latent_dim=1, filter_size=3, height=HEIGHT, width=WIDTH
    )
    x, z, chosen = T.tensor4("x"), T.matrix("z"), T.tensor4("chosen")
    cost = (model.decode(x, {"z": z}) * chosen).sum()
    function = compiled([x, z, chosen], theano.grad(cost, x, disconnected_inputs="ignore"))
    pixels = HEIGHT * WIDTH
    rng = np.random.RandomState(1)
    seen = np.zeros((pixels, pixels), bool)
    for _ in range(5):
        one = rng.rand(1, 1, HEIGHT, WIDTH).repeat(pixels, axis=0)
        each = np.eye(pixels).reshape(pixels, 1, HEIGHT, WIDTH)
        seen |= function(one, rng.standard_normal((pixels, 1)), each).reshape(seen.shape) != 0
    return seen


def reads(kernel: tuple[str, ...], up: int = 0) -> np.ndarray:
    """Which pixels each position reads through a kernel, moved up by ``up`` rows."""
    seen = np.zeros((HEIGHT, WIDTH, HEIGHT, WIDTH), bool)
    for i, j in np.ndindex(HEIGHT, WIDTH):
        for u, row in enumerate(kernel):
            for v, tap in enumerate(row):
                r, c = i + u - len(kernel) // 2 - up, j + v - len(row) // 2
                if tap == "1" and 0 <= r < HEIGHT and 0 <= c < WIDTH:
                    seen[i, j, r, c] = True
    return seen.reshape(HEIGHT * WIDTH, HEIGHT * WIDTH)


def gated_field(layers: int) -> np.ndarray:
    """What the horizontal stack sees, layer by layer."""
    above = reads(("1",), up=1)
    vertical = reads(("1111111",) * 4 + ("0000000",) * 3)
    horizontal = reads(("1110000",)) | above @ vertical
    for _ in range(layers):
        vertical = reads(("111", "111", "000")) @ vertical
        horizontal = reads(("110",)) @ horizontal | above @ vertical
    return horizontal


def masked_field(layers: int) -> np.ndarray:
    """What mask A and then mask B see; its blind spot lies above on the right."""
    field = reads(("1111111",) * 3 + ("1110000",) + ("0000000",) * 3)
    for _ in range(layers):
        field = reads(("111", "110", "000")) @ field
    return field


EARLIER = np.tri(HEIGHT * WIDTH, k=-1, dtype=bool)  # pixels before each one, in raster order


@pytest.mark.parametrize("name", GATED)
def test_gated_models_see_every_earlier_pixel_and_no_other(name):
    np.testing.assert_array_equal(gated_field(3), EARLIER)  # of layers enough: no blind spot
    np.testing.assert_array_equal(jacobian(name, 3), EARLIER)


def test_receptive_field_of_few_gated_layers():
    assert gated_field(0).sum() < EARLIER.sum()
    np.testing.assert_array_equal(jacobian("gated-pixelcnn", 0), gated_field(0))


def test_masked_stack_keeps_the_order_and_has_its_blind_spot():
    field = masked_field(3)
    np.testing.assert_array_equal(jacobian("pixelvae", 3), field)
    assert not (field & ~EARLIER).any()
    blind = (EARLIER & ~field).reshape(HEIGHT, WIDTH, HEIGHT, WIDTH)
    assert blind[2, 0, 1, 5] and not blind[4, 0, 0, 4]


def test_independent_pixels_see_none():
    assert not jacobian("conv-vae", 1).any()


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_against_finite_differences(name):
    """Of the training objective, along a random direction of each parameter."""
    model = build(name, layers=1, dim_pix=2, latent_dim=2, filter_size=3, height=3, width=4)
    x, noise, alpha = T.tensor4("x"), T.matrix("noise"), T.scalar("alpha")
    cost, _ = model.objective(x, {"z": noise}, {"alpha": alpha})
    parameters = list(model.parameters.values())
    inputs = [x, noise, alpha]
    value, gradient = compiled(inputs, cost), compiled(inputs, theano.grad(cost, parameters))
    rng = np.random.RandomState(2)
    given = (rng.randint(2, size=(3, 1, 3, 4)).astype("float64"), rng.standard_normal((3, 2)), 0.3)
    for parameter, slope in zip(parameters, gradient(*given)):
        start = parameter.get_value()
        direction = rng.standard_normal(start.shape)
        costs = []
        for step in (1e-6, -1e-6):
            parameter.set_value(start + step * direction)
            costs.append(value(*given))
        parameter.set_value(start)
        difference = (costs[0] - costs[1]) / 2e-6
        assert slope.any(), f"{parameter.name} changes nothing"
        np.testing.assert_allclose(
            (slope * direction).sum(), difference, rtol=1e-5, atol=1e-7, err_msg=parameter.name
        )


def map_shapes(inputs, output, *arrays):
    """Shapes (C, H, W) of what each convolution on the way gives."""
    nodes = theano.gof.graph.io_toposort(inputs, [output])
    maps = [n.outputs[0] for n in nodes if isinstance(n.op, (Correlate, CorrelateInputs))]
    return [m.shape[1:] for m in compiled(inputs, maps)(*arrays)]


def scaled(p, layer: str, factors: np.ndarray) -> None:
    """Multiplies the weights of a layer's inputs, as what it reads would be."""
    v, g = p[f"{layer}.v"], p[f"{layer}.g"]
    before = v.get_value()
    v.set_value(before * factors[:, None])
    norms = [np.sqrt((a**2).sum(axis=(1, 2))) for a in (before, v.get_value())]
    g.set_value(g.get_value() * norms[1] / norms[0])


@pytest.mark.parametrize("name", ["gated-pixelvae-noup", "pixelvae"])
def test_dropout_multiplies_maps_as_scaled_weights_would(name):
    sizes = dict(layers=2, dim_pix=3, latent_dim=2, filter_size=3, height=5, width=4)
    model, reference = build(name, **sizes), build(name, **sizes)
    kept, p = np.random.RandomState(3).random_sample(model.droppable), reference.parameters
    if name == "pixelvae":
        for i, factors in enumerate(kept.reshape(2, 3), start=1):  # behind a ReLU
            for part in ("g", "b"):
                variable = p[f"pixelcnn.layer{i}.{part}"]
                variable.set_value(variable.get_value() * factors)
    else:
        layers = ["pixelcnn.input", "pixelcnn.layer1", "pixelcnn.layer2"]
        for layer, following, factors in zip(layers, [*layers[1:], None], kept.reshape(3, 2, 3)):
            scaled(p, f"{layer}.out", factors[1])
            if following:  # the last layer's vertical maps are not read
                scaled(p, f"{following}.vertical", factors[0])
    x, noise = T.tensor4(), {n: T.matrix() for n in model.noise_shapes}
    dropped, _ = model.objective(x, {**noise, "dropout": T.alloc(kept, 6, len(kept))}, {"alpha": 1})
    plain, _ = model.objective(x, noise, {"alpha": 1})
    expected, _ = reference.objective(x, noise, {"alpha": 1})
    rng = np.random.RandomState(4)
    images = rng.randint(2, size=(6, 1, 5, 4)).astype("float64")
    drawn = [rng.standard_normal((6, 2)) for _ in noise]
    dropped, plain, expected = compiled([x, *noise.values()], [dropped, plain, expected])(
        images, *drawn
    )
    assert abs(dropped - plain) > 1e-4
    np.testing.assert_allclose(dropped, expected, rtol=1e-10)


def test_encoder_and_decoder_layer_by_layer():
    model = MnistModel(Settings("conv-vae", latent_dim=5))
    x, z = T.tensor4("x"), T.matrix("z")
    q = model.posteriors(x)["z"]
    assert map_shapes([x], q.mean, np.zeros((1, 1, 28, 28))) == [
        *[(32, 28, 28), (32, 14, 14), (32, 14, 14), (64, 7, 7)],
        *[(64, 8, 8), (64, 4, 4), (64, 4, 4), (64, 4, 4)],
    ]
    assert map_shapes([z], model.decode(x, {"z": z}), np.zeros((1, 5))) == [
        *[(64, 4, 4), (64, 4, 4)],
        *[(64, 8, 8), (64, 8, 8)],
        *[(32, 14, 14), (32, 14, 14)],
        *[(32, 28, 28), (32, 28, 28)],
        (1, 28, 28),
    ]


def test_means_are_the_even_outputs_of_the_encoder():
    model = MnistModel(Settings("conv-vae", latent_dim=3))
    model.parameters["encoder.linear.b"].set_value(np.arange(6.0))
    model.parameters["encoder.linear.g"].set_value(np.zeros(6))
    x = T.tensor4("x")
    q = model.posteriors(x)["z"]
    mean, log_sigma = compiled([x], [q.mean, q.log_sigma])(np.ones((2, 1, 28, 28)))
    np.testing.assert_array_equal(mean, [[0, 2, 4]] * 2)
    np.testing.assert_array_equal(log_sigma, [[1, 3, 5]] * 2)


def conv(inputs: int, outputs: int, taps: int = 1) -> int:
    """Numbers in a weight-normalised convolution: v, g and b."""
    return inputs * outputs * taps + 2 * outputs


ENCODER = (
    *(conv(1, 32, 9), conv(32, 32, 9), conv(32, 32, 9), conv(32, 64, 9)),
    *(4 * conv(64, 64, 9), conv(64 * 4 * 4, 2 * 64)),
)
DECODER = (
    *(conv(64, 64 * 4 * 4), 2 * conv(64, 64, 9)),
    *(64 * 64 * 9 + 64, conv(64, 64, 9)),  # transposed ones have no g
    *(64 * 32 * 9 + 32, conv(32, 32, 9)),
    *(32 * 32 * 9 + 32, conv(32, 32, 9)),
)
GATED_LAYERS = 12 * (conv(32, 64, 25) + conv(64, 64) + conv(32, 64, 5) + conv(32, 32))
GATED_OUTPUT = 2 * conv(32, 64) + conv(32, 1)
COUNTS = {
    "conv-vae": (*ENCODER, *DECODER, conv(32, 1)),
    "pixelvae": (
        *(*ENCODER, *DECODER, conv(33, 32, 49), 12 * conv(32, 32, 25)),
        *(2 * conv(32, 32), conv(32, 1)),
    ),
    "gated-pixelcnn": (
        *(conv(1, 64, 49), conv(64, 64), conv(1, 64, 7), conv(32, 32)),
        *(GATED_LAYERS, GATED_OUTPUT),
    ),
    "gated-pixelvae": (
        *(*ENCODER, *DECODER, conv(33, 64, 49), conv(64, 64), conv(33, 64, 7), conv(32, 32)),
        *(GATED_LAYERS, GATED_OUTPUT),
    ),
    "gated-pixelvae-noup": (
        *(*ENCODER, conv(1, 64, 49), conv(64, 64), conv(1, 64, 7), conv(32, 32)),
        *(GATED_LAYERS, GATED_OUTPUT, 28 * 2 * conv(64, 32)),  # two maps of z for each of 28 gates
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_parameter_count_at_the_paper_s_size(name):
    assert MnistModel(Settings(name)).parameters.count() == sum(COUNTS[name])


def test_two_models_share_nothing():
    sizes = dict(layers=1, dim_pix=2, latent_dim=1, filter_size=3, height=3, width=3)
    one, two, other = (
        MnistModel(Settings("gated-pixelvae-noup", **sizes), seed) for seed in (0, 0, 1)
    )
    x, z = T.tensor4("x"), T.matrix("z")
    logits = compiled([x, z], two.decode(x, {"z": z}))
    given = np.ones((1, 1, 3, 3)), np.ones((1, 1))
    before = logits(*given)
    for name, variable in one.parameters.items():
        np.testing.assert_array_equal(variable.get_value(), two.parameters[name].get_value())
        if name.endswith(".v"):
            assert (variable.get_value() != other.parameters[name].get_value()).all()
        variable.set_value(variable.get_value() + 1)
    np.testing.assert_array_equal(logits(*given), before)
