#!/usr/bin/env python
"""The paper's results beside ours: writes their pages and the tables of trained weights from the records.

python experiments/results.py

Reads ``results/`` alone: no data set, no weights. What has no record is left out, and a line says so.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from experiments.photographs_page import photograph, photographs_page
from experiments.records import (
    ROOT,
    Record,
    band,
    bound,
    estimate,
    iterations,
    paper,
    read_photographs,
    read_records,
    size,
    table,
    text,
    training_commands,
    value,
    weighted,
)
from experiments.results_curves import draw_curves
from experiments.results_page import results_page
from lib.console.command import main
from lib.console.progress import say
from lib.parallel.world import on_rank_0

BEGIN = "<!-- trained weights: experiments/results.py writes the lines up to the end mark -->"
END = "<!-- end of trained weights -->"


def pages(root: Path) -> dict[Path, str]:
    """The text of every page that is made from records, by its path under ``root``."""
    records, photographs = read_records(root), read_photographs(root)
    texts = {
        Path("docs/results.md"): "\n".join(results_page(root, records)) + "\n",
        Path("docs/natural-images.md"): "\n".join(photographs_page(root)) + "\n",
        Path("pretrained/README.md"): "\n".join(weights_page(root, records, photographs)) + "\n",
    }
    readme = root / "README.md"
    whole = readme.read_text(encoding="utf-8") if readme.exists() else ""
    if BEGIN in whole and END in whole:
        before, after = whole.split(BEGIN)[0], whole.split(END)[1]
        section = "\n".join([BEGIN, *readme_section(records, photographs), END])
        texts[Path("README.md")] = before + section + after
    return texts


@on_rank_0
def write_pages(root: Path) -> None:
    """Writes all pages and the picture of the curves. Raises UserError where one cannot be written."""
    from lib.files.atomic import atomic_write, user_errors

    if records := read_records(root):
        draw_curves(root, records)
    for path, page in pages(root).items():
        with user_errors(f"cannot write {root / path}"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(root / path) as file:
            file.write(page.encode())
        say(f"wrote {root / path}")


def weights_page(
    root: Path, records: Mapping[str, Record], photographs: Mapping[str, Record]
) -> Iterator[str]:
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
    yield "python experiments/mnist_table1.py ship runs/conv-vae runs/pixelvae ...   # weights, records, this page"
    for name, r in photographs.items():
        yield from training_commands(r)
        yield f"python experiments/natural_images.py ship runs/{name}"
    yield "```"
    yield ""
    yield text(
        """
        `python experiments/mnist_table1.py train --preset few-cores` trains them all from nothing, with the preset's
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


if __name__ == "__main__":
    sys.exit(main(write_pages, ROOT))
