"""What a finished training was and reached, for the records of figures 4 and 5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from experiments.records import training_command
from lib.errors import UserError


def finished_run(folder: Path) -> dict[str, Any]:
    """What a finished run was and reached (nats an image): the fields of figures 4 and 5's records.

    Raises UserError where its files are missing or make no sense.
    """
    from lib.runs.metrics import read_metrics

    try:
        config = json.loads((folder / "config.json").read_text())
        results = json.loads((folder / "results.json").read_text())
        settings = config["settings"]
        return {
            "model": settings["model"]["model"],
            "layers": settings["model"]["layers"],
            "iterations": settings["iterations"],
            "best_iteration": results["iteration"],
            "valid": results["valid"],
            "test": results["test"],
            "seconds": round(read_metrics(folder / "metrics.csv")[-1]["seconds"]),
            "seed": settings["seed"],
            "command": training_command(
                settings, config["environment"]["preset"], f"{folder.parent.name}/{folder.name}"
            ),
        }
    except (OSError, ValueError, KeyError, IndexError) as problem:
        raise UserError(f"{folder} is no finished run: {problem}") from problem
