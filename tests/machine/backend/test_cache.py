"""A graph that was optimised once is not optimised again, and computes the same."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
import theano
import theano.tensor as T
from theano.compile.function_module import std_fgraph
from theano.gof.opt import SeqOptimizer
from tiny_training import SETTINGS, recipe

from pixelvae.lib.model import draw_noise
from pixelvae.lib.training.step import TrainingStep
from pixelvae.machine.backend import cache
from pixelvae.models.mnist.model import MnistModel


@pytest.fixture
def passes(monkeypatch):
    """Grows whenever Theano's optimiser runs."""
    calls = []
    apply = SeqOptimizer.apply

    def counting(self, fgraph):
        calls.append(self)
        return apply(self, fgraph)

    monkeypatch.setattr(SeqOptimizer, "apply", counting)
    return calls


def updated(number):
    """A function with a shared variable that it updates in place, and an input that it may destroy."""
    x, state = T.vector("x"), theano.shared(np.ones(3, theano.config.floatX))
    outputs = [T.exp(x) * number, T.zeros_like(x)]
    return theano.function([theano.In(x, mutable=True)], outputs, updates={state: state * x}), state


def test_kept_graphs_are_found(passes):
    number = uuid.uuid4().int % 2**20 / 7  # no graph of an earlier run
    x = np.array([1, 2, 3], theano.config.floatX)
    results = []
    for found in (False, True):
        passes.clear()
        function, state = updated(number)
        assert bool(passes) != found
        function(x.copy())
        results.append([*function(x.copy()), state.get_value()])
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_allclose(results[1], [np.exp(x) * number, 0 * x, x**2], rtol=1e-5)


def test_a_damaged_file_is_written_anew(passes, monkeypatch):
    number, paths = uuid.uuid4().int % 2**20 / 7, []
    path = cache._path
    monkeypatch.setattr(cache, "_path", lambda graph: paths.append(path(graph)) or paths[-1])
    updated(number)
    paths[0].write_bytes(paths[0].read_bytes()[:50])
    for found in (False, True):
        passes.clear()
        updated(number)
        assert bool(passes) != found


def test_a_training_step_computes_the_same_bits(passes):
    results = []
    for kept in (False, True, True):
        passes.clear()
        model = MnistModel(SETTINGS)
        images = np.random.RandomState(0).randint(0, 2, (3, *model.image_shape)).astype("uint8")
        with theano.configparser.change_flags(cache_optimizations=kept):
            step = TrainingStep(model, recipe(1))
        noise = draw_noise(model, 0, "training", 1, len(images))
        outputs = step(images, noise, recipe(1).schedule(1))
        results.append([outputs, *step.state().values()])
    assert not passes
    for optimised, found in zip(results[0], results[2]):
        np.testing.assert_array_equal(optimised, found)


def key(number=2.0, mutable=False, product=T.mul, dtype="float32"):
    x, y = T.vector("x", dtype=dtype), T.vector("y", dtype=dtype)
    inputs = [theano.In(x, mutable=mutable), theano.In(y)]
    output = product(x, np.asarray(number, dtype)) + y
    return cache._path(std_fgraph(inputs, [theano.Out(output)])[0])


def test_what_decides_changes_the_key(monkeypatch):
    first = key()
    assert key() == first
    others = [key(number=3.0), key(mutable=True), key(product=T.sub), key(dtype="float64")]
    with theano.configparser.change_flags(**{"tensor.local_elemwise_fusion": False}):
        others.append(key())
    monkeypatch.setenv("PIXELVAE_NATIVE", "0")
    others.append(key())
    monkeypatch.setattr(cache, "_passes", lambda database: [])
    others.append(key())
    assert len({first, *others}) == 1 + len(others)


def test_what_cannot_be_written_is_not_kept():
    class Local(theano.Op):
        __props__ = ()
        itypes = otypes = [T.fvector]

    x = T.fvector()
    assert cache._path(std_fgraph([theano.In(x)], [theano.Out(Local()(x))])[0]) is None


def test_names_of_passes_are_found_in_every_database():
    names = str(cache._passes(theano.compile.optdb))
    assert "'lowering'" in names and "'add_into_convolution'" in names


def test_graphs_that_nobody_uses_are_deleted(tmp_path, monkeypatch):
    folder = tmp_path / cache.FOLDER
    folder.mkdir()
    monkeypatch.setattr(cache, "_KEPT_S", -60)
    (folder / "old").touch()
    x = T.vector()
    cache._save(folder / "new", std_fgraph([theano.In(x)], [theano.Out(x + 1)])[0])
    assert [path.name for path in folder.iterdir()] == ["new"]


def test_no_buffers_are_merged_that_are_written_over(monkeypatch):
    """Theano would try each pair of them, and take it back."""
    from theano.gof import InconsistencyError, toolbox

    failed = []
    replace = toolbox.ReplaceValidate.replace_all_validate

    def replaced(self, fgraph, replacements, reason=None, **options):
        try:
            return replace(self, fgraph, replacements, reason, **options)
        except InconsistencyError:
            failed.append(reason)
            raise

    monkeypatch.setattr(toolbox.ReplaceValidate, "replace_all_validate", replaced)
    a, vectors = T.fmatrix(), [T.fvector() for _ in range(3)]
    function = theano.function(
        [a, *vectors], [T.dot(a, v) for v in vectors], mode=theano.Mode("c|py", "fast_run")
    )
    names = [str(node.op) for node in function.maker.fgraph.apply_nodes]
    assert sum("AllocEmpty" in name for name in names) == 3 and not failed, (names, failed)
