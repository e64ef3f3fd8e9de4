"""The table, and the two files that keep it: docs/performance.md and docs/performance.json."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, torch_python
from benchmarks.rows import Result
from lib.backend.summary import summary
from lib.errors import UserError
from lib.files.atomic import atomic_write, write_json
from lib.runs.environment import environment_record

PAGE = ROOT / "docs" / "performance.md"
NUMBERS = ROOT / "docs" / "performance.json"
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
        "load before": f"{os.getloadavg()[0]:.2f}",
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
    done = subprocess.run([torch_python(), "-c", script], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{torch_python()} cannot import torch: make bench installs it")
    return done.stdout.strip()


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


def _number(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 3
    return f"{value:,.{digits}f}"


def _yes(met: bool) -> str:
    return "yes" if met else "**no**"


def as_json(machine: Mapping[str, str], results: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    """The machine, and each row's results under its name."""
    rows = {name: [asdict(r) for r in row] for name, row in results.items()}
    return {"machine": machine, "rows": rows}


def write(machine: Mapping[str, str], results: Mapping[str, Sequence[Result]]) -> None:
    """Puts the numbers into the JSON file, and between the marks of the page."""
    write_json(NUMBERS, as_json(machine, results))
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    lines = [result for row in results.values() for result in row]
    described = "\n".join(f"* {name}: {value}" for name, value in machine.items())
    page = f"{before}{BEGIN}\n{table(lines)}\n{described}\n\n{END}{after}"
    with atomic_write(PAGE) as file:
        file.write(page.encode())
