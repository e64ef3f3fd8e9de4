"""pretrained/README.md, and the tables of trained weights in README.md, from the records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from studies.publishing.photographs_page import photograph
from studies.publishing.records import (
    Record,
    band,
    bound,
    estimate,
    iterations,
    paper,
    size,
    table,
    text,
    training_commands,
    value,
    weighted,
)


def weights_page(records: Mapping[str, Record], photographs: Mapping[str, Record]) -> Iterator[str]:
    """pretrained/README.md."""
    yield "# Trained weights"
    yield ""
    yield text(
        """
        Binarized MNIST, nats an image, test set of 10,000 images, one posterior sample an image, ± standard error
        over images. The importance-weighted estimate (≈) was made in two stages, which
        [docs/results.md](../docs/results.md) explains; S is the number of posterior samples an image. Written by
        `make results` from `results/mnist/`.
        """
    )
    yield ""
    if not records:
        yield "No weights are shipped yet."
    else:
        yield from table(
            ["name", "size", "parameters", "iterations", "validation bound", "test bound", "importance-weighted",
             "paper", "at most above the paper's bound", "command"],
            [
                [f"`{name}`", size(r), f"{r['parameters']:,}", iterations(r), value(r["valid"]["bound"]), bound(r),
                 weighted(r), paper(name), band(r), f"`{r['commands']['bound']}`"]
                for name, r in records.items()
            ],
        )  # fmt: skip
        yield ""
        yield text(
            """
            `sample NAME` and `reconstruct NAME` take the same names. The estimates and the bounds on validation and
            training images are printed by
            """
        )
        yield ""
        yield "```sh"
        for r in records.values():
            yield r["commands"]["valid"]
            yield r["commands"]["train"]
            if "weighted" in r["commands"]:
                yield r["commands"]["weighted"]
        yield "```"
        yield ""
        yield text(
            """
            "At most above the paper's bound" is what `tests/experiments/test_paper_numbers.py` holds the weights to:
            the measured distance plus two standard errors, rounded up to a tenth of a nat. The sizes are smaller than
            the paper's where they are not L = 12, D = 32, K = 64; [docs/results.md](../docs/results.md) tells what
            that costs.
            """
        )
    yield ""
    if photographs:
        yield "## Photographs"
        yield ""
        yield text(
            """
            All test photographs, bits a dimension ([docs/natural-images.md](../docs/natural-images.md)).
            """
        )
        yield ""
        yield from table(
            ["name", "parameters", "iterations", "validation bound", "test bound", "command"],
            [
                [f"`{name}`", f"{r['parameters']:,}", iterations(r), photograph(r, "valid"), photograph(r),
                 f"`{r['commands']['bound']}`"]
                for name, r in photographs.items()
            ],
        )  # fmt: skip
        yield ""
    yield "## Made by"
    yield ""
    yield "```sh"
    for r in records.values():
        yield from training_commands(r)
    yield "python studies/mnist_table1.py ship runs/conv-vae runs/pixelvae ...   # weights, records, this page"
    for name, r in photographs.items():
        yield from training_commands(r)
        yield f"python studies/natural_images.py ship runs/{name}"
    yield "```"
    yield ""
    yield text(
        """
        `python studies/mnist_table1.py train --preset few-cores` trains them all from nothing, with the preset's
        own settings.
        """
    )
    yield ""
    if records:
        yield "## Training them further"
        yield ""
        yield text(
            """
            `--from NAME` begins a training with these weights, at their iteration, rather than with random ones; Adam's
            moments and the average begin anew. The record of what is shipped after that holds both trainings, as one
            curve. The settings must be those of the weights, so the command is the one above:
            """
        )
        yield ""
        yield "```sh"
        name, record = next(iter(records.items()))
        command = record["training"]["command"].partition(" --out ")[0]
        more = 2 * record["training"]["iterations_asked"]
        yield f"{command} --from {name} --iterations {more} --out runs/further"
        yield "```"


def readme_section(
    records: Mapping[str, Record], photographs: Mapping[str, Record]
) -> Iterator[str]:
    """The tables in README.md."""
    if not records:
        yield "No weights are shipped yet."
        return
    yield from table(
        ["name", "size", "test bound, nats", "importance-weighted", "paper"],
        [[f"`{name}`", size(r), bound(r), estimate(r), paper(name)] for name, r in records.items()],
    )
    if photographs:
        yield ""
        yield from table(
            ["name", "parameters", "test bound, bits/dim"],
            [
                [f"`{name}`", f"{r['parameters']:,}", photograph(r)]
                for name, r in photographs.items()
            ],
        )
