#!/usr/bin/env python
"""The paper's MNIST results beside ours: writes docs/results.md and the tables of trained weights from the records.

python experiments/results.py

Reads ``results/`` alone: no data set, no weights. What has no record is left out, and a line says so.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.console import main  # noqa: E402
from models import MNIST_MODELS  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A row of table 1, nats an image: the bound (or exact likelihood) and the importance-weighted estimate."""

    title: str
    bound: float
    weighted: float | None = None
    exact: bool = False

    def __str__(self) -> str:
        bound = f"{'=' if self.exact else '≤'} {self.bound:.2f}"
        return f"≈ {self.weighted:.2f} ({bound})" if self.weighted else bound


#: The authors' own rows of table 1.
PAPER = {
    "conv-vae": Row("Convolutional VAE", 87.41),
    "pixelvae": Row("PixelVAE", 80.64),
    "gated-pixelcnn": Row("Gated PixelCNN", 80.10, exact=True),
    "gated-pixelvae": Row("Gated PixelVAE", 80.02, 79.48),
    "gated-pixelvae-noup": Row("Gated PixelVAE without upsampling", 79.58, 78.96),
}
#: What table 1 quotes from others.
PUBLISHED = (
    ("DRAW (Gregor et al., 2016)", "≤ 80.97"),
    ("Discrete VAE (Rolfe, 2016)", "= 81.01"),
    ("IAF VAE (Kingma et al., 2016)", "≈ 79.88"),
    ("PixelCNN (van den Oord et al., 2016a)", "= 81.30"),
    ("PixelRNN (van den Oord et al., 2016a)", "= 79.20"),
    ("VLAE (Chen et al., 2016)", "= 79.03"),
)
#: Pairs of which the paper's first is better.
ORDERINGS = (("pixelvae", "conv-vae"), ("gated-pixelvae", "pixelvae"))

BEGIN = "<!-- trained weights: experiments/results.py writes the lines up to the end mark -->"
END = "<!-- end of trained weights -->"


def read_records(root: Path) -> dict[str, Record]:
    """The records of ``mnist_table1.py ship``, by model, in the order of table 1."""
    files = {name: root / "results" / "mnist" / f"{name}.json" for name in MNIST_MODELS}
    return {name: read_json(file) for name, file in files.items() if file.exists()}


def read_json(file: Path) -> Any:
    """A record's content; None where there is no such file."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def pages(root: Path) -> dict[Path, str]:
    """The text of every page that is made from records, by its path under ``root``."""
    records = read_records(root)
    texts = {
        Path("docs/results.md"): "\n".join(results_page(root, records)) + "\n",
        Path("pretrained/README.md"): "\n".join(weights_page(records)) + "\n",
    }
    readme = root / "README.md"
    whole = readme.read_text(encoding="utf-8") if readme.exists() else ""
    if BEGIN in whole and END in whole:
        before, after = whole.split(BEGIN)[0], whole.split(END)[1]
        section = "\n".join([BEGIN, *readme_section(records), END])
        texts[Path("README.md")] = before + section + after
    return texts


def write_pages(root: Path) -> list[Path]:
    """Writes all pages and gives their paths. Raises UserError where one cannot be written."""
    from lib.files import atomic_write, user_errors

    written = []
    for path, page in pages(root).items():
        with user_errors(f"cannot write {root / path}"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(root / path) as file:
            file.write(page.encode())
        written.append(root / path)
    return written


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def text(block: str) -> str:
    """An indented block of Markdown without its indentation."""
    return textwrap.dedent(block).strip("\n")


def value(numbers: Mapping[str, float]) -> str:
    """Mean and standard error."""
    return f"{numbers['mean']:.2f} ± {numbers['se']:.2f}"


def size(record: Record) -> str:
    """L, D and K, where the model has them."""
    s = record["size"]
    parts = []
    if record["model"] != "conv-vae":
        parts.append(f"L = {s['layers']}, D = {s['dim_pix']}")
    if record["model"] != "gated-pixelcnn":
        parts.append(f"K = {s['latent_dim']}")
    return ", ".join(parts)


def iterations(record: Record) -> str:
    """Of the best weights, and of how many where the training is unfinished."""
    training = record["training"]
    done, asked = training["iterations"], training["iterations_asked"]
    best = f"{training['best_iteration']:,}"
    return best if done == asked else f"{best} (of {asked:,}, unfinished)"


def bound(record: Record) -> str:
    """On all test images."""
    exact = record["test"]["bound"].get("exact")
    return f"{'=' if exact else '≤'} {value(record['test']['bound'])}"


def weighted(record: Record) -> str:
    """The importance-weighted estimate, with samples and images."""
    if "weighted" not in record:
        return "exact" if record["test"]["bound"].get("exact") else "not measured"
    w = record["weighted"]["importance_weighted"]
    return f"≈ {value(w)} (S = {w['samples']:,}, {record['weighted']['images']:,} images)"


def estimate(record: Record) -> str:
    """Importance-weighted, for the whole test set: the bound of all images less the gain on some."""
    if "weighted" not in record:
        return "exact" if record["test"]["bound"].get("exact") else "not measured"
    whole, gain = record["test"]["bound"], record["weighted"]["gain"]
    error = (whole["se"] ** 2 + gain["se"] ** 2) ** 0.5
    return "≈ " + value({"mean": whole["mean"] - gain["mean"], "se": error})


def duration(seconds: float) -> str:
    """In hours or minutes."""
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def weights_page(records: Mapping[str, Record]) -> Iterator[str]:
    """pretrained/README.md."""
    yield "# Trained weights"
    yield ""
    yield text(
        """
        Binarized MNIST, nats an image, test set of 10,000 images, one posterior sample an image, ± standard error
        over images. The importance-weighted estimate (≈) is of fewer images, spread evenly over the test set, which
        is sorted by digit; S is the number of posterior samples an image. Written by `make results` from
        `results/mnist/`.
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
                 weighted(r), str(PAPER[name]), f"{r['paper']['band']:.1f}", f"`{r['commands']['bound']}`"]
                for name, r in records.items()
            ],
        )  # fmt: skip
        yield ""
        yield text(
            """
            `sample NAME` and `reconstruct NAME` take the same names. The estimates and validation bounds are printed
            by
            """
        )
        yield ""
        yield "```sh"
        for r in records.values():
            yield r["commands"]["valid"]
            if "weighted" in r["commands"]:
                yield r["commands"]["weighted"]
        yield "```"
        yield ""
        yield text(
            """
            "At most above the paper's bound" is what `tests/test_paper_numbers.py` holds the weights to: the measured
            distance plus two standard errors, rounded up to a tenth of a nat. The sizes are smaller than the paper's
            where they are not L = 12, D = 32, K = 64; [docs/results.md](../docs/results.md) tells what that costs.
            """
        )
    yield ""
    yield "## Made by"
    yield ""
    yield "```sh"
    for r in records.values():
        yield r["training"]["command"]
    yield "python experiments/mnist_table1.py ship runs/conv-vae runs/pixelvae ...   # weights, records, this page"
    yield "```"
    yield ""
    yield "`python experiments/mnist_table1.py train --preset few-cores` does all of it from nothing."
    yield ""
    yield "## Unfinished trainings"
    yield ""
    yield text(
        """
        `python experiments/mnist_table1.py checkpoint RUN` keeps what a training needs to go on (parameters,
        optimiser state, metrics; at most 10 MB) in `checkpoints/NAME/`. To go on, with the training's own command:
        """
    )
    yield ""
    yield "```sh"
    yield "cp -r pretrained/checkpoints/NAME runs/NAME && cp pretrained/NAME.npz runs/NAME/best.npz"
    yield "python experiments/mnist_pixelvae.py train --model NAME --preset few-cores --out runs/NAME"
    yield "```"


