"""Without the C++, Theano's own operations give the same."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import theano
import theano.tensor as T
from compiled import PYTHON, apply
from convolutions import GEOMETRIES, Arrays, arguments
from theano.tensor.nnet.corr import BaseCorrMM
from tiny_training import SETTINGS, Images, recipe

from pixelvae.lib.model import draw_noise
from pixelvae.lib.ops import lowering
from pixelvae.lib.ops.batch_norm import BatchNorm, BatchNormGradient
from pixelvae.lib.ops.categorical import Categorical, CategoricalGradient
from pixelvae.lib.ops.conv import Correlate, CorrelateInputs, CorrelateWeights
from pixelvae.lib.ops.elu import Elu, EluGradient
from pixelvae.lib.ops.embedding import Embed, EmbedGradient
from pixelvae.lib.ops.gate import Gate, GateGradient
from pixelvae.lib.ops.native import NativeOp, as_list, examples
from pixelvae.lib.ops.weight_norm import WeightNorm, WeightNormGradient
from pixelvae.lib.training.step import TrainingStep
from pixelvae.models.mnist.model import MnistModel, Settings

EXAMPLES = examples()
# Python wherever there is some, which saves the time of g++.
LOWERED = theano.Mode(linker="py", optimizer="fast_compile").including("lowering")


@pytest.fixture
def lowered(monkeypatch):
    """Turns the flag on; Theano's convolutions, the one operation without Python, stay in C."""

    def make_thunk(self, node, storage_map, compute_map, no_recycling, impl=None):
        return theano.Op.make_thunk(self, node, storage_map, compute_map, no_recycling, "c")

    monkeypatch.setenv("PIXELVAE_NATIVE", "0")
    monkeypatch.setattr(BaseCorrMM, "make_thunk", make_thunk)


def native_nodes(function) -> int:
    return sum(isinstance(n.op, NativeOp) for n in function.maker.fgraph.toposort())


def agree(op, *given, rtol=1e-12):
    """Lowers a function of known shapes, and compares it to the NumPy of the operation."""
    inputs = [
        theano.shared(g, broadcastable=tuple(s == 1 for s in g.shape)) if np.ndim(g) else g
        for g in given
    ]
    outputs = op(*inputs)
    function = theano.function([], outputs, mode=LOWERED)
    assert native_nodes(function) == 0
    ours, truth = function(), apply(op, *given, mode=PYTHON)
    if not isinstance(ours, list):
        ours, truth = [ours], [truth]
    for a, b in zip(ours, truth):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(b).max())


@pytest.mark.parametrize("name", [name for name in GEOMETRIES if name != "stride 3"])
def test_convolutions(lowered, name):
    g = GEOMETRIES[name]
    a, geometry = Arrays(g), arguments(g)
    agree(Correlate(*geometry), a.x, a.w, a.b, a.acc)
    agree(CorrelateInputs(*geometry), a.gy, a.w, *g.inputs, a.b_in, a.acc_in)
    agree(CorrelateWeights(*geometry), a.x, a.gy)


def test_convolutions_without_bias_or_acc(lowered):
    g = GEOMETRIES["3x3, stride 2, odd"]
    a, geometry = Arrays(g), arguments(g)
    agree(Correlate(*geometry), a.x, a.w, None, None)
    agree(Correlate(*geometry), a.x, a.w, None, a.acc)
    agree(CorrelateInputs(*geometry), a.gy, a.w, *g.inputs, a.b_in, None)


def test_arrays_with_sides_of_one(lowered):
    """Theano's own operations know that a side is one; the type of the result must not change."""
    agree(Correlate(1, 1, 1), np.ones((1, 1, 3, 1)), np.ones((1, 1, 1)), np.ones(1), None)
    agree(CorrelateWeights(1, 1, 1), np.ones((1, 1, 3, 1)), np.ones((1, 1, 3, 1)))


@pytest.mark.parametrize("rows", [1, 3])
def test_gates(lowered, rows):
    rng = np.random.RandomState(0)
    y, c, g = (
        rng.standard_normal((3, 8, 4, 5)),
        rng.standard_normal((rows, 8)),
        rng.rand(3, 4, 4, 5),
    )
    agree(Gate(), y, c)
    agree(GateGradient(), y, c, g)


@pytest.mark.parametrize("taps", [4, 9])
def test_weight_norms(lowered, taps):
    rng = np.random.RandomState(0)
    v, g = rng.standard_normal((5, 3, 9)), rng.standard_normal(5)
    agree(WeightNorm(taps), v, g)
    agree(WeightNormGradient(taps), v, g, rng.standard_normal((5, 3, taps)))


def test_batch_norms(lowered):
    rng = np.random.RandomState(0)
    x, g = rng.standard_normal((2, 3, 4, 5, 6))
    scale, offset, mean, variance = rng.rand(4, 4)
    agree(BatchNorm(), x, scale, offset)
    agree(BatchNormGradient(), x, scale, mean, variance, g)


def test_elus(lowered):
    rng = np.random.RandomState(0)
    x, g = 3 * rng.standard_normal((2, 3, 4, 5, 6))
    agree(Elu(), x)
    agree(EluGradient(), x, g)


