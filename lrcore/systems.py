"""The reference systems: connectivity distributions whose dynamics and conditional means are known."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from . import checks
from .cell_types import CellTypes
from .checks import ArrayLike
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


def heavy_tailed(
    where: str = "both", law: str = "student", *, shape: ArrayLike | None = None
) -> GaussianMixture:
    r"""A bistable system whose weights have heavy tails: Gaussians of random width, with mean square width 1.

    $$(m,n) = w\,x \quad\text{or}\quad (m,n) = \big(x_m,\ \mathbb E[x_n\mid x_m] + w\,\xi\big),\qquad
      x\sim\mathcal N(0,\Sigma)$$

    with $\Sigma$ and $\mathbb E[n\mid m]$ those of `bistable`, and $\xi$ what is left of $x_n$.

    **Arguments**

    - `where`: "both", where p(m) has the tails and the drift is another than the Gaussian's, or "n", where n
      given m alone has them and the drift is the Gaussian's.
    - `law`: "student" ($1/w^2$ is $\chi^2_\nu/(\nu-2)$: Student's t) or "log-normal" ($\log w$ is Gaussian).
    - `shape`: the degrees $\nu>2$, 3 by default; or the standard deviation of $\log w$, 0.6 by default.

    **Returns** a mixture over widths on a grid, some 10 to 100 of them, those with a share of more than
    $10^{-24}$. Its density is that of the law, as the trapezoidal rule on the line converges geometrically.

    **Raises** `ValueError` for another name, for degrees of at most 2, which have no covariance, or above 60.

    >>> p = heavy_tailed("n")
    >>> bool(abs(p.drift(jnp.ones(2)) - bistable().drift(jnp.ones(2))).max() < 1e-3)
    True
    """
    for name, value, known in (("where", where, ("both", "n")), ("law", law, ("student", "log-normal"))):
        if value not in known:
            raise ValueError(f"{name}: expected {known[0]!r} or {known[1]!r}, got {value!r}")
    shape = checks.positive("shape", {"student": 3.0, "log-normal": 0.6}[law] if shape is None else shape)
    if law == "student" and not 2 < shape <= 60:
        raise ValueError(f"shape: expected degrees of freedom above 2 and up to 60, got {shape:g}")
    if law == "student":
        log_w = np.arange(-2.5, 60 / shape, min(0.25, shape**-0.5))
        log_share = -shape * log_w - (shape - 2) / 2 * np.exp(-2 * log_w)
    else:
        log_w = shape * np.arange(-8, 8, 0.25) - shape**2
        log_share = -(((log_w + shape**2) / shape) ** 2) / 2
    shares = np.exp(log_share - log_share.max())
    keep = shares > 1e-24 * shares.sum()
    shares, square = shares[keep] / shares[keep].sum(), np.exp(2 * log_w[keep])
    covariance = np.asarray(bistable().covariances[0], float)
    explained = np.zeros((4, 4))
    if where == "n":
        explained = covariance[:, :2] @ np.linalg.solve(covariance[:2, :2], covariance[:2])
    covariances = explained + square[:, None, None] * (covariance - explained)
    if where == "n":
        covariances[:, :2], covariances[:, :, :2] = covariance[:2], covariance[:, :2]
    return GaussianMixture(shares, np.zeros((len(shares), 4)), covariances)


def excitatory_inhibitory(*, apart: bool = True) -> CellTypes:
    r"""A limit cycle of 80 % excitatory and 20 % inhibitory neurons under Dale's law, with sigmoid rates.

    $z_1$ is the excitation that neurons receive, $-z_2$ the inhibition. m is positive: (2, 1.5) in the mean
    of the excitatory, (1.5, 0.3) of the inhibitory neurons, with biases around -1 and -4. n is around (10, 0)
    and (0, -40). Sample it with `activation="sigmoid"`.

    - `apart`: whether types differ in their embedding. If not, both have that of the excitatory neurons, and
      there is no cycle.

    Source: of the form of Wilson and Cowan (1972), Biophysical Journal 12, 1; the numbers are ours.

    >>> excitatory_inhibitory().labels
    ('E', 'I')
    """
    embedding = {"E": [2.0, 1.5, -1.0], "I": [1.5, 0.3, -4.0] if apart else [2.0, 1.5, -1.0]}
    weights = {"E": [10.0, 0.0], "I": [0.0, -40.0]}
    widths = {"E": [0.2, 0.2, 0.3, 1.0, 1.0], "I": [0.2, 0.04 if apart else 0.2, 0.3, 1.0, 3.0]}
    parts = {
        label: GaussianMixture(
            [1.0], [embedding[label] + weights[label]], [np.diag(widths[label]) ** 2], rank=2, bias=True
        )
        for label in embedding
    }
    return CellTypes(parts, {"E": 0.8, "I": 0.2})


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
