"""A newcomer who follows a training to its first step passes few files and classes."""

from __future__ import annotations

import json

from fresh_process import run


def test_the_way_from_train_to_its_first_step_is_short(tmp_path):
    prepared = run("-m", "datasets", "prepare", "digits")
    assert prepared.returncode == 0, prepared.stderr
    walked = run(
        "tests/way.py", "train", "--data", "digits", "--layers", "1", "--dim-pix", "2", "--latent-dim", "2",
        "--filter-size", "3", "--batch-size", "5", "--iterations", "1", "--out", str(tmp_path / "run"),
    )  # fmt: skip
    assert walked.returncode == 0, walked.stderr
    way = json.loads(walked.stdout)
    assert "lib/ops/gate.py" in way["files"]
    assert "pixelvae.lib.training.step.TrainingStep" in way["classes"]
    assert len(way["files"]) <= 60, way["files"]
    assert len(way["classes"]) <= 40, way["classes"]
