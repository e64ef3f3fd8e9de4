#!/usr/bin/env python
"""Section 4.3 and table 2: hierarchical PixelVAE on 64×64 ImageNet.

python experiments/imagenet64.py train --preset 64px_big --out runs/imagenet64
python experiments/imagenet64.py evaluate runs/imagenet64
python experiments/imagenet64.py sample runs/imagenet64
python experiments/imagenet64.py reconstruct runs/imagenet64
python experiments/imagenet64.py report runs/imagenet64
python experiments/imagenet64.py vary runs/imagenet64
"""

from __future__ import annotations

import sys

from pixelvae.experiments.command_line import main
from pixelvae.experiments.experiment import Experiment
from pixelvae.models.hierarchical.presets import HIERARCHICAL

EXPERIMENT = Experiment(
    "imagenet64.py",
    __doc__,
    HIERARCHICAL,
    data={(3, 64, 64): "imagenet64"},
    default="64px_big",
    picture_files=True,
    # Its "test" split is the published validation set, on which table 2 is.
    splits=("test",),
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT, sys.argv[1:]))
