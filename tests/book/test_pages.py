"""The built pages in a real browser that reaches nothing but this machine."""

import html
import json
import re
from pathlib import Path

import pytest
from common import HTML, NAMES, ROOT, WIDTHS, WRITTEN, pdf, repository, resize

SLIDES = sorted((ROOT / "_build" / "slides").glob("*.html"))
PAGES = [*WRITTEN, "genindex.html", "py-modindex.html"]

if not WRITTEN:
    pytest.skip("the book is not built: run `make book`", allow_module_level=True)

from axe_core_python.selenium import Axe  # noqa: E402
from nbconvert import HTMLExporter  # noqa: E402

THEMES = ("light", "dark")
TELEPHONES = (WIDTHS[1], 360)

# The ratio of contrast (WCAG 2) of the text of each element that has some.
CONTRAST = """
const linear = x => x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4;
const light = c => { const v = c.map(x => linear(x / 255));
                     return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
const rgba = s => { const v = s.match(/[\\d.]+/g).map(Number); return v.length > 3 ? v : [...v, 1]; };
const ground = e => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor);
                     if (c[3] > .5) return c; } return [255, 255, 255, 1]; };
const ratio = e => { const both = [rgba(getComputedStyle(e).color), ground(e)];
                     const [a, b] = both.map(c => light(c.slice(0, 3)));
                     return (Math.max(a, b) + .05) / (Math.min(a, b) + .05); };
const parts = "article :is(p, li, td, h1, h2, figcaption, pre)";
return [...document.querySelectorAll(parts)].filter(e => e.offsetParent && e.innerText.trim())
    .map(e => [ratio(e), e.innerText.slice(0, 60)]).filter(r => r[0] < 4.5);
"""
READY = """
const done = arguments[0];
const typeset = window.MathJax?.startup?.promise ?? Promise.resolve();
const pictures = [...document.images].map(i => { i.loading = "eager"; return i.decode().catch(() => 0); });
Promise.all([typeset, document.fonts.ready, ...pictures]).then(() => setTimeout(() => done(true), 100));
"""
# Formulas that are no mathematics to a screen reader, are red, are cut off above or below, or are stops of
# the key Tab though the whole of them is seen; the link to an equation is a stop of its own.
FORMULAS = """
const all = [...document.querySelectorAll("article .katex")];
const inside = [...document.querySelectorAll("div.math, div.math *, .katex, .katex *")];
const wide = e => e.scrollWidth > e.clientWidth;
return [all.length, [
    ...all.filter(e => !e.querySelector("math")?.textContent || e.matches(".katex-error")),
    ...all.filter(e => e.querySelector("[style*=color]")),
    ...document.querySelectorAll(".katex-error, mjx-container"),
    ...[...document.querySelectorAll(".katex-display")].filter(e => e.scrollHeight > e.clientHeight + 2),
    ...inside.filter(e => e.tabIndex >= 0 && !e.matches("a.headerlink") && !wide(e)),
].map(e => e.textContent)];
"""
LOADED = "return performance.getEntriesByType('resource').map(e => e.name)"
# What is wider than the page, with its place, to mend it by.
WIDE = """
const inside = e => { for (; e; e = e.parentElement) if (["auto", "scroll", "hidden"].includes(
    getComputedStyle(e).overflowX)) return true; return false; };
return [document.scrollingElement.scrollWidth, [...document.querySelectorAll("article *")]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !inside(e.parentElement))
    .map(e => e.outerHTML.slice(0, 120)).slice(0, 5)];
"""

# Cells with a number that a hyphen or a sign of zero stands in, or that are bold; columns of numbers that
# end at no common edge; first columns that leave the page while their table scrolls.
TABLES = r"""
const wrong = [];
for (const cell of document.querySelectorAll("article td")) {
    const text = cell.innerText.trim(), style = getComputedStyle(cell.querySelector(".pasted-text") ?? cell);
    if (/(^|\s)-\d|\u22120(\.0+)?(\s|$)/.test(text) || style.fontWeight > 500) wrong.push(text); }
for (const box of document.querySelectorAll("article .pst-scrollable-table-container")) {
    const left = element => element.getBoundingClientRect().left;
    box.scrollLeft = 40;
    if (box.scrollLeft) for (const cell of box.querySelectorAll("tr > :first-child"))
        if (left(cell) < left(box) - 1) wrong.push(cell.innerText);
    box.scrollLeft = 0; }
return wrong;
"""

