"""Exercises of the chapter *Same dynamics, different circuits*."""

import numpy as np

from .judge import same


def ex_sd_machine(answer):
    """`unseen(X, xi, epsilon)`: the part of weights that rates do not see."""
    rng, s = np.random.default_rng(0), 50 * np.array([1, 0.4, 0.1, 1e-3, 1e-5])
    left, right = (np.linalg.qr(rng.normal(size=(count, 5)))[0].T for count in (12, 9))
    X, xi = (left.T * s) @ right, rng.normal(size=(9, 2))

    def without(count):
        return xi - right[:count].T @ (right[:count] @ xi)

    clues = {
        "this is the part that X does see; take it away from xi": xi - without(4),
        "singular values below epsilon times the first one count as zero": without(5),
        "nothing is left: remove the vectors of singular values above epsilon only": np.zeros_like(xi),
        "xi as it was: remove what X sees": xi,
    }
    same("the unseen part for epsilon 1e-4", answer(X, xi, 1e-4), without(4), clues=clues)
    clues = {"singular values below epsilon times the first one count as zero": without(4)}
    same("the unseen part for epsilon 0.01", answer(X, xi, 0.01), without(3), clues=clues)


def ex_sd_norm(answer):
    """`best_factor(m, n)`: the gauge that a penalty on the weights chooses."""
    rng = np.random.default_rng(0)
    m, n = rng.normal(size=11), 5 * rng.normal(size=11)
    ratio = np.linalg.norm(m) / np.linalg.norm(n)
    clues = {
        "this is a^2: one more square root": ratio,
        "this is a^4: two more square roots": ratio**2,
        "the inverse: m is divided by a, and n multiplied": 1 / np.sqrt(ratio),
    }
    same("the best factor", answer(m, n), np.sqrt(ratio), rtol=5e-3, atol=0.0, clues=clues)


def ex_sd_softplus(answer):
    """`change_of_drift(phi, m, z)`: what a constant added to the weights does."""
    rng = np.random.default_rng(0)
    m, z = rng.normal(size=(15, 3)), rng.normal(size=(6, 3))
    for name, phi in (("softplus", lambda h: np.logaddexp(h, 0)), ("tanh", np.tanh)):
        rates = phi(z @ m.T)
        clues = {
            "a sum over neurons; the drift is their mean": rates.sum(axis=1),
            "the rates are phi of the potentials m . z": (z @ m.T).mean(axis=1),
            "phi of the mean potential is not the mean of phi": phi((z @ m.T).mean(axis=1)),
        }
        same(f"the change of F_1 with {name}", answer(phi, m, z), rates.mean(axis=1), clues=clues)
