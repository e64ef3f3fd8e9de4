"""What the requirements' files pin."""

from __future__ import annotations

from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def pins(*files: str) -> dict[str, str]:
    """Name and version of each package that the files pin for this Python."""
    pinned: dict[str, str] = {}
    for file in files:
        for line in (ROOT / file).read_text().splitlines():
            if not line or line.startswith(("#", "--")):
                continue
            requirement = Requirement(line)
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", line
            if requirement.marker is None or requirement.marker.evaluate():
                name = canonicalize_name(requirement.name)
                assert name not in pinned, f"{name} is pinned twice"
                pinned[name] = specifier.version
    return pinned
