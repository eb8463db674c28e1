"""Exercises of the chapter *From activity to connectivity in ten minutes*."""

import numpy as np

from .judge import same


def ex_ten_limit_cycle(answer):
    """`drift_along(latents, alpha)`: the drift of which Euler's steps are made."""
    z, alpha = np.random.default_rng(0).normal(size=(4, 6, 3)), 0.25
    before, after = z[:, :-1], z[:, 1:]
    clues = {
        "this is the velocity; F is what is left when the leak -z is taken away": (after - before) / alpha,
        "the leak has the sign -z: add z_t to the velocity": (after - before) / alpha - before,
        "divide all of it by alpha, z_{t+1} too": after - (1 - alpha) / alpha * before,
        "not divided by alpha": after - (1 - alpha) * before,
        "the leak takes alpha of z_t at a step, not all of it": after / alpha,
    }
    same("F of every step", answer(z, alpha), (after - (1 - alpha) * before) / alpha, clues=clues)


def ex_ten_few(answer):
    """`mean_drift(m, n, z)`: the drift of given tanh neurons."""
    rng = np.random.default_rng(0)
    m, n, z = (rng.normal(size=(count, 3)) for count in (17, 17, 8))
    rates = np.tanh(z @ m.T)
    clues = {
        "a sum over neurons; the drift is their mean": rates @ n,
        "divide by the number of neurons, not by that of states or of latents": rates @ n / len(z),
        "the rates are tanh of the potentials m . z": z @ m.T @ n / len(n),
        "the leak -z belongs to dz/dt, not to F": rates @ n / len(n) - z,
        "neurons read with m and write with n: the two are exchanged": np.tanh(z @ n.T) @ m / len(n),
    }
    same("F(z)", answer(m, n, z), rates @ n / len(n), clues=clues)


def ex_ten_units(answer):
    """`rates_in_hz(spikes, lengths, bin_width)`: over trials of unequal length."""
    rng, lengths, width = np.random.default_rng(0), np.array([40, 12, 25]), 0.02
    spikes = rng.poisson([0.1, 0.4], size=(3, 40, 2)) * (np.arange(40) < lengths[:, None])[..., None]
    total = spikes.sum(axis=(0, 1))
    right = total / (lengths.sum() * width)
    each = (spikes.sum(axis=1) / (lengths[:, None] * width)).mean(axis=0)
    clues = {
        "spikes in a bin: divide by its width in seconds": right * width,
        "multiplied by the width of a bin, in place of divided": right * width**2,
        "the empty bins after the end of a trial are counted as time": total / (spikes[..., 0].size * width),
        "a mean of the trials' rates: a short trial counts for as much as a long one": each,
        "in kHz: the width is in seconds already": right / 1000,
    }
    same("rates of two neurons", answer(spikes, lengths, width), right, rtol=1e-4, atol=1e-4, clues=clues)
