"""A low-rank state-space model of spikes or rates, and the posterior of its states: the E-step."""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..activation import Activation, resolve
from ..checks import ArrayLike
from ..recording import Recording
from .smoother import Posterior, cholesky, expected, inverse, resampled, smooth, weighted_paths
from .unit import Unit, mean_and_spread

# Nodes and weights of the expectation over a normal potential, exact to order five.
_NODES = ((0.0, 2 / 3), (np.sqrt(3.0), 1 / 6), (-np.sqrt(3.0), 1 / 6))

# Gaussian evidence about each state: precision (trial, time, dim, dim) and shift (trial, time, dim).
Sites = tuple[Array, Array]


class StateSpace(eqx.Module):
    r"""Low-rank dynamics seen through spikes or rates.

    $$z_{t+1}=(1-\alpha)z_t+\alpha F(z_t,u_{t-\ell})+\varepsilon_t,\qquad x_{t+1}=a\,x_t+\eta_t,\qquad
      h_{it}=m_i\cdot(z_t,x_t)+d_i$$
    $$y_{it}\sim\mathrm{Poisson}\big(C_{it}\,\phi(h_{it})/\phi(0)\big)\quad\text{or}\quad
      y_{it}\sim\mathcal N\big(\phi(h_{it}),s_i^2\big)$$

    with $F(z,u)=\sum_jn_j\tanh(w_j\cdot z+v_j\cdot u+c_j)$ of fixed random w, v and c, and nuisance x that
    has no part in the decision.

    - `m` (neuron, dim), `d` (neuron,), `variance` (neuron,) $s_i^2$ of rates.
    - `n` (feature, rank), `features` (feature, rank + input + 1); `q` (rank, rank), covariance of
      $\varepsilon$.
    - `a`, `q_nuisance`: (nuisance,). `mean0`: (dim,), mean of the first state; `v0`: (rank, rank), its
      covariance.
    """

    m: Float[Array, "neuron dim"]
    d: Float[Array, " neuron"]
    variance: Float[Array, " neuron"]
    n: Float[Array, "feature rank"]
    features: Float[Array, "feature embedding"]
    q: Float[Array, "rank rank"]
    a: Float[Array, " nuisance"]
    q_nuisance: Float[Array, " nuisance"]
    mean0: Float[Array, " dim"]
    v0: Float[Array, "rank rank"]
    alpha: float = eqx.field(static=True)
    lag: int = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)
    counted: bool = eqx.field(static=True)
    bias: bool = eqx.field(static=True)
    same_start: bool = eqx.field(static=True)

    def __repr__(self) -> str:
        seen = "counts" if self.counted else "rates"
        return (
            f"StateSpace: {seen} of {len(self.d):,} neurons, rank {self.rank} and {len(self.a)} of nuisance; "
            f"{len(self.n)} random units, alpha {self.alpha:.3g}, lag {self.lag}"
        )

    @property
    def rank(self) -> int:
        """R, of the decision."""
        return self.q.shape[0]

    def drift(self, z: Array, u: Array | None = None) -> Float[Array, "... rank"]:
        """F at states (..., rank) and inputs (..., input), 0 by default."""
        if u is None:
            u = jnp.zeros((*z.shape[:-1], self.features.shape[1] - self.rank - 1))
        return self._hidden(z, u) @ self.n

    def _hidden(self, z, u):
        ones = jnp.ones((*z.shape[:-1], 1))
        return jnp.tanh(jnp.concatenate([z, u, ones], axis=-1) @ self.features.T)

    def _step(self, z, u):
        return (1 - self.alpha) * z + self.alpha * self.drift(z, u)


