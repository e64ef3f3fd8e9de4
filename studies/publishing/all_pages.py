"""All pages that are made from the records in ``results/``."""

from __future__ import annotations

from pathlib import Path

from pixelvae.machine.console.progress import say
from pixelvae.machine.parallel.world import on_rank_0
from studies.publishing.mnist_curves import draw_curves
from studies.publishing.mnist_page import results_page
from studies.publishing.photographs_page import photographs_page
from studies.publishing.records import read_photographs, read_records
from studies.publishing.weights_page import readme_section, weights_page

BEGIN = "<!-- trained weights: studies/results.py writes the lines up to the end mark -->"
END = "<!-- end of trained weights -->"


def pages(root: Path) -> dict[Path, str]:
    """The text of every page that is made from records, by its path under ``root``."""
    records, photographs = read_records(root), read_photographs(root)
    texts = {
        Path("docs/results.md"): "\n".join(results_page(root, records)) + "\n",
        Path("docs/natural-images.md"): "\n".join(photographs_page(root)) + "\n",
        Path("pretrained/README.md"): "\n".join(weights_page(records, photographs)) + "\n",
    }
    readme = root / "README.md"
    whole = readme.read_text(encoding="utf-8") if readme.exists() else ""
    if BEGIN in whole and END in whole:
        before, after = whole.split(BEGIN)[0], whole.split(END)[1]
        section = "\n".join([BEGIN, *readme_section(records, photographs), END])
        texts[Path("README.md")] = before + section + after
    return texts


@on_rank_0
def write_pages(root: Path) -> None:
    """Writes all pages and the picture of the curves. Raises UserError where one cannot be written."""
    from pixelvae.machine.files.atomic import atomic_write, user_errors

    if records := read_records(root):
        draw_curves(root, records)
    for path, page in pages(root).items():
        with user_errors(f"cannot write {root / path}"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(root / path) as file:
            file.write(page.encode())
        say(f"wrote {root / path}")
