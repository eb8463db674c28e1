"""The set-up cell of every chapter: installed, in a checkout, on Colab, and lost."""

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
exec(open(sys.argv[1]).read())
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


def run_cell(folder, hidden=True, port=9, **environment):
    command = [sys.executable, "-c", HARNESS, str(ROOT / "tools" / "setup_cell.py")]
    command += ["hidden" if hidden else "installed", str(ROOT)]
    colab = {"COLAB_JUPYTER_IP": "127.0.0.1", "KMP_TARGET_PORT": str(port)}
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


def test_a_notebook_from_nowhere_says_what_to_set(tmp_path, server):
    server.opened = "fileId=a-file-on-a-drive"
    for port in (server.server_port, 9):  # another page's list, and no server at all
        done = run_cell(tmp_path, port=port)
        assert done.returncode != 0 and "RUN" not in done.stdout
        assert "Set LRCORE_REPOSITORY" in done.stderr
        assert not list(tmp_path.iterdir())


def test_the_cell_is_short():
    assert len(sync.setup_cell().splitlines()) <= 42
