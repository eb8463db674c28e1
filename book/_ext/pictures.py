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

    context["body"] = PICTURE.sub(shown, context["body"])


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", place)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
