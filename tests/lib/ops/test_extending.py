"""The operation that docs/extending.md adds, taken from there, goes through everything."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import theano
import theano.tensor as T
from compiled import BOTH, PYTHON, apply, fast_compile, guarded
from theano.tensor import verify_grad

from pixelvae.lib.ops import native
from pixelvae.lib.ops.conv import Correlate
from pixelvae.lib.ops.native import NativeOp
from pixelvae.lib.pixels import Bernoulli
from pixelvae.lib.sampling import Sampler

DOCUMENT = Path(__file__).parents[3] / "docs" / "extending.md"
X = guarded(np.random.RandomState(0).standard_normal((2, 3, 4, 5)))


def listing(language: str) -> str:
    section = DOCUMENT.read_text("utf-8").split("## An operation")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.S)[0]


@pytest.fixture(scope="module")
def operation(tmp_path_factory):
    """The operation, its header in a folder of its own."""
    header = tmp_path_factory.mktemp("c") / "squared_relu.h"
    header.write_text(listing("cpp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "_EXAMPLES", {})
        module: dict = {"__name__": "squared_relu"}
        exec(listing("python"), module)
        assert list(native._EXAMPLES) == ["squared relu"]
    module["SquaredReLU"].header = str(header)
    return module["squared_relu"]


@pytest.mark.parametrize("mode", BOTH, ids=["C", "NumPy"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cpp_and_numpy(operation, dtype, mode):
    x = X.astype(dtype)
    y = apply(operation, x, mode=mode)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, np.where(x > 0, x * x, 0))


def test_gradient(operation):
    verify_grad(operation, [X], rng=np.random.RandomState(0), mode=PYTHON)


def test_inferred_shape(operation):
    x = T.tensor4(dtype="float64")
    function = theano.function([x], operation(x).shape, mode=theano.Mode("py", "fast_run"))
    assert not any(isinstance(n.op, NativeOp) for n in function.maker.fgraph.apply_nodes)
    assert tuple(function(X)) == X.shape


@pytest.mark.parametrize("flag, native", [("1", True), ("0", False)])
def test_lowered(operation, monkeypatch, flag, native):
    monkeypatch.setenv("PIXELVAE_NATIVE", flag)
    x = T.tensor4(dtype="float64")
    function = theano.function([x], operation(x), mode=theano.Mode("py", "fast_run"))
    assert any(isinstance(n.op, NativeOp) for n in function.maker.fgraph.apply_nodes) is native
    np.testing.assert_allclose(function(X), np.maximum(X, 0) ** 2)


def test_cached_sampler(operation):
    """It takes the meaning, between two masked convolutions."""
    rng = np.random.RandomState(1)
    x = T.tensor4("x", dtype="float32")
    w, v = (rng.standard_normal(shape).astype("float32") for shape in ((4, 1, 4), (1, 4, 5)))
    logits = Correlate(3, 3, 5)(operation(Correlate(3, 3, 4)(x, w)), v)
    u = rng.random_sample((3, 1, 5, 6)).astype("float32")
    with fast_compile():
        cached, naive = (
            Sampler(x, logits, [], Bernoulli().draw, method=m) for m in ("cached", "naive")
        )
        images = cached(u)
        assert 0.1 < images.mean() < 0.9
        np.testing.assert_array_equal(images, naive(u))
        full = theano.function([x], logits)(images)
    np.testing.assert_allclose(cached.outputs(images), full, atol=1e-4)


def test_an_operation_whose_meaning_the_sampler_does_not_know_is_named():
    class Softplus(NativeOp):
        header = "elu.h"
        takes = {"x": "N C H W"}
        gives = {"y": "N C H W"}
        call = "none"

        def meaning(self, x):
            return T.nnet.softplus(x)

    x = T.tensor4("x")
    with pytest.raises(NotImplementedError, match="softplus"):
        Sampler(x, Softplus()(Correlate(3, 3, 4)(x, np.ones((1, 1, 4)))), [], Bernoulli().draw)
