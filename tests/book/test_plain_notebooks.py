"""Plain notebooks, for Colab and downloads: nothing in them that only the book's pages understand."""

import base64
import builtins
import html
import io
import json
import re
from pathlib import Path

import matplotlib.image
import nbformat
import pytest
import yaml
from common import CHAPTERS, NAMES, ROOT, build_book, harness, sync

MADE, EDITIONS = ROOT / "_build/notebooks/book", ROOT / "_build/editions"
# A role or a directive, a fence of MyST, a comment or a label of it.
MYST = re.compile(r"\{[a-z][\w:-]*\}`|^[> ]*(?:```|:::+) ?\{|^[> ]*:::|^\(\S+\)=$|^% ", re.MULTILINE)
SOLUTION = re.compile(r"\{solution-(start|end)\}")
built = pytest.mark.skipif(not MADE.exists(), reason="the notebooks are not made: run `make notebooks`")

edited = pytest.mark.skipif(not EDITIONS.exists(), reason="the editions are not made: run `make editions`")


def read(file: Path):
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    return notebook.cells


def words(cells) -> str:
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def code(cells) -> list[str]:
    return [cell.source for cell in cells if cell.cell_type == "code"]


# --- one small book with all kinds

SETUP = f"```{{code-cell}} ipython3\n:tags: [remove-cell]\n\n{sync.setup_cell()}\n```\n"
START = r"""# Kinds

To {ref}`sec-there`, [the next](second.md), {prf:ref}`prop-one`,
{cite:t}`jaynes1957` and {cite}`kim2026connector`.

2\. is no list, and \# no heading.

SETUP
```{code-cell} ipython3
import matplotlib.pyplot as plt

import lrcore as lr

SMOKE = lr.book.scale(smoke=True, book=False)
x = 0.123
lr.book.glue("number", x)
# a check
assert SMOKE or x > 1
for name in ("one", "two"):
    lr.book.glue(f"many_{name}", x)
    print(name, x)
```

Here $\E[x]^\T<\norm{\frac{a}{\abs{\Var{b}}}}$, 2 * 3 < 4 and {glue:text}`number:.2f`, "quoted" *with $z_1$*.

- one

  $$
  \Var(x) = \ip{a}{b} \\
  > 0
  $$ (eq-list)

- two {eq}`eq-list`
  1. first

\begin{align}
a &= \E b \\
c &= \d t
\end{align}

| | value | $z$ |
|---|---:|---|
| $\norm a$ | {glue:text}`many_one:.3f` | {glue:text}`many_two:.1f` |

```{prf:proposition} Named $N$
:label: prop-one

If {eq}`eq-list`:

$$
y = \diag(x)
$$ (eq-two)

:::{admonition} Inner
:class: tip
- an item, {cite:t}`jaynes1957`
:::
```

```{prf:proof}
By {numref}`fig-one` and {eq}`eq-two`.
```

```{code-cell} ipython3
---
mystnb:
  figure:
    name: fig-one
    caption: |
      A line, *rising*, with $\E$.
  image:
    alt: A line that rises.
tags: [hide-input]
---
lr.plots.use_style()
plt.plot([0, 1]);
```

:::{admonition} Hint
:class: dropdown
Look at $\RR$:

```python
code = 1
```
:::

```{exercise} A name
:label: ex-gain

Do it.
```

```{code-cell} ipython3
:tags: [stub]

def gaussian_drift(overlap, z):
    "What is returned."
    raise NotImplementedError("complete the function")
```

```{code-cell} ipython3
:tags: [check]

lr.book.check("ex-gain", gaussian_drift)
```

:::{admonition} Hint 1
:class: dropdown hint
Think of $\E$.
:::

```{solution-start} ex-gain
:class: dropdown
```

```{code-cell} ipython3
import numpy as np

def gaussian_drift(overlap, z):
    xi, w = np.polynomial.hermite_e.hermegauss(96)
    x = np.linalg.norm(z, axis=1)
    return (np.tanh(np.outer(x, xi)) @ (xi * w) / w.sum() / x)[:, None] * (z @ overlap)

assert lr.book.check("ex-gain", gaussian_drift)
assert x == 0.123
```

It is a mean.

```{code-cell} ipython3
print(gaussian_drift(np.eye(2), np.ones((1, 2))).round(2))
```

```{solution-end}
```

```{exercise} No code
:label: ex-words

Show it.
```

```{solution} ex-words
:class: dropdown
By {eq}`eq-two`.
```

:::{admonition} Think
:class: tip
Why is that so?
:::

:::{admonition} One answer
:class: dropdown
It has to be.
:::

```{code-cell} ipython3
:tags: [remove-input]

print("checked", x)
```

(sec-there)=
## There

Term
: what it means.[^note]

[^note]: More.

::::{grid} 1 1 2 2
:::{grid-item-card} Card
Inside.
:::
::::
""".replace("SETUP", SETUP)
SECOND = "# Second\n\nTo {prf:ref}`prop-one`, {numref}`fig-one`, {eq}`eq-two`, {ref}`ex-gain`.\n\n" + SETUP
SECOND += """
```{figure} _static/overview.png
:name: fig-file
:alt: A file.

From a *file*.
```

```{code-cell} ipython3
---
mystnb:
  figure:
    name: fig-moves
    caption: |
      A line that moves.
  image:
    alt: A line.
---
import matplotlib.pyplot as plt

import lrcore as lr

lr.plots.use_style()


def draw(slope):
    plt.figure(figsize=(2, 2))
    plt.plot([0, 1], [0, slope])


lr.widgets.explore(draw, slope=[0.0, 1.0, 2.0], start={"slope": 1.0}, play="slope")
```

```{code-cell} ipython3
---
mystnb:
  figure:
    name: fig-wide
    caption: |
      Three panels.
  image:
    alt: Three lines.
---
for ax in lr.plots.panels(3, width=2.6)[1]:
    ax.plot([0, 1])
```
"""
TEACHING = """# Teaching

## Plans

### One lecture

**Lecture, 9 minutes.** [Kinds](start.md): *There* 5. [Second](second.md): *Where* 4.

- *Skip:* the end.
- *Assign:* {ref}`ex-gain`.

### One week

**Session 1, 7 minutes.** [Kinds](start.md): *There* 7.

- *Skip:* nothing.

## What students believe, and the picture that helps

*Lines fall.*
: {numref}`fig-one`: this one rises.
"""
BOOK = "https://you.github.io/lrcore/book"
HERE = f"{BOOK}/start.html"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What was built of a small book whose site is known."""
    chapters = {"start": START, "second": SECOND, "teaching": TEACHING}
    address = "https://github.com/you/lrcore"
    return build_book(
        tmp_path_factory.mktemp("book"), chapters, address, "cache", "notebooks", "editions", "slides"
    )


@pytest.fixture(scope="module")
def small(made):
    """The cells of both chapters."""
    return [read(made / f"notebooks/book/{name}.ipynb") for name in ("start", "second")]


@pytest.fixture(scope="module")
def editions(made):
    return {name: read(made / f"editions/{name}/start.ipynb") for name in ("student", "instructor")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        f"To [There]({HERE}#sec-there), [the next]({BOOK}/second.html), ",
        "Jaynes ([1957](https://doi.org/10.1103/PhysRev.106.620)) and "
        "([Kim *et al.*, 2026](https://arxiv.org/abs/2603.26506)).",
        r"Here $\mathbb{E}[x]^{\mathsf{T}}\lt \left\lVert \frac{a}{\left\lvert \operatorname{Var}{b} "
        r"\right\rvert} \right\rVert$, 2 \* 3 &lt; 4 and 0.12, “quoted” *with $z_1$*.",
        "\n\n2\\. is no list, and # no heading.",
        "- one\n\n  $$\\begin{aligned} \\operatorname{Var}(x) = \\left\\langle a, b \\right\\rangle \\\\ "
        f"\\gt 0 \\end{{aligned}} \\tag{{1}}$$\n\n- two [(1)]({HERE}#equation-eq-list)\n\n  1. first",
        r"$$\begin{aligned} a &= \mathbb{E} b \\ c &= \mathrm{d} t \end{aligned} \tag{2}$$",
        "|  | value | $z$ |\n| --- | ---: | --- |\n| $\\left\\lVert a \\right\\rVert$ | 0.123 | 0.1 |",
        f"> **Proposition 1 (Named $N$).**\n>\n> If [(1)]({HERE}#equation-eq-list):\n>\n"
        "> $$y = \\operatorname{diag}(x) \\tag{3}$$\n>\n> > **Inner.**\n> >\n> > - an item, Jaynes (",
        f"<details>\n<summary>Proof</summary>\n\nBy [Fig. 1]({HERE}#fig-one) and [(3)](",
        "**Fig. 1.** A line, *rising*, with $\\mathbb{E}$.\n\n<details>\n<summary>The figure in words"
        "</summary>\n\nA line that rises.\n\n</details>",
        "<details>\n<summary>Hint</summary>\n\nLook at $\\mathbb{R}$:\n\n"
        "```python\ncode = 1\n```\n\n</details>",
        "> **Exercise 1 (A name).**\n>\n> Do it.",
        "<details>\n<summary>Hint 1</summary>\n\nThink of $\\mathbb{E}$.\n\n</details>",
        "<details>\n<summary>Solution to Exercise 1 (A name)</summary>\n\n```python\nimport numpy",
        '\n\nlr.book.check("ex-gain", gaussian_drift)\n```\n\n*It prints:*\n\n```\nex-gain: right\n```',
        "It is a mean.\n\n```python\nprint(gaussian_drift(",
        "<details>\n<summary>Solution to Exercise 2 (No code)</summary>\n\nBy ",
        "<details>\n<summary>One answer</summary>\n\nIt has to be.",
        "- **Term**: what it means.<sup>1</sup>",
        "**Card**\n\nInside.",
        "<sup>1</sup> More.",
    ],
)
def test_each_kind_has_a_plain_form(small, text):
    assert text in words(small[0])


@pytest.mark.slow
def test_references_lead_to_other_chapters(small):
    line = (
        f"To [Proposition 1]({HERE}#prop-one), [Fig. 1]({HERE}#fig-one), "
        f"[(3)]({HERE}#equation-eq-two), [Exercise 1]({HERE}#ex-gain)."
    )
    assert line in words(small[1]).splitlines()


@pytest.mark.slow
def test_code_is_what_a_reader_runs(small):
    size, setup, first, numbers, figure, stub, check, checked = code(small[0])
    assert re.fullmatch(r'# @title .*\nSIZE = "book"  # @param \["smoke", "book", "full"\]', size)
    assert (
        setup.startswith("# @title Set-up") and 'REPOSITORY = "https://github.com/you/lrcore@main"' in setup
    )
    assert first.endswith('x = 0.123\nfor name in ("one", "two"):\n    print(name, x)')
    assert numbers.endswith('\nlr.book.glue("number", x)')
    assert figure == "# @title Draws the figure\nlr.plots.use_style()\nplt.plot([0, 1]);"
    assert stub.endswith('raise NotImplementedError("complete the function")')
    assert check == 'lr.book.check("ex-gain", gaussian_drift)'
    assert checked.endswith('print("checked", x)')
    folded = [cell.source for cell in small[0] if cell.metadata.get("cellView") == "form"]
    assert folded == [setup, numbers, figure, checked]
    assert all(c.metadata.jupyter.source_hidden for c in small[0] if c.source in folded)


@pytest.mark.slow
def test_a_page_shows_the_same_code(made):
    """Without what the book alone needs, and with what draws folded."""
    page = (made / "html/book/start.html").read_text()
    shown = [
        html.unescape(re.sub("<[^>]+>", "", code)) for code in re.findall("<pre>.*?</pre>", page, re.DOTALL)
    ]
    assert any(
        code.endswith('x = 0.123\nfor name in ("one", "two"):\n    print(name, x)\n') for code in shown
    )
    assert not [code for code in shown if "book.glue" in code or "assert" in code or "SMOKE" in code]
    assert re.search(r"<details.*?Show code cell source.*?plt.*?</details>", page, re.DOTALL)


@pytest.mark.slow
def test_a_student_has_stubs_and_no_answers(small, editions):
    """The cells that run are those of the plain notebook, which has the answers as text."""
    assert code(editions["student"]) == code(small[0])
    assert "Exercise 2 (No code)" in words(editions["student"]) and "Hint 1" in words(editions["student"])
    for text in ("Solution", "One answer", "It has to be", "hermegauss", "ex-gain: right", "In the plans"):
        assert text not in str(editions["student"]), text


@pytest.mark.slow
def test_an_instructor_has_solutions_that_run_and_what_teaching_says(editions):
    cells = editions["instructor"]
    stub, check, solution, shows, checked = [cell for cell in cells if cell.cell_type == "code"][-5:]
    assert solution.source.endswith('\n\nlr.book.check("ex-gain", gaussian_drift)')
    assert "assert" not in solution.source
    assert solution.outputs[0].text == "ex-gain: right\n"
    assert check.outputs[0].text.startswith("ex-gain: not yet. there is no answer yet")
    assert shows.source.startswith("print(gaussian_drift(")
    text = words(cells)
    assert "> **Solution to Exercise 1 (A name).**" in text and "> It is a mean." in text
    assert "> **One answer.**\n>\n> It has to be." in text
    assert "## There\n\n> *Minutes: 5 in one lecture, 7 in one week.*" in text
    assert "**One lecture.** **Lecture, 9 minutes.** [Kinds](" in text and "- *Skip:* the end." in text
    assert f"- ***Lines fall.***: [Fig. 1]({HERE}#fig-one): this one rises." in text


@pytest.mark.slow
def test_slides_have_an_idea_each_and_need_no_network(made):
    page = (made / "slides/start.html").read_text()
    loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"([^\"]*)\"", page)
    files = [name for name in loaded if not name.startswith("data:image/png;base64,")]
    assert len(files) == len(loaded) - 1 == 5 and all((made / "slides" / name).exists() for name in files)
    shown = re.findall(r'<section class="(\w+)">(.*?)</section>', page, re.DOTALL)
    kinds = ["title", "equation", "box", "figure", "think", "section"]
    assert [kind for kind, _ in shown] == kinds
    slides = dict(shown)
    assert "<h1>Kinds</h1>" in slides["title"] and "<h2>There</h2>" in slides["section"]
    assert "<h2>Proposition 1 (Named $N$)</h2>" in slides["box"]
    assert r"y = \operatorname{diag}(x)\qquad(3)" in slides["box"] and r"\tag" not in page
    assert 'alt="A line that rises."' in slides["figure"] and "<strong>Fig. 1.</strong>" in slides["figure"]
    assert "It has to be." in slides["think"].partition('<aside class="notes">')[2]
    assert "5 in one lecture" in slides["section"].partition('<aside class="notes">')[2]
    assert "hermegauss" not in page and "Exercise" not in page


def test_what_only_a_solution_defines_is_no_part_of_the_flow():
    """A chapter whose flow needs a solution, or what a stub has replaced, is refused when it is built."""
    code = {1: "f = 1", 2: "def f(): ...", 3: "def f(): 1\ng = 2", 4: "print(f())", 5: "print(1)"}
    assert harness.needed(code, {3}, {2}) == {3}
    assert harness.needed(code | {4: "print(h)"}, {3}, {2}) == set()
    assert harness.needed(code | {4: "print(g)"}, {3}, {2}) == {3}


@pytest.mark.slow
def test_outputs_are_those_of_the_page_on_white(small):
    shown = [cell.outputs for cell in small[0] if cell.cell_type == "code"]
    assert [output.text for output in shown[2]] == ["one 0.123\ntwo 0.123\n"]
    (figure,) = shown[4]
    assert white(figure.data["image/png"])
    assert [cell.metadata.alt for cell in small[0] if "alt" in cell.metadata] == ["A line that rises."]


@pytest.mark.slow
def test_pictures_that_move_and_those_for_a_telephone_are_for_the_page(made, small):
    page = (made / "html/book/second.html").read_text()
    one = json.loads(html.unescape(re.search(r'data-explore="([^"]*)"', page)[1]))
    assert one["sliders"] == [{"name": "slope", "values": ["0", "1", "2"], "start": 1}] and one["play"] == 0
    assert len(set(one["frames"])) == 3 and all((made / "html/book" / f).exists() for f in one["frames"])
    narrow = re.search(r'<source media="\(max-width: 600px\)" srcset="([^"]*)"', page)[1]
    assert (made / "html/book" / narrow).exists()
    assert page.count('loading="lazy" class="drawn"') == 2 and 'width="220" height="220"' in page
    assert '<img alt="A file." src="data:image/png;base64,iVBOR' in words(small[1])
    assert re.search(r"\*\*Fig\. \d+\.\*\* From a \*file\*\.", words(small[1]))
    moved, wide = (cell.outputs[0] for cell in small[1] if cell.cell_type == "code" and cell.outputs)
    for output in (moved, wide):
        assert set(output.data) <= {"image/png", "text/plain"} and white(output.data["image/png"])
    assert moved.metadata["image/png"] == {"width": 220, "height": 220}


def white(picture: str) -> bool:
    pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(picture)))
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
    return bool((corners == 1).all()) and (pixels.shape[2] == 3 or bool((pixels[..., 3] == 1).all()))


def test_a_statement_that_the_rest_would_change_stays_where_it_is():
    shown, kept = harness.split("for x in y:\n    lr.book.glue('x', x)\nx = 2\nlr.book.glue('y', x)")
    assert shown == "for x in y:\n    lr.book.glue('x', x)\nx = 2" and kept == "lr.book.glue('y', x)"


# --- all chapters, as they are written


@pytest.mark.parametrize("source", CHAPTERS, ids=NAMES)
def test_no_chapter_needs_a_solution(source):
    """Neither "Run all" nor the student edition has the solutions."""
    code, solutions, stubs, inside = {}, set(), set(), False
    for number, cell in enumerate(nbformat.read(source.with_suffix(".ipynb"), as_version=4).cells):
        marks = SOLUTION.findall(cell.source) if cell.cell_type == "markdown" else []
        inside = marks[-1] == "start" if marks else inside
        if cell.cell_type == "code" and "check" not in (kinds := cell.metadata.get("tags", [])):
            code[number] = cell.source
            solutions |= {number} if inside else set()
            stubs |= {number} if "stub" in kinds else set()
    needed = [code[number] for number in harness.needed(code, solutions, stubs)]
    assert not needed, "define in the flow, under a name that no stub has, what follows needs of this"


# --- all chapters, as they were built


@pytest.fixture(params=CHAPTERS, ids=NAMES)
def chapter(request):
    return request.param, read(MADE / f"{request.param.stem}.ipynb")


@built
def test_nothing_is_left_for_the_pages_alone(chapter):
    _, cells = chapter
    settings = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]
    private = "|".join(settings["mathjax3_config"]["tex"]["macros"])
    for cell in cells:
        assert not MYST.search(cell.source), cell.source
    text = words(cells)
    assert not re.findall(rf"\\(?:{private})(?![A-Za-z])", text)
    assert "**None" not in text and "**Fig. .**" not in text and "](#" not in text


@built
def test_every_figure_has_its_caption(chapter):
    source, cells = chapter
    figures = len(re.findall(r"^  figure:$|^```{figure}", source.read_text(), re.MULTILINE))
    numbers = re.findall(r"^\*\*Fig\. ((?:\d+\.)?\d+)\.\*\* ", words(cells), re.MULTILINE)
    assert len(set(numbers)) == figures and len({number.rpartition(".")[0] for number in numbers}) <= 1
    assert words(cells).count("The figure in words") == figures
    drawn = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    assert all(white(data["image/png"]) for data in drawn if "image/png" in data)


@built
def test_the_harness_is_out_of_sight(chapter):
    _, cells = chapter
    for cell in cells:
        if cell.cell_type == "code" and "cellView" not in cell.metadata:
            assert "book.glue" not in cell.source and not re.search(r"^\s*assert ", cell.source, re.MULTILINE)
    assert code(cells)[0].startswith("# @title Size") and code(cells)[1].startswith("# @title Set-up")
    assert nbformat.read(MADE / f"{chapter[0].stem}.ipynb", as_version=4).metadata.accelerator == "GPU"


@built
def test_no_cell_needs_what_was_left_out(chapter):
    run = "\n".join(code(chapter[1]))
    assert not harness.used(run) - harness.bound(run) - set(dir(builtins))


@built
def test_every_solution_is_closed(chapter):
    source, cells = chapter
    solutions = len(re.findall(r"^`{3,}\{solution(?:-start)?\}", source.read_text(), re.MULTILINE))
    assert words(cells).count("<summary>Solution to Exercise ") == solutions


# --- their editions


@edited
@pytest.mark.parametrize("name", NAMES)
def test_the_student_edition_has_no_solution(name):
    cells = read(EDITIONS / "student" / f"{name}.ipynb")
    assert not re.search(r"(<summary>|\*\*)(Solution to Exercise|One answer)", words(cells))
    assert ": right\n" not in printed(cells)
    asked: set[str] = set()
    for cell in cells:
        if cell.cell_type == "code":
            assert not asked & harness.bound(cell.source), "what a student is to write"
            asked |= harness.bound(cell.source) if "stub" in cell.metadata.get("tags", []) else set()


@edited
@pytest.mark.parametrize("name", NAMES)
def test_every_stub_fails_its_check_and_every_solution_passes_it(name):
    """As the chapter was run for the pages."""
    cells = read(EDITIONS / "instructor" / f"{name}.ipynb")
    for number, cell in enumerate(cells):
        if "check" in cell.metadata.get("tags", []):
            label = re.match(r'lr\.book\.check\("(ex-[\w-]+)"', cell.source)[1]
            assert printed([cell]).startswith(f"{label}: not yet. there is no answer yet")
            assert f"{label}: right\n" in printed(cells[number + 1 :])


def printed(cells) -> str:
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))