class Observed(eqx.Module):
    """What the model sees of a recording.

    - `y` (trial, time, neuron), counts or rates; `c`: $C_{it}$, the same or (1, 1, 1); `u` (trial, time,
      input), late by the lag.
    - `mask` (trial, time), 1 in valid bins; `seen` (neuron,), 1 for neurons that are observed.
    - `power` (neuron,), variance of rates y, and 1 for counts: what is weak or small is so beside it.
    """

    y: Float[Array, "trial time neuron"]
    c: Float[Array, "..."]
    u: Float[Array, "trial time input"]
    mask: Float[Array, "trial time"]
    seen: Float[Array, " neuron"]
    power: Float[Array, " neuron"]


def positive_baseline(baseline: ArrayLike | None, recording: Recording) -> np.ndarray:
    """The baseline (trial, time, neuron), by default each neuron's mean; refused where it is not positive."""
    if baseline is None:
        baseline = recording.mean_rates * recording.bin_width
    baseline = np.asarray(baseline, np.float32)
    shape = recording.counts.shape
    if baseline.ndim == 1:
        baseline = np.broadcast_to(baseline, shape)
    if baseline.shape != shape:
        raise ValueError(
            f"baseline: expected the shape {shape} of (trial, time, neuron), got {baseline.shape}"
        )
    inside = baseline[recording.mask]
    if not (np.isfinite(inside) & (inside > 0)).all():
        bad = int((~(np.isfinite(inside) & (inside > 0))).sum())
        raise ValueError(
            f"baseline: expected positive counts a bin, got {bad:,} others: leave silent neurons out with "
            "recording.drop_constant()"
        )
    return np.where(recording.mask[..., None], baseline, 1.0).astype(np.float32)


def inputs_of(recording: Recording, lag: int) -> Float[Array, "trial time input"]:
    """What acts on the step from t to t+1: the inputs of t - lag."""
    inputs = recording.inputs
    if inputs is None:
        inputs = np.zeros((*recording.mask.shape, 0), np.float32)
    late = np.zeros_like(inputs)
    late[:, lag:] = inputs[:, : inputs.shape[1] - lag]
    return jnp.asarray(late)


def observed(
    recording: Recording,
    baseline: ArrayLike | None,
    lag: int,
    neurons: ArrayLike | None = None,
    unit: Unit | None = None,
) -> Observed:
    """A recording as the model sees it; `neurons` is a mask (neuron,) of those that are observed, all by
    default; `unit`: of the model's rates, by default that of the recording.
    """
    signal = recording.signal
    y = signal if unit is None else np.where(recording.mask[..., None], unit.inside(signal), 0)
    power = np.ones(recording.n_neurons)
    if recording.rates is not None:
        power = mean_and_spread(y, recording.lengths)[1] ** 2
    return Observed(
        y=jnp.asarray(y, jnp.float32),
        c=jnp.ones((1, 1, 1)) if baseline is None else jnp.asarray(baseline),
        u=inputs_of(recording, lag),
        mask=jnp.asarray(recording.mask, jnp.float32),
        seen=jnp.ones(recording.n_neurons) if neurons is None else jnp.asarray(neurons, jnp.float32),
        power=jnp.asarray(power, jnp.float32),
    )


def input_size(recording: Recording) -> Float[np.ndarray, " input"]:
    """What is one of each input: the median size where it is not 0. Of clicks that are counted it is 1."""
    inputs = np.zeros((0, 0)) if recording.inputs is None else np.abs(recording.inputs[recording.mask])
    return np.array([np.median(one[one > 0]) if one.any() else 1.0 for one in inputs.T])


# --- the observations


def relative_activation(model: StateSpace) -> Callable:
    r"""$\phi(h)/\phi(0)$ for spikes, $\phi(h)$ for rates."""
    phi = resolve(model.activation)
    at_zero = phi(jnp.zeros(())) if model.counted else 1.0
    return lambda h: phi(h) / at_zero


def _spread(covariance, m):
    """Variance of the potentials, (..., neuron), without an intermediate of (..., neuron, dim)."""
    pairs = (m[:, :, None] * m[:, None, :]).reshape(len(m), -1)
    return covariance.reshape(*covariance.shape[:-2], -1) @ pairs.T


