"""64×64 ImageNet (section 4.3, table 2): the large two-level model and smaller ones."""

from __future__ import annotations

from models.presets import choose

#: The paper's model first. ``tiny`` is for trying things on a laptop's CPU.
PRESETS = choose("64px_big", "64px_big_onelevel", "64px_small", "tiny")
