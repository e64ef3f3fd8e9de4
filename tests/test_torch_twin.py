"""Loss, gradients and importance weights of three models against their twins in PyTorch.

PyTorch computes in float64 in a process of its own, whose interpreter is found as by the
benchmarks: ``PIXELVAE_BENCH_PYTHON``, else ``.venv-bench``.
"""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
import theano
import theano.tensor as T

from benchmarks.harness import ROOT, torch_python
from lib.checkpoint import save_arrays
from lib.errors import UserError
from models.mnist import MnistModel, Settings

CASES = {
    "conv-vae": (Settings("conv-vae", latent_dim=3, height=13, width=10), 3),
    "gated-pixelvae": (Settings("gated-pixelvae", 2, 3, 3, 5, height=10, width=9), 3),
    "gated-pixelvae-noup": (Settings("gated-pixelvae-noup", 2, 3, 3, 3, height=9, width=12), 3),
    "real size": (Settings("gated-pixelvae-noup", layers=4, dim_pix=16, latent_dim=16), 10),
}


@pytest.fixture(scope="module")
def python() -> str:
    try:
        path = torch_python()
    except UserError as error:
        pytest.skip(str(error))
    if subprocess.run([path, "-c", "import torch"], capture_output=True).returncode:
        pytest.skip(f"{path} has no PyTorch: make bench installs it")
    return path


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_pytorch(case, python, tmp_path):
    settings, count = CASES[case]
    model, rng = MnistModel(settings, seed=1), np.random.RandomState(2)
    for variable in model.parameters.values():  # biases are 0 at first, and gains are the norms
        value = variable.get_value()
        variable.set_value(value + 0.1 * rng.standard_normal(value.shape).astype("float32"))
    images = rng.randint(0, 2, (count, *model.image_shape)).astype("uint8")
    noise = rng.standard_normal((count, model.latent_dim)).astype("float32")

    weights, inputs, out = (str(tmp_path / f"{n}.npz") for n in ("weights", "inputs", "out"))
    header = {"kind": "weights", "model": model.header()}
    save_arrays(weights, model.parameters.arrays(), header)
    np.savez(inputs, images=images, noise=noise)
    command = [python, "-m", "benchmarks.torch_twin", weights, inputs, out]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    ours = values_and_gradients(model, images, noise)
    with np.load(out) as theirs:
        assert sorted(theirs.files) == sorted(ours)
        distances = {name: distance(ours[name], theirs[name]) for name in ours}
    assert max(distances.values()) < 1e-4, sorted(distances.items(), key=lambda d: -d[1])[:5]


def values_and_gradients(model: MnistModel, images: np.ndarray, noise: np.ndarray) -> dict:
    x, eps = T.tensor4("x"), T.matrix("eps")
    terms = model.terms(x, {"z": eps})
    q = model.encode(x)
    mean, log_sigma = (v[0].dimshuffle("x", 0) for v in (q.mean, q.log_sigma))
    named = {
        "reconstruction": terms.reconstruction,
        "kl": terms.kl,
        "log_weights": model.log_weights(x[0].dimshuffle("x", 0, 1, 2), mean, log_sigma, eps),
    }
    parameters = dict(model.parameters)
    gradients = theano.grad(terms.bound.mean(), list(parameters.values()))
    function = theano.function([x, eps], [*named.values(), *gradients])
    return dict(zip([*named, *parameters], function(images.astype("float32"), noise)))


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Of the two as vectors, relative to their length."""
    difference = ours.ravel().astype("float64") - theirs.ravel()
    return float(np.linalg.norm(difference) / np.linalg.norm(theirs))
