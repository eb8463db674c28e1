"""The chapters as plain notebooks, for Colab and for downloads: a builder of Sphinx, as that of the pages.

It takes the text from the resolved pages, with all numbers and references in it, and the code, with what it
printed and drew, from the notebooks that were run for them.
"""

import html
import posixpath
import re
from contextlib import suppress
from pathlib import Path

import harness
import nbformat
import plain
from docutils import nodes
from jupyter_cache import get_cache
from pages import REPOSITORY
from sphinx.application import Sphinx
from sphinx.builders import Builder
from sphinx.errors import SphinxError
from sphinx.util.osutil import ensuredir

from lrcore.pictures import EXTRAS

METADATA = {
    "accelerator": "GPU",  # Colab opens a machine that has one
    "colab": {"gpuType": "T4", "provenance": []},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
NOTE = "*This is {} as a notebook: the numbers and figures are those of the page until you run it.*"
EMPTY = 'REPOSITORY = ""'  # the line of tools/setup_cell.py
SIZE = """\
# @title Size: `smoke` takes seconds, `book` is what the text speaks of, `full` asks for a GPU
SIZE = "book"  # @param ["smoke", "book", "full"]"""
AFTER = """
if SIZE not in ("smoke", "book", "full"):
    stop(f"SIZE: expected smoke, book or full, got {SIZE!r}: choose one in the cell above.")
os.environ["LRCORE_SCALE"] = SIZE

import jax

if jax.default_backend() == "cpu":
    print("Running on the CPU. For a GPU in Colab: Runtime > Change runtime type > T4 GPU, then run again.")
else:
    print("Running on", jax.devices()[0].device_kind)"""
# What is folded: a line with its title in Colab, a bar in JupyterLab.
FORM = {"cellView": "form", "jupyter": {"source_hidden": True}}
SETUP = "Set-up: installs what is missing, and names the device"
NUMBERS = "The numbers of the text, in the size that was run"
CHECK = "What the text says, checked"
FIGURE = "Draws the figure"
DEVICE = 'print("running on", jax.devices()[0].platform)'  # the chapter's own line, which AFTER stands for


def source(build: Path, docname: str) -> Path:
    """The code of a page, as a notebook."""
    return build / "jupyter_execute" / f"{docname}.ipynb"


def executed(build: Path, docname: str) -> list:
    """The cells of a page, with what they printed and drew."""
    if not source(build, docname).exists():
        return []
    notebook = nbformat.read(source(build, docname), as_version=4)
    with suppress(KeyError):  # its outputs are kept apart; there are none where nothing was run
        _, notebook = get_cache(str(build / ".jupyter_cache")).merge_match_into_notebook(notebook)
    return notebook.cells


class Notebooks(Builder):
    """Writes `<chapter>.ipynb`. Links lead to the pages, or to the notebook beside it where these have no
    address."""

    name, format, note = "notebooks", "notebook", NOTE

    def init(self) -> None:
        self.site = (REPOSITORY.links() if REPOSITORY else {}).get("Documentation", "")
        self.macros = self.config.mathjax3_config["tex"]["macros"]

    def get_outdated_docs(self):
        return sorted(name for name in self.env.found_docs if source(Path(self.outdir).parent, name).exists())

    def get_target_uri(self, docname: str, typ: str | None = None) -> str:
        return f"{self.site}{docname}.html" if self.site else f"{docname}.ipynb"

    def get_relative_uri(self, from_: str, to: str, typ: str | None = None) -> str:
        if self.site:
            return self.get_target_uri(to)
        if not source(Path(self.outdir).parent, to).exists():
            return ""
        return posixpath.relpath(self.get_target_uri(to), posixpath.dirname(from_))

    def link(self, docname: str, node: nodes.Element) -> str | None:
        """Where a reference leads; None where nothing can be opened."""
        page, _, place = (node.get("refuri") or f"#{node.get('refid', '')}").partition("#")
        if not node.get("internal"):
            return node.get("refuri")
        if not self.site:  # a notebook has no places to lead to
            return page or None
        return f"{page or self.get_target_uri(docname)}{'#' * bool(place)}{place}"

    def prepare_writing(self, docnames: set[str]) -> None:
        pass

    def chapter(self, docname: str, doctree: nodes.document, answers: str = "closed") -> "Chapter | None":
        """None for a page without code."""
        cells = executed(Path(self.outdir).parent, docname)
        if not any(cell.cell_type == "code" for cell in cells):
            return None
        numbers = self.env.toc_fignumbers.get(docname, {})
        made = Chapter(doctree, cells, numbers, self.macros, lambda node: self.link(docname, node), answers)
        if made.needed:
            first = cells[min(made.needed)].source.split("\n")[0]
            raise SphinxError(
                f"{docname}: what follows needs the solution that begins with {first!r}, which a reader does "
                "not run: define what is needed in the flow, under a name that no stub has"
            )
        page = f"[a page of the book]({self.get_target_uri(docname)})" if self.site else "a page of the book"
        made.blocks.insert(1, self.note.format(page))
        return made

    def write_doc(self, docname: str, doctree: nodes.document) -> None:
        if made := self.chapter(docname, doctree):
            # The pages, where there are some, offer it for download in place of what the theme laid there.
            folders = [Path(self.outdir), *Path(self.outdir).parent.glob("html/_sources")]
            write(made, *(folder / f"{docname}.ipynb" for folder in folders))


def write(made: "Chapter", *targets: Path) -> None:
    cells = list(made.cells())  # once: it uses up what the chapter holds back
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    text = nbformat.writes(nbformat.v4.new_notebook(metadata=METADATA, cells=cells)) + "\n"
    for target in targets:
        ensuredir(target.parent)
        target.write_text(text)


class Chapter:
    """The cells of one chapter: what it shows, what it runs out of sight, and what it only tells.

    No solution is run but where answers are open, so that "Run all" leaves alone what a student wrote. What
    others then `needed` of the solutions is a fault of the chapter.
    """

    def __init__(self, doctree: nodes.document, source: list, numbers, macros, link, answers: str):
        self.source = source
        self.writer = plain.Writer(numbers, macros, link, self.told, answers)
        code = [k for k, cell in enumerate(source) if cell.cell_type == "code"]
        self.setup, *code = code
        halves = {k: harness.split(source[k].source.replace(DEVICE, "")) for k in code}
        self.shown = {k: half[0] for k, half in halves.items()}
        self.blocks = self.writer.blocks(doctree)
        shown = {block["cell_index"] for block in self.blocks if not isinstance(block, str)}
        solved = {node["cell_index"] for node in doctree.findall(is_cell)} - shown
        asked = {k: "\n".join(half) for k, half in halves.items() if "check" not in tags(source[k])}
        self.needed = harness.needed(asked, solved, [k for k in code if "stub" in tags(source[k])])
        run = [k for k in code if k not in solved]
        numbers = [halves[k][1] for k in run]
        self.numbers = dict(zip(run, numbers, strict=True))
        self.shown |= zip(run, harness.drop_switches([self.shown[k] for k in run], numbers), strict=True)
        self.folded = [k for k in run if k not in shown]

    def cells(self):
        text: list[str] = []
        for block in self.blocks:
            if isinstance(block, str):
                if block.startswith("#"):  # each heading begins a cell, for Colab's contents
                    yield from markdown(text)
                    text = []
                text.append(block)
                continue
            yield from markdown(text)
            text = []
            yield from self.unseen(block["cell_index"])
            yield from self.seen(block)
        yield from markdown(text)
        yield from self.unseen(len(self.source))

    def unseen(self, end: int):
        """What the page does not show of the code before a cell."""
        if self.setup is not None and self.setup < end:
            setup, self.setup = self.source[self.setup].source, None
            yield nbformat.v4.new_code_cell(SIZE)
            yield folded(SETUP, with_address(setup) + AFTER)
        for index in [k for k in self.folded if k < end]:
            self.folded.remove(index)
            yield folded(NUMBERS, "\n".join(filter(None, (self.shown[index], self.numbers[index]))))

    def seen(self, node: nodes.Element):
        """A cell of the page, the captions of its figures, and the numbers that the text has of it."""
        cell, code = self.source[node["cell_index"]], self.shown[node["cell_index"]]
        if "remove-input" in tags(cell):
            made = folded(CHECK, code)
        elif "hide-input" in tags(cell):
            made = folded(FIGURE, code)
        else:
            made = nbformat.v4.new_code_cell(code)
        made.outputs = outputs(cell)
        if kept := tags(cell) & {"stub", "check"}:
            made.metadata["tags"] = sorted(kept)
        if alt := seen_in(node):
            made.metadata["alt"] = alt
        if code:
            yield made
        yield from markdown(self.writer.caption(node))
        if numbers := self.numbers[node["cell_index"]]:
            yield folded(NUMBERS, numbers)

    def told(self, node: nodes.Element) -> str:
        """A cell as text, which "Run all" does not run: a solution leaves alone what a student wrote."""
        found, alt = [plain.fence(self.shown[node["cell_index"]], "python")], seen_in(node)
        for output in outputs(self.source[node["cell_index"]]):
            data = output.get("data", {})
            if "image/png" in data:
                width = output.metadata.get("image/png", {}).get("width", "")
                picture = f"data:image/png;base64,{data['image/png'].strip()}"
                found.append(f'<img alt="{html.escape(alt)}" width="{width}" src="{picture}">')
            else:
                found += ["*It prints:*", plain.fence(output.get("text") or data.get("text/plain", ""))]
        return "\n\n".join(found + self.writer.caption(node))


def tags(cell) -> set[str]:
    return set(cell.metadata.get("tags", []))


def is_cell(block) -> bool:
    return isinstance(block, nodes.container) and block.get("nb_element") == "cell_code"


def seen_in(cell: nodes.Element) -> str:
    """What its pictures show, in words."""
    return " ".join(image["alt"] for image in cell.findall(nodes.image) if image.get("alt"))


def markdown(blocks: list[str]):
    if blocks:
        yield nbformat.v4.new_markdown_cell("\n\n".join(blocks))


def folded(title: str, code: str):
    return nbformat.v4.new_code_cell(f"# @title {title}\n{code}", metadata=FORM)


def with_address(setup: str) -> str:
    """The set-up cell of a chapter, which now knows where it is from."""
    return setup.replace(EMPTY, f'REPOSITORY = "{REPOSITORY.pinned()}"') if REPOSITORY else setup


def outputs(cell) -> list:
    """What a cell printed and drew, without numbers kept for the text, progress and warnings."""
    found: list = []
    for output in cell.outputs:
        if output.get("name") == "stderr" or "scrapbook" in output.get("metadata", {}):
            continue
        if "text" in output and found and "text" in found[-1]:  # printed in pieces
            found[-1].text += output.text
            continue
        if "image/png" in output.get("data", {}):
            output.metadata.pop(EXTRAS, None)  # for the pages
            output.metadata.pop("needs_background", None)
        if output.output_type == "execute_result":
            output.execution_count = None
        found.append(output)
    for output in found:
        if "text" in output:
            output.text = re.sub(r"^running on \w+\n", "", output.text, flags=re.MULTILINE)
    return [output for output in found if output.get("text") != ""]


def setup(app: Sphinx) -> dict:
    app.add_builder(Notebooks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
