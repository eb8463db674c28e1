"""A session as the arguments of a recording, from whatever file: what is read, and what is left out."""

import numpy as np
from jaxtyping import Bool

from .._containers import Fresh
from . import _binning, _clock, _columns
from ._binning import Grid
from ._clock import Clock
from ._files import usable
from ._inputs import inputs as inputs_of
from ._source import Source
from ._trials import grid as grid_of
from ._trials import spans as spans_of
from ._validity import invalid

# Columns that are looked for without being asked for.
_USUAL = {"choice": "choice", "photostimulus": "photostimulation", "neurons": "unit_name"}


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
    spans, slack = spans_of(source, said.get("trials", 1.0), bin_width)
    clock, fine, converted = _spike_clock(source, spans, said, bin_width)
    grid, missing, placed = grid_of(source, spans, said, align, window, bin_width, slack + fine)
    wanted = _columns.matching(path, "trials", trials, source.trial_column, source.n_trials)
    reasons = {"not in `trials`": ~wanted} | missing
    not_valid = invalid(source, grid, clock, chosen, said.get("trials", 1.0)) if validity else {}
    reasons |= not_valid
    hint = "; validity=False reads what the file calls invalid" if np.any([*not_valid.values()]) else ""
    reasons |= _lit(source, photostimulus)
    choices = _choices(source, choice, coding)
    if choices is not None:
        reasons["without a choice"] = np.isnan(choices.values)
    first, _ = usable(path, reasons, hint=hint)
    heard, gaps, listed = inputs_of(source, clicks, inputs, _some(grid, first), spans, said)
    for name, bad in gaps.items():
        reasons[f"with gaps in {name}"] = np.isin(np.arange(source.n_trials), first[bad])
    used, told = usable(path, reasons, hint=hint)
    grid = _some(grid, used)
    info = {
        key: source.trial_column(key) for key in ("gamma", *([choice] if choices and choices.coding else []))
    }
    names = _column(source, "neurons", neurons, source.unit_column)
    names = source.unit_column("id") if names is None else names
    notes = [placed, listed, *(() if choices is None else choices.notes)]
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


def _spike_clock(source, spans, said, bin_width) -> tuple[Clock, float, tuple[str, ...]]:
    """The clock of the spikes, what their times resolve, and a note where they were converted."""
    clock, note = _clock.clock(
        source.path,
        "spike times",
        source.sample,
        _clock.sound(spans),
        unit=said.get("spikes"),
        stated=source.stated,
        reference=source.reference,
    )
    _clock.not_rounded(source.path, source.sample, clock.unit, bin_width)
    fine = _clock.precise(source.path, "spike times", source.sample, clock.unit, bin_width)
    return clock, fine, () if note is None else (note,)


def _some(grid, used) -> Grid:
    return grid._replace(starts=grid.starts[used], lengths=grid.lengths[used])


def _counts(source, chosen, clock, grid):
    """Counts (trial, time, unit) of the units, which are read one by one."""

    def times(i):
        found = source.spikes(i)
        # A sum is NaN or infinite whenever a part of it is.
        if not np.isfinite(found.sum()):
            raise ValueError(
                f"{source.path}: expected finite spike times, got {int((~np.isfinite(found)).sum())} NaN or "
                f"infinite of unit {source.unit_column('id')[i]}: leave it out with `units`"
            )
        return clock(found)

    try:
        return _binning.counts([lambda i=i: times(i) for i in chosen], grid)
    except MemoryError as error:
        raise ValueError(
            f"{source.path}: expected trials that fit into memory, got {len(grid.lengths)} of up to "
            f"{grid.n_time} bins and {len(chosen)} units: shorten them with window=(before, after), or widen "
            "bin_width"
        ) from error


def _column(source, what, name, column):
    """A column by the name that the argument `what` has; None without. What is not named may be missing."""
    found = None if name is None else column(name)
    if found is None and name not in (None, _USUAL[what]):
        raise ValueError(
            f"{source.path}: expected a column {name!r} as `{what}`, got none: is it another "
            f"name? {what}=None is for none"
        )
    return found


def _lit(source, name) -> dict[str, Bool[np.ndarray, " trial"]]:
    column = _column(source, "photostimulus", name, source.trial_column)
    if column is None:
        return {}
    on, words = _columns.lit(column)
    seen = f" ('{name}' says {', '.join(words[:4])})" if words else ""
    return {f"with photostimulation{seen}": on}


def _choices(source, name, coding):
    column = _column(source, "choice", name, source.trial_column)
    if column is not None:
        return _columns.choices(source.path, name, column, coding)
    if coding is not None:
        raise ValueError(f"{source.path}: expected the column {name!r} that `coding` is for, got none")
    return None


def _plain(column):
    """Values without pandas' or Python's own types, words as numpy's."""
    words = column.dtype.kind in "OS"
    return np.array([v.decode() if isinstance(v, bytes) else str(v) for v in column]) if words else column
