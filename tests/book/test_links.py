"""Where the links of the pages lead: to the repository that is known, and nowhere where none is."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from common import ROOT, build_book, repository, sync

CONFIG = "title: a book\nrepository:\n  url: {url}\n  branch: main\n"
NOBODY = CONFIG.format(url="https://github.com/" + repository.UNKNOWN + "/lrcore")
SOMEBODY = CONFIG.format(url="https://github.com/somebody/lrcore")
ACTIONS = {"GITHUB_REPOSITORY": "fork/lrcore", "GITHUB_REF_NAME": "main"}


@pytest.fixture
def checkout(tmp_path):
    """A checkout whose `_config.yml` knows no repository; `remote` gives it an origin."""
    (tmp_path / "_config.yml").write_text(NOBODY)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    return tmp_path


def remote(checkout, address):
    subprocess.run(["git", "-C", checkout, "remote", "add", "origin", address], check=True)


def test_nothing_known_is_none(checkout):
    assert repository.find(checkout, {}) is None
    assert repository.find(checkout / "no/such/folder", {}) is None


def test_the_first_source_that_knows_is_taken(checkout):
    variable = {repository.VARIABLE: "https://github.com/variable/lrcore"}
    (checkout / "_config.yml").write_text(SOMEBODY)
    assert repository.find(checkout, {}).path == "somebody/lrcore"
    remote(checkout, "https://github.com/origin/lrcore")
    assert repository.find(checkout, {}).path == "origin/lrcore"
    assert repository.find(checkout, ACTIONS).path == "fork/lrcore"
    assert repository.find(checkout, ACTIONS | variable).path == "variable/lrcore"


def test_an_empty_variable_says_nothing(checkout):
    assert repository.find(checkout, {repository.VARIABLE: "", "GITHUB_REPOSITORY": ""}) is None
    assert repository.find(checkout, {repository.VARIABLE: " "} | ACTIONS).path == "fork/lrcore"


@pytest.mark.parametrize(
    "address, expected",
    [
        ("https://github.com/you/lrcore", "https://github.com/you/lrcore@main"),
        ("https://github.com/you/lrcore/", "https://github.com/you/lrcore@main"),
        ("https://github.com/you/lrcore.git", "https://github.com/you/lrcore@main"),
        ("https://GitHub.com/you/lr.core", "https://github.com/you/lr.core@main"),
        ("git@github.com:you/lrcore.git", "https://github.com/you/lrcore@main"),
        ("ssh://git@github.com/you/lrcore.git", "https://github.com/you/lrcore@main"),
        ("ssh://git@git.example.org:2222/you/lrcore", "https://git.example.org/you/lrcore@main"),
        ("https://git.example.org:8443/you/lrcore", "https://git.example.org:8443/you/lrcore@main"),
        ("https://gitlab.com/group/part/lrcore.git", "https://gitlab.com/group/part/lrcore@main"),
        ("https://name:secret@github.com/you/lrcore", "https://github.com/you/lrcore@main"),
        ("http://github.com/you/lrcore", "https://github.com/you/lrcore@main"),
        ("https://www.github.com/you/lrcore", "https://github.com/you/lrcore@main"),
        ("https://github.com/you/lrcore/tree/dev", "https://github.com/you/lrcore@dev"),
        ("https://gitlab.com/group/lrcore/-/tree/dev", "https://gitlab.com/group/lrcore@dev"),
        ("ssh://git@ssh.github.com:443/you/lrcore.git", "https://github.com/you/lrcore@main"),
        ("git@github.com:/you/lrcore.git", "https://github.com/you/lrcore@main"),
        ("github.com:you/lrcore.git", "https://github.com/you/lrcore@main"),
    ],
)
def test_an_origin_in_any_of_gits_forms(checkout, address, expected):
    remote(checkout, address)
    assert repository.find(checkout, {}).install == expected


@pytest.mark.parametrize(
    "address",
    [
        "/srv/lrcore",
        "../lrcore",
        "C:/books/lrcore",
        "file:///srv/lrcore.git",
        "https://localhost/you/lrcore",
        "https://127.0.0.1:8000/you/lrcore",
        "host:lrcore",
        "https://github.com/lrcore",
        "https://github.com/you/..",
        f"https://github.com/{repository.UNKNOWN}/lrcore.git",  # the owner who is not known
    ],
)
def test_an_origin_that_is_not_hosted_is_none(checkout, address):
    remote(checkout, address)
    assert repository.find(checkout, {}) is None


def test_the_origin_of_a_repository_further_up_is_not_ours(checkout):
    remote(checkout, "https://github.com/another/project")
    inner = checkout / "lrcore"
    inner.mkdir()
    (inner / "_config.yml").write_text(NOBODY)
    assert repository.find(inner, {}) is None


@pytest.mark.parametrize("branch", ["mine", "a/branch"])
@pytest.mark.parametrize("form", ["https://github.com/you/lrcore@{}", "git@github.com:you/lrcore.git@{}"])
def test_the_variable_can_name_a_branch(checkout, form, branch):
    found = repository.find(checkout, {repository.VARIABLE: form.format(branch)})
    assert found == ("https://github.com/you/lrcore", branch)


def test_a_variable_that_is_no_address_is_an_error(checkout):
    with pytest.raises(ValueError, match=r"LRCORE_REPOSITORY: expected an address .* got '/srv/lrcore'"):
        repository.find(checkout, {repository.VARIABLE: "/srv/lrcore"})


@pytest.mark.parametrize(
    "name, branch", [("a/branch", "a/branch"), ("v0.1.0", "v0.1.0"), ("12/merge", "main")]
)
def test_github_names_the_branch_but_for_a_pull_request(checkout, name, branch):
    assert repository.find(checkout, ACTIONS | {"GITHUB_REF_NAME": name}).branch == branch


def test_a_notebook_is_tied_to_the_commit_or_the_tag_that_it_was_made_from(checkout):
    found, sha = repository.find(checkout, ACTIONS), "0123456789abcdef"
    assert found.pinned({}) == found.install
    assert found.pinned(ACTIONS | {"GITHUB_SHA": sha}) == f"https://github.com/fork/lrcore@{sha}"
    tagged = ACTIONS | {"GITHUB_REF_NAME": "v0.1.0", "GITHUB_REF_TYPE": "tag", "GITHUB_SHA": sha}
    assert repository.find(checkout, tagged).pinned(tagged) == "https://github.com/fork/lrcore@v0.1.0"
    assert found.pinned({"GITHUB_REPOSITORY": "another/one", "GITHUB_SHA": sha}) == found.install


def test_github_on_another_server(checkout):
    found = repository.find(checkout, ACTIONS | {"GITHUB_SERVER_URL": "https://github.example.org"})
    assert found.install == "https://github.example.org/fork/lrcore@main"
    assert found.provider == "github" and found.colab("book/start.ipynb") is None


def test_the_settings_are_read_as_yaml_reads_them():
    expected = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]
    assert repository.configured(ROOT) == expected


def test_a_package_index_gets_addresses_that_exist():
    links = repository.Repository("https://github.com/You/lrcore", "v1").links()
    assert links["Changelog"] == "https://github.com/You/lrcore/blob/v1/CHANGELOG.md"
    assert links["Documentation"] == "https://you.github.io/lrcore/"
    links = repository.Repository("https://gitlab.com/group/part/lrcore", "v1").links()
    assert links["Changelog"] == "https://gitlab.com/group/part/lrcore/-/blob/v1/CHANGELOG.md"
    assert repository.Repository("https://git.example.org/you/lrcore", "v1").links() == {
        "Source": "https://git.example.org/you/lrcore"
    }


# --- the same on pages: a book of one chapter, with the settings and the extension of this one

CHAPTER = f"""# A chapter

