"""Pictures of a model: samples, reconstructions, one level varied alone (figures 1, 6 to 11)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pixelvae.machine.errors import UserError
from pixelvae.machine.parallel.world import on_rank_0
from pixelvae.models.family import Pictured

if TYPE_CHECKING:
    from pixelvae.models.weights import Weights

LEVELS = ("top", "middle", "bottom")


@dataclass(frozen=True)
class Picture:
    """Images (N, C, H, W) in a grid of so many columns, by default as many as make it square.

    ``rows`` names the rows, if they have names; the file then holds them too.
    """

    images: np.ndarray
    columns: int | None = None
    rows: Sequence[str] = ()

    def png(self, levels: int, **text: str) -> bytes:
        """The content of a PNG file of images with so many values a pixel, and its text fields."""
        from pixelvae.machine.files.pictures import grid_png

        rows = {"rows": json.dumps(self.rows)} if self.rows else {}
        return grid_png(self.images, levels, self.columns, {**rows, **text})

    def save(self, path: Path, weights: Weights) -> Path:
        """Write that file, which names its weights; gives the path. Raises UserError."""
        from pixelvae.machine.files.pictures import save_png

        on_rank_0(save_png)(path, self.png(weights.model.levels, iteration=str(weights.iteration)))
        return path


class Figures:
    """Pictures of a model, which show as many images as is usual in its family."""

    def __init__(self, model: Any, usual: Pictured, sampler: str = "cached"):
        from pixelvae.lib.sampling.images import ImageSampler

        self._model, self._usual, self._sampler = model, usual, ImageSampler(model, sampler)

    def samples(self, count: int, seed: int) -> Picture:
        """Images drawn from the model (figures 1, 7 and 9)."""
        return Picture(self._sampler.sample(count, seed))

    def reconstructions(
        self, originals: np.ndarray, seed: int, draws: int | None = None, level: str = "top"
    ) -> Picture:
        """Each original, then images from its latent of a level (:func:`reconstruction_grid`).

        As many draws as usual by default: pairs five to a row, as in figure 10, or a
        row for each original, as in figure 8. Raises UserError without a latent.
        """
        draws = draws or self._usual.draws
        grid = reconstruction_grid(self._sampler, originals, draws, seed, level)
        pairs = draws == self._usual.draws == 1
        return Picture(grid, columns=10 if pairs else 1 + draws)

    def variations(self, level: str, count: int, scenes: int, seed: int) -> Picture:
        """Rows in which one level's noise alone changes (figures 6 and 11); ``level`` may be "all".

        Raises UserError if the model has no such level, or no latent.
        """
        if not self._model.latents:
            raise UserError(f"{self._model.name} has no latent to vary: take a model that has one")
        levels = levels_by_name(self._sampler)
        if level not in (*levels, "all"):
            raise UserError(
                f"{self._model.name} has one latent: choose top or bottom", setting="level"
            )
        names = list(levels) if level == "all" else [level]
        varied = [levels[name] for name in names]
        images = variation_grid(self._sampler, varied, count, scenes, seed)
        return Picture(images, columns=count, rows=names * scenes)

    def all(self, dataset) -> Iterator[tuple[str, Picture]]:
        """The pictures of a finished run, by name."""
        yield "samples.png", self.samples(self._usual.samples, seed=0)
        if self._model.latents:
            count = min(self._usual.originals, dataset.size("test"))
            originals = chosen_images(dataset, "test", count)
            yield "reconstructions.png", self.reconstructions(originals, seed=0)
            yield "vary.png", self.variations("all", 8, 1, seed=0)

    def few(self, dataset) -> dict[str, bytes]:
        """PNG files that take little time, by name: samples and, with a latent, reconstructions."""
        pictures = {"samples": self.samples(self._usual.few, seed=0)}
        if self._model.latents:
            count = min(self._usual.few // 2, dataset.size("valid"))
            originals = chosen_images(dataset, "valid", count)
            pictures["reconstructions"] = self.reconstructions(originals, seed=0, draws=1)
        return {name: picture.png(self._model.levels) for name, picture in pictures.items()}


def of(weights: Weights, sampler: str = "cached") -> Figures:
    """What draws the pictures of a model."""
    return Figures(weights.model, weights.family.pictured, sampler)


def draw_all(
    drawer: Figures, weights: Weights, dataset, folder: Path, prefix: str = ""
) -> list[Path]:
    """Draw the pictures of a finished run into a folder, under names with the prefix.

    ``drawer`` draws of these weights' model.
    """
    pictures = drawer.all(dataset)
    return [picture.save(folder / f"{prefix}{name}", weights) for name, picture in pictures]


def chosen_images(dataset, split: str, count: int) -> np.ndarray:
    """So many images of a split, evenly spaced: uint8 (count, C, H, W).

    Raises UserError if it has fewer.
    """
    from pixelvae.lib import evaluation

    return evaluation.read(dataset, split, evaluation.evenly_spaced(dataset, split, count))


def levels_by_name(sampler) -> dict[str, str]:
    """The latents and the pixels by what figure 6 calls their levels; one latent has no middle."""
    names = LEVELS if len(sampler.drawn) == 3 else LEVELS[::2]
    return dict(zip(names, sampler.drawn))


def reconstruction_grid(
    sampler, originals: np.ndarray, draws: int, seed: int, level: str = "top"
) -> np.ndarray:
    """Each original (N, C, H, W), then images drawn given its latent of a level (figures 8 and 10).

    From the top latent all below is drawn again; from the bottom one the pixels alone.
    """
    kept = sampler.drawn[0] if level == "top" else sampler.drawn[-2:][0]
    drawn = sampler.reconstruct(np.repeat(originals, draws, axis=0), seed, kept)
    rows = [originals[:, None], drawn.reshape(len(originals), draws, *originals.shape[1:])]
    return np.concatenate(rows, axis=1).reshape(-1, *originals.shape[1:])


def variation_grid(
    sampler, varied: Sequence[str], count: int, scenes: int, seed: int
) -> np.ndarray:
    """Images in which one level's noise alone changes, ``count`` per scene and level (figure 6)."""
    rows = []
    for scene in range(scenes):
        for level in varied:
            noise = {}
            for name in sampler.drawn:
                purpose = f"vary scene {scene}"
                if name == level:
                    noise[name] = sampler.noise(seed, purpose, name, range(count))
                else:
                    noise[name] = sampler.noise(seed, purpose, name, [0]).repeat(count, axis=0)
            rows.append(noise)
    return sampler({name: np.concatenate([r[name] for r in rows]) for name in sampler.drawn})