# Lines of prose that begin with the stop of the line before.
STOPS = r"""
const texts = document.createTreeWalker(document.querySelector("article"), NodeFilter.SHOW_TEXT);
const skipped = "pre, code, script, .katex-html, .katex-mathml", wrong = [];
for (let text; text = texts.nextNode();) {
    const parent = text.parentElement;
    if (!/^[.,;:!?)\]]/.test(text.data) || parent.closest(skipped) || !parent.checkVisibility()) continue;
    const before = text.previousSibling ?? parent.previousSibling;
    if (before?.nodeType !== 1) continue;
    const first = document.createRange();
    first.setStart(text, 0), first.setEnd(text, 1);
    const boxes = [before, ...before.querySelectorAll("*")].flatMap(e => [...e.getClientRects()]);
    const ends = boxes.filter(box => box.width > 1).map(box => box.bottom);
    if (ends.length && first.getClientRects()[0]?.top >= Math.max(...ends) - 4)
        wrong.push(before.textContent.slice(-20) + text.data.slice(0, 20)); }
return wrong;
"""

# On a telephone: printed tables whose rows are broken, and what scrolls without a sign of it.
NARROW = r"""
const rows = e => e.textContent.split("\n").filter(line => /(\S {2,}){2,}\S/.test(line)).length;
const lines = e => e.textContent.trimEnd().split("\n").length * parseFloat(getComputedStyle(e).lineHeight);
const broken = e => rows(e) > 1 && e.checkVisibility() && e.scrollHeight > lines(e) + 40;
const unseen = e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).maskImage === "none";
const all = (parts, wrong) => [...document.querySelectorAll(parts)].filter(wrong);
return [...all("article .cell_output pre", broken), ...all("article .katex-display", unseen)]
    .map(e => e.textContent.slice(0, 80));
"""

# The ratio of contrast between the ground of a table that scrolls and the edge that says so, if there is one.
EDGE = """
const box = document.querySelector("article .pst-scrollable-table-container");
if (!box) return 9;
const rgba = s => { const v = s.match(/[\\d.]+/g).map(Number); return v.length > 3 ? v : [...v, 1]; };
const colors = getComputedStyle(box).backgroundImage.match(/rgba?\\([^)]*\\)/g).map(rgba);
const ground = colors[0], [r, g, b, a] = colors[2];
const light = v => v.map(x => (x / 255) ** 2.2).reduce((s, x, k) => s + x * [.2126, .7152, .0722][k], 0);
const one = light([r, g, b].map((x, k) => a * x + (1 - a) * ground[k])), other = light(ground.slice(0, 3));
return (Math.max(one, other) + .05) / (Math.min(one, other) + .05);
"""

# On paper: what is wider than its box, and what of the text is not shown.
PRINTED = """
const hidden = e => !e.checkVisibility() && e.textContent.trim(); // closed details keep their boxes
const wide = e => e.scrollWidth > e.clientWidth + 1;
const boxes = "article :is(pre, .cell_output, .pst-scrollable-table-container)";
const text = "article :is(.admonition, details) :is(p:not(.expanded, .collapsed), pre, li, .math)";
const all = (parts, wrong) => [...document.querySelectorAll(parts)].filter(wrong);
return [...all(boxes, wide), ...all(text, hidden)].map(e => e.outerHTML.slice(0, 120)).slice(0, 5);
"""

# Of each slide: its height and width, the size of its text, and its first signs.
SHOWN = """
const done = arguments[0];
const measure = slide => {
    slide.style.display = "block";
    const text = parseFloat(getComputedStyle(slide).fontSize);
    const found = [slide.scrollHeight, slide.scrollWidth, text, [...slide.innerText].slice(0, 60).join("")];
    slide.style.display = "";
    return found; };
const wait = () => window.Reveal?.isReady() ? done(Reveal.getSlides().map(measure)) : setTimeout(wait, 50);
wait();
"""

# Each block of code and output, opened: whether it scrolls sideways, whether it is an output, its text.
BLOCKS = """
document.querySelectorAll("details").forEach(e => e.open = true);
document.querySelectorAll(".toggle-hidden").forEach(e => e.classList.remove("toggle-hidden"));
const scrolls = e => e.tagName != "ARTICLE" && (
    e.scrollWidth > e.clientWidth + 1 && ["auto", "scroll"].includes(getComputedStyle(e).overflowX)
    || scrolls(e.parentElement));
return [...document.querySelectorAll("article pre")]
    .map(e => [scrolls(e), !!e.closest(".cell_output"), e.textContent]);
"""
# A dict, list or array, a tuple that is no point of a plane, an object with attributes, digits by the dozen;
# numbers without a word.
RAW = re.compile(
    r"""[{\[]\s*[-.\d'"\[({A-Z]|:\s+\((?:-?\d[\d.]*,\s*){2,}|\([^()\s]+,\)|[A-Z]\w+\(\w+=|\.\d{7}"""
    r"""|\A\s*-?[.\d]+(?:\s+-?[.\d]+)+\s*\Z"""
)


