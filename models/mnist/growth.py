"""How the models for binary images grow: more layers, wider ones, more dimensions of z."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pixelvae.models.growth import FRESH, Step, channels, spread
from pixelvae.models.mnist.presets import Settings

_NETWORKS = "pixelvae.models.mnist.pixels"
#: The networks that can grow, and what a new layer adds to the others by.
_SILENT = {
    f"{_NETWORKS}.IndependentPixels": "^$",
    f"{_NETWORKS}.MaskedStack": r"^pixelcnn\.layer\d+\.g$",
    f"{_NETWORKS}.GatedStack": r"^pixelcnn\.layer\d+\.out\.g$",
}


def growth(old: Settings, new: Settings) -> Iterator[Step]:
    """The steps from old settings to new ones, as far as they can grow."""
    at, d, k = old, old.dim_pix, old.latent_dim
    if old.variant.network not in _SILENT:
        return
    if new.layers > old.layers:
        at = at.changed({"layers": new.layers})
        # The latent's maps into the gates of new layers come before those of the output's two.
        gates = np.full(4 * d * (new.layers - old.layers), FRESH)
        yield Step(
            at,
            lambda name, axis, length: np.insert(np.arange(length), length - 4 * d, gates),
            _SILENT[old.variant.network],
        )
    if new.dim_pix > d:
        at = at.changed({"dim_pix": new.dim_pix})
        copied = channels(d, new.dim_pix)
        yield Step(at, lambda name, axis, length: spread(copied, length, d))
    if new.latent_dim > k:
        at = at.changed({"latent_dim": new.latent_dim})
        fresh = channels(k, new.latent_dim, fresh=True)
        # A dimension's mean and log sigma are neighbours: both 0 make the prior.
        yield Step(at, lambda name, axis, length: spread(fresh, length, k, inner=True))
