"""Paths of states: a Kalman smoother of many trials at once, draws from what it finds, and their weights.

Under a nonlinear drift the smoother's posterior is one of a linearised step. Its draws are weighted by what
that left out.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray


class Posterior(eqx.Module):
    r"""Gaussian posterior of the latents given the observations, a Markov chain in time. Decision dimensions
    first, nuisance after.

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


def smooth(first, moves: tuple, precision: Array, shift: Array) -> Posterior:
    r"""Kalman smoother of $z_{t+1}=A_tz_t+c_t+\varepsilon_t$ with evidence
    $\propto\exp(s_t\cdot z-\frac12z^\top J_tz)$ about each state.

    **Arguments**

    - `first`: mean (dim,) and covariance (dim, dim) of the first state.
    - `moves`: $A$ (time - 1, dim, dim, trial), $c$ (time - 1, dim, trial), covariance of $\varepsilon$ (time
      - 1, dim, dim, trial).
    - `precision`: $J$ (trial, time, dim, dim); `shift`: $s$ (trial, time, dim).

    Source: Särkkä (2013), Bayesian Filtering and Smoothing, sections 4.3 and 8.2.
    """
    # The trial is the last axis inside: states have few dimensions, and all trials then move in one vector
    # instruction.
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


# --- weighted draws, under the step as it is


def weighted_paths(
    posterior: Posterior, moves: tuple, step, q, mask: Array, key: PRNGKeyArray, count: int
) -> tuple[Float[Array, "path trial time dim"], Float[Array, "path trial"]]:
    r"""Draws of each trial's path with importance weights that sum to 1 over the draws.

    The smoother took the step to be $A_tz+c_t$ with noise $Q_t$. A path that it drew has the weight
    $$w\propto\prod_t
      \frac{\mathcal N\big(z_{t+1};f(z_t),Q\big)}{\mathcal N\big(z_{t+1};A_tz_t+c_t,Q_t\big)},$$
    in the decision alone: evidence and nuisance are in both and cancel.

    **Arguments**

    - `moves`: $A$ (trial, time - 1, dim, dim), $c$ (trial, time - 1, dim), $Q_t$ (trial, time - 1, dim, dim)
      of the smoother.
    - `step`: $f$ of states (trial, time - 1, rank); `q`: $Q$ (rank, rank). `mask`: (trial, time - 1), of the
      steps.

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


def expected(posterior: Posterior, moves: tuple, step, z: Array) -> Float[Array, "trial step dim"]:
    r"""$\mathbb E[z_{t+1}\mid z_t,y]$ at states `z` (trial, time, dim): the smoother's, moved by what the
    step is off its linearisation.

    With $K_t=\mathrm{Cov}(z_{t+1}\mid z_t,y)\,Q_t^{-1}$, the share of the step that the observations leave to
    the dynamics, it is $\mu_{t+1}+B_t(z_t-\mu_t)+K_t\big(f(z_t)-A_tz_t-c_t\big)$.
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
