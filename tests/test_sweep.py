"""Sweeps: the same results on every executor; killed workers, killed sweeps; what is refused at the door."""

import errno
import functools
import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import jax.random as jr
import numpy as np
import pytest

import lrcore as lr
from lrcore.checks import x64
from lrcore.sweep import key_of

# The function stands before its module.
module = sys.modules["lrcore.sweep"]


# --- what is run, here and in other processes


def draw(seed, key, folder=None, shift=0.0):
    """A number of the key; of the seeds in `folder` one raises and one kills its worker, once or always."""
    if folder:
        begun = Path(folder, f"{seed}.begun")
        again = begun.exists()
        with open(begun, "a") as file:
            file.write(f"{os.getpid()}\n")
        if seed == "bad":
            raise ValueError("this session has no spikes\nand more")
        if seed == "always" or (seed == "once" and not again):
            os.kill(os.getpid(), signal.SIGKILL)
        while seed == "waits" and not Path(folder, "go").exists():
            time.sleep(0.02)
    return {"value": jr.normal(key) + shift, "seed": seed}


def size(file, key):
    return file.stat().st_size


def width(seed, key):
    return jr.normal(key).dtype.name


class Shift:
    def __init__(self, shift):
        self.shift = shift

    def of(self, seed, key):
        return seed + self.shift


def shifted(shift):
    """A function that has its option from the one that it is defined in."""

    def fit(seed, key):
        return {"value": seed + shift}

    return fit


def values(found) -> dict[str, float]:
    return {name: float(found[name]["value"]) for name in found}


def run(jobs, folder, fit=draw, executor=None, **options):
    if executor is not None:
        return lr.sweep(fit, jobs, folder=folder, executor=executor, progress=False, **options)
    with ThreadPoolExecutor(2) as pool:
        return lr.sweep(fit, jobs, folder=folder, executor=pool, progress=False, **options)


def begun(folder, seed) -> int:
    path = Path(folder, f"{seed}.begun")
    return len(path.read_text().split()) if path.exists() else 0


def left(folder) -> set[str]:
    return {path.name for path in Path(folder).iterdir()} - {"lock", "sweep.json"}


# --- results


def test_keys_are_of_names_alone(tmp_path):
    found = run({"seed": range(3)}, tmp_path / "a")
    other = run([{"seed": 7}, {"seed": 2}, {"seed": 0}], tmp_path / "b")
    assert list(found) == ["seed=0", "seed=1", "seed=2"] and len(set(values(found).values())) == 3
    assert values(other).items() >= {name: values(found)[name] for name in ("seed=0", "seed=2")}.items()
    for name, value in values(found).items():
        assert value == float(jr.normal(key_of(name)))
    assert left(tmp_path / "a") == {f"seed={k}.lrcore" for k in range(3)}
    assert found.jobs["seed=1"] == {"seed": 1} and found["seed=1"]["seed"] == 1
    # A file alone is enough to read a result by.
    assert lr.load(tmp_path / "a" / "seed=1.lrcore")["value"] == found["seed=1"]["value"]


def test_every_combination_and_further_jobs(tmp_path):
    fit = functools.partial(draw, shift=1.0)
    jobs = {"seed": ["a/b", "ü" * 200], "folder": [None]}
    found = run(jobs, tmp_path, fit)
    assert list(found) == ["seed=a/b,folder=None", f"seed={'ü' * 200},folder=None"] and len(found) == 2
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.lrcore")}
    assert len(run(jobs | {"seed": [*jobs["seed"], np.float32(0.5)]}, tmp_path, fit)) == 3
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())


def test_files_are_read_by_who_computes_them(tmp_path, monkeypatch):
    (tmp_path / "a.npz").write_bytes(b"123")
    monkeypatch.chdir(tmp_path)
    found = run({"file": [Path("a.npz")]}, "out", size)
    assert list(found) == ["file=a.npz"] and found["file=a.npz"] == 3
    assert found.folder.is_absolute() and found.jobs["file=a.npz"]["file"] == tmp_path / "a.npz"


def test_a_name_that_is_no_text(tmp_path):
    file = tmp_path / os.fsdecode(b"\xff.npz")
    file.write_bytes(b"123")
    found = run({"file": [file]}, tmp_path / "out", size)
    assert [found[name] for name in found] == [3]


def test_float64_where_it_is_computed(tmp_path):
    assert run({"seed": [0]}, tmp_path / "a", width)["seed=0"] == "float32"
    with x64():
        assert run({"seed": [0]}, tmp_path / "b", width)["seed=0"] == "float64"


