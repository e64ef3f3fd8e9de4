"""The convolutions' C++ under AddressSanitizer and UndefinedBehaviorSanitizer, with wide vectors and without."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pixelvae.lib.ops.native import HEADERS
from pixelvae.machine.backend.compiler import CURE

SOURCE = Path(__file__).with_name("memory.cpp")
SANITIZE = "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"


def build(program: Path, source: Path, march: str) -> bool:
    command = ["g++", "-O2", "-fopenmp", f"-march={march}", CURE, *SANITIZE, f"-I{HEADERS}"]
    return subprocess.run([*command, source, "-o", program]).returncode == 0


@pytest.mark.parametrize("march", ["native", "haswell"])
def test_nothing_else_is_read_or_written(march, tmp_path):
    empty = tmp_path / "empty.cpp"
    empty.write_text("int main() { return 0; }")
    if (
        not build(tmp_path / "empty", empty, march)
        or subprocess.run([tmp_path / "empty"]).returncode
    ):
        pytest.skip(f"no g++ that sanitises, or not for {march}")
    assert build(tmp_path / "memory", SOURCE, march)
    done = subprocess.run([tmp_path / "memory"], capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[:2000]
