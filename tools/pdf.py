"""The whole book as one PDF, `_build/book.pdf`, printed by Chromium from the built pages.

Links within the book lead to places within the PDF, whose outline is that of the chapters. Answers and
solutions are printed; with `--no-solutions` the solutions are left out, for a class.
"""

import argparse
import base64
import re
import sys
from pathlib import Path
from typing import Any

import yaml
from bs4 import BeautifulSoup
from selenium import webdriver

ROOT = Path(__file__).resolve().parents[1]
HTML, TARGET = ROOT / "_build/html", ROOT / "_build/book.pdf"
CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run
    --disable-background-networking --disable-component-update --disable-sync
    --disable-dev-shm-usage --hide-scrollbars""".split()
PATIENCE = 900  # seconds, for the whole book on a busy machine
# Of the reference: what is looked up by its page of the book, and not read.
LEFT_OUT = {"book/status"}
# What leads somewhere on a screen only.
SCREEN = """script, details.hide > summary, a.headerlink, a.notebook, button, .prev-next-footer,
    .footer-article, #jb-print-docs-body"""
FOOT = """<div style="font: 8pt sans-serif; width: 100%; text-align: center">
<span class="pageNumber"></span></div>"""


def pages() -> list[str]:
    """The pages in the order of the contents, without an ending."""
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    chapters = [chapter for part in contents["parts"] for chapter in part["chapters"]]
    files = [one["file"] for chapter in chapters for one in (chapter, *chapter.get("sections", []))]
    return [name for file in (contents["root"], *files) if (name := file.removesuffix(".md")) not in LEFT_OUT]


def place(page: str, target: str = "") -> str:
    """The id that a place of a page has in the whole.

    >>> place("book/start", "fig-a")
    'start--fig-a'
    """
    return Path(page).stem + (f"--{target}" if target else "")


def leading(link: str, page: str, known: set[str]) -> str:
    """A link of a page, in the whole.

    >>> leading("requires.html#fig-a", "book/start", {"book/requires"}), leading("#x", "book/start", set())
    ('#requires--fig-a', '#start--x')
    """
    file, _, target = link.partition("#")
    if re.match(r"[a-z]+:", link):
        return link
    other = str(Path(page).parent / file).removesuffix(".html") if file else page
    return f"#{place(other, target)}" if other in known or not file else link


def read(page: str) -> Any:  # whose parts are known to be there
    return BeautifulSoup((HTML / f"{page}.html").read_text(), "html.parser")


def article(page: str, known: set[str], solutions: bool):
    """A page's text, with ids and links of the whole."""
    found = read(page).article
    for part in found.select(SCREEN + ("" if solutions else ", .solution")):
        part.decompose()
    for element in found.select("[id]"):
        element["id"] = place(page, element["id"])
    for link in found.select("a[href]"):
        link["href"] = leading(link["href"], page, known)
    for part in found.select("details"):  # nothing opens on paper
        if part.summary is None:
            part.name = "div"
        else:
            part["open"] = ""
    for picture in found.select("img[loading]"):
        del picture["loading"]  # a printer does not scroll
    found["id"], found["style"] = place(page), "break-before: page"
    return found


def whole(names: list[str], solutions: bool) -> str:
    """All pages in one, with contents in front, in the folder that their links start from."""
    soup = read(names[0])
    articles = [article(name, set(names), solutions) for name in names]
    front = soup.new_tag("article", attrs={"class": "bd-article"})
    for tag, text in (("h1", soup.title.get_text().split(" — ")[-1].strip()), ("h2", "Contents")):
        front.append(soup.new_tag(tag, string=text))
    for name, found in zip(names, articles, strict=True):
        line = soup.new_tag("div")
        line.append(soup.new_tag("a", href=f"#{place(name)}", string=found.h1.get_text().strip()))
        front.append(line)
    for way in soup.head.select("link[rel~=next], link[rel~=prev], link[rel~=index], link[rel~=search]"):
        way.decompose()
    soup.body.clear()
    soup.html["data-theme"] = "light"
    soup.body.extend([front, *articles])
    return str(soup)


TITLE = re.compile(rb"/Title (?:\(((?:\\.|[^\\()])*)\)|<FEFF([0-9A-F]*)>)\n")


def mended(pdf: bytes, titles: list[str]) -> bytes:
    """With an outline that has the titles as they are.

    Chromium writes a title twice that stands first on its page, and joins the words where its lines break. A
    title keeps its length in bytes, since a PDF finds its objects by their place.

    >>> mended(b"/Title (AsAs)\\n/Title (A wholebook)\\n", ["As", "A whole book"])
    b'/Title(As)    /Title(A whole book) '
    """
    known = {"".join(title.split()): " ".join(title.split()) for title in titles}

    def told(match: re.Match) -> bytes:
        plain, coded = match.groups()
        text = re.sub(r"\\(.)", r"\1", plain.decode("latin-1")) if coded is None else told_by(coded)
        bare = "".join(text.split())
        half = bare[: len(bare) // 2]
        title = known.get(bare) or (known.get(half) if bare == 2 * half else None)
        if title is None or title == text:
            return match[0]
        if title.isascii():
            made = f"/Title({re.sub(r'([()])', chr(92) * 2 + '1', title)})".encode()
        else:
            made = f"/Title<FEFF{title.encode('utf-16-be').hex().upper()}>".encode()
        return made.ljust(len(match[0])) if len(made) <= len(match[0]) else match[0]

    return TITLE.sub(told, pdf)


def told_by(coded: bytes) -> str:
    return bytes.fromhex(coded.decode()).decode("utf-16-be")


def chromium(*flags: str, **capabilities: Any) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, *flags):
        options.add_argument(flag)
    for name, value in capabilities.items():
        options.set_capability(name, value)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    browser.set_script_timeout(PATIENCE)
    # Selenium's own connection gives up after two minutes.
    connection: Any = browser.command_executor
    connection._client_config.timeout = PATIENCE
    return browser


def printed(page: Path) -> bytes:
    browser = chromium()
    try:
        browser.get(page.as_uri())
        browser.execute_async_script(
            "document.fonts.ready.then(() => Promise.all([...document.images].map("
            "i => i.decode().catch(() => 0)))).then(arguments[0])"
        )
        size = {"paperWidth": 8.27, "paperHeight": 11.69, "marginTop": 0.7, "marginBottom": 0.8}
        look = {"printBackground": True, "displayHeaderFooter": True, "headerTemplate": "<span></span>"}
        outline = {"generateDocumentOutline": True, "generateTaggedPDF": True}
        command = {**size, **look, **outline, "footerTemplate": FOOT}
        return base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", command)["data"])
    finally:
        browser.quit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-solutions", action="store_true", help="leave the solutions out")
    options = parser.parse_args()
    if not (HTML / "index.html").exists():
        sys.exit("The book is not built: run `make book`")
    if not (CHROMIUM.exists() and DRIVER.exists()):
        sys.exit("No Chromium: install Debian's chromium and chromium-driver")
    page = HTML / "book/whole.html"
    try:
        text = whole(pages(), not options.no_solutions)
        page.write_text(text)
        titles = [found.get_text() for found in BeautifulSoup(text, "html.parser").select("h1, h2, h3, h4")]
        TARGET.write_bytes(mended(printed(page), titles))
    finally:
        page.unlink(missing_ok=True)
    print(f"The book: {TARGET.as_uri()}")


if __name__ == "__main__":
    main()