def requests_that_went_wrong(browser, address):
    wrong = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        values = message["params"]
        if message["method"] == "Network.requestWillBeSent":
            url = values["request"]["url"]
            # The browser asks for its own first page.
            if not url.startswith((address, "data:", "blob:", "chrome:", "chrome-untrusted:")):
                wrong.append(url)
        elif message["method"] == "Network.loadingFailed" and not values.get("canceled"):
            wrong.append(values["errorText"])
        elif message["method"] == "Network.responseReceived":
            answer = values["response"]
            if answer["status"] >= 400 and not answer["url"].endswith("/favicon.ico"):
                wrong.append(f"{answer['status']} {answer['url']}")
    # A page's request for a name is listed with its address; the browser's own may fail late, without one.
    return [one for one in wrong if one != "net::ERR_NAME_NOT_RESOLVED"]


def has_mathematics(page):
    """As its source has, outside of its code; the reference takes its formulas from docstrings."""
    source = (ROOT / page).with_suffix(".md")
    text = source.read_text() if source.exists() else ""
    prose = re.sub(r"^(`{3,}).*?^\1", "", text, flags=re.DOTALL | re.MULTILINE)
    return "$" in prose or page.startswith("book/api_")


# A formula is hundreds of elements of one colour, and code thousands of a few, which axe would look at one by
# one. It looks at one sign of each formula, which has no other colour (tested above), and in each block of
# code at one word of each kind. Nor does it wait while colours change.
ONE_OF_EACH = """
document.querySelectorAll(".katex-html, math").forEach(e => { e.textContent = "x"; });
for (const block of document.querySelectorAll("pre")) {
    const seen = new Set();
    for (const part of block.querySelectorAll("span"))
        if (seen.has(part.className)) part.replaceWith(...part.childNodes);
        else seen.add(part.className);
    block.normalize(); }
document.head.append(Object.assign(document.createElement("style"), {
    textContent: "* { transition: none !important; }" }));
"""


def violations(browser, theme):
    """Of axe's rules those whose breach is serious or critical, with what breaks them; all of them once."""
    only = {} if theme == THEMES[0] else {"runOnly": ["color-contrast"]}
    found = Axe().run(browser, options={"resultTypes": ["violations"], **only})["violations"]
    grave = [rule for rule in found if rule["impact"] in ("serious", "critical")]
    return [(rule["id"], [node["html"][:120] for node in rule["nodes"][:3]]) for rule in grave]


@pytest.mark.parametrize("page", PAGES)
def test_page(browser, address, page):
    browser.get_log("performance"), browser.get_log("browser")  # what the page before left
    resize(browser, WIDTHS[0])
    browser.get(f"{address}/{page}")
    browser.execute_async_script(READY)

    assert not requests_that_went_wrong(browser, address)
    errors = [e["message"] for e in browser.get_log("browser") if e["level"] == "SEVERE"]
    assert not [e for e in errors if "favicon.ico" not in e]
    text = browser.execute_script(
        "const a = document.querySelector('article').cloneNode(true);"
        "a.querySelectorAll('pre, code, script').forEach(e => e.remove());"
        "return a.textContent"
    )
    assert not re.findall(r"\\\(|\\\[|\$|\{glue:|\{numref\}|\\[A-Za-z]+", text)
    count, faults = browser.execute_script(FORMULAS)
    assert not faults and (count or not has_mathematics(page))
    assert not [name for name in browser.execute_script(LOADED) if "mathjax" in name.lower()]
    broken = "return [...document.images].filter(i => !i.naturalWidth).map(i => i.src)"
    assert not browser.execute_script(broken)

    for theme in THEMES:
        browser.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
        for width in WIDTHS:
            resize(browser, width)
            wide, elements = browser.execute_script(WIDE)
            assert wide <= width, f"{theme}, {width} px wide: the page scrolls sideways: {elements}"
            assert not browser.execute_script(TABLES)
        assert not browser.execute_script(CONTRAST), theme
        assert browser.execute_script(EDGE) > 1.5, theme
    for width in TELEPHONES:
        resize(browser, width)
        assert browser.execute_script(WIDE)[0] <= width
        assert not browser.execute_script(STOPS), width
        assert not browser.execute_script(NARROW), width
    try:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        resize(browser, 794)
        assert not browser.execute_script(PRINTED)
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    resize(browser, WIDTHS[0])
    browser.execute_script(ONE_OF_EACH)
    for theme in THEMES:
        browser.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
        assert not violations(browser, theme), theme