def test_progress_is_shown(tmp_path, capsys):
    with ThreadPoolExecutor(1) as pool:
        lr.sweep(draw, {"seed": [1, 2]}, folder=tmp_path, executor=pool)
    assert "jobs" in capsys.readouterr().err


# --- what fails


def test_one_bad_job_stops_no_other(tmp_path):
    jobs = {"seed": [0, "bad", 1], "folder": [str(tmp_path)]}
    with pytest.warns(UserWarning, match="^1 of 3 jobs failed, the first: seed=bad.*has no spikes$"):
        found = run(jobs, tmp_path / "out")
    (name,) = found.failed
    assert found.failed[name] == "ValueError: this session has no spikes" and len(found) == 2
    assert "has no spikes" in repr(found) and "2 of 3 jobs done" in repr(found)
    with pytest.raises(KeyError, match="no spikes"):
        found[name]
    (trace,) = (tmp_path / "out").glob("*.txt")
    assert "in draw" in trace.read_text() and "and more" in trace.read_text()
    # It is tried again, and what is done is not.
    with pytest.warns(UserWarning):
        run(jobs, tmp_path / "out")
    assert (begun(tmp_path, "bad"), begun(tmp_path, 0)) == (2, 1)


def test_a_result_that_cannot_be_written_is_a_failed_job(tmp_path):
    with pytest.warns(UserWarning, match="expected a name or numbers to save, got a function"):
        found = run({"shift": [0.0]}, tmp_path, returns_a_function)
    assert not len(found) and not list(tmp_path.glob("*.lrcore"))


def test_a_job_that_exits_is_a_failed_job(tmp_path):
    with pytest.warns(UserWarning, match="1 of 1 jobs failed, the first: why=no data: SystemExit: no data"):
        run({"why": ["no data"]}, tmp_path, leaves)


def leaves(why, key):
    sys.exit(why)


def returns_a_function(shift, key):
    return {"value": draw}


class Scripted:
    """An executor that is no `concurrent.futures.Executor`, as submitit's; by script some of its jobs end
    with what a scheduler says of those that it killed.
    """

    def __init__(self, errors):
        self.errors = list(errors)

    def submit(self, function, *arguments):
        future = Future()
        error = self.errors.pop(0) if self.errors else None
        if error:
            future.set_exception(error)
        else:
            future.set_result(function(*arguments))
        return future


def test_what_a_scheduler_killed_is_tried_again(tmp_path):
    found = run({"seed": [0, 1]}, tmp_path / "a", executor=Scripted([RuntimeError("preempted")] * 2))
    assert values(found) == values(run({"seed": [0, 1]}, tmp_path / "b"))
    with pytest.warns(UserWarning, match="no result .* in 2 tries, out of memory. RuntimeError: preempted"):
        found = run(
            {"seed": [0]}, tmp_path / "c", executor=Scripted([RuntimeError("preempted")] * 2), tries=2
        )
    assert not len(found)


def test_what_dask_tried_itself_is_not_tried_again(tmp_path):
    killed = type("KilledWorker", (Exception,), {})
    queue = Scripted([killed("4 workers died")] * 3)
    with pytest.warns(UserWarning, match="KilledWorker: 4 workers died"):
        run({"seed": [0]}, tmp_path, executor=queue)
    assert len(queue.errors) == 2


class Narrow(ThreadPoolExecutor):
    """A queue that takes one job at a time and refuses others."""

    def __init__(self):
        super().__init__(1)
        self.last, self.refused = None, 0

    def submit(self, *arguments):
        if self.last and not self.last.done():
            self.refused += 1
            raise RuntimeError("QOSMaxSubmitJobPerUserLimit")
        self.last = super().submit(*arguments)
        return self.last


def test_a_queue_that_is_full_is_asked_again(tmp_path):
    with Narrow() as queue:
        (tmp_path / "go").touch()
        found = run({"seed": ["waits", 0, 1], "folder": [str(tmp_path)]}, tmp_path / "out", executor=queue)
    assert len(found) == 3 and [begun(tmp_path, seed) for seed in ("waits", 0, 1)] == [1, 1, 1]
    # Not before a job is done: a scheduler has other things to do.
    assert queue.refused <= 2
    with pytest.raises(
        RuntimeError, match="^executor: expected one that takes jobs, got RuntimeError: cannot"
    ):
        run({"seed": [7]}, tmp_path / "more", executor=queue)


