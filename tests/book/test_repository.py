"""Rules that the whole repository keeps."""

import json
import os
import re
import subprocess
import sys
import tomllib

import pytest
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
        "jobs",
        "mlp",
        "module",
        "order",
        "pictures",
        "readers",
        "threads",
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


def bench(out, *arguments, **environment) -> str:
    """The last line of what `benchmarks/bench.py` has to complain of, into a folder of its own."""
    command = [sys.executable, str(ROOT / "benchmarks" / "bench.py"), *arguments]
    environment = os.environ | {"OUT": str(out)} | environment
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert bool(done.returncode) == bool(done.stderr) and len(done.stderr.splitlines()) < 2, done.stderr
    return done.stderr


MACHINE = {"device": "cpu (cpu)", "cores": 2, "load": 0.0, "jax": "0.10", "python": "3.11", "date": "2026"}
COLUMN = MACHINE | {"small": False, "ended": "", "rows": {"maxent": {"first": 1.0, "compiled": 0.0}}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "that benchmarks/bench.py wrote, got another file"),
        ("[1]", "got another file"),
        ('{"hello": 1}', "got another file"),
        ('{"cpu": 3}', "got another file"),
        (json.dumps({"cpu": {"rows": {"maxent": {}}}}), "got another file"),
        (json.dumps({"cpu": {"rows": {}, "ended": "failed"}}), "column 'cpu' that has no rows: failed"),
        (json.dumps({"cpu": COLUMN | {"small": True}}), "column 'cpu' that has SMALL SIZES"),
        (json.dumps({"gpu": COLUMN}), "column 'gpu' that was run on a machine WITHOUT A GPU"),
        (None, "No such file"),
    ],
)
def test_figures_that_are_none_are_not_added(tmp_path, content, said):
    file = tmp_path / "found.json"
    if content is not None:
        file.write_text(content)
    assert said in bench(tmp_path / "out", "add", str(file))
    assert not (tmp_path / "out").exists()


def test_figures_of_another_machine_are_added(tmp_path):
    file = tmp_path / "found.json"
    for name, column in (("cpu", COLUMN), ("gpu", COLUMN | {"device": "a card (gpu)"})):
        file.write_text(json.dumps({name: column}))
        assert not bench(tmp_path / "out", "add", str(file))
    assert json.loads((tmp_path / "out" / "benchmarks.json").read_text()).keys() == {"command", "gpu", "cpu"}
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| maxent | 1.00 (0.0) | 1.00 (0.0) |" in table and "GPU: a card (gpu)" in table


def test_a_benchmark_names_the_packages_that_it_lacks(tmp_path):
    """With Python's own library alone."""
    command = [sys._base_executable, "-S", str(ROOT / "benchmarks" / "bench.py"), "gpu"]
    environment = {"PATH": os.environ["PATH"], "OUT": str(tmp_path / "out")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "expected a Python that has numpy, scipy, sklearn, jax, " in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()
