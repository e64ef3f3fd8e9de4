"""The command ``python -m benchmarks``: measures, and prints the table."""

from __future__ import annotations

import json
import sys

from benchmarks import report
from benchmarks.rows import QUICK, ROWS, Effort, Result
from lib.console.command import ArgumentParser, main
from lib.console.progress import say


def benchmark(arguments) -> None:
    """Measures what is asked for; only a whole run, at full length, is written to docs/."""
    machine = report.machine()
    results: dict[str, list[Result]] = {}
    for name in arguments.rows or ROWS:
        say(f"measuring {name}")
        new = ROWS[name](effort=QUICK if arguments.quick else Effort())
        if not arguments.json:
            print(report.table(new, head=not results), end="", flush=True)
        results[name] = new
    if arguments.json:
        print(json.dumps(report.as_json(machine, results), indent=1))
    if not (arguments.rows or arguments.quick):
        report.write(machine, results)
        say(f"written: {report.PAGE} and {report.NUMBERS}")


def parse(words: list[str]):
    """The command line."""
    parser = ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--rows", nargs="+", choices=tuple(ROWS), metavar="ROW",
        help="only these, and write no file: " + ", ".join(ROWS),
    )  # fmt: skip
    parser.add_argument(
        "--json", action="store_true", help="print the numbers as JSON, not as a table"
    )
    parser.add_argument(
        "--quick", action="store_true", help="for trying out: short runs, and write no file"
    )
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main(benchmark, parse(sys.argv[1:])))
