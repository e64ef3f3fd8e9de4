"""The tour runs from top to bottom, and what is committed of it is fit to be read on the web."""

from __future__ import annotations

import nbformat
import pytest

from notebooks.execute import TOUR, execute

THEIRS = ("/home/", "/root/", "/tmp/", "/work/", "Traceback")


@pytest.fixture(scope="module")
def tour():
    return nbformat.read(TOUR, as_version=4)


def kinds(notebook):
    """By cell, which kinds of outputs it has."""
    return [
        {kind for out in cell.outputs for kind in (out.get("data") or {out.output_type: 0})}
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_it_runs_and_shows_what_is_committed(tour, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    again = execute(nbformat.from_dict(tour))
    assert kinds(again) == kinds(nbformat.read(TOUR, as_version=4))
    assert sum("image/png" in kind for kind in kinds(again)) == 5


def test_it_holds_nothing_of_the_machine_it_was_made_on(tour):
    assert TOUR.stat().st_size < 1_000_000
    text = nbformat.writes(tour)
    assert not [word for word in THEIRS if word in text]
    assert all(out.get("name") != "stderr" for c in tour.cells for out in c.get("outputs", ()))
