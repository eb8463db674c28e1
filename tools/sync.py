"""Bring every chapter's notebook in step with its MyST source, book/*.md.

The Markdown is the source. This writes the common set-up cell into it, derives the notebook, runs it
in smoke scale, and keeps the outputs of the cells tagged `nbval-check-output` only: what a test
compares is committed, pictures are not.
"""

import argparse
import hashlib
import os
import re
import signal
from collections import Counter
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
CHECKED = "nbval-check-output"
CELL_SECONDS, CHAPTER_SECONDS = 90, 300
FIRST_CELL = re.compile(r"^```\{code-cell\}.*?^```$", re.MULTILINE | re.DOTALL)


def chapters() -> list[Path]:
    """The pages of the book that run code."""
    return [p for p in sorted(ROOT.glob("book/*.md")) if FIRST_CELL.search(p.read_text())]


def setup_cell() -> str:
    return (ROOT / "tools" / "setup_cell.py").read_text().strip()


def write_setup(source: Path) -> None:
    cell = f"```{{code-cell}} ipython3\n:tags: [remove-cell]\n\n{setup_cell()}\n```"
    old = source.read_text()
    new = FIRST_CELL.sub(lambda _: cell, old, count=1)
    if new != old:
        source.write_text(new)


def name_cells(notebook: nbformat.NotebookNode) -> None:
    """Cell ids from the cells' text, so that they change only where the text does."""
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        name = hashlib.sha256(cell.source.encode()).hexdigest()[:12]
        seen[name] += 1
        cell.id = name if seen[name] == 1 else f"{name}-{seen[name]}"


def run(notebook: nbformat.NotebookNode) -> None:
    def stop(*_):
        raise TimeoutError(f"the chapter took more than {CHAPTER_SECONDS} s in smoke scale")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(CHAPTER_SECONDS)  # a kernel that hangs outside a cell is not seen by nbclient
    try:
        client = NotebookClient(notebook, timeout=CELL_SECONDS, record_timing=False)
        client.execute(cwd=ROOT / "book")
    finally:
        signal.alarm(0)


def strip(notebook: nbformat.NotebookNode) -> None:
    notebook.metadata = {k: notebook.metadata[k] for k in ("jupytext", "kernelspec")}
    for cell in notebook.cells:
        if cell.cell_type == "code" and CHECKED not in cell.metadata.get("tags", []):
            cell.outputs, cell.execution_count = [], None


def keep_outputs(notebook: nbformat.NotebookNode, old: nbformat.NotebookNode) -> None:
    known = {c.id: c for c in old.cells if c.cell_type == "code"}
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.id in known:
            cell.outputs = known[cell.id].outputs
            cell.execution_count = known[cell.id].execution_count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", type=Path, help="book/x.md (default: all)")
    parser.add_argument("--no-run", action="store_true", help="keep the outputs there are")
    options = parser.parse_args()
    os.environ |= {"LRCORE_SCALE": "smoke", "JAX_PLATFORMS": "cpu"}
    os.environ.pop("LRCORE_DATA", None)  # checked outputs hold for everybody
    for source in [p.resolve() for p in options.chapters] or chapters():
        write_setup(source)
        target = source.with_suffix(".ipynb")
        notebook = jupytext.read(source, fmt="md:myst")
        name_cells(notebook)
        if not options.no_run:
            run(notebook)
        elif target.exists():
            keep_outputs(notebook, nbformat.read(target, as_version=4))
        strip(notebook)
        text = nbformat.writes(notebook, version=4) + "\n"
        if not target.exists() or target.read_text() != text:
            target.write_text(text)
            print(f"{target.relative_to(ROOT)} written")


if __name__ == "__main__":
    main()
