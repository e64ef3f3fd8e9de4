"""The machine below Theano: its back end, ranks, files and console; nothing here knows of models.

Importing it prepares Theano (:mod:`pixelvae.machine.backend`), so ``import theano`` and ``import
numpy`` come after it. ``python -m pixelvae.machine`` prints what a bug report should say.
"""

from pixelvae.machine import threads  # noqa: F401 - forks are looked after in every program
from pixelvae.machine.backend.compat import refuse
from pixelvae.machine.backend.preparation import is_report, prepare
from pixelvae.machine.console.progress import occupy_standard_streams
from pixelvae.machine.errors import UserError

occupy_standard_streams()
try:
    prepare()
except UserError as error:
    if not is_report():  # which includes what is wrong
        refuse(error)
