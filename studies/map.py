"""``python -m studies.map [FOLDER ...]`` prints each module with its docstring's first line."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pixelvae.machine.console import command
from pixelvae.machine.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "pixelvae",
    "studies",
    "benchmarks",
    "experiments",
    "models",
    "datasets",
    "lib",
    "machine",
)


def first_line(path: Path) -> str:
    """What a module is, in the first line of its docstring; empty without one."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "\n"
    return docstring.splitlines()[0]


def lines(folder: Path, indent: str = "") -> Iterator[str]:
    """A package and its modules, then the packages in it, a line each."""
    yield f"{indent + folder.name + '/':25} {first_line(folder / '__init__.py')}"
    indent += "  "
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            yield f"{indent + path.name:25} {first_line(path)}"
    for package in sorted(folder.glob("*/__init__.py")):
        if not package.parent.is_symlink():  # in pixelvae/, links to the packages beside it
            yield from lines(package.parent, indent)


def main(folders: Sequence[str]) -> None:
    """Print the map of these packages, or of all. Raises UserError if one is not a package."""
    for folder in folders or PACKAGES:
        if not (ROOT / folder / "__init__.py").is_file():
            raise UserError(f"{folder} is not a package: choose from {', '.join(PACKAGES)}")
        print("\n".join(lines(ROOT / folder)))


if __name__ == "__main__":
    sys.exit(command.main(main, sys.argv[1:]))
