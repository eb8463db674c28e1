"""The same computation for many sessions, folds, ranks and seeds, on one machine or on many."""

import collections
import contextlib
import errno
import hashlib
import json
import multiprocessing
import os
import re
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray
from tqdm import tqdm

from . import checks
from .jobs import by_name, mark_of
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
    jobs: Any,
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
      arrays, objects of lrcore, and lists and dicts of these: what `lr.load` can read. It computes in float64
      where jax does here.
    - `jobs`: `{"session": paths, "rank": (1, 2, 3)}`, for every combination, or a list of dicts, one a job.
      Values are texts, numbers or paths of files. A job is called by them, `session=a.mat,rank=1`, and its
      key is made from that name: results do not depend on the order, on other jobs or on the executor.
    - `executor`: anything with the `submit` of a `concurrent.futures.Executor`: a pool of one's own, Dask's
      `Client.get_executor()`, `submitit.AutoExecutor` for SLURM. By default a new process for every
      processor. All of its workers must see the folder.
    - `folder`: a new one, or that of the same `fit`; further jobs may be added to it. For results of other
      code or data name a new one: what `fit` calls is not looked at, nor what is in files of the same size.
    - `tries`: how often a job is begun whose workers are killed; Dask counts them itself, up to its setting
      `distributed.scheduler.allowed-failures`.
    - `progress`: show a bar.

    **Returns** a `Sweep`; warns where jobs failed, and where `fit` was rewritten or a file has another size
    since results were made.

    **Raises** before anything runs: `ValueError` for a folder of another sweep, paths that are no files and
    jobs of one name, and a pool of forked processes; `TypeError` for jobs or an executor that are none, and
    a `fit` that cannot be sent to another process; `RuntimeError` where another sweep is at work in the
    folder. Later: `OSError` for a full disk or a folder that workers cannot write to, and `RuntimeError` for
    an executor that is broken, or a script without `if __name__ == "__main__":`; what is done is kept.

    >>> import tempfile
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> jobs = {"low": [0.0, 1.0], "high": [2.0]}
    >>> with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
    ...     found = sweep(_uniform, jobs, executor=pool, folder=folder, progress=False)
    ...     {name: round(float(found[name]), 3) for name in found}
    {'low=0.0,high=2.0': 1.462, 'low=1.0,high=2.0': 1.65}
    """
    if isinstance(executor, type) or not (executor is None or callable(getattr(executor, "submit", None))):
        raise TypeError(
            "executor: expected a concurrent.futures.Executor, or None for a pool of processes, got "
            f"{executor!r}: for Dask give Client(...).get_executor(), for SLURM submitit.AutoExecutor(...)"
        )
    context = getattr(executor, "_mp_context", None)
    if isinstance(executor, ProcessPoolExecutor) and context and context.get_start_method() == "fork":
        raise ValueError(
            "executor: expected processes that are spawned, got a pool that forks, which hangs where jax has "
            "threads: ProcessPoolExecutor(..., mp_context=multiprocessing.get_context('spawn'))"
        )
    tries, named, mark = checks.count("tries", tries), by_name(jobs), mark_of(fit, executor)
    folder = Path(folder).expanduser().absolute()
    with _locked(folder, mark) as kept:
        todo = [name for name in named if not _done(folder, name)]
        for said in _changed(folder, mark, kept, named, set(todo)):
            warnings.warn(
                f"{said}: results are kept; for new ones name another folder", UserWarning, stacklevel=2
            )
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
    words = np.frombuffer(hashlib.sha256(_encoded(name)).digest()[:8], "<u4")
    return jr.fold_in(jr.key(words[0]), words[1])


def _uniform(low, high, key):
    return jr.uniform(key, minval=low, maxval=high)


# --- what runs where the executor says


# What the next try would meet as well.
_LASTING = {getattr(errno, name) for name in "ENOSPC EDQUOT EROFS EACCES EPERM ENOENT ENOTDIR".split()}


def _run(fit, name: str, job: dict, folder: Path, wide: bool, begun: int) -> str | tuple[int, str]:
    """Compute and write one result; what went wrong in `fit`, in one line, or why nothing can be written.

    That is returned, as executors have their own ways with errors.
    """
    # When it was begun tells this try from others: Dask does not repeat what was computed already.
    del begun
    trace = _result(folder, name).with_suffix(".txt")
    said = ""
    try:
        with checks.x64() if wide else contextlib.nullcontext():
            content = encoded(fit(**job, key=key_of(name)))
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        content = traceback.format_exc().encode(errors="backslashreplace")
    try:
        write_whole(trace if said else _result(folder, name), lambda file: file.write(content))
        if not said:
            trace.unlink(missing_ok=True)
    except OSError as error:
        number = error.errno or 0
        if number not in _LASTING:
            raise
        return number, os.strerror(number)
    return said


# Forked processes hang where jax has threads.
_SPAWN = multiprocessing.get_context("spawn")


def _pool(workers: int, *given) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=_SPAWN, initializer=_begin, initargs=given)


def _begin(begun, ended, fit) -> None:
    """Say that a worker has begun, which it has not where it does not find `fit`, and end it with the sweep:
    it would wait for ever for one that was killed, and compiled code hears of no interrupt.
    """
    begun.set()
    parent = multiprocessing.parent_process()
    for wait in (parent.join, ended.wait) if parent is not None else ():
        threading.Thread(target=lambda wait=wait: (wait(), os._exit(1)), daemon=True).start()


# --- what runs here


def _run_all(fit, jobs: dict, executor, folder: Path, tries: int, bar: tqdm) -> dict[str, str]:
    """Run the jobs; by name, what became of those without a result."""
    own = executor is None
    workers = min(_processors(), max(len(jobs), 1)) if own else len(jobs)
    waiting, running, failed = collections.deque(jobs), {}, {}
    lost, suspects = collections.Counter(), set()
    # Its processes begin when there is something for them.
    begun, interrupted = _SPAWN.Event(), _SPAWN.Event()
    given = workers, begun, interrupted, fit
    pool = _pool(*given) if own else executor
    refused, wide = None, jnp.result_type(float) == np.float64

    def ended(name, said=""):
        if said:
            failed[name] = said
            bar.set_postfix(failed=len(failed))
        bar.update()

    def try_again(name, error, blamed=True):
        # Dask has begun it several times before it says so.
        lost[name] += tries if type(error).__name__ == "KilledWorker" else blamed
        if _done(folder, name):
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
                while waiting and len(running) < workers and not refused:
                    if running and not suspects.isdisjoint([waiting[0], *running.values()]):
                        break
                    job = waiting[0], jobs[waiting[0]], folder, wide, time.time_ns()
                    task = pool.submit(_run, fit, *job)
                    running[task] = waiting.popleft()
            except BrokenExecutor as error:
                broken = error
            except Exception as error:
                # A queue that is full takes more when a job is done.
                refused = error
                if not running:
                    raise RuntimeError(
                        f"executor: expected one that takes jobs, got {type(error).__name__}: {error}: what "
                        f"is done is kept in {folder}; call again with one that does"
                    ) from error
            done = [task for task in running if task.done()]
            for task in done:
                name, refused = running.pop(task), None
                try:
                    said = task.result()
                except BrokenExecutor as error:
                    broken = error
                    killed.append(name)
                except Exception as error:
                    try_again(name, error)
                else:
                    if isinstance(said, tuple):
                        raise _unwritten(folder, *said)
                    ended(name, said)
            if broken and not own:
                raise RuntimeError(
                    f"executor: expected one whose workers live, got {type(broken).__name__}: {broken} What "
                    f"is done is kept in {folder}: call again with a new one"
                ) from broken
            if broken and not begun.is_set():
                raise RuntimeError(
                    "executor: expected workers that begin, got a pool that ended before: call lr.sweep "
                    "below `if __name__ == '__main__':`, and define fit above it, as every worker reads the "
                    "script, or see what they print"
                ) from broken
            if broken:
                pool.shutdown()
                killed += running.values()
                pool, running = _pool(*given), {}
                suspects.update(killed)
                for name in killed:
                    try_again(name, broken, blamed=len(killed) == 1)
            elif not done:
                time.sleep(PAUSE)
    except KeyboardInterrupt:
        with _deaf():
            interrupted.set()
        raise
    finally:
        for task in running:
            task.cancel()
        if own:
            pool.shutdown(cancel_futures=True)
    return failed


@contextlib.contextmanager
def _deaf():
    """Without interrupts: one before the workers are told would leave them waiting, and us for them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _unwritten(folder: Path, number: int, why: str) -> OSError:
    wanted, got = "a folder that every worker sees and may write to", f"'{why}'"
    advice = "see that it is there and writable on every machine"
    if number in (errno.ENOSPC, errno.EDQUOT):
        wanted, got, advice = "room for a result", "a full disk", "free some"
    return OSError(
        number, f"{folder}: expected {wanted}, got {got}: what is done is kept; {advice} and call again"
    )


