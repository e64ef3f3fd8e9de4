"""Models of one and two levels: likelihoods by enumeration and quadrature, who sees what, KLs."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import theano
import theano.tensor as T
from scipy.special import logsumexp
from scipy.stats import norm

from pixelvae.datasets.memory import InMemory
from pixelvae.lib.evaluation import ImportanceWeighted
from pixelvae.lib.model import draw_noise
from pixelvae.machine.errors import UserError
from pixelvae.models.hierarchical.levels import split_gaussian
from pixelvae.models.hierarchical.model import HierarchicalModel, Settings
from pixelvae.models.hierarchical.presets import HIERARCHICAL
from pixelvae.models.registry import parse_header

pytestmark = pytest.mark.usefixtures("fast_compile")

GREY = Settings(
    "grey", stages=((4, 1),), top_stages=((4, 1),), latents=(1, 2), pixel_width=4,
    pixel_kernels=(3,), latent_width=4, latent_kernels=(3, 1), embed=2, batch=4,
    channels=1, height=2, width=1, levels=4,
)  # fmt: skip
COLOURS = replace(GREY, channels=3, height=1, width=2, levels=2)
LARGER = Settings(
    "larger", stages=((7, 1), (4, 1)), top_stages=((4, 1), (4, 1)), latents=(2, 3), pixel_width=6,
    pixel_kernels=(3,), latent_width=4, latent_kernels=(3,), embed=2, height=4, width=12,
    batch=4, levels=6,
)  # fmt: skip


@lru_cache(maxsize=None)
def unusual(settings: Settings, batch_norm: str = "blend") -> HierarchicalModel:
    """A model whose parameters are all far from where training starts, so that no term vanishes."""
    model, rng = (
        HierarchicalModel(settings, seed=1, batch_norm=batch_norm),
        np.random.RandomState(2),
    )
    for name, v in model.parameters.items():
        noise = rng.standard_normal(v.get_value().shape).astype("float32")
        v.set_value(v.get_value() + 0.5 * (abs(noise) if name.endswith("variance") else noise))
    return model


def all_images(s: Settings) -> np.ndarray:
    pixels = itertools.product(range(s.levels), repeat=s.channels * s.height * s.width)
    return np.array(list(pixels), "float32").reshape(-1, s.channels, s.height, s.width)


@lru_cache(maxsize=None)
def decoder(settings: Settings, batch_norm: str = "blend"):
    """(images, z₁) -> what parametrises p(x|z₁), and log p(x|z₁)."""
    model = unusual(settings, batch_norm)
    x = T.tensor4()
    z = T.TensorType("float32", (False,) * (1 + len(model.noise_shapes["z1"])))()
    outputs = model.decode(x, {"z1": z})
    return theano.function([x, z], [outputs, model.pixels.log_likelihood(outputs, x)])


@pytest.mark.parametrize(
    "settings",
    [
        GREY,
        COLOURS,
        replace(COLOURS, embed=0),
        replace(GREY, pixel_decoder="gaussian"),
        COLOURS.one_level(),
        replace(GREY.one_level(), code="mean"),
    ],
    ids=["grey", "colours", "not embedded", "gaussian pixels", "one level", "mean code"],
)
def test_the_probabilities_of_all_images_add_up_to_one(settings):
    images = all_images(settings)
    rng = np.random.RandomState(3)
    for _ in range(2):
        z = rng.standard_normal(unusual(settings).noise_shapes["z1"]).astype("float32")
        _, log_p = decoder(settings)(images, np.repeat(z[None], len(images), axis=0))
        assert np.exp(log_p.astype("float64")).sum() == pytest.approx(1, abs=1e-5)
        assert log_p.std() > 0.1


@lru_cache(maxsize=None)
def prior(settings: Settings):
    """(z₁, z₂) -> mean and log sigma at every position, and log p(z₁|z₂)."""
    z1, z2 = T.tensor4(), T.matrix()
    p: Any = unusual(settings).prior("z1", {"z1": z1, "z2": z2})
    return theano.function([z1, z2], [p.mean, p.log_sigma, p.log_density(z1)])


@pytest.mark.parametrize("decoder", ["pixelcnn", "gaussian"])
def test_the_prior_over_z1_integrates_to_one(decoder):
    settings = replace(GREY, top_decoder=decoder)
    grid, step = np.linspace(-7, 7, 281, retstep=True)
    first, second = np.meshgrid(grid, grid, indexing="ij")
    z1 = np.stack([first.ravel(), second.ravel()], axis=1).reshape(-1, 1, 2, 1).astype("float32")
    z2 = np.repeat(np.float32([[0.7, -1.2]]), len(z1), axis=0)
    _, log_sigma, log_p = prior(settings)(z1, z2)
    density = np.exp(log_p.astype("float64")).reshape(len(grid), len(grid))
    assert density.sum() * step**2 == pytest.approx(1, abs=1e-4)
    # The second position is told the first one, unless the decoder is without masked layers.
    second_given_first = density / density.sum(axis=1, keepdims=True)
    told = abs(second_given_first[100] - second_given_first[180]).max() > 1e-3
    assert told == (decoder == "pixelcnn")


# What sees what. A 5x5 mask A, and two 3x3 masks B of the one block, as sets of (row, column).
A5 = {(i, j) for i in range(-2, 1) for j in range(-2, 3) if (i, j) < (0, 0)}
B3 = {(i, j) for i in range(-1, 1) for j in range(-1, 2) if (i, j) <= (0, 0)}


def seen_by_stack(first: set) -> set:
    """Offsets that the first layer, a block's two convolutions and 1x1s see one after another."""
    reach = first
    for _ in range(2):
        reach = {(a + c, b + d) for a, b in reach for c, d in B3}
    return reach


