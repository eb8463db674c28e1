"""Low-rank networks trained by backpropagation through time: on recorded trajectories (LINT), and on
tasks.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PRNGKeyArray

from .. import checks, optimize
from ..activation import Activation, invert, resolve
from ..network import LowRankNetwork
from ..recording import Recording
from .tasks import Task


class Trained(eqx.Module):
    """Networks trained from several seeds on one recording, made by `on_recording`, or on one task, made by
    `on_task`.

    - `networks`: one `LowRankNetwork` a seed. `starts`: (seed, trial, rank), the latents at the first bin.
    - `readouts`: (seed, neuron, output) of a task, output $\\frac1N\\sum_iw_ir_i$; None for recordings.
    - `losses`: (update,), mean training loss over seeds; `error`: (seed,), mean square error of all trials at
      the end.
    - `stopped`: as in `lr.optimize.Fit`. A seed that exploded alone has an `error` that is not finite, and
      its last weights.
    """

    networks: tuple[LowRankNetwork, ...]
    starts: Float[np.ndarray, "seed trial rank"]
    readouts: Float[np.ndarray, "seed neuron output"] | None
    losses: Float[np.ndarray, " update"]
    error: Float[np.ndarray, " seed"]
    stopped: str

    def __repr__(self) -> str:
        network, errors = self.networks[0], self.error[np.isfinite(self.error)]
        lost = f", {len(self.error) - len(errors)} exploded" if len(errors) < len(self.error) else ""
        spread = f"{errors.min():.3g} to {errors.max():.3g}" if len(errors) else "none"
        return (
            f"Trained: {len(self.networks)} seeds of {network.n_neurons:,} neurons, rank {network.rank}"
            f"{lost}; mean square error {spread}; {self.stopped} after {len(self.losses):,} updates"
        )


class _Model(eqx.Module):
    """The weights of all seeds: m, n (seed, neuron, rank), b (.., input), d (seed, neuron), w (.., output),
    z0 (seed, trial, rank).
    """

    m: Array
    n: Array
    b: Array | None
    d: Array | None
    w: Array | None
    z0: Array | None
    alpha: float = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)
    penalty: float = eqx.field(static=True)
    noise: float = eqx.field(static=True, default=0.0)
    forcing: int = eqx.field(static=True, default=0)
    potentials: bool = eqx.field(static=True, default=False)


def on_recording(
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
    penalty: float = 0.0,
    progress: bool = True,
    **options,
) -> Trained:
    r"""Train networks of given rank so that their neurons follow the recorded ones.

    $$\min_{m,n,b,d}\ \frac1{STN}\sum_{sti}\big(r_{sti}-\hat r_{sti}\big)^2,\qquad
      z_{t+1}=z_t+\alpha\big(-z_t+F_N(z_t,u_t)\big)$$

    by Adam and backpropagation through the R latent numbers of each step. Neurons of the network are the
    recorded ones; bins beyond a trial's length do not count.

    **Arguments**

    - `recording`: a `Recording` of rates, with the inputs if there are any. `alpha`: bin width over time
      constant.
    - `bias`: train d as well.
    - `start`: latents of the first bin: "given", the least-squares projection of the first potentials
      $\phi^{-1}(r)$ on m, or "learned", a parameter of each trial, for noisy rates.
    - `target`: compare "rates", or "potentials" $\phi^{-1}(r)$.
    - `teacher_forcing`: every so many steps the latents are set to the projection of the recorded potentials;
      0 for never.
    - `seeds`: networks trained at once, from different initial weights of standard deviation `weights`, on
      the same batches. They are divided among `jax.devices()`; `jax.config.update` with
      `jax_num_cpu_devices`, before any other use of JAX, makes several of a processor's cores.
    - `penalty`: of the mean square of m, n and b, added to the loss.
    - `epochs`: passes over the trials, in batches of `batch_size`. Further `options` of `lr.optimize.fit`.

    **Raises** `ValueError` for spikes, a rank above the number of neurons, `alpha` outside (0, 1], rates
    outside the range of $\phi$ where its inverse is needed (with how many), an activation without inverse
    there; `FloatingPointError` when every seed explodes at once.

    Source: Valente, Pillow & Ostojic (2022), NeurIPS 35.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> net = systems.ring().sample(jr.key(0), 50)
    >>> data = Recording(rates=net.rates(systems.trajectories(net, points=3, steps=20)), bin_width=0.01)
    >>> trained = on_recording(data, 2, alpha=0.1, key=jr.key(1), epochs=300, batch_size=3, progress=False)
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
    _room(rank, neurons)
    kind = jnp.result_type(float)
    mask = jnp.asarray(recording.mask, kind)
    rates = jnp.asarray(np.where(recording.mask[..., None], recording.rates, 0), kind)
    potentials = None
    if start == "given" or target == "potentials" or forcing:
        potentials = invert(rates, activation, inside=recording.mask)
    inputs = None if recording.inputs is None else jnp.asarray(recording.inputs, kind)
    weights = checks.positive("weights", weights)
    m_key, n_key, b_key, fit_key = jr.split(key, 4)
    model = _Model(
        m=weights * jr.normal(m_key, (seeds, neurons, rank)),
        n=weights * jr.normal(n_key, (seeds, neurons, rank)),
        b=None if inputs is None else weights * jr.normal(b_key, (seeds, neurons, inputs.shape[-1])),
        d=jnp.zeros((seeds, neurons)) if bias else None,
        w=None,
        z0=jnp.zeros((seeds, trials, rank)) if start == "learned" else None,
        alpha=checks.fraction("alpha", alpha),
        activation=activation,
        penalty=checks.positive("penalty", penalty, zero=True),
        forcing=forcing,
        potentials=target == "potentials",
    )
    data = {"rates": rates, "mask": mask, "trial": jnp.arange(trials)}
    data |= {} if inputs is None else {"inputs": inputs}
    if potentials is not None:
        keep_all = target == "potentials" or forcing
        data["potentials"] = potentials if keep_all else potentials[:, :1]
    return _train(model, data, fit_key, "LINT", epochs, batch_size, learning_rate, progress, options)