def test_axe_sees_pale_words_of_code_and_formulas(browser, address):
    browser.get(f"{address}/book/scaling.html")
    browser.execute_script(ONE_OF_EACH)
    assert not violations(browser, THEMES[1])
    style = "pre .n, article .katex { color: #bbb !important; }"
    browser.execute_script(
        "document.head.append(Object.assign(document.createElement('style'), {textContent: arguments[0]}))",
        style,
    )
    ((rule, found),) = violations(browser, THEMES[1])
    assert rule == "color-contrast" and found


@pytest.mark.parametrize("solutions", [True, False])
def test_the_whole_book_leads_to_itself(solutions):
    """In one page, for a PDF: every link within the book has its place, and every page its text."""
    source = pdf.whole(names := pdf.pages(), solutions)
    ids = re.findall(r'\sid="([^"]*)"', source)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', source)) <= set(ids)
    assert not re.findall(r'href="(?:book/)?[a-z_]+\.html', source)
    assert [i for i in ids if i in {Path(name).stem for name in names}] == [Path(name).stem for name in names]
    assert ("solution dropdown admonition" in source) == solutions
    assert "hide above-input" in source and "Show code" not in source
    assert not re.findall(r"<details(?![^>]* open)|<details[^>]*>(?!\s*<summary)", source)


@pytest.mark.parametrize("page", WRITTEN)
def test_a_page_says_what_it_is(page):
    """To search engines, to whoever is sent its address, and to links into it."""
    source = re.sub(r"<script.*?</script>", "", (HTML / page).read_text(), flags=re.DOTALL)
    (words,) = re.findall(r'<meta content="([^"]*)" name="description"', source)
    (again,) = re.findall(r'<meta property="og:description" content="([^"]*)"', source)
    assert 40 < len(html.unescape(words)) <= 200 and html.unescape(words) == html.unescape(again)
    assert (HTML / page).parent.joinpath(re.search(r'<link rel="icon" href="([^"]*)"', source)[1]).exists()
    ids = re.findall(r'\sid="([^"]*)"', source)
    assert len(ids) == len(set(ids))


# What a search lists: where each result leads, and all snippets, once they are there.
FOUND = """
const done = arguments[0];
const wait = () => {
    const found = [...document.querySelectorAll("#search-results li")];
    const ready = document.querySelector("#search-results h2")?.textContent === "Search Results";
    if (!ready || !found.every(e => e.querySelector(".context, span"))) return setTimeout(wait, 50);
    done([found.map(e => e.querySelector("a").getAttribute("href")),
          [...document.querySelectorAll(".context")].map(e => e.textContent).join("\\n")]); };
wait();
"""


@pytest.mark.parametrize("word, home", [("ridge", "maximum_entropy"), ("identifiability", "nonlinearity")])
def test_a_search_finds_a_word_first_at_home_and_shows_no_tex(browser, address, word, home):
    browser.get(f"{address}/search.html?q={word}")
    links, shown = browser.execute_async_script(FOUND)
    assert links[0].startswith(f"book/{home}.html") and len(links) > 5
    assert word in shown and not re.findall(r"\\[A-Za-z(\[]|\$", shown)


@pytest.mark.parametrize("page", PAGES)
def test_code_is_read_without_scrolling(browser, address, page):
    """It is what a reader would run: neither numbers kept for the prose nor assertions. Results are labelled
    and rounded."""
    resize(browser, WIDTHS[0])
    browser.get(f"{address}/{page}")
    blocks = browser.execute_script(BLOCKS)
    assert not [text[:200] for scrolls, _, text in blocks if scrolls]
    code = [text for _, output, text in blocks if not output]
    assert not [text for text in code if re.search(r"^\s*(assert |lr\.book\.glue\()", text, re.MULTILINE)]
    assert not [text for _, output, text in blocks if output and RAW.search(text)]


