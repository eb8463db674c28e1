"""The formulas of the pages, which are set when these are built."""

import re

import pytest
from common import build_book

KINDS = r"""# Kinds

To {eq}`eq-one` and {eq}`eq-two`: $\E[x]^\T<\norm{a}$.

$$
\Var(x) = \ip{a}{b} \\
> 0
$$ (eq-one)

\begin{align}
a &= \E b \\
c &= \d t
\end{align}

```{prf:proposition} Named $N$
:label: prop-one

$$
y = \diag(x)
$$ (eq-two)
```

```{exercise} A name $x^2$
:label: ex-one

Do $\rank A$.
```

```{figure} _static/overview.png
:name: fig-one

A caption with $\E_x$.
```

## A section on $\Cov$

| $z$ |
|---|
| $\abs{z}$ |
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    built = build_book(tmp_path_factory.mktemp("kinds"), {"start": KINDS}, "")
    return (built / "html/book/start.html").read_text()


@pytest.mark.slow
def test_each_kind_is_mathematics(page):
    """In the text, in titles and boxes, in a caption and a table, and in the contents of the page."""
    article, _, contents = page.partition("<article")[2].partition("</article>")
    assert article.count('<math xmlns="http://www.w3.org/1998/Math/MathML"') == 11
    assert re.search(r"Named <span[^>]*><span class=\"katex\">", article)
    assert re.search(r"A caption with <span[^>]*><span class=\"katex\">", article)
    assert "<math" in contents
    assert "\\" not in re.sub(r"<script.*?</script>", "", article, flags=re.DOTALL)
    assert "katex-error" not in page and "color:" not in article


@pytest.mark.slow
def test_an_equation_has_one_number_and_links_lead_to_it(page):
    numbers = re.findall(r'<div class="[^"]*\bmath\b[^"]*" id="([^"]+)">\s*<span class="eqno">\((\d)\)', page)
    assert [number for _, number in numbers] == ["1", "2", "3"]
    assert numbers[0][0] == "equation-eq-one" and numbers[2][0] == "equation-eq-two"
    assert 'href="#equation-eq-one">(1)</a>' in page and 'href="#equation-eq-two">(3)</a>' in page


@pytest.mark.slow
def test_a_formula_that_cannot_be_read_stops_the_build(tmp_path):
    """With the file, the line and the formula."""
    named = r"book/start\.md:\d+: ERROR: x \+ \\wrong: .*\\wrong at position 5"
    with pytest.raises(AssertionError, match=named):
        build_book(tmp_path, {"start": "# One\n\nHere is $x + \\wrong$.\n"}, "")
