"""What a search finds: a word of the glossary first where it is at home, and text without TeX."""

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

GLOSSARY = "book/glossary"


def homes(glossary: nodes.document) -> dict[str, str]:
    """Of each word the page that its entry leads to last."""
    found = {}
    for item in glossary.findall(nodes.definition_list_item):
        links = [n["reftarget"] for n in item.findall(addnodes.pending_xref) if n["refdomain"] == "doc"]
        found |= {term.astext(): link for term in item.findall(nodes.term) for link in links[-1:]}
    return found


def add_words(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """As entries of the index, which a search takes before all else."""
    if app.builder.format == "html" and GLOSSARY in app.env.found_docs:
        words = [word for word, home in homes(app.env.get_doctree(GLOSSARY)).items() if home == docname]
        doctree += addnodes.index(entries=[("single", word, "", "main", None) for word in words])


def add_script(app: Sphinx, pagename, templatename, context, doctree) -> None:
    if pagename == "search":
        app.add_js_file("search.js", loading_method="defer")  # after Sphinx's own, which it changes


def setup(app: Sphinx) -> dict:
    app.connect("doctree-resolved", add_words)
    app.connect("html-page-context", add_script)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
