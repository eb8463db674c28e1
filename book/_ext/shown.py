"""The code that the pages show: no assertions, and no numbers kept for the prose, as in notebooks."""

import html
import re

import harness
from docutils import nodes
from notebooks import is_cell
from sphinx.application import Sphinx


def show(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Of each cell what a reader would run; of a cell that has nothing of it what it printed."""
    if app.builder.format != "html":
        return  # the other builders split the notebook's own code
    inputs = [part for cell in doctree.findall(is_cell) for part in cell.findall(is_input)]
    halves = [harness.split(part.astext()) for part in inputs]
    shown = harness.drop_switches([half[0] for half in halves], [half[1] for half in halves])
    for number, (part, code) in enumerate(zip(inputs, shown, strict=True)):
        if not code:
            cell = part.parent
            cell.remove(part)
            if not cell.children:
                cell.parent.remove(cell)
            continue
        block = next(part.findall(nodes.literal_block))
        block.rawsource = code  # Sphinx highlights a block only where both are the same
        block.children = [nodes.Text(code)]
        # An element for each line, so that what a narrow page breaks goes on indented.
        block["highlight_args"] = {"linespans": f"code-{number}"}


def is_input(node: nodes.Node) -> bool:
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code_source"


LINE = re.compile(r'(<span id="code-\d+-\d+")>((?:<[^>]*>)*( *))')


def tell_indent(app: Sphinx, pagename, templatename, context, doctree) -> None:
    """The style knows how far a line of code is indented."""
    if "body" in context:
        context["body"] = LINE.sub(lambda m: f'{m[1]} style="--indent:{len(m[3])}">{m[2]}', context["body"])


OUTPUT = re.compile(r'(<div class="output [^"]*"><div class="highlight"><pre)>(.*?)</pre>', re.DOTALL)
ROW = re.compile(r"(\S {2,}){2,}\S")


def tell_columns(app: Sphinx, pagename, templatename, context, doctree) -> None:
    """The style knows how wide a printed table is, which a narrow page must not break."""

    def told(match: re.Match) -> str:
        lines = html.unescape(re.sub("<[^>]*>", "", match[2])).splitlines()
        if sum(1 for line in lines if ROW.search(line)) < 2:
            return match[0]
        return f'{match[1]} class="columns" style="--columns:{max(map(len, lines))}">{match[2]}</pre>'

    if "body" in context:
        context["body"] = OUTPUT.sub(told, context["body"])


def setup(app: Sphinx) -> dict:
    app.connect("doctree-resolved", show)
    app.connect("html-page-context", tell_indent)
    app.connect("html-page-context", tell_columns)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
