"""The paper's MNIST numbers, the records of ours in ``results/``, and how both are written."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.mnist_pixelvae import PRESETS
from models import MNIST_MODELS

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


def read_records(root: Path) -> dict[str, Record]:
    """The records of ``mnist_table1.py ship``, by model, in the order of table 1."""
    files = {name: root / "results" / "mnist" / f"{name}.json" for name in MNIST_MODELS}
    return {name: read_json(file) for name, file in files.items() if file.exists()}


def read_json(file: Path) -> Any:
    """A record's content; None where there is no such file."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


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


def training_command(settings: Mapping[str, Any], preset: str, out: str | None = None) -> str:
    """The command that trains with these settings: the preset, and what differs from it.

    ``out`` is the folder under runs/, the model's name by default.
    """
    model = settings["model"]["model"]
    words = ["python experiments/mnist_pixelvae.py train", f"--model {model} --preset {preset}"]
    words.append(f"--data {settings['data']['name']}")
    chosen = {**settings["model"], **settings}
    for name, value in PRESETS[preset].items():
        if chosen[name] != value:
            words.append(f"--{name.replace('_', '-')} {chosen[name]}")
    if settings["seed"]:
        words.append(f"--seed {settings['seed']}")
    return " ".join([*words, f"--out runs/{out or model}"])
