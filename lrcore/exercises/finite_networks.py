"""Exercises of the chapter *Finite networks*."""

import numpy as np
from scipy.stats import norm

from .judge import same


def ex_fn_error(answer):
    """`standard_error(m, n, z)`: the standard error of the drift of one network."""
    rng = np.random.default_rng(0)
    m = rng.normal(size=(400, 3)) + 0.5
    n, z = 2 * m + rng.normal(size=(400, 3)), np.array([0.5, 1.0, -0.3])
    terms = n * np.tanh(m @ z)[:, None]
    spread, root = terms.std(axis=0, ddof=1), np.sqrt(400)
    clues = {
        "this is the spread of one term; that of a mean of N is smaller by the root of N": spread,
        "divide by the root of N, not by N": spread / 400,
        "this is a variance: take the root": (spread / root) ** 2,
        "the spread is about the mean of the terms, not about zero": np.sqrt((terms**2).mean(axis=0)) / root,
        "the rates are missing: the terms are n times tanh(m.z)": n.std(axis=0, ddof=1) / root,
    }
    same("the standard error", answer(m, n, z), spread / root, rtol=5e-3, clues=clues)


def ex_how_large(answer):
    """`neurons_needed(overlap, share)`: the size from which on eigenvalues are real."""
    overlap = np.array([[1.1, 0.0], [0.5, 1.7]])
    gap, square = overlap[1, 1] - overlap[0, 0], overlap[0, 0] ** 2 + overlap[1, 1] ** 2

    def size(share, own=8 + square, off=64 * overlap[1, 0] ** 2, power=2):
        return (norm.ppf(share) * np.sqrt(4 * gap**2 * own + off) / gap**2) ** power

    for share in (0.9, 0.995):
        clues = {
            "this is the root of N: square it": size(share, power=1),
            "one side only counts: the quantile of `share`, not of (1 + share) / 2": size((1 + share) / 2),
            "by Isserlis' formula Var(m_i n_i) is 4 plus the square of the overlap": size(share, own=8),
            "the off-diagonal overlap moves the discriminant too": size(share, off=0.0),
            "Var n is 4": size(share, own=2 + square, off=16 * overlap[1, 0] ** 2),
        }
        same(f"N for a share of {share}", answer(overlap, share), size(share), rtol=5e-3, clues=clues)
