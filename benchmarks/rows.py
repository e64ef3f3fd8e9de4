"""What is measured: the lines of the table in docs/performance.md."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.harness import Worker, alternate, ours, pytorch
from pixelvae.lib.model import draw_noise
from pixelvae.machine.backend.flags import joined
from pixelvae.machine.console.progress import say
from pixelvae.machine.files.arrays import save_arrays
from pixelvae.models.hierarchical.model import HierarchicalModel
from pixelvae.models.hierarchical.presets import SETTINGS, TRAINING
from pixelvae.models.mnist.model import MnistModel, Settings

BATCH = 100
COMPILED = "PyTorch, compiled"
PIXELS = 28 * 28


@dataclass(frozen=True)
class Effort:
    """How long to measure, and how much of what takes too long to be done in whole."""

    turns: int = 5
    turn_seconds: float = 1.5
    samples: int = 300
    naive_pixels: int = 4
    steps: int = 1000


QUICK = Effort(turns=2, turn_seconds=0.2, samples=100, naive_pixels=1, steps=100)


@dataclass(frozen=True)
class Result:
    """One line: our value, the peer's, and how many times better ours is.

    ``at_least`` is the target ratio, ``at_most`` the target for our value. ``details`` go into the
    JSON file alone.
    """

    what: str
    unit: str
    ours: float
    theirs: float | None = None
    peer: str = "PyTorch"
    ratio: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    details: dict = field(default_factory=dict)


def training_step(
    what: str,
    job: str,
    make_files: Callable,
    peers: Sequence[str] = ("PyTorch", COMPILED),
    *,
    effort: Effort,
) -> list[Result]:
    """Our step, PyTorch's, and PyTorch's compiled, by turns: medians of all repetitions."""
    with make_files() as files:
        message = {"job": job, **files}
        told = [message, *({**message, "compiled": peer == COMPILED} for peer in peers)]
        commands = [ours(), *(pytorch() for _ in peers)]
        seconds, idle = _by_turns(what, commands, told, effort)
    own, *others = map(median, seconds)
    return [
        Result(
            f"training step, {what}", "s", own, theirs, peer, theirs / own, 1.2,
            details={"seconds": [seconds[0], s], "idle CPU": idle},
        )
        for peer, theirs, s in zip(peers, others, seconds[1:])
    ]  # fmt: skip


def preset_step(name: str, batches: Sequence[int], *more, effort: Effort) -> list[Result]:
    """A larger model's step, at each of these batch sizes."""
    return [
        result
        for batch in batches
        for result in training_step(
            f"`{name}`, batch {batch}",
            "preset_step",
            partial(preset_files, name, batch),
            *more,
            effort=effort,
        )
    ]


def _by_turns(what: str, commands, messages, effort: Effort) -> tuple[list[list[float]], float]:
    seconds, idle = alternate(commands, messages, effort.turns, effort.turn_seconds)
    if idle > 0.02:
        say(f"{what}: a worker that waited used {idle:.0%} of a core, which spoils the numbers")
    return seconds, round(idle, 4)


def side_by_side(
    what: str,
    settings: Settings,
    job: str,
    at_least: float | None = None,
    peer: str = "PyTorch",
    peer_job: str | None = None,
    *,
    effort: Effort,
) -> list[Result]:
    """Two workers that take turns: medians of all repetitions."""
    names = [job, peer_job or job]
    commands = [ours(), pytorch() if peer == "PyTorch" else ours()]
    # What a job gets besides the files, and how much of the whole it then does.
    sizes = {
        "importance": ({"samples": effort.samples}, effort.samples),
        "cached_sampling": ({"pixels": PIXELS}, 1),
        "naive_sampling": ({"pixels": effort.naive_pixels}, effort.naive_pixels / PIXELS),
    }
    told, parts = zip(*(sizes.get(name, ({}, 1)) for name in names))
    with batch_files(settings) as files:
        messages = [{"job": name, **files, **more} for name, more in zip(names, told)]
        seconds, idle = _by_turns(what, commands, messages, effort)
    own, other = (median(s) / part for s, part in zip(seconds, parts))
    details = {"seconds": seconds, "parts": parts, "idle CPU": idle}
    if job == "importance":
        values = ("passes/s", 1 / own, 1 / other)
    else:
        values = ("s", own, other)
    return [Result(what, *values, peer, other / own, at_least, details=details)]


def first_step(what: str, settings: Settings, *, effort: Effort) -> list[Result]:
    """From the start of a process to the end of its first training step."""
    with batch_files(settings) as files, tempfile.TemporaryDirectory() as cache:
        flags = {
            "THEANO_FLAGS": f"{os.environ['THEANO_FLAGS']},{joined({'base_compiledir': cache})}"
        }
        empty = _first_step(ours(), files, flags)
        full = _first_step(ours(), files, flags)
        theirs = _first_step(pytorch(), files)
    return [
        Result(f"{what}, compile cache empty", "s", empty, theirs, at_most=60),
        Result(f"{what}, compile cache full", "s", full, theirs, at_most=6),
    ]


def _first_step(command, files, environment=None) -> float:
    start = time.perf_counter()
    with Worker(command, environment) as worker:
        worker.ask(job=_STEP, **files, repeat=1)
        return time.perf_counter() - start


