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


def averaged(series: Series, grid: Grid) -> Float[np.ndarray, "trial time channel"]:
    """Mean of a signal in each bin: of its samples there, or, without any, of the line from the last to the
    next; of a value that holds, its mean over time.

    NaN where a bin lies before the first sample or after the last, or, unless values hold, in a gap of more
    than five usual steps; and where a sample is NaN.
    """
    usual = np.median(np.diff(series.times)) if len(series.times) > 1 else 0.0
    rows = []
    for start, length in zip(grid.starts, grid.lengths, strict=True):
        edges = start + np.arange(length + 1) * grid.bin_width - grid.slack
        # One sample more on each side, to go from and to.
        first = max(0, np.searchsorted(series.times, edges[0], side="right") - 1)
        last = min(len(series.times), np.searchsorted(series.times, edges[-1]) + 1)
        values = np.asarray(series.read(slice(first, last)), float)
        values, times = values.reshape(len(values), -1), series.times[first:last]
        if not len(times):
            rows.append(np.full((length, 1), np.nan))
            continue
        with np.errstate(invalid="ignore"):
            rows.append(
                _held(times, values, edges) if series.held else _means(times, values, edges, 5 * usual)
            )
    found = np.full((len(rows), grid.n_time, max(row.shape[1] for row in rows)), np.nan, np.float32)
    for i, row in enumerate(rows):
        found[i, : len(row)] = row
    return found


def _held(times, values, edges) -> Shaped[np.ndarray, "time channel"]:
    """Means between edges of a signal that keeps each value till the next sample."""
    area = np.cumsum(np.vstack([np.zeros(values.shape[1]), values[:-1] * np.diff(times)[:, None]]), axis=0)
    at = np.searchsorted(times, edges, side="right") - 1
    till = area[at] + values[at] * (edges - times[at])[:, None]
    till[at < 0] = np.nan
    return np.diff(till, axis=0) / np.diff(edges)[:, None]


def _means(times, values, edges, gap) -> Shaped[np.ndarray, "time channel"]:
    """Means of samples between edges; where there are none, what lies on the line between neighbours."""
    n_bins = len(edges) - 1
    at = np.searchsorted(edges, times, side="right") - 1
    inside = (at >= 0) & (at < n_bins)
    number = np.bincount(at[inside], minlength=n_bins)[:, None]
    total = [np.bincount(at[inside], weights=one, minlength=n_bins) for one in values[inside].T]
    middle = (edges[1:] + edges[:-1]) / 2
    after = np.searchsorted(times, middle, side="right")
    known = (after > 0) & (after < len(times))
    after = np.clip(after, 1, max(1, len(times) - 1))
    before = after - 1
    after = np.minimum(after, len(times) - 1)
    step = times[after] - times[before]
    share = ((middle - times[before]) / np.where(step > 0, step, 1))[:, None]
    line = values[before] + share * (values[after] - values[before])
    line[~known | (step > gap)] = np.nan
    return np.where(number, np.transpose(total) / np.maximum(number, 1), line)
