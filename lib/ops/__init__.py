"""Operations: functions from Theano expressions to Theano expressions.

The heavy ones have C++ inside (``c/``); if it cannot be used, :mod:`pixelvae.lib.ops.lowering` replaces them.
:mod:`pixelvae.lib.ops.fusion` saves passes over maps. ``docs/extending.md`` adds one.
"""

import pixelvae.lib.ops.fusion  # noqa: F401  (registers itself with Theano, as the next)
import pixelvae.lib.ops.lowering  # noqa: F401
