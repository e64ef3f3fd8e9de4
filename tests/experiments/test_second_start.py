"""With a full compile cache, no command calls the C++ compiler."""

from __future__ import annotations

import numpy as np
from fresh_process import output

PROGRAM = """
import contextlib, importlib, io
import pixelvae.lib
from pixelvae.machine.backend import compat

names = []

def count(cmodule):
    compile_str = cmodule.GCC_compiler.compile_str
    def counting(*arguments, **options):
        code = options.get("src_code") or arguments[1]
        names.append(" ".join(line for line in code.splitlines() if "// Op class" in line))
        return compile_str(*arguments, **options)
    cmodule.GCC_compiler.compile_str = staticmethod(counting)

compat.after("theano.gof.cmodule", count)
for experiment, *words in COMMANDS:
    program = importlib.import_module(f"pixelvae.experiments.{experiment}")
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
        assert program.main(program.EXPERIMENT, words) == 0, said.getvalue()
print(len(names), *names)
"""


def test_nothing_is_compiled_at_a_second_start(tmp_path):
    images = np.random.RandomState(0).randint(0, 256, (6, 3, 16, 16)).astype("uint8")
    np.savez(tmp_path / "colour.npz", train=images, valid=images, test=images)
    small = ["--iterations", "2", "--batch-size", "3", "--eval-every", "2"]
    mnist = ["--preset", "quick", "--layers", "1", "--dim-pix", "4", "--data", "digits"]
    colour = [
        "--preset",
        "tiny",
        "--statistics-batches",
        "2",
        "--data",
        str(tmp_path / "colour.npz"),
    ]
    counts = []
    for turn in ("first", "second"):
        run, tiny = str(tmp_path / turn / "mnist"), str(tmp_path / turn / "tiny")
        commands = [
            ["mnist_pixelvae", "train", *mnist, *small, "--out", run],
            ["mnist_pixelvae", "evaluate", run],
            ["mnist_pixelvae", "sample", run],
            ["mnist_pixelvae", "reconstruct", run],
            ["imagenet64", "train", *colour, *small, "--out", tiny],
        ]
        counts.append(output(f"COMMANDS = {commands!r}\n{PROGRAM}"))
    assert counts[1] == "0"
