"""The paper's models, beside the tables of its appendix E.

``mnist`` has those for binarized MNIST (table E.1), ``hierarchical`` those of one or two levels for larger images
(table E.2), made of ``levels``. A model owns its parameters by name, and gives Theano expressions.

What can be known of models without Theano: ``registry`` has the families, ``table1`` the models of the first one,
``mnist_presets`` and ``presets`` with ``settings`` the sizes and how they are trained. ``weights`` loads any of them.
"""

import pixelvae.lib  # noqa: F401  (prepares Theano before any model imports it)
