"""A resolved page as plain Markdown, which Jupyter, Colab and GitHub all show: text and mathematics."""

import base64
import html
import itertools
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import number_reference

Macros = Mapping[str, str | list]
COMMAND = re.compile(r"\\([A-Za-z]+|.)", re.DOTALL)
ENVIRONMENT = re.compile(r"\\begin\{(align|gather|equation)\*?\}(.*)\\end\{\1\*?\}", re.DOTALL)
INNER = {"align": "aligned", "gather": "gathered", "equation": "aligned"}
ANSWER = "One answer"  # the title of what answers a question marked Think
PAPER = re.compile(r"doi:(?P<doi>10\.\S+?)\.?$|URL: (?P<url>\S+?)\.?$")  # at the end of a reference


def expand(tex: str, macros: Macros) -> str:
    r"""Mathematics without the macros that only the book's pages know.

    >>> expand(r"\norm{\E x}^2", {"E": r"\mathbb{E}", "norm": [r"\lVert #1 \rVert", 1]})
    '\\lVert \\mathbb{E} x \\rVert^2'
    """
    found, at = "", 0
    while match := COMMAND.search(tex, at):
        found, at = found + tex[at : match.start()], match.end()
        if (macro := macros.get(match[1])) is None:
            found += match[0]
            continue
        text, count = macro if isinstance(macro, list) else (macro, 0)
        for number in range(1, count + 1):
            value, at = argument(tex, at)
            text = text.replace(f"#{number}", value)
        text = expand(text, macros)
        apart = re.search(r"\\[A-Za-z]+$", text) and tex[at : at + 1].isalpha()
        found += text + " " * bool(apart)
    return found + tex[at:]


def argument(tex: str, at: int) -> tuple[str, int]:
    """What follows a command: a group without its braces, a command or a letter; and where it ends."""
    at += len(tex[at:]) - len(tex[at:].lstrip())
    if tex[at : at + 1] != "{":
        match = COMMAND.match(tex, at)
        end = match.end() if match else at + 1
        return tex[at:end], end
    depth, end = 0, at
    while end == at or depth:
        if end == len(tex):
            raise ValueError(f"expected a brace that closes the argument in {tex!r}")
        depth += {"{": 1, "}": -1}.get(tex[end], 0)
        end += 2 if tex[end] == "\\" else 1
    return tex[at + 1 : end - 1], end


def mathematics(tex: str, macros: Macros) -> str:
    r"""On one line, as quotes and lists need it, and without signs that HTML takes for its own.

    >>> mathematics("a < b\n+c", {})
    'a \\lt b +c'
    """
    tex = re.sub(r"(?<!\\)%.*", "", tex).replace("<", r"\lt ").replace(">", r"\gt ")
    return " ".join(expand(tex, macros).split())


def whole(tex: str) -> str:
    """A displayed formula as one, of one number, however many lines it has."""
    if found := ENVIRONMENT.fullmatch(tex.strip()):
        return rf"\begin{{{INNER[found[1]]}}}{found[2]}\end{{{INNER[found[1]]}}}"
    if r"\\" in tex and not tex.lstrip().startswith(r"\begin"):
        return rf"\begin{{aligned}}{tex}\end{{aligned}}"
    return tex


def display(tex: str, number: str, macros: Macros) -> str:
    tag = rf" \tag{{{number}}}" if number else ""
    return f"$${mathematics(whole(tex), macros)}{tag}$$"


def escape(text: str) -> str:
    """Words as they are, where Markdown would see marks."""
    text = re.sub(r"[\\`*$~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", " ".join(text.split("\n")))
    return text.replace("<", "&lt;")


def fence(code: str, language: str = "") -> str:
    return f"```{language}\n{code.rstrip()}\n```"


def indent(text: str, first: str, other: str = "") -> str:
    """Each line behind a mark of a list or a quote."""
    lines = [(other or " " * len(first)) + line for line in text.split("\n")]
    return first + "\n".join(line.rstrip() for line in lines)[len(other or first) :]


def quote(text: str) -> str:
    return indent(text, "> ", "> ")


def details(summary: str, text: str) -> str:
    """Closed until it is clicked. Blank lines around the text, or its mathematics stays as it is written."""
    return f"<details>\n<summary>{summary}</summary>\n\n{text}\n\n</details>"


