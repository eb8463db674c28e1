"""Exercises of the chapter *From single neurons to populations*."""

import numpy as np

from .judge import same


def ex_sn_count(answer):
    """`one_by_one(r, noise, size, steps)`: identified modes of rates, under independent weights."""
    rng = np.random.default_rng(0)
    r = np.tanh(rng.uniform(-2, 2, size=(90, 2)) @ rng.normal(size=(2, 30)))
    noise, size, steps = 2e-3, 3.5, 5000
    (states, n), values = r.shape, np.linalg.svd(r, compute_uv=False)
    gain = values**2 / (states * n) * size**2 * steps / (n * noise**2)

    def count(gain, least=99.0):
        return int((gain >= least).sum())

    clues = {
        "independent weights: the prior of a mode is sigma_0 over the root of N": count(gain * n),
        "T is the number of steps, not of the states": count(gain * states / steps),
        "singular values of T: the rates over the root of the number of entries": count(gain * states * n),
        "the noise is squared": count(gain * noise),
        "gamma has sigma_0 squared, not sigma_0": count(gain / size),
        "identified is 99, not 1": count(gain, 1.0),
    }
    same("N* of 30 neurons", answer(r, noise, size, steps), count(gain), rtol=1e-6, atol=1e-6, clues=clues)
