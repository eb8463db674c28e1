"""What the tests of recordings share: counts whose neurons differ, and a recording with everything."""

import numpy as np

S, T, N, K = 12, 30, 5, 2
LENGTHS = np.arange(S) % 11 + 20


def counts(seed=0, shape=(S, T, N), rate=0.2):
    """Counts whose neurons differ in rate, as recorded ones do."""
    rng = np.random.default_rng(seed)
    spikes = rng.poisson(rate * np.linspace(0.4, 2.0, shape[2]), shape)
    spikes[0, :2] = [[0], [1]]
    return spikes


def parts(**changes):
    """The arguments of a recording with everything."""
    rng = np.random.default_rng(1)
    found = {
        "spikes": counts(),
        "bin_width": 0.01,
        "lengths": LENGTHS,
        "inputs": rng.poisson(0.3, (S, T, K)),
        "choices": np.arange(S) % 2,
    }
    return found | changes
