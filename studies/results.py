#!/usr/bin/env python
"""The paper's results beside ours: writes their pages and tables of weights from the records.

python studies/results.py

Reads ``results/`` alone: no data set, no weights. What has no record is left out, and the page
notes it.
"""

from __future__ import annotations

import sys

from pixelvae.machine.console.command import main
from studies.publishing.pages import write_pages
from studies.publishing.records import ROOT

if __name__ == "__main__":
    sys.exit(main(write_pages, ROOT))
