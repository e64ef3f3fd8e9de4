"""The ablations of section 4.2, as changes to a preset. Imports no Theano."""

from __future__ import annotations

from dataclasses import replace

from pixelvae.machine.errors import UserError
from pixelvae.models.family import Preset, Variation
from pixelvae.models.hierarchical.settings import DECODERS


def _one_level(preset: Preset, chosen: bool) -> Preset:
    """With one latent, which takes over what the top one had: length and warm-up."""
    if not preset.settings.top_stages:
        return preset
    settings = replace(preset.settings.one_level(), name=f"{preset.settings.name}, one level")
    training = replace(preset.training, warmups=preset.training.warmups[-1:])
    return replace(preset, settings=settings, training=training)


def _pixel_decoder(preset: Preset, word: str) -> Preset:
    return _with_decoder(preset, "pixel", word)


def _top_decoder(preset: Preset, word: str) -> Preset:
    if not preset.settings.top_stages:
        raise UserError(
            "a decoder at the top is for models of two levels: leave it out", setting="top_decoder"
        )
    return _with_decoder(preset, "top", word)


def _with_decoder(preset: Preset, which: str, word: str) -> Preset:
    name = f"{preset.settings.name}, {word} {which} decoder"
    return preset.changed({"name": name, f"{which}_decoder": word})


ABLATIONS = (
    Variation("one_level", "ablation: a single latent vector", _one_level),
    Variation("pixel_decoder", "ablation", _pixel_decoder, DECODERS),
    Variation("top_decoder", "ablation", _top_decoder, DECODERS),
)
