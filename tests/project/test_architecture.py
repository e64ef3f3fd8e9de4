"""The map in docs/architecture.md: every package and module stands in it once, and imports run downwards."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
LINE = re.compile(r"^(?P<indent> *)(?P<name>[\w.-]+/?)  +\S")


def read_map() -> list[str]:
    """The paths of the map, such as ``lib/ops/conv.py`` or ``lib/ops/``, from the top down."""
    block = PAGE.read_text(encoding="utf-8").split("```")[1]
    paths: list[str] = []
    folders: list[tuple[int, str]] = []
    for line in block.splitlines():
        match = LINE.match(line)
        if not match:
            continue
        indent = len(match["indent"])
        folders = [(i, name) for i, name in folders if i < indent]
        path = "".join(name for _, name in folders) + match["name"]
        if path.endswith("/"):
            folders.append((indent, match["name"]))
        paths.append(path)
    return paths


MAP = read_map()
PACKAGES = sorted({path.split("/")[0] for path in MAP if path.endswith("/")})


def modules() -> list[str]:
    files = [p for package in PACKAGES for p in (ROOT / package).rglob("*.py")]
    return sorted(str(p.relative_to(ROOT)) for p in files)


def place(path: str) -> int:
    """Where a module stands in the map; ``__init__`` and ``__main__`` stand where their package does."""
    name = path.rpartition("/")[2]
    return MAP.index(path if name not in ("__init__.py", "__main__.py") else path[: -len(name)])


def imports(path: str) -> Iterator[str]:
    """The project's modules that a module imports, wherever in it the import stands."""
    known = set(modules())

    def file_of(name: str) -> str | None:
        base = name.replace(".", "/")
        if (ROOT / "/".join(base.split("/")[:2])).is_symlink():  # pixelvae/lib is lib
            base = base.partition("/")[2]
        return next((f for f in (f"{base}.py", f"{base}/__init__.py") if f in known), None)

    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [
                f"{node.module}.{a.name}" if file_of(f"{node.module}.{a.name}") else node.module
                for a in node.names
            ]
        else:
            continue
        for name in names:
            file = file_of(name)
            if file and file != path:
                yield file


def test_every_package_and_module_stands_in_the_map_once():
    assert len(MAP) == len(set(MAP))
    packages = {
        str(p.parent.relative_to(ROOT)) + "/"
        for package in PACKAGES
        for p in (ROOT / package).rglob("*.py")
    }
    listed = {p for p in modules() if p.rpartition("/")[2] not in ("__init__.py", "__main__.py")}
    assert {p for p in MAP if p.endswith("/")} == packages
    assert {p for p in MAP if p.endswith(".py")} == listed


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_downwards(package):
    """Rooms are listed from the top down; a module imports from its own room and from those below it."""
    upwards = []
    for path in (p for p in modules() if p.startswith(f"{package}/")):
        room = path.rpartition("/")[0]
        for other in imports(path):
            if other.rpartition("/")[0] != room and place(other) < place(path):
                upwards.append(f"{path} imports {other}")
    assert not upwards


def test_nothing_imports_in_a_circle():
    """Lazy imports counted."""
    edges = {path: set(imports(path)) for path in modules()}
    done: set[str] = set()

    def visit(path: str, trail: list[str]) -> None:
        assert path not in trail, " -> ".join([*trail[trail.index(path) :], path])
        if path in done:
            return
        for other in edges[path]:
            visit(other, [*trail, path])
        done.add(path)

    for path in edges:
        visit(path, [])
