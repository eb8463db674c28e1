"""Sessions of spike times and trials, from whatever file: what is read of them, and what is left out."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from .._containers import Fresh
from . import _binning, _clock, _columns
from ._binning import SLACK, Grid, Series
from ._clock import Clock, Trials
from ._files import usable


class Found(NamedTuple):
    """Events or a signal, by name.

    - `times`: of the events or samples, as the file has them.
    - `rows`: the same for each trial, where a column of the trials table holds them.
    - `series`: the signal, where there is one.
    """

    times: np.ndarray
    rows: list[np.ndarray] | None = None
    series: Series | None = None


def of_rows(path, name, column) -> Found:
    """The events of a column that has their times, or one, for each trial."""
    try:
        rows = [np.ravel(np.asarray(row, float)) for row in column]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected times in the column '{name}', got {column[0]!r}") from error
    return Found(np.concatenate([np.zeros(0), *rows]), rows)


class Source(NamedTuple):
    """A file of spike times and trials, read piece by piece.

    - `path`: what errors begin with.
    - `n_units`, `n_trials`.
    - `spikes`: times of the unit of that index, as the file has them.
    - `sample`: some spike times, the first and the last of each unit among them.
    - `n_spikes`: of all units together.
    - `unit_column`, `trial_column`: a column by name, None without.
    - `find`: events or a signal by name, None without.
    - `observed`: intervals (interval, 2) in which the unit of that index was observed, None if not said.
    - `invalid`: intervals (interval, 2) that are not to be analysed.
    - `support`: intervals (interval, 2) that were recorded, None if not said.
    - `period`: seconds between samples of the spike times, None if not said.
    - `reference`: the Unix time of the session's zero, None if not said.
    - `fine`: seconds that the file's own times are rounded to, beyond what its numbers resolve.
    - `words`: what the file calls the start and the stop of a trial, and its trials.
    """

    path: Any
    n_units: int
    n_trials: int
    spikes: Callable[[int], np.ndarray]
    sample: np.ndarray
    n_spikes: int
    unit_column: Callable[[str], Any]
    trial_column: Callable[[str], Any]
    find: Callable[[Any], Found | None]
    observed: Callable[[int], np.ndarray | None]
    invalid: Float[np.ndarray, "interval 2"]
    support: Float[np.ndarray, "interval 2"] | None = None
    period: float | None = None
    reference: float | None = None
    fine: float = 0.0
    words: tuple[str, str] = ("start_time", "stop_time")


def arguments(
    source: Source,
    *,
    bin_width,
    align=None,
    window=None,
    choice="choice",
    coding=None,
    clicks=(),
    inputs=(),
    photostimulus=None,
    neurons=None,
    units=None,
    trials=None,
    time_units=None,
    validity=True,
) -> dict:
    """The arguments of a recording of a session; see `Recording.from_nwb`."""
    path, said = source.path, _units_of_time(time_units)
    kept = _columns.matching(path, "units", units, source.unit_column, source.n_units)
    chosen = np.flatnonzero(kept)
    if not len(chosen):
        raise ValueError(f"{path}: expected some units that `units` keeps, got none of {source.n_units}")
    spans, slack = _spans(source, said.get("trials", 1.0), bin_width)
    clock, fine, converted = _spike_clock(source, spans, said, bin_width)
    grid, missing, placed = _grid(source, spans, said, align, window, bin_width, slack + fine)
    reasons = {} if trials is None else {"not in `trials`": ~_columns.matching(
        path, "trials", trials, source.trial_column, source.n_trials)}  # fmt: skip
    reasons |= missing
    if validity:
        reasons |= _invalid(source, grid, clock, chosen)
    reasons |= _lit(source, photostimulus)
    choices = _choices(source, choice, coding)
    if choices is not None:
        reasons["without a choice"] = np.isnan(choices.values)
    first, _ = usable(path, reasons)
    heard, gaps, listed = _inputs(source, clicks, inputs, _some(grid, first), spans, said)
    for name, bad in gaps.items():
        reasons[f"with gaps in {name}"] = np.isin(np.arange(source.n_trials), first[bad])
    used, told = usable(path, reasons)
    grid = _some(grid, used)
    info = {
        key: source.trial_column(key) for key in ("gamma", *([choice] if choices and choices.coding else []))
    }
    names = None if neurons is None else source.unit_column(neurons)
    names = source.unit_column("id") if names is None else names
    notes = [placed, listed, None if choices is None else choices.coding and f"choices by {choices.coding}"]
    if len(chosen) < source.n_units:
        notes += [f"left out of {source.n_units} units {source.n_units - len(chosen)} not in `units`"]
    return {
        "spikes": Fresh(_counts(source, chosen, clock, grid)),
        "bin_width": bin_width,
        "lengths": grid.lengths,
        "inputs": None if heard is None else heard[np.isin(first, used), : grid.n_time],
        "choices": None if choices is None else choices.values[used],
        "neurons": [str(names[i]) for i in chosen],
        "info": {"onsets": grid.starts}
        | {key: _plain(np.asarray(column)[used]) for key, column in info.items() if column is not None},
        "told": (*told, *converted),
        "notes": tuple(note for note in notes if note),
    }


# --- clocks


def _units_of_time(given) -> dict[str, float]:
    """Seconds in a unit of the file's times: one number for all, or for spikes, trials and events."""
    known = ("spikes", "trials", "events")
    given = {} if given is None else given if isinstance(given, dict) else dict.fromkeys(known, given)
    for key, value in given.items():
        if key not in known or not (isinstance(value, int | float) and 0 < value < np.inf):
            raise ValueError(
                f"time_units: expected seconds in a unit of the times of {', '.join(known)}, such as "
                f"{{'spikes': 0.001}}, got {key!r}: {value!r}"
            )
    return given


