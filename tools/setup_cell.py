# Set-up: use lrcore as installed, else this checkout's, else the repository Colab opened this from.
import importlib.metadata
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
from urllib.parse import unquote
from urllib.request import urlopen

if getattr(importlib.util.find_spec("lrcore"), "origin", None) is None:
    here = pathlib.Path.cwd()
    near = [f for f in (here, *here.parents, here / "lrcore") if (f / "pyproject.toml").exists()]
    near = [f for f in near if (f / "lrcore/__init__.py").exists()]
    source = os.environ.get("LRCORE_REPOSITORY", "")  # https://github.com/you/lrcore[@branch]
    if not near and not source:
        host = os.environ.get("COLAB_JUPYTER_IP", "172.28.0.12")
        port = os.environ.get("KMP_TARGET_PORT", "9000")
        try:
            page = urlopen(f"http://{host}:{port}/api/sessions", timeout=5).read().decode()
        except OSError:
            page = ""
        address = r'(https://github\.com/[^\s"]+?)/blob/([^\s"]+?)/book/'
        found = re.search(address, unquote(unquote(page)))
        if found is None:
            raise ImportError(
                "lrcore is not installed, and which repository this notebook comes from cannot be "
                "told. Set LRCORE_REPOSITORY to its address in os.environ and run this cell again."
            )
        source = "@".join(found.groups())
    if near:
        sys.path.insert(0, str(near[0]))
    else:  # keep the machine's own jax: it is the one built for its accelerator
        have = {d.name: d.version for d in importlib.metadata.distributions()}
        keep = [p for p in ("jax", "jaxlib", "numpy", "scipy", "matplotlib") if p in have]
        limits = pathlib.Path("constraints.txt")
        limits.write_text("\n".join(f"{p}=={have[p]}" for p in keep))
        pip = [sys.executable, "-m", "pip", "install", "-q", "-c", str(limits), f"git+{source}"]
        subprocess.run(pip, check=True)
        importlib.invalidate_caches()
