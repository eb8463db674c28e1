"""The committed notebooks are the chapters: same text, same set-up, checked cells really run."""

import ast

import jupytext
import nbformat
import pytest
from common import CHAPTERS, NAMES, harness, sync
from jupytext.compare import compare_notebooks

MOST_LINES, WIDTH = 30, 76
pytestmark = pytest.mark.parametrize("chapter", CHAPTERS, ids=NAMES)


def notebook(chapter):
    return nbformat.read(chapter.with_suffix(".ipynb"), as_version=4)


def code_cells(chapter):
    return [c for c in notebook(chapter).cells if c.cell_type == "code"]


def test_the_pair_is_in_step(chapter):
    expected = jupytext.read(chapter, fmt="md:myst")
    compare_notebooks(notebook(chapter), expected, fmt="md:myst")  # raises: run `make sync`


def test_the_set_up_comes_first_and_is_the_common_one(chapter):
    first = code_cells(chapter)[0]
    assert first.metadata.tags == ["remove-cell"]
    assert first.source == sync.setup_cell(), "run `make sync`"


def test_checked_cells_have_been_run(chapter):
    for cell in code_cells(chapter):
        if sync.CHECKED in cell.metadata.get("tags", []):  # nbval compares no cell without a count
            assert cell.execution_count and cell.outputs, f"run `make sync`:\n{cell.source}"


def test_pictures_and_other_outputs_are_not_committed(chapter):
    for cell in code_cells(chapter):
        if sync.CHECKED not in cell.metadata.get("tags", []):
            assert not cell.outputs and cell.execution_count is None


def test_cells_are_short(chapter):
    for cell in code_cells(chapter)[1:]:
        lines = [line for line in harness.split(cell.source)[0].splitlines() if line.strip()]
        assert len(lines) <= MOST_LINES, f"{len(lines)} lines that a reader sees:\n{cell.source}"


def test_code_fits_the_page(chapter):
    for cell in code_cells(chapter)[1:]:
        wide = [line for line in cell.source.splitlines() if len(line) > WIDTH]
        assert not wide, f"more than {WIDTH} columns: {wide}"


def test_cell_ids_are_unique_and_stable(chapter):
    found = notebook(chapter)
    ids = [cell.id for cell in found.cells]
    assert len(set(ids)) == len(ids)
    sync.name_cells(found)
    assert [cell.id for cell in found.cells] == ids


def test_code_is_plain_python(chapter):
    for cell in code_cells(chapter):  # no magics, so that a cell means the same everywhere
        ast.parse(cell.source)
