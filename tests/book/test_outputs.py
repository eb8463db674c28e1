"""What the built book printed in the cells that are checked is what is committed."""

import configparser
import re
from pathlib import Path

import nbformat
import pytest
from common import CHAPTERS, NAMES, ROOT, sync
from notebooks import executed

BUILD = ROOT / "_build"
# Differences between machines, as nbval leaves them out.
SANITIZE = configparser.RawConfigParser()
SANITIZE.read(Path(__file__).with_name("sanitize.cfg"))
SANITIZED = [(SANITIZE[part]["regex"], SANITIZE[part]["replace"]) for part in ("addresses", "seconds")]

if not (BUILD / "jupyter_execute").exists():
    pytest.skip("the book is not built: run `make book`", allow_module_level=True)


def printed(cells) -> list[str]:
    """What each checked cell printed, in order."""
    found = []
    for cell in cells:
        if sync.CHECKED in cell.metadata.get("tags", []):
            told = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.outputs]
            text = "".join(told)
            for pattern, word in SANITIZED:
                text = re.sub(pattern, word, text)
            found.append(text)
    return found


@pytest.mark.parametrize("chapter", CHAPTERS, ids=NAMES)
def test_checked_cells_print_what_is_committed(chapter):
    """In the size of the pages; `make nbval` compares them in the smallest."""
    committed = nbformat.read(chapter.with_suffix(".ipynb"), as_version=4).cells
    made = printed(executed(BUILD, f"book/{chapter.stem}"))
    assert made == printed(committed)
    assert all(made)
