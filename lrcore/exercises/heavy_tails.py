"""Exercises of the chapter *Heavy tails*."""

import numpy as np

from .judge import same


def ex_ht_hill(answer):
    """`hill_index(x, k)`: Hill's estimate from the k farthest samples."""
    rng = np.random.default_rng(0)
    for k in (10, 40):
        x = rng.standard_t(3, 200)
        r = np.sort(np.abs(x))[::-1]
        wanted = 1 / np.log(r[:k] / r[k]).mean()
        clues = {
            "this is 1 / index: turn it over": 1 / wanted,
            "the threshold is the sample behind the k farthest, r[k]": 1 / np.log(r[:k] / r[k - 1]).mean(),
            "samples below 0 are tail too: take distances from 0": _signed(x, k),
            "a mean over k logarithms, not their sum": wanted / k,
        }
        same(f"the index from the {k} farthest of 200", answer(x, k), wanted, clues=clues)


def _signed(x, k):
    x = np.sort(x)[::-1]
    return 1 / np.log(x[:k] / x[k]).mean()