def on_task(
    task: Task,
    rank: int,
    *,
    n_neurons: int,
    alpha: float,
    key: PRNGKeyArray,
    activation: Activation = "tanh",
    bias: bool = False,
    noise: float = 0.0,
    seeds: int = 1,
    epochs: int = 200,
    batch_size: int = 32,
    learning_rate: float = 1e-2,
    weights: float = 1.0,
    penalty: float = 0.0,
    progress: bool = True,
    **options,
) -> Trained:
    r"""Train networks of given rank so that a linear read-out of their rates does a task.

    $$\min_{m,n,b,d,w}\ \big\langle\big(y_{st}-\tfrac1N\textstyle\sum_iw_ir_{sti}\big)^2\big\rangle,\qquad
      z_{t+1}=z_t+\alpha\big(-z_t+F_N(z_t,u_t)\big)+\eta\,\xi_t,\quad z_0=0$$

    the mean over the bins where the task's weight is not 0.

    **Arguments**

    - `task`: of `lr.training.tasks`, or arrays of one's own in a `lr.training.tasks.Task`. `n_neurons`: N.
    - `noise`: $\eta$, of the latents in each step of training.
    - The rest as in `on_recording`.

    **Raises** `ValueError` for a rank above `n_neurons` and `alpha` outside (0, 1]; `FloatingPointError` when
    every seed explodes at once.

    Source: Dubreuil et al. (2022), Nature Neuroscience 25, 783.

    >>> import jax.random as jr
    >>> from lrcore.training import tasks
    >>> task = tasks.ring_memory(jr.key(0), 32)
    >>> trained = on_task(task, 2, n_neurons=100, alpha=0.1, key=jr.key(1), epochs=300, progress=False)
    >>> bool(trained.error[0] < 0.1)
    True
    """
    rank, seeds = checks.count("rank", rank), checks.count("seeds", seeds)
    neurons, weights = checks.count("n_neurons", n_neurons), checks.positive("weights", weights)
    _room(rank, neurons)
    m_key, n_key, b_key, w_key, fit_key = jr.split(key, 5)

    def draw(key, columns):
        return weights * jr.normal(key, (seeds, neurons, columns))

    model = _Model(
        m=draw(m_key, rank),
        n=draw(n_key, rank),
        b=draw(b_key, task.inputs.shape[2]),
        d=jnp.zeros((seeds, neurons)) if bias else None,
        w=draw(w_key, task.targets.shape[2]),
        z0=None,
        alpha=checks.fraction("alpha", alpha),
        activation=activation,
        penalty=checks.positive("penalty", penalty, zero=True),
        noise=checks.positive("noise", noise, zero=True),
    )
    data = {"inputs": task.inputs, "targets": task.targets, "mask": task.weight}
    return _train(model, data, fit_key, "task", epochs, batch_size, learning_rate, progress, options)


