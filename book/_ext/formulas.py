"""Mathematics of the pages, set when they are built: a reader has no script to load, and none to wait for."""

import json
import re
from functools import cache
from html import escape
from pathlib import Path

import quickjs
from docutils import nodes
from plain import whole
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

KATEX = Path(__file__).parents[1] / "_static/katex/katex.min.js"
# As JSON, for the engine hands over no string that JavaScript has put together of long pieces.
RENDER = """(tex, options) => {
    try { return JSON.stringify([katex.renderToString(tex, JSON.parse(options)), null]) }
    catch (error) { return JSON.stringify([null, error.message]) }
}"""
# The formula's source within its MathML: searching a page would show it.
SOURCE = re.compile(r'<annotation encoding="application/x-tex">[^<]*</annotation>')
UNBROKEN = {r"\mid": r"\mathrel{\vert}\nobreak"}  # no line of text ends within p(n | e)
FONTS = ("Main-Regular", "Math-Italic")  # of nearly every formula

logger = logging.getLogger(__name__)


@cache
def engine():
    context = quickjs.Context()
    context.eval(KATEX.read_text())
    return context.eval(RENDER)


@cache
def rendered(tex: str, options: str) -> tuple[str | None, str | None]:
    """HTML, with MathML for those who listen, or what is wrong with the formula."""
    made, wrong = json.loads(engine()(tex, options))
    return made and SOURCE.sub("", made), wrong


def html(writer, node: nodes.Element, tex: str, display: bool) -> str:
    macros = writer.config.mathjax3_config["tex"]["macros"]
    macros = {f"\\{name}": text[0] if isinstance(text, list) else text for name, text in macros.items()}
    options = {"displayMode": display, "macros": macros | UNBROKEN, "strict": "error"}
    made, wrong = rendered(tex, json.dumps(options))
    if made is None:
        logger.error("%s: %s", node.astext().strip(), wrong, location=place(node))
    return made or f"<code>{writer.encode(tex)}</code>"


def place(node: nodes.Element) -> nodes.Element:
    """What knows its line: a formula within a caption does not."""
    while node.line is None and node.parent is not None:
        node = node.parent
    return node


STOP = re.compile(r"""^[.,;:!?)\]}’”'"%-]+""")


def take_stops(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """What no line may begin with belongs to the formula before it, which a line can end with."""
    if app.builder.name != "html":
        return
    for formula in list(doctree.findall(nodes.math)):
        after = formula.next_node(descend=False, siblings=True)
        if isinstance(after, nodes.Text) and (found := STOP.match(after.astext())):
            formula["after"] = found[0]
            after.parent.replace(after, nodes.Text(after.astext()[found.end() :]))


def with_stop(made: str, after: str) -> str:
    """A formula, whose last part and what follows stay in one line."""
    if not after or not (shown := re.search(r'<span class="katex-html"[^>]*>', made)):
        return made
    depth, last = 0, shown.end()
    for tag in re.finditer(r"<span[^>]*>|</span>", made[shown.end() :]):
        depth += -1 if tag[0] == "</span>" else 1
        if depth < 0:
            break
        if depth == 1 and tag[0] != "</span>":
            last = shown.end() + tag.start()
    end = shown.end() + tag.start()
    first = f"{made[:last]}</span>" if last > shown.end() else made[: shown.start()]
    stop = f'<span class="after">{escape(after)}</span>'
    return f'{first}<span class="stay">{shown[0]}{made[last:end]}</span>{stop}</span></span>'


def visit_inline(writer, node: nodes.math) -> None:
    made = with_stop(html(writer, node, node.astext(), display=False), node.get("after", ""))
    writer.body.append(f'<span class="notranslate">{made}</span>')
    raise nodes.SkipNode


def visit_block(writer, node: nodes.math_block) -> None:
    writer.body.append(writer.starttag(node, "div", CLASS="math notranslate"))
    if node["number"]:
        writer.body.append(f'<span class="eqno">({get_node_equation_number(writer, node)})')
        writer.add_permalink_ref(node, "Link to this equation")
        writer.body.append("</span>")
    writer.body.append(f"{html(writer, node, whole(node.astext()), display=True)}</div>\n")
    raise nodes.SkipNode


def ask_for_fonts(app: Sphinx, pagename, templatename, context, doctree) -> None:
    """Beside the styles, not after them: else formulas change their width when these come on a slow line."""
    if 'class="katex"' in context.get("body", ""):
        for name in FONTS:
            address = context["pathto"](f"_static/katex/fonts/KaTeX_{name}.woff2", 1)
            context["metatags"] += (
                f'<link rel="preload" as="font" type="font/woff2" crossorigin href="{address}">\n'
            )


def setup(app: Sphinx) -> dict:
    app.add_html_math_renderer("katex", (visit_inline, None), (visit_block, None))
    app.connect("doctree-resolved", take_stops)
    app.connect("html-page-context", ask_for_fonts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
