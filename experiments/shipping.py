"""From a training's folder to trained weights in ``pretrained/``, a record and pictures in ``results/``."""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import figures
from experiments.experiment import check_fits, trained_on
from experiments.records import read_json, training_command
from experiments.report import Stages, describe, describe_stages, is_known, report
from lib.console.progress import say
from lib.errors import UserError
from lib.parallel.world import on_rank_0, world
from models.registry import MNIST
from models.table1 import VARIANTS, Row

SUBSET = 1_000  # test images, evenly spaced, on which the tests look a number up that is quickly computed
CHECKPOINT = ("checkpoint.npz", "config.json", "metrics.csv")  # what a training needs to go on
LARGEST_CHECKPOINT = 10_000_000  # bytes, that one may commit


def ship_run(run: Path, into: Path, stages: Stages) -> dict[str, Any]:
    """One run: weights, pictures and record, which is returned; the record is the last to be written.

    Ranks share the evaluation.
    """
    from datasets import open_dataset
    from lib.runs.metrics import read_metrics
    from models.weights import load, read

    if not (run / "best.npz").exists():
        raise UserError(f"{run} holds no best.npz: name the folder of a training")
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:  # a training may go on meanwhile
        copy = shutil.copy(run / "best.npz", folder)
        rows = world().on_first(read_metrics, run / "metrics.csv")
        rows = [row for row in rows if row["split"] == "valid"]
        weights = load(copy, MNIST)
        arrays, header = read(copy)
    name = weights.model.name
    say(f"{run}: {name}, weights of iteration {header['iteration']:,}")
    dataset = open_dataset(trained_on(weights))
    check_fits(dataset, weights)
    record = {
        **describe_run(header, rows),
        "parameters": int(weights.model.parameters.count()),
        **evaluated(weights, dataset, stages),
    }
    pictures = into / "results" / "mnist"
    pictures.mkdir(parents=True, exist_ok=True)
    figures.draw_all(weights, dataset, pictures, f"{name}-")
    record["evaluation_seconds"] = round(time.monotonic() - start)
    return _write(into, name, record, arrays, header)


def measure_again(name: str, into: Path, stages: Stages) -> dict[str, Any]:
    """The record of shipped weights with its numbers measured anew, after the evaluation has changed.

    Weights and pictures stay. Raises UserError if there is no record, or it is of other weights.
    """
    from datasets import open_dataset
    from lib.files.atomic import write_json
    from models.weights import load

    start = time.monotonic()
    path = into / "results" / "mnist" / f"{name}.json"
    record = world().on_first(read_json, path)
    if record is None:
        raise UserError(f"there is no {path}: ship the weights first")
    file = into / record["weights"]["file"]
    weights = load(str(file), MNIST)
    if hashlib.sha256(file.read_bytes()).hexdigest() != record["weights"]["sha256"]:
        raise UserError(f"{file} holds other weights than those of {path}: ship them")
    dataset = open_dataset(trained_on(weights))
    check_fits(dataset, weights)
    record.update(evaluated(weights, dataset, stages))
    record["evaluation_seconds"] = round(time.monotonic() - start)
    world().on_first(write_json, path, record)
    return record


