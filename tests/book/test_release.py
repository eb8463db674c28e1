"""A release: one version everywhere, and a package that is whole and says where it is from."""

import email
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from common import ROOT, release, repository, tracked_files

FILES = [p.relative_to(ROOT).as_posix() for p in tracked_files() if ROOT / "lrcore" in p.parents]
PARTS = ["pyproject.toml", "README.md", "LICENSE", *release.PLACES, *FILES]


@pytest.fixture
def tree(tmp_path):
    """What a package is made of, in a folder of its own: a build leaves files behind."""
    for name in PARTS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def replace(file: Path, old: str, new: str) -> None:
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))


def test_one_version_everywhere():
    named = release.versions()
    assert all(named.values()) and len(set(named.values())) == 1, named


def test_a_tag_of_this_version_passes_once_the_changelog_is_dated(tree):
    version = release.versions(tree)["CHANGELOG.md"]
    entry = next(line for line in (tree / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    replace(tree / "CHANGELOG.md", entry, f"## {version} (unreleased)")
    with pytest.raises(
        ValueError, match=rf"such as ## {version} .* got '## {version} \(unreleased\)': date it"
    ):
        release.check(f"v{version}", tree)
    replace(tree / "CHANGELOG.md", "unreleased", "2026-01-31")
    release.check(f"v{version}", tree)


@pytest.mark.parametrize("place", release.PLACES)
def test_a_place_that_lags_behind_is_named(tree, place):
    text, version = (tree / place).read_text(), release.versions(tree)[place]
    found = re.search(release.PLACES[place], text, re.MULTILINE)
    (tree / place).write_text(text[: found.start(1)] + "0.0.9" + text[found.end(1) :])
    with pytest.raises(ValueError, match=f"the tag v{version} everywhere, got 0.0.9 in {place}: "):
        release.check(f"v{version}", tree)


def test_another_tag_is_refused(tree):
    with pytest.raises(ValueError, match="tag v99.0 everywhere"):
        release.check("v99.0", tree)


def test_without_a_repository_there_is_no_release(tree):
    with pytest.raises(ValueError, match="expected a repository .* got none"):
        release.write_addresses(None, tree)


def test_the_wheel_is_whole_and_says_where_it_is_from(tree):
    found = repository.Repository("https://github.com/you/lrcore", "v0.1.0")
    release.write_addresses(found, tree)
    release.write_addresses(found, tree)  # a second time changes nothing
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        "dist",
        ".",
    ]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    (wheel,) = (tree / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        about = next(name for name in archive.namelist() if name.endswith("METADATA"))
        metadata = email.message_from_bytes(archive.read(about))
    assert sorted(names) == sorted(FILES)
    assert metadata["Version"] == release.versions()["lrcore/__init__.py"]
    shown = metadata.get_payload()
    assert "](https://github.com/you/lrcore/raw/v0.1.0/book/_static/overview.png)" in shown
    assert "](https://github.com/you/lrcore/blob/v0.1.0/CONTRIBUTING.md)" in shown
    assert not release.RELATIVE.search(shown)
    urls = dict(line.split(", ") for line in metadata.get_all("Project-URL"))
    assert urls.items() >= found.links().items() and "Paper" in urls
