"""Pictures of models with levels of latents: samples, reconstructions, and one level varied alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.weights import beside, open_data
from lib.errors import UserError

LEVELS = ("top", "middle", "bottom")


def levels_by_name(sampler) -> dict[str, str]:
    """The sampler's levels by what figure 6 calls them; one latent has no middle."""
    names = LEVELS if len(sampler.levels) == 3 else LEVELS[::2]
    return dict(zip(names, sampler.levels))


def sample_grid(sampler, count: int, seed: int) -> np.ndarray:
    """Samples (figures 1 and 7): uint8 (count, C, H, W)."""
    return sampler({level: sampler.noise(seed, "sample", level, count) for level in sampler.levels})


def reconstruction_grid(
    sampler, originals: np.ndarray, draws: int, seed: int, level: str = "top"
) -> np.ndarray:
    """Each original (N, C, H, W), then images generated from its latents of a level (figure 8).

    From the top latent all below is drawn anew; from the bottom one the pixels alone.
    """
    many = np.repeat(originals, draws, axis=0)
    noise = {
        name: sampler.noise(seed, "reconstruction", name, len(many)) for name in sampler.levels
    }
    kept = sampler.top if level == "top" else "z1"
    latents = sampler.posterior(many, kept, noise[kept])
    if kept == sampler.top:
        drawn = sampler({**noise, kept: latents})
    else:
        drawn = sampler.below(latents, noise["pixels"])
    rows = [originals[:, None], drawn.reshape(len(originals), draws, *originals.shape[1:])]
    return np.concatenate(rows, axis=1).reshape(-1, *originals.shape[1:])


def variation_grid(
    sampler, varied: Sequence[str], count: int, scenes: int, seed: int
) -> np.ndarray:
    """For each scene and each level, ``count`` images in which that level's noise alone changes
    (figure 6).
    """
    rows = []
    for scene in range(scenes):
        for level in varied:
            noise = {}
            for name in sampler.levels:
                purpose = f"vary scene {scene}"
                if name == level:
                    noise[name] = sampler.noise(seed, purpose, name, count)
                else:
                    noise[name] = sampler.noise(seed, purpose, name, 1).repeat(count, axis=0)
            rows.append(noise)
    return sampler({name: np.concatenate([r[name] for r in rows]) for name in sampler.levels})


def draw_all(model, dataset, run) -> None:
    """The three pictures of a finished run."""
    from lib.files.pictures import save_grid
    from lib.sampling.levels import LevelSampler

    sampler = LevelSampler(model)
    save_grid(run.path("samples.png"), sample_grid(sampler, 25, seed=0), model.levels)
    originals = dataset.images("test", 0, min(6, dataset.size("test")))
    grid = reconstruction_grid(sampler, originals, 5, seed=0)
    save_grid(run.path("reconstructions.png"), grid, model.levels, columns=6)
    grid = variation_grid(sampler, sampler.levels, 8, 1, seed=0)
    save_grid(run.path("vary.png"), grid, model.levels, columns=8)


def sample(options, model, header) -> None:
    _save(options, model, "samples.png", lambda s: sample_grid(s, options.count, options.seed))


def reconstruct(options, model, header) -> None:
    dataset = open_data(options.data, header, model, options.source)
    originals = dataset.images(options.split, 0, options.count)

    def grid(sampler):
        return reconstruction_grid(sampler, originals, options.draws, options.seed, options.level)

    _save(options, model, "reconstructions.png", grid, columns=1 + options.draws)


def vary(options, model, header) -> None:
    def grid(sampler):
        levels = levels_by_name(sampler)
        if options.level not in (*levels, "all"):
            raise UserError(f"{model.settings.name} has one latent: choose --level top or bottom")
        varied = list(levels.values()) if options.level == "all" else [levels[options.level]]
        return variation_grid(sampler, varied, options.count, options.scenes, options.seed)

    _save(options, model, "vary.png", grid, columns=options.count)


def _save(options, model, name: str, grid, columns: int | None = None) -> None:
    from lib.files.pictures import save_grid
    from lib.sampling.levels import LevelSampler

    out = options.out or beside(options.weights, name)
    save_grid(out, grid(LevelSampler(model, options.sampler)), model.levels, columns=columns)
    print(out)
