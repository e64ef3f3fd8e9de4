"""The notebooks run from top to bottom, and what is committed of them is fit to be read on the web."""

from __future__ import annotations

import nbformat
import pytest

from notebooks.execute import NOTEBOOKS, execute

THEIRS = ("/home/", "/root/", "/tmp/", "/work/", "Traceback")
PICTURES = {"levels": 6, "tour": 5}

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def kinds(notebook):
    """By cell, which kinds of outputs it has."""
    return [
        {kind for out in cell.outputs for kind in (out.get("data") or {out.output_type: 0})}
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_it_runs_and_shows_what_is_committed(path, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    committed = kinds(nbformat.read(path, as_version=4))
    assert kinds(execute(nbformat.read(path, as_version=4))) == committed
    assert sum("image/png" in kind for kind in committed) == PICTURES[path.stem]


def test_it_holds_nothing_of_the_machine_it_was_made_on(path):
    assert path.stat().st_size < 1_000_000
    notebook = nbformat.read(path, as_version=4)
    text = nbformat.writes(notebook)
    assert not [word for word in THEIRS if word in text]
    assert all(out.get("name") != "stderr" for c in notebook.cells for out in c.get("outputs", ()))
