"""What a state-space model learns from the posterior of its states: the M-step, and the gauge of the
latents.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..gauge import symmetric_root
from ..steps import drift_target
from .smoother import Posterior
from .state_space import Observed, StateSpace, expected_scores, per_trial


@eqx.filter_jit
def read_out(model: StateSpace, posterior: Posterior, data: Observed) -> StateSpace:
    """A damped Fisher step in m and d, and the noise of rates."""
    dim = model.m.shape[1]

    def one(total, parts):
        mean, covariance, y, c, mask = parts
        gradient, information, error = expected_scores(model, mean, covariance, y, c)
        gradient, information = mask[:, None] * gradient, mask[:, None] * information
        design = jnp.concatenate([mean, jnp.ones((len(mean), 1))], axis=1)
        pairs = jnp.pad(covariance, ((0, 0), (0, 1), (0, 1))) + design[:, :, None] * design[:, None, :]
        fisher = information.T @ pairs.reshape(len(mean), -1)
        # Stein: E[gradient z] = E[gradient] mean - P m E[information], by the expected curvature.
        spread = (information.T @ covariance.reshape(len(mean), -1)).reshape(-1, dim, dim)
        slope = gradient.T @ design
        slope = slope.at[:, :dim].add(-jnp.einsum("nij,nj->ni", spread, model.m))
        squares = jnp.sum(mask[:, None] * error, axis=0) if not model.counted else 0.0
        return (total[0] + fisher, total[1] + slope, total[2] + squares), None

    n = len(model.d)
    zero = (jnp.zeros((n, (dim + 1) ** 2)), jnp.zeros((n, dim + 1)), jnp.zeros(n))
    parts = (posterior.mean, posterior.covariance, *per_trial(data))
    (fisher, slope, squares), _ = jax.lax.scan(one, zero, parts)
    fisher = fisher.reshape(n, dim + 1, dim + 1)
    # A prior of standard deviation 1 on every weight: nothing where there are spikes, and no blow-up where
    # there are few. A potential of rates may be as large as they are.
    now = jnp.concatenate([model.m, model.d[:, None]], axis=1)
    prior = jnp.ones((n, 1)) if model.counted else 1e-3 / jnp.maximum(data.power, 1.0)[:, None]
    fisher = fisher + prior[..., None] * jnp.eye(dim + 1)[None]
    slope = slope - prior * now
    if not model.bias:
        fisher = fisher.at[:, dim, :].set(0.0).at[:, :, dim].set(0.0).at[:, dim, dim].set(1.0)
        slope = slope.at[:, dim].set(0.0)
    change = jnp.linalg.solve(fisher, slope[..., None])[..., 0]
    size = jnp.linalg.norm(change, axis=1, keepdims=True)
    most = 1.0 if model.counted else jnp.maximum(1.0, jnp.linalg.norm(now, axis=1, keepdims=True))
    new = now + change * jnp.minimum(1.0, most / jnp.maximum(size, 1e-9))
    changed = eqx.tree_at(lambda s: (s.m, s.d), model, (new[:, :dim], new[:, dim]))
    if not model.counted:
        variance = jnp.maximum(squares / data.mask.sum(), 1e-8 * data.power)
        changed = eqx.tree_at(lambda s: s.variance, changed, variance)
    return changed


@eqx.filter_jit
def input_weights(
    model: StateSpace, posterior: Posterior, data: Observed, size: Float[Array, " input"]
) -> Float[Array, "neuron input"]:
    """One Fisher step for b (neuron, input), from 0; the prior has a standard deviation of 1 for inputs of
    that size, and for rates of variance 1.
    """

    def one(total, parts):
        mean, covariance, y, c, mask, u = parts
        gradient, information, _ = expected_scores(model, mean, covariance, y, c)
        pairs = (u[:, :, None] * u[:, None, :]).reshape(len(u), -1)
        kept = mask[:, None]
        return (total[0] + (kept * information).T @ pairs, total[1] + (kept * gradient).T @ u), None

    n, inputs = len(model.d), data.u.shape[-1]
    parts = (posterior.mean, posterior.covariance, *per_trial(data), data.u)
    (fisher, slope), _ = jax.lax.scan(one, (jnp.zeros((n, inputs**2)), jnp.zeros((n, inputs))), parts)
    prior = jnp.diag(size**2)[None] / data.power[:, None, None]
    return jnp.linalg.solve(fisher.reshape(n, inputs, inputs) + prior, slope[..., None])[..., 0]


@eqx.filter_jit
def dynamics(
    model: StateSpace, posterior: Posterior, drawn: tuple[Array, Array], data: Observed, ridge, held, share
) -> StateSpace:
    """n by ridge regression along weighted paths, `share` of it new; noise, memory and start in closed
    form.
    """
    rank, alpha = model.rank, model.alpha
    mask = data.mask[:, 1:]
    count = mask.sum()
    u = data.u[:, :-1]

    def one(total, parts):
        z, weight = parts
        z = z[..., :rank]
        wanted = drift_target(z[:, :-1], z[:, 1:], alpha)
        x = jnp.concatenate([model._hidden(z[:, :-1], u), wanted], axis=-1)
        x = (x * jnp.sqrt(weight[:, None] * mask)[..., None]).reshape(-1, x.shape[-1])
        return total + x.T @ x, None

    j = len(model.n)
    moments, _ = jax.lax.scan(one, jnp.zeros((j + rank, j + rank)), drawn)
    gram, cross = moments[:j, :j], moments[:j, j:]
    n = jnp.linalg.solve(gram + ridge * jnp.trace(gram) / j * jnp.eye(j), cross)
    explained = n.T @ cross
    left = moments[j:, j:] - explained - explained.T + n.T @ gram @ n
    q = alpha**2 * left / count + 1e-6 * jnp.eye(rank)
    here, ahead, gain = posterior.mean[:, :-1], posterior.mean[:, 1:], posterior.gain
    x = here[..., rank:] * mask[..., None]
    covariance = posterior.covariance[:, :-1]
    diagonal = jnp.diagonal(covariance, axis1=-2, axis2=-1)[..., rank:] * mask[..., None]
    next_diagonal = (
        jnp.diagonal(posterior.covariance[:, 1:], axis1=-2, axis2=-1)[..., rank:] * mask[..., None]
    )
    between = jnp.diagonal(gain @ covariance, axis1=-2, axis2=-1)[..., rank:] * mask[..., None]
    x_next = ahead[..., rank:] * mask[..., None]
    both = jnp.sum(x * x_next + between, axis=(0, 1))
    square = jnp.sum(x**2 + diagonal, axis=(0, 1))
    a = jnp.clip(both / jnp.maximum(square, 1e-9), 0.0, 0.999)
    next_square = jnp.sum(x_next**2 + next_diagonal, axis=(0, 1))
    q_nuisance = jnp.maximum((next_square - 2 * a * both + a**2 * square) / count, 1e-5)
    mean0 = posterior.mean[:, 0].mean(axis=0).at[rank:].set(0.0)
    v0 = model.v0
    if not model.same_start:
        off = posterior.mean[:, 0, :rank] - mean0[None, :rank]
        v0 = off.T @ off / len(off) + posterior.covariance[:, 0, :rank, :rank].mean(axis=0)
    n = share * n + (1 - share) * model.n
    new = eqx.tree_at(lambda s: (s.n, s.mean0, s.v0), model, (n, mean0, v0))
    noises = ((q + q.T) / 2, a, q_nuisance)
    before = (model.q, model.a, model.q_nuisance)
    noises = jax.tree.map(lambda old, now: jnp.where(held, old, now), before, noises)
    return eqx.tree_at(lambda s: (s.q, s.a, s.q_nuisance), new, noises)


@eqx.filter_jit
def whiten(model: StateSpace, posterior: Posterior, sites, drawn: tuple[Array, Array], mask: Array):
    """Latents white over all valid bins, each nuisance dimension of variance 1; m and d follow. n and q have
    to be fitted again.
    """
    rank, dim = model.rank, model.m.shape[1]
    weight = mask / mask.sum()
    centre = jnp.einsum("st,std->d", weight, posterior.mean)
    # Without biases there is nothing to take an offset up.
    centre = centre if model.bias else jnp.zeros(dim)
    off = posterior.mean - centre[None, None]
    total = jnp.einsum("st,sti,stj->ij", weight, off, off) + jnp.einsum(
        "st,stij->ij", weight, posterior.covariance
    )
    back = jnp.zeros((dim, dim)).at[:rank, :rank].set(symmetric_root(total[:rank, :rank]))
    own = jnp.sqrt(jnp.diagonal(total)[rank:])
    back = back.at[jnp.arange(rank, dim), jnp.arange(rank, dim)].set(own)
    there = jnp.linalg.inv(back)
    d = model.d + model.m @ centre
    model = eqx.tree_at(lambda s: (s.m, s.d), model, (model.m @ back, d))
    moved = Posterior(off @ there.T, there @ posterior.covariance @ there.T, there @ posterior.gain @ back)
    precision, shift = sites
    shift = (shift - precision @ centre) @ back
    drawn = (drawn[0] - centre[None, None, None]) @ there.T, drawn[1]
    return model, moved, (back.T @ precision @ back, shift), drawn


def rms(difference, mask: Array) -> Float[Array, ""]:
    """Root mean square of a coordinate (trial, time, dim) over the valid bins."""
    return jnp.sqrt(jnp.sum(difference**2 * mask[..., None]) / mask.sum() / difference.shape[-1])
