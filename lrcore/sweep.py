"""The same computation for many sessions, folds, ranks and seeds, on one machine or on many."""

import collections
import contextlib
import errno
import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import pickle
import re
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray
from tqdm import tqdm

from . import checks
from .saving import encoded, load, write_whole

try:
    import fcntl
except ImportError:  # Windows has no such lock
    fcntl = None

# Seconds between two looks at what runs.
PAUSE = 0.05


class Sweep(eqx.Module):
    """What a sweep has left in its folder: `found[name]` reads the result of one job.

    - `jobs`: by name, what `fit` was called with, of every job that is done. `failed`: by name, the error of
      every other, in one line; the whole of it stands in the folder, in `<name>.txt`.
    """

    folder: Path
    jobs: dict[str, dict[str, Any]]
    failed: dict[str, str]

    def __getitem__(self, name: str) -> Any:
        if name not in self.jobs:
            raise KeyError(f"{name}: {self.failed.get(name, 'no job of this sweep has this name')}")
        return load(_result(self.folder, name))

    def __iter__(self) -> Iterator[str]:
        return iter(self.jobs)

    def __len__(self) -> int:
        return len(self.jobs)

    def __repr__(self) -> str:
        lines = [f"Sweep: {len(self)} of {len(self) + len(self.failed)} jobs done, in {self.folder}"]
        shown = list(self.failed.items())[:5]
        lines += [f"{name}: {said if len(said) < 100 else said[:97] + '...'}" for name, said in shown]
        return "\n".join(lines + ["..."] * (len(self.failed) > 5))


def sweep(
    fit: Callable,
    jobs: Mapping[str, Sequence] | Sequence[Mapping[str, Any]],
    *,
    executor: Any = None,
    folder: str | os.PathLike,
    tries: int = 3,
    progress: bool = True,
) -> Sweep:
    """Call `fit(**job, key=key)` for every job and keep what it returns, a file each, in a folder.

    A result is written by the worker that has it, whole or not at all, so that a sweep which is ended goes on
    where it was: called again, it does what is missing. A job that raises is reported and stops no other; it
    is tried again by the next call. A job whose worker is killed is tried again at once.

    **Arguments**

    - `fit`: a function of a module or script, or a `functools.partial` of one. It returns numbers, texts,
      arrays, objects of lrcore, and lists and dicts of these: what `lr.load` can read.
    - `jobs`: `{"session": paths, "rank": (1, 2, 3)}`, for every combination, or a list of dicts, one a job.
      Values are texts, numbers or paths of files. A job is called by them, `session=a.mat,rank=1`, and its
      key is made from that name: results do not depend on the order, on other jobs or on the executor.
    - `executor`: anything with the `submit` of a `concurrent.futures.Executor`: a pool of one's own, Dask's
      `Client.get_executor()`, `submitit.AutoExecutor` for SLURM. By default a new process for every
      processor. All of its workers must see the folder.
    - `folder`: a new one, or that of the same `fit`; further jobs may be added to it.
    - `tries`: how often a job is begun whose workers are killed.
    - `progress`: show a bar.

    **Returns** a `Sweep`; warns where jobs failed.

    **Raises** before anything runs: `ValueError` for a folder of another sweep, paths that are no files and
    jobs of one name; `TypeError` for an executor that is none, and a `fit` that cannot be sent to another
    process; `RuntimeError` where another sweep is at work in the folder. Later: `OSError` for a full disk,
    and `RuntimeError` for an executor that is broken, or a script without `if __name__ == "__main__":`; what
    is done is kept.

    >>> import tempfile
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> jobs = {"low": [0.0, 1.0], "high": [2.0]}
    >>> with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
    ...     found = sweep(_uniform, jobs, executor=pool, folder=folder, progress=False)
    ...     {name: round(float(found[name]), 3) for name in found}
    {'low=0.0,high=2.0': 1.462, 'low=1.0,high=2.0': 1.65}
    """
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise TypeError(
            "executor: expected a concurrent.futures.Executor, or None for a pool of processes, got "
            f"{executor!r}: for Dask give Client(...).get_executor(), for SLURM submitit.AutoExecutor(...)"
        )
    tries, named, mark = checks.count("tries", tries), _named(jobs), _mark(fit, executor)
    folder = Path(folder).absolute()
    with _locked(folder, mark):
        todo = [name for name in named if not _result(folder, name).exists()]
        bar = tqdm(
            total=len(named), initial=len(named) - len(todo), desc="jobs", disable=not progress, leave=False
        )
        with contextlib.closing(bar):
            failed = _run_all(fit, {name: named[name] for name in todo}, executor, folder, tries, bar)
    if failed:
        name, said = next(iter(failed.items()))
        warnings.warn(
            f"{len(failed)} of {len(named)} jobs failed, the first: {name}: {said}", UserWarning, stacklevel=2
        )
    return Sweep(folder, {name: job for name, job in named.items() if name not in failed}, failed)


