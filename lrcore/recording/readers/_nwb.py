"""NWB files: units, trials, events, signals, and what the file says of validity."""

import contextlib

import numpy as np

from . import _session
from ._binning import Series, sampled
from ._files import present
from ._source import Found, Source, of_rows

_EXPECTED = "an NWB file with units and trials"


def nwb(path, *, intervals="trials", **options) -> dict:
    """The arguments of a recording in an `.nwb` file; see `Recording.from_nwb`."""
    present(path, _EXPECTED)
    try:
        from pynwb import NWBHDF5IO
    except ImportError as error:
        raise ImportError(f'{path}: to read NWB files, pip install "lrcore[nwb]"') from error
    with contextlib.ExitStack() as stack:
        with _reading(path):
            file = stack.enter_context(NWBHDF5IO(str(path), "r")).read()
        return _session.arguments(_source(path, file, intervals), **options)


@contextlib.contextmanager
def _reading(path):
    """HDF5 and hdmf fail in many ways on bytes that are no NWB file."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"{path}: expected {_EXPECTED}, got a file that is truncated or of another kind "
            f"({type(error).__name__}: {error}): write it again, or fetch it again"
        ) from error


def _source(path, file, intervals) -> Source:
    with _reading(path):
        units = file.units
        tables = {"trials": file.trials, "epochs": file.epochs, **dict(file.intervals)}
        tables = {name: table for name, table in tables.items() if table is not None and len(table)}
    if units is None or not len(units) or "spike_times" not in units.colnames:
        raise ValueError(f"{path}: expected {_EXPECTED}, got no units: are the spikes sorted?")
    if intervals not in tables:
        others = f"name one of {', '.join(tables)} with intervals=" if tables else ""
        advice = others or "add them with `add_trial(start_time, stop_time)`"
        raise ValueError(f"{path}: expected {_EXPECTED}, got no {intervals}: {advice}")
    trials = tables[intervals]
    with _reading(path):
        ends = np.asarray(units["spike_times"].data[:], int)
        times = units["spike_times"].target.data
        sample = _sample(times, ends)
        invalid = _intervals(file.invalid_times)
        stated = _stated(file, units)
        reference = (file.timestamps_reference_time or file.session_start_time).timestamp()

    def spikes(i):
        with _reading(path):
            return np.asarray(times[ends[i - 1] if i else 0 : ends[i]])

    def observed(i):
        if "obs_intervals" not in units.colnames:
            return None
        with _reading(path):
            return np.asarray(units["obs_intervals"][i], float).reshape(-1, 2)

    def unit_column(name):
        with _reading(path):
            if name == "id":
                return np.asarray(units.id[:])
            if name in units.colnames:
                return units[name][:]
            return _of_electrodes(units, name)

    def trial_column(name):
        with _reading(path):
            return trials[name][:] if name in trials.colnames else None

    return Source(
        path=path,
        n_units=len(units),
        n_trials=len(trials),
        spikes=spikes,
        sample=sample,
        n_spikes=int(ends[-1]),
        unit_column=unit_column,
        trial_column=trial_column,
        find=lambda name: _find(path, file, trials, name),
        observed=observed,
        invalid=invalid,
        stated=stated,
        reference=reference,
    )


def _sample(times, ends) -> np.ndarray:
    """First and last spike of each unit, and all of the one with the most, up to a million."""
    starts = np.append(0, ends[:-1])
    some = ends > starts
    if not some.any():
        return np.zeros(0)
    busy = int((ends - starts).argmax())
    edges = np.unique(np.concatenate([starts[some], ends[some] - 1]))
    whole = np.asarray(times[starts[busy] : min(ends[busy], starts[busy] + 10**6)])
    return np.concatenate([np.asarray(times[edges] if len(edges) > 1 else times[:1]), whole])


def _stated(file, units) -> tuple[tuple[float, str], ...]:
    """Seconds in units that the spike times may be in: as described, or the sampling period of the file."""
    described = str(_described(units["spike_times"])).lower()
    found = (
        [(1e-3, "milliseconds, as described")] if "millisecond" in described or "(ms)" in described else []
    )
    rates = [units.waveform_rate]
    rates += [one.rate for one in file.acquisition.values() if hasattr(one, "electrodes") and one.rate]
    periods = [units.resolution, *(1 / rate for rate in rates if rate)]
    return (*found, *((float(period), "samples of the file's rate") for period in periods if period))


def _intervals(table) -> np.ndarray:
    if table is None or not len(table):
        return np.zeros((0, 2))
    return np.stack([np.asarray(table[word][:], float) for word in ("start_time", "stop_time")], axis=1)


def _of_electrodes(units, name):
    """A column of the electrodes for each unit, where all its electrodes have the same value."""
    if "electrodes" not in units.colnames:
        return None
    table = units["electrodes"].target.table
    if table is None or name not in table.colnames:
        return None
    column, found = np.asarray(table[name][:]), []
    rows, ends = units["electrodes"].target.data[:], units["electrodes"].data[:]
    for first, last in zip(np.append(0, ends[:-1]), ends, strict=True):
        values = list(dict.fromkeys(column[rows[first:last]].tolist()))
        found.append(values[0] if len(values) == 1 else "several" if values else "none")
    return found


def _find(path, file, trials, name) -> Found | None:
    """Events or a signal of that name: a column of the trials, else a series or a table anywhere in the file.

    A name may begin with those of its containers, `"Position/left"`.
    """
    with _reading(path):
        column = trials[name][:] if name in trials.colnames else None
    if column is not None:
        return of_rows(path, name, column, str(_described(trials[name])))
    with _reading(path):
        held = [one for one in file.objects.values() if _named(one, name) and _kind(one, 0)]
        if len(held) == 1:
            return _kind(held[0], len(trials))(held[0])
    if held:
        places = ", ".join(sorted("/".join(_ancestors(one)[-2:]) for one in held))
        raise ValueError(
            f"{path}: expected one series or table '{name}', got {places}: name its container too"
        )
    return None


def _described(column) -> str:
    """The description of a column, which of a ragged one its values have."""
    return getattr(column, "target", column).description


def _ancestors(one) -> list[str]:
    found = []
    while one is not None:
        found, one = [one.name, *found], one.parent
    return found


def _named(one, name) -> bool:
    parts = str(name).split("/")
    return _ancestors(one)[-len(parts) :] == parts


def _kind(one, n_trials):
    """What reads this object: as a table of events, or as a series; None for others."""
    columns = getattr(one, "colnames", ())
    if "timestamp" in columns or "start_time" in columns:
        word = "timestamp" if "timestamp" in columns else "start_time"
        return lambda table: Found(np.asarray(table[word][:]))
    if getattr(one, "timestamps", None) is not None or getattr(one, "rate", None) is not None:
        return lambda series: _series(series, n_trials)
    return None


def _series(one, n_trials) -> Found:
    """A time series: events where it is instantaneous, holds words, nothing or marks, the starts of
    intervals, else a signal."""
    data = getattr(one, "data", None)
    if getattr(one, "timestamps", None) is not None:
        times = np.asarray(one.timestamps[:])
    else:
        times = (one.starting_time or 0.0) + np.arange(0 if data is None else len(data)) / one.rate
    if data is not None and type(one).__name__ == "IntervalSeries":
        return Found(times[np.asarray(data[:]) > 0])
    numbers = data is not None and 0 < len(data) == len(times) and np.asarray(data[:1]).dtype.kind in "biuf"
    if not numbers or getattr(one, "continuity", None) == "instantaneous":
        return Found(times)
    if getattr(one, "continuity", None) is None and not sampled(times, n_trials) and np.all(data[:] == 1):
        return Found(times)
    factor, shift = one.conversion, getattr(one, "offset", 0.0)
    held = getattr(one, "continuity", None) == "step"

    def read(part):
        return np.asarray(data[part], float) * factor + shift

    return Found(times, series=Series(np.asarray(times, float), read, held))
