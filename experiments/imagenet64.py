#!/usr/bin/env python
"""Section 4.3 and table 2: hierarchical PixelVAE on 64×64 ImageNet.

python experiments/imagenet64.py train --preset 64px_big --out runs/imagenet64
python experiments/imagenet64.py evaluate runs/imagenet64
python experiments/imagenet64.py sample runs/imagenet64
python experiments/imagenet64.py reconstruct runs/imagenet64
python experiments/imagenet64.py vary runs/imagenet64
"""

from __future__ import annotations

import sys

from experiments.hierarchical import Experiment
from models.imagenet64 import PRESETS

# Its "test" split is the published validation set, on which table 2 is.
EXPERIMENT = Experiment(
    "imagenet64.py", __doc__, PRESETS, data=lambda settings: "imagenet64", splits=("test",)
)

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main(sys.argv[1:]))
