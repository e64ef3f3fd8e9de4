"""The site as a reader sees it, on a telephone and on a desk; ``make docs`` builds it, and checks its links."""

from __future__ import annotations

import pytest
from browser import browser  # noqa: F401

from studies.map import ROOT

SITE = ROOT / "build/docs"
PAGES = (
    "index.html",
    "docs/gallery.html",
    "docs/paper.html",
    "docs/site/api/pixelvae.lib.layers.conv.html",
)
FOREIGN = "return performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('file:'))"

pytestmark = [
    pytest.mark.skipif(
        not (SITE / "index.html").exists(), reason="there is no site here: make docs"
    ),
    pytest.mark.parametrize("width", [400, 1400]),
]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_and_needs_nothing_from_elsewhere(browser, page, width):  # noqa: F811
    browser.open(SITE / page, width)
    assert browser.run("return document.title").endswith("PixelVAE")
    assert browser.fits()
    assert not browser.missing_pictures()
    assert not browser.complaints()
    assert not browser.run(FOREIGN)


def test_the_search_finds_masked_convolutions(browser, width):  # noqa: F811
    browser.open(SITE / "search.html", width, "?q=masked+convolution")
    browser.wait_for(
        "return document.querySelector('.search-summary')?.innerText.includes('found')"
    )
    found = browser.run(
        "return [...document.querySelectorAll('#search-results a')].map(a => a.innerText)"
    )
    assert "pixelvae.lib.layers.conv" in found
    assert browser.fits()
    assert not browser.complaints()


def test_formulas_are_typeset(browser, width):  # noqa: F811
    """Not left as TeX: a fraction is higher than a line."""
    browser.open(SITE / "docs/paper.html", width)
    assert "\\" not in browser.run("return document.querySelector('article').innerText")
    height = "return document.querySelector(arguments[0]).getBoundingClientRect().height"
    assert browser.run(height, "mfrac") > browser.run(height, "mfrac mi")
