"""Operations: functions from Theano expressions to Theano expressions.

The heavy ones have C++ inside (``c/``); where it cannot serve, :mod:`lib.ops.lowering` replaces
them.
"""

import lib.ops.lowering  # noqa: F401  (registers itself with Theano)