def key_of(name: str) -> PRNGKeyArray:
    """The key of the job of this name.

    >>> bool((key_of("seed=0") == key_of("seed=1")).all())
    False
    """
    words = np.frombuffer(hashlib.sha256(name.encode()).digest()[:8], "<u4")
    return jr.fold_in(jr.key(words[0]), words[1])


def _uniform(low, high, key):
    return jr.uniform(key, minval=low, maxval=high)


# --- what runs where the executor says


def _run(fit, name: str, job: dict, folder: Path) -> str:
    """Compute and write one result; what went wrong in `fit`, in one line."""
    trace = _result(folder, name).with_suffix(".txt")
    try:
        content = encoded(fit(**job, key=key_of(name)))
    except (Exception, SystemExit) as error:
        said = traceback.format_exc()
        write_whole(trace, lambda file: file.write(said.encode()))
        return f"{type(error).__name__}: {error}".splitlines()[0]
    write_whole(_result(folder, name), lambda file: file.write(content))
    trace.unlink(missing_ok=True)
    return ""


# Forked processes hang where jax has threads.
_SPAWN = multiprocessing.get_context("spawn")


def _pool(workers: int, begun) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=_SPAWN, initializer=_begin, initargs=(begun,))


def _begin(begun) -> None:
    """Say that a worker has begun, and end it with its parent: it would wait for ever for a sweep that was
    killed.
    """
    begun.set()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


# --- what runs here


def _run_all(fit, jobs: dict, executor, folder: Path, tries: int, bar: tqdm) -> dict[str, str]:
    """Run the jobs; by name, what became of those without a result."""
    own = executor is None
    workers = min(_processors(), max(len(jobs), 1)) if own else len(jobs)
    waiting, running, failed = collections.deque(jobs), {}, {}
    lost, suspects = collections.Counter(), set()
    # Its processes begin when there is something for them.
    begun = _SPAWN.Event()
    pool = _pool(workers, begun) if own else executor

    def ended(name, said=""):
        if said:
            failed[name] = said
            bar.set_postfix(failed=len(failed))
        bar.update()

    def try_again(name, error, blamed=True):
        lost[name] += blamed
        if _result(folder, name).exists():
            ended(name)
        elif lost[name] < tries:
            waiting.append(name)
        else:
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            ended(name, f"no result from its worker in {tries} tries, out of memory? {why}")

    try:
        while waiting or running:
            broken, killed = None, []
            try:
                # A pool of processes ends as a whole. Who ran when it did runs alone afterwards: who is
                # killed again is to blame.
                while waiting and len(running) < workers:
                    if running and not suspects.isdisjoint([waiting[0], *running.values()]):
                        break
                    task = pool.submit(_run, fit, waiting[0], jobs[waiting[0]], folder)
                    running[task] = waiting.popleft()
            except BrokenExecutor as error:
                broken = error
            done = [task for task in running if task.done()]
            for task in done:
                name = running.pop(task)
                try:
                    ended(name, task.result())
                except BrokenExecutor as error:
                    broken = error
                    killed.append(name)
                except Exception as error:
                    _refuse_full_disk(error, folder)
                    try_again(name, error)
            if broken and not own:
                raise RuntimeError(
                    f"executor: expected one whose workers live, got {type(broken).__name__}: {broken} What "
                    f"is done is kept in {folder}: call again with a new one"
                ) from broken
            if broken and not begun.is_set():
                raise RuntimeError(
                    "executor: expected workers that begin, got a pool that ended before: call lr.sweep "
                    "below `if __name__ == '__main__':`, as every worker reads the script, or see what they "
                    "print"
                ) from broken
            if broken:
                pool.shutdown()
                killed += running.values()
                pool, running = _pool(workers, begun), {}
                suspects.update(killed)
                for name in killed:
                    try_again(name, broken, blamed=len(killed) == 1)
            elif not done:
                time.sleep(PAUSE)
    finally:
        for task in running:
            task.cancel()
        if own:
            pool.shutdown(cancel_futures=True)
    return failed


def _refuse_full_disk(error: Exception, folder: Path) -> None:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise OSError(
            error.errno,
            f"{folder}: expected room for a result, got a full disk: what is done is kept; free some and "
            "call again",
        ) from error


