"""Exercises of the chapter *Comparing connectivities*."""

import numpy as np

from .judge import Wrong, same


def ex_co_check(answer):
    """`slopes(a, v, sd, alpha)`: slopes of Y on one noisy estimate of the state, and on another one."""
    a, v, sd, alpha = 0.8, 2.0, 0.6, 0.2

    def slope(error, shared):
        return (a * v - (1 - alpha) / alpha * shared) / (v + error)

    s = sd**2
    clues = {
        "the other estimate has an error of its own: draw it anew": (slope(s, s), slope(s, s)),
        "Y holds the error of the first estimate, also with the minus sign": (slope(s, 0), slope(s, 0)),
        "the error of the next state is drawn anew": ((a * v + s) / (v + s), slope(s, 0)),
        "sd is a standard deviation, not a variance": (slope(sd, sd), slope(sd, 0)),
        "both estimates are noisy: regress on them, not on the state": (slope(0, 0), slope(0, 0)),
        "the other order: one estimate first": (slope(s, 0), slope(s, s)),
        "divide by alpha: Y is the drift, not the step": (alpha * slope(s, s), alpha * slope(s, 0)),
    }
    same("the slopes", answer(a, v, sd, alpha), (slope(s, s), slope(s, 0)), rtol=0.0, atol=0.02, clues=clues)


def ex_co_permute(answer):
    """`after_permuting(m, n, order)`: entries of J in order of size, and the overlap, of permuted n."""
    rng = np.random.default_rng(4)
    m, order = rng.normal(size=(30, 2)), rng.permutation(30)
    n = m @ np.array([[1.0, -2.0], [0.5, 1.0]]) + 0.3 * rng.normal(size=m.shape)
    result = answer(m, n, order)
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise Wrong("expected two results, the entries of J and the overlap: `return entries, overlap`")
    entries, overlap = result
    J = m @ n.T / 30
    clues = {
        "in order of size, the smallest first": np.sort(J, axis=None)[::-1],
        "J has 1/N": np.sort(J, axis=None) * 30,
        "all N^2 entries in one order, not row by row": np.sort(J, axis=1).ravel(),
    }
    same("the entries of J", entries, np.sort(J, axis=None), clues=clues)
    wanted = m.T @ n[order] / 30
    clues = {
        "each m still has its own n: permute n, and leave m": m.T @ n / 30,
        "the overlap is a mean over neurons: divide by N": wanted * 30,
        "the overlap is m^T n; it is transposed": wanted.T,
    }
    same("the overlap", overlap, wanted, clues=clues)