def test_pixels_of_many_levels(lowered):
    rng = np.random.RandomState(0)
    x, table = rng.randint(7, size=(3, 2, 4, 5)).astype("float64"), rng.standard_normal((7, 6))
    agree(Embed(), x, table)
    agree(EmbedGradient(), x, table, rng.standard_normal((3, 12, 4, 5)))
    logits, norms = 100 * rng.standard_normal((3, 14, 4, 5)), 300 + rng.rand(3, 2, 4, 5)
    agree(Categorical(), logits, x)
    agree(CategoricalGradient(), logits, x, norms, rng.standard_normal(3))


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(lowered, name):
    """Every operation with its gradient."""
    function, shapes = EXAMPLES[name]
    rng = np.random.RandomState(0)
    given = [rng.standard_normal(shape) for shape in shapes]
    inputs = [T.TensorType("float64", (False,) * len(shape))() for shape in shapes]
    outputs = as_list(function(*inputs))
    outputs += theano.grad(T.sqr(outputs[0]).sum(), inputs)
    plain = theano.function(inputs, outputs, mode=LOWERED)
    assert native_nodes(plain) == 0
    for a, b in zip(plain(*given), theano.function(inputs, outputs, mode=PYTHON)(*given)):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())


def test_every_form_for_a_gpu_exists():
    """Read, not imported, which needs a GPU."""
    text = Path(lowering.__file__).with_name("_gpu.py").read_text("utf-8")
    functions = {f.name: f for f in ast.parse(text).body if isinstance(f, ast.FunctionDef)}
    named = {
        k.cudnn: k
        for k in (Correlate, CorrelateInputs, CorrelateWeights, BatchNorm, BatchNormGradient)
    }
    for name, kind in named.items():
        assert len(functions[name].args.args) == 1 + len(kind.takes)
    public = {name for name in functions if not name.startswith("_")}
    assert public == set(named)


def test_single_precision_stays_single(lowered):
    a = Arrays(GEOMETRIES["vstack 5x5"], "float32")
    agree(Gate(), a.gy, np.ones((1, a.gy.shape[1]), "float32"), rtol=1e-6)
    agree(WeightNorm(7), a.w, a.b, rtol=1e-6)
    agree(BatchNorm(), a.gy, a.b, a.b, rtol=1e-6)
    agree(Elu(), a.gy, rtol=1e-6)
    agree(Categorical(), a.gy, np.ones((3, 2, *a.gy.shape[2:]), "float32"), rtol=1e-6)


def _model_function(model):
    x, eps = T.tensor4("x"), T.matrix("eps")
    cost, _ = model.objective(x, {"z": eps}, {"alpha": 0.5})
    gradients = theano.grad(cost, list(model.parameters.values()))
    return theano.function([x, eps], [cost, *gradients], mode=LOWERED)


def test_a_model_with_its_gradient(lowered, monkeypatch):
    """Strides, transposed convolutions, masks and gates together."""
    with theano.configparser.change_flags(floatX="float64"):
        settings = Settings("gated-pixelvae", 1, dim_pix=4, latent_dim=2, height=5, width=6)
        model = MnistModel(settings)
        plain = _model_function(model)
        monkeypatch.delenv("PIXELVAE_NATIVE")
        native = _model_function(model)
    assert native_nodes(native) > 0 and native_nodes(plain) == 0
    rng = np.random.RandomState(0)
    given = (rng.randint(2, size=(3, 1, 5, 6)).astype("float64"), rng.standard_normal((3, 2)))
    for name, a, b in zip(["cost", *model.parameters], native(*given), plain(*given)):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-12 * max(1, np.abs(a).max()), err_msg=name)


def test_a_training_stays_close(monkeypatch):
    """Rounding differs, and Adam divides small gradients by small numbers; the bound hardly sees it."""
    results = {}
    for flag in ("1", "0"):
        monkeypatch.setenv("PIXELVAE_NATIVE", flag)
        step = TrainingStep(MnistModel(SETTINGS, seed=7), recipe(20))
        assert (native_nodes(step._losses) > 0) is (flag == "1")
        data = Images().training_stream(5, 0)
        costs = []
        for t in range(1, 21):
            images = next(data)
            noise = draw_noise(step._model, 0, "test", t, len(images))
            costs.append(step(images, noise, recipe(20).schedule(t))[0])
        results[flag] = np.array(costs), step.state()["packed"]
    (ours, w), (theirs, v) = results["1"], results["0"]
    assert np.abs(ours / theirs - 1).max() < 1e-5
    assert np.linalg.norm(w - v) < 1e-4 * np.linalg.norm(w)


@pytest.mark.parametrize("flag, native", [(None, True), ("1", True), ("0", False)])
def test_flag(monkeypatch, flag, native):
    monkeypatch.delenv("PIXELVAE_NATIVE", raising=False)
    if flag is not None:
        monkeypatch.setenv("PIXELVAE_NATIVE", flag)
    v, g = T.tensor3(), T.vector()
    with theano.configparser.change_flags(cxx=""):
        function = theano.function([v, g], WeightNorm(1)(v, g), mode="FAST_RUN")
    assert lowering.native() is native
    assert (native_nodes(function) > 0) is native


def test_fast_compile_needs_no_lowering(lowered):
    """It runs NumPy alone, which Theano's own convolutions do not have beside a compiler."""
    x, w = T.tensor4(), T.tensor3()
    function = theano.function([x, w], Correlate(1, 1, 1)(x, w), mode="FAST_COMPILE")
    ones = np.ones((1, 1, 2, 2), "float32")
    np.testing.assert_array_equal(function(ones, 3 * ones[:, :, 0, :1]), 3 * ones)


def test_a_gpu_never_gets_the_code_for_cpus(monkeypatch):
    monkeypatch.setattr(lowering.device, "active", lambda: True)
    assert not lowering.native()
