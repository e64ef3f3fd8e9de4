"""What a terminal or a pipe with few characters is given: some spelling of all that we print."""

from __future__ import annotations

import codecs
import sys

_SPELLINGS = {
    "±": "+/-", "≤": "<=", "≥": ">=", "≈": "~", "×": "x", "·": "*", "−": "-", "–": "-", "—": "-", "…": "...",
    "→": "->", "σ": "sigma", "μ": "mu", "β": "beta", "ε": "epsilon", "Δ": "Delta", "ψ": "psi", "²": "^2",
    "§": "section ", "α": "alpha", "Σ": "sum", "√": "sqrt ", "½": "1/2", "₀": "_0", "₁": "_1", "₂": "_2", "‖": "||",
    "‘": "'", "’": "'", "“": '"', "”": '"', "ü": "ue", "ö": "oe", "ä": "ae", "ß": "ss", "é": "e",
}  # fmt: skip


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    spelt = (_SPELLINGS.get(c) or ascii(c)[1:-1] for c in letters)
    return "".join(spelt), error.end


codecs.register_error("pixelvae.spell", _spell)


def print_anything() -> None:
    """Let standard output and error spell what their encoding lacks; a number is not lost for a "±" before it.

    File names that are not text, in which Python keeps the odd bytes as surrogates, are printed as ``\\udcff``.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a notebook or a test has put its own
            stream.reconfigure(errors="pixelvae.spell")
