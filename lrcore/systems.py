"""The reference systems: four connectivity distributions whose dynamics and conditional means are known."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .distributions import GaussianMixture
from .network import LowRankNetwork

ALPHA = 0.1
STEPS = 100
EXTENT = 2.4


def quadstable() -> GaussianMixture:
    r"""Four attractors: four clusters at $(m;n)=(\pm0.87,\pm0.87;\pm2.31,\pm2.31)$, all variances 0.25.

    Source: Beiran et al. (2021), Neural Computation 33, 1572; Kim et al. (2026), arXiv:2603.26506.

    >>> quadstable().weights.tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    means = np.concatenate([0.87 * signs, 2.31 * signs], axis=1)
    return GaussianMixture(np.ones(4), means, np.tile(0.25 * np.eye(4), (4, 1, 1)))


def bistable() -> GaussianMixture:
    """Two attractors, from one Gaussian with a non-normal overlap.

    >>> bistable().rank
    2
    """
    return _gaussian([[1.2, 0.0], [0.8, 1.6]])


def limit_cycle() -> GaussianMixture:
    """A limit cycle, from one Gaussian whose overlap rotates.

    >>> limit_cycle().rank
    2
    """
    return _gaussian([[1.6, 0.8], [-0.8, 1.6]])


def ring() -> GaussianMixture:
    """A ring of marginally stable states, from one isotropic Gaussian.

    >>> ring().rank
    2
    """
    return _gaussian([[1.6, 0.0], [0.0, 1.6]])


SYSTEMS: dict[str, Callable[[], GaussianMixture]] = {
    "quadstable": quadstable,
    "bistable": bistable,
    "limit cycle": limit_cycle,
    "ring": ring,
}


def _gaussian(overlap) -> GaussianMixture:
    """Var m = I, Var n = 4 I and Cov(m, n) = overlap, row m, column n."""
    overlap = np.asarray(overlap)
    covariance = np.block([[np.eye(2), overlap], [overlap.T, 4 * np.eye(2)]])
    return GaussianMixture([1.0], np.zeros((1, 4)), covariance[None])


def grid(points: int = 20, extent: float = EXTENT) -> Float[Array, "state 2"]:
    """Latent states on a square grid from `-extent` to `extent`, `points` a side.

    >>> grid(3).shape
    (9, 2)
    """
    axis = jnp.linspace(-extent, extent, points)
    return jnp.stack([a.ravel() for a in jnp.meshgrid(axis, axis, indexing="ij")], axis=1)


def trajectories(
    network: LowRankNetwork, *, points: int = 20, steps: int = STEPS
) -> Float[Array, "trial time 2"]:
    """Noise-free latents of a rank-2 network from a grid of starts, with alpha = dt / tau = 0.1.

    >>> import jax.random as jr
    >>> trajectories(ring().sample(jr.key(0), 100), points=2, steps=10).shape
    (4, 11, 2)
    """
    return network.simulate(grid(points), None, ALPHA * network.tau, steps)