def test_an_executor_that_broke_is_named(tmp_path):
    with pytest.raises(RuntimeError, match="^executor: expected one whose workers live, got BrokenExecutor"):
        run({"seed": [0, 1]}, tmp_path, executor=Scripted([None, BrokenExecutor("a child died.")]))
    assert left(tmp_path) == {"seed=0.lrcore"}


@pytest.mark.filterwarnings("ignore:2 of 7 jobs failed")
def test_killed_workers(tmp_path, monkeypatch):
    """In a pool of processes: who kills its worker once is tried again, who does it always is reported, and
    those beside it are done.
    """
    monkeypatch.setattr(module, "_processors", lambda: 2)
    jobs = {"seed": ["once", "always", 0, 1, "bad", 2, 3], "folder": [str(tmp_path)]}
    found = lr.sweep(draw, jobs, folder=tmp_path / "out", tries=2, progress=False)
    failed = {found_name.split(",")[0]: said for found_name, said in found.failed.items()}
    assert failed.keys() == {"seed=always", "seed=bad"}
    assert "no result from its worker in 2 tries, out of memory?" in failed["seed=always"]
    # Twice alone, and perhaps before, beside another.
    assert begun(tmp_path, "always") in (2, 3) and begun(tmp_path, "once") >= 1
    with pytest.warns(UserWarning, match="1 of 6"):
        here = run(jobs | {"seed": ["once", 0, 1, "bad", 2, 3]}, tmp_path / "here")
    assert values(here) == values(found)


def elsewhere(jobs, out):
    """A sweep in a process of its own, of one worker, so that jobs begin one after the other."""
    code = (
        "import lrcore as lr, sys, test_sweep\n"
        "sys.modules['lrcore.sweep']._processors = lambda: 1\n"
        f"lr.sweep(test_sweep.draw, {jobs!r}, folder={str(out)!r}, progress=False)"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": paths})


def test_an_interrupt_ends_a_job_that_hears_of_none(tmp_path):
    interrupted = elsewhere({"seed": [0, "waits"], "folder": [str(tmp_path)]}, tmp_path / "out")
    wait_for(lambda: begun(tmp_path, "waits"))
    # To the sweep alone; and once more, for who is impatient.
    for _ in range(2):
        interrupted.send_signal(signal.SIGINT)
        time.sleep(0.2)
    interrupted.wait(60)
    worker = int((tmp_path / "waits.begun").read_text())
    wait_for(lambda: not Path(f"/proc/{worker}").exists())
    assert len(left(tmp_path / "out")) == 1


def test_a_killed_sweep_goes_on(tmp_path):
    out, jobs = tmp_path / "out", {"seed": [0, 1, "waits", 2], "folder": [str(tmp_path)]}
    killed = elsewhere(jobs, out)
    wait_for(lambda: begun(tmp_path, "waits"))
    with pytest.raises(RuntimeError, match="^folder: expected one in which no sweep is at work"):
        run(jobs, out, draw)
    killed.kill()
    killed.wait()
    worker = int((tmp_path / "waits.begun").read_text())
    wait_for(lambda: not Path(f"/proc/{worker}").exists())
    done = {path: path.stat().st_mtime_ns for path in out.glob("*.lrcore")}
    assert len(done) == 2
    (tmp_path / "go").touch()
    assert len(run(jobs, out)) == 4
    assert all(path.stat().st_mtime_ns == when for path, when in done.items())
    assert [begun(tmp_path, seed) for seed in jobs["seed"]] == [1, 1, 2, 1]


@pytest.mark.parametrize(
    "lines",
    [
        "import lrcore, test_sweep\nlrcore.sweep(test_sweep.draw, {'seed': [0, 1]}, folder='out')",
        # What is defined there no worker finds.
        "import lrcore\nif __name__ == '__main__':\n    def fit(seed, key): return seed\n"
        "    lrcore.sweep(fit, {'seed': range(9)}, folder='out')",
    ],
)
def test_a_script_that_every_worker_would_run_is_named(tmp_path, lines):
    script = tmp_path / "script.py"
    script.write_text(lines)
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    options = {
        "cwd": tmp_path,
        "env": os.environ | {"PYTHONPATH": paths},
        "capture_output": True,
        "text": True,
    }
    done = subprocess.run([sys.executable, script], **options)
    said = done.stderr.splitlines()[-1]
    assert said.startswith("RuntimeError: executor: expected workers that begin") and "__main__" in said


def wait_for(what):
    end = time.monotonic() + 120
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None, reason="needs Dask: pip install lrcore[dask]"
)
@pytest.mark.filterwarnings("default")
def test_dask(tmp_path):
    import distributed

    jobs = {"seed": range(4)}
    options = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        found = run(jobs, tmp_path / "dask", executor=client.get_executor())
    assert values(found) == values(run(jobs, tmp_path / "here"))