def _spans(source, unit, bin_width) -> tuple[Trials, float]:
    """Start and stop of the trials in seconds, and what these times resolve."""
    columns = [source.trial_column(word) for word in source.words]
    if any(column is None for column in columns):
        raise ValueError(f"{source.path}: expected the columns {' and '.join(source.words)} of trials")
    raw = [np.asarray(column) for column in columns]
    spans = Trials(*(np.asarray(column, float) * unit for column in raw))
    if not (np.isfinite(spans.starts) & (spans.stops > spans.starts)).any():
        raise ValueError(
            f"{source.path}: expected trials that stop after they start, got none of {source.n_trials}"
        )
    fine = [
        _clock.precise(source.path, word, column, unit, bin_width)
        for word, column in zip(source.words, raw, strict=True)
    ]
    return spans, SLACK * bin_width + max(fine) + source.fine


def _spike_clock(source, spans, said, bin_width) -> tuple[Clock, float, tuple[str, ...]]:
    """The clock of the spikes, what their times resolve, and a note where they were converted."""
    clock, note = _clock.clock(
        source.path,
        "spike times",
        source.sample,
        _clock.sound(spans),
        unit=said.get("spikes"),
        period=source.period,
        reference=source.reference,
    )
    _clock.not_rounded(source.path, source.sample, clock.unit, bin_width)
    fine = _clock.precise(source.path, "spike times", source.sample, clock.unit, bin_width)
    return clock, fine, () if note is None else (note,)


# --- bins


def _grid(source, spans, said, align, window, bin_width, slack):
    """Bins of all trials, what is missing in which, and a note on where they begin."""
    before, after = _window(window, spans, bin_width)
    event = spans.starts if align is None else _aligned(source, spans, said, align)
    starts = event + (before or 0.0)
    stops = spans.stops if after is None else event + after
    lengths = np.floor((stops - starts + slack) / bin_width)
    if after is not None:
        lengths = np.where(np.isfinite(event), np.floor((after - (before or 0.0)) / bin_width + 1e-6), np.nan)
    missing = {f"without {_called(align)}": np.isnan(event)} if align is not None else {}
    missing["of fewer than two bins"] = ~(lengths >= 2)
    known = lengths >= 2
    grid = Grid(np.where(known, starts, 0.0), np.where(known, lengths, 0).astype(int), bin_width, slack)
    if align is None and window is None:
        return grid, missing, None
    till = "the trial's end" if after is None else f"{after:g} s"
    return (
        grid,
        missing,
        f"bins run from {before or 0:g} s to {till}, from {_called(align or source.words[0])} on",
    )


