"""A page of a two-dimensional latent space: where images lie, and what each place decodes to."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pixelvae.experiments.pages.html import png, write_page

if TYPE_CHECKING:
    from pixelvae.lib.model import Model

TEMPLATE = Path(__file__).parent / "templates" / "explore.html"
CELLS = 24  # in a row and in a column of the grid of draws
_INSIDE = 99.5  # per cent of the latents' coordinates that the square shows at least


def write_plane(
    path: Path, model: Model, means: np.ndarray, labels: np.ndarray, about: str, seed: int = 0
) -> Path:
    """Write the page; gives its path. Raises UserError if it cannot be written.

    Parameters
    ----------
    model
        One with two latent dimensions.
    means, labels
        Of each image the mean of q(z|x), (N, 2), and its class, 0 to 9, (N,).
    about
        What images they are.
    """
    from pixelvae.machine.files.pictures import grid_png

    half = _half_side(means)
    draws = draw_grid(model, half, CELLS, seed)
    write_page(
        path, TEMPLATE, name=model.name, about=about, cells=CELLS, half=half,
        scatter=png(_scatter(means, labels, half)),
        sprite=png(grid_png(draws, model.levels, columns=CELLS, scale=1, pad=0)),
        size=(draws.shape[3], draws.shape[2]),
        digits=_legend(means, labels, half), ticks=_ticks(half),
    )  # fmt: skip
    return path


def centres(half: float, cells: int) -> np.ndarray:
    """Middles of the cells of a square from −half to half, by rows from the top: (cells², 2)."""
    across = (np.arange(cells) + 0.5) / cells * 2 * half - half
    z1, z2 = np.meshgrid(across, across[::-1])
    return np.stack([z1.ravel(), z2.ravel()], axis=1).astype("float32")


def draw_grid(model: Model, half: float, cells: int, seed: int) -> np.ndarray:
    """An image drawn from p(x|z) at the middle of each cell: uint8 (cells², C, H, W).

    All with the same random numbers for the pixels, so that z alone differs from one to the next.
    """
    from pixelvae.lib.sampling.images import ImageSampler

    z = centres(half, cells)
    return ImageSampler(model).decode(z, seed, numbers=[0] * len(z))


def _half_side(means: np.ndarray) -> float:
    """Half the side of the square that is shown, around the prior's mean."""
    return float(max(1.0, 1.05 * np.percentile(np.abs(means), _INSIDE)))


def _colours() -> list[str]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colour) for colour in colormaps["tab10"].colors]


def _scatter(means: np.ndarray, labels: np.ndarray, half: float) -> bytes:
    """The images as points on nothing else, which fill the square: a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 8))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-half, half), ylim=(-half, half))
    axes.axis("off")
    size = float(np.clip(30_000 / len(means), 4, 40))
    axes.scatter(*means.T, c=np.array(_colours())[labels], s=size, linewidths=0, alpha=0.75)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100, transparent=True, metadata={"Software": None})
    return file.getvalue()


def _place(z: Sequence[float], half: float) -> tuple[float, float]:
    """Per cent from the left and from the top."""
    return 50 * (1 + float(z[0]) / half), 50 * (1 - float(z[1]) / half)


def _legend(means: np.ndarray, labels: np.ndarray, half: float) -> list[dict[str, Any]]:
    """Each digit with its colour, how many there are, and the place of its name: the median."""
    entries = []
    for digit, colour in enumerate(_colours()):
        chosen = means[labels == digit]
        if len(chosen):
            place = _place(np.median(chosen, axis=0), half)
            entries.append({"name": digit, "colour": colour, "count": len(chosen), "place": place})
    return entries


def _ticks(half: float) -> list[tuple[str, float]]:
    """Whole numbers along an axis, and where they stand, in per cent."""
    step = max(1, round(half / 3))
    values = range(-int(half) // step * step, int(half) + 1, step)
    return [
        (f"{v}".replace("-", "−"), _place((v, 0), half)[0]) for v in values if abs(v) < 0.85 * half
    ]