def _processors() -> int:
    """Those that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


# --- the door


def _named(jobs) -> dict[str, dict[str, Any]]:
    """Jobs by name."""
    if isinstance(jobs, Mapping):
        for axis, values in jobs.items():
            if isinstance(values, str | os.PathLike):
                raise TypeError(f"jobs: expected a list of values for {axis}, got {values!r}: [{values!r}]")
        jobs = [dict(zip(jobs, each, strict=True)) for each in itertools.product(*jobs.values())]
    listed = [dict(job) for job in jobs]
    if not listed or not all(listed):
        raise ValueError("jobs: expected at least one, of at least one value, got none")
    named = {",".join(f"{axis}={_label(axis, value)}" for axis, value in job.items()): job for job in listed}
    if len(named) < len(listed):
        raise ValueError(
            f"jobs: expected one name each, got {len(named)} names for {len(listed)}: files of one name in "
            "two folders, or values that are given twice"
        )
    paths = {value for job in listed for value in job.values() if isinstance(value, os.PathLike)}
    missing = sorted(str(path) for path in paths if not os.path.isfile(path))
    if missing:
        raise ValueError(
            f"jobs: expected files, got {len(missing)} that are none: {', '.join(missing[:3])}"
            f"{', ...' if len(missing) > 3 else ''}: correct their paths, or leave them out"
        )
    # Workers may stand in another folder.
    return {
        name: {axis: Path(x).absolute() if isinstance(x, os.PathLike) else x for axis, x in job.items()}
        for name, job in named.items()
    }


def _label(axis: str, value) -> str:
    if isinstance(value, os.PathLike):
        return Path(value).name
    value = value.item() if isinstance(value, np.generic) else value
    if value is not None and not isinstance(value, str | bool | int | float):
        raise TypeError(
            f"jobs: expected texts, numbers or paths, got {axis} of {type(value).__name__}: name the file "
            "that it is in, and read that in fit"
        )
    return str(value)


def _mark(fit, executor) -> dict[str, str]:
    """What tells the folder of one sweep from that of another: the name of its function, and its options."""
    inner, options = fit, []
    while isinstance(inner, functools.partial):
        options.append((inner.args, inner.keywords))
        inner = inner.func
    named = inner if hasattr(inner, "__qualname__") else type(inner)
    name = f"{named.__module__}.{named.__qualname__}"
    if named is not inner:
        options.append(inner)
    try:
        pickled = pickle.dumps(options, protocol=4)
        # Threads share the function.
        if not isinstance(executor, ThreadPoolExecutor):
            pickle.dumps(fit)
    except Exception as error:
        raise TypeError(
            f"fit: expected a function that can be sent to another process, got {name}, and {error}: define "
            "it by def outside of any function, in a file, and give it options by functools.partial"
        ) from None
    # A pool of processes imports what it runs.
    if executor is None and name.startswith("__main__.") and not hasattr(sys.modules["__main__"], "__file__"):
        raise TypeError(
            f"fit: expected a function that other processes can import, got {name} of a notebook or console: "
            "write it to a file and import it, or give executor=ThreadPoolExecutor()"
        )
    return {"fit": name, "sha256": hashlib.sha256(pickled).hexdigest()}


@contextlib.contextmanager
def _locked(folder: Path, mark: dict):
    """The folder of this sweep, which no other works in meanwhile. The lock ends with its process."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"folder: expected a folder, got a file: {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    about = folder / "sweep.json"
    inside = {path.name for path in folder.iterdir()} - {"lock"}
    if inside and not about.exists():
        raise ValueError(
            f"folder: expected a new one, or that of a sweep, got {folder} with {min(inside)} in it: name "
            "another"
        )
    with open(folder / "lock", "ab") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RuntimeError(
                    f"folder: expected one in which no sweep is at work, got {folder}: wait for that one, or "
                    "name another"
                ) from None
            except OSError as error:
                if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                    raise
                # A file system without locks: results are whole all the same.
        if about.exists():
            held = json.loads(about.read_text())
            if held != mark:
                raise ValueError(
                    f"folder: expected that of a sweep of this {mark['fit']}, got {folder} of {held['fit']}"
                    f"{' with other options' * (held['fit'] == mark['fit'])}: name another"
                )
        else:
            write_whole(about, lambda file: file.write(json.dumps(mark).encode()))
        yield


def _result(folder: Path, name: str) -> Path:
    """The file of a job's result."""
    plain = re.sub(r"[^\w.,=+-]", "_", name, flags=re.ASCII)
    if plain != name or len(name) > 150:
        plain = f"{plain[:120]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return folder / f"{plain}.lrcore"
