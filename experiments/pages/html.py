"""Self-contained HTML files: templates, pictures as data URIs, figures as inline SVG."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pixelvae.machine.files.atomic import PathLike, atomic_write

TEMPLATES = Path(__file__).parent / "templates"

#: What a figure draws its text and axes in, so that they take the colour of the text around them.
INK = "#123456"


def templates(*folders: Path, **options: Any) -> Environment:
    """The templates in folders, in which an unknown name is an error."""
    loader, undefined = FileSystemLoader(folders, encoding="utf-8"), StrictUndefined
    return Environment(
        loader=loader, undefined=undefined, trim_blocks=True, lstrip_blocks=True, **options
    )


def write_page(path: PathLike, template: Path, **content: Any) -> None:
    """Fill a template, which may extend `page.html`, and write it, whole or not at all.

    Raises UserError if it cannot be written.
    """
    environment = templates(template.parent, TEMPLATES, autoescape=True)
    text = environment.get_template(template.name).render(content)
    with atomic_write(path) as file:
        file.write(text.encode())


def png(data: bytes) -> str:
    """The bytes of a PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(data).decode()


def svg(figure: Any, name: str, description: str) -> Markup:
    """A Matplotlib figure as SVG that stands in a page.

    Parameters
    ----------
    name
        Made part of all ids, which have to be unique in a page: letters only.
    description
        What is to be seen, for those who cannot see it.
    """
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    drawing = re.sub(
        r' (?:width|height)="[\d.]+pt"',
        "",
        text.getvalue()[text.getvalue().index("<svg") :],
        count=2,
    )
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.S)
    drawing = re.sub(r'(\bid="|"#|url\(#)', rf"\g<1>{name}-", drawing)
    label = Markup('<svg role="img" aria-label="{}"').format(description)
    return label + Markup(drawing[len("<svg") :].replace(INK, "currentColor"))
