"""Multiply-adds counted in graphs against sums written out by hand."""

from __future__ import annotations

import pytest

from pixelvae.experiments import flops
from pixelvae.lib.flops import count
from pixelvae.models.hierarchical.model import HierarchicalModel, Settings
from pixelvae.models.mnist.model import MnistModel
from pixelvae.models.mnist.model import Settings as MnistSettings

SMALL = Settings(
    "small", stages=((6, 1), (8, 1)), top_stages=((8, 1), (10, 1)), latents=(2, 5), pixel_width=7,
    pixel_kernels=(3,), latent_width=9, latent_kernels=(1,), embed=4, height=8, width=12, levels=16,
)  # fmt: skip


def res(positions, width):
    return 2 * positions * width * width * 9


def down(positions, a, b):
    """From a larger size of so many positions: the second convolution and the shortcut are at the half."""
    return positions * a * a * 9 + positions // 4 * (a * b * 9 + a * b)


def up(positions, a, b):
    """From a smaller size: the first convolution and the shortcut make four times the channels."""
    return positions * (a * 4 * b * 9 + a * 4 * b) + 4 * positions * b * b * 9


def masked(positions, a, b, taps):
    return positions * (a * 2 * b * taps + b * b * taps + a * b)


def test_a_small_model_of_two_levels():
    parts = count(HierarchicalModel(SMALL)).parts
    x, z1, z2 = 8 * 12, 4 * 6, 2 * 3
    expected = {
        "embedding": 0,
        "enc1": x * 12 * 6 + res(x, 6) + down(x, 6, 8) + res(z1, 8) + z1 * 8 * 4,
        "dec1": z1 * 2 * 8 + res(z1, 8) + up(z1, 8, 6) + res(x, 6),
        "dec1.pixelcnn": x * 12 * 6 * 13 + masked(x, 12, 7, 5) + x * 7 * 48,
        "enc2": res(z1, 8) + down(z1, 8, 10) + res(z2, 10) + z2 * 10 * 10,
        "dec2": 5 * z2 * 10 + res(z2, 10) + up(z2, 10, 8) + res(z1, 8),
        # One colour: the 5x5 kernel ends before its centre.
        "dec2.pixelcnn": z1 * 2 * 8 * 12 + masked(z1, 16, 9, 1) + z1 * 9 * 4,
    }
    assert {name: part.done for name, part in parts.items()} == expected
    unmasked = {
        **expected,
        "dec1.pixelcnn": x * 12 * 6 * 25 + masked(x, 12, 7, 9) + x * 7 * 48,
        "dec2.pixelcnn": z1 * 2 * 8 * 25 + masked(z1, 16, 9, 1) + z1 * 9 * 4,
    }
    assert {name: part.unmasked for name, part in parts.items()} == unmasked


def test_parameters_are_all_there():
    model = HierarchicalModel(SMALL)
    result = count(model)
    assert result.total.parameters == model.parameters.count()
    assert result.total.done == sum(part.done for part in result.parts.values())


def test_the_convolutional_vae():
    parts = count(MnistModel(MnistSettings("conv-vae", latent_dim=10))).parts
    encoder = 784 * 32 * 9 + 196 * 32 * 32 * 9 + 196 * 32 * 32 * 9 + 49 * 32 * 64 * 9
    encoder += 64 * 64 * 64 * 9 + 3 * 16 * 64 * 64 * 9 + 1024 * 20
    decoder = 10 * 1024 + 2 * 16 * 64 * 64 * 9
    # Transposed convolutions: every position of the smaller maps meets all nine taps.
    decoder += 16 * 64 * 64 * 9 + 64 * 64 * 64 * 9
    decoder += 49 * 64 * 32 * 9 + 196 * 32 * 32 * 9
    decoder += 196 * 32 * 32 * 9 + 784 * 32 * 32 * 9
    assert parts["encoder"].done == encoder
    assert parts["decoder"].done == decoder
    assert parts["output"].done == 784 * 32


def test_the_command_prints_a_table(capsys):
    assert flops.run(flops.parse(["tiny", "conv-vae"])) is None
    lines = capsys.readouterr().out.splitlines()
    totals = [line.split() for line in lines if " total " in line]
    assert [t[0] for t in totals] == ["tiny", "conv-vae"]
    assert totals[0][-1] == f"{flops.build('tiny').parameters.count():,}"


def test_an_unknown_model(capsys):
    with pytest.raises(SystemExit) as stop:
        flops.parse(["huge"])
    assert stop.value.code == 2
    assert "there is no model 'huge'" in capsys.readouterr().err
