#!/usr/bin/env python
"""Section 4.2 and figures 1, 6, 8, 11: hierarchical PixelVAE on LSUN bedrooms.

python experiments/lsun_bedrooms.py train --preset 64px_small --out runs/bedrooms
python experiments/lsun_bedrooms.py train --preset 32px_small --top-decoder gaussian
python experiments/lsun_bedrooms.py evaluate runs/bedrooms
python experiments/lsun_bedrooms.py sample runs/bedrooms
python experiments/lsun_bedrooms.py reconstruct runs/bedrooms
python experiments/lsun_bedrooms.py vary runs/bedrooms
"""

from __future__ import annotations

import sys

from experiments.hierarchical import Experiment
from models.lsun_bedrooms import PRESETS
from models.settings import Settings


def data(settings: Settings) -> str:
    """Likelihoods are compared on the 32×32 version of the same images."""
    return "lsun_bedrooms_32" if settings.height == 32 else "lsun_bedrooms"


# The set has no test split but the validation images under that name.
EXPERIMENT = Experiment("lsun_bedrooms.py", __doc__, PRESETS, data, splits=("test",))

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main(sys.argv[1:]))