def _processors() -> int:
    """Those that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


# --- the door


@contextlib.contextmanager
def _locked(folder: Path, mark: dict):
    """The folder of this sweep, which no other works in meanwhile, and what it was begun with. The lock ends
    with its process.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"folder: expected a folder, got a file: {folder}")
    about, kept = folder / "sweep.json", dict(mark)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # What file systems and a killed sweep leave is no one's.
        inside = {path.name for path in folder.iterdir() if not path.name.startswith((".", "sweep.json."))}
        if inside - {"lock"} and not about.exists():
            raise ValueError(
                f"folder: expected a new one, or that of a sweep, got {folder} with {min(inside - {'lock'})} "
                "in it: name another"
            )
        lock = open(folder / "lock", "ab")
    except OSError as error:
        raise _unwritten(folder, error.errno or 0, error.strerror or str(error)) from error
    with lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
            kept = _read(about)
            if any(kept[part] != mark[part] for part in ("fit", "sha256")):
                raise ValueError(
                    f"folder: expected that of a sweep of this {mark['fit']}, got {folder} of {kept['fit']}"
                    f"{' with other options' * (kept['fit'] == mark['fit'])}: name another"
                )
        yield kept


def _changed(folder: Path, mark: dict, kept: dict, jobs: dict, todo: set) -> Iterator[str]:
    """What of the code and the files is another than it was for the results that are there."""
    sizes = {
        name: {axis: x.stat().st_size for axis, x in job.items() if isinstance(x, Path)}
        for name, job in jobs.items()
    }
    before = kept.get("sizes", {})
    if len(todo) < len(jobs) and kept.get("python") == mark["python"] and kept["code"] != mark["code"]:
        yield f"fit: expected the code that made the {len(jobs) - len(todo)} results in {folder}, got another"
    if others := [name for name in jobs if name not in todo and before.get(name, sizes[name]) != sizes[name]]:
        yield (
            f"jobs: expected the files that the results in {folder} are of, got others of the same name for "
            f"{', '.join(others[:3])}{', ...' if len(others) > 3 else ''}"
        )
    now = kept | {"sizes": before | {name: sizes[name] for name in todo if sizes[name]}}
    about = folder / "sweep.json"
    try:
        if now != kept or not about.exists():
            write_whole(about, lambda file: file.write(json.dumps(now).encode()))
    except OSError as error:
        raise _unwritten(folder, error.errno or 0, error.strerror or str(error)) from error


def _read(about: Path) -> dict[str, Any]:
    try:
        kept = json.loads(about.read_text())
        return kept | {"fit": kept["fit"], "sha256": kept["sha256"]}
    except (ValueError, TypeError, KeyError):
        raise ValueError(
            f"folder: expected that of a sweep, got {about.parent}, whose {about.name} is damaged or was not "
            "written by lr.sweep: name another"
        ) from None


def _done(folder: Path, name: str) -> bool:
    """Whether the job has a result; an empty one is what a machine that went down leaves."""
    file = _result(folder, name)
    return file.exists() and file.stat().st_size > 0


def _encoded(name: str) -> bytes:
    # Names of files may have bytes that are no text.
    return name.encode(errors="surrogatepass")


def _result(folder: Path, name: str) -> Path:
    """The file of a job's result."""
    plain = re.sub(r"[^\w.,=+-]", "_", name, flags=re.ASCII)
    if plain != name or len(name) > 150:
        plain = f"{plain[:120]}-{hashlib.sha256(_encoded(name)).hexdigest()[:8]}"
    return folder / f"{plain}.lrcore"
