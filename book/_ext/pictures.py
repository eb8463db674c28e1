"""Pictures of the pages: of their size, another on a telephone, and those that a slider moves through.

`lrcore.pictures` and `lrcore.widgets` leave them in the outputs of the cells that drew them.
"""

import base64
import hashlib
import html
import io
import json
import re
from pathlib import Path

from notebooks import executed
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.osutil import ensuredir

from lrcore.pictures import EXTRAS

# In a figure it is a link to itself, which a reader of a telephone may enlarge.
PICTURE = re.compile(
    r"(?P<link><a [^>]*>)?"
    r'(?P<image><img [^>]*?src="(?P<folder>[./]*_images/)(?P<name>[0-9a-f]{64})\.png"[^>]*?/?>)'
    r"(?(link)\s*</a>)"
)


# A drawing of book/_static has its own picture for telephones beside it, under this name.
STATIC = re.compile(r'<img (?P<rest>[^>]*?src="(?P<folder>[./]*)_images/(?P<name>[a-z]+)\.png"[^>]*?)\s*/?>')
DENSITY = 2  # pixels for one of the screen, in either

FIGURE = re.compile(r"<figure.*?</figure>", re.DOTALL)
CAPTION = re.compile(r"<figcaption>.*?</figcaption>", re.DOTALL)
WHERE = re.compile(
    r"(?<=[\s>])(Left and middle|Middle and right|Left|Middle|Right|Above|Below)(?=:)"
    r"|(?<=\()(?:left|middle|right|above|below)(?=[:,)])"
)
ROW = {"left": "first", "middle": "second", "right": "third"}
ROWS = {"above": "left", "below": "right"}


def places(caption: str) -> str:
    """A caption that says on a telephone where panels are there: a row of three goes on in the next one, and
    two rows stand side by side.

    >>> places("<p>Middle: found, above 0.</p>")
    '<p><span class="place">Middle</span><span data-narrow="Second"></span>: found, above 0.</p>'
    >>> places("growth (above 0) or decay (below)")
    'growth (above 0) or decay (below)'
    """
    said = {word for match in WHERE.finditer(caption) for word in match[0].lower().split(" and ")}
    names = ROWS if said >= set(ROWS) else ROW if "middle" in said else {}

    def told(match: re.Match) -> str:
        words = match[0].lower().split(" and ")
        if not set(words) <= set(names):
            return match[0]
        narrow = " and ".join(names[word] for word in words)
        narrow = narrow.capitalize() if match[0][0].isupper() else narrow
        return f'<span class="place">{match[0]}</span><span data-narrow="{narrow}"></span>'

    return WHERE.sub(told, caption)


def is_laid_anew(wide: bytes, narrow: bytes) -> bool:
    """Whether the panels have other places in the picture for telephones: it is higher, with more rows."""
    with Image.open(io.BytesIO(wide)) as one, Image.open(io.BytesIO(narrow)) as other:
        return other.height > 1.25 * one.height


def drawn(app: Sphinx, docname: str) -> dict[str, dict]:
    """By the name of a picture, what the cell that drew it says of it."""
    found = {}
    for cell in executed(Path(app.outdir).parent, docname):
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                picture = base64.b64decode(output["data"]["image/png"])
                found[hashlib.sha256(picture).hexdigest()] = output["metadata"] | {"picture": picture}
    return found


def place(app: Sphinx, pagename, templatename, context, doctree) -> None:
    if doctree is None or "_images/" not in context.get("body", ""):
        return
    images = Path(app.outdir) / "_images"
    found = drawn(app, pagename)
    anew = {
        name
        for name, one in found.items()
        if (narrow := one.get(EXTRAS, {}).get("narrow"))
        and is_laid_anew(one["picture"], base64.b64decode(narrow))
    }
    static = Path(app.srcdir) / "book/_static"

    def still(match: re.Match) -> str:
        name = match["name"]
        if not (static / f"{name}-narrow.png").exists():
            return match[0]
        with Image.open(static / f"{name}.png") as picture:
            width, height = (side // DENSITY for side in picture.size)
        rest = re.sub(r' style="[^"]*"', "", match["rest"])
        source = f"{match['folder']}_static/{name}-narrow.png"
        anew.add(name)
        return (
            f'<picture><source media="(max-width: 600px)" srcset="{source}" type="image/png">'
            f'<img {rest} width="{width}" height="{height}" class="drawn"></picture>'
        )

    def said(match: re.Match) -> str:
        if not any(f"_images/{name}." in match[0] for name in anew):
            return match[0]
        return CAPTION.sub(lambda caption: places(caption[0]), match[0])

    def keep(name: str, picture: bytes) -> str:
        ensuredir(images)
        (images / name).write_bytes(picture)
        return name

    def shown(match: re.Match) -> str:
        folder, name = match["folder"], match["name"]
        if "image/png" not in found.get(name, {}):
            return match[0]
        more = found[name].get(EXTRAS, {})
        width, height = (found[name]["image/png"][side] for side in ("width", "height"))
        size = f'width="{width}" height="{height}" loading="lazy" class="drawn"'
        # A tenth of the weight of a PNG where there are many points.
        made = io.BytesIO()
        with Image.open(io.BytesIO(found[name]["picture"])) as picture:
            picture.convert("RGB").save(made, "webp", quality=80, method=4)
        own = keep(f"{name}.webp", made.getvalue())
        image = re.sub(r' style="[^"]*"', "", match["image"])
        image = re.sub(r"\s*/?>$", f" {size}>", image).replace(f"{name}.png", own)
        if narrow := more.get("narrow"):
            source = folder + keep(f"{name}-narrow.webp", base64.b64decode(narrow))
            small = f'<source media="(max-width: 600px)" srcset="{source}" type="image/webp">'
            image = f"<picture>{small}{image}</picture>"
        if moving := more.get("explore"):
            frames = [
                folder + keep(f"{name}-{k}.webp", base64.b64decode(picture))
                for k, picture in enumerate(moving["frames"])
            ]
            told = html.escape(json.dumps(moving | {"frames": frames}))
            return f'<span class="explore" data-explore="{told}">{image}</span>'
        return f"{match['link']}{image}</a>" if match["link"] else image

    body = STATIC.sub(still, context["body"])
    context["body"] = PICTURE.sub(shown, FIGURE.sub(said, body))


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", place)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
