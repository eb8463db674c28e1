"""Slides of the chapters for a lecture: reveal.js, which needs no network, one idea a slide.

A slide is a title, a numbered equation, a box, a figure with its caption, or a question marked Think, whose
answer and the section's minutes are in the speaker's notes.
"""

import html
import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from docutils import nodes
from editions import find_teaching
from nbconvert.filters.markdown_mistune import markdown2html_mistune
from notebooks import Chapter, Notebooks, is_cell, outputs, seen_in
from plain import ANSWER, depth
from sphinx.application import Sphinx
from sphinx.errors import SphinxError

HERE = Path(__file__).parent
REVEAL = ("LICENSE", "dist/reset.css", "dist/reveal.css", "dist/reveal.js", "plugin/notes/notes.js")
MATHJAX = "mathjax-tex-svg-full.js"
LEFT_OUT = ("Exercises", "Further reading", "References")
LINES = 13  # that a slide holds in its usual size, below its title
SENTENCE = re.compile(r"(?<=[.?!]) (?=[A-Z])")


class Slides(Notebooks):
    """Writes `<chapter>.html`, and what it loads, beside it."""

    name, format = "slides", "slides"

    def link(self, docname: str, node: nodes.Element) -> str | None:
        """A slide leads nowhere but to papers."""
        return None if node.get("internal") else node.get("refuri")

    def prepare_writing(self, docnames: set[str]) -> None:
        self.teaching = find_teaching(self)

    def write_doc(self, docname: str, doctree: nodes.document) -> None:
        if made := self.chapter(docname, doctree):
            name = PurePosixPath(docname).name
            minutes = self.teaching.minutes(name) if self.teaching else {}
            text = (HERE / "slides.html").read_text()
            title = next(doctree.findall(nodes.title))
            text = text.replace("<!--title-->", html.escape(title.astext()))
            text = text.replace("<!--slides-->", "\n".join(Deck(made, minutes).slides(title.parent)))
            (Path(self.outdir) / f"{name}.html").write_text(text)

    def finish(self) -> None:
        """Lay what every deck loads beside it."""
        package = find_spec("sphinx_revealjs")
        if package is None or not package.submodule_search_locations:
            raise SphinxError("expected reveal.js in the package sphinx-revealjs: run `make env`")
        source = Path(package.submodule_search_locations[0]) / "_static/revealjs"
        target = Path(self.outdir) / "reveal"
        target.mkdir(exist_ok=True)
        for file in (*(source / name for name in REVEAL), HERE.parent / "_static" / MATHJAX):
            shutil.copy(file, target)


