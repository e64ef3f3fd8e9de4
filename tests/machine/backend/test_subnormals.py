"""Subnormal numbers are zero within compiled functions, in all of their threads, and nowhere else."""

from __future__ import annotations

import platform

import numpy as np
import pytest
import theano
import theano.tensor as T

from pixelvae.lib.ops.elu import Elu

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="others take no longer")
SUBNORMAL = np.float32(3e-39)


def test_compiled_functions_take_them_for_zero():
    x = T.fvector()
    twice, root = theano.function([x], [2 * x, T.sqrt(x)])(np.full(100_000, SUBNORMAL))
    assert not twice.any() and not root.any()


def test_so_do_our_own_operations():
    x = T.ftensor4()
    y = theano.function([x], Elu()(x))(np.full((64, 8, 16, 16), SUBNORMAL))  # enough for threads
    assert not y.any()


def test_the_callers_arithmetic_is_its_own():
    x = T.fscalar()
    function = theano.function([x], 1 / T.opt.Assert("wrong")(x, T.gt(x, 0)))
    assert function(1) == 1
    with pytest.raises(AssertionError, match="wrong"):
        function(SUBNORMAL)
    assert np.full(9, SUBNORMAL).sum() > 0
    assert np.float32(1e-30) * np.float32(1e-10) > 0
