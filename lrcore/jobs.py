"""What a sweep is called with: jobs by name, and what tells its function from another."""

import functools
import hashlib
import inspect
import itertools
import os
import pickle
import sys
import types
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np


def by_name(jobs) -> dict[str, dict[str, Any]]:
    """Jobs by name."""
    if isinstance(jobs, Mapping):
        for axis, values in jobs.items():
            if isinstance(values, str | os.PathLike) or not isinstance(values, Iterable):
                raise TypeError(f"jobs: expected a list of values for {axis}, got {values!r}: [{values!r}]")
        jobs = [dict(zip(jobs, each, strict=True)) for each in itertools.product(*jobs.values())]
    listed = list(jobs) if isinstance(jobs, Iterable) else [jobs]
    if not all(isinstance(job, Mapping) for job in listed):
        raise TypeError(
            'jobs: expected values by name, {"session": paths, "rank": (1, 2)}, or a list of dicts, got '
            f"{jobs!r:.60}"
        )
    listed = [dict(job) for job in listed]
    if wrong := [axis for job in listed for axis in job if axis == "key" or not isinstance(axis, str)]:
        raise ValueError(
            f"jobs: expected names of arguments of fit, got {wrong[0]!r}: a job's key is made from its name, "
            'seeds may be called "seed"'
        )
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


def mark_of(fit, executor) -> dict[str, str]:
    """What tells the folder of one sweep from that of another: the name of its function, and its options. And
    a digest of its code, with the Python that this is of.
    """
    inner, options = fit, []
    while isinstance(inner, functools.partial):
        options.append((inner.args, sorted(inner.keywords.items())))
        inner = inner.func
    named = inner if hasattr(inner, "__qualname__") else type(inner)
    # A script is called the same by those who import it.
    name = f"{_script() if named.__module__ == '__main__' else named.__module__}.{named.__qualname__}"
    function = inspect.unwrap(getattr(inner, "__func__", inner if named is inner else named.__call__))
    held = [inner.__self__] if inspect.ismethod(inner) else []
    options += map(_digest, filter(None, (held, getattr(function, "__defaults__", ()), _closure(function))))
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
    code = hashlib.sha256(repr(_content(getattr(function, "__code__", None))).encode()).hexdigest()
    python = ".".join(map(str, sys.version_info[:2]))
    return {"fit": name, "sha256": hashlib.sha256(pickled).hexdigest(), "code": code, "python": python}


def _script() -> str:
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    return spec.name if file and spec else Path(file).stem if file else "__main__"


def _closure(function) -> list:
    """What a function has from the one that it is defined in."""
    cells = getattr(function, "__closure__", None) or ()
    return [cell.cell_contents for cell in cells if cell != types.CellType()]


def _digest(values) -> list[str]:
    """Of each value, or of its type where it cannot be pickled."""

    def one(value):
        try:
            return hashlib.sha256(pickle.dumps(value, protocol=4)).hexdigest()
        except Exception:
            return type(value).__qualname__

    return [one(value) for value in values]


def _content(code):
    """What of a function's code is the same in every process."""
    if isinstance(code, types.CodeType):
        return code.co_code, code.co_names, [_content(constant) for constant in code.co_consts]
    return sorted(map(repr, code)) if isinstance(code, frozenset) else repr(code)
