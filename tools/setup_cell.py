# Set-up: use lrcore as installed, else this checkout's, else the repository that this notebook is from.
import os
import re
import subprocess
import sys

REPOSITORY = ""  # https://github.com/you/lrcore@branch; filled in where the book offers this notebook


def stop(sentence):  # what is wrong and what to do, in one line in place of a traceback
    raise type("SetUpError", (ImportError,), {"_render_traceback_": lambda error: [str(error)]})(sentence)


if sys.version_info < (3, 11):
    stop(f"lrcore needs Python 3.11 or newer, this is {sys.version.split()[0]}: choose another kernel.")
import importlib.metadata
import tomllib
from importlib.util import find_spec
from pathlib import Path

if getattr(find_spec("lrcore"), "origin", None) is None:
    here, source = Path.cwd(), os.environ.get("LRCORE_REPOSITORY") or REPOSITORY
    near = [f for f in (here, *here.parents, here / "lrcore") if (f / "tools/setup_cell.py").exists()]
    have = {found.name.lower(): found.version for found in importlib.metadata.distributions()}
    if not (near or source):
        stop("lrcore is missing. Set LRCORE_REPOSITORY in os.environ to its address and run this again.")
    needed = [f"git+{source}"]
    if near:  # a clone, which may lack the packages that lrcore needs
        sys.path.insert(0, str(near[0]))
        wanted = tomllib.loads((near[0] / "pyproject.toml").read_text())["project"]["dependencies"]
        needed = [line for line in wanted if line.split(">=")[0].lower() not in have]
    if needed:  # keep the machine's own jax: it is the one built for its accelerator
        keep = [f"{p}=={have[p]}" for p in ("jax", "jaxlib", "numpy", "scipy", "matplotlib") if p in have]
        Path("constraints.txt").write_text("\n".join(keep))
        pip = [sys.executable, "-m", "pip", "install", "-q", "-c", "constraints.txt", *needed]
        done = subprocess.run(pip, stderr=subprocess.PIPE, text=True)
        why = re.findall("(?:fatal|ERROR): .*", done.stderr)[-1:] or done.stderr.split("\n")
        if done.returncode:
            stop(f"pip failed ({why[0]}): connect to a network, or put this notebook in a clone of lrcore.")
        importlib.invalidate_caches()
