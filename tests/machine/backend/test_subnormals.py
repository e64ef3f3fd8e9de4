"""Subnormal numbers are zero within compiled functions, in all of their threads, and nowhere else."""

from __future__ import annotations

import platform

import numpy as np
import pytest
import theano
import theano.tensor as T
from fresh_process import output

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="others take no longer")
SUBNORMAL = np.float32(3e-39)


# In fresh processes: here other tests may have run operations without a call, as Theano folds constants.
BEGIN = """
import pixelvae.machine, numpy as np, theano, theano.tensor as T
from pixelvae.lib.ops.elu import Elu
"""
ELEMENTWISE = """
x = T.fvector()
twice, root = theano.function([x], [2 * x, T.sqrt(x)])(np.full(100_000, 3e-39, "float32"))
print(twice.any(), root.any())
"""
OURS = """
x = T.ftensor4()
print(theano.function([x], Elu()(x))(np.full((64, 8, 16, 16), 3e-39, "float32")).any())
"""


@pytest.mark.parametrize("code", [ELEMENTWISE, OURS], ids=["elementwise", "ours"])
def test_compiled_functions_take_them_for_zero(code):
    assert set(output(BEGIN + code, OMP_NUM_THREADS="2").split()) == {"False"}


STARTED_BEFORE = """
x = T.fvector()
function = theano.function([x], 2 * x)
few, tiny = np.ones(100_000, "float32"), np.full(100_000, 3e-39, "float32")
function.input_storage[0].storage[0] = few
function.fn()  # not by a call: its threads keep the caller's setting
print(function(tiny).any(), (2 * tiny).all())
"""


def test_so_do_threads_that_others_have_started():
    assert output(BEGIN + STARTED_BEFORE, OMP_NUM_THREADS="3") == "False True"


def test_the_callers_arithmetic_is_its_own():
    x = T.fscalar()
    function = theano.function([x], 1 / T.opt.Assert("wrong")(x, T.gt(x, 0)))
    assert function(1) == 1
    with pytest.raises(AssertionError, match="wrong"):
        function(SUBNORMAL)
    assert np.full(9, SUBNORMAL).sum() > 0
    assert np.float32(1e-30) * np.float32(1e-10) > 0
