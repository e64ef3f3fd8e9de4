"""The presets' layers against a table written by hand from table E.2, and their schedules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import step
from pixelvae.experiments import flops, imagenet64, lsun_bedrooms, mnist_256
from pixelvae.experiments.command_line import parse
from pixelvae.models.hierarchical.model import HierarchicalModel
from pixelvae.models.hierarchical.presets import HIERARCHICAL, PRESETS, SETTINGS, TRAINING
from pixelvae.models.mnist.presets import MNIST


def conv(inputs, outputs, kernel=1):
    """Shape of a convolution's kernels, (O, C, taps)."""
    return [(outputs, inputs, kernel * kernel)]


def linear(inputs, outputs):
    return [(outputs, inputs)]


def res(width, count=1):
    """Residual blocks that keep size and width."""
    return count * (conv(width, width, 3) + conv(width, width, 3))


def down(a, b):
    return conv(a, a, 3) + conv(a, b, 3) + conv(a, b)


def up(a, b):
    """Subpixel convolutions have four times the channels."""
    return conv(a, 4 * b, 3) + conv(b, b, 3) + conv(a, 4 * b)


def masked(a, b, kernel=3):
    """Two convolutions beside each other, then one, and a shortcut where the width changes."""
    return conv(a, 2 * b, kernel) + conv(b, b, kernel) + (conv(a, b) if a != b else [])


