"""docs/results.md: every MNIST table and figure of the paper beside ours, from the records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pixelvae.experiments.report import combined, duration
from pixelvae.models.mnist.table1 import ORDERINGS, PUBLISHED, VARIANTS
from studies.publishing.mnist_curves import CURVES
from studies.publishing.mnist_figures import figure4, figure5, pictures
from studies.publishing.race_section import race
from studies.publishing.records import (
    PAPER,
    RACES,
    Record,
    bound,
    estimate,
    paper,
    read_json,
    size,
    table,
    text,
    training_commands,
    value,
)


def results_page(root: Path, records: Mapping[str, Record]) -> Iterator[str]:
    """docs/results.md."""
    yield "# MNIST: the paper's results beside ours"
    yield ""
    yield text(
        """
        Written by `make results` from the records in `results/`; no number here is typed by hand. All are nats an
        image on the fixed binarization of MNIST, ± the standard error over images. ≤ is the bound with one posterior
        sample an image, ≈ the importance-weighted estimate, = an exact likelihood.
        """
    )
    yield ""
    yield from _table1(records)
    yield from _runs(records)
    yield from _races(root)
    yield from figure4(root)
    yield from figure5(root)
    yield from pictures(root, records)
    yield from _differences(records)


def _table1(records: Mapping[str, Record]) -> Iterator[str]:
    yield "## Table 1"
    yield ""
    rows = []
    for name, variant in VARIANTS.items():
        r = records.get(name)
        ours = ["", "", "", "not trained yet"]
        if r:
            gap = f"{r['paper']['gap']:+.2f}" if "paper" in r else ""
            ours = [bound(r), estimate(r), gap, size(r)]
        rows.append([f"{variant.title} (`{name}`)", paper(name), *ours])
    rows += [[title, number, "", "", "", ""] for title, number in PUBLISHED]
    yield from table(
        [
            "model",
            "paper, test",
            "ours, test (10,000 images)",
            "ours, importance-weighted",
            "bound, ours − paper's",
            "our size",
        ],
        rows,
    )
    yield ""
    yield text(
        """
        The paper's sizes are L = 12, D = 32, K = 64 and its estimates are of S = 5,000 samples an image. The command
        for a bound is `python experiments/mnist_pixelvae.py evaluate NAME`;
        [pretrained/README.md](../pretrained/README.md) has all of them.
        """
    )
    estimated = {name: r for name, r in records.items() if "weighted" in r}
    if estimated:
        yield ""
        yield text(
            """
            Importance weighting takes long, so it was done in two stages: with few samples of each test image, and on
            part of the images, evenly spaced (the test set is sorted by digit), with S. By how much S samples lower the
            estimate of the same image varies far less from image to image than the estimate itself, so the mean of
            this gain, taken from the first stage's mean, tells what S samples of all images would give:
            """
        )
        yield ""
        yield from table(
            ["model", "few", "estimate of all images", "S", "gain", "on images", "S samples of all images", "command"],
            [
                [f"`{name}`", str(r["weighted"]["few"]["samples"]), value(r["weighted"]["few"]),
                 f"{r['weighted']['gain']['samples']:,}", value(r["weighted"]["gain"]),
                 f"{r['weighted']['gain']['images']:,}", estimate(r), f"`{r['commands']['weighted']}`"]
                for name, r in estimated.items()
            ],
        )  # fmt: skip
    yield ""
    compared = [(a, b) for a, b in ORDERINGS if a in records and b in records]
    if compared:
        yield text(
            """
            The paper's orderings, as differences of test bounds (± as if the two were measured on different images,
            which overstates the error):
            """
        )
        yield ""
        rows = []
        for a, b in compared:
            x, y = (records[n]["test"]["bound"] for n in (a, b))
            difference = {"mean": y["mean"] - x["mean"], "se": combined(x["se"], y["se"])}
            rows.append(
                [
                    f"`{b}` − `{a}`",
                    f"{PAPER[b].bound - PAPER[a].bound:.2f}",
                    value(difference),
                ]
            )
        yield from table(["difference", "paper", "ours"], rows)
        yield ""


def _runs(records: Mapping[str, Record]) -> Iterator[str]:
    if not records:
        return
    yield "## The trainings"
    yield ""
    yield from table(
        ["model", "parameters", "best / asked iterations", "images seen", "time", "training bound",
         "validation bound", "KL, test", "evaluation took"],
        [
            [f"`{name}`", f"{r['parameters']:,}",
             f"{r['training']['best_iteration']:,} / {r['training']['iterations_asked']:,}",
             f"{r['training']['iterations'] * r['training']['batch_size'] / 1e6:.2f} million",
             duration(r["training"]["seconds"]), value(r["train"]["bound"]),
             value(r["valid"]["bound"]), value(r["test"]["kl"]) if "kl" in r["test"] else "no latent",
             duration(r["evaluation_seconds"])]
            for name, r in records.items()
        ],
    )  # fmt: skip
    yield ""
    yield text(
        """
        Times are those of the training loop with its evaluations, one process of one thread each unless the record
        says otherwise, on a machine with other work on its cores. Training bounds are of the weights that are shipped,
        on as many training images as there are for validation, evenly spaced. Bounds on the way are `valid_bounds` in
        `results/mnist/NAME.json`, by iteration. Where a training went on from shipped weights, with Adam's moments and
        the average begun anew, the curve rises first.
        """
    )
    yield ""
    yield f"![validation bounds](../{CURVES.as_posix()})"
    yield ""
    yield "```sh"
    for r in records.values():
        yield from training_commands(r)
    yield "```"
    yield ""


def _races(root: Path) -> Iterator[str]:
    for file in sorted((root / RACES).glob("*.json")):
        yield f"## A race of settings: `{file.stem}`"
        yield ""
        yield from race(read_json(file), digits=2)
        yield ""


def _sizes(records: Sequence[Record]) -> str:
    """The smaller sizes beside the paper's, each with the models that have it."""
    by_size: dict[str, list[str]] = {}
    for r in records:
        by_size.setdefault(size(r), []).append(f"`{r['model']}`")
    ours = "; ".join(f"{', '.join(names)}: {what}" for what, names in by_size.items())
    return f"The paper's models have L = 12, D = 32, K = 64. Ours are smaller: {ours}."


