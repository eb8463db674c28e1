"""Low-rank networks trained by backpropagation through time, to follow recorded trajectories: LINT."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from . import checks, training
from .activation import Activation, invert, resolve
from .network import LowRankNetwork
from .recording import Recording


class Trained(eqx.Module):
    """Networks trained from several seeds on one recording, made by `fit`.

    - `networks`: one `LowRankNetwork` a seed. `starts`: (seed, trial, rank), the latents at the first bin.
    - `losses`: (step,), mean training loss over seeds; `error`: (seed,), mean square error of all trials at the end.
    - `stopped`: as in `lr.training.Fit`. A seed that exploded alone has an `error` that is not finite, and its last weights.
    """

    networks: tuple[LowRankNetwork, ...]
    starts: Float[np.ndarray, "seed trial rank"]
    losses: Float[np.ndarray, " step"]
    error: Float[np.ndarray, " seed"]
    stopped: str


class _Model(eqx.Module):
    """The weights of all seeds: m, n (seed, neuron, rank), b (seed, neuron, input), d (seed, neuron), z0 (seed, trial, rank)."""

    m: Array
    n: Array
    b: Array | None
    d: Array | None
    z0: Array | None
    alpha: float = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)
    forcing: int = eqx.field(static=True)
    potentials: bool = eqx.field(static=True)


def fit(
    recording: Recording,
    rank: int,
    *,
    alpha: float,
    key: PRNGKeyArray,
    activation: Activation = "tanh",
    bias: bool = False,
    start: str = "given",
    target: str = "rates",
    teacher_forcing: int = 0,
    seeds: int = 1,
    epochs: int = 1000,
    batch_size: int = 10,
    learning_rate: float = 1e-2,
    weights: float = 1.0,
    progress: bool = True,
    **options,
) -> Trained:
    r"""Train networks of given rank so that their neurons follow the recorded ones.

    $$\min_{m,n,b,d}\ \frac1{STN}\sum_{sti}\big(r_{sti}-\hat r_{sti}\big)^2,\qquad
      z_{t+1}=z_t+\alpha\big(-z_t+F_N(z_t,u_t)\big)$$

    by Adam and backpropagation through the R latent numbers of each step. Neurons of the network are the recorded ones; bins
    beyond a trial's length do not count.

    **Arguments**

    - `recording`: a `Recording` of rates, with the inputs if there are any. `alpha`: bin width over time constant.
    - `bias`: train d as well.
    - `start`: latents of the first bin: "given", the least-squares projection of the first potentials $\phi^{-1}(r)$ on m, or
      "learned", a parameter of each trial, for noisy rates.
    - `target`: compare "rates", or "potentials" $\phi^{-1}(r)$.
    - `teacher_forcing`: every so many steps the latents are set to the projection of the recorded potentials; 0 for never.
    - `seeds`: networks trained at once, from different initial weights of standard deviation `weights`, on the same batches.
    - `epochs`: passes over the trials, in batches of `batch_size`. Further `options` of `lr.training.fit`.

    **Raises** `ValueError` for spikes, rates outside the range of $\phi$ where its inverse is needed (with how many), an
    activation without inverse there; `FloatingPointError` when every seed explodes at once.

    Source: Valente, Pillow & Ostojic (2022), NeurIPS 35.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> net = systems.ring().sample(jr.key(0), 50)
    >>> data = Recording(rates=net.rates(systems.trajectories(net, points=3, steps=20)), bin_width=0.01)
    >>> trained = fit(data, 2, alpha=0.1, key=jr.key(1), epochs=300, batch_size=3, progress=False)
    >>> bool(trained.error[0] < 0.2 * np.var(data.rates))
    True
    """
    if recording.rates is None:
        raise ValueError("recording: expected rates, got spikes: divide smoothed counts by the bin width")
    for name, value, names in (
        ("start", start, ("given", "learned")),
        ("target", target, ("rates", "potentials")),
    ):
        if value not in names:
            raise ValueError(f"{name}: expected '{names[0]}' or '{names[1]}', got {value!r}")
    rank, seeds = checks.count("rank", rank), checks.count("seeds", seeds)
    forcing = checks.count("teacher_forcing", teacher_forcing, least=0)
    trials, _, neurons = recording.rates.shape
    mask = jnp.asarray(recording.mask, jnp.float32)
    rates = jnp.asarray(np.where(recording.mask[..., None], recording.rates, 0), jnp.float32)
    potentials = None
    if start == "given" or target == "potentials" or forcing:
        potentials = invert(rates, activation, inside=recording.mask)
    inputs = None if recording.inputs is None else jnp.asarray(recording.inputs, jnp.float32)
    weights = checks.positive("weights", weights)
    m_key, n_key, b_key, fit_key = jr.split(key, 4)
    model = _Model(
        m=weights * jr.normal(m_key, (seeds, neurons, rank)),
        n=weights * jr.normal(n_key, (seeds, neurons, rank)),
        b=None if inputs is None else weights * jr.normal(b_key, (seeds, neurons, inputs.shape[-1])),
        d=jnp.zeros((seeds, neurons)) if bias else None,
        z0=jnp.zeros((seeds, trials, rank)) if start == "learned" else None,
        alpha=float(checks.positive("alpha", alpha)),
        activation=activation,
        forcing=forcing,
        potentials=target == "potentials",
    )
    data = {"rates": rates, "mask": mask, "trial": jnp.arange(trials)}
    data |= {} if inputs is None else {"inputs": inputs}
    if potentials is not None:
        keep_all = target == "potentials" or forcing
        data["potentials"] = potentials if keep_all else potentials[:, :1]
    total = max(1, epochs * trials // batch_size)
    done = training.fit(
        model,
        _loss,
        data,
        key=fit_key,
        steps=total,
        batch_size=min(batch_size, trials),
        optimizer=_adam(learning_rate, total),
        average=False,
        progress=progress,
        name="LINT",
        **options,
    )
    error, starts = _evaluate(done.model, data)
    found = done.model
    networks = tuple(
        LowRankNetwork(
            *(None if part is None else part[seed] for part in (found.m, found.n, found.b, found.d)),
            activation=activation,
        )
        for seed in range(seeds)
    )
    return Trained(networks, np.asarray(starts), done.losses, np.asarray(error), done.stopped)


@functools.cache
def _adam(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Adam with a falling rate, each seed's gradient clipped on its own, and stopped where it is not finite."""

    def clip(gradient, state, parameters=None):
        def square(leaf):
            return jnp.sum(leaf**2, axis=tuple(range(1, leaf.ndim)))

        norm = jnp.sqrt(sum(map(square, jax.tree.leaves(gradient))))
        factor = jnp.where(jnp.isfinite(norm), jnp.minimum(1.0, 1.0 / jnp.maximum(norm, 1e-12)), 0.0)

        def scale(leaf):
            shape = (-1,) + (1,) * (leaf.ndim - 1)
            return jnp.where(jnp.isfinite(leaf), leaf, 0.0) * factor.reshape(shape)

        return jax.tree.map(scale, gradient), state

    rate = optax.cosine_decay_schedule(learning_rate, steps, alpha=0.01)
    first = optax.GradientTransformation(lambda parameters: optax.EmptyState(), clip)
    return optax.chain(first, optax.adam(rate))


