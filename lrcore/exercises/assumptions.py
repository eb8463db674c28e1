"""Exercises of the chapter *Leak, origin and units: what was assumed*."""

import numpy as np

from .judge import same


def ex_as_miss(answer):
    """`leak_missed(r, z)`: the share of z that no weights make of rates, root of a share of power."""
    rng = np.random.default_rng(0)
    z = rng.uniform(-2, 2, size=(60, 2)) + np.array([1.5, 0.0])
    r = np.logaddexp(z @ rng.normal(size=(2, 4)) - 1, 0)

    def missed(r, z):
        return np.sum((r @ np.linalg.lstsq(r, z, rcond=None)[0] - z) ** 2)

    power, centred = np.sum(z**2), z - z.mean(axis=0)
    constant = missed(np.column_stack([r, np.ones(len(r))]), z)
    each = np.mean([np.sqrt(missed(r, z[:, [k]]) / np.sum(z[:, k] ** 2)) for k in range(2)])
    right = np.sqrt(missed(r, z) / power)
    clues = {
        "take the root": right**2,
        "relative to z: divide by its sum of squares": np.sqrt(missed(r, z)),
        "no network adds a constant: fit without one": np.sqrt(constant / power),
        "relative to z, not to its variance": np.sqrt(missed(r, z) / np.sum(centred**2)),
        "one share of the power of all coordinates, not a mean of shares": each,
        "this is the share that weights do make": np.sqrt(1 - right**2),
    }
    same("the share of z", answer(r, z), right, clues=clues)
