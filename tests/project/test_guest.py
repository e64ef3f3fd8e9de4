"""A guest in other people's programs: threads, forks and spawned processes, what they pass, how they name things."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from pathlib import Path

import fresh_process
import numpy as np
import pytest
from small_models import SMALL

import pixelvae
from pixelvae.machine.errors import UserError
from pixelvae.models.hierarchical.model import HierarchicalModel
from pixelvae.models.hierarchical.presets import HIERARCHICAL
from pixelvae.models.mnist.model import MnistModel, Settings
from pixelvae.models.mnist.presets import MNIST
from pixelvae.models.weights import Weights

X = np.random.RandomState(0).randint(0, 2, (3, 1, 28, 28)).astype("uint8")


@pytest.fixture(scope="module")
def m(fast_compile):
    model = MnistModel(Settings("gated-pixelvae-noup", 1, 2, 2, 3), seed=1)
    return pixelvae.PixelVAE(Weights(model, MNIST, {}))


THREADS = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
import numpy as np
import pixelvae
from pixelvae.models.mnist.model import MnistModel, Settings
from pixelvae.models.mnist.presets import MNIST
from pixelvae.models.weights import Weights

X = np.random.RandomState(0).randint(0, 2, (3, 1, 28, 28)).astype("uint8")
CALLS = [
    lambda m, s: m.encode(X).mean, lambda m, s: m.decode(np.ones((2, 3), "float32"), s), lambda m, s: m.sample(2, s),
    lambda m, s: m.reconstruct(X, s), lambda m, s: m.interpolate(X[0], X[1], 3, s), lambda m, s: m.bound(X, s, 2),
    lambda m, s: m.log_likelihood(X, 5, s),
]

def models():
    return [
        pixelvae.PixelVAE(Weights(MnistModel(Settings(name, 1, 2, 3, 3), seed=1), MNIST, {}))
        for name in ("gated-pixelvae-noup", "conv-vae")
    ]

work = [(model, call, seed) for seed in range(3) for model in range(2) for call in range(len(CALLS))]
many, begin = models(), Barrier(8)

def compute(task):
    if task < 8:
        begin.wait()
    model, call, seed = work[task]
    return CALLS[call](many[model], seed)

with ThreadPoolExecutor(8) as pool:
    found = list(pool.map(compute, range(len(work))))
alone = models()
for (model, call, seed), value in zip(work, found):
    np.testing.assert_array_equal(value, CALLS[call](alone[model], seed))
print("equal")
"""


def test_eight_threads_get_what_one_gets(tmp_path):
    """With an empty compile cache, and then with a full one."""
    for _ in range(2):
        result = fresh_process.run(
            "-c", THREADS, THEANO_FLAGS=f"base_compiledir={tmp_path},optimizer=fast_compile"
        )
        assert (result.returncode, result.stdout) == (0, "equal\n"), result.stderr[-2000:]


def _numbers(model):
    return model.bound(X, 1), model.sample(2, 3)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_used_model_works_in_other_processes(m, method):
    here = _numbers(m)
    with multiprocessing.get_context(method).Pool(2) as pool:
        for there in pool.map_async(_numbers, [m, m]).get(timeout=600):
            for ours, theirs in zip(here, there):
                np.testing.assert_allclose(theirs, ours, rtol=1e-5)


FORK = """
import os
import pixelvae.lib
import numpy as np, theano, theano.tensor as T
x = T.fvector()
f = theano.function([x], T.tanh(x) * 2)
numbers = np.linspace(-1, 1, 500_000, dtype="float32")
here = f(numbers)
import signal; signal.alarm(200)
child = os.fork()
if child == 0:
    os._exit(0 if (f(numbers) == here).all() else 1)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert (f(numbers) == here).all()
print("equal")
"""


def test_openmp_works_in_a_forked_process():
    result = fresh_process.run("-c", FORK, PIXELVAE_THREADS="2")
    assert (result.returncode, result.stdout) == (0, "equal\n"), result.stderr[-2000:]


def test_pickled_and_copied_models(m):
    for other in (pickle.loads(pickle.dumps(m)), copy.deepcopy(m)):
        assert (other.name, other.latent_shapes) == (m.name, m.latent_shapes)
        np.testing.assert_array_equal(other.bound(X), m.bound(X))
    colours = HierarchicalModel(SMALL, seed=1, batch_norm="moving")
    other = pickle.loads(
        pickle.dumps(
            pixelvae.PixelVAE(Weights(colours, HIERARCHICAL, {}), {"batch_norm": "moving"})
        )
    )
    assert other._modes == {"batch_norm": "moving"}


class _Tensor:
    """As one of PyTorch's that requires a gradient."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.encode(_Tensor()),
        lambda m: m.bound(Path("x.npy")),
        lambda m: m.sample(10**12),
        lambda m: m.sample(10**9),
        lambda m: m.interpolate(X[0], X[1], steps=10**9),
        lambda m: m.sample(1, seed=10**30),
        lambda m: m.bound(X, samples=10**12),
        lambda m: m.log_likelihood(X, importance_samples=10**12),
        lambda m: pixelvae.load(Path("not-there.npz")),
        lambda m: pixelvae.load(None),
        lambda m: pixelvae.open_dataset(Path("not-there")),
        lambda m: pixelvae.open_dataset(None),  # type: ignore[arg-type]
        lambda m: pixelvae.open_dataset(3),  # type: ignore[arg-type]
        lambda m: pixelvae.open_dataset("digits", source="not-there"),
        lambda m: pixelvae.open_dataset(".", image_size="64"),  # type: ignore[arg-type]
    ],
)
def test_what_is_none_of_its_input_is_a_user_error_at_once(m, call):
    with pytest.raises(UserError):
        call(m)


IMPORT = """
try:
    import pixelvae
except SystemExit:
    raise
except Exception as error:
    print(type(error).__name__, error)
"""


def test_an_import_that_fails_is_an_exception_and_unhandled_one_line():
    broken = {"PIXELVAE_THREADS": "none"}
    result = fresh_process.run("-c", IMPORT, **broken)
    assert result.returncode == 0 and result.stderr == ""
    assert result.stdout.startswith("UserError PIXELVAE_THREADS must be a whole number")
    assert "PIXELVAE_THREADS" in fresh_process.refusal("import pixelvae", **broken)
    for command in (
        ["-m", "pixelvae.datasets", "list"],
        ["experiments/mnist_pixelvae.py", "--help"],
    ):
        result = fresh_process.run(*command, **broken)
        assert result.returncode == 2 and result.stderr.count("\n") == 1, result.stderr


def test_other_peoples_names_are_not_in_the_way(tmp_path):
    for name in (
        "lib",
        "models",
        "datasets",
        "machine",
        "experiments",
        "studies",
        "pretrained",
        "tests",
    ):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not this one')")
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('nor this')")
    code = "import pixelvae; print(pixelvae.load('conv-vae').name, pixelvae.open_dataset('digits').name)"
    for place in ({"cwd": tmp_path}, {"PYTHONPATH": str(tmp_path)}):
        result = fresh_process.run("-c", code, FUEL_DATA_PATH=str(tmp_path / "fuel"), **place)
        assert (result.returncode, result.stdout) == (0, "conv-vae digits\n"), result.stderr
    (tmp_path / "pixelvae.py").write_text("mine = True")
    assert (
        fresh_process.run("-c", "import pixelvae; print(pixelvae.mine)", cwd=tmp_path).stdout
        == "True\n"
    )
