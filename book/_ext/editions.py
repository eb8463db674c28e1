"""Editions of the plain notebooks for a course: one for students, and one for whoever teaches them.

The student edition has stubs, checks and hints, and neither solutions nor answers. The instructor edition has
both in the open, solutions as cells that run, and beside them what the page on teaching says of the chapter.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import plain
from docutils import nodes
from notebooks import Chapter, Notebooks, write
from sphinx.application import Sphinx

TEACHING = "book/teaching"
BELIEFS = "What students believe"  # how the title of that section begins
STUDENT = "*The student edition of {}: exercises have stubs, checks and hints, and no solutions.*"
INSTRUCTOR = (
    "*The instructor edition of {}: solutions are cells that run, answers are open. Where a stub was "
    "completed, the solution below it takes its place.*"
)
EDITIONS = (("student", "absent", STUDENT), ("instructor", "open", INSTRUCTOR))


class Editions(Notebooks):
    """Writes `student/<chapter>.ipynb` and `instructor/<chapter>.ipynb`."""

    name = "editions"

    def prepare_writing(self, docnames: set[str]) -> None:
        self.teaching = find_teaching(self)

    def write_doc(self, docname: str, doctree: nodes.document) -> None:
        name = PurePosixPath(docname).name
        for edition, answers, self.note in EDITIONS:
            made = self.chapter(docname, doctree, answers)
            if made and self.teaching and edition == "instructor":
                self.teaching.annotate(made, name)
            if made:
                write(made, Path(self.outdir) / edition / f"{name}.ipynb")


def find_teaching(builder: Notebooks) -> "Teaching | None":
    """None in a book without that page."""
    if TEACHING not in builder.env.found_docs:
        return None
    return Teaching(builder.env.get_and_resolve_doctree(TEACHING, builder), builder)


class Teaching:
    """What the page on teaching says: plans, by chapter and section; beliefs, by the chapter of a figure."""

    def __init__(self, page: nodes.document, builder: Notebooks):
        numbers = builder.env.toc_fignumbers.get(TEACHING, {})
        self.page = page
        self.writer = plain.Writer(numbers, builder.macros, lambda n: builder.link(TEACHING, n), lambda _: "")
        self.plans = {plan: list(self.sessions(plan)) for plan in page.findall(is_plan)}

    def sessions(self, plan: nodes.Element) -> Iterator[tuple[nodes.Element, nodes.Element]]:
        """Each with what follows it: what to skip, and what to assign."""
        blocks = list(plan.children)
        for block, after in zip(blocks, blocks[1:], strict=False):
            if isinstance(block, nodes.paragraph) and isinstance(after, nodes.bullet_list):
                yield block, after

    def minutes(self, chapter: str) -> dict[str, str]:
        """Of each section of a chapter, in each plan that has it."""
        found: dict[str, list[str]] = {}
        for plan, sessions in self.plans.items():
            name = self.writer.inline(plan.children[0]).lower()
            for session, _ in sessions:
                here, section = "", ""
                for part in session.children:
                    if isinstance(part, nodes.reference):
                        here = leads_to(part)
                    elif isinstance(part, nodes.emphasis):
                        section = self.writer.inline(part)
                    elif (share := re.match(r"\s*(\d+)", part.astext())) and here == chapter:
                        found.setdefault(section, []).append(f"{share[1]} in {name}")
        return {section: f"*Minutes: {', '.join(shares)}.*" for section, shares in found.items()}

    def courses(self, chapter: str) -> list[str]:
        """The sessions that a chapter is in, with what to skip and to assign."""
        found = []
        for plan, sessions in self.plans.items():
            for session, after in sessions:
                if chapter in map(leads_to, session.findall(nodes.reference)):
                    name = self.writer.inline(plan.children[0])
                    found.append(f"**{name}.** {self.writer.inline(session)}\n\n{self.writer.listing(after)}")
        return found

    def beliefs(self, chapter: str) -> list[str]:
        """What students believe that a figure of the chapter helps against."""
        sections = [s for s in self.page.findall(nodes.section) if s.children[0].astext().startswith(BELIEFS)]
        items = [item for section in sections for item in section.findall(nodes.definition_list_item)]
        shown = [item for item in items if chapter in map(leads_to, item.findall(nodes.reference))]
        return [self.writer.definition(item) for item in shown]

    def annotate(self, made: Chapter, chapter: str) -> None:
        """Lay what is said of a chapter into it: minutes under each section's title, the rest on top."""
        minutes = self.minutes(chapter)
        for at in range(len(made.blocks) - 1, 0, -1):
            block = made.blocks[at]
            if isinstance(block, str) and block.startswith("## ") and block[3:] in minutes:
                made.blocks.insert(at + 1, plain.quote(minutes[block[3:]]))
        notes = [
            plain.details("In the plans", "\n\n".join(found)) for found in [self.courses(chapter)] if found
        ]
        if beliefs := self.beliefs(chapter):
            notes.append(plain.details("What students believe", "\n".join(beliefs)))
        made.blocks[2:2] = notes


def is_plan(node) -> bool:
    """A section of a section of the page, with a list that says what to skip."""
    return (
        isinstance(node, nodes.section)
        and plain.depth(node.children[0]) == 3
        and any(isinstance(child, nodes.bullet_list) for child in node.children)
    )


def leads_to(reference: nodes.Element) -> str:
    """The chapter that a reference leads to."""
    page = reference.get("refuri", "").partition("#")[0]
    return PurePosixPath(page).stem if reference.get("internal") else ""


def setup(app: Sphinx) -> dict:
    app.add_builder(Editions)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
