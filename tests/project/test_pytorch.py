"""The lines of docs/pytorch.md, run by PyTorch in a process of its own, give our bounds."""

from __future__ import annotations

import re
import subprocess

import numpy as np
import pytest

import pixelvae
from benchmarks.harness import ROOT
from pixelvae.lib.model import draw_image_noise

PAGE = (ROOT / "docs/pytorch.md").read_text(encoding="utf-8")
(LINES,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.M | re.S)
AND = """
import numpy as np

with np.load("inputs.npz") as inputs, torch.inference_mode():
    np.save("bounds.npy", bound(*map(torch.from_numpy, (inputs["x"], inputs["noise"]))))
"""


def test_the_lines_of_the_page_compute_our_bounds(python_with_torch, tmp_path, fast_compile):
    m = pixelvae.load("gated-pixelvae-noup")
    m.export(tmp_path / "gated-pixelvae-noup.safetensors")
    x = pixelvae.open_dataset("digits").images("test", 0, 4)
    (noise,) = draw_image_noise(m._model, 0, "test 0", range(len(x)))
    np.savez(tmp_path / "inputs.npz", x=x.astype("float32"), noise=noise)
    done = subprocess.run(
        [python_with_torch, "-c", LINES + AND], cwd=tmp_path, capture_output=True, text=True
    )
    if "No module named 'safetensors'" in done.stderr:
        pytest.skip(f"{python_with_torch} has PyTorch, and no safetensors")
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "bounds.npy"), m.bound(x), rtol=1e-5)
