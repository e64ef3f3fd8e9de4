"""The figures on docs/results.md, from the records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from studies.publishing.records import Record, groups, over_seeds, read_json, table, text, value


def figure4(root: Path) -> Iterator[str]:
    """PixelVAE against PixelCNN by layers, from ``results/figure4``."""
    yield from _figure(
        root,
        "figure4",
        "Figure 4: few autoregressive layers",
        """
        The paper finds that with few layers PixelVAE is far ahead of PixelCNN (4a), and that its KL drops sharply
        from no autoregressive layer to one (4b). Means over seeds, ± the standard error over images; the spread is
        the largest bound of a seed less the smallest.
        """,
        _layers,
        "python studies/mnist_layers.py record runs/layers",
    )


def figure5(root: Path) -> Iterator[str]:
    """Two latent dimensions, from ``results/figure5``."""
    yield from _figure(
        root,
        "figure5",
        "Figure 5: two latent dimensions",
        """
        The test set's latent means by digit, and the error of a k-nearest-neighbour classifier on them, k chosen on
        the validation set. The paper: 22.9 % for the convolutional VAE, 7.2 % for PixelVAE. How many layers PixelVAE
        has matters much here, and so does the seed: see [fidelity.md](fidelity.md).
        """,
        _errors,
        "python studies/mnist_latents.py record runs/latents",
    )


def _figure(
    root: Path,
    name: str,
    heading: str,
    about: str,
    numbers: Callable[[Sequence[Record]], Iterator[str]],
    command: str,
) -> Iterator[str]:
    """A figure's section: what it shows, its drawings, its numbers, and the commands that made it."""
    yield f"## {heading}"
    yield ""
    record = f"results/{name}/{name}.json"
    runs = read_json(root / record)
    if not runs:
        yield f"There is no record of it yet (`{record}`)."
        yield ""
        return
    yield text(about)
    yield ""
    for picture in sorted((root / "results" / name).glob("*.png")):
        yield f"![{picture.stem}](../results/{name}/{picture.name})"
        yield ""
    yield from numbers(runs)
    yield "```sh"
    for run in runs:
        yield run["command"]
    yield command
    yield "```"
    yield ""


def _layers(runs: Sequence[Record]) -> Iterator[str]:
    rows = []
    for (model, layers), same in groups(runs, "model", "autoregressive_layers"):
        bounds = [run["test"]["bound"]["mean"] for run in same]
        rows.append([
            f"`{model}`", str(layers), f"{same[0]['iterations']:,}", str(len(same)),
            value(over_seeds(same, "bound")), f"{max(bounds) - min(bounds):.2f}" if len(same) > 1 else "",
            value(over_seeds(same, "reconstruction")), value(over_seeds(same, "kl")) if "kl" in same[0]["test"] else "",
        ])  # fmt: skip
    yield from table(
        ["model", "autoregressive layers", "iterations", "seeds", "test bound", "spread", "reconstruction", "KL"],
        rows,
    )  # fmt: skip
    yield ""


def _errors(runs: Sequence[Record]) -> Iterator[str]:
    rows = [
        [f"`{run['model']}`", f"{run['iterations']:,}", str(run["seed"]), str(run["k"]), percent(run["valid_error"]),
         percent(run["test_error"]), value(run["bound"])]
        for run in runs
    ]  # fmt: skip
    yield from table(
        ["model", "iterations", "seed", "k", "validation error", "test error", "bound"], rows
    )
    yield ""
    for (model,), same in groups(runs, "model"):
        if len(same) > 1:
            errors = [run["test_error"] for run in same]
            yield (
                f"Test error of `{model}` over {len(same)} seeds: {percent(mean(errors))} on average, standard "
                f"deviation {percent(stdev(errors))}."
            )
            yield ""


def percent(error: float) -> str:
    """An error from 0 to 1."""
    return f"{100 * error:.1f} %"


def pictures(root: Path, records: Mapping[str, Record]) -> Iterator[str]:
    """Samples and reconstructions, from ``results/mnist`` (figures 9 and 10)."""
    folder = root / "results" / "mnist"
    for figure, word, kind in (
        ("Figure 9: samples", "sample", "samples"),
        ("Figure 10: reconstructions", "reconstruct", "reconstructions"),
    ):
        yield f"## {figure}"
        yield ""
        drawn = [name for name in records if (folder / f"{name}-{kind}.png").exists()]
        if not drawn:
            yield "There are no pictures yet."
            yield ""
            continue
        if kind == "samples":
            yield text(
                """
                Binary draws, seed 0. The paper shows a PixelVAE with a receptive field of 7 pixels and PixelCNNs of 7
                and 11; these are the models of table 1 above.
                """
            )
        else:
            yield text(
                """
                Columns alternate: a test image, and a draw of the decoder from a posterior sample of its latent (seed
                0).
                """
            )
        yield ""
        for name in drawn:
            yield f"`python experiments/mnist_pixelvae.py {word} {name}`"
            yield ""
            yield f"![{kind} of {name}](../results/mnist/{name}-{kind}.png)"
            yield ""
