"""The curves on docs/results.md: validation bounds of table 1's trainings, from the records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from studies.publishing.records import PAPER, Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Where the picture is, below the repository.
CURVES = Path("results/mnist/curves.png")

_ABOVE = 12.0  # nats above the lowest bound that are shown: the first bounds tower over all that came later


def curves(records: Mapping[str, Record]) -> Figure:
    """Validation bounds in nats against millions of images seen, and the paper's test bounds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    lowest = []
    for name, record in records.items():
        training = record["training"]
        bounds = training["valid_bounds"]
        images = np.array([int(t) for t in bounds]) * training["batch_size"] / 1e6
        (line,) = axes.plot(images, list(bounds.values()), marker=".", label=name)
        lowest.append(min(bounds.values()))
        if name in PAPER:
            lowest.append(PAPER[name].bound)
            axes.axhline(PAPER[name].bound, color=line.get_color(), linestyle=":", linewidth=1)
    bottom = min(lowest)
    axes.set(
        xscale="log",
        xlabel="images seen, millions",
        ylabel="nats an image",
        ylim=(bottom - 0.5, bottom + _ABOVE),
        title="validation bound; dotted: the paper's test bound",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def draw_curves(root: Path, records: Mapping[str, Record]) -> None:
    """Writes the picture. Raises UserError where it cannot be written."""
    save_figure(root / CURVES, curves(records))


def save_figure(path: Path, figure: Figure) -> None:
    """Writes a figure as a PNG file, whole or not at all. Raises UserError."""
    from pixelvae.machine.files.atomic import atomic_write

    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=90, metadata={"Software": None})
