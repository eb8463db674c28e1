"""Rules that the whole repository keeps."""

import re
import subprocess
import tomllib

import yaml
from common import CHAPTERS, ROOT, tracked_files

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())


def test_the_repository_is_named_in_one_place():
    address = CONFIG["repository"]["url"].removeprefix("https://").encode()
    named = [str(p.relative_to(ROOT)) for p in tracked_files() if address in p.read_bytes()]
    assert named == ["_config.yml"]


def test_every_chapter_is_in_the_table_of_contents():
    contents = (ROOT / "_toc.yml").read_text()
    assert CHAPTERS
    for chapter in CHAPTERS:
        assert f"book/{chapter.name}\n" in contents  # with the extension: the pair shares its name


def test_every_dependency_is_pinned_and_explained():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    names = {re.match(r"[\w-]+", line)[0] for line in wanted} - {"lrcore"}
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    assert names - pinned <= {"pynwb", "pre-commit"}  # an extra, and a tool of the developer
    explained = (ROOT / "CONTRIBUTING.md").read_text()
    assert not {name for name in names if f"`{name}`" not in explained}


def test_the_floors_are_tested_as_pins():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = wanted["dependencies"] + wanted["optional-dependencies"]["nwb"]
    floors = dict(re.fullmatch(r"([\w-]+)>=([\d.]+)", line).groups() for line in wanted)
    lowest = (ROOT / ".github" / "lowest.txt").read_text()
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", lowest, re.MULTILINE))
    assert pins.pop("jaxlib") == pins["jax"]
    assert pins == floors


def test_ruff_is_the_same_before_a_commit():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (rev,) = (found["rev"] for found in hooks if "ruff" in found["repo"])
    assert f"\nruff=={rev.removeprefix('v')}\n" in (ROOT / "requirements.txt").read_text()


def test_workflows_pin_their_actions_and_start_without_rights():
    used = {}
    for file in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = file.read_text()
        assert yaml.safe_load(text)["permissions"] == {"contents": "read"}, file.name
        assert "concurrency" in yaml.safe_load(text), file.name
        for action, version in re.findall(r"uses: *(\S+?)@(.*)", text):
            assert re.fullmatch(r"[0-9a-f]{40} # v\d+\.\d+\.\d+", version), f"{file.name}: {action}@{version}"
            assert used.setdefault(action, version) == version, f"two versions of {action}"
    assert used


def test_every_module_is_in_the_reference():
    inner = {
        "checks",
        "mlp",
        "module",
        "order",
        "pictures",
        "readers",
        "turns",
        "unit",
        "validation",
    }  # met through the others only
    files = [p for p in (ROOT / "lrcore").rglob("*.py") if p.stem not in inner and not p.stem.startswith("_")]
    files = [p for p in files if p.parent.name != "exercises" or p.stem == "judge"]  # checks, a chapter each
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in files}
    reference = "".join(page.read_text() for page in sorted(ROOT.glob("book/api*.md")))
    assert {m for m in modules if f"automodule:: {m}\n" not in reference} == set()


def test_make_says_so_when_there_is_no_python(tmp_path):
    for tool in ("make", "sh", "test", "echo", "sed", "expand"):
        found = subprocess.run(["sh", "-c", f"command -v {tool}"], capture_output=True, text=True)
        if found.stdout.startswith("/"):
            (tmp_path / tool).symlink_to(found.stdout.strip())
    command = ["make", "-C", str(ROOT), "book"]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode != 0
    assert "No Python 3.11 or newer found" in done.stdout
    assert "Traceback" not in done.stderr
