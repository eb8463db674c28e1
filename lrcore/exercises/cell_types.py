"""Exercises of the chapter *Cell types and Dale's law*."""

import numpy as np

from .judge import same


def ex_ct_violation(answer):
    """`wrong_share(m, n, signs)`: the share of the weight that breaks Dale's law."""
    rng = np.random.default_rng(0)
    m, n = rng.normal(size=(2, 9, 2)) + 0.5
    signs = np.where(np.arange(9) < 6, 1, -1)
    weights = m @ n.T
    right = weights * signs

    def share(values):
        return np.maximum(-values, 0).sum() / np.abs(values).sum()

    clues = {
        "signs go along columns, the second axis": share(weights * signs[:, None]),
        "this is the share of the right sign": share(-right),
        "a share of the weight, not of the number of entries": np.mean(right < 0),
        "rows and columns are exchanged: J is m @ n.T": share(weights.T * signs),
    }
    same("the share of the wrong sign", answer(m, n, signs), share(right), clues=clues)
