"""What is measured: the lines of the table in docs/performance.md."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.harness import Worker, alternate, ours, pytorch
from benchmarks.profile import REST
from pixelvae.lib.flops import count
from pixelvae.lib.model import draw_noise
from pixelvae.machine.backend.flags import joined
from pixelvae.machine.console.progress import say
from pixelvae.machine.files.arrays import save_arrays
from pixelvae.models.hierarchical.model import HierarchicalModel
from pixelvae.models.hierarchical.presets import PRESETS as LARGER
from pixelvae.models.hierarchical.presets import SETTINGS, TRAINING
from pixelvae.models.mnist.model import MnistModel, Settings
from pixelvae.models.mnist.presets import PRESETS
from pixelvae.models.mnist.table1 import VARIANTS

BATCH = 100
COMPILED = "PyTorch, compiled"
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Effort:
    """How long to measure, and how much of what takes too long to be done in whole."""

    turns: int = 5
    turn_seconds: float = 1.5
    samples: int = 300
    naive_passes: int = 4
    steps: int = 4000
    profiled: int = 5


QUICK = Effort(turns=2, turn_seconds=0.2, samples=100, naive_passes=1, steps=100, profiled=2)


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
    settings: Any,
    preset: str = "paper",
    batch: int = BATCH,
    peers: Sequence[str] = ("PyTorch", COMPILED),
    environment: Mapping[str, str] | None = None,
    *,
    effort: Effort,
) -> list[Result]:
    """Our step, PyTorch's, and PyTorch's compiled, by turns: medians of all repetitions.

    And ours under Theano's profiler, without a peer.
    """
    with training_files(settings, preset, batch) as files:
        message = {"job": _STEP, **files}
        told = [message, *({**message, "compiled": peer == COMPILED} for peer in peers)]
        commands = [ours(), *(pytorch() for _ in peers)]
        seconds, idle = _by_turns(what, commands, told, effort, environment)
        with Worker(ours(), environment) as worker:
            profile = worker.ask(job="profiled_step", **files, repeat=effort.profiled)
    own, *others = map(median, seconds)
    elapsed, kinds = sum(profile["seconds"]), profile["kinds"]
    kinds[REST] = elapsed - sum(kinds.values())
    details = {
        "idle CPU": idle,
        "kinds": {kind: round(time / elapsed, 4) for kind, time in kinds.items()},
        "GFLOP": round(6e-9 * batch * count(_model(settings)).total.done, 3),
    }
    return [
        Result(
            f"training step, {what}", "s", own, theirs, peer, theirs / own, 1.5,
            details={"seconds": [seconds[0], s], **details},
        )
        for peer, theirs, s in zip(peers, others, seconds[1:])
    ]  # fmt: skip


def preset_step(name: str, batches: Sequence[int], *more, effort: Effort) -> list[Result]:
    """A larger model's step, at each of these batch sizes."""
    return [
        result
        for batch in batches
        for result in training_step(
            f"`{name}`, batch {batch}", SETTINGS[name], name, batch, *more, effort=effort
        )
    ]


def as_trained(what: str, settings: Any, preset: str, batch: int, *, effort: Effort):
    """A preset's own step, on one thread and on all."""
    return [
        result
        for on, environment in ((", one thread", ONE_THREAD), ("", None))
        for result in training_step(
            f"{what}, batch {batch}{on}",
            settings, preset, batch, environment=environment, effort=effort,
        )
    ]  # fmt: skip


def _model(settings: Any) -> Any:
    mnist = isinstance(settings, Settings)
    return MnistModel(settings) if mnist else HierarchicalModel(settings)


def _by_turns(
    what: str, commands, messages, effort: Effort, environment: Mapping[str, str] | None = None
) -> tuple[list[list[float]], float]:
    seconds, idle = alternate(commands, messages, effort.turns, effort.turn_seconds, environment)
    if idle > 0.02:
        say(f"{what}: a worker that waited used {idle:.0%} of a core, which spoils the numbers")
    return seconds, round(idle, 4)