class Writer:
    """Writes what stands on one page.

    `numbers` are those of its figures, propositions and exercises, `link` is where a reference leads, or
    None, and `code` writes a cell of code as text, where no cell can stand: in a list, or in a solution.
    A block is a string, or the node of a cell of code. `answers`, which are solutions and what answers a
    question, are `closed`, `open`, or `absent`.
    """

    def __init__(
        self,
        numbers: Mapping[str, Mapping[str, tuple]],
        macros: Macros,
        link: Callable[[nodes.Element], str | None],
        code: Callable[[nodes.Element], str],
        answers: str = "closed",
    ):
        self.numbers, self.macros, self.link, self.code = numbers, macros, link, code
        self.answers = answers

    def number(self, kind: str, node: nodes.Element) -> str:
        """As the page has it; empty where it has none."""
        return ".".join(str(n) for name in node["ids"] for n in self.numbers.get(kind, {}).get(name, ()))

    def blocks(self, parent: nodes.Element) -> list[str | nodes.Element]:
        return [block for node in parent.children for block in self.block(node)]

    def text(self, parent: nodes.Element | list) -> str:
        blocks = self.blocks(parent) if isinstance(parent, nodes.Element) else parent
        return "\n\n".join(block if isinstance(block, str) else self.code(block) for block in blocks)

    def block(self, node) -> list[str | nodes.Element]:
        match node:
            case nodes.section():
                return self.blocks(node)
            case nodes.title():
                return [f"{'#' * depth(node)} {self.inline(node)}"]
            case nodes.paragraph():
                # Not a heading or a list, whatever it begins with.
                return [re.sub(r"^(\d*)(#|[-+.)] )", r"\1\\\2", self.inline(node))]
            case nodes.math_block():
                return [display(node.astext(), self.number("displaymath", node), self.macros)]
            case nodes.literal_block():
                return [fence(node.astext(), node.get("language", "").replace("ipython3", "python"))]
            case nodes.bullet_list() | nodes.enumerated_list():
                return [self.listing(node)]
            case nodes.definition_list():
                return [self.definition(item) for item in node.children]
            case nodes.block_quote():
                return [quote(self.text(node))]
            case nodes.table():
                return [self.table(node)]
            case nodes.Admonition():
                return self.box(node)
            case nodes.figure():
                return [*map(embedded, node.findall(nodes.image)), *self.caption(node)]
            case nodes.container() if node.get("nb_element") == "cell_code":
                return [node]
            case nodes.container() if node.get("design_component") == "card-title":
                return [f"**{self.inline(node)}**"]
            case nodes.container():
                return self.blocks(node)
            case nodes.footnote():
                label, *rest = node.children
                return [f"<sup>{label.astext()}</sup> {self.text([b for n in rest for b in self.block(n)])}"]
            case nodes.transition():
                return ["---"]
            case nodes.Invisible() | nodes.meta() | nodes.target() | nodes.raw() | nodes.compound():
                return []  # a page's own: anchors, scripts, the table of contents
        raise NotImplementedError(f"no plain form is known for {node.tagname}: {str(node)[:80]}")

    def parts(self, node: nodes.Element) -> tuple[str, list[str | nodes.Element]]:
        """The title of a box, with its number, and what is in it."""
        kind = type(node).__name__
        title = next((n for n in node.children if isinstance(n, nodes.title)), None)
        words = self.words(title) if title else kind.title()
        if kind.endswith("_node") and kind != "solution_node":
            sort = node.get("realtype", "exercise")
            number = self.number(node.get("countertype", "exercise"), node)
            words = f"{sort.title()} {number}{'' if words == sort.title() else words}"
        return words, [block for n in node.children if n is not title for block in self.block(n)]

    def box(self, node: nodes.Element) -> list[str | nodes.Element]:
        """A quote with a title. Proofs, solutions and what is folded on the page are closed."""
        kind = type(node).__name__
        if kind == "proof_node":
            return [details("Proof", self.text(node.children[0]).removeprefix("Proof. "))]
        words, inside = self.parts(node)
        answer = kind == "solution_node" or words == ANSWER
        if answer and self.answers == "absent":
            return []
        if not (answer and self.answers == "open") and (answer or "dropdown" in node["classes"]):
            return [details(words, self.text(inside))]
        found: list[str | nodes.Element] = [f"**{words}.**"]
        for block in inside:  # cells of code stand between two quotes
            if isinstance(block, str) and isinstance(found[-1], str):
                found[-1] += f"\n\n{block}"
            else:
                found.append(block)
        return [quote(block) if isinstance(block, str) else block for block in found]

    def caption(self, cell: nodes.Element) -> list[str]:
        """What stands under the figures of a cell: number and caption, and what is seen, in words."""
        found = []
        for figure in cell.findall(nodes.figure):  # itself, where it is one
            number = self.number("figure", figure)
            for part in figure.findall(nodes.caption):
                found.append(f"**Fig. {number}.** {self.inline(part)}")
            for image in figure.findall(nodes.image):
                found.append(details("The figure in words", escape(image["alt"])))
        return found

    def listing(self, node: nodes.Element) -> str:
        numbered = isinstance(node, nodes.enumerated_list)
        marks = (f"{n}. " if numbered else "- " for n in itertools.count(node.get("start", 1)))
        items = [indent(self.text(item), mark) for item, mark in zip(node.children, marks, strict=False)]
        loose = any(len(item.children) > 1 for item in node.children)
        return ("\n\n" if loose else "\n").join(items)

    def definition(self, item: nodes.Element) -> str:
        terms = [self.inline(n) for n in item.children if isinstance(n, nodes.term)]
        inside = [self.text(n) for n in item.children if isinstance(n, nodes.definition)]
        return "- **" + "**, **".join(terms) + "**: " + indent("\n\n".join(inside), "  ").strip()

    def table(self, node: nodes.Element) -> str:
        rows = [[self.entry(entry) for entry in row.children] for row in node.findall(nodes.row)]
        head = next(node.findall(nodes.row)).children
        marks = {"text-right": "---:", "text-center": ":---:"}
        rule = [next((m for c, m in marks.items() if c in entry["classes"]), "---") for entry in head]
        return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], rule, *rows[1:]])

    def entry(self, node: nodes.Element) -> str:
        text = self.text(node).replace("\n\n", "<br>").replace("\n", " ")
        parts = re.split(r"(\$.+?\$)", text)
        parts[1::2] = [p.replace(r"\|", r"\Vert ").replace("|", r"\vert ") for p in parts[1::2]]
        parts[::2] = [p.replace("|", r"\|") for p in parts[::2]]
        return "".join(parts)

    def words(self, node) -> str:
        """A title without marks and links: words and mathematics."""
        if isinstance(node, nodes.math):
            return f"${mathematics(node.astext(), self.macros)}$"
        if isinstance(node, nodes.Text):
            return html.escape(str(node), quote=False)
        return "".join(map(self.words, node.children))

    def inline(self, node) -> str:
        return "".join(map(self.span, node.children))

    def span(self, node) -> str:
        match node:
            case nodes.Text():
                return escape(str(node))
            case nodes.math():
                return f"${mathematics(node.astext(), self.macros)}$"
            case nodes.emphasis():
                return f"*{self.inline(node)}*"
            case nodes.strong():
                return f"**{self.inline(node)}**"
            case nodes.literal():
                marks = "``" if "`" in node.astext() else "`"
                return f"{marks}{node.astext()}{marks}"
            case nodes.inline() if "bibtex-citation" in node["classes"]:  # Author (year)
                brackets = str.maketrans("[]", "()")
                return "".join(
                    str(n).translate(brackets) if isinstance(n, nodes.Text) else self.span(n)
                    for n in node.children
                )
            case nodes.footnote_reference():
                return f"<sup>{node.astext()}</sup>"
            case nodes.reference() | number_reference():
                paper = PAPER.search(node.get("reftitle", ""))
                if paper:
                    target = f"https://doi.org/{paper['doi']}" if paper["doi"] else paper["url"]
                else:
                    target = self.link(node)
                return f"[{self.inline(node)}]({target})" if target else self.inline(node)
            case nodes.Invisible() | nodes.target() | nodes.raw():
                return ""
            case nodes.Inline() | nodes.TextElement():
                return self.inline(node)
        raise NotImplementedError(f"no plain form is known for {node.tagname}: {str(node)[:80]}")


def embedded(image: nodes.image) -> str:
    """A picture from a file, in the text itself, where no file lies beside it."""
    picture = base64.b64encode(Path(image["uri"]).read_bytes()).decode()
    return f'<img alt="{html.escape(image["alt"])}" src="data:image/png;base64,{picture}">'


def depth(node) -> int:
    """How many sections a title is in."""
    return 0 if node.parent is None else depth(node.parent) + isinstance(node, nodes.section)
