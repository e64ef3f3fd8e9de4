"""The table, and the two files that keep it: docs/performance.md and docs/performance.json."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, torch_python
from benchmarks.profile import KINDS
from benchmarks.rows import ROWS, Result
from pixelvae.lib.runs.environment import environment_record
from pixelvae.machine.backend.device import summary
from pixelvae.machine.files.atomic import atomic_write, user_errors, write_json

PAGE = ROOT / "docs" / "performance.md"
NUMBERS = ROOT / "docs" / "performance.json"
LOAD = "load before"
AVX2 = "-avx2"  #: at the end of the name of a row that was measured without AVX-512
BEGIN, END = "<!-- begin: written by python -m benchmarks -->\n", "<!-- end -->\n"


def machine() -> dict[str, str]:
    """What the numbers depend on.

    Raises UserError where PyTorch is missing.
    """
    record = environment_record()
    versions = record["versions"]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": str(record["git_commit"])[:12],
        "processor": f"{processor()}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "system": record["platform"],
        LOAD: f"{os.getloadavg()[0]:.2f}",
        "here": f"Python {versions['python']}, Theano {versions['theano']}; {summary()}",
        "peer": f"PyTorch {_torch()}",
    }


def processor() -> str:
    """Its name, and how many cores of it this process may use."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def _torch() -> str:
    script = "import torch; print(f'{torch.__version__}; threads: {torch.get_num_threads()}')"
    command = [torch_python(), "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


_HEAD = (
    "| | here | the other | ratio | wanted | met |",
    "| --- | ---: | ---: | ---: | --- | --- |",
)


def table(results: Sequence[Result], head: bool = True) -> str:
    """Markdown, one line for each result."""
    lines = list(_HEAD) if head else []
    for r in results:
        theirs = "" if r.theirs is None else f"{_number(r.theirs)} {r.unit} ({r.peer})"
        ratio = "" if r.ratio is None else f"{r.ratio:.2f}" if r.ratio < 10 else f"{r.ratio:.0f}"
        wanted = met = ""
        if r.at_least is not None and r.ratio is not None:
            wanted, met = f"ratio ≥ {r.at_least}", _yes(r.ratio >= r.at_least)
        if r.at_most is not None:
            wanted, met = f"≤ {r.at_most} {r.unit}", _yes(r.ours <= r.at_most)
        lines.append(
            f"| {r.what} | {_number(r.ours)} {r.unit} | {theirs} | {ratio} | {wanted} | {met} |"
        )
    return "\n".join(lines) + "\n"


def profile(results: Sequence[Result]) -> str:
    """Where the steps' time goes, in percent, and how much they compute: Markdown."""
    steps = {r.what: r for r in results if "kinds" in r.details}
    lines = [
        f"| | GFLOP/s | {' | '.join(KINDS)} |",
        f"| --- | ---: |{' ---: |' * len(KINDS)}",
    ]
    for what, r in steps.items():
        shares = (f"{100 * r.details['kinds'].get(kind, 0):.0f}" for kind in KINDS)
        lines.append(f"| {what} | {r.details['GFLOP'] / r.ours:.0f} | {' | '.join(shares)} |")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 3
    return f"{value:,.{digits}f}"


def _yes(met: bool) -> str:
    return "yes" if met else "**no**"


#: What is kept of a row: the ``machine`` it was measured on, and its ``results``.
Row = dict[str, Any]


def row(machine: Mapping[str, str], results: Sequence[Result]) -> Row:
    """A row as it is kept."""
    return {"machine": dict(machine), "results": [asdict(r) for r in results]}


def write(new: Mapping[str, Row]) -> None:
    """Replaces rows in the JSON file, and writes all of them between the marks of the page.

    Raises UserError if a file cannot be read or written.
    """
    with user_errors(f"cannot read {NUMBERS} and {PAGE}"):
        rows = json.loads(NUMBERS.read_text())["rows"] if NUMBERS.exists() else {}
        before, _, rest = PAGE.read_text().partition(BEGIN)
    rows = {**rows, **new}
    order = [*ROWS, *(f"{name}{AVX2}" for name in ROWS)]
    rows = {name: rows[name] for name in order if name in rows}
    write_json(NUMBERS, {"rows": rows})
    page = f"{before}{BEGIN}\n{describe(rows)}\n{END}{rest.partition(END)[2]}"
    with atomic_write(PAGE) as file:
        file.write(page.encode())


def describe(rows: Mapping[str, Row]) -> str:
    """The table of all rows, and what they were measured on: Markdown."""
    results = [Result(**r) for kept in rows.values() for r in kept["results"]]
    lines = [table(results)]
    if any("kinds" in r.details for r in results):
        lines.append(profile(results))
    machines: dict[tuple, list[tuple[str, str]]] = {}
    for name, kept in rows.items():
        same = tuple((key, value) for key, value in kept["machine"].items() if key != LOAD)
        machines.setdefault(same, []).append((name, kept["machine"][LOAD]))
    for same, measured in machines.items():
        lines.append("Measured on: " + "; ".join(f"{key}: {value}" for key, value in same) + ".")
        loads = ", ".join(f"`{name}` {load}" for name, load in measured)
        lines.append(f"{LOAD.capitalize()}: {loads}.\n")
    return "\n".join(lines)
