"""The set-up cell of every chapter: installed, in a checkout, downloaded, lost; each failure is one line."""

import ast
import importlib.metadata
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from common import ROOT, sync

# Runs the cell as a notebook does, with some packages hidden and pip's command printed, not run.
HARNESS = """
import importlib.metadata, importlib.util, json, subprocess, sys, types
file, hidden, root, known, says, version = json.loads(sys.argv[1])
find, had = importlib.util.find_spec, importlib.metadata.distributions
if "lrcore" in hidden:
    sys.path[:] = [p for p in sys.path if p not in ("", root)]
    sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in str(f).lower()]
importlib.metadata.distributions = lambda: [d for d in had() if d.name.lower() not in hidden]
def run(command, **options):
    print("RUN", " ".join(command[1:]))
    return types.SimpleNamespace(returncode=bool(says), stderr=says)
subprocess.run = run
sys.version_info = tuple(version) if version else sys.version_info
try:
    exec(open(file).read().replace('REPOSITORY = ""', f'REPOSITORY = "{known}"', 1))
except ImportError as error:  # as IPython shows it
    print("SHOWN", *error._render_traceback_(), sep="\\n")
print("FIRST", sys.path[0])
"""


def run_cell(folder, hidden=("lrcore",), known="", says="", version=None, **environment):
    """Run it as the book offers it for download, where `known` is the repository of the pages; `says` is what
    a pip that fails prints."""
    settings = [str(ROOT / "tools" / "setup_cell.py"), hidden, str(ROOT), known, says, version]
    done = subprocess.run(
        [sys.executable, "-c", HARNESS, json.dumps(settings)],
        cwd=folder,
        env=os.environ | {"LRCORE_REPOSITORY": ""} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    shown = done.stdout.partition("SHOWN\n")[2].splitlines()[:-1]
    return SimpleNamespace(stdout=done.stdout, shown=shown)


def test_nothing_is_done_where_lrcore_is_installed(tmp_path):
    done = run_cell(tmp_path, hidden=())
    assert "RUN" not in done.stdout and not done.shown and not list(tmp_path.iterdir())


def test_a_checkout_is_used_as_it_is():
    done = run_cell(ROOT / "book")
    assert f"FIRST {ROOT}\n" in done.stdout
    assert "RUN" not in done.stdout and not done.shown


def test_a_bare_clone_installs_what_is_missing_there(tmp_path):
    (tmp_path / "lrcore").symlink_to(ROOT, target_is_directory=True)  # cloned beside the notebook
    done = run_cell(tmp_path, hidden=("lrcore", "equinox", "scikit-learn"))
    assert f"FIRST {tmp_path / 'lrcore'}\n" in done.stdout
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("RUN"))
    wanted = line.partition(" -c constraints.txt ")[2].split()
    assert [need.partition(">=")[0] for need in wanted] == ["equinox", "scikit-learn"]
    assert f"jax=={importlib.metadata.version('jax')}" in (tmp_path / "constraints.txt").read_text()


@pytest.mark.parametrize("branch", ["main", "a/branch", "v0.1.0"])
def test_a_copy_installs_the_repository_of_its_page(tmp_path, branch):
    page = f"https://github.com/somebody/a-fork@{branch}"
    done = run_cell(tmp_path, known=page)
    assert f"-m pip install -q -c constraints.txt git+{page}\n" in done.stdout
    limits = (tmp_path / "constraints.txt").read_text().splitlines()
    for name in ("jax", "jaxlib", "numpy", "scipy", "matplotlib"):
        assert f"{name}=={importlib.metadata.version(name)}" in limits


def test_a_named_repository_and_a_checkout_come_before_that_of_the_page(tmp_path):
    page, named = "https://github.com/you/lrcore@main", "https://github.com/you/a-fork"
    assert f"git+{named}\n" in run_cell(tmp_path, known=page, LRCORE_REPOSITORY=named).stdout
    assert "RUN" not in run_cell(ROOT / "book", known=page).stdout


def test_an_empty_variable_names_nothing(tmp_path):
    page = "https://github.com/you/lrcore@main"
    assert f"git+{page}\n" in run_cell(tmp_path, known=page, LRCORE_REPOSITORY="").stdout


def test_a_notebook_from_nowhere_says_what_to_set(tmp_path):
    done = run_cell(tmp_path)
    assert "RUN" not in done.stdout and not list(tmp_path.iterdir())
    (line,) = done.shown
    assert "Set LRCORE_REPOSITORY" in line


def test_an_old_python_is_named_before_anything_else(tmp_path):
    (line,) = run_cell(tmp_path, version=[3, 9, 1]).shown
    assert line.startswith("lrcore needs Python 3.11 or newer, ") and line.endswith(
        ": choose another kernel."
    )


@pytest.mark.parametrize(
    "says, why",
    [
        (
            "x\n  fatal: unable to access 'https://h/': Could not resolve host: h\nnote: see\n",
            "fatal: unable",
        ),
        ("  fatal: could not read Username for 'https://github.com'\nerror: x\n", "fatal: could not read"),
        (
            "ERROR: Could not find a version\nERROR: No matching distribution found for x\n",
            "ERROR: No matching",
        ),
        ("/usr/bin/python3: No module named pip\n", "/usr/bin/python3: No module named pip"),
    ],
)
def test_a_pip_that_fails_is_one_line_with_what_to_do(tmp_path, says, why):
    (line,) = run_cell(tmp_path, known="https://github.com/you/lrcore@main", says=says).shown
    assert line.startswith(f"pip failed ({why}")
    assert line.endswith("): connect to a network, or put this notebook in a clone of lrcore.")


def test_the_cell_is_short():
    lines = [line for line in sync.setup_cell().splitlines() if not line.startswith(("import", "from", "#"))]
    assert len([line for line in lines if line.strip()]) <= 25


def test_the_committed_cell_names_no_repository():
    assert sync.setup_cell().count('\nREPOSITORY = ""  #') == 1  # the line that the notebooks fill in


@pytest.mark.parametrize("version", [(3, 6), (3, 8), (3, 10)])
def test_an_old_python_can_read_the_cell(version):
    ast.parse(sync.setup_cell(), feature_version=version)
