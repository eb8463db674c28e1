"""Inputs on the grid of the trials: events are counted, signals averaged."""

import numpy as np

from . import _binning
from ._binning import SLACK
from ._source import called
from ._trials import of_events, on_the_clock, own_rows
from ._validity import covered

# Events that are looked for without being asked for.
_USUAL = ("left_clicks", "right_clicks")


def inputs(source, clicks, inputs, grid, spans, said):
    """Inputs (trial, time, input) or None; trials with gaps, by name of the signal; and a note on which are
    which.

    Clicks are counted and may be missing; of `inputs`, events are counted and signals averaged.
    """
    found = [source.find(name) for name in clicks]
    missing = [name for name, one in zip(clicks, found, strict=True) if one is None]
    if missing and (len(missing) < len(found) or tuple(clicks) != _USUAL):
        raise ValueError(
            f"{source.path}: expected all of {', '.join(clicks)} or none, got no {', '.join(missing)}: name "
            "what the file has with clicks=(left, right)"
        )
    heard, gaps = ([] if missing else list(clicks)), {}
    parts = [
        _counted(source, name, one, grid, spans, said) for name, one in zip(heard, found, strict=not missing)
    ]
    for name in inputs:
        one = source.find(name)
        if one is None:
            raise ValueError(
                f"{source.path}: expected events or a signal named '{called(name)}', got none: it may be a "
                "column of the trials with times, a TimeSeries or a table of events"
            )
        if one.series is None:
            part = _counted(source, name, one, grid, spans, said)
            bad = np.zeros(len(part), bool) if one.support is None else ~covered(grid, one.support)
        else:
            times = on_the_clock(source, name, one.series.times, spans, said)
            if not (np.diff(times) >= 0).all():
                raise ValueError(
                    f"{source.path}: expected the times of {called(name)} to rise from sample to sample, got "
                    "times that fall or are NaN: sort them"
                )
            part = _binning.averaged(one.series._replace(times=times), grid)
            bad = np.array([np.isnan(row[:n]).any() for row, n in zip(part, grid.lengths, strict=True)])
        if bad.any():
            gaps[called(name)] = gaps.get(called(name), False) | bad
        heard.append(called(name) + (f" ({part.shape[2]})" if part.shape[2] > 1 else ""))
        parts.append(part)
    # Objects stand in the order that they were given in; names may be looked up.
    named = any(isinstance(name, str) for name in inputs)
    note = f"inputs are {', '.join(heard)}" if named else None
    return (np.concatenate(parts, axis=2) if parts else None), gaps, note


def _counted(source, name, found, grid, spans, said):
    """Counts (trial, time, 1) of events."""
    if found.rows is not None:
        times = np.concatenate([np.zeros(0), *own_rows(source, name, found, spans, said)])
    else:
        times = of_events(source, name, found, spans, said)
    times = np.sort(times[np.isfinite(times)])
    inside = np.searchsorted(times, spans.stops) > np.searchsorted(times, spans.starts - grid.slack)
    if len(times) and not inside.any():
        raise ValueError(
            f"{source.path}: expected the times of {called(name)} in seconds of the session, got none in "
            "any trial: if they are counted from the start of the trial, add start_time to them"
        )
    slack = max(grid.slack, SLACK * grid.bin_width + 2 * _binning.resolution(found.times))
    return _binning.counts([lambda: times], grid._replace(slack=slack))