# The parts in the order: Enc1, Dec1 with its PixelCNN, Enc2, Dec2 with its PixelCNN.
TABLE = {
    "32px_small": [
        *conv(48, 64), *res(64, 2), *down(64, 128), *res(128, 2), *down(128, 256), *res(256, 3),
        *conv(256, 128),
        *conv(64, 256), *res(256, 3), *up(256, 128), *res(128, 2), *up(128, 64), *res(64, 2),
        *conv(48, 64, 5), *masked(128, 128), *masked(128, 128), *conv(128, 768),
        *res(256, 3), *down(256, 512), *res(512, 3), *linear(4 * 4 * 512, 1024),
        *linear(512, 4 * 4 * 512), *res(512, 3), *up(512, 256), *res(256, 3),
        *conv(64, 256, 5), *masked(512, 512), *masked(512, 512), *masked(512, 512, 1),
        *conv(512, 128),
    ],
    "32px_big": [
        *conv(3, 128), *res(128, 2), *down(128, 256), *res(256, 2), *down(256, 512), *res(512, 3),
        *conv(512, 256),
        *conv(128, 512), *res(512, 3), *up(512, 256), *res(256, 2), *up(256, 128), *res(128, 2),
        *conv(3, 128, 5), *masked(256, 256), *masked(256, 256), *conv(256, 768),
        *res(512, 3), *down(512, 512), *res(512, 3), *linear(4 * 4 * 512, 1024),
        *linear(512, 4 * 4 * 512), *res(512, 3), *up(512, 512), *res(512, 3),
        *conv(128, 512, 5), *masked(1024, 512), *masked(512, 512), *masked(512, 512, 1),
        *conv(512, 256),
    ],
    "64px_small": [
        *conv(48, 64), *res(64), *down(64, 64), *res(64, 2), *down(64, 128), *res(128, 3),
        *conv(128, 128),
        *conv(64, 128), *res(128, 3), *up(128, 64), *res(64, 2), *up(64, 64), *res(64),
        *conv(48, 64, 5), *masked(128, 128), *masked(128, 128), *masked(128, 128),
        *conv(128, 768),
        *res(128, 3), *down(128, 256), *res(256, 3), *down(256, 512), *res(512, 3),
        *linear(4 * 4 * 512, 1024),
        *linear(512, 4 * 4 * 512), *res(512, 3), *up(512, 256), *res(256, 3), *up(256, 128),
        *res(128, 3),
        *conv(64, 128, 5), *masked(256, 256), *masked(256, 256), *masked(256, 256, 1),
        *conv(256, 128),
    ],
    "64px_big": [
        *conv(48, 192), *res(192), *down(192, 256), *res(256, 2), *down(256, 512), *res(512, 3),
        *conv(512, 128),
        *conv(64, 512), *res(512, 3), *up(512, 256), *res(256, 2), *up(256, 192), *res(192),
        *conv(48, 192, 5), *masked(384, 384), *masked(384, 384), *masked(384, 384),
        *conv(384, 768),
        *res(512, 3), *down(512, 512), *res(512, 3), *down(512, 512), *res(512, 3),
        *linear(4 * 4 * 512, 1024),
        *linear(512, 4 * 4 * 512), *res(512, 3), *up(512, 512), *res(512, 3), *up(512, 512),
        *res(512, 3),
        *conv(64, 512, 5), *masked(1024, 512), *masked(512, 512), *masked(512, 512, 1),
        *conv(512, 128),
    ],
    "64px_big_onelevel": [
        *conv(48, 192), *res(192), *down(192, 256), *res(256, 2), *down(256, 512), *res(512, 3),
        *down(512, 512), *res(512, 3), *down(512, 512), *res(512, 3),
        *linear(4 * 4 * 512, 1024), *linear(512, 4 * 4 * 512),
        *res(512, 3), *up(512, 512), *res(512, 3), *up(512, 512), *res(512, 3),
        *up(512, 256), *res(256, 2), *up(256, 192), *res(192),
        *conv(48, 192, 5), *masked(384, 384), *masked(384, 384), *masked(384, 384),
        *conv(384, 768),
    ],
    "32px_few_cores": [
        *conv(3, 16), *res(16), *down(16, 32), *res(32), *down(32, 48), *res(48, 2), *conv(48, 32),
        *conv(16, 48), *res(48, 2), *up(48, 32), *res(32), *up(32, 16), *res(16),
        *conv(3, 16, 5), *masked(32, 32), *conv(32, 768),
        *res(48), *down(48, 64), *res(64), *linear(4 * 4 * 64, 64),
        *linear(32, 4 * 4 * 64), *res(64), *up(64, 48), *res(48),
        *conv(16, 48, 5), *masked(96, 48), *masked(48, 48, 1), *conv(48, 32),
    ],
    "64px_few_cores": [
        *conv(3, 16), *res(16), *down(16, 32), *res(32), *down(32, 48), *res(48, 2), *conv(48, 32),
        *conv(16, 48), *res(48, 2), *up(48, 32), *res(32), *up(32, 16), *res(16),
        *conv(3, 16, 5), *masked(32, 32), *conv(32, 768),
        *res(48), *down(48, 64), *res(64), *down(64, 64), *res(64), *linear(4 * 4 * 64, 64),
        *linear(32, 4 * 4 * 64), *res(64), *up(64, 64), *res(64), *up(64, 48), *res(48),
        *conv(16, 48, 5), *masked(96, 48), *masked(48, 48, 1), *conv(48, 32),
    ],
    "32px_medium": [
        *conv(3, 32), *res(32), *down(32, 48), *res(48), *down(48, 64), *res(64, 2), *conv(64, 32),
        *conv(16, 64), *res(64, 2), *up(64, 48), *res(48), *up(48, 32), *res(32),
        *conv(3, 32, 5), *masked(64, 64), *masked(64, 64), *conv(64, 768),
        *res(64), *down(64, 64), *res(64), *linear(4 * 4 * 64, 64),
        *linear(32, 4 * 4 * 64), *res(64), *up(64, 64), *res(64),
        *conv(16, 64, 5), *masked(128, 48), *masked(48, 48, 1), *conv(48, 32),
    ],
    "64px_medium": [
        *conv(3, 32), *res(32), *down(32, 48), *res(48), *down(48, 64), *res(64, 2), *conv(64, 32),
        *conv(16, 64), *res(64, 2), *up(64, 48), *res(48), *up(48, 32), *res(32),
        *conv(3, 32, 5), *masked(64, 64), *masked(64, 64), *conv(64, 768),
        *res(64), *down(64, 64), *res(64), *down(64, 64), *res(64), *linear(4 * 4 * 64, 64),
        *linear(32, 4 * 4 * 64), *res(64), *up(64, 64), *res(64), *up(64, 64), *res(64),
        *conv(16, 64, 5), *masked(128, 48), *masked(48, 48, 1), *conv(48, 32),
    ],
    "mnist_256": [
        *conv(16, 16), *res(16), *down(16, 32), *res(32), *down(32, 32), *res(32, 2),
        *linear(32, 256), *linear(128, 32),
        *res(32, 2), *up(32, 32), *res(32), *up(32, 16), *res(16),
        *conv(16, 16, 5), *masked(32, 32), *masked(32, 32), *masked(32, 32), *masked(32, 32),
        *conv(32, 256),
    ],
}  # fmt: skip
MAPS = {
    "32px_small": {"z1": (64, 8, 8), "z2": (512,)},
    "32px_big": {"z1": (128, 8, 8), "z2": (512,)},
    "64px_small": {"z1": (64, 16, 16), "z2": (512,)},
    "64px_big": {"z1": (64, 16, 16), "z2": (512,)},
    "64px_big_onelevel": {"z1": (512,)},
    "32px_few_cores": {"z1": (16, 8, 8), "z2": (32,)},
    "64px_few_cores": {"z1": (16, 16, 16), "z2": (32,)},
    "32px_medium": {"z1": (16, 8, 8), "z2": (32,)},
    "64px_medium": {"z1": (16, 16, 16), "z2": (32,)},
    "mnist_256": {"z1": (128,)},
}


