"""Output whose encoding lacks characters, and file names that are not text."""

from __future__ import annotations

import pytest
from fresh_process import run

PRINT = (
    (
        "import sys; from pixelvae.machine.console.command import ArgumentParser, main\n"
        "from pixelvae.machine.errors import UserError\n"
        "def bound():\n"
        "    print('bound 79.34 ± 0.08 ≤ 80, 28×28, p(z₁)', 'r\\udcffun')\n"
        "    raise UserError('r\\udcffun: ± 3 → ☃')\n"
        "try:\n    ArgumentParser(description='√2 ± 1').parse_args(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "sys.exit(main(bound))"
    )
    .encode("ascii", "backslashreplace")
    .decode()
)


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "ascii:strict"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_ascii_output_is_spelt_and_no_number_lost(variables):
    result = run("-c", PRINT, **variables)
    assert result.returncode == 2
    assert "sqrt 2 +/- 1" in result.stdout
    assert "bound 79.34 +/- 0.08 <= 80, 28x28, p(z_1) r\\udcffun" in result.stdout
    assert result.stderr == "error: r\\udcffun: +/- 3 -> \\u2603\n"


def test_names_that_are_not_text_are_printed_in_utf_8_too():
    result = run("-c", PRINT, PYTHONIOENCODING="utf-8")
    assert "79.34 ± 0.08 ≤ 80" in result.stdout and "r\\udcffun" in result.stdout
