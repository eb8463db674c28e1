"""The figures of the built pages: sharp, read at either width, and those that move."""

import base64
import gzip
import html
import json
import re

import pytest
from common import CHAPTERS, HTML, WIDTHS, resize
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

# Where a caption says that a panel stands, as figures of one row on a screen do, and those of two.
PANEL = re.compile(r"\b(?:[Mm]iddle|Above|Below)\b(?=:| and right:|\))|\(above[:,)]")
DRAWN = [c.stem for c in CHAPTERS if (HTML / f"book/{c.stem}.html").exists()]
# Nine points, the smallest words of the style, in pixels of a screen of 110 an inch.
WORDS = 9 / 72 * 110
LEAST = dict(zip(WIDTHS, (10, 7), strict=True))

if not DRAWN:
    pytest.skip("the book is not built: run `make book`", allow_module_level=True)

READY = """
const done = arguments[0];
const all = [...document.querySelectorAll("article img.drawn")];
Promise.all(all.map(i => { i.loading = "eager"; return i.decode().catch(() => 0); })).then(() => done(true));
"""
# Of each figure: its name, its width in pixels and on the page, and the size that it says it has.
FIGURES = """
document.querySelectorAll("details").forEach(e => e.open = true);
return [...document.querySelectorAll("article img.drawn")].filter(i => i.offsetParent).map(i =>
    [i.currentSrc.split("/").pop(), i.naturalWidth, i.clientWidth,
     i.naturalWidth / i.naturalHeight * i.clientHeight / i.clientWidth,
     Number(i.getAttribute("width")), Number(i.getAttribute("height"))]);
"""


# Of each figure that moves: the heights that its sliders take with their values.
HEIGHTS = """
return [...document.querySelectorAll("[data-explore]")].map(box => {
    const heights = new Set();
    for (const input of box.querySelectorAll("input"))
        for (input.value = input.min; ; input.stepUp()) {
            input.dispatchEvent(new Event("input"));
            heights.add(box.querySelector(".controls").offsetHeight);
            if (input.value === input.max) break; }
    return [...heights]; });
"""
# The captions of figures whose panels stand elsewhere than on a wide screen.
CAPTIONS = """
return [...document.querySelectorAll("article figure")].filter(figure => {
    const image = figure.querySelector("picture img");
    return image && image.naturalHeight > 1.25 * image.getAttribute("height") * 2; })
    .map(figure => figure.querySelector("figcaption").innerText);
"""


@pytest.mark.parametrize("chapter", DRAWN)
def test_figures_are_sharp_and_their_words_are_read(browser, address, chapter):
    browser.get(f"{address}/book/{chapter}.html")
    for width in WIDTHS:
        resize(browser, width)
        browser.execute_async_script(READY)
        for name, pixels, wide, squeezed, said_wide, said_high in browser.execute_script(FIGURES):
            assert pixels >= 1.95 * wide, f"{name}, {width} px: {pixels} pixels for {wide}"
            assert abs(squeezed - 1) < 0.02, name
            assert said_wide > 0 and said_high > 0, name  # the text does not move when it arrives
            size = WORDS * wide / (pixels / 2)
            assert size >= LEAST[width], f"{name}: words of {size:.1f} px at {width}"
        heights = browser.execute_script(HEIGHTS)
        assert heights and all(len(found) == 1 for found in heights), f"{width} px: sliders move the text"
    # Now as narrow as a telephone, where panels stand elsewhere.
    for caption in browser.execute_script(CAPTIONS):
        assert not PANEL.search(caption), caption


