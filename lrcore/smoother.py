"""The Gaussian posterior of a path of states: a Kalman smoother of many trials at once, and draws from what it finds."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray


class Posterior(eqx.Module):
    r"""Gaussian posterior of the latents given the observations, a Markov chain in time. Decision dimensions first, nuisance after.

    - `mean`: (trial, time, dim); `covariance`: (trial, time, dim, dim).
    - `gain`: (trial, time - 1, dim, dim), $B_t$ in $\mathbb E[z_{t+1}\mid z_t,y]=\mu_{t+1}+B_t(z_t-\mu_t)$.
    """

    mean: Float[Array, "trial time dim"]
    covariance: Float[Array, "trial time dim dim"]
    gain: Float[Array, "trial step dim dim"]

    def following(self) -> Float[Array, "trial step dim dim"]:
        """Covariance of a state given the one before it and the observations."""
        before = self.covariance[:, :-1]
        return self.covariance[:, 1:] - self.gain @ before @ jnp.swapaxes(self.gain, -1, -2)

    def sample(self, key: PRNGKeyArray) -> Float[Array, "trial time dim"]:
        """One path of each trial."""
        return _paths(self, key)


def smooth(first, moves, precision, shift) -> Posterior:
    r"""Kalman smoother of $z_{t+1}=A_tz_t+c_t+\varepsilon_t$ with evidence $\propto\exp(s_t\cdot z-\frac12z^\top J_tz)$ about each state.

    **Arguments**

    - `first`: mean (dim,) and covariance (dim, dim) of the first state.
    - `moves`: $A$ (time - 1, dim, dim, trial), $c$ (time - 1, dim, trial), covariance of $\varepsilon$ (time - 1, dim, dim, trial).
    - `precision`: $J$ (trial, time, dim, dim); `shift`: $s$ (trial, time, dim).

    Source: Särkkä (2013), Bayesian Filtering and Smoothing, sections 4.3 and 8.2.
    """
    # The trial is the last axis inside: states have few dimensions, and all trials then move in one vector instruction.
    precision, shift = precision.transpose(1, 2, 3, 0), shift.transpose(1, 2, 0)
    trials = shift.shape[-1]

    def condition(m, p, j, s):
        # Through the root of p: what is inverted has no eigenvalue below one, however small p is.
        root = cholesky(p)
        inner = _eye(p) + _mm(_t(root), _mm(j, root))
        p = _mm(root, _mm(inverse(inner), _t(root)))
        return m + _mv(p, s - _mv(j, m)), p

    def forward(state, now):
        m, p = state
        a, offset, noise, j, s = now
        ahead, spread = _mv(a, m) + offset, _mm(a, _mm(p, _t(a))) + noise
        return condition(ahead, spread, j, s), (m, p, ahead, spread)

    start = (jnp.broadcast_to(x[..., None], (*x.shape, trials)) for x in first)
    state = condition(*start, precision[0], shift[0])
    last, (m, p, ahead, spread) = jax.lax.scan(forward, state, (*moves, precision[1:], shift[1:]))

    def backward(state, now):
        m_next, p_next = state
        m, p, ahead, spread, a = now
        back = _mm(_mm(p, _t(a)), inverse(spread))
        mean = m + _mv(back, m_next - ahead)
        cov = p + _mm(back, _mm(p_next - spread, _t(back)))
        cov = (cov + _t(cov)) / 2 + 1e-8 * _eye(cov)
        gain = _mm(_t(_mm(back, p_next)), inverse(cov))
        return (mean, cov), (mean, cov, gain)

    _, (means, covariances, gains) = jax.lax.scan(
        backward, last, (m, p, ahead, spread, moves[0]), reverse=True
    )
    means = jnp.concatenate([means, last[0][None]]).transpose(2, 0, 1)
    covariances = jnp.concatenate([covariances, last[1][None]]).transpose(3, 0, 1, 2)
    return Posterior(means, covariances, gains.transpose(3, 0, 1, 2))


# --- small matrices (dim, dim, ...): LAPACK, called for each of many thousands, would take most of the time


def cholesky(a):
    """The lower root of positive definite matrices (dim, dim, ...)."""
    dim = len(a)
    rows = [[jnp.zeros_like(a[0, 0])] * dim for _ in range(dim)]
    for i in range(dim):
        for j in range(i + 1):
            left = a[i, j] - sum(rows[i][k] * rows[j][k] for k in range(j))
            rows[i][j] = jnp.sqrt(jnp.maximum(left, 1e-12)) if i == j else left / rows[j][j]
    return jnp.stack([jnp.stack(row) for row in rows])


def inverse(a):
    """The inverse of positive definite matrices (dim, dim, ...), by sweeping one row after another."""
    own = _eye(a)
    for k in range(len(a)):
        pivot = a[k, k]
        row = a[k] / pivot[None]
        a = a - a[:, k][:, None] * row[None]
        here = own[k] > 0
        a = jnp.where(here[None], row[:, None], jnp.where(here[:, None], row[None], a))
        a = jnp.where(here[None] & here[:, None], -1 / pivot[None, None], a)
    return -a


def _mm(a, b):
    return jnp.sum(a[:, :, None] * b[None], axis=1)


def _mv(a, x):
    return jnp.sum(a * x[None], axis=1)


def _t(a):
    return jnp.swapaxes(a, 0, 1)


def _eye(a):
    return jnp.eye(len(a)).reshape(len(a), len(a), *(1,) * (a.ndim - 2))


# --- draws


@eqx.filter_jit
def _paths(posterior: Posterior, key):
    noise = jr.normal(key, posterior.mean.shape)
    first = posterior.mean[:, 0] + (_root(posterior.covariance[:, 0]) @ noise[:, 0, :, None])[..., 0]
    kicks = (_root(posterior.following()) @ noise[:, 1:, :, None])[..., 0]

    def step(z, now):
        mean, ahead, gain, kick = now
        new = ahead + (gain @ (z - mean)[..., None])[..., 0] + kick
        return new, new

    parts = (posterior.mean[:, :-1], posterior.mean[:, 1:], posterior.gain, kicks)
    _, rest = jax.lax.scan(step, first, jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), parts))
    return jnp.concatenate([first[:, None], jnp.swapaxes(rest, 0, 1)], axis=1)


def _root(covariance):
    """Lower roots of (..., dim, dim)."""
    return jnp.moveaxis(cholesky(jnp.moveaxis(covariance, (-2, -1), (0, 1))), (0, 1), (-2, -1))
