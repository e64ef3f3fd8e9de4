"""Settings: what their fields may be, wherever the values come from."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import pytest

from pixelvae.machine.errors import UserError
from pixelvae.machine.kinds import choice, maybe, number, pair, text, tuples, whole
from pixelvae.models.checked import Checked, setting
from pixelvae.models.mnist.presets import PRESETS, Settings, Training

KINDS = [
    (whole(least=0, most=9), [0, 9], [-1, 10, 1.0, True, "1", None, math.nan]),
    (whole(odd=True), [1, 3], [2, 0, -1]),
    (number(below=1), [0.5], [0, 1, -0.5, math.nan, math.inf, "0.5", True, None]),
    (number(), [2, 0.1], [math.inf]),
    (choice(("a", "b")), ["a"], ["c", "", None, 1, ["a"], {}]),
    (text(), ["a name, with more"], ["", "two\nlines", "x" * 300, 1, None]),
    (maybe(whole()), [None, 1], [0, "x"]),
    (tuples(whole(), least=1, most=2), [(1,), (1, 2)], [(), (1, 2, 3), [1], (0,), 1, "1"]),
    (pair(number(), whole()), [(0.5, 1)], [(0.5,), (0.5, 1, 2), (1, 0.5), [0.5, 1], 1]),
]


@pytest.mark.parametrize(("kind", "good", "bad"), KINDS, ids=lambda value: type(value).__name__)
def test_what_a_kind_holds(kind, good, bad):
    assert all(kind.holds(value) for value in good)
    assert not any(kind.holds(value) for value in bad)
    assert kind.wanted


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [(whole(), "12", 12), (number(), "1e-3", 1e-3), (choice(("a",)), "a", "a"), (maybe(whole()), "3", 3)],
)  # fmt: skip
def test_what_a_text_stands_for(kind, text, value):
    assert kind(text) == value
    for wrong in ("", "x", "0", "nan", "inf", "-1", "1" * 400):
        with pytest.raises(argparse.ArgumentTypeError, match="must be"):
            kind(wrong)


@dataclass(frozen=True)
class Some(Checked):
    name: str = setting(text())
    pairs: tuple = setting(tuples(pair(whole(), whole())), ())
    size: int = setting(whole(odd=True), 3, about="how large", option="edge")


def test_a_wrong_value_names_the_option():
    for make in (lambda: Some("a", size=4), lambda: Some("a").changed({"size": 4})):
        with pytest.raises(UserError, match="size must be an odd number from 1 .*, not 4") as wrong:
            make()
        assert wrong.value.setting == "edge"


def test_json_becomes_what_it_was():
    some = Some.parse({"name": "a", "pairs": [[1, 2], [3, 4]]})
    assert some == Some("a", ((1, 2), (3, 4)), 3)
    assert Some.within({"name": "a", "pairs": [], "size": 5, "more": 1}) == Some("a", (), 5)
    assert Some.within({"name": "a", "pairs": [], "more": 1}) == Some("a", (), 3)


@pytest.mark.parametrize(
    "values", [None, 3, [], {}, {"name": "a", "other": 1}, {"name": 1}, {"name": "a", "pairs": 3}]
)
def test_json_that_is_something_else(values):
    with pytest.raises(UserError):
        Some.parse(values)


@pytest.mark.parametrize("values", [None, 3, [], {}, {"size": 5}, {"name": 1}])
def test_json_in_which_something_else_stands(values):
    with pytest.raises(UserError, match="missing|object|must be"):
        Some.within(values)


def test_options_are_the_fields_that_say_something():
    assert [(o.field, o.name, o.about) for o in Some.options()] == [("size", "edge", "how large")]
    assert {o.name for o in Settings.options()} == {
        "model", "layers", "dim_pix", "latent_dim", "filter_size"
    }  # fmt: skip


def test_a_preset_changes_settings_and_training_together():
    quick = PRESETS["quick"].changed({"layers": 5, "iterations": 7, "batch_size": 3})
    assert quick.settings == Settings(layers=5, dim_pix=16, latent_dim=32)
    assert quick.training.iterations == 7 and quick.training.eval_every == 1_500
    assert isinstance(quick.training, Training)
