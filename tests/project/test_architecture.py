"""The rooms in docs/architecture.md: imports run downwards, none in a circle, every module has a first line."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from studies.map import PACKAGES, first_line

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
ROOMS = [
    re.findall(r"`([^`]+)`", line.split("|")[1])
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| `")
]
MODULES = sorted(
    str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")
)


def room(module: str) -> int:
    """The row of a module: that of its file, else that of its folder; 0 is the top."""
    for place in (module, module.rpartition("/")[0] + "/"):
        for row, places in enumerate(ROOMS):
            if place in places:
                return row
    raise AssertionError(f"{module} is in no room of docs/architecture.md")


def imports(path: str) -> Iterator[str]:
    """The project's modules that a module imports, wherever in it the import stands."""
    known = set(MODULES)

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


def test_every_room_is_there_and_is_listed_once():
    places = [place for row in ROOMS for place in row]
    assert len(places) == len(set(places))
    missing = [place for place in places if not (ROOT / place).exists()]
    assert not missing
    assert all(ROOMS[room(module)] for module in MODULES)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_downwards(package):
    """Lazy imports counted."""
    upwards = [
        f"{module} imports {other}"
        for module in MODULES
        if module.startswith(f"{package}/")
        for other in imports(module)
        if room(other) < room(module)
    ]
    assert not upwards


def test_nothing_imports_in_a_circle():
    """Lazy imports counted."""
    edges = {path: set(imports(path)) for path in MODULES}
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


def test_every_module_begins_with_a_line_about_it():
    """One sentence, on a line of its own."""
    lines = {module: first_line(ROOT / module) for module in MODULES}
    assert not {
        module: line for module, line in lines.items() if not line.rstrip("`").endswith(".")
    }


def test_the_map_has_every_module_once():
    run = subprocess.run(
        [sys.executable, "-m", "studies.map"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    listed: list[str] = []
    folders: list[str] = []
    for line in run.stdout.splitlines():
        name, _, about = line.strip().partition(" ")
        assert about.strip(), line
        depth = (len(line) - len(line.lstrip())) // 2
        folders = folders[:depth]
        listed.append("".join(folders) + name)
        if name.endswith("/"):
            listed[-1] += "__init__.py"
            folders.append(name)
    assert sorted(listed) == MODULES


def test_the_map_refuses_what_is_not_a_package():
    run = subprocess.run(
        [sys.executable, "-m", "studies.map", "docs"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 2
    assert run.stderr.startswith("error: docs is not a package")
