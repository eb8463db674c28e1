"""One clock: spikes, events and trials of a file are on the same one, or are brought to it where the file
says how.

Times of a session reach beyond the first trial and not far past the last. Those that do not were counted from
the start of each trial, or are in milliseconds, in samples, or in Unix seconds.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ._binning import resolution

# A recording goes on for so many times as long as till its last trial, at most; milliseconds are 1000 times
# off.
_FAR = 300.0
_UNITS = {"milliseconds": 1e-3, "microseconds": 1e-6, "samples of 1/30000 s": 1 / 30_000}


class Trials(NamedTuple):
    """Start and stop of the trials, in seconds of the session."""

    starts: Float[np.ndarray, " trial"]
    stops: Float[np.ndarray, " trial"]


def sound(trials: Trials) -> Trials:
    """Those trials whose times are known and run forward."""
    right = np.isfinite(trials.starts) & (trials.stops > trials.starts)
    return Trials(trials.starts[right], trials.stops[right])


class Clock(NamedTuple):
    """How the times of a file become seconds of the session, `(time - zero) * unit`."""

    unit: float = 1.0
    zero: float = 0.0

    def __call__(self, times):
        times = np.asarray(times)
        if self == (1.0, 0.0):
            return times
        return (times.astype(float) - self.zero) * self.unit


def clock(path, what, times, trials: Trials, *, unit=None, stated=(), reference=None, few=False):
    """The clock of some times, and a note on what was converted, None where nothing was.

    **Arguments**

    - `what`: what the times are of, for messages.
    - `unit`: seconds in a unit of these times, as the user says; then nothing is guessed.
    - `stated`: seconds in units that the file says these times may be in, each with its words.
    - `reference`: the Unix time of the session's zero, as the file says.
    - `few`: whether these may be events of the first trial alone, rather than spikes.

    **Raises** `ValueError` for times on another clock, which it names, where the file does not say how to
    convert them.
    """
    times = np.asarray(times, float)
    times = times[np.isfinite(times)]
    if not len(times):
        return Clock(), None
    if unit is not None:
        found = Clock(float(unit))
        if not _overlap(found(times), trials):
            raise ValueError(_apart(path, what, found(times), trials, f"in units of {unit:g} s as said"))
        return found, None
    whole = what == "spike times" and len(times) >= 20 and (times == np.round(times)).all()
    if not whole and _fits(times, trials, few):
        return Clock(), None
    if reference is not None and not whole:
        for zero, told in (
            (reference, "Unix times"),
            (-reference, "seconds where the trials are Unix times"),
        ):
            if _fits(times - zero, trials, few):
                return Clock(
                    zero=zero
                ), f"{what} are {told}: brought to the trials' by the file's reference time"
    for scale, told in stated:
        if _fits(times * scale, trials, few):
            return Clock(scale), f"{what} are in {told}: times {scale:.4g} s"
    raise ValueError(_apart(path, what, times, trials, _guess(times, trials, few, whole)))


def _overlap(times, trials) -> bool:
    return bool(times.max() > trials.starts.min() and times.min() < trials.stops.max())


def _fits(times, trials, few) -> bool:
    starts, stops = trials
    if not _overlap(times, trials) or times.max() > _FAR * np.abs([starts, stops]).max():
        return False
    return few or len(starts) < 2 or not _restarts(times, trials)


def _restarts(times, trials) -> bool:
    """Whether all times lie within the first trial, or within what the longest lasts."""
    starts, stops = trials
    longest = (stops - starts).max()
    return bool(times.max() <= max(stops[starts.argmin()], longest) < starts.max())


def _guess(times, trials, few, whole) -> str:
    """What clock these times seem to be on, and what to do."""
    starts, stops = trials
    if not few and not whole and _restarts(times, trials) and (stops - starts).max() < 100:
        return "as if counted from the start of each trial: add start_time to them"
    # How far the last time is from the last trial, in each unit that times, or those of trials, may be in.
    with np.errstate(all="ignore"):
        off = {
            (name, side): abs(np.log(times.max() * unit**side / stops.max()))
            for name, unit in _UNITS.items()
            for side in (1, -1)
        }
    (name, side), least = min(off.items(), key=lambda item: np.nan_to_num(item[1], nan=np.inf))
    near = least < np.log(3) and _fits(times * _UNITS[name] ** side, trials, few)
    if near and side == 1:
        return (
            f"as if in {name}: say so with time_units={{'spikes': {_UNITS[name]:.6g}}}, or write them in "
            "seconds"
        )
    if near:
        return (
            f"as if the trials were in {name}: say so with time_units={{'trials': {_UNITS[name]:.6g}}}, or "
            "write start_time and stop_time in seconds"
        )
    if times.min() > 1e8 > stops.max():
        return "as if in Unix time: subtract the session's start from them"
    if whole:
        return (
            "which are whole numbers, so no seconds: say how long one is with time_units={'spikes': ...}, "
            "such as 0.001 for milliseconds, or write them in seconds"
        )
    return "on another clock: if they are counted from the start of the trial, add start_time to them"


def _apart(path, what, times, trials, why) -> str:
    return (
        f"{path}: expected {what} in seconds of the session, as the trials from {trials.starts.min():.6g} to "
        f"{trials.stops.max():.6g} s, got times from {times.min():.6g} to {times.max():.6g}, {why}"
    )


def precise(path, what, times, unit, bin_width) -> float:
    """What some times resolve, in seconds.

    **Raises** `ValueError` where that is too coarse for the bins.
    """
    fine = resolution(times) * unit
    if fine > bin_width / 2:
        raise ValueError(
            f"{path}: expected {what} that tell bins of {bin_width:g} s apart, got numbers {fine:.3g} s "
            "apart, as single precision has them so far from zero: write them in double precision, or from "
            "the start of the session"
        )
    return fine


def not_rounded(path, times, unit, bin_width) -> None:
    """Refuse spike times with fewer decimals than the bins need."""
    times = np.asarray(times, float)
    for digits in (0, 1, 2):
        step = 10.0**-digits * unit
        rounded = np.allclose(times, np.round(times, digits), rtol=1e-12, atol=1e-9)
        if step > 1.5 * bin_width and len(times) >= 20 and rounded:
            raise ValueError(
                f"{path}: expected spike times that tell bins of {bin_width:g} s apart, got times rounded to "
                f"{step:g} s: widen the bins with bin_width={step:g}, or write the times as they were"
            )


def own_trial(
    path, name, rows, trials: Trials, *, unit=1.0, relative=False, reference=None
) -> list[np.ndarray]:
    """Times of a column of the trials table, (trial, events), in seconds of the session, each in its own
    trial or near it; NaN for those that are not, as 0 or -1 where there was no event.

    - `unit`: seconds in a unit of these times.
    - `relative`: whether the file says that they are counted from the start of each trial.
    - `reference`: the Unix time of the session's zero, as the file says.

    **Raises** `ValueError` where they are counted from the start of each trial and the file does not say so,
    and where more than a tenth are of no trial or of another one.
    """
    at = np.repeat(np.arange(len(rows)), [np.size(row) for row in rows])
    times = np.concatenate([np.zeros(0), *rows]) * unit
    known = np.isfinite(times) & np.isfinite(trials.stops - trials.starts)[at]
    starts, stops = trials.starts[at], trials.stops[at]
    first, last = (edge[at] for edge in _surroundings(trials))

    def near(times):
        return (times >= first) & (times <= last)

    own = (times >= starts) & (times <= stops)
    # A bare 0 is a word for no event, unless the file says that it is the start of the trial.
    since = ((times > 0) | (relative & (times == 0))) & (times <= stops - starts)
    if since.sum() > own.sum():
        if not relative:
            raise ValueError(
                f"{path}: expected the times of {name} in seconds of the session, got "
                f"{int((known & ~own).sum())} of {int(known.sum())} outside their trials, as if counted from "
                "the start of the trial: add start_time to them"
            )
        return _by_trial(times + starts, at, len(rows))
    for zero in [0.0] if reference is None else [0.0, reference, -reference]:
        moved = times - zero
        blank = _blank(moved, known & ~own, known & ~near(moved))
        far = known & ~blank & ~near(moved)
        if far.sum() <= 0.1 * (known & ~blank).sum():
            return _by_trial(np.where(near(moved) & ~blank, moved, np.nan), at, len(rows))
    far = known & ~near(times)
    raise ValueError(
        f"{path}: expected the times of {name} in seconds of the session, each in its own trial, got "
        f"{int(far.sum())} of {int(known.sum())} outside it, from {times[far].min():.6g} to "
        f"{times[far].max():.6g}, as if in milliseconds, from another zero or of another row: write them in "
        "seconds of the session, and NaN where there is none"
    )


def of_recording(path, what, intervals, extent, *, reference=None) -> np.ndarray:
    """Intervals (interval, 2) in seconds of the session, Unix times brought there by the reference time.

    - `extent`: when the session's first and last spike or trial was.

    **Raises** `ValueError` for intervals further off than the session is long, which are on another clock.
    """
    first, last = min(extent[0], 0.0) if extent[1] < 1e8 else extent[0], extent[1]
    edges = intervals[np.isfinite(intervals)]
    if not len(edges):
        return intervals
    long = last - first
    for zero in [0.0] if reference is None else [0.0, reference, -reference]:
        moved = intervals - zero
        starts, stops = np.nan_to_num(moved[:, 0], nan=-np.inf), np.nan_to_num(moved[:, 1], nan=np.inf)
        near = (starts < last + long) & (stops > first - long)
        ends = np.abs(moved[np.isfinite(moved)]).max() < _FAR * max(abs(first), abs(last))
        if near.all() and ends:
            return moved
    raise ValueError(
        f"{path}: expected {what} in seconds of the session, which is from {first:.6g} to {last:.6g} s, got "
        f"times from {edges.min():.6g} to {edges.max():.6g}, on another clock or in another unit: write them "
        "in its seconds, or leave them aside with validity=False"
    )


def _surroundings(trials) -> tuple[np.ndarray, np.ndarray]:
    """From when to when a time is of that trial: till the trials beside it, as far as ten of the longest."""
    starts, stops = trials
    longest = np.nanmax(stops - starts)
    stops = np.where(np.isfinite(stops), stops, starts + longest)
    reach = 10 * longest
    order = np.argsort(starts)
    before, after = np.full(len(starts), -np.inf), np.full(len(starts), np.inf)
    before[order[1:]] = stops[order[:-1]]
    after[order[:-1]] = starts[order[1:]]
    first = np.fmin(np.fmax(before, starts - reach), starts)
    return first, np.fmax(np.fmin(after, stops + reach), stops)


def _blank(times, outside, far) -> np.ndarray:
    """Which times are a word for no event: 0 or -1 outside their trials, or what most far from them are."""
    values, numbers = np.unique(times[far], return_counts=True)
    words = values[(numbers > 1) & (numbers >= far.sum() / 2)]
    return np.isin(times, [*words, *np.intersect1d(times[outside], (0, -1))])


def _by_trial(times, at, n) -> list[np.ndarray]:
    return np.split(times, np.searchsorted(at, np.arange(1, n)))
