"""Pictures of the pages: of their size, another on a telephone, and those that a slider moves through.

`lrcore.pictures` and `lrcore.widgets` leave them in the outputs of the cells that drew them.
"""

import base64
import hashlib
import html
import json
import re
from pathlib import Path

import matplotlib.image
from notebooks import executed
from sphinx.application import Sphinx
from sphinx.util.osutil import ensuredir

from lrcore.pictures import DENSITY, EXTRAS, PIXELS

PICTURE = re.compile(r'<img [^>]*?src="(?P<folder>[./]*_images/)(?P<name>[0-9a-f]{64})\.png"[^>]*?/?>')


def extras(app: Sphinx, docname: str) -> dict[str, dict]:
    """By the name of a picture, what the cell that drew it left beside it."""
    found = {}
    for cell in executed(Path(app.outdir).parent, docname):
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                name = hashlib.sha256(base64.b64decode(data["image/png"])).hexdigest()
                found[name] = json.loads(data.get(EXTRAS, "{}"))
    return found


def place(app: Sphinx, pagename, templatename, context, doctree) -> None:
    if doctree is None or "_images/" not in context.get("body", ""):
        return
    images = Path(app.outdir) / "_images"
    found = extras(app, pagename)

    def keep(name: str, picture: str) -> str:
        ensuredir(images)
        (images / name).write_bytes(base64.b64decode(picture))
        return name

    def shown(match: re.Match) -> str:
        folder, name = match["folder"], match["name"]
        if name not in found:
            return match[0]
        more = found[name]
        height, width = (
            round(pixels * DENSITY / PIXELS)
            for pixels in matplotlib.image.imread(images / f"{name}.png").shape[:2]
        )
        size = f'width="{width}" height="{height}" loading="lazy" class="drawn"'
        image = re.sub(r"\s*/?>$", f" {size}>", match[0])
        if narrow := more.get("narrow"):
            source = folder + keep(f"{name}-narrow.webp", narrow)
            small = f'<source media="(max-width: 600px)" srcset="{source}" type="image/webp">'
            image = f"<picture>{small}{image}</picture>"
        if moving := more.get("explore"):
            frames = [
                folder + keep(f"{name}-{k}.webp", picture) for k, picture in enumerate(moving["frames"])
            ]
            told = html.escape(json.dumps(moving | {"frames": frames}))
            image = f'<span class="explore" data-explore="{told}">{image}</span>'
        return image

    context["body"] = PICTURE.sub(shown, context["body"])


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", place)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