def changes(outputs, maps):
    """Which of the first item's outputs each single change in the items after it moves, exactly."""
    flat = outputs[1:] != outputs[:1]
    return flat.reshape(maps.shape + outputs.shape[1:])


def every_single_change(maps: np.ndarray, amount) -> np.ndarray:
    """maps (C, H, W), then a copy for each of its numbers in which that one is changed."""
    items = np.repeat(maps[None], 1 + maps.size, axis=0)
    items[1:].reshape(maps.size, maps.size)[np.diag_indices(maps.size)] += amount
    return items


@pytest.fixture
def exact():
    """The C++: unlike NumPy's, its rounding of an item does not depend on the others."""
    decoder.cache_clear()
    prior.cache_clear()
    with theano.configparser.change_flags(mode=theano.Mode("vm", "fast_compile")):
        yield


@pytest.mark.parametrize("embed", [0, 2])
@pytest.mark.usefixtures("exact")
def test_pixels_see_what_comes_before_them_and_nothing_else(embed):
    settings = replace(LARGER, embed=embed)
    model, rng = unusual(settings), np.random.RandomState(4)
    image = rng.randint(0, settings.levels - 1, model.image_shape).astype("float32")
    items = every_single_change(image, 1)
    z = rng.standard_normal((1, *model.noise_shapes["z1"])).astype("float32")
    outputs, _ = decoder(settings)(items, np.repeat(z, len(items), axis=0))
    moved = changes(outputs, image).reshape(3, 4, 12, settings.levels, 3, 4, 12).any(axis=3)
    at_once = {(0, 0), *A5}  # colours before it are seen at a pixel itself
    reach = seen_by_stack(A5) | seen_by_stack({(0, 0)})
    assert at_once <= reach
    for c, i, j, to, k, m in np.ndindex(moved.shape):
        offset = (i - k, j - m)
        if offset == (0, 0):
            expected = c < to
        elif offset in seen_by_stack(A5):
            expected = True
        else:  # only by way of an earlier colour at a position that the later layers see
            expected = offset in reach and c < to
        assert moved[c, i, j, to, k, m] == expected, (c, i, j, to, k, m)


@pytest.mark.usefixtures("exact")
def test_latent_maps_see_what_comes_before_them_and_nothing_else():
    rng = np.random.RandomState(5)
    settings = replace(LARGER, height=8, width=16)
    maps = rng.standard_normal((2, 4, 8)).astype("float32")
    items = every_single_change(maps, 0.5)
    z2 = np.repeat(rng.standard_normal((1, 3)), len(items), axis=0).astype("float32")
    mean, log_sigma, _ = prior(settings)(items, z2)
    for outputs in (mean, log_sigma):
        moved = changes(outputs, maps)
        for c, i, j, to, k, m in np.ndindex(moved.shape):
            expected = (i - k, j - m) in seen_by_stack(A5)
            assert moved[c, i, j, to, k, m] == expected, (c, i, j, to, k, m)


