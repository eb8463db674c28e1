"""Units that are copies of one another: one neuron that was sorted twice, or saved twice."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int

from .. import checks
from ..checks import ArrayLike

# A neuron that was sorted twice shares 0.8 of its spikes when each sorting misses a fifth of them; neurons
# that are driven alike share less than a third beyond what their rates explain.
_SHARE, _CORRELATION = 0.5, 0.9
# Steps that a correlation of rates has to rest on, if all were of one size.
_STEPS = 20
# Bins that are taken together, so that spikes which stand one bin apart count as the same.
_POOL = 4
# Spikes a bin from which on one bin tells how fast a rate changes.
_CROWDED = 0.1
# Chance of one wrong pair in a whole recording.
_LEVEL = 1e-3
# Bins that are multiplied at once: a few MB.
_PIECE = 8192


def groups(signal: ArrayLike, lengths: ArrayLike | None = None) -> Int[np.ndarray, " neuron"]:
    r"""Which neurons are copies: a number for each, the same for copies of one another, from 0 up.

    Of whole numbers, two units are copies if most spikes of the rarer one stand where the other has some,
    $C-E>\tfrac12(n-E)$, and far beyond chance (Poisson, corrected for the number of pairs). $C$ counts
    coincidences, in the bins as they are and in fours of them; $n$ are the spikes of the rarer unit. $E$ is
    the largest that rates can make which both follow: by the bins at either side, by the same times in other
    trials, and, where bins are crowded, $\sqrt{F_iF_j}$ with $F=\sum y(y-1)$; and what either unit shares
    with most others.

    Of floats, two signals are copies if they are equal but for scale and shift, or if their own parts,
    without what many share, nearly are (correlations above 0.9, of their steps between bins above 0.5). Where
    a few signals make up all others, as in simulated rates without noise, there are no own parts.

    A unit that holds two neurons joins the groups of both.

    **Arguments**

    - `signal`: (trial, time, neuron); of a type of whole numbers for spikes. Finite within the trials.
    - `lengths`: (trial,), valid bins; all by default.

    **Raises** `ValueError` for another shape, lengths that do not fit.

    >>> counts = np.random.default_rng(0).poisson(0.1, (20, 100, 3))
    >>> groups(np.concatenate([counts, counts[:, :, :1]], axis=2))
    array([0, 1, 2, 0])
    """
    from scipy.sparse.csgraph import connected_components

    signal = np.asarray(checks.array("signal", signal, ("trial", "time", "neuron"), padded=True))
    lengths = checks.lengths(lengths, *signal.shape[:2], least=0)
    whole = not np.issubdtype(signal.dtype, np.floating)
    same = _same_spikes(signal, lengths) if whole else _same_rates(signal, lengths)
    labels = connected_components(same, directed=False)[1]
    first, order = np.unique(labels, return_index=True)[1], np.empty(labels.max() + 1, int)
    order[np.argsort(first)] = np.arange(len(first))
    return order[labels]


def _pieces(signal, lengths, dtype) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Trials, times, and a few MB of the signal there (trial, time, neuron), 0 in padding."""
    trials, time, _ = signal.shape
    some = max(1, _PIECE // time)
    for first in range(0, trials, some):
        for start in range(0, time, _PIECE):
            at = slice(first, first + some), slice(start, start + _PIECE)
            inside = np.arange(time)[at[1]] < lengths[at[0], None]
            yield *at, np.where(inside[:, :, None], signal[at], 0).astype(dtype)


# --- spikes


def _same_spikes(counts, lengths) -> Bool[np.ndarray, "neuron neuron"]:
    """Pairs that share most of their spikes, at either width of bins."""
    return _coincident(counts, lengths, 1) | _coincident(counts, lengths, _POOL)


def _coincident(counts, lengths, pool: int) -> Bool[np.ndarray, "neuron neuron"]:
    """Pairs that share most of their spikes in the same bins of `pool` bins."""
    from scipy.special import gammainc

    n_neurons, size = counts.shape[2], max(1, lengths.sum() / pool)
    gram, total = np.zeros((n_neurons, n_neurons)), np.zeros(n_neurons)
    for *_, piece in _pooled(counts, lengths, pool):
        flat = piece.reshape(-1, n_neurons)
        gram += flat.T @ flat
        total += flat.sum(axis=0)
    rarer = np.minimum.outer(total, total)
    expected = np.outer(total, total) / size
    several = np.sqrt(np.maximum(np.diag(gram) - total, 0))

    def beyond(expected):
        """Spikes of the rarer unit that are left to coincide; all where a bin can hold several."""
        return np.maximum(rarer - np.maximum(expected - np.outer(several, several), 0), 0.2 * rarer)

    rough = gram - expected > _SHARE * beyond(expected)
    np.fill_diagonal(rough, False)
    some = np.flatnonzero(rough.any(axis=1))
    if not len(some):
        return rough
    at = np.ix_(some, some)
    expected[at] = np.maximum(expected[at], _expected(counts[:, :, some], lengths, pool, gram[at]))
    # Pairs of spikes of one unit in a bin, beyond these: the rate changes faster than from bin to bin. All
    # of them where bins are crowded, since what the bins at either side say is too uncertain there.
    fast = np.sqrt(np.maximum(np.diag(gram) - total - np.diag(expected), 0))
    full = np.maximum.outer(total, total) > _CROWDED * size
    pairs = np.where(full, np.outer(several, several), np.outer(fast, fast))
    expected = np.where(full, np.maximum(expected, pairs), expected + pairs)
    variance = 1.5 * expected
    variance += np.where(full, np.add.outer(several, several), np.add.outer(fast, fast)) ** 2 / 2
    left = beyond(expected)
    usual = _typical((gram - expected) / np.maximum(left, 1e-9)) * left
    expected, left = expected + usual, left - usual
    wide = np.maximum((variance + usual) / np.maximum(expected, 1e-9), 1)
    surprise = gammainc(np.maximum(gram, 1e-9) / wide, np.maximum(expected, 1e-9) / wide)
    same = rough & (gram - expected > _SHARE * left)
    same &= surprise < _LEVEL / (n_neurons * (n_neurons - 1) / 2)
    power = np.diag(gram)
    same |= (gram == power) & (gram == power[:, None]) & (rarer >= 5)
    np.fill_diagonal(same, False)
    return same


def _typical(rough):
    """What a pair shares as either does with most others, (neuron, neuron); 0 where there are no others."""
    n_neurons = len(rough)
    if n_neurons < 3:
        return np.zeros_like(rough)
    others = rough[~np.eye(n_neurons, dtype=bool)].reshape(n_neurons, n_neurons - 1)
    median = np.clip(np.median(others, axis=1), 0, 1)
    return np.maximum.outer(median, median)


def _pooled(counts, lengths, pool: int):
    """`_pieces` of float32, with `pool` bins taken together."""
    for trials, times, piece in _pieces(counts, lengths, np.float32):
        if pool > 1:
            piece = np.pad(piece, ((0, 0), (0, -piece.shape[1] % pool), (0, 0)))
            piece = piece.reshape(piece.shape[0], -1, pool, piece.shape[2]).sum(axis=2)
        yield trials, times, piece


def _expected(counts, lengths, pool: int, gram):
    """Coincidences that rates make which are smooth over bins, or the same in each trial: of the bins at
    either side, and what trials that are put beside one another have more than these.
    """
    n_trials, time, n_neurons = counts.shape
    n_time = -(-time // pool)
    least = min(n_trials, 5)
    lasting = (-(-lengths // pool)[:, None] > np.arange(n_time)).sum(axis=0)
    beside = n_trials >= least > 2
    course = np.zeros((n_time, n_neurons), np.float32) if beside else None
    lagged, own = np.zeros((3, n_neurons, n_neurons)), 0.0
    lagged[0] = gram
    for _, times, piece in _pooled(counts, lengths, pool):
        for lag in (1, 2):
            before, after = piece[:, :-lag].reshape(-1, n_neurons), piece[:, lag:].reshape(-1, n_neurons)
            lagged[lag] += before.T @ after
        if course is not None:
            course[times.start // pool :][: piece.shape[1]] += piece.sum(axis=0)
    lagged[1:] = (lagged[1:] + lagged[1:].transpose(0, 2, 1)) / 2
    bins = [np.maximum(-(-lengths // pool) - lag, 0).sum() for lag in range(3)]
    lagged *= (bins[0] / np.maximum(bins, 1))[:, None, None]
    found = _middle(*lagged[1:])
    if course is not None:
        weight = np.where(lasting >= least, 1 / np.maximum(lasting - 1, 1), 0)
        own = (weight * course.sum(axis=1)).sum() / max(course.sum(), 1)
        scaled = course * np.sqrt(weight)[:, None].astype(np.float32)
        shuffled = np.stack([scaled[: n_time - lag].T @ scaled[lag:] for lag in range(3)])
        shuffled = (shuffled + shuffled.transpose(0, 2, 1)) / 2 - own * lagged
        found = np.maximum(found, found + shuffled[0] - _middle(*shuffled[1:]))
    return found


def _middle(one, two):
    """A smooth correlogram at lag 0, from lags one and two."""
    return np.maximum(one, (4 * one - two) / 3)


# --- rates


def _same_rates(rates, lengths) -> Bool[np.ndarray, "neuron neuron"]:
    """Pairs that are equal but for scale and shift, or whose own parts are nearly so."""
    levels, steps, enough = _moments(rates, lengths)
    same = np.abs(levels) > 1 - 1e-10
    values, vectors = np.linalg.eigh(levels)
    falling = values[::-1].cumsum() / values.sum()
    # Where few signals make up all others there is no part of its own to compare.
    if np.searchsorted(falling, 0.99) + 1 > len(levels) / 2:
        wide = values > np.clip(len(levels) / 4, 2.2, 4)
        own = levels - (vectors[:, wide] * values[wide]) @ vectors[:, wide].T
        scale = np.sqrt(np.maximum(np.diag(own), 0.01))
        near = np.abs(own / np.outer(scale, scale)) > _CORRELATION
        same |= near & (np.abs(levels) > _CORRELATION) & (np.abs(steps) > _SHARE)
    same &= np.logical_and.outer(enough, enough)
    np.fill_diagonal(same, False)
    return same


def _moments(rates, lengths):
    """Correlations (neuron, neuron) of the signals and of their steps between bins, 0 where constant; and in
    which neurons (neuron,) these are not of a few steps alone.
    """
    n_neurons = rates.shape[2]
    mean = sum(p.sum(axis=(0, 1)) for *_, p in _pieces(rates, lengths, np.float64)) / max(lengths.sum(), 1)
    found, fourth = np.zeros((2, n_neurons, n_neurons)), np.zeros(n_neurons)
    for trials, times, piece in _pieces(rates, lengths, np.float64):
        inside = np.arange(rates.shape[1])[times] < lengths[trials, None]
        piece = piece - mean
        flat = piece[inside]
        step = np.diff(piece, axis=1)[inside[:, 1:]]
        found[0] += flat.T @ flat
        found[1] += step.T @ step
        fourth += (step**4).sum(axis=0)
    scale = np.sqrt(np.diagonal(found, axis1=1, axis2=2))
    least = 1e-12 * np.abs(mean) * np.sqrt(max(lengths.sum(), 1))
    varies = scale > np.maximum(least, np.finfo(float).tiny)
    scale = np.where(varies, scale, np.inf)
    enough = scale[1] ** 4 > _STEPS * fourth
    return *found / scale[:, :, None] / scale[:, None, :], enough & varies.all(axis=0)
