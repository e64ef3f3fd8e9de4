"""What the pages refer to is there: links, files, the functions of docs/paper.md, options of commands."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from studies.map import PACKAGES

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "pretrained/README.md"]
    if path.name != "CHANGELOG.md"  # names what versions had
)
PAPER = ROOT / "docs/paper.md"
TOP = (*PACKAGES, "docs", "docker", "notebooks", "pretrained", "results", "scripts", "tests")
A_FILE = re.compile(rf"`((?:{'|'.join(TOP)})/[\w./-]+)(?::([\w.]+))?`")
PLACEHOLDERS = ("NAME", "squared_relu", "models/linear/")  # what docs/extending.md adds
LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """The fragments that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {
        "".join(c for c in heading.lower() if c.isalpha() or c.isdecimal() or c in "_- ").replace(
            " ", "-"
        )
        for heading in headings
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_files_of_a_page_are_there(page):
    missing = []
    for target in LINK.findall(prose(page)):
        if "://" in target:
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (fragment and fragment not in anchors(file)):
            missing.append(target)
    for path, _ in A_FILE.findall(prose(page)):
        if not (ROOT / path).exists() and not any(word in path for word in PLACEHOLDERS):
            missing.append(path)
    assert not missing


def defined(file: Path) -> set[str]:
    """The functions, classes, methods and constants that a module defines at its top."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
            if isinstance(node, ast.ClassDef):
                names |= {
                    f"{node.name}.{n.name}" for n in node.body if isinstance(n, ast.FunctionDef)
                }
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def test_the_functions_that_the_paper_leads_to_are_there():
    named = [(path, name) for path, name in A_FILE.findall(prose(PAPER)) if name]
    assert len(named) > 20
    assert not [f"{path}:{name}" for path, name in named if name not in defined(ROOT / path)]


def test_every_table_and_figure_of_the_paper_is_on_its_page():
    rows = re.findall(r"^\| ([\dE., ]+):", prose(PAPER), flags=re.M)
    listed = [number for row in rows for number in row.split(", ")]
    assert sorted(set(listed)) == sorted({*map(str, range(1, 12)), "E.1", "E.2"})


def test_every_picture_of_the_results_is_in_the_gallery_above_its_command():
    page = (ROOT / "docs/gallery.md").read_text(encoding="utf-8")
    shown = re.findall(
        r"^!\[.+\]\(\.\./(.+)\)\n\n```sh\n(?:python|make) .+\n```$", page, flags=re.M
    )
    assert sorted(shown) == sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("results/**/*.png"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pictures_stand_in_paragraphs_of_their_own(page):
    """Else the site takes them for HTML that is none of its business, and leaves their files behind."""
    assert not re.search(r"\S\n?<img |<img .*>\n?\S", page.read_text(encoding="utf-8"))