def side_by_side(what: str, settings: Settings, job: str, *, effort: Effort) -> list[Result]:
    """The same job done by both, by turns: medians of all repetitions."""
    more = {"samples": effort.samples} if job == "importance" else {}
    with batch_files(settings) as files:
        messages = [{"job": job, **files, **more}] * 2
        seconds, idle = _by_turns(what, [ours(), pytorch()], messages, effort)
    own, other = map(median, seconds)
    details = {"seconds": seconds, "idle CPU": idle}
    if job == "importance":
        values = ("passes/s", effort.samples / own, effort.samples / other)
    else:
        values = ("s", own, other)
    return [Result(what, *values, ratio=other / own, at_least=1.5, details=details)]


def sampling(
    what: str,
    settings: Any,
    preset: str,
    images: int,
    at_least: tuple[float, float],
    *,
    effort: Effort,
) -> list[Result]:
    """Images given their lowest latent: cached, and naive by both, by turns."""
    peers, model = ("here, naive", "PyTorch"), _model(settings)
    values, passes = int(np.prod(model.image_shape)), effort.naive_passes
    with training_files(settings, preset, images) as files:
        naive = {"job": "naive_sampling", **files, "passes": passes}
        messages = [{"job": "cached_sampling", **files, "passes": values}, naive, naive]
        seconds, idle = _by_turns(what, [ours(), ours(), pytorch()], messages, effort)
    part = passes / values
    own, *others = median(seconds[0]), *(median(s) / part for s in seconds[1:])
    details = {"parts": [1, part], "idle CPU": idle}
    return [
        Result(
            what, "s", own, theirs, peer, theirs / own, least,
            details={"seconds": [seconds[0], s], **details},
        )
        for peer, theirs, s, least in zip(peers, others, seconds[1:], at_least)
    ]  # fmt: skip


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


def peak_memory(cases: Sequence[tuple[str, Callable]], *, effort: Effort) -> list[Result]:
    """Peak memory of a process that compiles and trains, by what and files of each case."""
    results = []
    for what, make_files in cases:
        peaks = []
        with make_files() as files:
            for command in (ours(), pytorch()):
                with Worker(command) as worker:
                    peaks.append(worker.ask(job=_STEP, **files, repeat=3)["peak_memory"])
        here, theirs = peaks
        results.append(
            Result(f"peak memory of training, {what}", "MiB", here, theirs, ratio=theirs / here, at_least=1)
        )  # fmt: skip
    return results