@pytest.mark.parametrize("name", TABLE)
def test_layers(name):
    model = HierarchicalModel(SETTINGS[name])
    shapes = model.parameters.shapes()
    weights = [shape for n, shape in shapes.items() if n.endswith((".w", ".v"))]
    assert weights == TABLE[name]
    assert model.noise_shapes == MAPS[name]
    embedded = 0 if name == "32px_big" or name.endswith(("few_cores", "medium")) else 256 * 16
    assert (
        sum(a * b for n, (a, b) in [(n, s) for n, s in shapes.items() if "table" in n]) == embedded
    )
    # Weight norm where the released code has it: everywhere but in the residual blocks' own pairs.
    plain = {n.rsplit(".", 2)[1] for n in shapes if n.endswith(".w")}
    assert plain == {"conv1", "conv2"}
    assert not any("pixelcnn" in n for n in shapes if n.endswith(".w"))


def test_one_level_is_the_two_level_network_without_its_middle_latent():
    big = SETTINGS["64px_big"].one_level()
    assert big.stages == SETTINGS["64px_big_onelevel"].stages
    assert [w for w, _ in SETTINGS["32px_small"].one_level().stages] == [64, 128, 256, 512]


@pytest.mark.parametrize(
    "name, t, expected",
    [
        ("64px_big", 1, dict(alpha1=1 / 1000, alpha2=1e-7, sigma_floor=1.0, learning_rate=1e-3)),
        ("64px_big", 251, dict(sigma_floor=0.5)),
        ("64px_big", 2_000, dict(alpha1=1.0, alpha2=0.2, sigma_floor=0.0)),
        ("64px_big", 180_000, dict(learning_rate=1e-3)),
        ("64px_big", 180_001, dict(learning_rate=5e-4)),
        ("64px_big", 360_001, dict(learning_rate=2.5e-4)),
        ("64px_small", 180_001, dict(learning_rate=1e-4, alpha2=1.0)),
        ("32px_small", 1_000, dict(alpha1=0.5, alpha2=0.1)),
        ("32px_big", 300_000, dict(learning_rate=1e-3)),
        ("64px_big_onelevel", 25_000, dict(alpha1=0.5)),
        ("mnist_256", 5_000, dict(alpha1=1.0, learning_rate=1e-3)),
        ("32px_few_cores", 1_000, dict(alpha1=1.0, alpha2=0.5, learning_rate=4e-3)),
        ("64px_few_cores", 4_000, dict(alpha2=1.0, sigma_floor=0.0, learning_rate=2e-3)),
        ("32px_medium", 26_000, dict(learning_rate=3e-3)),
        ("64px_medium", 104_000, dict(learning_rate=1.5e-3)),
    ],
)
def test_schedules(name, t, expected):
    scalars = TRAINING[name].schedule(t)
    assert {k: scalars[k] for k in expected} == pytest.approx(expected)
    assert ("alpha2" in scalars) == (len(MAPS[name]) == 2)


