#!/usr/bin/env python
"""Section 4.2 and figures 1, 6, 8, 11: hierarchical PixelVAE on LSUN bedrooms.

python experiments/lsun_bedrooms.py train --preset 64px_small --out runs/bedrooms
python experiments/lsun_bedrooms.py train --preset 32px_small --top-decoder gaussian
python experiments/lsun_bedrooms.py evaluate runs/bedrooms
python experiments/lsun_bedrooms.py sample runs/bedrooms
python experiments/lsun_bedrooms.py reconstruct runs/bedrooms
python experiments/lsun_bedrooms.py report runs/bedrooms
python experiments/lsun_bedrooms.py vary runs/bedrooms
"""

from __future__ import annotations

import sys

from pixelvae.experiments.command_line import main
from pixelvae.experiments.experiment import Experiment
from pixelvae.models.hierarchical.presets import HIERARCHICAL

EXPERIMENT = Experiment(
    "lsun_bedrooms.py",
    __doc__,
    HIERARCHICAL,
    # Likelihoods are compared on the 32×32 version of the same images.
    data={(3, 64, 64): "lsun_bedrooms", (3, 32, 32): "lsun_bedrooms_32"},
    default="64px_small",
    picture_files=True,
    # The set has no test split but the validation images under that name.
    splits=("test",),
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT, sys.argv[1:]))
