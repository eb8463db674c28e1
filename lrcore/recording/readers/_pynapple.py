"""pynapple's objects: spikes of units, intervals of trials, events and signals."""

import importlib

import numpy as np

from . import _session
from ._binning import Series
from ._source import Found, Source, of_rows


def pynapple(units, trials, **options) -> dict:
    """The arguments of a recording of a `TsGroup` and an `IntervalSet`; see `Recording.from_pynapple`."""
    try:
        nap = importlib.import_module("pynapple")
    except ImportError as error:
        raise ImportError('pynapple: to take its objects, pip install "lrcore[pynapple]"') from error
    for name, value, kind in (("units", units, nap.TsGroup), ("trials", trials, nap.IntervalSet)):
        if not isinstance(value, kind):
            raise TypeError(f"{name}: expected a pynapple {kind.__name__}, got {type(value).__name__}")
    if not len(units):
        raise ValueError("units: expected some units, got an empty TsGroup")
    if not len(trials):
        raise ValueError("trials: expected some trials, got an empty IntervalSet")
    keys = list(units.keys())

    def unit_column(name):
        if name == "id":
            return np.asarray(keys)
        return np.asarray(units[name]) if name in units.metadata_columns else None

    def trial_column(name):
        if name in ("start", "end"):
            return getattr(trials, name)
        return np.asarray(trials[name]) if name in trials.metadata_columns else None

    def find(name) -> Found | None:
        if not isinstance(name, str):
            return _found(name)
        column = trial_column(name)
        return None if column is None else of_rows("pynapple", name, column)

    times = [units[key].t for key in keys]
    return _session.arguments(
        Source(
            path="pynapple",
            n_units=len(keys),
            n_trials=len(trials),
            spikes=lambda i: times[i],
            sample=np.concatenate([one[[0, -1]] for one in times if len(one)] + [max(times, key=len)]),
            n_spikes=sum(map(len, times)),
            unit_column=unit_column,
            trial_column=trial_column,
            find=find,
            observed=lambda i: None,
            invalid=np.zeros((0, 2)),
            support=_support(units.time_support.values, times),
            fine=1e-6,  # pynapple moves trials that touch apart by as much
            words=("start", "end"),
        ),
        **options,
    )


def _support(intervals, times) -> np.ndarray | None:
    """What was recorded, as the user says; None where pynapple took it from the first and the last time."""
    edges = [edge for one in times if len(one) for edge in (one[0], one[-1])]
    intervals = np.asarray(intervals, float)
    if len(intervals) == 1 and edges and tuple(intervals[0]) == (min(edges), max(edges)):
        return None
    return intervals


def _found(one) -> Found | None:
    """A `Ts` as events, a `Tsd` or `TsdFrame` as a signal."""
    if not hasattr(one, "t"):
        return None
    values = getattr(one, "values", None)
    if values is not None:
        return Found(one.t, series=Series(one.t, lambda part: values[part]))
    return Found(one.t, support=_support(one.time_support.values, [one.t]))
