"""The command ``python -m benchmarks``: measures, and prints the table."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

from benchmarks import report
from benchmarks.harness import use_avx2
from benchmarks.rows import QUICK, ROWS, Effort, Result
from pixelvae.machine.console.command import ArgumentParser, main
from pixelvae.machine.console.progress import say


def benchmark(arguments) -> None:
    """Measures what is asked for; what is kept goes into docs/ as soon as it is measured."""
    rows: dict[str, report.Row] = {}
    measured: list[Result] = []
    if arguments.avx2:
        use_avx2()
    for name in arguments.rows or ROWS:
        say(f"measuring {name}")
        machine = report.machine()
        results = ROWS[name](effort=QUICK if arguments.quick else Effort())
        if arguments.avx2:
            name += report.AVX2
            machine["instructions"] = "AVX-512 masked off"
            results = [replace(r, what=f"{r.what}, AVX2") for r in results]
        if not arguments.json:
            print(report.table(results, head=not rows), end="", flush=True)
            measured += results
        rows[name] = report.row(machine, results)
        if arguments.keep:
            report.write({name: rows[name]})
    if arguments.json:
        print(json.dumps({"rows": rows}, indent=1))
    elif any("kinds" in r.details for r in measured):
        print("\n" + report.profile(measured), end="")


def parse(words: list[str]):
    """The command line."""
    parser = ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=tuple(ROWS),
        metavar="ROW",
        help=f"only these: {', '.join(ROWS)}",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="write what was measured to docs/, beside the other rows, which stay as they are",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the numbers as JSON, not as a table"
    )
    parser.add_argument(
        "--avx2",
        action="store_true",
        help="as on a machine without AVX-512, in rows of their own",
    )
    parser.add_argument("--quick", action="store_true", help="for trying out: short runs")
    arguments = parser.parse_args(words)
    if arguments.quick and arguments.keep:
        parser.error("short runs are not for keeping (--quick and --keep)")
    return arguments


if __name__ == "__main__":
    sys.exit(main(benchmark, parse(sys.argv[1:])))
