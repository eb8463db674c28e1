"""Times and signals on the grid of the trials: counts of events, means of samples."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

# A time this part of a bin before an edge counts as on it: times are sums of rounded numbers.
SLACK = 1e-6


class Grid(NamedTuple):
    """Bins of trials.

    - `starts`: (trial,), time of the first bin's start, in seconds.
    - `lengths`: (trial,), number of bins.
    - `bin_width`: in seconds.
    - `slack`: in seconds; a time so much before an edge counts as on it. What the numbers resolve.
    """

    starts: Float[np.ndarray, " trial"]
    lengths: Int[np.ndarray, " trial"]
    bin_width: float
    slack: float

    @property
    def stops(self) -> Float[np.ndarray, " trial"]:
        return self.starts + self.lengths * self.bin_width

    @property
    def n_time(self) -> int:
        return int(self.lengths.max())


def resolution(times) -> float:
    """How far apart numbers are at the largest of these times, in the precision that they were stored in.

    Times that all are single precision numbers, with digits down to its last, were stored as such.

    >>> times = np.array([0.1, 3000.1])
    >>> resolution(times) == 2**-41, resolution(times.astype("float32").astype(float)) == 2**-12
    (True, True)
    """
    times = np.asarray(times)
    if times.dtype.kind != "f":
        times = times.astype(float)
    times = times[np.isfinite(times)]
    if not len(times):
        return 0.0
    largest = np.abs(times).max()
    if times.dtype == np.float64 and largest < np.finfo(np.float32).max:
        single = times.astype(np.float32)
        if np.array_equal(single, times):
            # Whole seconds, and other short numbers, are single precision numbers by accident.
            digits = np.frexp(single)[0] * 2**21
            fine = digits != np.round(digits)
            if fine.mean() > 0.25:
                return float(np.spacing(single[np.abs(single).argmax()]))
    return float(abs(np.spacing(largest)))


def cells(times, grid: Grid) -> tuple[Int[np.ndarray, " cell"], Int[np.ndarray, " cell"]]:
    """Where events at `times` fall, trial * n_time + bin, ascending; and how many fall there."""
    times = np.asarray(times, float)
    if len(times) > 1 and (times[1:] < times[:-1]).any():
        times = np.sort(times)
    first, last = (np.searchsorted(times, edge - grid.slack) for edge in (grid.starts, grid.stops))
    number = last - first
    trial = np.repeat(np.arange(len(number)), number)
    # The place of each event in `times`, trial by trial.
    place = np.arange(number.sum()) + np.repeat(first - np.cumsum(number) + number, number)
    bins = np.floor((times[place] - grid.starts[trial] + grid.slack) / grid.bin_width).astype(np.int64)
    cell = trial * grid.n_time + np.clip(bins, 0, grid.lengths[trial] - 1)
    edges = np.flatnonzero(np.diff(cell, prepend=-1))
    return cell[edges], np.diff(edges, append=len(cell))


def counts(units: Sequence[Callable[[], np.ndarray]], grid: Grid) -> Int[np.ndarray, "trial time unit"]:
    """Counts of the events of each unit, read one unit at a time, in the smallest type that holds them."""
    shape = (len(grid.lengths), grid.n_time)
    found = np.zeros((*shape, len(units)), np.int8)
    for i, read in enumerate(units):
        cell, number = cells(read(), grid)
        kind = np.min_scalar_type(-1 - int(number.max(initial=0)))
        if kind.itemsize > found.itemsize:
            found = found.astype(kind)
        found.reshape(-1, len(units))[cell, i] = number
    return found


def counted(times, grid: Grid) -> Int[np.ndarray, "trial time"]:
    """Counts of events in the bins of each trial."""
    return counts([lambda: times], grid)[:, :, 0]


class Series(NamedTuple):
    """Samples of a signal.

    - `times`: (sample,), in seconds, ascending.
    - `read`: of a slice of samples, (sample,) or (sample, channel).
    - `held`: whether a value holds until the next sample, rather than running towards it.
    """

    times: Float[np.ndarray, " sample"]
    read: Callable[[slice], np.ndarray]
    held: bool = False


def sampled(times, n_trials) -> bool:
    """Whether times go on evenly, many in a trial, as of samples rather than of events.

    >>> sampled(np.arange(1000) * 0.001, 10), sampled(np.cumsum(np.arange(1000.0)), 10)
    (True, False)
    """
    steps = np.diff(times)
    if len(times) <= 10 * n_trials:
        return False
    return bool((np.abs(steps - np.median(steps)) <= 0.1 * np.median(steps)).mean() > 0.99)


def averaged(series: Series, grid: Grid) -> Float[np.ndarray, "trial time channel"]:
    """Mean of a signal over each bin: of the line from sample to sample, or of the value that holds.

    NaN where a bin reaches before the first sample or after the last, or, unless values hold, into a gap of
    more than five usual steps; and beside a sample that is NaN.
    """
    usual = np.median(np.diff(series.times)) if len(series.times) > 1 else 0.0
    rows = []
    for start, length in zip(grid.starts, grid.lengths, strict=True):
        edges = start + np.arange(length + 1) * grid.bin_width
        # One sample more on each side, to go from and to.
        first = max(0, np.searchsorted(series.times, edges[0], side="right") - 1)
        last = min(len(series.times), np.searchsorted(series.times, edges[-1]) + 1)
        values = np.asarray(series.read(slice(first, last)), float)
        values, times = values.reshape(len(values), -1), series.times[first:last]
        few = len(times) < (1 if series.held else 2)
        rows.append(
            np.full((length, 1), np.nan) if few else _means(times, values, edges, series.held, 5 * usual)
        )
    found = np.full((len(rows), grid.n_time, max(row.shape[1] for row in rows)), np.nan, np.float32)
    for i, row in enumerate(rows):
        found[i, : len(row)] = row
    return found


def _means(times, values, edges, held, gap) -> Shaped[np.ndarray, "time channel"]:
    """Means between edges, from integrals up to each edge: of the signal, and of where it is unknown."""
    known = np.isfinite(values).all(axis=1)
    values = np.where(np.isfinite(values), values, 0.0)
    if held:
        # The last value holds on.
        times, known = np.append(times, max(times[-1], edges[-1]) + 1.0), np.append(known, True)
        values = np.vstack([values, values[-1:]])
    step = np.diff(times)
    unknown = ~known[:-1] if held else ~(known[:-1] & known[1:]) | (step > gap)
    slope = (
        np.zeros_like(values[1:]) if held else np.diff(values, axis=0) / np.where(step > 0, step, 1)[:, None]
    )

    def till(rate, change):
        pieces = (rate + change * step[:, None] / 2) * step[:, None]
        whole = np.vstack([np.zeros(rate.shape[1]), np.cumsum(pieces, axis=0)])
        return whole[at] + (rate[at] + change[at] * since / 2) * since

    at = np.clip(np.searchsorted(times, edges, side="right") - 1, 0, len(step) - 1)
    since = (edges - times[at])[:, None]
    found = np.diff(till(values[:-1], slope), axis=0) / np.diff(edges)[:, None]
    blind = np.diff(till(unknown[:, None].astype(float), np.zeros((len(step), 1))), axis=0)[:, 0]
    tiny = 1e-6 * np.diff(edges)
    found[(blind > tiny) | (edges[:-1] < times[0] - tiny) | (edges[1:] > times[-1] + tiny)] = np.nan
    return found
