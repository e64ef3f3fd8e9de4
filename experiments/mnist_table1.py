#!/usr/bin/env python
"""Table 1 whole: trains the five models, ships their best weights, and records what they reach.

python experiments/mnist_table1.py train --preset few-cores --out runs/table1
python experiments/mnist_table1.py ship runs/table1/*-vae runs/table1/gated-pixelcnn
python experiments/mnist_table1.py checkpoint runs/table1/conv-vae
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.mnist_pixelvae import PRESETS
from experiments.records import PAPER, training_command
from lib.console.command import ArgumentParser, add_device_options, main, positive_int, use_device
from lib.console.progress import say
from lib.console.stop import GracefulStop
from lib.errors import UserError
from models import MNIST_MODELS

ROOT = Path(__file__).resolve().parents[1]
SUBSET = 1_000  # test images, evenly spaced, on which the tests look a number up that is quickly computed
CHECKPOINT = ("checkpoint.npz", "config.json", "metrics.csv")  # what a training needs to go on
LARGEST_CHECKPOINT = 10_000_000  # bytes, that one may commit


def parse(words: list[str]):
    """The command line."""
    parser = ArgumentParser(prog="mnist_table1.py", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)

    p = commands.add_parser("train", help="train the models, one after another, and evaluate them")
    p.add_argument("--model", dest="models", action="append", choices=MNIST_MODELS,
                   help="only this one (can be given again)")  # fmt: skip
    p.add_argument("--preset", choices=sorted(PRESETS), default="paper")
    p.add_argument("--data", default="binarized_mnist")
    p.add_argument("--out", default="runs/table1", help="a folder with one run a model")
    p.add_argument("--jobs", type=positive_int, default=1, help="trainings at the same time")
    p.add_argument("options", nargs="*", help="after --: more options for each training")
    _evaluation_options(p)
    add_device_options(p)
    p.set_defaults(function=train)

    p = commands.add_parser("ship", help="best weights into pretrained/, records, tables")
    p.add_argument("runs", nargs="+", metavar="RUN")
    _into_option(p)
    _evaluation_options(p)
    p.set_defaults(function=ship)

    p = commands.add_parser("checkpoint", help="unfinished runs into pretrained/checkpoints/")
    p.add_argument("runs", nargs="+", metavar="RUN")
    _into_option(p)
    p.set_defaults(function=keep_checkpoints)
    return parser.parse_args(words)


def _into_option(parser) -> None:
    parser.add_argument("--into", default=ROOT, type=Path, metavar="FOLDER",
                        help="where pretrained/ and results/ are (default: this repository)")  # fmt: skip


def _evaluation_options(parser) -> None:
    parser.add_argument("--importance-samples", type=positive_int, default=500, metavar="S")
    parser.add_argument("--images", type=positive_int, default=200, metavar="M",
                        help="test images of the importance weighting, evenly spaced")  # fmt: skip


def train(arguments) -> int:
    """Trains the models in folders of their own, each resumed where it stopped, then ships them into ``--out``."""
    script = str(ROOT / "experiments" / "mnist_pixelvae.py")
    out = Path(arguments.out)
    runs = {model: out / model for model in arguments.models or MNIST_MODELS}
    where = [f"--device={arguments.device}"] if arguments.device else []
    where += ["--tf32"] if arguments.tf32 else []
    status = run_all(
        [
            [sys.executable, script, "train", "--model", model, "--preset", arguments.preset,
             "--data", arguments.data, "--out", str(run), *where, *arguments.options]
            for model, run in runs.items()
        ],
        arguments.jobs,
    )  # fmt: skip
    if status:
        return status
    arguments.runs, arguments.into = list(runs.values()), out
    use_device(arguments)  # not before: the trainings are processes of their own
    ship(arguments)
    return 0


def run_all(commands: Sequence[Sequence[str]], jobs: int) -> int:
    """Runs commands, ``jobs`` at a time, and gives the first exit status that is not 0.

    After a failure none is started any more; Ctrl-C and SIGTERM are passed on, and those that run save and end.
    """
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    environment = {"PIXELVAE_THREADS": threads, **os.environ}
    running: list[subprocess.Popen] = []
    waiting, status = list(commands), 0
    with GracefulStop() as stop:
        while running or (waiting and not status):
            while waiting and len(running) < jobs and not status:
                say(" ".join(waiting[0]))
                running.append(subprocess.Popen(waiting.pop(0), env=environment))
            time.sleep(0.2)
            if stop.requested and not status:
                status = stop.exit_status
                for process in running:
                    process.terminate()
            status = status or next((p.returncode for p in running if p.poll()), 0)
            running = [p for p in running if p.poll() is None]
    return status


def ship(arguments) -> None:
    """Copies each run's best weights to ``pretrained/NAME.npz``, evaluates them, and writes record, pictures and pages.

    Raises UserError where a folder is no run of a model of table 1.
    """
    from experiments.results import write_pages

    for run in arguments.runs:
        ship_run(Path(run), arguments.into, arguments.importance_samples, arguments.images)
    for path in write_pages(arguments.into):
        say(f"wrote {path}")


def ship_run(run: Path, into: Path, samples: int, images: int) -> dict[str, Any]:
    """One run: weights, pictures and record, which is returned; the record is the last to be written."""
    from datasets.spread import Spread
    from experiments.mnist_pixelvae import load
    from experiments.weights import open_data
    from lib.files.arrays import load_arrays, save_arrays
    from lib.files.atomic import write_json
    from lib.files.pictures import save_grid, side_by_side
    from lib.runs.metrics import read_metrics
    from lib.sampling import reconstruct_images, sample_images

    if not (run / "best.npz").exists():
        raise UserError(f"{run} holds no best.npz: name the folder of a training")
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:  # a training may go on meanwhile
        copy = shutil.copy(run / "best.npz", folder)
        rows = [row for row in read_metrics(run / "metrics.csv") if row["split"] == "valid"]
        model, header = load(copy)
        arrays, _ = load_arrays(copy)
    name = model.settings.model
    say(f"{run}: {name}, weights of iteration {header['iteration']:,}")
    dataset = open_data(None, header, model)
    record = {
        **describe_run(header, rows),
        "parameters": int(model.parameters.count()),
        **measure(model, dataset, samples, images),
        "commands": evaluation_commands(name, min(images, dataset.size("test")), samples),
    }
    record["paper"] = paper_gap(name, record["test"]["bound"])

    for folder in ("pretrained", "results/mnist"):
        (into / folder).mkdir(parents=True, exist_ok=True)
    pictures = into / "results" / "mnist"
    save_grid(pictures / f"{name}-samples.png", sample_images(model, 100, seed=0), model.levels)
    if model.latent_dim:
        originals = Spread(dataset, "test", min(50, dataset.size("test"))).images("test")
        pairs = side_by_side(originals, reconstruct_images(model, originals, seed=0))
        save_grid(pictures / f"{name}-reconstructions.png", pairs, model.levels, columns=10)
    weights = into / "pretrained" / f"{name}.npz"
    save_arrays(weights, {n: a.astype("float32") for n, a in arrays.items()}, header)
    record["weights"] = {
        "file": f"pretrained/{name}.npz",
        "bytes": weights.stat().st_size,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    record["evaluation_seconds"] = round(time.monotonic() - start)
    write_json(pictures / f"{name}.json", record)
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


def evaluation_commands(name: str, images: int, samples: int) -> dict[str, str]:
    """The commands that print the record's numbers; an exact likelihood needs no importance weighting."""
    command = f"python experiments/mnist_pixelvae.py evaluate {name}"
    commands = {"bound": command, "valid": f"{command} --split valid"}
    if name != "gated-pixelcnn":
        commands["weighted"] = f"{command} --images {images} --importance-samples {samples}"
    return commands


