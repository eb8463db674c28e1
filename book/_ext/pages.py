"""What the pages need beyond Jupyter Book: links that lead on, Markdown docstrings, no dead scripts."""

import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import repository  # noqa: E402

REPOSITORY = repository.find()


def set_buttons(app: Sphinx, config: Config) -> None:
    """The theme's buttons lead to the repository that is known. A button that leads nowhere is left out."""
    options = config.html_theme_options
    if REPOSITORY and REPOSITORY.provider:
        options |= {"repository_url": REPOSITORY.url, "repository_branch": REPOSITORY.branch}
    else:
        buttons = ("use_repository_button", "use_issues_button", "use_edit_page_button")
        options |= {"repository_url": "", **dict.fromkeys(buttons, False)}
    if not (REPOSITORY and REPOSITORY.colab("")):
        options["launch_buttons"] = {}


def notebook_of(app: Sphinx, docname: str) -> Path | None:
    """The notebook beside a chapter."""
    found = Path(app.env.doc2path(docname)).with_suffix(".ipynb")
    return found if found.exists() else None


def add_notebook_link(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Under the title of every page that has a notebook: Colab opens it, or the reader downloads it."""
    title = next(doctree.findall(nodes.title), None)
    if app.builder.format != "html" or title is None or notebook_of(app, docname) is None:
        return
    if colab := REPOSITORY and REPOSITORY.colab(f"{docname}.ipynb"):
        link = nodes.reference("", "Open in Colab", refuri=colab, classes=["notebook", "colab"])
    else:
        file = "../" * docname.count("/") + f"_sources/{docname}.ipynb"
        link = addnodes.download_reference("", "Download the notebook", refuri=file, classes=["notebook"])
    title.parent.insert(title.parent.index(title) + 1, nodes.paragraph("", "", link))


def offer_notebook(app: Sphinx, pagename, templatename, context, doctree) -> None:
    """The theme's menu of downloads has the notebook too."""
    if pagename in app.env.found_docs and notebook_of(app, pagename):
        context["ipynb_source"] = f"{pagename}.ipynb"


def open_notebook(app: Sphinx, pagename, templatename, context, doctree) -> None:
    """The theme's button opens the plain notebook, which is on a branch of its own."""
    for group in context.get("header_buttons", []):
        if group.get("label") == "launch-buttons":
            for button in group["buttons"]:
                button["url"] = REPOSITORY and REPOSITORY.colab(f"{pagename}.ipynb")


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


NOT_UNIQUE = {"exercise-content", "solution-content", "proof-content", "proof"}


def drop_ids(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """The boxes of exercises and proofs have ids that are the same in each; one id is one element."""
    for node in doctree.findall(nodes.Element):
        if NOT_UNIQUE & set(node["ids"]):
            node["ids"] = [one for one in node["ids"] if one not in NOT_UNIQUE]


def drop_thebe(app: Sphinx, pagename, templatename, context, doctree) -> None:
    """sphinx-thebe leaves its script in every page, where it fails for want of an address."""
    scripts = context["script_files"]
    context["script_files"] = [s for s in scripts if "thebe" not in f"{s.filename} {s.attributes}"]


# docutils calls the bibliography a list, whose items are none; a summary has its words, and needs no others.
WRONG = {
    '<div role="list" class="citation-list">': '<div class="citation-list">',
    ' aria-label="Toggle hidden content"': "",
}


def mend_labels(app: Sphinx, pagename, templatename, context, doctree) -> None:
    if "body" in context:
        for wrong, right in WRONG.items():
            context["body"] = context["body"].replace(wrong, right)


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", set_buttons)
    app.connect("autodoc-process-docstring", read_markdown)
    app.connect("doctree-resolved", add_notebook_link)
    app.connect("doctree-resolved", drop_ids)
    app.connect("html-page-context", offer_notebook, priority=400)  # before the theme makes its menus
    app.connect("html-page-context", open_notebook, priority=900)  # after it
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("html-page-context", mend_labels)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
