"""What the pages need beyond Jupyter Book: a Colab link, Markdown docstrings, no dead scripts."""

import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

COLAB = "https://colab.research.google.com/github"


def add_colab_link(app: Sphinx, doctree: nodes.document) -> None:
    """Link every page that has a notebook to it, at the address that _config.yml names."""
    notebook = Path(app.env.doc2path(app.env.docname)).with_suffix(".ipynb")
    title = next(doctree.findall(nodes.title), None)
    if not notebook.exists() or title is None:
        return
    options = app.config.html_theme_options
    repository = options["repository_url"].removeprefix("https://github.com/")
    address = f"{COLAB}/{repository}/blob/{options['repository_branch']}/{app.env.docname}.ipynb"
    link = nodes.reference("", "Open in Colab", refuri=address, classes=["colab"])
    title.parent.insert(title.parent.index(title) + 1, nodes.paragraph("", "", link))


# What lrcore's docstrings use of Markdown: a displayed formula, then code, then a formula in a line.
MARKDOWN = re.compile(r"\n?([ ]*)\$\$(.+?)\$\$([.,;]?)\n?|``.+?``|`([^`]+)`|\$([^$]+)\$", re.DOTALL)


def to_rst(match: re.Match) -> str:
    indent, display, stop, code, formula = match.groups()
    if display:
        return f"\n\n{indent}.. math:: {' '.join(display.split())}{stop}\n\n"
    if code:
        return f"``{code}``"
    return f":math:`{' '.join(formula.split())}`" if formula else match[0]


def read_markdown(app: Sphinx, what, name, thing, options, lines: list[str]) -> None:
    """Docstrings are Markdown, as the chapters are; autodoc reads reStructuredText."""
    blocks = "\n".join(lines).split("\n\n")
    text = "\n\n".join(b if b.lstrip().startswith(">>>") else MARKDOWN.sub(to_rst, b) for b in blocks)
    lines[:] = text.split("\n")


def drop_thebe(app: Sphinx, pagename, templatename, context, doctree) -> None:
    """sphinx-thebe leaves its script in every page, where it fails for want of an address."""
    scripts = context["script_files"]
    context["script_files"] = [s for s in scripts if "thebe" not in f"{s.filename} {s.attributes}"]


def setup(app: Sphinx) -> dict:
    app.connect("autodoc-process-docstring", read_markdown)
    app.connect("doctree-read", add_colab_link)
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
