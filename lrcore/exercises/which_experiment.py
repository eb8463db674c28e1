"""Exercises of the chapter *Which experiment next?*"""

import numpy as np

from .judge import same


def ex_we_left(answer):
    """`left(C, T, R, noise)`: variance of a prediction that an experiment leaves, summed over its rows."""
    rng = np.random.default_rng(0)
    root, target, rows = rng.normal(size=(30, 30)), rng.normal(size=(4, 30)), rng.normal(size=(7, 30))
    prior, noise = root @ root.T / 30, 0.6

    def wanted(t, r, s, c=prior):
        seen = r @ c @ r.T + s**2 * np.eye(len(r))
        return np.trace(t @ c @ t.T - t @ c @ r.T @ np.linalg.solve(seen, r @ c @ t.T))

    whole = np.trace(target @ prior @ target.T)
    right = wanted(target, rows, noise)
    clues = {
        "that is what it takes away: what is left is the rest": whole - right,
        "noise is a standard deviation: its square is the variance": wanted(target, rows, np.sqrt(noise)),
        "that is without noise": wanted(target, rows, 0.0),
        "that is before the experiment": whole,
        "weights are not independent before the experiment: C": wanted(target, rows, noise, np.eye(30)),
        "a sum over the rows of T, not a mean": right / 4,
    }
    same("variance left of four predictions", answer(prior, target, rows, noise), right, clues=clues)
    twice = np.concatenate([rows, rows])
    same(
        "with each drift measured twice",
        answer(prior, target, twice, noise),
        wanted(target, rows, noise / np.sqrt(2)),
        clues={"rows that stand twice are no error: what is inverted has the noise in it": right},
    )
