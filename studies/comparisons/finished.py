"""What a finished training was and reached, for the records of comparisons."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pixelvae.experiments.experiment import Experiment
from pixelvae.experiments.invocations import training_command
from pixelvae.machine.errors import UserError


def finished_folders(folder: Path) -> list[Path]:
    """The folders of finished runs in a folder, by name. Raises UserError where there are none."""
    folders = sorted(path.parent for path in folder.glob("*/results.json"))
    if not folders:
        raise UserError(f"{folder} holds no finished run")
    return folders


def finished_run(folder: Path, experiment: Experiment, told: Sequence[str] = ()) -> dict[str, Any]:
    """What a finished run was and reached, in the model's unit, for records.

    ``told`` are the settings of the model that the record contains. Raises UserError if files are
    missing or make no sense.
    """
    from pixelvae.lib.runs.metrics import read_metrics

    try:
        config = json.loads((folder / "config.json").read_text())
        results = json.loads((folder / "results.json").read_text())
        settings = config["settings"]
        return {
            **{name: settings["model"][name] for name in told},
            "batch": experiment.family.recipe(settings).batch_size,
            "iterations": settings["iterations"],
            "best_iteration": results["iteration"],
            "valid": results["valid"],
            "test": results["test"],
            "seconds": round(read_metrics(folder / "metrics.csv")[-1]["seconds"]),
            "seed": settings["seed"],
            "command": training_command(
                experiment,
                settings,
                config["environment"]["preset"],
                f"runs/{folder.parent.name}/{folder.name}",
            ),
        }
    except (OSError, ValueError, KeyError, IndexError) as problem:
        raise UserError(f"{folder} is not a finished run: {problem}") from problem
