"""Paths of states under a nonlinear drift: draws from the Gaussian posterior, weighted by what its linearisation left out."""

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from .smoother import Posterior, cholesky, inverse


def weighted(
    posterior: Posterior, moves, step, q, mask, key: PRNGKeyArray, count: int
) -> tuple[Float[Array, "path trial time dim"], Float[Array, "path trial"]]:
    r"""Draws of each trial's path with importance weights that sum to 1 over the draws.

    The smoother took the step to be $A_tz+c_t$ with noise $Q_t$. A path that it drew has the weight
    $$w\propto\prod_t\frac{\mathcal N\big(z_{t+1};f(z_t),Q\big)}{\mathcal N\big(z_{t+1};A_tz_t+c_t,Q_t\big)},$$
    in the decision alone: evidence and nuisance are in both and cancel.

    **Arguments**

    - `moves`: $A$ (trial, time - 1, dim, dim), $c$ (trial, time - 1, dim), $Q_t$ (trial, time - 1, dim, dim) of the smoother.
    - `step`: $f$ of states (trial, time - 1, rank); `q`: $Q$ (rank, rank). `mask`: (trial, time - 1), of the steps.

    Source: importance sampling from a Gaussian approximation, Shephard & Pitt (1997), Biometrika 84, 653.
    """
    a, offset, noise = moves
    rank = len(q)
    noise = noise[..., :rank, :rank]
    exact, linear = _precision(q), _precision(noise)
    volume = _log_det(noise) - _log_det(q)

    def one(key):
        z = posterior.sample(key)
        now, ahead = z[:, :-1, :rank], z[:, 1:, :rank]
        off = ahead - step(now)
        off_linear = ahead - (a[..., :rank, :rank] @ now[..., None])[..., 0] - offset[..., :rank]
        log = volume + _square(off_linear, linear) - _square(off, exact)
        return z, jnp.sum(log * mask, axis=1) / 2

    z, log = jax.lax.map(one, jr.split(key, count))
    return z, jax.nn.softmax(log, axis=0)


def resampled(
    paths: Float[Array, "path trial ..."], weights: Float[Array, "path trial"], key: PRNGKeyArray, count: int
) -> Float[Array, "draw trial ..."]:
    """`count` paths of each trial without weights, by systematic resampling.

    >>> paths, weights = jnp.array([[1.0], [2.0]]), jnp.array([[0.25], [0.75]])
    >>> sorted(resampled(paths, weights, jr.key(0), 4)[:, 0].tolist())
    [1.0, 2.0, 2.0, 2.0]
    """
    start = jr.uniform(key, (1, weights.shape[1]))
    at = (jnp.arange(count)[:, None] + start) / count
    chosen = jnp.sum(at[:, None] > jnp.cumsum(weights, axis=0)[None], axis=1)
    chosen = jnp.minimum(chosen, len(paths) - 1)
    return paths[chosen, jnp.arange(weights.shape[1])[None]]


def expected(posterior: Posterior, moves, step, z) -> Float[Array, "trial step dim"]:
    r"""$\mathbb E[z_{t+1}\mid z_t,y]$ at states `z` (trial, time, dim): the smoother's, moved by what the step is off its linearisation.

    With $K_t=\mathrm{Cov}(z_{t+1}\mid z_t,y)\,Q_t^{-1}$, the share of the step that the observations leave to the dynamics,
    it is $\mu_{t+1}+B_t(z_t-\mu_t)+K_t\big(f(z_t)-A_tz_t-c_t\big)$.
    """
    a, offset, noise = moves
    away = (z - posterior.mean)[:, :-1, :, None]
    now = step(z[:, :-1])
    rank = now.shape[-1]
    off = now - ((a @ z[:, :-1, :, None])[..., 0] + offset)[..., :rank]
    share = (posterior.following() @ _precision(noise))[..., :rank]
    return posterior.mean[:, 1:] + (posterior.gain @ away)[..., 0] + (share @ off[..., None])[..., 0]


def _precision(covariance):
    """Inverses of (..., dim, dim)."""
    return jnp.moveaxis(inverse(jnp.moveaxis(covariance, (-2, -1), (0, 1))), (0, 1), (-2, -1))


def _log_det(covariance):
    roots = cholesky(jnp.moveaxis(covariance, (-2, -1), (0, 1)))
    return 2 * sum(jnp.log(roots[i, i]) for i in range(len(roots)))


def _square(off, precision):
    return jnp.sum(off * (precision @ off[..., None])[..., 0], axis=-1)
