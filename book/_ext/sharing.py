"""What a page says of itself to whoever is sent its address."""

import html
import re

from pages import REPOSITORY
from sphinx.application import Sphinx
from sphinx.config import Config

DESCRIPTION = re.compile(r'<meta content="([^"]*)" name="description"')
PICTURE = "_static/overview.png"


def set_site(app: Sphinx, config: Config) -> None:
    """Where the pages will stand, if the repository says so: their one address, whatever led to a copy."""
    config.html_baseurl = (REPOSITORY.links() if REPOSITORY else {}).get("Documentation", "")


def describe(app: Sphinx, pagename, templatename, context, doctree) -> None:
    if doctree is None:
        return
    site, title = app.config.html_baseurl, re.sub("<.*?>", "", context["title"])
    said = {"title": html.unescape(title), "site_name": app.config.html_title, "type": "article"}
    if found := DESCRIPTION.search(context["metatags"]):
        said["description"] = html.unescape(found[1])
    if site:
        said |= {"url": f"{site}{pagename}.html", "image": f"{site}{PICTURE}"}
    for name, content in said.items():
        context["metatags"] += f'\n<meta property="og:{name}" content="{html.escape(content)}" />'


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", set_site)
    app.connect("html-page-context", describe)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
