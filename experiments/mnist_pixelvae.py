#!/usr/bin/env python
"""Section 4.1 and table 1: PixelVAE on binarized MNIST.

python experiments/mnist_pixelvae.py train --model gated-pixelvae-noup --out runs/noup
python experiments/mnist_pixelvae.py evaluate runs/noup --importance-samples 5000 --images 100
python experiments/mnist_pixelvae.py sample runs/noup
python experiments/mnist_pixelvae.py reconstruct runs/noup
python experiments/mnist_pixelvae.py vary runs/noup
python experiments/mnist_pixelvae.py report runs/noup
"""

from __future__ import annotations

import sys

from pixelvae.experiments.command_line import main
from pixelvae.experiments.experiment import Experiment
from pixelvae.models.mnist.presets import MNIST

EXPERIMENT = Experiment(
    "mnist_pixelvae.py",
    __doc__,
    MNIST,
    data={(1, 28, 28): "auto"},
    default="paper",
    folder="runs/{model}-{preset}",
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT, sys.argv[1:]))