def _loss(model: _Model, batch, key) -> Float[Array, ""]:
    """Mean over seeds of the masked mean square error; exploded seeds do not count."""
    errors, _ = _errors(model, batch)
    finite = jnp.isfinite(errors)
    # All exploded: say so, and training stops.
    return jnp.where(finite.any(), jnp.where(finite, errors, 0.0).sum() / finite.sum(), jnp.nan)


def _errors(model: _Model, batch):
    """(seed,) errors and (seed, trial, rank) starts of a batch."""
    phi = resolve(model.activation)
    mask = batch["mask"]
    wanted = batch["potentials"] if model.potentials else batch["rates"]

    def one(m, n, b, d, z0):
        own = 0.0 if d is None else d[None]
        gram = m.T @ m + 1e-6 * jnp.eye(m.shape[1])

        def project(h, u):
            h = h - own if b is None else h - own - u @ b.T
            return jnp.linalg.solve(gram, m.T @ h.T).T

        u = batch.get("inputs", jnp.zeros((*mask.shape, 0)))
        if z0 is None:
            z = project(batch["potentials"][:, 0], u[:, 0])
        else:
            z = z0[batch["trial"]]
        start = z

        @jax.checkpoint  # to compute the rates again is cheaper than to fetch them from memory
        def step(z, now):
            u, index, wanted, *recorded = now
            if recorded:
                z = jnp.where(index % model.forcing == 0, project(recorded[0], u), z)
            h = z @ m.T + own
            h = h if b is None else h + u @ b.T
            r = phi(h)
            missed = ((h if model.potentials else r) - wanted) ** 2
            return z + model.alpha * (r @ n / len(n) - z), missed.mean(axis=-1)

        along = [u.transpose(1, 0, 2), jnp.arange(mask.shape[1]), wanted.transpose(1, 0, 2)]
        if model.forcing:
            along.append(batch["potentials"].transpose(1, 0, 2))
        _, missed = jax.lax.scan(step, z, tuple(along))
        return (missed * mask.T).sum() / mask.sum(), start

    return jax.vmap(one)(model.m, model.n, model.b, model.d, model.z0)


@eqx.filter_jit
def _evaluate(model, data):
    return _errors(model, data)