def _differences(records: Mapping[str, Record]) -> Iterator[str]:
    yield "## What differs from the paper"
    yield ""
    if not records:
        yield "Nothing has been trained yet."
        return
    few = [r for r in records.values() if r["preset"] == "few-cores"]
    if few:
        seen = [r["training"]["iterations"] * r["training"]["batch_size"] / 1e6 for r in few]
        last = sum(r["training"]["best_iteration"] == r["training"]["iterations"] for r in few)
        ahead = [r["valid"]["bound"]["mean"] - r["train"]["bound"]["mean"] for r in few]
        yield text(
            f"""
            * **Size.** {_sizes(few)}
            * **Length.** The paper's recipe is 200,000 iterations of 100 images, 20 million in all. The `few-cores`
              models saw {min(seen):.1f} to {max(seen):.1f} million. {last} of these {len(few)} had their best
              validation bound at their last evaluation; but training bounds are below validation bounds by
              {min(ahead):.1f} to {max(ahead):.1f} nats, and where that is much, more time alone gains little.
            * **Recipe.** The one for few cores: small batches, a learning rate that falls as 1/√t, averaged weights,
              and a shorter KL warm-up ([fidelity.md](fidelity.md)). The commands above say what differs from it.
            """
        )
    if all("device: cpu" in r["training"]["backend"] for r in records.values()):
        yield text(
            """
            * **Processor time.** No GPU was used. The trainings shared a CPU of two cores with other work, so the
              times above are an upper limit of what a quiet machine needs.
            """
        )
    if len({r["training"]["best_iteration"] for r in records.values()}) > 1:
        yield text(
            """
            * **Unequal lengths.** The models were not trained equally long (table of the trainings), so the
              differences between rows are not those of the models alone.
            """
        )
    samples = {n: r["weighted"]["gain"]["samples"] for n, r in records.items() if "weighted" in r}
    fewer = [f"S = {s:,} for `{name}`" for name, s in samples.items() if s < 5_000]
    if fewer:
        yield text(
            f"""
            * **Importance weighting.** Instead of 5,000 samples, {", ".join(fewer)}. Fewer samples can only make the
              estimate worse (larger) on average.
            """
        )
    yield "* **One seed each.** The standard errors are over images and say nothing about another training's result."
