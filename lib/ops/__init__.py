"""Operations: functions from Theano expressions to Theano expressions.

The heavy ones have C++ inside (``c/``); if it cannot be used, :mod:`pixelvae.lib.ops.lowering`
replaces them. ``docs/extending.md`` adds one.
"""

import pixelvae.lib.ops.lowering  # noqa: F401  (registers itself with Theano)
