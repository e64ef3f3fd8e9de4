"""Loss and gradients of models against their twins in PyTorch, and importance weights where there are any.

PyTorch computes in float64 in a process of its own, whose interpreter is found as by the
benchmarks: ``PIXELVAE_BENCH_PYTHON``, else ``.venv-bench``.
"""

from __future__ import annotations

import subprocess
from dataclasses import replace

import numpy as np
import pytest
import theano
import theano.tensor as T

from benchmarks.harness import ROOT, Worker, ours, pytorch
from benchmarks.rows import preset_files
from pixelvae.lib.model import draw_noise
from pixelvae.lib.ops.gaussian import Gaussian
from pixelvae.lib.training.recipe import Recipe
from pixelvae.lib.training.step import TrainingStep
from pixelvae.machine.files.arrays import save_arrays
from pixelvae.models.hierarchical import settings
from pixelvae.models.hierarchical.model import HierarchicalModel
from pixelvae.models.hierarchical.presets import SETTINGS
from pixelvae.models.mnist.model import MnistModel, Settings

CASES = {
    "conv-vae": (Settings("conv-vae", latent_dim=3, height=13, width=10), 3),
    "pixelvae": (Settings("pixelvae", 2, 3, 3, 5, height=10, width=9), 3),
    "gated-pixelcnn": (Settings("gated-pixelcnn", 2, 3, 3, 5, height=10, width=9), 3),
    "gated-pixelvae": (Settings("gated-pixelvae", 2, 3, 3, 5, height=10, width=9), 3),
    "gated-pixelvae-noup": (Settings("gated-pixelvae-noup", 2, 3, 3, 3, height=9, width=12), 3),
    "real size": (Settings("gated-pixelvae-noup", layers=4, dim_pix=16, latent_dim=16), 10),
}
EMBEDDED = settings.Settings(
    "embedded", stages=((7, 1), (4, 2)), top_stages=((4, 1), (5, 1)), latents=(2, 3), pixel_width=6,
    pixel_kernels=(3, 3), latent_width=4, latent_kernels=(3, 1), embed=2, height=8, width=12, levels=6,
)  # fmt: skip
TINY = replace(SETTINGS["tiny"], height=16, width=16)


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_pytorch(case, python_with_torch, tmp_path):
    settings, count = CASES[case]
    model, rng = MnistModel(settings, seed=1), np.random.RandomState(2)
    for variable in model.parameters.values():  # biases are 0 at first, and gains are the norms
        value = variable.get_value()
        variable.set_value(value + 0.1 * rng.standard_normal(value.shape).astype("float32"))
    images = rng.randint(0, 2, (count, *model.image_shape)).astype("uint8")
    noise = rng.standard_normal((count, settings.latent_dim)).astype("float32")

    values = values_and_gradients(model, images, noise)
    twin = python_with_torch, "benchmarks.torch_twin", tmp_path
    assert_same_from_pytorch(values, twin, model, images=images, z=noise)


@pytest.mark.parametrize("settings", [EMBEDDED, TINY], ids=["embedded", "tiny"])
def test_a_step_of_a_larger_model_is_that_of_pytorch(settings, python_with_torch, tmp_path):
    model, rng = HierarchicalModel(settings, seed=1), np.random.RandomState(2)
    for variable in model.parameters.trained:
        value = variable.get_value()
        variable.set_value(value + 0.1 * rng.standard_normal(value.shape).astype("float32"))
    scalars = {"alpha1": 0.7, "alpha2": 0.4, "sigma_floor": 0.5}
    recipe = Recipe(1, 4, 1, 0, lambda t: {"learning_rate": 1e-3, **scalars}, clip_norm=5.0)
    images = rng.randint(0, model.levels, (4, *model.image_shape)).astype("uint8")
    noise = draw_noise(model, 0, "test", 1, 4)

    parameters = model.parameters.arrays()
    step = TrainingStep(model, recipe)
    terms = step(images, noise, recipe.schedule(1))
    values = {"cost and terms": terms, **step.gradients()}
    inputs = {"images": images, **dict(zip(model.noise_shapes, noise)), **scalars}
    twin = python_with_torch, "benchmarks.torch_hierarchical", tmp_path
    model.parameters.assign(parameters)  # as they were before the step
    assert_same_from_pytorch(values, twin, model, **inputs)


def test_both_workers_take_a_step_of_a_preset(python_with_torch):
    with preset_files(SETTINGS["tiny"], "tiny", batch=2) as files:
        for command in (ours(), pytorch()):
            with Worker(command) as worker:
                assert len(worker.ask(job="training_step", **files, repeat=1)["seconds"]) == 1


def assert_same_from_pytorch(values: dict, twin: tuple, model, **arrays) -> None:
    """What the twin (interpreter, module, folder) makes of the model's parameters and the arrays."""
    python, module, folder = twin
    weights, inputs, out = (str(folder / f"{n}.npz") for n in ("weights", "inputs", "out"))
    header = {"kind": "weights", "model": model.header()}
    save_arrays(weights, model.parameters.arrays(), header)
    np.savez(inputs, **arrays)
    command = [python, "-m", module, weights, inputs, out]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    with np.load(out) as theirs:
        assert sorted(theirs.files) == sorted(values)
        distances = {name: distance(values[name], theirs[name]) for name in values}
    assert max(distances.values()) < 1e-4, sorted(distances.items(), key=lambda d: -d[1])[:5]


def values_and_gradients(model: MnistModel, images: np.ndarray, noise: np.ndarray) -> dict:
    x, eps = T.tensor4("x"), T.matrix("eps")
    terms = model.terms(x, {"z": eps})
    named = {"reconstruction": terms.reconstruction}
    if model.latents:
        q = model.posteriors(x)["z"]
        first = {"z": Gaussian(*(v[0].dimshuffle("x", 0) for v in (q.mean, q.log_sigma)))}
        one = x[0].dimshuffle("x", 0, 1, 2)
        named.update(kl=terms.kl, log_weights=model.log_weights(one, first, {"z": eps}))
    parameters = dict(model.parameters)
    gradients = theano.grad(terms.bound.mean(), list(parameters.values()))
    outputs = [*named.values(), *gradients]
    function = theano.function([x, eps], outputs, on_unused_input="ignore")
    return dict(zip([*named, *parameters], function(images.astype("float32"), noise)))


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Of the two as vectors, relative to their length."""
    difference = ours.ravel().astype("float64") - theirs.ravel()
    return float(np.linalg.norm(difference) / np.linalg.norm(theirs))