@pytest.mark.skipif(
    importlib.util.find_spec("submitit") is None, reason="needs submitit: pip install lrcore[slurm]"
)
@pytest.mark.filterwarnings("default")
def test_submitit_without_a_scheduler(tmp_path, monkeypatch):
    import submitit

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    queue = submitit.AutoExecutor(folder=tmp_path / "log", cluster="local")
    queue.update_parameters(timeout_min=5)
    found = run({"seed": range(2)}, tmp_path / "queue", executor=queue)
    assert values(found) == values(run({"seed": range(2)}, tmp_path / "here"))


# --- the door


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        ({}, "at least one"),
        ({"seed": []}, "at least one"),
        ([{}], "at least one"),
        ({"seed": "abc"}, "expected a list of values for seed"),
        ({"seed": 5}, "expected a list of values for seed, got 5"),
        (None, "expected values by name, .*, got None"),
        ([1, 2], r"expected values by name, .*, got \[1, 2\]"),
        ({"key": [1]}, "names of arguments of fit, got 'key'"),
        ([{1: 2}], "names of arguments of fit, got 1"),
        ({"seed": [1, 1]}, "one name each, got 1 names for 2"),
        ({"seed": [np.zeros(2)]}, "texts, numbers or paths, got seed of ndarray"),
        ({"seed": [1], "file": [Path("no.mat")]}, "expected files, got 1 that are none: no.mat"),
    ],
)
def test_jobs_that_are_refused(tmp_path, jobs, said):
    with pytest.raises((TypeError, ValueError), match=f"^jobs: .*{said}"):
        run(jobs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_executors_and_fits_that_are_refused(tmp_path, monkeypatch):
    jobs, folder = {"seed": [0]}, tmp_path / "out"
    with pytest.raises(TypeError, match="^executor: expected .*, got 'dask': for Dask give Client"):
        run(jobs, folder, executor="dask")
    with pytest.raises(TypeError, match="^executor: expected .*, got <class .*ThreadPoolExecutor"):
        run(jobs, folder, executor=ThreadPoolExecutor)
    forks = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
    with pytest.raises(ValueError, match="^executor: expected processes that are spawned, got a pool that"):
        run(jobs, folder, executor=forks)
    with pytest.raises(TypeError, match="^fit: expected a function that can be sent .*<lambda>"):
        run(jobs, folder, lambda seed, key: 0, executor=Scripted([]))
    with pytest.raises(TypeError, match="^fit: expected a function that can be sent .*draw, and .*lock"):
        run(jobs, folder, functools.partial(draw, shift=threading.Lock()))
    with pytest.raises(ValueError, match="^tries: expected at least 1"):
        run(jobs, folder, tries=0)
    main = sys.modules["__main__"]
    monkeypatch.setattr(draw, "__module__", "__main__")
    monkeypatch.setattr(main, "draw", draw, raising=False)
    monkeypatch.delattr(main, "__file__", raising=False)
    with pytest.raises(TypeError, match="of a notebook or console: write it to a file"):
        lr.sweep(draw, jobs, folder=folder)
    assert not folder.exists()


def test_folders_that_are_refused(tmp_path):
    jobs = {"seed": [0]}
    run(jobs, tmp_path / "one")
    with pytest.raises(ValueError, match="^folder: .*of test_sweep.draw with other options: name another"):
        run(jobs, tmp_path / "one", functools.partial(draw, shift=1.0))
    with pytest.raises(ValueError, match="^folder: .*this test_sweep.size, got .* of test_sweep.draw: name"):
        run({"file": [Path(__file__)]}, tmp_path / "one", size)
    with pytest.raises(ValueError, match="^folder: .*with one in it"):
        run(jobs, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="^folder: expected a folder, got a file"):
        run(jobs, tmp_path / "file")
    assert left(tmp_path / "one") == {"seed=0.lrcore"}


def test_a_script_is_called_the_same_by_who_imports_it(tmp_path, monkeypatch):
    jobs, main = {"seed": [0]}, sys.modules["__main__"]
    monkeypatch.setattr(main, "__spec__", None)
    monkeypatch.setattr(main, "__file__", __file__, raising=False)
    monkeypatch.setattr(main, "draw", draw, raising=False)
    run(jobs, tmp_path)
    monkeypatch.setattr(draw, "__module__", "__main__")
    assert len(run(jobs, tmp_path)) == 1
    monkeypatch.setattr(main, "__file__", "other.py")
    with pytest.raises(
        ValueError, match="^folder: .*this other.draw, got .* of test_sweep.draw: name another"
    ):
        run(jobs, tmp_path)


def test_functions_of_one_name(tmp_path):
    jobs = {"seed": [0]}
    run(jobs, tmp_path / "a", shifted(1))
    assert run(jobs, tmp_path / "a", shifted(1))["seed=0"]["value"] == 1
    with pytest.raises(ValueError, match="^folder: .* with other options"):
        run(jobs, tmp_path / "a", shifted(2))
    run(jobs, tmp_path / "d", Shift(1).of)
    with pytest.raises(ValueError, match="^folder: .*Shift.of with other options"):
        run(jobs, tmp_path / "d", Shift(2).of)
    kept = lambda seed, key: {"value": key_of("a") is None}  # noqa: E731
    run(jobs, tmp_path / "b", kept)
    with pytest.warns(UserWarning, match="^fit: expected the code that made the 1 results in .*, got an"):
        found = run(jobs, tmp_path / "b", lambda seed, key: {"value": "new"})
    assert found["seed=0"]["value"] is False
    one = functools.partial(draw, shift=1.0, folder=None)
    run(jobs, tmp_path / "c", one)
    assert len(run(jobs, tmp_path / "c", functools.partial(draw, folder=None, shift=1.0))) == 1


def test_files_that_are_others_of_the_same_name(tmp_path):
    for day, content in (("one", b"1"), ("two", b"22")):
        (tmp_path / day).mkdir()
        (tmp_path / day / "a.npz").write_bytes(content)
    run({"file": [tmp_path / "one" / "a.npz"]}, tmp_path / "out", size)
    with pytest.warns(
        UserWarning, match="^jobs: expected the files that the results in .* for file=a.npz: r"
    ):
        found = run({"file": [tmp_path / "two" / "a.npz"]}, tmp_path / "out", size)
    assert found["file=a.npz"] == 1
    # A folder of recordings may be moved.
    (tmp_path / "one").rename(tmp_path / "three")
    assert len(run({"file": [tmp_path / "three" / "a.npz"]}, tmp_path / "out", size)) == 1


def test_what_killed_sweeps_and_machines_leave(tmp_path):
    for name in (".DS_Store", "sweep.json.12.34.part"):
        (tmp_path / name).touch()
    run({"seed": [0, 1]}, tmp_path)
    (tmp_path / "seed=1.lrcore").write_bytes(b"")
    found = run({"seed": [0, 1]}, tmp_path)
    assert found["seed=1"]["seed"] == 1
    for content in ("{", "[1]", "{}"):
        (tmp_path / "sweep.json").write_text(content)
        with pytest.raises(ValueError, match="^folder: .*whose sweep.json is damaged or was not written by"):
            run({"seed": [0]}, tmp_path)


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    """Nothing is computed again for it, whatever executors make of errors."""

    def refused(path, write):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    run({"seed": [0], "folder": [str(tmp_path)]}, tmp_path / "out")
    monkeypatch.setattr(module, "write_whole", refused)
    with pytest.raises(PermissionError, match="out: expected a folder that every worker sees and may write"):
        run({"seed": [1], "folder": [str(tmp_path)]}, tmp_path / "out", executor=Scripted([]))
    assert begun(tmp_path, 1) == 1
    with pytest.raises(PermissionError, match="new: expected a folder that every worker sees"):
        run({"seed": [1]}, tmp_path / "new")


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    def full(path, write):
        if "seed=1" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(path, write)

    whole = module.write_whole
    monkeypatch.setattr(module, "write_whole", full)
    jobs = {"seed": [0, 1, 2]}
    with pytest.raises(OSError, match="expected room for a result, got a full disk: what is done is kept"):
        with ThreadPoolExecutor(1) as pool:
            run(jobs, tmp_path, executor=pool)
    assert left(tmp_path) <= {"seed=0.lrcore", "seed=2.lrcore"}
    monkeypatch.setattr(module, "write_whole", whole)
    assert len(run(jobs, tmp_path)) == 3
