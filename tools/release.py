"""What a release needs beyond a build: .github/workflows/release.yml calls this. The standard library only.

python tools/release.py check TAG    the tag, lrcore, CITATION.cff and CHANGELOG.md name one version
python tools/release.py addresses    write the repository's addresses into pyproject.toml, for the package
"""

import re
import sys
import tomllib
from pathlib import Path

import repository

ROOT = Path(__file__).resolve().parents[1]
# Where the version stands. `lrcore.__version__` is the source; a build reads it from there.
PLACES = {
    "lrcore/__init__.py": r'^__version__ = "(\S+)"$',
    "CITATION.cff": r"^version: (\S+)$",
    "CHANGELOG.md": r"^## (\S+) \(.+\)$",  # the entry on top
}
DATED = re.compile(r"^## \S+ \(\d{4}-\d{2}-\d{2}\)$", re.MULTILINE)
TABLE = "[project.urls]\n"
RELATIVE = re.compile(r"(?P<mark>!?)\[(?P<text>[^]]*)\]\((?!https?:|#)(?P<file>[^)\s]+)\)")


def versions(root: Path = ROOT) -> dict[str, str]:
    """The version that each place names; empty where it names none."""
    found = {
        place: re.search(form, (root / place).read_text(), re.MULTILINE) for place, form in PLACES.items()
    }
    return {place: match[1] if match else "" for place, match in found.items()}


def check(tag: str, root: Path = ROOT) -> None:
    """Whether this is the release that the tag names.

    **Raises** `ValueError` for a version that is not that of the tag, and for a changelog without a date.
    """
    wrong = {place: version for place, version in versions(root).items() if f"v{version}" != tag}
    if wrong:
        told = ", ".join(f"{version or 'none'} in {place}" for place, version in wrong.items())
        raise ValueError(
            f"expected the version of the tag {tag} everywhere, got {told}: bring them in step and tag again"
        )
    first = re.search(r"^## .*$", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    if first is None or not DATED.match(first[0]):
        raise ValueError(
            f"expected the day of the release in CHANGELOG.md, such as ## {tag[1:]} (2026-01-31), "
            f"got {first and first[0]!r}: date it and tag again"
        )


def write_addresses(found: repository.Repository | None, root: Path = ROOT) -> None:
    """Complete what a package index shows: addresses from pyproject.toml, links and pictures of README.md.

    **Raises** `ValueError` where no repository is known.
    """
    if found is None:
        raise ValueError(
            f"expected a repository for the package to point to, got none: name it in {repository.VARIABLE} "
            "or in _config.yml"
        )
    project, readme = root / "pyproject.toml", root / "README.md"
    text = project.read_text()
    held = tomllib.loads(text)["project"]["urls"]
    new = "".join(f'{name} = "{url}"\n' for name, url in found.links().items() if name not in held)
    project.write_text(text.replace(TABLE, TABLE + new, 1))

    def absolute(link: re.Match) -> str:
        return f"{link['mark']}[{link['text']}]({found.file(link['file'], raw=bool(link['mark']))})"

    readme.write_text(RELATIVE.sub(absolute, readme.read_text()))


def main() -> None:
    try:
        match sys.argv[1:]:
            case ["check", tag]:
                check(tag)
            case ["addresses"]:
                write_addresses(repository.find())
            case _:
                sys.exit(__doc__)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
