"""How numbers are said: with a standard error, or that a single image has none."""

from __future__ import annotations

import math

import pytest

from pixelvae.experiments.summaries import combined, describe, with_error
from pixelvae.models.mnist.table1 import Row
from studies.publishing.shipping import paper_gap


@pytest.mark.parametrize("none", [math.nan, None])
def test_a_single_image_has_no_standard_error_and_it_is_said(none):
    numbers = {"mean": 80.123, "se": none}
    assert with_error(numbers) == "80.12 (one image, no standard error)"
    report = {"model": "m", "split": "test", "images": 1, "unit": "nats/image", "bound": numbers}
    assert "80.12 (one image, no standard error)" in describe(report)
    assert paper_gap(Row(79.0), numbers)["band"] == pytest.approx(1.2)
    assert combined(0.3, none) is None


def test_errors_of_independent_means_add_up_as_squares():
    assert with_error({"mean": 1.0, "se": combined(0.3, 0.4)}) == "1.00 ± 0.50"
