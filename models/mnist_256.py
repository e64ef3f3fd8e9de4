"""MNIST with its 256 grey levels: the one-level model of the released code."""

from __future__ import annotations

from models.presets import choose

PRESETS = choose("mnist_256")
