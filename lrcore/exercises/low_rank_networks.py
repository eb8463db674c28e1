"""Exercises of the chapter *Low-rank networks*."""

import numpy as np

from .. import systems
from ..distributions import GaussianMixture
from .judge import Wrong, numbers, same


def ex_gain(answer):
    """`gaussian_drift(overlap, z)`: the drift of one Gaussian whose m is white."""
    overlap = np.array([[1.2, -0.5], [0.3, 0.9]])
    z = np.asarray(systems.grid(5), float) + 0.05

    def drift(overlap):
        covariance = np.block([[np.eye(2), overlap], [overlap.T, 4 * np.eye(2)]])
        return GaussianMixture(np.ones(1), np.zeros((1, 4)), covariance[None]).drift(z)

    xi, weight = np.polynomial.hermite_e.hermegauss(96)
    slope = 1 / np.cosh(np.multiply.outer(np.linalg.norm(z, axis=1), xi)) ** 2 @ weight / weight.sum()
    clues = {
        "the formula is right, the quadrature too coarse where x is large: see hint 2": slope[:, None]
        * (z @ overlap),
        "the overlap is transposed: z^T Sigma, not Sigma z": drift(overlap.T),
        "without the gain: the rate's slope falls as z grows": z @ overlap,
        "the leak -z belongs to dz/dt, not to F": drift(overlap) - z,
    }
    same("F(z)", answer(overlap, z), drift(overlap), clues=clues)


def ex_outside(answer):
    """`split(x, m)`: potentials as a latent part and what is orthogonal to it."""
    rng = np.random.default_rng(0)
    m, x = rng.normal(size=(30, 3)) @ np.diag([1.0, 2.0, 0.5]) + 0.5, rng.normal(size=(5, 30))
    z = np.linalg.solve(m.T @ m, m.T @ x.T).T
    clues = {
        "m^T x / N is z only where m is white: solve a least-squares problem": x @ m / 30,
        "m^T x is not yet divided by m^T m: solve a least-squares problem": x @ m,
    }
    got = answer(x, m)
    if not isinstance(got, tuple | list) or len(got) != 2:
        raise Wrong("expected two things, `return z, rest`")
    same("z", got[0], z, clues=clues)
    same(
        "the rest", got[1], x - z @ m.T, clues={"this is M z, the part inside: the rest is x - M z": z @ m.T}
    )


def ex_whiten(answer):
    """`whitening(m)`: any gauge in which the mean square of m is the identity."""
    m = np.random.default_rng(0).normal(size=(200, 3)) @ np.array([[1, 0, 0], [1, 2, 0], [0, 0.3, 0.5]]) + 0.5
    square = m.T @ m / len(m)
    gauge = numbers("A", answer(m), shape=(3, 3))
    if gauge.shape != (3, 3):
        raise Wrong(f"A: expected the shape (3, 3) for three latents, got {gauge.shape}")
    if abs(np.linalg.det(gauge)) < 1e-9:
        raise Wrong("A has no inverse")

    inverse = np.linalg.inv(gauge)
    after = inverse.T @ square @ inverse
    slips = {  # whichever root was taken
        "A has C = A^T A; yours has C = A A^T: transpose it": gauge @ gauge.T - square,
        "this turns m_i into A m_i, a gauge into A^-T m_i: invert and transpose": gauge @ square @ gauge.T
        - np.eye(3),
        "this turns m_i into A^T m_i, a gauge into A^-T m_i: invert it": gauge.T @ square @ gauge - np.eye(3),
        "divide by the number of neurons: a mean, not a sum": 200 * after - np.eye(3),
        "the mean square of m, without its mean taken off": gauge.T @ gauge - np.cov(m.T),
    }
    if not np.allclose(after, np.eye(3), atol=5e-3):
        for slip, left in slips.items():
            if np.allclose(left, 0, atol=5e-3 * np.abs(square).max()):
                raise Wrong(slip)
    same("the mean square of A^-T m", after, np.eye(3), atol=5e-3)
