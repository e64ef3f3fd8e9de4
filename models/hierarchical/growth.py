"""How the models for larger images grow: more blocks, wider ones, more maps of z₁, more to embed.

They can also go on with images of another size, other batches (which batch norm's blend knows), and
stages more or less above z₁: convolutions do not mind.

z₂, or the only latent, cannot grow: no finite output makes its posterior the prior, of sigma 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from pixelvae.models.growth import Step, channels, spread
from pixelvae.models.hierarchical.settings import Settings

# What a new block adds to the others by: the scale of batch norm, or the second masked convolution.
_SILENT = r"\.norm\.scale$|\.block\d+\.conv2\.g$"
# Layers beside maps that become a vector, and beside an embedding: theirs lie channel by channel.
_INNER = re.compile(r"(enc|dec)\d\.(input|output)\.")


def growth(old: Settings, new: Settings) -> Iterator[Step]:
    """The steps from old settings to new ones, as far as they can grow; any name will do."""
    if len(old.stages) != len(new.stages) or bool(old.top_stages) != bool(new.top_stages):
        return
    frame = {
        "batch": new.batch,
        "height": new.height,
        "width": new.width,
        "top_stages": (old.top_stages + new.top_stages[len(old.top_stages) :])[
            : len(new.top_stages)
        ],
    }
    if any(value != getattr(old, field) for field, value in frame.items()):
        old = old.changed({"name": new.name, **frame})
        yield Step(old, approximate=True)
    at = old.changed({"name": new.name, **_more_blocks(old, new)})
    yield Step(at, silent=_SILENT)
    for field in ("stages", "top_stages"):
        for i, (d, _) in enumerate(getattr(at, field)):
            e = getattr(new, field)[i][0]
            if e > d:
                at = at.changed(_with_width(at, new, field, i, e))
                yield Step(at, _stage(d, e, at.channels))
    for field in ("pixel_width", "latent_width"):
        d, e = getattr(at, field), getattr(new, field)
        if 0 < d < e:
            at = at.changed({field: e})
            yield Step(at, _plain(channels(d, e, groups=at.channels), d))
    if len(at.latents) == 2 and new.latents[0] > at.latents[0]:
        k, at = at.latents[0], at.changed({"latents": (new.latents[0], at.latents[1])})
        yield Step(at, _plain(channels(k, at.latents[0], fresh=True), k))
    if 0 < at.embed < new.embed:
        e, at = at.embed, at.changed({"embed": new.embed})
        yield Step(at, _plain(channels(e, at.embed), e, inner=True))


def _more_blocks(old: Settings, new: Settings) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for field in ("stages", "top_stages"):
        both = zip(getattr(old, field), getattr(new, field))
        changes[field] = tuple((width, max(few, many)) for (width, few), (_, many) in both)
    for field in ("pixel_kernels", "latent_kernels"):
        few, many = getattr(old, field), getattr(new, field)
        if few and many[: len(few)] == few:
            changes[field] = many
    return changes


def _with_width(s: Settings, new: Settings, field: str, i: int, width: int) -> dict[str, Any]:
    """A stage of another width, and what has to have it too: the stage beside it at z₁.

    Masked blocks that are as wide as what they read, which has no shortcut then, stay so.
    """
    stages = {"stages": list(s.stages), "top_stages": list(s.top_stages)}
    places = [(field, i)]
    if (field, i + 1) == ("stages", len(s.stages)) and s.top_stages:
        places.append(("top_stages", 0))
    changes: dict[str, Any] = {}
    for name, place in places:
        before, blocks = stages[name][place]
        stages[name][place] = (width, blocks)
        masked = "pixel_width" if name == "stages" else "latent_width"
        ends = getattr(s, masked), getattr(new, masked)
        if place == 0 and ends == (2 * before, 2 * width):
            changes[masked] = 2 * width
    return {**changes, **{name: tuple(widths) for name, widths in stages.items()}}


def _plain(source: np.ndarray, old: int, inner: bool = False):
    return lambda name, axis, length: spread(source, length, old, inner)


def _stage(d: int, e: int, colours: int):
    """The sources of a stage whose width grows from ``d`` to ``e``.

    A PixelCNN reads masked maps and the stage's, side by side; both have colours by index there.
    """
    masked = channels(d, e, groups=colours)
    features = channels(d, e, groups=colours, shift=e - d)
    beside = np.concatenate([masked, d + features])

    def sources(name: str, axis: int, length: int) -> np.ndarray:
        if ".pixelcnn.input." in name:
            return masked
        if ".pixelcnn." in name:
            return spread(beside, length, 2 * d)
        return spread(features, length, d, inner=bool(_INNER.search(name)))

    return sources