def _window(window, spans, bin_width) -> tuple[float | None, float | None]:
    if window is None:
        return None, None
    try:
        before, after = (None if edge is None else float(edge) for edge in window)
    except (TypeError, ValueError):
        before = after = np.nan
    wide = (after if after is not None else np.inf) - (before or 0.0)
    if not wide >= 2 * bin_width * (1 - 1e-6):
        raise ValueError(
            f"window: expected (before, after) in seconds, of two bins or more, such as (-0.5, 1.5), got "
            f"{window}"
        )
    longest = np.nanmax(spans.stops - spans.starts)
    if after is not None and wide > 100 * max(longest, 1.0):
        raise ValueError(
            f"window: expected seconds, got {window} around trials of up to {longest:.3g} s: if these are "
            f"milliseconds, give ({(before or 0) / 1000:g}, {after / 1000:g})"
        )
    return before, after


def _aligned(source, spans, said, align) -> Float[np.ndarray, " trial"]:
    """Time of the event in each trial, NaN without: a column of times, or the first of these events in it."""
    column = source.trial_column(align) if isinstance(align, str) else None
    if column is not None:
        rows = [row * said.get("trials", 1.0) for row in of_rows(source.path, align, column).rows or []]
        _clock.own_trial(source.path, align, rows, spans)
        return np.array([np.nanmin(row) if np.isfinite(row).any() else np.nan for row in rows])
    found = source.find(align)
    if found is None:
        raise ValueError(
            f"{source.path}: expected `align` to name a column of the trials, or events of the file, got "
            f"{align!r}"
        )
    times = np.sort(_on_the_clock(source, align, found.times, spans, said))
    place = np.searchsorted(times, spans.starts)
    first = np.append(times, np.nan)[np.minimum(place, len(times))]
    return np.where(first <= spans.stops, first, np.nan)


def _some(grid, used) -> Grid:
    return grid._replace(starts=grid.starts[used], lengths=grid.lengths[used])


def _counts(source, chosen, clock, grid):
    """Counts (trial, time, unit) of the units, which are read one by one."""
    try:
        return _binning.counts([lambda i=i: clock(source.spikes(i)) for i in chosen], grid)
    except MemoryError as error:
        raise ValueError(
            f"{source.path}: expected trials that fit into memory, got {len(grid.lengths)} of up to "
            f"{grid.n_time} bins and {len(chosen)} units: shorten them with window=(before, after), or widen "
            "bin_width"
        ) from error


# --- what is left out


def _invalid(source, grid, clock, chosen) -> dict[str, Bool[np.ndarray, " trial"]]:
    """Trials in which the file says, or shows, that not all units were recorded."""
    reasons = {"in invalid times": _touched(grid, source.invalid)}
    if source.support is not None:
        reasons["not within what was recorded"] = ~_covered(grid, source.support)
    unseen = {}
    for i in chosen:
        observed = source.observed(i)
        if observed is not None and len(observed):
            unseen[i] = ~_covered(grid, clock(observed))
    if unseen:
        worst = max(unseen, key=lambda i: int(unseen[i].sum()))
        label = source.unit_column("id")[worst]
        missed = int(unseen[worst].sum())
        reasons[f"not observed by every unit (unit {label} misses {missed})"] = np.any(
            list(unseen.values()), axis=0
        )
    times = clock(source.sample)
    times = times[np.isfinite(times)]
    if len(times) > 1 and times.max() > times.min():
        rate = source.n_spikes / (times.max() - times.min())
        # So many spikes cannot be missing by chance.
        outside = (grid.starts > times.max()) | (grid.stops < times.min())
        expected = rate * grid.lengths * grid.bin_width
        reasons["before the first spike or after the last"] = outside & (expected > 30)
    return reasons


def _touched(grid, intervals) -> Bool[np.ndarray, " trial"]:
    """Which trials have a part in common with some interval; without an end, it is open."""
    starts = np.nan_to_num(intervals[:, 0], nan=-np.inf, neginf=-np.inf, posinf=np.inf)
    stops = np.nan_to_num(intervals[:, 1], nan=np.inf, neginf=-np.inf, posinf=np.inf)
    found = np.zeros(len(grid.starts), bool)
    for start, stop in zip(starts, stops, strict=True):
        found |= (grid.starts < stop - grid.slack) & (grid.stops > start + grid.slack)
    return found


