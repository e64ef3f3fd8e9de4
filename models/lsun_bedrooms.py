"""LSUN bedrooms (section 4.2): likelihoods at 32×32, samples at 64×64, from two-level models."""

from __future__ import annotations

from models.presets import choose

#: ``tiny`` is for trying things on a laptop's CPU.
PRESETS = choose("64px_small", "64px_big", "32px_small", "32px_big", "tiny")