def expected_scores(model: StateSpace, mean, covariance, y: Array, c):
    """Expected gradient and Fisher information of a potential, (time, neuron) each, and the expected error
    squared.
    """
    phi = relative_activation(model)
    centre = mean @ model.m.T + model.d[None]
    deviation = jnp.sqrt(jnp.maximum(_spread(covariance, model.m), 0.0))
    gradient = information = error = 0.0
    for node, weight in _NODES:
        h = centre + node * deviation
        rate, slope = jax.jvp(phi, (h,), (jnp.ones_like(h),))
        if model.counted:
            ratio = slope / jnp.maximum(rate, 1e-6)
            gradient += weight * (y - c * rate) * ratio
            information += weight * c * slope * ratio
        else:
            gradient += weight * (y - rate) * slope / model.variance[None]
            information += weight * slope**2 / model.variance[None]
            error += weight * (y - rate) ** 2
    return gradient, information, error


@eqx.filter_jit
def expected_rates(model: StateSpace, posterior: Posterior) -> Float[Array, "trial time neuron"]:
    """Expectation of the relative rates under a posterior."""

    def one(pair):
        mean, covariance = pair
        centre = mean @ model.m.T + model.d[None]
        deviation = jnp.sqrt(jnp.maximum(_spread(covariance, model.m), 0.0))
        return sum(weight * relative_activation(model)(centre + node * deviation) for node, weight in _NODES)

    return jax.lax.map(one, (posterior.mean, posterior.covariance))


def per_trial(data: Observed) -> tuple:
    """Observations, baseline and mask, a trial in each row."""
    return data.y, jnp.broadcast_to(data.c, data.y.shape), data.mask


# --- the posterior of the states


def no_sites(posterior: Posterior) -> Sites:
    """No evidence yet."""
    return jnp.zeros_like(posterior.covariance), jnp.zeros_like(posterior.mean)


def gaussian_sites(model: StateSpace, posterior: Posterior, data: Observed) -> Sites:
    r"""The observations of each bin as a Gaussian in z, $\propto\exp(s_t\cdot z-\frac12z^\top J_tz)$.

    $$J_t=\sum_i\mathbb E[I_{it}]\,m_im_i^\top,\qquad
      s_t=\sum_i\mathbb E[\partial_h\log p(y_{it}\mid h_{it})]\,m_i+J_t\mu_t$$

    with expectations under the posterior so far and $I$ the Fisher information of a potential.

    **Returns** $J$ (trial, time, dim, dim) and $s$ (trial, time, dim).

    Source: conjugate-computation variational inference, Khan & Lin (2017), AISTATS.
    """
    pairs = (model.m[:, :, None] * model.m[:, None, :]).reshape(len(model.m), -1)
    dim = model.m.shape[1]

    def one(parts):
        mean, covariance, y, c, mask = parts
        gradient, information, _ = expected_scores(model, mean, covariance, y, c)
        keep = mask[:, None] * data.seen[None]
        gradient, information = keep * gradient, keep * information
        precision = (information @ pairs).reshape(-1, dim, dim)
        return precision, gradient @ model.m + (precision @ mean[..., None])[..., 0]

    return jax.lax.map(one, (posterior.mean, posterior.covariance, *per_trial(data)))


@eqx.filter_jit
def infer_step(
    model: StateSpace, posterior: Posterior, data: Observed, sites: Sites, damping
) -> tuple[Posterior, Sites]:
    """The posterior given the sites, `damping` of them new."""
    new = gaussian_sites(model, posterior, data)
    new = tuple(damping * b + (1 - damping) * a for a, b in zip(sites, new, strict=True))
    return smoothed(model, posterior, data.u, data.mask, *new), new