def test_kls_are_those_of_numerical_integration():
    # One position and one channel: p(z₁|z₂) does not depend on z₁, integrals have one dimension.
    settings = replace(GREY, height=1, latents=(1, 1))
    model = unusual(settings)
    x, noise = T.tensor4(), {"z1": T.tensor4(), "z2": T.matrix()}
    q1, q2 = model.posteriors(x).values()
    z = {"z1": T.zeros((x.shape[0], 1, 1, 1)), "z2": q2.sample(noise["z2"])}
    p1: Any = model.prior("z1", z)
    terms = model.terms(x, noise)
    moments = [v.flatten() for p in (q1, p1, q2) for v in (p.mean, T.exp(p.log_sigma))]
    f = theano.function([x, *noise.values()], moments + [terms.kls["kl1"], terms.kls["kl2"]])
    rng = np.random.RandomState(6)
    images = all_images(settings)
    eps = [rng.standard_normal((len(images), *s)) for s in ((1, 1, 1), (1,))]
    *moments, kl1, kl2 = f(images, *[e.astype("float32") for e in eps])
    grid, step = np.linspace(-20, 20, 400_001, retstep=True)
    for n in range(len(images)):
        m1, s1, pm, ps, m2, s2 = (float(v[n]) for v in moments)
        for value, q, p in (
            (kl1[n], norm(m1, s1), norm(pm, ps)),
            (kl2[n], norm(m2, s2), norm(0, 1)),
        ):
            integral = (q.pdf(grid) * (q.logpdf(grid) - p.logpdf(grid))).sum() * step
            assert value == pytest.approx(integral, rel=1e-4, abs=1e-5)
    assert kl1.min() > 0.001 and kl2.min() > 0.001