CELL = re.compile(r"^```\{code-cell\}.*?^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=[c.stem for c in CHAPTERS])
def test_words_and_colours_of_figures_are_read(chapter):
    """No words are smaller than those of the style, by which pages are measured; colours have a scale."""
    text = chapter.read_text()
    assert not [size for size in re.findall(r"fontsize=(\d+)", text) if int(size) < 9]
    for cell in CELL.findall(text):
        if re.search(r"\.(?:imshow|pcolormesh|contourf)\(", cell):
            assert "colorbar" in cell or re.search(r"[Bb]lue: .*red: ", cell)


def moving(chapter):
    """What each slider of a page holds, and the pictures that it names."""
    source = (HTML / f"book/{chapter}.html").read_text()
    found = re.findall(r'data-explore="([^"]*)"', source)
    return [json.loads(html.unescape(text)) for text in found]


@pytest.mark.parametrize("chapter", DRAWN)
def test_each_chapter_moves_and_is_light(chapter):
    found = moving(chapter)
    assert found
    for one in found:
        files = [HTML / "book" / frame for frame in one["frames"]]
        assert len(set(one["frames"])) == len(files)
        assert sum(file.stat().st_size for file in files) <= 1.5e6


FRAMES = "return performance.getEntriesByType('resource').filter(e => /-\\d+\\.webp/.test(e.name)).length"


def test_a_slider_moves_the_picture(browser, address):
    """By the keyboard; what it shows is fetched when it is first reached for, and paper has the first."""
    browser.get(f"{address}/book/start.html")
    resize(browser, WIDTHS[0])
    (one,) = moving("start")
    assert browser.execute_script(FRAMES) == 0
    box = browser.find_element(By.CSS_SELECTOR, "[data-explore]")
    first = box.find_element(By.TAG_NAME, "img").get_attribute("src")
    slider, *_ = box.find_elements(By.TAG_NAME, "input")
    assert slider.accessible_name == one["sliders"][0]["name"]
    slider.send_keys(Keys.HOME)
    assert slider.get_attribute("aria-valuetext") == one["sliders"][0]["values"][0]
    at = [0, *(s["start"] for s in one["sliders"][1:])]
    place = 0
    for index, s in zip(at, one["sliders"], strict=True):
        place = place * len(s["values"]) + index
    now = box.find_element(By.TAG_NAME, "img").get_attribute("src")
    assert now.endswith(one["frames"][place].split("/")[-1]) and now != first
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert box.find_element(By.TAG_NAME, "img").get_attribute("src") == first
    browser.execute_script("dispatchEvent(new Event('afterprint'))")


def test_a_slider_plays(browser, address):
    browser.get(f"{address}/book/flow_matching.html")
    (one,) = moving("flow_matching")
    assert one["play"] is not None
    assert not browser.find_elements(By.CSS_SELECTOR, "a .explore, a .controls")
    button = browser.find_element(By.CSS_SELECTOR, ".explore button")
    slider = browser.find_element(By.CSS_SELECTOR, ".explore input")
    last = len(one["sliders"][one["play"]]["values"]) - 1
    browser.execute_script("arguments[0].click()", button)
    WebDriverWait(browser, 10).until(lambda _: int(slider.get_property("value")) == last)
    WebDriverWait(browser, 2).until(lambda _: button.text == "Play")


LOADED = """
const seen = new Promise(done => new PerformanceObserver((list, self) => {
    self.disconnect();
    done(list.getEntries().filter(e => !e.hadRecentInput).reduce((sum, e) => sum + e.value, 0));
}).observe({ type: "layout-shift", buffered: true }) || setTimeout(() => done(0), 500));
return seen.then(shift => [shift, performance.getEntriesByType("resource").map(e => e.name)]);
"""
TEXT = {".css", ".js", ".svg", ".html", ".json"}


def weight(path):
    """What a file weighs on the way, where servers compress text."""
    content = path.read_bytes()
    return len(gzip.compress(content)) if path.suffix in TEXT else len(content)


@pytest.mark.parametrize("chapter", DRAWN)
def test_a_page_is_light_and_still(browser, address, chapter):
    resize(browser, WIDTHS[0])
    browser.get(f"{address}/book/{chapter}.html")
    shift, names = browser.execute_script(LOADED)
    files = {HTML / name.removeprefix(f"{address}/").partition("?")[0] for name in names if address in name}
    total = weight(HTML / f"book/{chapter}.html") + sum(weight(file) for file in files)
    assert total <= 1.2e6, sorted((weight(file), file.name) for file in files)[-5:]
    assert shift < 0.02


def test_pictures_for_a_telephone_are_whole():
    """Each is a picture of its own, narrower than the other."""
    narrow = sorted(HTML.glob("_images/*-narrow.webp"))
    assert narrow
    for file in narrow:
        assert base64.b64encode(file.read_bytes()[:4]) == b"UklGRg=="
