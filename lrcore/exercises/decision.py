"""Exercises of the chapter *A decision, recorded*."""

import numpy as np
import scipy.stats

from ..recording import Recording
from .judge import Wrong, numbers, same


def ex_de_stop(answer):
    """`accuracy(steps, bound)`: share of trials that end right when the listener stops at a bound."""
    rng = np.random.default_rng(5)
    steps = rng.poisson(0.5, (400, 30)) - rng.poisson(0.4, (400, 30))
    path = np.cumsum(steps, axis=1)

    def share(bound, ties=0.5, past=0.0):
        hit = np.abs(path) >= bound + past
        end = path[np.arange(400), np.where(hit.any(axis=1), hit.argmax(axis=1), 29)]
        return np.mean(end > 0) + ties * np.mean(end == 0)

    for bound in (3, np.inf):
        clues = {
            "what comes after the bound is reached does not count": share(np.inf),
            "where it ends at 0, the listener guesses: count half of these": share(bound, 0.0),
            "a sum of 0 is no step to the right: count half of these": share(bound, 1.0),
            "the bound is reached at |n_R - n_L| = B, not beyond": share(bound, past=1.0),
            "it stops at either side: take the absolute value": np.mean((path >= bound).any(axis=1)),
        }
        same(f"accuracy at a bound of {bound}", answer(steps, bound), share(bound), clues=clues)


def ex_de_kernel(answer):
    """`kernel(clicks, lengths, choices, thirds)`: log odds by when clicks come."""
    rng = np.random.default_rng(6)
    clicks, lengths = rng.poisson(0.2, (600, 40, 2)), rng.integers(12, 41, 600)

    def by_part(signed, lengths):
        part = np.arange(40) * 3 // lengths[:, None]
        return np.stack([np.where(part == j, signed, 0).sum(axis=1) for j in range(3)], axis=1)

    def fit(x, pull=0.0):
        x, beta = np.column_stack([np.ones(len(x)), x]), np.zeros(4)
        pulled = pull * np.diag([0.0, 1, 1, 1])
        for _ in range(30):
            p = 1 / (1 + np.exp(-x @ beta))
            hessian = (x * (p * (1 - p))[:, None]).T @ x + pulled
            beta += np.linalg.solve(hessian, x.T @ (choices - p) - pulled @ beta)
        return beta

    signed = clicks[:, :, 1] - clicks[:, :, 0]
    x = by_part(signed, lengths)
    choices = (rng.random(600) < 1 / (1 + np.exp(-0.3 - x @ [0.9, 0.5, 0.1]))).astype(int)
    right = fit(x)
    whole = np.full(600, 40)
    inside = np.where(np.arange(40) < lengths[:, None], signed, 0)
    clues = {
        "right minus left; it is the other way round": right * [1, -1, -1, -1],
        "thirds of each trial, not of the array": fit(by_part(inside, whole)),
        "what stands beyond a trial's length is no part of it": fit(
            x + [0, 0, 1] * (signed - inside).sum(axis=1)[:, None]
        ),
        "a penalty shrinks the weights: maximise the likelihood alone": fit(x, 1.0),
    }
    same("beta", answer(clicks, lengths, choices, 3), right, rtol=0.0, atol=0.004, clues=clues)


def ex_de_chance(answer):
    """`beyond_by_chance(counts, choices, limit, shuffles)`: neurons beyond the limit, choices shuffled."""
    rng = np.random.default_rng(7)
    choices = rng.integers(0, 2, 90)
    counts = rng.poisson(3 + 4.0 * choices[:, None] * (np.arange(60) < 40))  # a third is not selective

    def selectivities(choices):
        ranks, n1 = scipy.stats.rankdata(counts, axis=0)[choices == 1].sum(axis=0), choices.sum()
        return (ranks - n1 * (n1 + 1) / 2) / (n1 * (len(choices) - n1)) - 0.5

    chance = np.array([selectivities(rng.permutation(choices)) for _ in range(200)])
    clues = {
        "the choices are not shuffled": np.mean(np.abs(selectivities(choices)) > 0.06),
        "A may be beyond the limit to either side of 1/2": np.mean(chance > 0.06),
        "|A - 1/2| is compared with the limit, not A": np.mean(chance + 0.5 > 0.06),
        "the share beyond the limit, not within": np.mean(np.abs(chance) <= 0.06),
    }
    share = answer(counts, choices, 0.06, 200)
    same("share of neurons", share, np.mean(np.abs(chance) > 0.06), rtol=0.0, atol=0.04, clues=clues)