def test_little_scrolls_on_a_telephone(browser, address):
    resize(browser, WIDTHS[1])
    scrolling = []
    for page in PAGES:
        browser.get(f"{address}/{page}")
        scrolling += [scrolls for scrolls, _, _ in browser.execute_script(BLOCKS)]
    assert len(scrolling) > 100
    assert sum(scrolling) <= 0.1 * len(scrolling)


@pytest.mark.parametrize(
    "text",
    [
        "{'line': 'df 2.3', 'corners': 'df 4.0'}",
        "modes above 1e-3, by threshold: {0: 2, 1: 22}",
        "[[0.049 1.283]\n [1.468 0.082]]",
        "true [0.1 0.5 0.3 0. ] found [ 0.17  0.54  0.3  -0.  ]",
        "truth ['(-0.97, 0.47) stable', '(-0.08, -0.28) not']",
        "[CpuDevice(id=0)]",
        "linear    d = 0: (1,)",
        "x + x^5 at 0: (1, 3, 5)",
        "Agreement(r2=0.9985, slope=0.9965)",
        "drift 1.649999976158142",
        "0.001296 0.001296\n",
    ],
)
def test_raw_results_are_known_from_labelled_ones(text):
    assert RAW.search(text)
    assert not RAW.search("stable at (-0.81, 0.87), (0.81, 0.68); by 2 (3, 4, 6); of 0.5 s (10 ms)")


MATHJAX = f"""<script>MathJax = {{tex: {{inlineMath: [["$", "$"]], processEscapes: true}}}};</script>
<script src="{(ROOT / "book/_static/mathjax-tex-svg-full.js").as_uri()}"></script></head>"""


@pytest.mark.parametrize("chapter", NAMES)
def test_the_notebook_is_whole_where_nothing_knows_the_book(browser, chapter, tmp_path):
    """As Jupyter's own converter shows it: mathematics and pictures, and nothing that only the book reads."""
    text, _ = HTMLExporter().from_filename(str(HTML / f"_sources/book/{chapter}.ipynb"))
    page = tmp_path / "notebook.html"  # with MathJax from here, as there is no network
    page.write_text(
        re.sub(r"<script[^>]*>.*?</script>", "", text, flags=re.DOTALL).replace("</head>", MATHJAX)
    )
    resize(browser, WIDTHS[0])
    browser.get(page.as_uri())
    browser.execute_async_script(READY)
    assert browser.execute_script("return document.querySelectorAll('mjx-container svg').length")
    red = "return [...document.querySelectorAll('mjx-merror')].map(e => e.textContent)"
    assert not browser.execute_script(red)
    left = browser.execute_script(
        "document.querySelectorAll('pre, code, script, style, mjx-container').forEach(e => e.remove());"
        "return document.body.textContent"
    )
    assert not re.findall(r"\\[A-Za-z(]|\$|\{[a-z:]+\}`|:::", left)
    assert not browser.execute_script("return [...document.images].filter(i => !i.naturalWidth).length")


@pytest.mark.parametrize("deck", SLIDES, ids=[deck.stem for deck in SLIDES])
def test_slides_fit_and_are_read_from_the_last_row(browser, deck):
    browser.get_log("performance"), browser.get_log("browser")
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 1280, "height": 720, "deviceScaleFactor": 1, "mobile": False},
    )
    browser.get(deck.as_uri())
    slides = browser.execute_async_script(SHOWN)
    assert not requests_that_went_wrong(browser, "file:")
    assert not [e for e in browser.get_log("browser") if e["level"] == "SEVERE"]
    assert len(slides) > 2
    assert not [slide for slide in slides if slide[0] > 720 or slide[1] > 1280 or slide[2] < 24]
    assert not browser.execute_script("return document.querySelectorAll('mjx-merror').length")


@pytest.mark.parametrize("chapter", NAMES)
def test_the_links_lead_to_the_chapter(chapter):
    """To the repository that the build knew, which the notebook beside the page names too."""
    file = f"book/{chapter}.ipynb"
    page = (HTML / file).with_suffix(".html").read_text()
    cells = json.loads((HTML / "_sources" / file).read_text())["cells"]
    _, setup, *_ = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    known = repository.parse(re.search(r'^REPOSITORY = "(.*?)"', setup, re.MULTILINE)[1], branch="")
    assert f"/{repository.UNKNOWN}/" not in page
    if colab := known and known.colab(file):
        assert f'href="{colab}">Open in Colab</a>' in page
        assert f'href="{known.url}/edit/{known.branch}/book/{chapter}.md"' in page
    else:
        assert f'href="../_sources/{file}">Download the notebook</a>' in page
