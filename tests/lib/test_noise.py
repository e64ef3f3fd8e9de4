"""Noise is a function of seed, purpose and index, and has the law it names."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pixelvae.lib.noise import generator, standard_normal, standard_normals, uniform, uniforms


@pytest.mark.parametrize("draw", [standard_normal, uniform])
def test_noise_depends_on_its_arguments_alone(draw):
    first = draw(3, "posterior", 17, (4, 5))
    np.random.seed(0)
    draw(3, "posterior", 18, (1000,))
    assert first.dtype == np.float32 and first.shape == (4, 5)
    np.testing.assert_array_equal(first, draw(3, "posterior", 17, (4, 5)))
    for other in (draw(4, "posterior", 17, (4, 5)), draw(3, "prior", 17, (4, 5))):
        assert not np.intersect1d(first, other).size
    assert not np.intersect1d(first, draw(3, "posterior", 18, (4, 5))).size


def test_seed_and_index_do_not_mix():
    assert not np.intersect1d(uniform(1, "a", 2, (9,)), uniform(2, "a", 1, (9,))).size


@pytest.mark.parametrize(
    ("each", "draw"), [(standard_normals, standard_normal), (uniforms, uniform)]
)
def test_noise_of_several_images_is_each_image_s_own(each, draw):
    several = each(3, "valid z", np.array([7, 0, 12]), (2, 5))
    assert several.shape == (3, 2, 5) and several.dtype == np.float32
    for noise, number in zip(several, (7, 0, 12)):
        np.testing.assert_array_equal(noise, draw(3, "valid z", number, (2, 5)))
    assert each(3, "valid z", [], (2, 5)).shape == (0, 2, 5)


def test_noise_drawn_in_parts_is_that_of_the_whole():
    whole = standard_normal(3, "importance", 4, (50, 3))
    draws = generator(3, "importance", 4)
    parts = [draws.standard_normal((n, 3), dtype=np.float32) for n in (1, 7, 20, 22)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize(("draw", "law"), [(standard_normal, stats.norm), (uniform, stats.uniform)])
def test_noise_follows_its_law_within_and_across_indices(draw, law):
    within = draw(1, "test", 0, (20_000,)).astype(float)
    across = np.concatenate([draw(1, "test", index, (4,)) for index in range(5000)]).astype(float)
    for sample in (within, across):
        assert stats.kstest(sample, law.cdf).pvalue > 1e-3
        assert abs(sample.mean() - law.mean()) < 4 * law.std() / np.sqrt(sample.size)
    assert abs(stats.pearsonr(across[:-4], across[4:])[0]) < 4 / np.sqrt(across.size)


def test_uniform_noise_never_reaches_one():
    """Near 1 float32 is coarse: of float64 draws, one in 33 million would be rounded to 1."""
    noise = uniform(0, "test", 0, (20_000_000,))
    assert noise.min() >= 0 and noise.max() < 1
    grid = noise[:100_000] * np.float32(2**24)
    np.testing.assert_array_equal(grid, np.round(grid))  # multiples of 2**-24, so never rounded