def memory_growth(what: str, settings: Settings, *, effort: Effort) -> list[Result]:
    """What a process holds more after a long training than after a quarter of it."""
    with batch_files(settings) as files, Worker(ours()) as worker:
        step = {"job": _STEP, **files, "images": 16}  # as few cores train
        before = worker.ask(**step, repeat=effort.steps // 4)["memory"]
        after = worker.ask(repeat=effort.steps)["memory"]
    details = {"steps": effort.steps, "MiB before and after": [before, after]}
    return [Result(what, "MiB", after - before, at_most=1, details=details)]


def overhead(cases: Sequence[tuple[str, Any, str]], *, effort: Effort) -> list[Result]:
    """Steps of networks with a channel a layer, by name, settings and preset, on one thread."""
    results = []
    for what, settings, preset in cases:
        with training_files(settings, preset, 1) as files, Worker(ours(), ONE_THREAD) as worker:
            worker.ask(job=_STEP, **files, repeat=20)
            own = 1000 * median(worker.repeat(effort.profiled * 100))
        results.append(Result(f"Python and Theano in a step, {what}", "ms", own, at_most=2))
    return results


def product(size: int, *, effort: Effort) -> list[Result]:
    """GFLOP/s of a product of square matrices: here a 1x1 convolution."""
    message = {"job": "product", "size": size}
    seconds, idle = _by_turns("product", [ours(), pytorch()], [message] * 2, effort)
    own, theirs = (2e-9 * size**3 / median(s) for s in seconds)
    details = {"seconds": seconds, "idle CPU": idle}
    what = f"product of two matrices, {size:,} × {size:,}"
    return [Result(what, "GFLOP/s", own, theirs, ratio=own / theirs, details=details)]


def training_files(settings: Any, preset: str, batch: int):
    """Paths of untrained weights and of a batch: what every job gets, while the context lasts."""
    if isinstance(settings, Settings):
        return batch_files(settings, preset, batch)
    return preset_files(settings, preset, batch)


def batch_files(settings: Settings, preset: str = "paper", batch: int = BATCH):
    """The same for a model of binary images."""
    model = MnistModel(settings, seed=0)
    rng = np.random.RandomState(0)
    images = (rng.random_sample((batch, *model.image_shape)) < 0.13).astype("uint8")
    noise = rng.standard_normal((batch, settings.latent_dim)).astype("float32")
    return files_of(model, preset, images=images, z=noise)


def preset_files(settings: Any, preset: str, batch: int):
    """The same for a larger model, on images of noise, with the scalars of its first iteration."""
    model = HierarchicalModel(settings)
    images = np.random.RandomState(0).randint(0, model.levels, (batch, *model.image_shape))
    noise = dict(zip(model.noise_shapes, draw_noise(model, 0, "training", 1, batch)))
    scalars = TRAINING[preset].schedule(1)
    return files_of(model, preset, images=images.astype("uint8"), **noise, **scalars)


@contextmanager
def files_of(model, preset: str, **inputs) -> Iterator[dict]:
    """Paths of a model's weights, and of arrays and the preset that says how it is trained."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name: str(Path(folder, f"{name}.npz")) for name in ("weights", "inputs")}
        header = {"kind": "weights", "model": model.header()}
        save_arrays(files["weights"], model.parameters.arrays(), header)
        np.savez(files["inputs"], preset=preset, **inputs)
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
#: The presets for few cores: the rows' names, what the table calls them, settings, preset, batch.
FEW_CORES = {
    **{
        f"few-cores-{name}": (f"`{name}`, `few-cores`", replace(few.settings, model=name), few)
        for few in (PRESETS["few-cores"],)
        for name in VARIANTS
    },
    "quick": ("`quick`", PRESETS["quick"].settings, PRESETS["quick"]),
    **{
        name: (f"`{name}`", LARGER[name].settings, LARGER[name])
        for name in ("32px_few_cores", "64px_few_cores")
    },
}
_NARROW = {
    "stages": ((1, 1), (1, 1), (1, 2)), "top_stages": ((1, 1), (1, 1)), "latents": (1, 1),
    "pixel_width": 1, "latent_width": 1, "height": 8, "width": 8, "levels": 2,
}  # fmt: skip

#: The functions that measure, by the names that the command line knows; each takes the effort.
ROWS = {
    **{
        f"step-{name}": partial(training_step, what, model) for name, (what, model) in MNIST.items()
    },
    "step-tiny": partial(preset_step, "tiny", (2, 8)),
    "step-32px_small": partial(preset_step, "32px_small", (2, 16)),
    "step-64px_small": partial(preset_step, "64px_small", (2, 8)),
    # Its compiled twin would have to fit into the memory beside these two.
    "step-64px_big": partial(preset_step, "64px_big", (2,), ("PyTorch",)),
    **{
        f"step-{name}": partial(
            as_trained, what, settings, preset.name, preset.training.recipe(0).batch_size
        )
        for name, (what, settings, preset) in FEW_CORES.items()
    },
    "product": partial(product, 2048),
    "overhead": partial(
        overhead,
        [
            (
                "`gated-pixelcnn`, L = 8",
                Settings("gated-pixelcnn", 8, 1, height=4, width=4),
                "paper",
            ),
            ("`32px_few_cores`", SETTINGS["32px_few_cores"].changed(_NARROW), "32px_few_cores"),
        ],
    ),
    "bound": partial(side_by_side, "bound of 100 images", PAPER, "bound"),
    "importance": partial(
        side_by_side, "importance weighting, decoder passes", PAPER, "importance"
    ),
    "sampling": partial(sampling, "100 samples, cached", PAPER, "paper", BATCH, (100, 50)),
    **{
        f"sampling-{name}": partial(
            sampling, f"32 samples of `{name}`, cached", LARGER[name].settings, name, 32, (100, 50)
        )
        for name in ("32px_medium", "64px_medium")
    },
    "first-step": partial(first_step, "from the start to the first training step", PAPER),
    "memory": partial(
        peak_memory,
        [
            ("L = 12, D = 32", partial(batch_files, PAPER)),
            *(
                (f"`{name}`, batch {batch}", partial(preset_files, SETTINGS[name], name, batch))
                for name, batch in (("32px_small", 16), ("64px_small", 8))
            ),
        ],
    ),
    "growth": partial(
        memory_growth, "memory growth from step 1,000 to step 5,000, batch 16", _SMALL
    ),
}