```{{code-cell}} ipython3
:tags: [remove-cell]

{sync.setup_cell()}
```
"""


def build(folder: Path, address: str) -> tuple[str, str]:
    """The page of the chapter, and the source of the set-up cell in the notebook that it offers."""
    html = build_book(folder, {"start": CHAPTER}, address, "off", "notebooks") / "html"
    notebook = json.loads((html / "_sources/book/start.ipynb").read_text())
    _, setup = (cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    return (html / "book/start.html").read_text(), "".join(setup["source"])


def outside(page: str) -> list[str]:
    return sorted(set(re.findall(r'href="(https://[^"?]+)', page)))


def test_pages_of_a_known_repository_lead_to_it(tmp_path):
    page, cell = build(tmp_path, "git@github.com:you/a-fork.git@mine")
    assert outside(page) == [
        "https://colab.research.google.com/github/you/a-fork/blob/notebooks/book/start.ipynb",
        "https://github.com/you/a-fork",
        "https://github.com/you/a-fork/edit/mine/book/start.md",
        "https://github.com/you/a-fork/issues/new",
        "https://you.github.io/a-fork/book/start.html",  # its one address, whatever led to a copy of it
    ]
    assert ">Open in Colab</a>" in page
    assert '\nREPOSITORY = "https://github.com/you/a-fork@mine"' in cell


def test_pages_without_a_repository_offer_the_notebook(tmp_path):
    page, cell = build(tmp_path, "")
    assert outside(page) == []
    assert re.search(r'download="" href="../_sources/book/start.ipynb">Download the notebook</a>', page)
    assert not re.search(r"launch-buttons|source-buttons|colab", page)
    assert sync.setup_cell() in cell


def test_pages_of_a_host_without_buttons_offer_the_notebook(tmp_path):
    page, cell = build(tmp_path, "https://git.example.org/you/lrcore")
    assert outside(page) == []
    assert ">Download the notebook</a>" in page
    assert '\nREPOSITORY = "https://git.example.org/you/lrcore@main"' in cell