class Deck:
    """The slides of one chapter."""

    def __init__(self, made: Chapter, minutes: dict[str, str]):
        self.writer, self.source, self.minutes = made.writer, made.source, minutes
        self.section = ""

    def slides(self, parent: nodes.Element) -> Iterator[str]:
        """In the order of the page."""
        children = [node for node in parent.children if not isinstance(node, nodes.Invisible | nodes.target)]
        for before, node, after in zip([None, *children], children, [*children[1:], None], strict=False):
            match node:
                case nodes.title() if depth(node) < 3 and node.astext() != "Summary":
                    yield self.heading(node, after)
                case nodes.section() if node.children[0].astext() not in LEFT_OUT:
                    yield from self.slides(node)
                case nodes.bullet_list() if parent.children[0].astext() == "Summary":
                    yield from self.text("Summary", [self.item(item) for item in node.children], "box")
                case nodes.math_block() if self.writer.number("displaymath", node):
                    yield self.equation(before, node, after)
                case nodes.Admonition():
                    yield from self.box(node, after)
                case nodes.container() if is_cell(node):
                    yield from self.figures(node)
                case nodes.container():
                    yield from self.slides(node)

    def heading(self, title: nodes.Element, after) -> str:
        """With how the chapter or the section begins."""
        words = self.writer.words(title)
        lead = self.sentences(after)
        if depth(title) == 1:
            return slide("title", f"<h1>{words}</h1>{rendered([' '.join(lead[:2])])}")
        self.section = words
        notes = self.minutes.get(self.writer.inline(title), "")
        return slide("section", f"<h2>{words}</h2>{rendered([s for s in lead[:1] if s[-1] in '.?'])}", notes)

    def sentences(self, node) -> list[str]:
        if not isinstance(node, nodes.paragraph):
            return []
        return SENTENCE.split(self.writer.text(self.writer.block(node)))

    def item(self, node: nodes.Element) -> str:
        return f"- {self.writer.text(node)}".replace("\n", "\n  ")

    def equation(self, before, node: nodes.Element, after) -> str:
        """With the sentence that leads to it, and the one that goes on after it."""
        goes_on = isinstance(after, nodes.paragraph) and after.astext()[:1].islower()
        blocks = [*self.sentences(before)[-1:], *self.writer.block(node), *self.sentences(after)[:goes_on]]
        return slide("equation", f'<p class="running">{self.section}</p>{rendered(blocks)}')

    def box(self, node: nodes.Element, after) -> Iterator[str]:
        """A proposition, a theorem or a definition, or a question; proofs and exercises have no slide."""
        words, inside = self.writer.parts(node)
        if words == "Think":
            answer = ""
            if isinstance(after, nodes.Admonition) and self.writer.parts(after)[0] == ANSWER:
                answer = self.writer.text(self.writer.parts(after)[1])
            yield from self.text("Think", inside, "think", answer)
        elif "realtype" in node and type(node).__name__ != "proof_node":
            yield from self.text(words, inside, "box")

    def text(self, title: str, blocks: list, kind: str, notes: str = "") -> Iterator[str]:
        """On as many slides as its lines take."""
        shown = [block for block in blocks if isinstance(block, str)]
        total, first = sum(map(lines, shown)), title
        count = max(1, -(-total // LINES))
        held: list[str] = []
        for block in shown:
            if held and sum(map(lines, held)) + lines(block) > max(LINES, total / count):
                yield slide(kind, f"<h2>{title}</h2>{rendered(held)}", notes)
                held, title = [], f"{first}, continued"
            held.append(block)
        yield slide(kind, f"<h2>{title}</h2>{rendered(held)}", notes)

    def figures(self, cell: nodes.Element) -> Iterator[str]:
        shown = [output.get("data", {}) for output in outputs(self.source[cell["cell_index"]])]
        drawn = [data["image/png"] for data in shown if "image/png" in data]
        captions = [text for text in self.writer.caption(cell) if not text.startswith("<details>")]
        for picture, caption in zip(drawn, captions, strict=False):
            image = f'<img alt="{html.escape(seen_in(cell))}" src="data:image/png;base64,{picture.strip()}">'
            frame = f'<div class="frame">{image}<div class="caption">{rendered([caption])}</div></div>'
            yield slide("figure", f'<p class="running">{self.section}</p>{frame}')


def lines(block: str) -> float:
    """How many it takes, about."""
    if block.startswith("$$"):
        return 2 + 1.2 * block.count(r"\\")
    return -(-len(re.sub(r"\\[A-Za-z]+|[{}$^_]", "", block)) // 75) + 0.5


def rendered(blocks: list) -> str:
    """Markdown as HTML. Numbers of equations stand beside them, as MathJax measures no slide out of sight."""
    text = "\n\n".join(block for block in blocks if isinstance(block, str))
    return markdown2html_mistune(re.sub(r" \\tag\{([\d.]+)\}\$\$", r"\\qquad(\1)$$", text))


def slide(kind: str, content: str, notes: str = "") -> str:
    aside = f'<aside class="notes">{rendered([notes])}</aside>' if notes else ""
    return f'<section class="{kind}">{content}{aside}</section>'


def setup(app: Sphinx) -> dict:
    app.add_builder(Slides)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
