"""The curves of a training, from the rows of its metrics.csv."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from pixelvae.experiments.pages.html import INK, svg

if TYPE_CHECKING:
    from pixelvae.lib.units import Unit

Rows = Sequence[Mapping[str, Any]]

_SPLITS = {"train": ("training", "--"), "valid": ("validation", "-")}
_COLOURS = ("#0f7ea8", "#c2571a")  # of the lines, readable on white and on black
_CUT = 0.9  # the share of the values that a panel shows at least, where the first ones tower above the rest


@dataclass(frozen=True)
class Curve:
    """A panel: its title, the drawing, and a caption."""

    title: str
    drawing: Markup
    caption: str


def draw(rows: Rows, unit: Unit) -> Iterator[Curve]:
    """The bound and its parts, in the unit of the rows.

    A KL for each level if there are several.
    """
    if any(row["kl"] for row in rows):
        kls = [name for name in ("kl2", "kl1") if rows[-1].get(name) is not None] or ["kl"]
        yield _curve(rows, unit, "Bound", ["bound"], "Reconstruction + KL.")
        yield _curve(rows, unit, "Reconstruction", ["reconstruction"], "−log p(x|z).")
        title = "KL by level" if len(kls) > 1 else "KL"
        yield _curve(rows, unit, title, kls, "What the latents carry of an image.")
    else:
        yield _curve(rows, unit, "Negative log-likelihood", ["bound"], "Exact: there is no latent.")


def _curve(rows: Rows, unit: Unit, title: str, names: list[str], about: str) -> Curve:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(4.4, 2.9), layout="constrained")
    axes = figure.subplots()
    said, values = [], []
    for name, colour in zip(names, _COLOURS):
        level = f" z{name[2:]}" if len(names) > 1 else ""
        for split, (word, style) in _SPLITS.items():
            chosen = [row for row in rows if row["split"] == split and row[name] is not None]
            x = np.array([row["iteration"] for row in chosen], float)
            y = np.array([row[name] for row in chosen], float)
            axes.plot(
                x, y, style, color=colour, label=f"{word}{level}", linewidth=1.5,
                marker="o" if len(x) < 10 else None, markersize=4,
            )  # fmt: skip
            values.append(y)
            finite = np.flatnonzero(np.isfinite(y))
            if split == "valid" and len(finite):
                last = finite[-1]
                said.append(
                    f"validation{level} {y[last]:.{unit.digits}f} at iteration {x[last]:,.0f}"
                )
    cut = _limit(axes, np.concatenate(values))
    axes.set_xlabel("iteration", color=INK)
    axes.set_ylabel(unit.name, color=INK)
    axes.tick_params(colors=INK)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(_thousands)
    for side, spine in axes.spines.items():
        spine.set(color=INK, visible=side in ("left", "bottom"))
    axes.grid(color=INK, alpha=0.15, linewidth=0.6)
    axes.legend(frameon=False, labelcolor=INK, fontsize="small")
    caption = about + (" Values above the frame are not shown." if cut else "")
    label = "".join(c for c in title if c.isalpha()).lower()
    return Curve(
        title, svg(figure, label, f"{title}: {', '.join(said) or 'no finite value'}"), caption
    )


def _limit(axes, values: np.ndarray) -> bool:
    """Cut high first values off, which would press all others flat. Whether it did."""
    values = np.sort(values[np.isfinite(values)])
    if len(values) < 10:
        return False
    low, shown, high = values[0], values[int(_CUT * (len(values) - 1))], values[-1]
    if high - low < 2 * (shown - low):
        return False
    margin = 0.08 * (shown - low) or 1.0
    axes.set_ylim(low - margin, shown + margin)
    return True


def _thousands(value: float, position: int) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
