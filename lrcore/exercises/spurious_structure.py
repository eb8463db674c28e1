"""Exercises of the chapter *Spurious structure*."""

import numpy as np
from sklearn.mixture import GaussianMixture

from .judge import Wrong, same


def _rates(values):
    """Rates (40, 30) with given singular values, and the directions (30, mode) of the neurons."""
    rng = np.random.default_rng(10)
    left, right = (np.linalg.qr(rng.normal(size=(k, len(values))))[0] for k in (40, 30))
    return (left * values) @ right.T, right


def ex_sp_initial(answer):
    """`free_part(rates, change)`: the part of a change of n that no rate sees."""
    rates, seen = _rates([9, 5, 3, 1, 0.3, 0.1, 1e-5, 1e-6])
    change = np.random.default_rng(11).normal(size=30)
    strong = seen[:, :6]
    wanted = change - strong @ (strong.T @ change)
    clues = {
        "this is the part that the rates see; take it off": change - wanted,
        "directions below the tolerance are free, too": change - seen @ (seen.T @ change),
        "remove the directions of the neurons, once": change - 2 * (change - wanted),
        "nothing is taken off": change,
    }
    same("the free part", answer(rates, change), wanted, rtol=0.0, atol=0.01, clues=clues)

    def without(count):
        return change - seen[:, :count] @ (seen[:, :count].T @ change)

    clues = {
        "eigenvalues are squares of singular values: compare them with the tolerance squared": without(3),
        "the tolerance is an argument, not always 1e-4": without(6),
    }
    got = answer(rates, change, 0.02)
    same("the free part for a tolerance of 0.02", got, without(5), rtol=0.0, atol=0.01, clues=clues)


def ex_sp_size(answer):
    """`mean_squares(rates, n)`: of the identified and the free part of n."""
    rates, seen = _rates([8, 4, 2, 1, 0.1, 1e-4])
    n = np.random.default_rng(12).normal(size=(30, 2)) + 1.5 * seen[:, :2] * np.sqrt(30)
    part = seen[:, :5] @ (seen[:, :5].T @ n)
    identified, free = np.mean(part**2), np.mean((n - part) ** 2)
    clues = {
        "the order is identified, free": (free, identified),
        "the mean of the squares, not their sum": (60 * identified, 60 * free),
        "squares, not their roots": (identified**0.5, free**0.5),
        "directions below the tolerance are free": tuple(
            np.mean(x**2) for x in (seen @ (seen.T @ n), n - seen @ (seen.T @ n))
        ),
    }
    same("mean squares", answer(rates, n), (identified, free), rtol=0.03, clues=clues)


def ex_sp_count(answer):
    """`held_out(n, count)`: held-out log-likelihood per neuron of a mixture."""
    rng = np.random.default_rng(13)
    one = rng.normal(size=(100, 3))
    one[7] = 16 / np.sqrt(3)  # one neuron far out, which costs much where it is left out

    def score(n, count, order, inside=False):
        mixture, part = GaussianMixture(count, n_init=3, random_state=0), order % 5
        fits = [mixture.fit(n[part != k]).score(n[(part == k) ^ inside]) for k in range(5)]
        return np.mean(fits)

    orders = [rng.permutation(100) for _ in range(8)]
    wanted = np.mean([score(one, 1, order) for order in orders])
    clues = {
        "score the neurons that were left out, not those of the fit": score(one, 1, orders[0], True),
        "a mean over neurons, not a sum": 20 * wanted,
    }
    same("one Gaussian", answer(one, 1), wanted, rtol=0.0, atol=0.5, clues=clues)
    three = rng.permutation(np.repeat([[0, 0], [8, 0], [0, 8]], 60, axis=0) + rng.normal(size=(180, 2)))
    gain = answer(three, 3) - answer(three, 1)
    wanted = score(three, 3, np.arange(180)) - score(three, 1, np.arange(180))
    if abs(gain - wanted) > 0.2:
        raise Wrong(f"three clusters gain {wanted:.1f} nats over one; got {gain:.1f}")
