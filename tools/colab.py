"""Run the plain notebooks as Colab would: beside its Python and its packages, away from any checkout.

python tools/colab.py PYTHON [chapter ...]

The first run makes an environment in _build/colab from .github/colab.txt. In it the notebooks' own set-up
installs lrcore, from this checkout's last commit; then each notebook is run in the size `smoke`, two at a
time. It fails where a notebook does, or where a package that Colab has was changed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
PINS, NOTEBOOKS, VENV = ROOT / ".github/colab.txt", ROOT / "_build/notebooks/book", ROOT / "_build/colab"
RUN = VENV / "bin/python"
SECONDS = 900  # a notebook
AT_ONCE = 2


def call(*command: object, **options) -> str:
    """What a command prints; where it fails, the program ends with what it said."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def make_environment(python: str) -> None:
    if not (VENV / "ready").exists() or (VENV / "ready").read_text() != PINS.read_text():
        call(python, "-m", "venv", "--clear", VENV)
        call(RUN, "-m", "pip", "install", "-q", "nbclient", "setuptools", "-r", PINS)
        (VENV / "ready").write_text(PINS.read_text())
    call(RUN, "-m", "pip", "uninstall", "-q", "-y", "lrcore")


def packages() -> set[str]:
    """What Colab has, as it is now."""
    names = {line.split("==")[0] for line in PINS.read_text().splitlines() if not line.startswith("#")}
    found = call(RUN, "-m", "pip", "freeze", "--all").splitlines()
    return {line for line in found if line.split("==")[0] in names}


def smoke(notebook: Path, folder: Path) -> tuple[Path, str]:
    """A copy that has chosen the smallest size, and the code of its set-up."""
    made = nbformat.read(notebook, as_version=4)
    size, setup = [cell for cell in made.cells if cell.cell_type == "code"][:2]
    size.source = size.source.replace('"book"  #', '"smoke"  #')
    nbformat.write(made, folder / notebook.name)
    return folder / notebook.name, f"{size.source}\n{setup.source}"


def run(notebook: Path, environment: dict[str, str]) -> str:
    """An empty text where it runs to its end."""
    start = time.time()
    command = [VENV / "bin/jupyter-execute", f"--timeout={SECONDS}", "--kernel_name=python3", notebook.name]
    done = subprocess.run(command, cwd=notebook.parent, env=environment, capture_output=True, text=True)
    print(f"{notebook.name}: {time.time() - start:.0f} s{', FAILED' * bool(done.returncode)}", flush=True)
    return done.stderr[-3000:] if done.returncode else ""


def main(python: str, *names: str) -> None:
    notebooks = [NOTEBOOKS / f"{name}.ipynb" for name in names] or sorted(NOTEBOOKS.glob("*.ipynb"))
    if not notebooks or not all(notebook.exists() for notebook in notebooks):
        sys.exit(f"{NOTEBOOKS} has no notebooks, or none of a chapter that was named: run `make notebooks`")
    version = "import sys; print(sys.version_info[:2] == (3, 12))"
    if not shutil.which(python) or call(python, "-c", version) != "True\n":
        sys.exit("Colab has Python 3.12: install it, or name it: make colab PYTHON312=/path/to/python3.12")
    make_environment(python)
    before = packages()
    environment = os.environ | {"LRCORE_REPOSITORY": f"file://{ROOT}", "JAX_PLATFORMS": "cpu"}
    environment |= {"PATH": f"{VENV / 'bin'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory() as folder:
        # What long computations left: beside the notebook, as it is on the branch of the notebooks.
        shutil.copytree(NOTEBOOKS / "results", Path(folder) / "results")
        copies = [smoke(notebook, Path(folder)) for notebook in notebooks]
        start = time.time()
        call(RUN, "-c", copies[0][1], cwd=folder, env=environment)
        print(f"set-up: {time.time() - start:.0f} s", flush=True)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            failed = list(filter(None, pool.map(lambda copy: run(copy[0], environment), copies)))
    changed = before ^ packages()
    if changed:
        failed.append(f"Packages that Colab has were changed: {', '.join(sorted(changed))}")
    if failed:
        sys.exit("\n\n".join(failed))
    print(f"{len(notebooks)} notebooks ran, and Colab's packages are as they were")


if __name__ == "__main__":
    main(*sys.argv[1:])
