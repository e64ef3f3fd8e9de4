"""The paper's models, one script for each group of data sets, mirroring the tables of its appendix E.

A model owns its parameters by name, and gives Theano expressions: encode, decode, bound.
"""

import lib  # noqa: F401  (prepares Theano before any model imports it)

#: The models of :mod:`models.mnist`, in the order of table 1.
MNIST_MODELS = (
    "conv-vae",
    "pixelvae",
    "gated-pixelcnn",
    "gated-pixelvae",
    "gated-pixelvae-noup",
)
