"""Operations: functions from Theano expressions to Theano expressions.

The heavy ones have C++ inside (``c/``); if it cannot be used, :mod:`lib.ops.lowering` replaces them.
:mod:`lib.ops.fusion` saves passes over maps. ``docs/extending.md`` adds one.
"""

import lib.ops.fusion  # noqa: F401  (registers itself with Theano, as the next)
import lib.ops.lowering  # noqa: F401
