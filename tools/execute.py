"""Run the chapters side by side, a processor core each, into the cache that Jupyter Book takes outputs from.

Jupyter Book runs one chapter after another, and most of a chapter's time one core is idle. What is in the
cache already is not run again.
"""

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution
from myst_nb.core.config import NbParserConfig
from myst_nb.core.read import create_nb_reader
from myst_parser.config.main import MdParserConfig

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "_build" / ".jupyter_cache"
CELL_SECONDS = 300
# The longest first, so that none of them begins last.
LONG = (
    "your_recording",
    "requires",
    "comparing",
    "latent_dynamics",
    "maximum_entropy",
    "connector",
    "same_dynamics",
    "spurious_structure",
)


def pin(cores) -> None:
    """Keep this worker, and the kernels that it starts, on a core of their own."""
    if cores is not None:
        os.sched_setaffinity(0, {cores.get()})
    os.environ["OMP_NUM_THREADS"] = "1"


def run(path: Path):
    """The executed notebook of a chapter, its seconds, and what went wrong."""
    notebook = read(path)
    done = single_nb_execution(notebook, cwd=str(path.parent), timeout=CELL_SECONDS, allow_errors=False)
    return notebook, done.time, done.exc_string


def read(path: Path):
    """The notebook as Jupyter Book reads it, so that it finds it in the cache."""
    reader = create_nb_reader(str(path), MdParserConfig(), NbParserConfig(), path.read_text())
    assert reader is not None
    return reader.read(path.read_text())


def missing(cache, paths: list[Path]) -> list[Path]:
    found = []
    for path in paths:
        try:
            cache.match_cache_notebook(read(path))
        except KeyError:
            found.append(path)
    return sorted(found, key=lambda p: (LONG.index(p.stem) if p.stem in LONG else len(LONG), p.stem))


def execute(paths: list[Path]) -> None:
    """Run the chapters that are not in the cache; where some fail, the program ends after the others."""
    CACHE.mkdir(parents=True, exist_ok=True)
    cache = get_cache(str(CACHE))
    todo = missing(cache, paths)
    if not todo:
        return
    cores, queue = [], None
    context = multiprocessing.get_context("spawn")
    if hasattr(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        queue = context.Queue()
        for core in cores:
            queue.put(core)
    count = min(len(cores) or os.cpu_count() or 1, len(todo))
    with ProcessPoolExecutor(count, mp_context=context, initializer=pin, initargs=(queue,)) as pool:
        tasks, failed = {pool.submit(run, path): path for path in todo}, []
        for task in as_completed(tasks):
            path = tasks[task]
            notebook, seconds, error = task.result()
            if error:
                failed.append(f"{path.relative_to(ROOT)} failed:\n{error}")
                continue
            print(f"{path.relative_to(ROOT)}: {seconds:.0f} s", flush=True)
            record = cache.add_nb_to_project(str(path), read_data={"name": "myst_nb_md", "type": "plugin"})
            bundle = CacheBundleIn(notebook, record.uri, data={"execution_seconds": seconds})
            cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    if failed:
        sys.exit("\n".join(failed))