def _linear(model: StateSpace, mean, covariance, u):
    """The step's A, offset and residual covariance over a Gaussian of states, by 2 R cubature points."""
    rank, dim = model.rank, len(mean)
    root = cholesky(covariance[:rank, :rank])
    away = jnp.sqrt(rank) * root.T
    centre = mean[:rank]
    same = jnp.broadcast_to(u, (rank, *u.shape))
    up, down = model._step(centre[None] + away, same), model._step(centre[None] - away, same)
    slope = (up - down).T / (2 * jnp.sqrt(rank))
    a = slope @ root.T @ inverse(root @ root.T)
    value = (up.mean(axis=0) + down.mean(axis=0)) / 2
    off = jnp.concatenate([up, down]) - value[None]
    rest = off.T @ off / (2 * rank) - slope @ slope.T
    place = jnp.arange(rank, dim)
    whole = jnp.zeros((dim, dim)).at[:rank, :rank].set(a).at[place, place].set(model.a)
    noise = jnp.zeros((dim, dim)).at[:rank, :rank].set(model.q + rest).at[place, place].set(model.q_nuisance)
    return whole, jnp.zeros(dim).at[:rank].set(value - a @ centre), noise


def linearised(model: StateSpace, posterior: Posterior, u: Array):
    """The linearised steps: A, offset and noise, (time - 1, trial, ...)."""
    over = jax.vmap(jax.vmap(functools.partial(_linear, model)), in_axes=1, out_axes=0)
    return over(posterior.mean[:, :-1], posterior.covariance[:, :-1], u[:, :-1])


def smoothed(
    model: StateSpace, posterior: Posterior, u: Array, mask: Array, precision: Array, shift: Array
) -> Posterior:
    """The posterior under the drift linearised at the last one."""
    dim, rank = model.m.shape[1], model.rank
    stationary = model.q_nuisance / jnp.maximum(1 - model.a**2, 1e-3)
    first = jnp.diag(jnp.concatenate([jnp.zeros(rank), stationary])).at[:rank, :rank].set(model.v0)
    a, offset, noise = linearised(model, posterior, u)
    # Beyond a trial's end nothing is seen and an unstable drift would run away; what stands there does not
    # act back.
    inside = mask[:, 1:].T[..., None] > 0
    a = jnp.where(inside[..., None], a, (1 - model.alpha) * jnp.eye(dim)[None, None])
    offset = jnp.where(inside, offset, 0.0)
    moves = tuple(jnp.moveaxis(x, 1, -1) for x in (a, offset, noise))
    return smooth((model.mean0, first), moves, precision, shift)


def steps_of(model: StateSpace, posterior: Posterior, u: Array):
    """Linearised steps by trial, and the step itself."""
    moves = tuple(jnp.swapaxes(x, 0, 1) for x in linearised(model, posterior, u))
    return moves, lambda z: model._step(z[..., : model.rank], u[:, :-1])


@eqx.filter_jit
def weighted(model: StateSpace, posterior: Posterior, u: Array, mask: Array, key: PRNGKeyArray, count: int):
    """`count` paths of each trial and their weights under the drift as it is."""
    moves, step = steps_of(model, posterior, u)
    return weighted_paths(posterior, moves, step, model.q, mask[:, 1:], key, count)


@eqx.filter_jit
def draw_paths(model: StateSpace, posterior: Posterior, data: Observed, key: PRNGKeyArray, count: int):
    """`count` paths of each trial without weights (path, trial, time, dim)."""
    moves, step = steps_of(model, posterior, data.u)
    path_key, key = jr.split(key)
    # Enough of them that hardly one is taken twice.
    many = max(16, 4 * count)
    drawn, weights = weighted_paths(posterior, moves, step, model.q, data.mask[:, 1:], path_key, many)
    return resampled(drawn, weights, key, count)


@eqx.filter_jit
def expected_next(model: StateSpace, posterior: Posterior, data: Observed, drawn: Array):
    """The state expected after each state of the paths (path, trial, time - 1, dim)."""
    moves, step = steps_of(model, posterior, data.u)
    return jax.lax.map(lambda z: expected(posterior, moves, step, z), drawn)