def peak_memory(cases: Sequence[tuple[str, str, Callable]], *, effort: Effort) -> list[Result]:
    """Peak memory of a process that compiles and trains, by what, job and files of each case."""
    results = []
    for what, job, make_files in cases:
        peaks = []
        with make_files() as files:
            for command in (ours(), pytorch()):
                with Worker(command) as worker:
                    peaks.append(worker.ask(job=job, **files, repeat=3)["peak_memory"])
        here, theirs = peaks
        results.append(
            Result(f"peak memory of training, {what}", "MiB", here, theirs, ratio=theirs / here, at_least=1)
        )  # fmt: skip
    return results


def memory_growth(what: str, settings: Settings, *, effort: Effort) -> list[Result]:
    """What a process holds more after many steps than after the first hundred."""
    with batch_files(settings) as files, Worker(ours()) as worker:
        before = worker.ask(job=_STEP, **files, repeat=100)["memory"]
        after = worker.ask(repeat=effort.steps)["memory"]
    details = {"steps": effort.steps, "MiB before and after": [before, after]}
    return [Result(what, "MiB", after - before, at_most=1, details=details)]


def batch_files(settings: Settings):
    """Paths of untrained weights and of a batch: what every job gets, while the context lasts."""
    model = MnistModel(settings, seed=0)
    rng = np.random.RandomState(0)
    images = (rng.random_sample((BATCH, *model.image_shape)) < 0.13).astype("uint8")
    noise = rng.standard_normal((BATCH, settings.latent_dim)).astype("float32")
    return files_of(model, images=images, noise=noise)


def preset_files(name: str, batch: int):
    """The same for a larger model, on images of noise, with the scalars of its first iteration."""
    model = HierarchicalModel(SETTINGS[name])
    images = np.random.RandomState(0).randint(0, model.levels, (batch, *model.image_shape))
    noise = dict(zip(model.noise_shapes, draw_noise(model, 0, "training", 1, batch)))
    return files_of(model, images=images.astype("uint8"), **noise, **TRAINING[name].schedule(1))


@contextmanager
def files_of(model, **inputs) -> Iterator[dict]:
    """Paths of a model's weights and of arrays, while the context lasts."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name: str(Path(folder, f"{name}.npz")) for name in ("weights", "inputs")}
        header = {"kind": "weights", "model": model.header()}
        save_arrays(files["weights"], model.parameters.arrays(), header)
        np.savez(files["inputs"], **inputs)
        yield files


def _noup(layers: int, width: int, latent_dim: int = 16) -> Settings:
    return Settings("gated-pixelvae-noup", layers, width, latent_dim)


_UP = Settings("gated-pixelvae", layers=4, dim_pix=16, latent_dim=16)
_VAE = Settings("conv-vae", latent_dim=16)
PAPER = _noup(12, 32, latent_dim=64)
_SMALL = Settings("gated-pixelvae-noup", layers=1, dim_pix=4, latent_dim=4, filter_size=3)

_STEP = "training_step"
#: The models for MNIST whose step is measured: what the table calls them, and their sizes.
MNIST = {
    "L0-D16": ("L = 0, D = 16", _noup(0, 16)),
    "L0-D32": ("L = 0, D = 32", _noup(0, 32)),
    "L4-D16": ("L = 4, D = 16", _noup(4, 16)),
    "L4-D32": ("L = 4, D = 32", _noup(4, 32)),
    "L12-D16": ("L = 12, D = 16", _noup(12, 16)),
    "L12-D32": ("L = 12, D = 32", _noup(12, 32)),
    "gated-pixelvae": ("`gated-pixelvae`, L = 4, D = 16", _UP),
    "conv-vae": ("`conv-vae`", _VAE),
}
_PASSES = "importance weighting, decoder passes"
_CACHED = ("100 samples, cached", PAPER, "cached_sampling")

#: The functions that measure, by the names that the command line knows; each takes the effort.
ROWS = {
    **{
        f"step-{name}": partial(training_step, what, _STEP, partial(batch_files, model))
        for name, (what, model) in MNIST.items()
    },
    "step-tiny": partial(preset_step, "tiny", (2, 8)),
    "step-32px_small": partial(preset_step, "32px_small", (2, 16)),
    "step-64px_small": partial(preset_step, "64px_small", (2, 8)),
    # Its compiled twin would have to fit into the memory beside these two.
    "step-64px_big": partial(preset_step, "64px_big", (2,), ("PyTorch",)),
    "bound": partial(side_by_side, "bound of 100 images", PAPER, "bound", 1),
    "importance": partial(side_by_side, _PASSES, PAPER, "importance"),
    "sampling": partial(side_by_side, *_CACHED, 100, "here, naive", "naive_sampling"),
    "sampling-torch": partial(side_by_side, *_CACHED, 50, "PyTorch", "naive_sampling"),
    "first-step": partial(first_step, "from the start to the first training step", PAPER),
    "memory": partial(
        peak_memory,
        [
            ("L = 12, D = 32", _STEP, partial(batch_files, PAPER)),
            *(
                (f"`{name}`, batch {batch}", "preset_step", partial(preset_files, name, batch))
                for name, batch in (("32px_small", 16), ("64px_small", 8))
            ),
        ],
    ),
    "growth": partial(memory_growth, "memory growth over 1,000 training steps", _SMALL),
}