def widely_encoded(settings: Settings) -> HierarchicalModel:
    """For every image q is near N(0, I), and p(z₁|z₂) not far from it: no few samples outweigh the others."""
    model = HierarchicalModel(settings)
    model.parameters.assign({n: v.get_value() for n, v in unusual(settings).parameters.items()})
    for name, v in model.parameters.items():
        if name.startswith("enc") and ".output" in name:
            value = v.get_value()
            if name.endswith(".g"):  # no weights: what q is does not depend on the image
                value[...] = 0
            elif name.endswith(".b"):
                value[: len(value) // 2] = 0
                value[len(value) // 2 :] = 30  # sigma = 0.98
            v.set_value(value)
        elif name in ("dec2.pixelcnn.output.g", "dec2.pixelcnn.output.b"):
            v.set_value(np.float32(0.3) * v.get_value())  # means of p(z₁|z₂) within q's reach
    return model


# One number in each latent, of which the integrals are taken on a grid.
SINGLE = replace(GREY, height=1, latents=(1, 1))


def log_likelihoods(settings: Settings, images: np.ndarray, z: np.ndarray) -> np.ndarray:
    """log p(x) by quadrature over latents from the decoder and the prior, which have one number each."""
    shape, step = unusual(settings).noise_shapes["z1"], z[1] - z[0]
    z1 = z.astype("float32").reshape(-1, *shape)
    log_prior = norm.logpdf(z)
    if settings.top_stages:  # ∫ p(z₁|z₂) p(z₂) dz₂; at the only position p(z₁|z₂) does not see z₁
        mean, log_sigma, _ = prior(settings)(0 * z1, z1.reshape(-1, 1))
        conditional = norm.logpdf(z, mean.reshape(-1, 1), np.exp(log_sigma.reshape(-1, 1)))
        log_prior = logsumexp(conditional + norm.logpdf(z)[:, None], axis=0) + np.log(step)
    every = [decoder(settings)(np.repeat(x[None], len(z), axis=0), z1)[1] for x in images]
    return logsumexp(np.array(every, "float64") + log_prior, axis=1) + np.log(step)


@pytest.mark.parametrize("settings", [SINGLE, SINGLE.one_level()], ids=["two levels", "one level"])
def test_importance_weights_against_the_likelihood_by_quadrature(settings):
    """∫ q(z|x) · p(x, z) / q(z|x) dz = p(x)."""
    model, images = unusual(settings), all_images(settings)
    grid, step = np.linspace(-12, 12, 481, retstep=True)
    truth = log_likelihoods(settings, images, grid)
    assert np.exp(truth).sum() == pytest.approx(1, abs=1e-4) and truth.std() > 0.1

    estimate = ImportanceWeighted(model, seed=0, batch_size=700)
    for x, log_p in zip(images[:2].astype("uint8"), truth):
        moments = estimate._encode(x[None])
        points = [grid[::4]] * len(model.noise_shapes)
        z = np.stack(np.meshgrid(*points, indexing="ij")).reshape(len(points), -1)
        log_q, noise = 0.0, []
        for values, mean, log_sigma, shape in zip(
            z, moments[::2], moments[1::2], model.noise_shapes.values()
        ):
            m, s = float(mean.ravel()[0]), float(np.exp(log_sigma.ravel()[0]))
            log_q = log_q + norm.logpdf(values, m, s)
            noise.append(((values - m) / s).astype("float32").reshape(-1, *shape))
        weights = estimate._log_weights(x[None], *moments, *noise)
        assert logsumexp(weights + log_q) + len(points) * np.log(4 * step) == pytest.approx(
            log_p, abs=1e-3
        )


def test_estimates_of_all_images_add_up_to_one():
    """By enumeration, with maps of two positions of which the second is told the first."""
    images = all_images(GREY).astype("uint8")
    estimate = ImportanceWeighted(widely_encoded(GREY), seed=0, batch_size=1000)
    values = estimate(InMemory(images), "test", samples=2000).values["importance_weighted"]
    assert np.exp(-values).sum() == pytest.approx(1, abs=0.05)


def test_gaussian_parameters():
    outputs = np.float32([-3e8, -4, -1, 0, 1, 4, 3e8])
    both = np.concatenate([outputs, outputs])[None, :, None, None]
    x = T.tensor4()
    parts = [split_gaussian(x, len(outputs), bounded=True, floor=floor) for floor in (0, 0.6)]
    f = theano.function([x], [v for p in parts for v in (p.mean, p.log_sigma)])
    mean, log_sigma, _, floored = (v[0, :, 0, 0] for v in f(both))
    wide = outputs.astype("float64")
    half = wide / 2
    np.testing.assert_allclose(mean, 2 * half / (1 + abs(half)), rtol=1e-6)
    sigma = 0.5 * (wide / (1 + abs(wide)) + 1)
    np.testing.assert_allclose(np.exp(log_sigma), sigma, rtol=1e-6)
    np.testing.assert_allclose(np.exp(floored), np.maximum(sigma, 0.6), rtol=1e-6)


def test_the_objective_weighs_the_kls_and_counts_nats_a_dimension():
    model = unusual(LARGER)
    x, noise = T.tensor4(), {"z1": T.tensor4(), "z2": T.matrix()}
    names = ["alpha1", "alpha2", "sigma_floor"]
    scalars = {name: T.scalar(name) for name in names}
    free = T.scalar("free_bits")
    cost, terms = model.objective(x, noise, scalars)
    freed, _ = model.objective(x, noise, {**scalars, "free_bits": free})
    given = [x, *noise.values(), *scalars.values(), free]
    f = theano.function(given, [freed, cost, terms.reconstruction, *terms.kls.values()])
    rng = np.random.RandomState(7)
    images = rng.randint(0, 6, (4, 3, 4, 12)).astype("float32")
    eps = draw_noise(model, 0, "test", 0, 4)
    freed, cost, reconstruction, kl1, kl2 = f(images, *eps, 0.25, 0.125, 0, 0)
    assert freed == cost
    expected = (reconstruction + 0.25 * kl1 + 0.125 * kl2).mean() / (3 * 4 * 12)
    assert cost == pytest.approx(expected, rel=1e-5)
    middle = np.median(kl2)  # some images' KL is below it, some above
    freed, *_ = f(images, *eps, 0.25, 0.125, 0, middle)
    gain = 0.125 * np.maximum(middle - kl2, 0).mean() / (3 * 4 * 12)
    assert freed == pytest.approx(cost + gain, rel=1e-6) and gain > 1e-4
    *_, floored, again = f(images, *eps, 0.25, 0.125, 0.95, 0)
    assert abs(floored - kl1).max() > 0.1
    np.testing.assert_allclose(again, kl2, rtol=1e-6)


@pytest.mark.parametrize("batch_norm", ["blend", "moving"])
def test_an_image_is_evaluated_whatever_else_is_in_its_batch(batch_norm):
    model = unusual(LARGER, batch_norm)
    x, noise = T.tensor4(), {"z1": T.tensor4(), "z2": T.matrix()}
    f = theano.function([x, *noise.values()], model.terms(x, noise).bound)
    images = np.random.RandomState(8).randint(0, 6, (4, 3, 4, 12)).astype("float32")
    eps = draw_noise(model, 0, "test", 0, 4)
    together = f(images, *eps)
    alone = [f(images[n : n + 1], *[e[n : n + 1] for e in eps])[0] for n in range(4)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    assert together.std() > 1


def test_latents_are_clipped_where_they_enter_a_decoder():
    images = np.zeros((1, 1, 2, 1), "float32")
    far, edge = (np.full((1, 1, 2, 1), v, "float32") for v in (1e6, 50))
    np.testing.assert_array_equal(decoder(GREY)(images, far)[0], decoder(GREY)(images, edge)[0])
    inside = decoder(GREY)(images, edge - 1)[0]
    assert not np.array_equal(decoder(GREY)(images, edge)[0], inside)


def test_sizes_that_cannot_be_halved_are_refused():
    with pytest.raises(UserError, match="divide by 4"):
        HierarchicalModel(replace(LARGER, width=10))


def test_a_header_gives_the_settings_back():
    import json

    header = json.loads(json.dumps(HierarchicalModel(LARGER).header()))
    assert parse_header(header) == (HIERARCHICAL, LARGER)