@on_rank_0
def _write(into: Path, name: str, record: dict[str, Any], arrays, header) -> dict[str, Any]:
    from lib.files.arrays import save_arrays
    from lib.files.atomic import write_json

    file = into / "pretrained" / f"{name}.npz"
    file.parent.mkdir(parents=True, exist_ok=True)
    save_arrays(file, {n: a.astype("float32") for n, a in arrays.items()}, header)
    record["weights"] = {
        "file": f"pretrained/{name}.npz",
        "bytes": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    write_json(into / "results" / "mnist" / f"{name}.json", record)
    return record


def describe_run(header: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What was trained, and how: from the header of the weights and the validation rows of ``metrics.csv``.

    Raises UserError where there are no rows.
    """
    if not rows:
        raise UserError("the run has no evaluation in its metrics.csv yet")
    settings, environment = header["config"]["settings"], header["config"]["environment"]
    size = {
        key: settings["model"][key] for key in ("layers", "dim_pix", "latent_dim", "filter_size")
    }
    few = [*rows[:: math.ceil(len(rows) / 10)], rows[-1]]
    return {
        "model": settings["model"]["model"],
        "preset": environment["preset"],
        "size": size,
        "data": settings["data"],
        "training": {
            "command": training_command(settings, environment["preset"]),
            "seed": settings["seed"],
            "batch_size": settings["batch_size"],
            "iterations_asked": settings["iterations"],
            "iterations": rows[-1]["iteration"],
            "best_iteration": header["iteration"],
            "seconds": round(rows[-1]["seconds"]),
            "backend": environment["backend"],
            "cpu_count": environment["cpu_count"],
            "git_commit": environment["git_commit"],
            "valid_bounds": {str(row["iteration"]): round(row["bound"], 2) for row in few},
        },
    }  # fmt: skip


def evaluation_commands(name: str, stages: Stages) -> dict[str, str]:
    """The commands that print the record's numbers; an exact likelihood needs no importance weighting."""
    command = f"python experiments/mnist_pixelvae.py evaluate {name}"
    commands = {"bound": command, "valid": f"{command} --split valid"}
    if VARIANTS[name].latent:
        commands["weighted"] = (
            f"{command} --importance-samples {stages.samples} --images {stages.images} "
            f"--few-samples {stages.few}"
        )
    return commands


def evaluated(weights, dataset, stages: Stages) -> dict[str, Any]:
    """What a record says of weights: their numbers, the commands that print them, and the paper's."""
    name = weights.model.name
    stages = stages._replace(images=min(stages.images, dataset.size("test")))
    numbers = measure(weights, dataset, stages)
    commands = evaluation_commands(name, stages)
    paper = VARIANTS[name].paper
    gap = {} if paper is None else {"paper": paper_gap(paper, numbers["test"]["bound"])}
    return {**numbers, "commands": commands, **gap}


def measure(weights, dataset, stages: Stages) -> dict[str, Any]:
    """Bounds on all validation and test images and on a part of the test images, and the importance-weighted estimate.

    All in nats an image.
    """
    from lib.evaluation import Bound, ImportanceWeighted

    model: Any = weights.model
    bound = Bound(model, seed=0)
    numbers: dict[str, Any] = {}
    for split in ("valid", "test"):
        numbers[split] = report(weights, split, bound(dataset, split))
        say(describe(numbers[split]))
    size = dataset.size("test")
    numbers["subset"] = report(weights, "test", bound(dataset, "test", min(SUBSET, size)))
    if model.latent_dim:
        weigh = ImportanceWeighted(model, seed=0).in_two_stages
        numbers["weighted"] = weigh(dataset, "test", *stages).summary()
        say(describe_stages(numbers["weighted"], model.unit.name))
    return numbers


def paper_gap(paper: Row, bound: Mapping[str, float]) -> dict[str, float]:
    """The paper's figure, our distance from it, and what the tests hold it to, all in nats.

    ``band`` is the distance plus two standard errors, rounded up to a tenth: the bound of these weights on all test
    images is never further above the paper's figure.
    """
    gap, se = bound["mean"] - paper.bound, bound["se"] if is_known(bound["se"]) else 0.0
    return {
        "bound": paper.bound,
        "gap": round(gap, 2),
        "band": math.ceil(10 * (gap + 2 * se)) / 10,
    }


@on_rank_0
def keep_checkpoint(run: Path, into: Path) -> None:
    """Copies what a training needs to go on to ``pretrained/checkpoints/NAME``; raises UserError beyond 10 MB."""
    from lib.files.arrays import load_arrays
    from lib.files.atomic import user_errors

    _, header = load_arrays(run / "checkpoint.npz", kind="checkpoint")
    size = sum((run / name).stat().st_size for name in CHECKPOINT)
    if size > LARGEST_CHECKPOINT:
        raise UserError(
            f"{run}: {size:,} bytes are more than the {LARGEST_CHECKPOINT:,} that may be committed"
        )
    folder = into / "pretrained" / "checkpoints" / header["config"]["settings"]["model"]["model"]
    with user_errors(f"cannot write {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        # The checkpoint first: rows after it are taken back when the training goes on.
        for name in CHECKPOINT:
            shutil.copyfile(run / name, folder / name)
    say(f"{folder}: iteration {header['iteration']:,}, {size:,} bytes")