def readme_section(records: Mapping[str, Record]) -> Iterator[str]:
    """The table in README.md."""
    if not records:
        yield "No weights are shipped yet."
        return
    yield from table(
        ["name", "size", "test bound, nats", "importance-weighted", "paper"],
        [
            [f"`{name}`", size(r), bound(r), estimate(r), str(PAPER[name])]
            for name, r in records.items()
        ],
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
    yield from _figure4(root)
    yield from _figure5(root)
    yield from _pictures(root, records)
    yield from _differences(records)


def _table1(records: Mapping[str, Record]) -> Iterator[str]:
    yield "## Table 1"
    yield ""
    rows = []
    for name, row in PAPER.items():
        r = records.get(name)
        ours = (
            [bound(r), estimate(r), f"{r['paper']['gap']:+.2f}", size(r)]
            if r
            else ["", "", "", "not trained yet"]
        )
        rows.append([f"{row.title} (`{name}`)", str(row), *ours])
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
            Importance weighting takes long, so it was done on part of the test images, evenly spaced (the test set is
            sorted by digit). What stands above is the bound of all images less the gain on that part, the mean of
            bound − estimate of the same images, which varies far less from image to image than either:
            """
        )
        yield ""
        yield from table(
            ["model", "S", "images", "bound there", "estimate there", "gain", "estimate for the test set"],
            [
                [f"`{name}`", f"{r['weighted']['importance_weighted']['samples']:,}",
                 f"{r['weighted']['images']:,}", value(r["weighted"]["bound"]),
                 value(r["weighted"]["importance_weighted"]), value(r["weighted"]["gain"]), estimate(r)]
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
            error = (x["se"] ** 2 + y["se"] ** 2) ** 0.5
            rows.append(
                [
                    f"`{b}` − `{a}`",
                    f"{PAPER[b].bound - PAPER[a].bound:.2f}",
                    f"{y['mean'] - x['mean']:.2f} ± {error:.2f}",
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
        ["model", "parameters", "best / asked iterations", "images seen", "time", "KL, test", "evaluation took"],
        [
            [f"`{name}`", f"{r['parameters']:,}",
             f"{r['training']['best_iteration']:,} / {r['training']['iterations_asked']:,}",
             f"{r['training']['iterations'] * r['training']['batch_size'] / 1e6:.2f} million",
             duration(r["training"]["seconds"]), value(r["test"]["kl"]) if "kl" in r["test"] else "no latent",
             duration(r["evaluation_seconds"])]
            for name, r in records.items()
        ],
    )  # fmt: skip
    yield ""
    yield text(
        """
        Times are those of the training loop with its evaluations, one process of one thread each unless the record
        says otherwise, on a machine with other work on its cores. Validation bounds on the way:
        """
    )
    yield ""
    for name, r in records.items():
        steps = ", ".join(f"{int(t):,}: {b:.2f}" for t, b in r["training"]["valid_bounds"].items())
        yield f"* `{name}`: {steps}"
    yield ""
    yield "```sh"
    for r in records.values():
        yield r["training"]["command"]
    yield "```"
    yield ""


def _figure4(root: Path) -> Iterator[str]:
    yield "## Figure 4: few autoregressive layers"
    yield ""
    runs = read_json(root / "results" / "figure4" / "figure4.json")
    if not runs:
        yield "There is no record of it yet (`results/figure4/figure4.json`)."
        yield ""
        return
    yield text(
        """
        The paper finds that with few layers PixelVAE is far ahead of PixelCNN (4a), and that its KL drops sharply
        from no autoregressive layer to one (4b).
        """
    )
    yield ""
    yield from _drawings(root, "figure4")
    rows = []
    for run in runs:
        test = run["test"]
        rows.append([
            f"`{run['model']}`", str(run["autoregressive_layers"]), f"{run['iterations']:,}", value(test["bound"]),
            value(test["reconstruction"]), value(test["kl"]) if test.get("kl") else "",
        ])  # fmt: skip
    yield from table(
        ["model", "autoregressive layers", "iterations", "test bound", "reconstruction", "KL"], rows
    )
    yield ""
    yield "```sh"
    for run in runs:
        yield run["command"]
    yield "python experiments/mnist_layers.py record runs/layers"
    yield "```"
    yield ""


def _figure5(root: Path) -> Iterator[str]:
    yield "## Figure 5: two latent dimensions"
    yield ""
    runs = read_json(root / "results" / "figure5" / "figure5.json")
    if not runs:
        yield "There is no record of it yet (`results/figure5/figure5.json`)."
        yield ""
        return
    runs = runs["runs"] if isinstance(runs, dict) and "runs" in runs else runs
    yield text(
        """
        The test set's latent means by digit, and the error of a k-nearest-neighbour classifier on them, k chosen on
        the validation set. The paper: 22.9 % for the convolutional VAE, 7.2 % for PixelVAE.
        """
    )
    yield ""
    yield from _drawings(root, "figure5")
    if isinstance(runs, dict):
        runs = [{"model": name, **run} for name, run in runs.items()]
    yield from table(
        ["model", "iterations", "k", "validation error", "test error", "bound"],
        [
            [f"`{run['model']}`", f"{run['iterations']:,}", str(run["k"]), percent(run["valid_error"]),
             percent(run["test_error"]), number(run["bound"])]
            for run in runs
        ],
    )  # fmt: skip
    yield ""
    yield "```sh"
    for run in runs:
        yield run["command"]
    yield "python experiments/mnist_latents.py record runs/latents"
    yield "```"
    yield ""


def percent(error: float) -> str:
    """An error from 0 to 1."""
    return f"{100 * error:.1f} %"


def number(quantity: Any) -> str:
    """With its standard error where it has one."""
    return value(quantity) if isinstance(quantity, Mapping) else f"{quantity:.2f}"


def _drawings(root: Path, name: str) -> Iterator[str]:
    for picture in sorted((root / "results" / name).glob("*.png")):
        yield f"![{picture.stem}](../results/{name}/{picture.name})"
        yield ""


def _pictures(root: Path, records: Mapping[str, Record]) -> Iterator[str]:
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
        yield text(
            f"""
            * **Size.** The `few-cores` models have L = 4 of 12 autoregressive layers, D = 16 of 32 channels and
              K = 32 of 64 latent dimensions.
            * **Length.** The paper's recipe is 200,000 iterations of 100 images, 20 million in all. The `few-cores`
              models saw {min(seen):.1f} to {max(seen):.1f} million. {last} of these {len(few)} had their best
              validation bound at their last evaluation, so part of each gap is time; these runs do not tell how much.
            * **Recipe.** Batches of 40, a learning rate of 2e-3 that falls as 1/√t after 5,000 iterations, averaged
              weights, and a KL warm-up of 5,000 iterations instead of 10,000 ([fidelity.md](fidelity.md)).
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
    weighed = [
        r["weighted"]["importance_weighted"]["samples"] for r in records.values() if "weighted" in r
    ]
    if weighed:
        yield text(
            f"""
            * **Importance weighting.** S = {min(weighed):,} instead of 5,000 samples and part of the test set, evenly
              spaced. Fewer samples can only make the estimate worse (larger) on average.
            """
        )
    yield "* **One seed each.** The standard errors are over images and say nothing about another training's result."


def command() -> None:
    """Writes the pages into this repository."""
    for path in write_pages(ROOT):
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    sys.exit(main(command))
