"""Where this project is hosted: the one function that badges, buttons, links and releases derive it from.

Looked for in this order, so that a fork's pages lead to the fork without an edit:

1. the environment variable `LRCORE_REPOSITORY`, an address with `@branch` if need be;
2. GitHub's own variables, as set in its workflows;
3. the remote `origin` of this checkout, where that is a hosted address;
4. `_config.yml`, where the owner `OWNER` means: not known.

The standard library only: a release is made without the environment of the book.
"""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
VARIABLE, UNKNOWN = "LRCORE_REPOSITORY", "OWNER"
NOTEBOOKS = "notebooks"  # the branch that .github/workflows/book.yml puts the plain notebooks on
# A host has a dot and a name at its end: no path, no localhost, no number. What stands before an @ may be a
# token, and is left out.
# The branch stands after an @, or as a browser has it.
HOST, NAME = r"(?P<host>(?:[\w-]+\.)+[a-z]{2,})", r"(?!\.\.?/|\.\.?$)[\w.~-]+"
PATH = rf"(?P<path>{NAME}(?:/{NAME})+?)(?:(?:/-)?/tree/(?P<tree>\S+?))?/?(?:@(?P<branch>\S+))?"
FORMS = (
    re.compile(rf"(?:git\+)?(?:https?|git)://(?:[^@/\s]+@)?{HOST}(?P<port>:\d+)?/{PATH}", re.IGNORECASE),
    re.compile(rf"(?:git\+)?ssh://(?:[^@/\s]+@)?{HOST}(?::\d+)?/{PATH}", re.IGNORECASE),
    re.compile(rf"(?:[\w.-]+@)?{HOST}:/?{PATH}", re.IGNORECASE),  # git@github.com:you/lrcore.git
)
PULL_REQUEST = re.compile(r"\d+/merge")  # what GITHUB_REF_NAME is there; no such branch can be opened


class Repository(NamedTuple):
    """A hosted repository: `url` without `.git`, as a browser opens it, and the branch that links lead to."""

    url: str
    branch: str

    @property
    def host(self) -> str:
        return self.url.split("/")[2]

    @property
    def path(self) -> str:
        """Owner and name."""
        return self.url.split("/", 3)[3]

    @property
    def provider(self) -> str | None:
        """The software at the host, as far as the theme has buttons for it."""
        return next((p for p in ("github", "gitlab") if p in self.host), None)

    @property
    def install(self) -> str:
        """What pip installs it from, after `git+`."""
        return f"{self.url}@{self.branch}"

    def pinned(self, environ: Mapping[str, str] = os.environ) -> str:
        """What a notebook installs: this very commit where a workflow names it, so that a copy of the
        notebook goes on working."""
        if environ.get("GITHUB_REPOSITORY") != self.path or environ.get("GITHUB_REF_TYPE") == "tag":
            return self.install
        return f"{self.url}@{environ.get('GITHUB_SHA') or self.branch}"

    def file(self, name: str, *, raw: bool = False) -> str:
        """The address of a file, as a page or, `raw`, as it is."""
        inner = "/-" if self.provider == "gitlab" else ""
        return f"{self.url}{inner}/{'raw' if raw else 'blob'}/{self.branch}/{name}"

    def colab(self, file: str) -> str | None:
        """The address that opens a notebook in Colab; None where Colab cannot read the host."""
        if self.host != "github.com":
            return None
        return f"https://colab.research.google.com/github/{self.path}/blob/{NOTEBOOKS}/{file}"

    def links(self) -> dict[str, str]:
        """The addresses that a package index shows."""
        found = {"Source": self.url}
        if self.provider:
            found |= {"Issues": f"{self.url}/issues", "Changelog": self.file("CHANGELOG.md")}
        if self.host == "github.com":
            owner, name = self.path.split("/")
            found["Documentation"] = f"https://{owner.lower()}.github.io/{name}/"
        return found


def parse(address: str, branch: str) -> Repository | None:
    """The repository at an address in one of git's forms; None for a path, what else is not hosted, and for
    the owner that stands for one who is not known.

    >>> parse("git@github.com:you/lrcore.git", "main").install
    'https://github.com/you/lrcore@main'
    """
    for form in FORMS:
        if found := form.fullmatch(address.strip()):
            parts = found.groupdict()
            # GitHub's door for ssh behind firewalls, and its name with www, lead to the same pages.
            host = re.sub(r"^(www|ssh)\.(?=github\.com$)", "", parts["host"].lower())
            server = f"https://{host}{parts.get('port') or ''}"  # the port of ssh is another
            path = parts["path"].removesuffix(".git")
            if path.split("/")[0] == UNKNOWN:
                return None
            return Repository(f"{server}/{path}", parts["branch"] or parts["tree"] or branch)
    return None


def find(root: Path = ROOT, environ: Mapping[str, str] = os.environ) -> Repository | None:
    """The repository of the checkout at `root`, from the first source that knows it; None where none does.

    **Raises** `ValueError` for a `LRCORE_REPOSITORY` that is no address.
    """
    settings = configured(root)
    branch = settings.get("branch", "main")
    if named := environ.get(VARIABLE, "").strip():
        if found := parse(named, branch):
            return found
        raise ValueError(
            f"{VARIABLE}: expected an address such as https://github.com/you/lrcore, @branch if need be, got "
            f"{named!r}: name the repository so, or unset the variable"
        )
    if hosted := environ.get("GITHUB_REPOSITORY"):
        server = environ.get("GITHUB_SERVER_URL") or "https://github.com"
        here = environ.get("GITHUB_REF_NAME") or branch
        if found := parse(f"{server}/{hosted}", branch if PULL_REQUEST.fullmatch(here) else here):
            return found
    if found := parse(origin(root), branch):
        return found
    return parse(settings.get("url", ""), branch)


def configured(root: Path) -> dict[str, str]:
    """`url` and `branch` of `_config.yml`, read without a YAML library."""
    text = (root / "_config.yml").read_text() if (root / "_config.yml").exists() else ""
    block = re.search(r"^repository:.*\n((?:[ ]+.*\n|\n)*)", text, re.MULTILINE)
    return dict(re.findall(r"^ +(url|branch): *[\"']?([^\s\"'#]+)", block[1], re.MULTILINE)) if block else {}


def origin(root: Path) -> str:
    """The address of the remote `origin`; empty where `root` is no checkout, or git is not there."""
    if not (root / ".git").exists():  # else git would answer for a repository further up
        return ""
    command = ["git", "-C", str(root), "remote", "get-url", "origin"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout
    except OSError:
        return ""
