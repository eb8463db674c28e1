"""Exercises of the chapter *Low-rank networks*."""

import numpy as np

from .. import systems
from ..distributions import GaussianMixture
from .judge import same


def ex_gain(answer):
    """`gaussian_drift(overlap, z)`: the drift of one Gaussian whose m is white."""
    overlap = np.array([[1.2, -0.5], [0.3, 0.9]])
    z = np.asarray(systems.grid(5), float) + 0.05

    def drift(overlap):
        covariance = np.block([[np.eye(2), overlap], [overlap.T, 4 * np.eye(2)]])
        return GaussianMixture(np.ones(1), np.zeros((1, 4)), covariance[None]).drift(z)

    clues = {
        "the overlap is transposed: z^T Sigma, not Sigma z": drift(overlap.T),
        "without the gain: the rate's slope falls as z grows": z @ overlap,
        "the leak -z belongs to dz/dt, not to F": drift(overlap) - z,
    }
    same("F(z)", answer(overlap, z), drift(overlap), clues=clues)
