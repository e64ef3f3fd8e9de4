"""Broken and hostile files, some hundreds a parser; `make fuzz` feeds thousands."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import fuzzing
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelvae.datasets.binarized_mnist import amat_problem
from pixelvae.datasets.decoding import decode
from pixelvae.datasets.mnist import idx_problem
from pixelvae.datasets.own import open_npz
from pixelvae.machine.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def test_thousands_of_broken_files():
    """In a process of its own, whose memory is limited."""
    command = [sys.executable, "tests/fuzzing.py", "--count", "250", "--seed", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" 250 inputs, ") == 16 and " 0 refused" not in done.stdout


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (ZeroDivisionError(), "ZeroDivisionError"),
        (TimeoutError(), "TimeoutError"),
        (UserError("two\nlines"), "more than a line"),
        (UserError("one line"), None),
    ],
)
def test_fuzzing_sees_what_is_wrong(tmp_path, monkeypatch, problem, words):
    def read(content):
        if content != b"good":
            raise problem

    monkeypatch.setattr(fuzzing, "parsers", lambda folder: {"some": (b"good", read)})
    refused, wrong = fuzzing.fuzz(5, 0, tmp_path)["some"]
    assert len(wrong) == (5 if words else 0) and all(words in line for line in wrong)


def claiming(shape: tuple) -> bytes:
    """An array's file that says it has this shape, and has 16 bytes."""
    out = io.BytesIO()
    claim = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, claim)
    return out.getvalue() + bytes(16)


@pytest.mark.parametrize(
    "shape", [(1 << 60,), (1 << 40, 1, 1), (1 << 30, 1 << 30, 1 << 30), (-1, 2, 2)]
)
def test_images_that_claim_to_be_huge(tmp_path, shape):
    path = tmp_path / "hostile.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for split in ("train", "valid", "test"):
            archive.writestr(f"{split}.npy", claiming(shape))
    with pytest.raises(UserError, match="hostile.npz (needs more memory|is damaged)"):
        open_npz(path)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=3000))
def test_bytes_without_sense_are_no_data(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "nonsense"
    path.write_bytes(content)
    assert amat_problem(path, 2) and idx_problem(path, (2, 28, 28)) and idx_problem(path, (5,))
    with pytest.raises(UserError, match="nonsense is damaged or no .npz file"):
        open_npz(path)
    with pytest.raises(ValueError, match="is empty|is damaged or no PNG image"):
        decode(content, "PNG")


@settings(max_examples=15, deadline=None)
@given(
    lines=st.lists(
        st.lists(st.sampled_from("01"), min_size=784, max_size=784), min_size=1, max_size=2
    )
)
def test_every_binary_image_is_accepted(tmp_path_factory, lines):
    path = tmp_path_factory.getbasetemp() / "good.amat"
    path.write_text("".join(" ".join(line) + "\n" for line in lines))
    assert amat_problem(path, len(lines)) is None
    assert "has too few lines" in amat_problem(path, len(lines) + 1)
