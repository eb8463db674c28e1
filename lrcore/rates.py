"""From rates of known activation to latents and embedding: nonlinear least squares, in a fixed gauge."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from tqdm import tqdm

from . import checks
from .activation import Activation, invert, resolve
from .latents import Latents
from .network import Embedding
from .recording import Recording


def latents(
    recording: Recording,
    rank: int,
    *,
    activation: Activation,
    bias: bool = False,
    noisy: bool = False,
    iterations: int = 50,
    progress: bool = False,
) -> Latents:
    r"""Latents and embedding from rates alone: $\min\sum_{it}\big(r_{it}-\phi(m_i\cdot z_t+d_i)\big)^2$.

    1. Start. Clean rates: potentials $\phi^{-1}(r)$ and their first R principal axes. Noisy ones: those of the rates.
    2. Gauss-Newton steps in $z_t$ and in $(m_i,d_i)$ in turn, until the error stays.
    3. Gauge: $\frac1N\sum_im_im_i^\top=I$, axes along the principal axes of the latents, largest first, and $\sum_im_{ik}^3>0$.

    **Arguments**

    - `recording`: a `Recording` of rates.
    - `rank`: R. `activation`: $\phi$ of the recorded neurons; for clean rates one with an inverse.
    - `bias`: fit $d_i$ as well. The latents then have mean zero: where the leak puts the origin of z, only the dynamics say.
    - `noisy`: rates may leave the range of $\phi$.

    **Returns** `Latents`, with `activation` that of the neurons and scale 1.

    **Raises** `ValueError` for spikes, rates outside the range of $\phi$ (with how many), an activation without inverse, a rank
    beyond the number of neurons.

    Source: ours.

    >>> from lrcore import systems
    >>> import jax.random as jr
    >>> net = systems.ring().sample(jr.key(0), 100)
    >>> z = systems.trajectories(net, points=4, steps=20)
    >>> found = latents(Recording(rates=net.rates(z), bin_width=0.01), 2, activation="tanh")
    >>> bool(jnp.abs(found.rates() - net.rates(z)).max() < 1e-3)
    True
    """
    if recording.rates is None:
        raise ValueError(
            "recording: expected rates, got spikes: use lr.latents.smooth, or divide by the bin width"
        )
    rank = checks.count("rank", rank)
    if rank > recording.n_neurons:
        raise ValueError(f"rank: expected at most the number of neurons, {recording.n_neurons}, got {rank}")
    mask = recording.mask
    rates = jnp.asarray(recording.rates[mask], jnp.float32)
    potentials = rates if noisy else invert(rates, activation)
    z, m, d = _start(potentials, rank, bias)
    last = np.inf
    for _ in tqdm(range(iterations), desc="latents", disable=not progress, leave=False):
        z, m, d, error = _improve(rates, z, m, d, resolve(activation), bias)
        if not error < last * (1 - 1e-5):
            break
        last = error
    z, m, d = _gauge(*(np.asarray(x, float) for x in (z, m, d)), bias)
    full = np.zeros((*mask.shape, rank), np.float32)
    full[mask] = z
    return Latents(
        z=jnp.asarray(full),
        lengths=recording.lengths,
        embedding=Embedding(m, d=d if bias else None),
        scale=jnp.ones(recording.n_neurons),
        inputs=None if recording.inputs is None else jnp.asarray(recording.inputs, jnp.float32),
        bin_width=recording.bin_width,
        activation=activation,
    )


def _start(x: Float[Array, "sample neuron"], rank: int, bias: bool) -> tuple[Array, Array, Array]:
    centre = x.mean(axis=0) if bias else jnp.zeros(x.shape[1])
    x = x - centre[None]
    _, vectors = jnp.linalg.eigh(x.T @ x / len(x))
    m = vectors[:, ::-1][:, :rank] * jnp.sqrt(x.shape[1])
    return x @ m / x.shape[1], m, centre


@eqx.filter_jit
def _improve(rates, z, m, d, phi, bias: bool):
    """A Gauss-Newton step in the latents, then one in the embedding; the error before them."""
    slope_of = jax.vmap(jax.vmap(jax.grad(phi)))

    def residual(z, m, d):
        h = z @ m.T + d[None]
        slope = slope_of(h)
        error = rates - phi(h)
        return slope**2, slope * error, jnp.mean(error**2)

    def solve(weights, gradient, design):
        pairs = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
        hessian = (weights @ pairs).reshape(-1, design.shape[1], design.shape[1])
        # Saturated neurons and states say little; a small ridge keeps them where they are.
        ridge = 1e-4 * len(design) * jnp.eye(design.shape[1]) * jnp.mean(design**2)
        return jnp.linalg.solve(hessian + ridge[None], (gradient @ design)[..., None])[..., 0]

    weights, gradient, before = residual(z, m, d)
    z = z + solve(weights, gradient, m)
    weights, gradient, _ = residual(z, m, d)
    design = jnp.concatenate([z, jnp.ones((len(z), 1))], axis=1) if bias else z
    change = solve(weights.T, gradient.T, design)
    rank = m.shape[1]
    return z, m + change[:, :rank], d + (change[:, rank] if bias else 0.0), before


def _gauge(z, m, d, bias: bool):
    """m white, axes along the latents' principal axes, third moments of m positive; with biases latents of mean 0."""
    if bias:
        centre = z.mean(axis=0)
        z, d = z - centre, d + m @ centre
    values, vectors = np.linalg.eigh(m.T @ m / len(m))
    root = (vectors * np.sqrt(values)) @ vectors.T
    z, m = z @ root, np.linalg.solve(root, m.T).T
    axes = np.linalg.eigh(z.T @ z)[1][:, ::-1]
    axes = axes * np.where(((m @ axes) ** 3).sum(axis=0) < 0, -1.0, 1.0)
    return z @ axes, m @ axes, d
