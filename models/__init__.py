"""The paper's models, beside the tables of its appendix E.

``mnist`` has those for binarized MNIST (table E.1), ``hierarchical`` those of one or two levels for
larger images (table E.2): each a :class:`pixelvae.models.family.Family` with settings and presets,
which need no Theano, and a model, which does. ``registry`` finds a family by its name, ``weights``
loads what any of them left.
"""

import pixelvae.lib  # noqa: F401  (prepares Theano before any model imports it)
