"""The theme brings two thousand icons with every page, which is most of its weight; the pages use a few."""

import re
from pathlib import Path

import pydata_sphinx_theme
from sphinx.application import Sphinx

SCRIPT = "static/scripts/fontawesome.js"
# An icon: its name, its size, other names and its sign; and what it looks like.
ICON = re.compile(
    r'(?P<head>(?P<name>"?[\w-]+"?):\[\d+,\d+,\[(?P<others>[^\]]*)\],"\w+",)(?:"[^"]*"|\[[^\]]*\])\]'
)


def used(app: Sphinx) -> set[str]:
    """Names of all icons that a page or the theme's own script shows."""
    outdir = Path(app.outdir)
    files = [*outdir.rglob("*.html"), *outdir.glob("_static/scripts/*theme.js")]
    return {name for file in files for name in re.findall(r"\bfa-([a-z0-9-]+)", file.read_text())}


def subset(script: str, names: set[str]) -> str:
    """The theme's script without the outlines of icons of other names.

    >>> subset('a={house:[1,2,["home"],"f015","M5"],car:[1,2,[],"f1b9","M6"]}', {"home"})
    'a={house:[1,2,["home"],"f015","M5"],car:[1,2,[],"f1b9",""]}'
    """

    def kept(icon: re.Match) -> str:
        mine = {icon["name"].strip('"'), *re.findall(r'"([\w-]+)"', icon["others"])}
        return icon[0] if mine & names else icon["head"] + '""]'

    return ICON.sub(kept, script)


def write(app: Sphinx, exception: Exception | None) -> None:
    made = Path(app.outdir) / "_static/scripts/fontawesome.js"
    if exception or app.builder.name != "html" or not made.exists():
        return
    theme = Path(pydata_sphinx_theme.__file__).parent / "theme/pydata_sphinx_theme"
    made.write_text(subset((theme / SCRIPT).read_text(), used(app)))


def setup(app: Sphinx) -> dict:
    app.connect("build-finished", write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
