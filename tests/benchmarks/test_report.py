"""What is kept of measurements: a row by itself, beside the others."""

from __future__ import annotations

import json

import pytest
from command_lines import error

from benchmarks import __main__ as command
from benchmarks import report
from benchmarks.rows import Result
from pixelvae.machine.console.command import main


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The files of an earlier run of two rows, and rows that are quickly measured."""
    monkeypatch.setattr(report, "NUMBERS", tmp_path / "performance.json")
    monkeypatch.setattr(report, "PAGE", tmp_path / "performance.md")
    monkeypatch.setattr(report, "machine", lambda: {"date": "today", report.LOAD: "0.50"})
    (tmp_path / "performance.md").write_text(f"before\n{report.BEGIN}old\n{report.END}after\n")
    old = {"date": "yesterday", report.LOAD: "0.25"}
    rows = {n: report.row(old, [Result(n, "s", 2.0, 5.0, ratio=2.5)]) for n in ("bound", "growth")}
    report.write(rows)
    for name in ("step-tiny", "bound"):
        results = [Result(name, "s", 1.0, 4.0, ratio=4.0, at_least=1.2)]
        monkeypatch.setitem(command.ROWS, name, lambda effort, results=results: results)
    return tmp_path


def measure(*words):
    return main(command.benchmark, command.parse(list(words)))


def test_rows_are_kept_beside_the_others(kept):
    assert measure("--rows", "bound", "step-tiny", "--keep") == 0
    rows = json.loads((kept / "performance.json").read_text())["rows"]
    assert list(rows) == ["step-tiny", "bound", "growth"]  # as `make bench` has them
    dates = [rows[name]["machine"]["date"] for name in rows]
    assert dates == ["today", "today", "yesterday"]
    assert [rows[name]["results"][0]["ratio"] for name in rows] == [4.0, 4.0, 2.5]
    page = (kept / "performance.md").read_text()
    assert page.startswith("before\n") and page.endswith("after\n") and "old" not in page
    assert "| bound | 1.000 s | 4.000 s (PyTorch) | 4.00 | ratio ≥ 1.2 | yes |" in page
    assert "Measured on: date: yesterday." in page and "`growth` 0.25" in page


def test_rows_without_avx512_are_kept_beside_those_with_it(kept, monkeypatch):
    used = []
    monkeypatch.setattr(command, "use_avx2", lambda: used.append(True))
    assert measure("--rows", "bound", "--avx2", "--keep") == 0 and used == [True]
    rows = json.loads((kept / "performance.json").read_text())["rows"]
    assert list(rows) == ["bound", "growth", "bound-avx2"]
    assert rows["bound"]["machine"]["date"] == "yesterday"
    page = (kept / "performance.md").read_text()
    assert "| bound, AVX2 | 1.000 s |" in page and "AVX-512 masked off" in page


def test_rows_are_printed_and_not_kept(kept, capsys):
    before = (kept / "performance.json").read_bytes()
    assert measure("--rows", "bound", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["rows"]["bound"]["machine"] == {"date": "today", report.LOAD: "0.50"}
    assert (kept / "performance.json").read_bytes() == before


def test_short_runs_are_not_kept(kept, capsys):
    with pytest.raises(SystemExit) as stop:
        command.parse(["--quick", "--keep"])
    assert stop.value.code == 2 and "not for keeping" in error(capsys)


def test_the_committed_page_is_that_of_the_committed_numbers():
    rows = json.loads(report.NUMBERS.read_text())["rows"]
    inside = report.PAGE.read_text().partition(report.BEGIN)[2].partition(report.END)[0]
    assert inside == f"\n{report.describe(rows)}\n"
