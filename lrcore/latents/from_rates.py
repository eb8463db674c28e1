"""From rates of known activation to latents and embedding: nonlinear least squares, in a fixed gauge."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from tqdm import tqdm

from .. import checks
from ..activation import Activation, invert, resolve
from ..gauge import signs, symmetric_root
from ..network import Embedding
from ..recording import Recording
from ..recording.duplicates import groups
from ..steps import Steps
from .latents import Latents
from .unit import moments, resting, tangent, unit_of


def from_rates(
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

    1. Start. Clean rates: potentials $\phi^{-1}(r)$ and their first R principal axes. Noisy ones: those of
       the rates.
    2. Gauss-Newton steps in $z_t$ and in $(m_i,d_i)$ in turn, until the error stays.
    3. Gauge: $\frac1N\sum_im_im_i^\top=I$, axes along the principal axes of the latents, largest first, and
       $\sum_im_{ik}^3>0$.

    **Arguments**

    - `recording`: a `Recording` of rates.
    - `rank`: R. `activation`: $\phi$ of the recorded neurons; for clean rates one with an inverse.
    - `bias`: fit $d_i$ as well. The latents then have mean zero: where the leak puts the origin of z, only
      the dynamics say.
    - `noisy`: rates may leave the range of $\phi$.

    **Returns** `Latents`, with `activation` that of the neurons and scale 1.

    **Unit of rates.** There is no gain. "linear" takes any scale, common to all neurons, which z then has,
    and with `bias` any shift of each neuron, which d then has; "relu" any scale. For other
    $\phi$ the rates have to be in its unit, as of "tanh" between -1 and 1.

    **Raises** `ValueError` for spikes, rates outside the range of $\phi$ (with how many), an activation
    without inverse, a rank beyond the number of neurons, constant neurons; `FloatingPointError` where no
    step makes the error smaller and it is not finite.

    Source: ours.

    >>> from lrcore import systems
    >>> import jax.random as jr
    >>> net = systems.ring().sample(jr.key(0), 100)
    >>> z = systems.trajectories(net, points=4, steps=20)
    >>> found = from_rates(Recording(rates=net.rates(z), bin_width=0.01), 2, activation="tanh")
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
    # Whether single rates are in the range of phi comes first, then their means.
    potentials = None if noisy else invert(jnp.asarray(recording.rates[mask], jnp.float32), activation)
    unit = unit_of(recording, activation, bias, common=True)
    rates = jnp.asarray(unit.inside(recording.rates[mask]))
    if activation == "linear":
        now = _start(rates, rank, bias)
    elif potentials is None:
        now = _noisy_start(recording, rates, rank, activation, bias, unit.scale)
    else:
        now = _start(potentials, rank, bias)
    best, least, rounding = now, np.inf, 1e-14 * float(jnp.mean(rates**2))
    for _ in tqdm(range(iterations + 1), desc="latents", disable=not progress, leave=False):
        *moved, error = _improve(rates, *now, resolve(activation), bias)
        # What is left is rounding, or it stays.
        done = error < rounding or not error < least * (1 - 1e-5)
        best, least = (now, error) if error < least else (best, least)
        if done:
            break
        now = moved
    if not np.isfinite(least):
        raise FloatingPointError(
            f"rates: the error of the fit is not finite: they are far from the unit of {activation}"
        )
    z, m, d = (np.asarray(x, float) for x in best)
    if activation == "linear":
        # To the last digit also for neurons that are small beside others.
        design = np.column_stack([z, np.ones(len(z))]) if bias else z
        m, d = np.split(np.linalg.lstsq(design, np.asarray(rates, float), rcond=None)[0].T, [rank], axis=1)
        d = d.sum(axis=1)
    z, m, d = _gauge(z, m, d, bias)
    # Out of the unit that it was computed in: m stays white, so that z has it.
    z, d = z * unit.scale[0], d * unit.scale + unit.offset
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


def halves(
    recording: Recording,
    found: Latents,
    *,
    key: PRNGKeyArray,
    tau: float = 0.1,
    inputs: bool = False,
    iterations: int = 10,
) -> Steps:
    r"""Steps from two random halves of the neurons, for a regression without errors in variables.

    The errors of an estimate $\hat z_t$ enter $X_t=\phi(m\cdot\hat z_t)$ and
    $Y_t=(\hat z_{t+1}-(1-\alpha)\hat z_t)/\alpha$ together, and a fit takes them for a drift back to where
    states are frequent. Noise of different neurons is independent: X from one half and Y from the other have
    no error in common.

    **Arguments**

    - `recording`: of noisy rates; `found`: its latents of `from_rates`, whose embedding and gauge are kept.
    - `tau`, `inputs`: as in `Latents.steps`.

    **Returns** `Steps` of two copies: states from each half, drift targets from the other one.

    Neurons that are copies of one another go into the same half.

    **Raises** `ValueError` for fewer than four neurons, copies counted once, for each dimension of the
    latents.

    Source: ours; instrumental variables in the sense of Fuller (1987), Measurement Error Models.

    >>> from lrcore import maxent, systems
    >>> import jax.random as jr
    >>> net = systems.ring().sample(jr.key(0), 200)
    >>> r = np.asarray(net.rates(systems.trajectories(net, points=5)))
    >>> noisy = Recording(rates=r + 0.5 * np.random.default_rng(0).normal(size=r.shape), bin_width=0.01)
    >>> found = from_rates(noisy, 2, activation="tanh", noisy=True)
    >>> maxent.fit(halves(noisy, found, key=jr.key(1)), found.embedding).n.shape
    (200, 2)
    """
    if recording.rates is None:
        raise ValueError(
            "recording: expected rates, got spikes: take lr.latents.fit(recording, rank).steps(key)"
        )
    n, rank = recording.n_neurons, found.rank
    label = groups(recording.signal, recording.lengths)
    distinct = int(label.max()) + 1
    if distinct < 4 * rank:
        copies = f", but for copies, of {n}" if distinct < n else ""
        raise ValueError(
            f"recording: expected at least {4 * rank} neurons to divide for rank {rank}, got {distinct}"
            f"{copies}"
        )
    mask, bias = recording.mask, found.embedding.d is not None
    unit = unit_of(recording, found.activation, bias, common=True)
    scale = unit.scale[0]
    rates = jnp.asarray(unit.inside(recording.rates[mask]))
    d = np.zeros(n) if found.embedding.d is None else np.asarray(found.embedding.d)
    d = jnp.asarray(unit.inside(d))
    z = jnp.asarray(np.asarray(found.z)[mask] / scale, jnp.float32)
    both = []
    for part in _divided(label, key):
        moved = z
        for _ in range(iterations):
            moved = _move(rates[:, part], moved, found.embedding.m[part], d[part], resolve(found.activation))
        full = np.zeros((*mask.shape, rank), np.float32)
        full[mask] = np.asarray(moved) * scale
        both.append(full)
    one, other = (
        eqx.tree_at(lambda x: x.z, found, jnp.asarray(z)).steps(tau=tau, inputs=inputs) for z in both
    )
    crossed = (np.concatenate(pair) for pair in ((one.z, other.z), (one.u, other.u), (other.y, one.y)))
    return Steps(*crossed, np.tile(one.trial, 2), alpha=one.alpha, copies=2)


def _divided(label, key) -> list:
    """Two random halves of the neurons; those of one label, copies of one another, in the same half, as their
    noise is not independent.
    """
    place = np.argsort(np.asarray(jr.permutation(key, label.max() + 1)))
    order = np.argsort(place[label], kind="stable")
    ends = np.bincount(place[label]).cumsum()
    first = ends[np.abs(ends - len(label) / 2).argmin()]
    return [order[:first], order[first:]]


def _start(x: Float[Array, "sample neuron"], rank: int, bias: bool) -> tuple[Array, Array, Array]:
    centre = x.mean(axis=0) if bias else jnp.zeros(x.shape[1])
    x = x - centre[None]
    _, vectors = jnp.linalg.eigh(x.T @ x / len(x))
    m = vectors[:, ::-1][:, :rank] * jnp.sqrt(x.shape[1])
    return x @ m / x.shape[1], m, centre


def _noisy_start(recording: Recording, rates, rank: int, activation: Activation, bias: bool, scale):
    """Principal axes of the rates, and potentials that move with them as the rates do."""
    d = (
        resting(activation, *(part / scale for part in moments(recording)))
        if bias
        else np.zeros(recording.n_neurons)
    )
    z, m, _ = _start(rates - resolve(activation)(jnp.asarray(d, jnp.float32))[None], rank, bias)
    size = jnp.sqrt(jnp.mean(z**2))
    m = tangent(activation, d, np.asarray(m * size, float))
    return z / size, jnp.asarray(m, jnp.float32), jnp.asarray(d, jnp.float32)


@eqx.filter_jit
def _improve(rates, z, m, d, phi, bias: bool):
    """A Gauss-Newton step in the latents, then one in the embedding; the error before them."""
    rank = m.shape[1]
    weights, gradient, before = _residual(rates, z, m, d, phi)
    z = z + _solve(weights, gradient, m, jnp.full(rank, jnp.mean(m**2)))
    weights, gradient, _ = _residual(rates, z, m, d, phi)
    design, size = z, jnp.full(rank, jnp.mean(z**2))
    if bias:
        design, size = jnp.concatenate([z, jnp.ones((len(z), 1))], axis=1), jnp.append(size, 1.0)
    change = _solve(weights.T, gradient.T, design, size)
    return z, m + change[:, :rank], d + (change[:, rank] if bias else 0.0), before


@eqx.filter_jit
def _move(rates, z, m, d, phi):
    """A Gauss-Newton step in the latents, of length 1/2 or half their size at most: a few neurons say little
    far out.
    """
    weights, gradient, _ = _residual(rates, z, m, d, phi)
    step = _solve(weights, gradient, m, jnp.full(m.shape[1], jnp.mean(m**2)))
    most = 0.5 * jnp.maximum(1.0, jnp.sqrt(jnp.mean(z**2)))
    size = jnp.linalg.norm(step, axis=1, keepdims=True)
    return z + step * jnp.minimum(1.0, most / jnp.maximum(size, 1e-9))


def _residual(rates, z, m, d, phi):
    h = z @ m.T + d[None]
    slope = jax.vmap(jax.vmap(jax.grad(phi)))(h)
    error = rates - phi(h)
    return slope**2, slope * error, jnp.mean(error**2)


def _solve(weights, gradient, design, size):
    """Steps of each row for a design whose columns have these mean squares."""
    pairs = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    hessian = (weights @ pairs).reshape(-1, design.shape[1], design.shape[1])
    # Saturated neurons and states say little; a small ridge keeps them where they are, in any unit of the
    # rates, the latents and the biases.
    ridge = 1e-4 * len(design) * jnp.diag(size) * jnp.mean(weights)
    return jnp.linalg.solve(hessian + ridge[None], (gradient @ design)[..., None])[..., 0]


def _gauge(z, m, d, bias: bool):
    """m white, axes along the latents' principal axes, third moments of m positive; with biases latents of
    mean 0.
    """
    if bias:
        centre = z.mean(axis=0)
        z, d = z - centre, d + m @ centre
    root = symmetric_root(m.T @ m / len(m))
    z, m = z @ root, np.linalg.solve(root, m.T).T
    axes = np.linalg.eigh(z.T @ z)[1][:, ::-1]
    axes = axes * signs(m @ axes)
    return z @ axes, m @ axes, d
