#!/usr/bin/env python
"""The paper's results beside ours: writes their pages and the tables of trained weights from the records.

python experiments/results.py

Reads ``results/`` alone: no data set, no weights. What has no record is left out, and a line says so.
"""

from __future__ import annotations

import sys

from experiments.publishing.all_pages import write_pages
from experiments.publishing.records import ROOT
from lib.console.command import main

if __name__ == "__main__":
    sys.exit(main(write_pages, ROOT))
