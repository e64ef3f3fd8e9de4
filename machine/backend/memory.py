"""How much memory this machine has, for what is refused before it is too much."""

from __future__ import annotations

import os


def total() -> int:
    """The machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
