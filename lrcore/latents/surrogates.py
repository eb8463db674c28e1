"""Negative controls: recordings in which what was found should be absent, or is known."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .. import checks
from ..activation import resolve
from ..recording import Recording, validation
from .fitting import StateSpaceFit
from .state_space import inputs_of


def shuffled(recording: Recording, key: PRNGKeyArray, *, block: int = 16) -> Recording:
    """Each neuron's spikes from other trials, of nearly the same length: no neuron knows of another, of the
    inputs or of the choice.

    Trials in order of their length, those of one length at random, are cut into blocks, trimmed to the
    shortest of the block, and permuted within it, for each neuron on its own. Single neurons keep their rates
    and their course in time; what is shared within a trial is gone. A neuron whose spikes were all trimmed
    stays, silent; `.drop_constant()` removes it.

    - `block`: trials that are permuted among each other, at least.

    >>> from lrcore.recording import clicks_session
    >>> data = clicks_session(jr.key(0), n_trials=40).recording
    >>> shuffled(data, jr.key(1)).n_trials
    40
    """
    block = checks.count("block", block, least=2)
    rng = checks.generator(key)
    # At random where lengths are equal: neighbours in the array may be of one choice.
    order = np.lexsort([rng.permutation(recording.n_trials), recording.lengths])
    signal, lengths = np.zeros_like(recording.signal), recording.lengths.copy()
    for some in np.array_split(order, max(1, recording.n_trials // block)):
        lengths[some] = recording.lengths[some].min()
        for i in range(recording.n_neurons):
            signal[some, :, i] = recording.signal[rng.permutation(some), :, i]
    signal[~checks.inside(lengths, recording.n_time)] = 0
    return _with(recording, signal, lengths, recording.choices)


def surrogate(
    found: StateSpaceFit, key: PRNGKeyArray, *, drift: Callable | None = None
) -> tuple[Recording, Float[np.ndarray, "trial time rank"]]:
    r"""Spikes simulated from a fitted model, with its read-out, noise, baseline and inputs, and a drift of
    one's own.

    **Arguments**

    - `drift`: $F(z,u)$ of states (trial, rank) and lagged inputs (trial, input): `linear(found, key)`,
      `bistable(found, key)[0]`, that of a network, or by default the model's.

    **Returns** the recording, and the true latents of the decision. A choice is what a simulated trial ends
    nearer to: where the fitted trials of one choice end on average, or those of the other. A neuron that
    happens to be silent stays; `.drop_constant()` removes it.

    >>> from lrcore import latents
    >>> from lrcore.recording import clicks_session
    >>> data = clicks_session(jr.key(0), n_trials=30).recording
    >>> found = latents.fit(data, 2, key=jr.key(1), iterations=2, progress=False)
    >>> surrogate(found, jr.key(2))[1].shape
    (30, 100, 2)
    """
    model, recording = found.model, found.recording
    if found.baseline is None:
        raise ValueError("found: expected a model of spikes, got one of rates")
    rank = model.rank
    path_key, spike_key = jr.split(key)
    u = inputs_of(recording, model.lag)
    path = np.asarray(_path(model, drift or model.drift, u, path_key))
    if not np.isfinite(path[recording.mask]).all():
        raise FloatingPointError("drift: the simulated latents are not finite: the drift is unstable")
    phi = resolve(model.activation)
    potential = path @ np.asarray(model.m).T + np.asarray(model.d)
    rates = found.baseline * np.asarray(phi(jnp.asarray(potential)) / phi(jnp.zeros(())))
    rates = np.where(recording.mask[..., None], rates, 0)
    if not rates.max() < np.iinfo(np.int32).max / 2:
        raise FloatingPointError(f"drift: the simulated rates reach {rates.max():.2g} spikes a bin: unstable")
    spikes = checks.generator(spike_key).poisson(rates)
    new = _with(recording, spikes, recording.lengths, _choices(found, path[..., :rank]))
    return new, np.where(recording.mask[..., None], path[..., :rank], 0)


def _with(recording: Recording, signal, lengths, choices) -> Recording:
    """The recording with another signal. What was admitted once, in rates and neurons, stays admitted."""
    if recording.rates is None:
        signal = validation.counts(signal)
    name = "rates" if recording.spikes is None else "spikes"
    return eqx.tree_at(
        lambda r: (getattr(r, name), r.lengths, r.choices),
        recording,
        (signal, lengths, choices),
        is_leaf=lambda x: x is None,
    )


def linear(found: StateSpaceFit, key: PRNGKeyArray) -> Callable:
    """The linear drift F = A z + B u + c closest to a fitted model's, by least squares over posterior draws;
    made stable where it is not.

    >>> from lrcore import latents
    >>> from lrcore.recording import clicks_session
    >>> data = clicks_session(jr.key(0), n_trials=30).recording
    >>> found = latents.fit(data, 2, key=jr.key(1), iterations=2, progress=False)
    >>> linear(found, jr.key(2))(jnp.zeros((5, 2)), jnp.zeros((5, 2))).shape
    (5, 2)
    """
    weights, rank = _least_squares(found, key), found.model.rank
    values, vectors = np.linalg.eig(weights[:rank].T)
    # -z + A z decays only where the real parts lie below one.
    values = np.minimum(values.real, 0.95) + 1j * values.imag
    a = jnp.asarray((vectors @ np.diag(values) @ np.linalg.inv(vectors)).real, jnp.float32)
    b, c = jnp.asarray(weights[rank:-1], jnp.float32), jnp.asarray(weights[-1], jnp.float32)

    def drift(z, u=None):
        driven = jnp.broadcast_to(c, z.shape) + z @ a.T
        return driven if u is None else driven + u @ b

    return drift


def bistable(found: StateSpaceFit, key: PRNGKeyArray, *, steep: float = 1.5) -> tuple[Callable, np.ndarray]:
    r"""A drift with one stable point where the trials of each choice end on average, a saddle half-way, and
    the inputs of a fitted model.

    Along the line through the two points, with $s$ from -1 to 1 between them, $F$ is
    $\tanh(\gamma s)/\tanh\gamma$; across it, the state decays at half the leak. Inputs act as in `linear`.

    - `steep`: $\gamma$, the steepness.

    **Returns** the drift, and the fixed points (3, rank): left, saddle, right.

    **Raises** `ValueError` where the recording does not have two choices.

    >>> from lrcore import latents
    >>> from lrcore.recording import clicks_session
    >>> data = clicks_session(jr.key(0), n_trials=30).recording
    >>> found = latents.fit(data, 2, key=jr.key(1), iterations=2, progress=False)
    >>> drift, points = bistable(found, jr.key(2))
    >>> bool(jnp.allclose(drift(jnp.asarray(points)), points, atol=1e-4))
    True
    """
    ends = _ends(found)
    if ends is None:
        raise ValueError("found: expected a fit of a recording with two choices: there is nothing to decide")
    left, right = ends
    steep = checks.positive("steep", steep)
    middle, half = (jnp.asarray(x, jnp.float32) for x in ((left + right) / 2, (right - left) / 2))
    size = jnp.linalg.norm(half)
    b = jnp.asarray(_least_squares(found, key)[found.model.rank : -1], jnp.float32)

    def drift(z, u=None):
        away = z - jnp.broadcast_to(middle, z.shape)
        s = (away @ half / size**2)[..., None]
        along = jnp.broadcast_to(half, z.shape)
        own = z - away + jnp.tanh(steep * s) / jnp.tanh(steep) * along + (away - s * along) / 2
        return own if u is None else own + u @ b

    return drift, np.stack([left, (left + right) / 2, right])


def _ends(found: StateSpaceFit) -> list | None:
    """Where the trials of each choice end on average, (rank,) each; None where there are not two choices."""
    choices = found.recording.choices
    labels = [] if choices is None else np.unique(choices)
    if len(labels) != 2:
        return None
    last = _last(found, np.asarray(found.latents.z))
    return [last[choices == side].mean(axis=0) for side in labels]


def _choices(found: StateSpaceFit, path) -> np.ndarray | None:
    """The choice of each simulated trial, by the end it is nearer to; those of the recording where it does
    not have two.
    """
    ends, choices = _ends(found), found.recording.choices
    if ends is None or choices is None:
        return choices
    left, right = (np.linalg.norm(_last(found, path) - end, axis=1) for end in ends)
    return np.unique(choices)[(right < left).astype(int)]


def _last(found: StateSpaceFit, path):
    """States at the end of each trial (trial, rank)."""
    return path[np.arange(len(path)), found.recording.lengths - 1]


def _least_squares(found: StateSpaceFit, key) -> np.ndarray:
    """Weights (rank + input + 1, rank) of the drift on the state, the inputs and 1, over posterior draws."""
    steps = found.steps(key, 1)
    design = np.column_stack([steps.z, steps.u, np.ones(len(steps))])
    return np.linalg.lstsq(design, steps.y, rcond=None)[0]


def _path(model, drift, u, key) -> Array:
    """Latents (trial, time, dim), decision and nuisance."""
    start_key, noise_key = jr.split(key)
    trials, time, _ = u.shape
    dim, rank = model.m.shape[1], model.rank
    noise = jr.normal(noise_key, (time - 1, trials, dim))
    stationary = jnp.sqrt(model.q_nuisance / jnp.maximum(1 - model.a**2, 1e-3))
    first = jr.normal(start_key, (trials, dim))
    z = model.mean0[None, :rank] + first[:, :rank] @ jnp.linalg.cholesky(model.v0).T
    x = first[:, rank:] * stationary[None]
    root, scale = jnp.linalg.cholesky(model.q), jnp.sqrt(model.q_nuisance)

    def step(state, now):
        z, x = state
        u, e = now
        z = (1 - model.alpha) * z + model.alpha * drift(z, u) + e[:, :rank] @ root.T
        x = model.a[None] * x + e[:, rank:] * scale[None]
        return (z, x), jnp.concatenate([z, x], axis=1)

    _, rest = jax.lax.scan(step, (z, x), (u.transpose(1, 0, 2)[:-1], noise))
    return jnp.concatenate([jnp.concatenate([z, x], axis=1)[None], rest]).transpose(1, 0, 2)
