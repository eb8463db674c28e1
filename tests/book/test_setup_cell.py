"""The set-up cell of every chapter: installed, in a checkout, downloaded, on Colab, and lost."""

import importlib.metadata
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest
from common import ROOT, sync

# Runs the cell as a notebook does, with lrcore hidden and pip's command printed, not run.
HARNESS = """
import importlib.util, subprocess, sys
find, hidden = importlib.util.find_spec, sys.argv[2] == "hidden"
sys.path[:] = [p for p in sys.path if p not in ("", sys.argv[3])] if hidden else sys.path
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in str(f).lower()] if hidden else sys.meta_path
subprocess.run = lambda command, check: print("RUN", " ".join(command[1:]))
exec(open(sys.argv[1]).read().replace('REPOSITORY = ""', f'REPOSITORY = "{sys.argv[4]}"', 1))
print("FIRST", sys.path[0])
"""


@pytest.fixture
def server():
    """A stand-in for Colab's list of sessions."""

    class Sessions(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps([{"path": self.server.opened}]).encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Sessions) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


def run_cell(folder, hidden=True, port=9, known="", **environment):
    """Run it as the book offers it for download, where `known` is the repository of the pages."""
    command = [sys.executable, "-c", HARNESS, str(ROOT / "tools" / "setup_cell.py")]
    command += ["hidden" if hidden else "installed", str(ROOT), known]
    colab = {"COLAB_JUPYTER_IP": "127.0.0.1", "KMP_TARGET_PORT": str(port), "LRCORE_REPOSITORY": ""}
    return subprocess.run(
        command, cwd=folder, env=os.environ | colab | environment, capture_output=True, text=True
    )


def test_nothing_is_done_where_lrcore_is_installed(tmp_path):
    done = run_cell(tmp_path, hidden=False)
    assert done.returncode == 0, done.stderr
    assert "RUN" not in done.stdout and not list(tmp_path.iterdir())


def test_a_checkout_is_used_as_it_is():
    done = run_cell(ROOT / "book")
    assert f"FIRST {ROOT}\n" in done.stdout, done.stderr
    assert "RUN" not in done.stdout


@pytest.mark.parametrize("branch", ["main", "a/branch"])
@pytest.mark.parametrize("twice", [False, True], ids=["quoted once", "quoted twice"])
def test_colab_installs_the_repository_it_was_opened_from(tmp_path, server, branch, twice):
    page = f"https://github.com/somebody/a-fork/blob/{branch}/book/start.ipynb"
    opened = quote(page, safe="")
    server.opened = "fileId=" + (quote(opened, safe="") if twice else opened)
    done = run_cell(tmp_path, port=server.server_port)
    assert done.returncode == 0, done.stderr
    assert f"git+https://github.com/somebody/a-fork@{branch}\n" in done.stdout
    assert "-m pip install -q -c constraints.txt" in done.stdout
    limits = (tmp_path / "constraints.txt").read_text().splitlines()
    for name in ("jax", "jaxlib", "numpy", "scipy", "matplotlib"):
        assert f"{name}=={importlib.metadata.version(name)}" in limits


def test_a_named_repository_comes_first(tmp_path, server):
    server.opened = "fileId=" + quote("https://github.com/a/b/blob/main/book/start.ipynb", safe="")
    named = "https://github.com/you/lrcore@mine"
    done = run_cell(tmp_path, port=server.server_port, LRCORE_REPOSITORY=named)
    assert f"git+{named}\n" in done.stdout, done.stderr


def test_a_downloaded_notebook_installs_the_repository_of_its_page(tmp_path, server):
    server.opened = "fileId=" + quote("https://github.com/a/b/blob/main/book/start.ipynb", safe="")
    page = "https://github.com/you/lrcore@main"
    for port in (server.server_port, 9):  # Colab is not asked
        done = run_cell(tmp_path, port=port, known=page)
        assert f"git+{page}\n" in done.stdout, done.stderr


def test_a_named_repository_and_a_checkout_come_before_that_of_the_page(tmp_path):
    page, named = "https://github.com/you/lrcore@main", "https://github.com/you/a-fork"
    assert f"git+{named}\n" in run_cell(tmp_path, known=page, LRCORE_REPOSITORY=named).stdout
    assert "RUN" not in run_cell(ROOT / "book", known=page).stdout


def test_an_empty_variable_names_nothing(tmp_path):
    page = "https://github.com/you/lrcore@main"
    assert f"git+{page}\n" in run_cell(tmp_path, known=page, LRCORE_REPOSITORY="").stdout
    assert "Set LRCORE_REPOSITORY" in run_cell(tmp_path, LRCORE_REPOSITORY="").stderr


def test_a_notebook_from_nowhere_says_what_to_set(tmp_path, server):
    server.opened = "fileId=a-file-on-a-drive"
    for port in (server.server_port, 9):  # another page's list, and no server at all
        done = run_cell(tmp_path, port=port)
        assert done.returncode != 0 and "RUN" not in done.stdout
        assert "Set LRCORE_REPOSITORY" in done.stderr
        assert not list(tmp_path.iterdir())


def test_the_cell_is_short():
    lines = [line for line in sync.setup_cell().splitlines() if not line.startswith(("import", "from", "#"))]
    assert len([line for line in lines if line.strip()]) <= 25


def test_the_committed_cell_names_no_repository():
    assert sync.setup_cell().count('\nREPOSITORY = ""  #') == 1  # the line that book/_ext/pages.py fills in