def test_free_bits_are_scheduled_where_they_are_asked_for():
    training = TRAINING["32px_few_cores"]
    assert "free_bits" not in training.schedule(1)
    assert replace(training, free_bits=8.0).schedule(1)["free_bits"] == 8.0


def test_our_presets_evaluate_averaged_weights_and_the_papers_do_not():
    for name, training in TRAINING.items():
        expected = {"few_cores": 0.995, "medium": 0.999}.get(name.partition("_")[2])
        assert training.recipe(seed=0).average_decay == expected


def test_what_is_not_the_papers_is_off_unless_it_is_asked_for():
    asked = dict(rate_warmup=9, weight_decay=0.1, dropout=0.2, shifted=0.3, mirrored=0.4)
    for family in (MNIST, HIERARCHICAL):
        for preset in family.presets.values():
            recipe = preset.training.recipe(seed=0)
            assert [getattr(recipe, name) for name in asked] == [None] * 5
            known = {name: x for name, x in asked.items() if name in family.training.names()}
            recipe = preset.changed(asked).training.recipe(seed=0)
            assert known and {name: getattr(recipe, name) for name in known} == known


def test_every_preset_has_its_training():
    assert set(SETTINGS) == set(TRAINING) == {*TABLE, "tiny"}
    for name, settings in SETTINGS.items():
        assert settings.batch == TRAINING[name].batch


def test_a_size_is_registered_once(monkeypatch):
    """One entry: offered by the experiments with images of its shape, trained, counted."""
    new = replace(PRESETS["64px_small"], name="new")
    monkeypatch.setitem(PRESETS, "new", new)
    for experiment in (imagenet64.EXPERIMENT, lsun_bedrooms.EXPERIMENT):
        options = parse(experiment, ["train", "--preset", "new", "--iterations", "7"])
        assert options.chosen.settings == new.settings and options.chosen.training.iterations == 7
        assert options.out == Path("runs/new") and options.statistics_batches == 1000
    with pytest.raises(SystemExit):
        parse(mnist_256.EXPERIMENT, ["train", "--preset", "new"])
    assert flops.parse(["new"]).models == ["new"]
    assert step.parse(["new"]).preset == "new"


def test_what_each_experiment_offers():
    assert list(imagenet64.EXPERIMENT.presets) == [
        "64px_small",
        "64px_big",
        "64px_big_onelevel",
        "64px_few_cores",
        "64px_medium",
        "tiny",
    ]
    assert set(lsun_bedrooms.EXPERIMENT.presets) == {*PRESETS} - {"mnist_256"}
    assert list(mnist_256.EXPERIMENT.presets) == ["mnist_256", "tiny"]
    names = {e.data_for(p) for e in (lsun_bedrooms.EXPERIMENT,) for p in e.presets.values()}
    assert names == {"lsun_bedrooms", "lsun_bedrooms_32"}


def test_ablations_change_settings_and_training():
    def chosen(*options):
        return parse(imagenet64.EXPERIMENT, ["train", "--preset", "64px_small", *options]).chosen

    one = chosen("--one-level", "--batch-size", "5")
    assert one.settings.name == "64px_small, one level" and one.settings.latents == (512,)
    assert one.training.warmups == (10_000,) and one.training.batch == one.settings.batch == 5
    both = chosen("--pixel-decoder", "gaussian", "--top-decoder", "gaussian").settings
    assert both.name == "64px_small, gaussian pixel decoder, gaussian top decoder"
    assert both.pixel_decoder == both.top_decoder == "gaussian"
