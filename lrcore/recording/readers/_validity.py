"""Trials in which not all was recorded, as a file says or shows."""

import numpy as np
from jaxtyping import Bool

from ._clock import of_recording


def invalid(source, grid, clock, chosen, unit) -> dict[str, Bool[np.ndarray, " trial"]]:
    """Trials in which the file says, or shows, that not all units were recorded.

    - `clock`: of the spikes and of when units were observed.
    - `unit`: seconds in a unit of the times of trials and of invalid times.
    """
    times = clock(source.sample)
    times = times[np.isfinite(times)]
    held = grid.lengths > 0
    ends = [*times, *grid.starts[held], *grid.stops[held]]
    extent = (min(ends, default=0.0), max(ends, default=0.0))

    def placed(what, intervals):
        return of_recording(source.path, what, intervals, extent, reference=source.reference)

    reasons = {"in invalid times": _touched(grid, placed("invalid_times", source.invalid * unit))}
    if source.support is not None:
        reasons["not within what was recorded"] = ~covered(grid, source.support)
    unseen = {}
    for i in chosen:
        observed = source.observed(i)
        if observed is not None and len(observed):
            unseen[i] = ~covered(grid, placed("obs_intervals", np.asarray(clock(observed), float)))
    if unseen:
        worst = max(unseen, key=lambda i: int(unseen[i].sum()))
        label = source.unit_column("id")[worst]
        missed = int(unseen[worst].sum())
        reasons[f"not observed by every unit (unit {label} misses {missed})"] = np.any(
            list(unseen.values()), axis=0
        )
    if len(times) > 1 and times.max() > times.min():
        rate = source.n_spikes / (times.max() - times.min())
        beyond = np.maximum(grid.stops - np.maximum(grid.starts, times.max()), 0)
        beyond += np.maximum(np.minimum(grid.stops, times.min()) - grid.starts, 0)
        # Where nothing at all is before 0, nothing was recorded there.
        if times.min() >= 0:
            reasons["before the session's zero"] = grid.starts < -grid.slack
        # So many spikes cannot be missing by chance.
        reasons["before the first spike or after the last"] = rate * beyond > 30
    return reasons


def _touched(grid, intervals) -> Bool[np.ndarray, " trial"]:
    """Which trials have a part in common with some interval; without an end, it is open."""
    starts = np.nan_to_num(intervals[:, 0], nan=-np.inf, neginf=-np.inf, posinf=np.inf)
    stops = np.nan_to_num(intervals[:, 1], nan=np.inf, neginf=-np.inf, posinf=np.inf)
    found = np.zeros(len(grid.starts), bool)
    for start, stop in zip(starts, stops, strict=True):
        found |= (grid.starts < stop - grid.slack) & (grid.stops > start + grid.slack)
    return found


def covered(grid, intervals) -> Bool[np.ndarray, " trial"]:
    """Which trials lie within the intervals, of which those that touch are one."""
    intervals = np.asarray(intervals, float).reshape(-1, 2)
    intervals = intervals[np.argsort(intervals[:, 0])]
    # A part of a bin that is missed, as by intervals that end a sample early, changes a count by little.
    little = grid.slack + grid.bin_width / 4
    reach = np.maximum.accumulate(intervals[:, 1])
    apart = np.append(True, intervals[1:, 0] > reach[:-1] + little)
    starts, stops = intervals[apart, 0], reach[np.append(apart[1:], True)]
    at = np.searchsorted(starts, grid.starts + little, side="right") - 1
    return (at >= 0) & (grid.stops <= stops[np.maximum(at, 0)] + little)
