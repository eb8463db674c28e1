"""Numbers as numbers are set: columns of them end at one edge, and a minus is no hyphen."""

import re

from docutils import nodes
from sphinx.application import Sphinx

# A computed value as Python prints it, and a zero that rounding has left a sign.
SIGNED = re.compile(r"(?<![\w.)])-(?=\d)")
NO_SIZE = re.compile(r"(?<![\w.)])-(?=0(?:\.0+)?(?![\d.e]))")
NUMERIC = re.compile(r"[\s\d.,()\u2212\u00b1%/–]+|to|of", re.ASCII)


def typeset(text: str) -> str:
    """With a true minus, and none before a zero.

    >>> typeset("-0.62 to -0.00, 1e-05"), typeset("T176-2018")
    ('\u22120.62 to 0.00, 1e-05', 'T176-2018')
    """
    return SIGNED.sub("\u2212", NO_SIZE.sub("", text))


def is_numeric(text: str) -> bool:
    """Whether a cell holds numbers: one, a range, a count of others.

    >>> [is_numeric(text) for text in ("0.018 to 0.034", "3 of 4", "rank 2", "")]
    [True, True, False, False]
    """
    return any(c.isdigit() for c in text) and not NUMERIC.sub("", text)


def set_numbers(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    if app.builder.name != "html":
        return
    for value in doctree.findall(nodes.inline):
        if "pasted-text" in value["classes"]:
            for text in list(value.findall(nodes.Text)):
                text.parent.replace(text, nodes.Text(typeset(text.astext())))
    for table in doctree.findall(nodes.tgroup):
        rows = [list(row.findall(nodes.entry)) for row in table.findall(nodes.row)]
        for column in list(zip(*rows, strict=False))[1:]:
            body = [entry for entry in column if isinstance(entry.parent.parent, nodes.tbody)]
            cells = [text for entry in body if (text := entry.astext().strip())]
            if cells and all(map(is_numeric, cells)):
                for entry in column:
                    entry["classes"].append("number")


def setup(app: Sphinx) -> dict:
    app.connect("doctree-resolved", set_numbers)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
