"""A thin layer over Theano: operations, parameters, training, evaluation, sampling, runs.

Importing it prepares Theano (:mod:`lib.backend`), so ``import theano`` comes after ``import lib``.
"""

from lib.backend.compat import end
from lib.backend.preparation import is_report, prepare
from lib.errors import UserError

try:
    prepare()
except UserError as error:
    if not is_report():  # which says what is wrong among all that it has to say
        end(error)
