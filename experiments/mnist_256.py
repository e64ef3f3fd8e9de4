#!/usr/bin/env python
"""The one-level model on MNIST with 256 grey levels.

python experiments/mnist_256.py train --out runs/mnist_256
python experiments/mnist_256.py evaluate runs/mnist_256
python experiments/mnist_256.py sample runs/mnist_256
python experiments/mnist_256.py reconstruct runs/mnist_256
python experiments/mnist_256.py report runs/mnist_256
python experiments/mnist_256.py vary runs/mnist_256
"""

from __future__ import annotations

import sys

from pixelvae.experiments.command_line import main
from pixelvae.experiments.experiment import Experiment
from pixelvae.models.hierarchical.presets import HIERARCHICAL

EXPERIMENT = Experiment(
    "mnist_256.py", __doc__, HIERARCHICAL, data={(1, 28, 28): "mnist_256"}, default="mnist_256"
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT, sys.argv[1:]))