def ex_de_end(answer):
    """`backwards(spikes, lengths)`: trials turned back to front."""
    rng = np.random.default_rng(8)
    lengths = np.array([3, 6, 1, 5])
    spikes = np.where(np.arange(6)[:, None] < lengths[:, None, None], rng.poisson(3, (4, 6, 2)), 0)
    wanted = np.zeros_like(spikes)
    for s, n in enumerate(lengths):
        wanted[s, :n] = spikes[s, :n][::-1]
    clues = {
        "each trial ends at its own length: turn only the bins before it": spikes[:, ::-1],
        "the axis of time is the second": spikes[::-1],
        "the order of the neurons stays": spikes[:, :, ::-1],
        "nothing is turned": spikes,
    }
    same("spikes from the end", answer(spikes, lengths), wanted, clues=clues)


def _gain(spikes, seconds, width):
    """Mean bits per spike by which the trials on either side beat the mean rate, as in the chapter."""
    counts, index = spikes.sum(axis=1, dtype=float), np.arange(len(spikes))
    near = (np.abs(index[:, None] - index) <= width) - np.eye(len(index))
    mean = (counts.sum(axis=0) - counts) / (seconds.sum() - seconds)
    local = (near @ counts + mean) / (near @ seconds + 1)
    bits = counts * np.log(local / mean) - (local - mean) * seconds
    return np.mean(bits.sum(axis=0) / counts.sum(axis=0)) / np.log(2)


def ex_de_shuffle(answer):
    """`gains_by_chance(recording, width, shuffles)`: mean gain of trials in random orders."""
    rng = np.random.default_rng(9)
    lengths = rng.integers(5, 21, 120)
    rates = 3 * (1 + 0.8 * np.sin(np.linspace(0, 6, 120)[:, None, None] + np.arange(10)))
    spikes = rng.poisson(rates, (120, 20, 10)) * (np.arange(20) < lengths[:, None])[:, :, None]
    recording = Recording(spikes=spikes.astype(np.int32), bin_width=0.05, lengths=lengths)
    got = numbers("gains in random orders", answer(recording, 16, 6), shape=(6,))
    if got.shape == (6,) and np.ptp(got) == 0:
        same("gains in random orders", got[0], 0.0, atol=0.04, clues={"the trials are in order": 0.247})
        raise Wrong("all orders are the same: make the generator once, before the loop")
    # In order, neighbours of these trials are worth a quarter of a bit per spike; in random order nothing.
    clues = {"the trials are in order: does the new recording go to gain?": np.full(6, 0.247)}
    same("gains in random orders", got, np.zeros(6), atol=0.04, clues=clues)
    # Two neighbours of few spikes are a worse guess than the mean, the more so if lengths are not their own.
    lengths = rng.integers(3, 41, 120)
    spikes = rng.poisson(0.15, (120, 40, 10)) * (np.arange(40) < lengths[:, None])[:, :, None]
    recording = Recording(spikes=spikes.astype(np.int32), bin_width=0.05, lengths=lengths)
    orders, seconds = [rng.permutation(120) for _ in range(40)], 0.05 * lengths[:, None]
    wanted = np.mean([_gain(spikes[order], seconds[order], 1) for order in orders])
    clues = {
        "the width is an argument, here 1": _gain(spikes, seconds, 16),
        "spikes and lengths are to be permuted together": np.mean(
            [_gain(spikes[order], seconds, 1) for order in orders]
        ),
    }
    got = numbers("gains", answer(recording, 1, 16)).mean()
    same("mean of 16 gains for a width of 1", got, wanted, rtol=0.0, atol=0.025, clues=clues)
