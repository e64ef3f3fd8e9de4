"""The pages of results: templates filled from the records in ``results/``."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev

from pixelvae.experiments.summaries import duration, with_error
from pixelvae.machine.console.progress import say
from pixelvae.machine.parallel.world import on_rank_0
from pixelvae.models.mnist.table1 import ORDERINGS, PUBLISHED, VARIANTS
from studies.publishing import records
from studies.publishing.curves import draw_curves

BEGIN = "<!-- trained weights: studies/results.py writes the lines up to the end mark -->"
END = "<!-- end of trained weights -->"

#: The template of each page that is made whole; README.md keeps what is outside the marks.
PAGES = {
    "docs/results.md": "results.md",
    "docs/natural-images.md": "natural-images.md",
    "docs/gallery.md": "gallery.md",
    "pretrained/README.md": "pretrained.md",
}


def pages(root: Path) -> dict[Path, str]:
    """The text of every page that is made from records, by its path under ``root``."""
    environment, content = _environment(), _content(root)
    texts = {
        Path(path): environment.get_template(template).render(content)
        for path, template in PAGES.items()
    }
    readme = root / "README.md"
    whole = readme.read_text(encoding="utf-8") if readme.exists() else ""
    if BEGIN in whole and END in whole:
        before, after = whole.split(BEGIN)[0], whole.split(END)[1]
        tables = environment.get_template("readme.md").render(content)
        texts[Path("README.md")] = f"{before}{BEGIN}\n{tables}{END}{after}"
    return texts


@on_rank_0
def write_pages(root: Path) -> None:
    """Writes all pages and the picture of the curves.

    Raises UserError where one cannot be written.
    """
    from pixelvae.machine.files.atomic import atomic_write, user_errors

    draw_curves(root, records.read_records(root), records.read_photographs(root))
    for path, page in pages(root).items():
        with user_errors(f"cannot write {root / path}"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(root / path) as file:
            file.write(page.encode())
        say(f"wrote {root / path}")


def _content(root: Path) -> dict:
    """What the templates are filled with."""
    trained = records.read_records(root)
    return {
        "records": trained,
        "dynamic": records.read_records(root, records.DYNAMIC),
        "photographs": records.read_photographs(root),
        "compared": [pair for pair in ORDERINGS if set(pair) <= set(trained)],
        "races": records.read_folder(root / records.RACES),
        "ablations": records.read_json(root / records.ABLATIONS),
        "photographs_races": records.read_folder(root / records.PHOTOGRAPHS_RACES),
        "figure4": records.read_json(root / "results/figure4/figure4.json"),
        "figure5": records.read_json(root / "results/figure5/figure5.json"),
        "pictures": {file.name for file in (root / "results").rglob("*.png")},
    }


def _environment():
    """The templates, and how they write what a record holds."""
    from pixelvae.experiments.pages.html import templates

    environment = templates(Path(__file__).parent / "templates", keep_trailing_newline=True)
    environment.globals.update(
        variants=VARIANTS,
        published=PUBLISHED,
        published_dynamic=records.PUBLISHED_DYNAMIC,
        difference=records.difference,
    )
    environment.tests.update(best_at_the_end=records.best_at_the_end)
    environment.filters.update(
        value=with_error,
        duration=duration,
        thousands=lambda number: f"{number:,}",
        percent=lambda error: f"{100 * error:.1f} %",
        mean=mean,
        stdev=stdev,
        groups=records.groups,
        over_seeds=records.over_seeds,
        training_commands=records.training_commands,
        trainings_told_once=records.trainings_told_once,
        images_seen=records.images_seen,
        images_of_each=records.images_of_each,
        generalisation_gap=records.generalisation_gap,
    )
    return environment