def _covered(grid, intervals) -> Bool[np.ndarray, " trial"]:
    """Which trials lie within the intervals, of which those that touch are one."""
    intervals = np.asarray(intervals, float).reshape(-1, 2)
    intervals = intervals[np.argsort(intervals[:, 0])]
    reach = np.maximum.accumulate(intervals[:, 1])
    apart = np.append(True, intervals[1:, 0] > reach[:-1] + grid.slack)
    starts, stops = intervals[apart, 0], reach[np.append(apart[1:], True)]
    at = np.searchsorted(starts, grid.starts + grid.slack, side="right") - 1
    return (at >= 0) & (grid.stops <= stops[np.maximum(at, 0)] + grid.slack)


def _lit(source, name) -> dict[str, Bool[np.ndarray, " trial"]]:
    column = None if name is None else source.trial_column(name)
    if column is None:
        return {}
    on, words = _columns.lit(column)
    seen = f" ('{name}' says {', '.join(words[:4])})" if words else ""
    return {f"with photostimulation{seen}": on}


def _choices(source, name, coding):
    column = None if name is None else source.trial_column(name)
    if column is not None:
        return _columns.choices(source.path, name, column, coding)
    if coding is not None:
        raise ValueError(f"{source.path}: expected the column {name!r} that `coding` is for, got none")
    return None


# --- inputs


def _inputs(source, clicks, inputs, grid, spans, said):
    """Inputs (trial, time, input) or None; trials with gaps, by name of the signal; and a note on which are
    which.

    Clicks are counted and may be missing; of `inputs`, events are counted and signals averaged.
    """
    found = [source.find(name) for name in clicks]
    missing = [name for name, one in zip(clicks, found, strict=True) if one is None]
    if missing and len(missing) < len(found):
        raise ValueError(
            f"{source.path}: expected all of {', '.join(clicks)} or none, got no {', '.join(missing)}: name "
            "what the file has with clicks=(left, right)"
        )
    heard = [] if missing else list(clicks)
    parts = [_counted(source, name, source.find(name), grid, spans, said) for name in heard]
    gaps = {}
    for name in inputs:
        one = source.find(name)
        if one is None:
            raise ValueError(
                f"{source.path}: expected events or a signal named {name!r}, got none: it may be a column of "
                "the trials with times, a TimeSeries or a table of events"
            )
        if one.series is None:
            part = _counted(source, name, one, grid, spans, said)
        else:
            times = _on_the_clock(source, name, one.series.times, spans, said)
            part = _binning.averaged(one.series._replace(times=times), grid)
            bad = np.array([np.isnan(row[:n]).any() for row, n in zip(part, grid.lengths, strict=True)])
            gaps |= {_called(name): bad} if bad.any() else {}
        heard.append(_called(name) + (f" ({part.shape[2]})" if part.shape[2] > 1 else ""))
        parts.append(part)
    note = f"inputs are {', '.join(heard)}" if len(inputs) else None
    return (np.concatenate(parts, axis=2) if parts else None), gaps, note


def _called(name) -> str:
    return name if isinstance(name, str) else f"a {type(name).__name__}"


def _counted(source, name, found, grid, spans, said):
    """Counts (trial, time, 1) of events."""
    if found.rows is not None and "events" not in said:
        _clock.own_trial(source.path, name, found.rows, spans)
    times = _on_the_clock(source, name, found.times, spans, said)
    times = np.sort(times[np.isfinite(times)])
    inside = np.searchsorted(times, spans.stops) > np.searchsorted(times, spans.starts - grid.slack)
    if len(times) and not inside.any():
        raise ValueError(
            f"{source.path}: expected the times of {_called(name)} in seconds of the session, got none in "
            "any trial: if they are counted from the start of the trial, add start_time to them"
        )
    slack = max(grid.slack, SLACK * grid.bin_width + 2 * _binning.resolution(found.times))
    return _binning.counts([lambda: times], grid._replace(slack=slack))


def _on_the_clock(source, name, times, spans, said) -> Float[np.ndarray, " event"]:
    """Times of events or samples in seconds of the session."""
    clock, _ = _clock.clock(
        source.path,
        f"the times of {_called(name)}",
        times,
        _clock.sound(spans),
        unit=said.get("events"),
        reference=source.reference,
        few=len(times) < source.n_trials,
    )
    return np.asarray(clock(times), float)


def _plain(column):
    """Values without pandas' or Python's own types, words as numpy's."""
    words = column.dtype.kind in "OS"
    return np.array([v.decode() if isinstance(v, bytes) else str(v) for v in column]) if words else column