def _room(rank: int, neurons: int) -> None:
    if rank > neurons:
        raise ValueError(f"rank: expected at most the {neurons} neurons, got {rank}: lower it")


def _train(model, data, key, name, epochs, batch_size, learning_rate, progress, options) -> Trained:
    trials = len(data["mask"])
    batch_size = checks.count("batch_size", batch_size)
    learning_rate = checks.positive("learning_rate", learning_rate)
    total = max(1, checks.count("epochs", epochs) * trials // batch_size)
    done = optimize.fit(
        model,
        _loss,
        data,
        key=key,
        updates=total,
        batch_size=min(batch_size, trials),
        # The optimizer is the one below; the rate is named so that a checkpoint of another one is refused.
        learning_rate=learning_rate,
        optimizer=_adam(learning_rate, total),
        average=False,
        progress=progress,
        name=name,
        **options,
    )
    found = done.model
    error, starts = _evaluate(found, data)
    # From however many devices back to the default one.
    found = jax.tree.map(lambda part: jnp.asarray(np.asarray(part)), found)
    networks = tuple(
        LowRankNetwork(
            *(None if part is None else part[seed] for part in (found.m, found.n, found.b, found.d)),
            activation=found.activation,
        )
        for seed in range(len(found.m))
    )
    readouts = None if found.w is None else np.asarray(found.w)
    return Trained(networks, np.asarray(starts), readouts, done.losses, np.asarray(error), done.stopped)


@functools.cache
def _adam(learning_rate: float, updates: int) -> optax.GradientTransformation:
    """Adam with a falling rate, each seed's gradient clipped on its own, and stopped where it is not
    finite.
    """

    def clip(updates, state, params=None):
        def square(leaf):
            return jnp.sum(leaf**2, axis=tuple(range(1, leaf.ndim)))

        norm = jnp.sqrt(sum(map(square, jax.tree.leaves(updates))))
        factor = jnp.where(jnp.isfinite(norm), jnp.minimum(1.0, 1.0 / jnp.maximum(norm, 1e-12)), 0.0)

        def scale(leaf):
            shape = (-1,) + (1,) * (leaf.ndim - 1)
            return jnp.where(jnp.isfinite(leaf), leaf, 0.0) * factor.reshape(shape)

        return jax.tree.map(scale, updates), state

    rate = optax.cosine_decay_schedule(learning_rate, updates, alpha=0.01)
    first = optax.GradientTransformation(lambda params: optax.EmptyState(), clip)
    return optax.chain(first, optax.adam(rate))


def _loss(model: _Model, batch, key) -> Float[Array, ""]:
    """Mean over seeds of the masked mean square error and the penalty; exploded seeds do not count."""
    errors, _ = _errors(model, batch, key if model.noise else None)
    weights = [part for part in (model.m, model.n, model.b) if part is not None]
    errors = errors + model.penalty * sum(jnp.mean(part**2, axis=(1, 2)) for part in weights)
    finite = jnp.isfinite(errors)
    # All exploded: say so, and training stops.
    return jnp.where(finite.any(), jnp.where(finite, errors, 0.0).sum() / finite.sum(), jnp.nan)


def _errors(model: _Model, batch, key=None):
    """(seed,) errors and (seed, trial, rank) starts of a batch; with noise where there is a key."""
    model = _over_devices(model)
    phi = resolve(model.activation)
    mask = batch["mask"]
    wanted = batch["targets" if model.w is not None else "potentials" if model.potentials else "rates"]
    noise = (
        None if key is None else model.noise * jr.normal(key, (mask.shape[1], len(mask), model.m.shape[2]))
    )

    def one(m, n, b, d, w, z0):
        own = 0.0 if d is None else d[None]
        gram = m.T @ m + 1e-6 * jnp.eye(m.shape[1])
        # By rows of neurons, as their gradients are then.
        reads = m.T if b is None else jnp.concatenate([m, b], axis=1).T
        writes = n.T

        def project(h, u):
            h = h - own if b is None else h - own - u @ b.T
            return jnp.linalg.solve(gram, m.T @ h.T)

        u = batch.get("inputs", jnp.zeros((*mask.shape, 0)))
        z = jnp.zeros((m.shape[1], len(mask)))
        if w is None:
            z = project(batch["potentials"][:, 0], u[:, 0]) if z0 is None else z0[batch["trial"]].T
        start = z.T

        # To compute the rates again is cheaper than to fetch them from memory; a scan keeps the two apart by
        # itself.
        @functools.partial(jax.checkpoint, prevent_cse=False)
        def step(z, now):
            u, index, wanted, *recorded = now
            if model.forcing:
                z = jnp.where(index % model.forcing == 0, project(recorded[0], u), z)
            h = _spread([*z, *u.T], reads) + own
            r = phi(h)
            said = _collect(r, w.T).T / len(w) if w is not None else h if model.potentials else r
            missed = ((said - wanted) ** 2).mean(axis=-1)
            z = z + model.alpha * (_collect(r, writes) / len(n) - z)
            return z if noise is None else z + noise[index].T, missed

        along = [u.transpose(1, 0, 2), jnp.arange(mask.shape[1]), wanted.transpose(1, 0, 2)]
        if model.forcing:
            along.append(batch["potentials"].transpose(1, 0, 2))
        _, missed = jax.lax.scan(step, z, tuple(along))
        return (missed * mask.T).sum() / mask.sum(), start

    return jax.vmap(one)(model.m, model.n, model.b, model.d, model.w, model.z0)


def _over_devices(model: _Model) -> _Model:
    """The seeds divided among as many devices as their number can be divided by."""
    devices, seeds = jax.devices(), len(model.m)
    used = max(k for k in range(1, min(len(devices), seeds) + 1) if seeds % k == 0)
    if used == 1:
        return model
    mesh = Mesh(np.array(devices[:used]), ("seed",))
    return eqx.filter_shard(model, NamedSharding(mesh, PartitionSpec("seed")))


# The two products over the rank, one matrix-vector product each: on a processor, and over seeds, these take
# half the time of matrices so thin. An outer product written as an einsum has such products for its gradient.


def _spread(values, weights) -> Float[Array, "trial neuron"]:
    """Sum over k of values[k] (trial,) times weights[k] (neuron,)."""
    parts = [jnp.einsum("s,i->si", x, w) for x, w in zip(values, weights, strict=True)]
    return functools.reduce(jnp.add, parts)


def _collect(rates, weights) -> Float[Array, "rank trial"]:
    """Sum over neurons of rates times weights[k] (neuron,), for each k."""
    return jnp.stack([rates @ w for w in weights])


@eqx.filter_jit
def _evaluate(model, data):
    return _errors(model, data)
