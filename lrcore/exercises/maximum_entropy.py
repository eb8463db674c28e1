"""Exercises of the chapter *Maximum entropy*."""

import numpy as np

from .judge import same


def ex_me_odd(answer):
    """`odd_part(g, m)`: the part of a function that changes its sign with m."""
    rng = np.random.default_rng(0)
    m, mix = rng.normal(size=(8, 3)), rng.normal(size=(3, 3))

    def g(m):
        return (m + 0.7 * m**2 - 0.5 * m**3 + 1) @ mix

    clues = {
        "this is the even part": (g(m) + g(-m)) / 2,
        "the even part is there still: subtract g(-m)": g(m),
        "this is g(-m) with the other sign": -g(-m),
        "all coordinates of m change their sign together": (g(m) - g(m * [-1, 1, 1])) / 2,
        "g(m) - g(-m) has the odd part twice": g(m) - g(-m),
    }
    same("the odd part at eight neurons", answer(g, m), (g(m) - g(-m)) / 2, clues=clues)


def ex_me_scale(answer):
    """`representer_weights(X, Y, rho)`: the ridge solution as a function of the embedding."""
    rng, rho = np.random.default_rng(0), 0.3
    for steps, n in ((9, 5), (4, 11)):
        X, Y = rng.normal(size=(steps, n)), rng.normal(size=(steps, 3))
        eye = np.eye(steps)
        right = np.linalg.solve(X @ X.T / n + rho * n * eye, Y)
        clues = {
            "X X^T is to be divided by the number of neurons": np.linalg.solve(X @ X.T + rho * n * eye, Y),
            "the ridge is rho N here, not rho": np.linalg.solve(X @ X.T / n + rho * eye, Y),
            "rho N^2 is the ridge of the normal equations; here it is rho N": np.linalg.solve(
                X @ X.T / n + rho * n**2 * eye, Y
            ),
            "divide the residual by rho N too": right * rho * n,
            "rho N in the denominator, not rho": right * n,
        }
        same(f"w for {n} neurons", answer(X, Y, rho), right, clues=clues)
