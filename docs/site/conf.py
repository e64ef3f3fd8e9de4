"""Sphinx's settings for the site (``make docs``): README.md, docs/, docstrings and notebooks.

The source folder is the clone, so that the pages' links mean on the site what they mean in it.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from docutils.nodes import SkipNode, literal
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.addnodes import pending_xref

from pixelvae.lib.ops.native import NativeOp
from pixelvae.machine.version import VERSION

HERE = Path(__file__).parent
#: What pages call ``lib/ops/gate.py:Gate``, where it has a place in the reference.
CODE = re.compile(r"(?:pixelvae/)?((?:api|lib|models|datasets)[\w/]*)\.py(?::([\w.]+))?")

project = "PixelVAE"
version = release = VERSION
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
root_doc = "README"
include_patterns = ["*.md", "docs/**", "notebooks/*.ipynb", "pretrained/README.md"]
exclude_patterns = [".*", "build", "data", "runs", "docs/site/contents.md"]

# Markdown as GitHub reads it, with its formulas and the anchors of its headings.
myst_enable_extensions = ["dollarmath", "html_image"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks/execute.py keeps their outputs

# Docstrings.
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "ignore-module-all": True,
    "exclude-members": ", ".join(dir(NativeOp.__base__)),  # documented by Theano
}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autosummary_generate = True
default_role = "code"
nitpicky = True  # functions, methods and modules that docstrings refer to are there
nitpick_ignore_regex = [("py:(class|exc|obj)", ".*"), ("py:.*", r"pixelvae\.machine\..*")]
napoleon_google_docstring = False

html_theme = "furo"
html_title = "PixelVAE"
html_copy_source = False
html_show_search_summary = False  # the browser fetches no pages from a disk
html_math_renderer = "mathml"


def formula(writer, node, block: bool = False) -> None:
    """TeX as MathML, which browsers typeset by themselves."""
    writer.body.append(tex2mathml(node.astext(), as_block=block))
    raise SkipNode


def add_contents(app, name: str, source: list[str]) -> None:
    """The front page is README.md with the table of contents, which GitHub does not show."""
    if name == root_doc:
        source[0] += (HERE / "contents.md").read_text(encoding="utf-8")


def link_code(app, page) -> None:
    """Files and their functions lead to the reference, where they have a place in it."""
    for node in list(page.findall(literal)):
        if found := CODE.fullmatch(node.astext()):
            target = ".".join(["pixelvae", *found[1].split("/"), *filter(None, [found[2]])])
            link = pending_xref(
                "", refdomain="py", reftype="obj", reftarget=target, refdoc=app.env.docname
            )
            node.replace_self(link)
            link += node


def add_index(app, problem: Exception | None) -> None:
    """The front page under the name that servers and people look for."""
    if problem is None and app.builder.name == "html":
        shutil.copy(app.outdir / "README.html", app.outdir / "index.html")


def setup(app) -> None:
    """What Sphinx calls."""
    app.add_html_math_renderer(
        "mathml", (formula, None), (lambda writer, node: formula(writer, node, block=True), None)
    )
    app.connect("source-read", add_contents)
    app.connect("doctree-read", link_code)
    app.connect("build-finished", add_index)
