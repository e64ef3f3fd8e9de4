"""The curves on the pages of results: validation bounds of trainings, from the records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from studies.publishing.records import PAPER, Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Where the pictures are, below the repository.
CURVES = Path("results/mnist/curves.png")
PHOTOGRAPHS_CURVES = Path("results/photographs/bounds.png")


def curves(
    records: Mapping[str, Record], unit: str = "nats an image", above: float = 12.0
) -> Figure:
    """Validation bounds against millions of images seen, and the paper's test bounds.

    Those further than ``above`` over the lowest are not shown: the first bounds tower over all that
    came later.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    lowest, papers = [], PAPER.keys() & records.keys()
    for name, record in records.items():
        training = record["training"]
        bounds = training["valid_bounds"]
        before = training.get("before", {})
        begun = before["best_iteration"] if "weights" in before else 0  # as another model
        images = (np.array([int(t) for t in bounds]) - begun) * training["batch_size"] / 1e6
        (line,) = axes.plot(images, list(bounds.values()), marker=".", label=name)
        lowest.append(min(bounds.values()))
        if name in PAPER:
            lowest.append(PAPER[name].bound)
            axes.axhline(PAPER[name].bound, color=line.get_color(), linestyle=":", linewidth=1)
    bottom = min(lowest)
    axes.set(
        xscale="log",
        xlabel="images seen, millions",
        ylabel=unit,
        ylim=(bottom - above / 24, bottom + above),
        title="validation bound" + ("; dotted: the paper's test bound" if papers else ""),
    )
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def draw_curves(
    root: Path, records: Mapping[str, Record], photographs: Mapping[str, Record]
) -> None:
    """Writes the pictures of which there are records.

    Raises UserError where one cannot be written.
    """
    if records:
        save_figure(root / CURVES, curves(records))
    if photographs:
        save_figure(root / PHOTOGRAPHS_CURVES, curves(photographs, "bits/dim", 1.0))


def save_figure(path: Path, figure: Figure) -> None:
    """Writes a figure as a PNG file, whole or not at all. Raises UserError."""
    from pixelvae.machine.files.atomic import atomic_write

    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=90, metadata={"Software": None})