def measure(model, dataset, samples: int, images: int) -> dict[str, Any]:
    """Bounds on all validation and test images and on a part of the test images, and the importance-weighted estimate.

    The estimate, nats an image, stands beside the bound on the same images; the mean of their difference (``gain``)
    varies far less than either.
    """
    from experiments.mnist_pixelvae import describe, report
    from lib.evaluation import Bound, Evaluation, ImportanceWeighted

    bound = Bound(model, seed=0)
    numbers: dict[str, Any] = {}
    for split in ("valid", "test"):
        numbers[split] = report(model, split, bound(dataset, split))
        say(describe(numbers[split]))
    size = dataset.size("test")
    numbers["subset"] = report(model, "test", bound(dataset, "test", min(SUBSET, size)))
    if model.latent_dim:
        images = min(images, size)
        weighted = ImportanceWeighted(model, seed=0)(dataset, "test", samples, images)
        there = bound(dataset, "test", images)
        gain = there.values["bound"] - weighted.values["importance_weighted"]
        numbers["weighted"] = report(model, "test", there, weighted, samples)
        numbers["weighted"]["gain"] = Evaluation({"gain": gain}).summary("gain")
        say(describe(numbers["weighted"]))
    return numbers


def paper_gap(name: str, bound: Mapping[str, float]) -> dict[str, float]:
    """The paper's figure, our distance from it, and what the tests hold it to, all in nats.

    ``band`` is the distance plus two standard errors, rounded up to a tenth: the bound of these weights on all test
    images is never further above the paper's figure.
    """
    gap = bound["mean"] - PAPER[name].bound
    return {
        "bound": PAPER[name].bound,
        "gap": round(gap, 2),
        "band": math.ceil(10 * (gap + 2 * bound["se"])) / 10,
    }


def keep_checkpoints(arguments) -> None:
    """Copies what a training needs to go on to ``pretrained/checkpoints/NAME``; raises UserError beyond 10 MB."""
    from lib.files.arrays import load_arrays
    from lib.files.atomic import user_errors

    for run in map(Path, arguments.runs):
        _, header = load_arrays(run / "checkpoint.npz", kind="checkpoint")
        size = sum((run / name).stat().st_size for name in CHECKPOINT)
        if size > LARGEST_CHECKPOINT:
            raise UserError(
                f"{run}: {size:,} bytes are more than the {LARGEST_CHECKPOINT:,} that may be committed"
            )
        folder = (
            arguments.into
            / "pretrained"
            / "checkpoints"
            / header["config"]["settings"]["model"]["model"]
        )
        with user_errors(f"cannot write {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            # The checkpoint first: rows after it are taken back when the training goes on.
            for name in CHECKPOINT:
                shutil.copyfile(run / name, folder / name)
        say(f"{folder}: iteration {header['iteration']:,}, {size:,} bytes")


if __name__ == "__main__":
    options = parse(sys.argv[1:])
    sys.exit(main(options.function, options))
