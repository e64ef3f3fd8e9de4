"""A thin layer over Theano: operations, parameters, training, evaluation, sampling, runs.

Importing it prepares Theano (:mod:`lib.backend`), so ``import theano`` comes after ``import lib``.
"""

import sys

from lib.backend.preparation import prepare
from lib.errors import UserError

try:
    prepare()
except UserError as error:
    # Nothing below can work, and no command line is there yet to say so in one line.
    print(error, file=sys.stderr)
    raise SystemExit(2) from None
