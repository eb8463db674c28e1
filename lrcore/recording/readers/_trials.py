"""Trials of a session as bins: from start to stop, or over a window around an event."""

import numpy as np
from jaxtyping import Float

from . import _clock
from ._binning import SLACK, Grid, sampled
from ._clock import Trials
from ._source import called


def spans(source, unit, bin_width) -> tuple[Trials, float]:
    """Start and stop of the trials in seconds, and what these times resolve."""
    columns = [source.trial_column(word) for word in source.words]
    if any(column is None for column in columns):
        raise ValueError(f"{source.path}: expected the columns {' and '.join(source.words)} of trials")
    raw = [np.asarray(column) for column in columns]
    fine = [
        _clock.precise(source.path, word, column, unit, bin_width)
        for word, column in zip(source.words, raw, strict=True)
    ]
    spans = Trials(*(np.asarray(column, float) * unit for column in raw))
    # A trial without an end has no known one.
    spans = Trials(*(np.where(np.isfinite(column), column, np.nan) for column in spans))
    if not (np.isfinite(spans.starts) & (spans.stops > spans.starts)).any():
        raise ValueError(
            f"{source.path}: expected trials that stop after they start, got none of {source.n_trials}"
        )
    return spans, SLACK * bin_width + max(fine) + source.fine


def grid(source, spans, said, align, window, bin_width, slack):
    """Bins of all trials, what is missing in which, and a note on where they begin."""
    before, after = _window(window, spans, bin_width)
    event = spans.starts if align is None else _aligned(source, spans, said, align)
    starts = event + (before or 0.0)
    stops = spans.stops if after is None else event + after
    lengths = np.floor((stops - starts + slack) / bin_width)
    if after is not None:
        lengths = np.where(np.isfinite(event), np.floor((after - (before or 0.0)) / bin_width + 1e-6), np.nan)
    missing = {f"without {called(align)}": np.isnan(event)} if align is not None else {}
    missing["of fewer than two bins"] = ~(lengths >= 2)
    known = lengths >= 2
    grid = Grid(np.where(known, starts, 0.0), np.where(known, lengths, 0).astype(int), bin_width, slack)
    if align is None and window is None:
        return grid, missing, None
    till = "the trial's end" if after is None else f"{after:g} s"
    return (
        grid,
        missing,
        f"bins run from {before or 0:g} s to {till}, from {called(align or source.words[0])} on",
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
    found = source.find(align)
    if found is None:
        raise ValueError(
            f"{source.path}: expected `align` to name a column of the trials, or events of the file, got "
            f"'{called(align)}'"
        )
    if found.rows is not None:
        rows = own_rows(source, align, found, spans, said)
        return np.array([np.nanmin(row) if np.isfinite(row).any() else np.nan for row in rows])
    times = np.sort(of_events(source, align, found, spans, said))
    place = np.searchsorted(times, spans.starts)
    first = np.append(times, np.nan)[np.minimum(place, len(times))]
    return np.where(first <= spans.stops, first, np.nan)


def own_rows(source, name, found, spans, said) -> list[np.ndarray]:
    """Times of a column of the trials, each in its own trial, in seconds of the session; see `own_trial`."""
    unit = said.get("events", said.get("trials", 1.0))
    return _clock.own_trial(
        source.path, name, found.rows, spans, unit=unit, relative=found.relative, reference=source.reference
    )


def of_events(source, name, found, spans, said) -> Float[np.ndarray, " event"]:
    """Times of events in seconds of the session.

    **Raises** `ValueError` for a signal, whose samples are no events.
    """
    if found.series is not None and (found.series.held or sampled(found.times, source.n_trials)):
        raise ValueError(
            f"{source.path}: expected the times of events as {called(name)}, got a signal with "
            f"{len(found.times)} samples: give inputs=[{called(name)!r}] to have it averaged, or write the "
            "times at which it rises"
        )
    return on_the_clock(source, name, found.times, spans, said)


def on_the_clock(source, name, times, spans, said) -> Float[np.ndarray, " event"]:
    """Times of events or samples in seconds of the session."""
    clock, _ = _clock.clock(
        source.path,
        f"the times of {called(name)}",
        times,
        _clock.sound(spans),
        unit=said.get("events"),
        reference=source.reference,
        few=len(times) < source.n_trials,
    )
    return np.asarray(clock(times), float)
