"""Exercises of the chapter *Silencing a subpopulation*."""

import numpy as np

from .judge import same


def ex_si_width(answer):
    """`half_width(m, chosen, z)`: the band of what silencing leaves open, for tanh and a symmetric law."""
    rng = np.random.default_rng(0)
    m, z = rng.normal(size=(300, 2)), rng.normal(size=(6, 2))

    def one_sided(m):
        return (m[:, 0] < 0.3) & (m[:, 1] > -0.5)

    def mirrored(m):
        return np.abs(m[:, 0]) < 0.8

    inside = one_sided(m)
    alone = inside & ~one_sided(-m)
    squares = np.tanh(z @ m.T) ** 2

    def width(mask):
        return np.sqrt((squares * mask).mean(axis=1) / 2)

    clues = {
        "half of the expectation: divide by two before the root": np.sqrt(2) * width(alone),
        "a neuron whose mirror image is silent as well adds nothing": width(inside),
        "those in S whose mirror image is not: not both kinds": width(inside ^ one_sided(-m)),
        "a mean over all neurons, not over the silent ones": width(alone) / np.sqrt(alone.mean()),
        "take the root": width(alone) ** 2,
        "neurons write tanh(m z)": np.sqrt(((z @ m.T) ** 2 * alone).mean(axis=1) / 2),
    }
    same("half width of a one-sided set", answer(m, one_sided, z), width(alone), clues=clues)
    same("half width of a set that is its mirror image", answer(m, mirrored, z), np.zeros(6), atol=1e-9)
