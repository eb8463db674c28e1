"""Exercises of the chapter *Latent dynamics from spikes*."""

import numpy as np

from .judge import same


def ex_ld_ar(answer):
    """`memory_of(mean, variance, gain)`: the slope of z_{t+1} on z_t expected under a posterior."""
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(20, 30)).cumsum(axis=1) / 3
    variance = rng.uniform(0.5, 1.5, (20, 30)) * 1.15 ** np.arange(30)  # grows: z_t differs from z_{t+1}
    gain = rng.uniform(0.2, 0.9, (20, 29))
    now, later, spread = mean[:, :-1], mean[:, 1:], variance[:, :-1]

    def slope(both, square):
        return both.sum() / square.sum()

    both, square = now * later + gain * spread, now**2 + spread
    clues = {
        "that of the means alone: their errors have variances and covariances too": slope(
            now * later, now**2
        ),
        "the errors of a state and the next are correlated: their covariance is missing": slope(
            now * later, square
        ),
        "the variance is missing in the mean of z_t^2": slope(both, now**2),
        "the covariance is the gain times the variance of z_t": slope(now * later + gain, square),
        "the variance of z_t, not of z_{t+1}": slope(now * later + gain * variance[:, 1:], square),
        "the variance of z_t, not of z_{t+1}, twice": slope(
            now * later + gain * variance[:, 1:], now**2 + variance[:, 1:]
        ),
        "the squares are those of z_t, not of z_{t+1}": slope(both, later**2 + variance[:, 1:]),
        "sum the squares over the same t as the products, up to the last but one": np.sum(both)
        / np.sum(mean**2 + variance),
        "one regression over all paths, not the mean of one for each": np.mean(
            both.sum(axis=1) / square.sum(axis=1)
        ),
    }
    same("the slope", answer(mean, variance, gain), slope(both, square), clues=clues)


def ex_ld_truth(answer):
    """`bits_per_spike(counts, expected, typical)`: the score of expected counts."""
    rng = np.random.default_rng(0)
    typical = np.array([0.3, 0.1, 0.8])
    expected = typical * np.exp(rng.normal(size=(400, 3)))
    counts = rng.poisson(expected)
    gain, excess = counts * np.log(expected / typical), expected - typical
    right = np.sum(gain - excess) / np.log(2) / counts.sum()
    clues = {
        "in nats: divide by log 2": right * np.log(2),
        "a neuron pays for what it is expected to fire more: subtract expected - typical": (
            np.sum(gain) / np.log(2) / counts.sum()
        ),
        "subtract expected - typical, not expected": np.sum(gain - expected) / np.log(2) / counts.sum(),
        "log 2 divides all of it, expected - typical too": (np.sum(gain) / np.log(2) - np.sum(excess))
        / counts.sum(),
        "per spike, not per bin and neuron": np.sum(gain - excess) / np.log(2) / counts.size,
        "per spike, not per bin": np.sum(gain - excess) / np.log(2) / len(counts),
    }
    same("bits per spike", answer(counts, expected, typical), right, clues=clues)


def ex_ld_when(answer):
    """`state_before_end(latents, lengths, bins)`: the state so many bins before the last one."""
    latents = np.random.default_rng(0).normal(size=(7, 12, 3))
    lengths, every = np.array([12, 9, 4, 7, 3, 2, 1]), np.arange(7)
    for bins in (0, 3):
        last = lengths - 1 - bins
        clues = {
            "the last bin has the index lengths - 1": latents[every, np.clip(last + 1, 0, 11)],
            "a trial that is too short gives its first state; a negative index counts from the end": latents[
                every, last
            ],
            "a trial that is too short gives its first state, not its last one": latents[
                every, np.where(last < 0, lengths - 1, last)
            ],
            "a trial that is too short gives its first state; do not count round it": latents[
                every, last % lengths
            ],
            "count back from the trial's end, not from that of the padding": latents[:, 11 - bins],
        }
        right = latents[every, np.maximum(last, 0)]
        same(f"the states {bins} bins before the end", answer(latents, lengths, bins), right, clues=clues)
