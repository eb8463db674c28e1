r"""Perturbations of neurons: silencing, currents, clamps; their flow, and what data say of it beforehand."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from . import checks
from .activation import Activation, inverse
from .belief import belief
from .cell_types import labelled
from .checks import ArrayLike
from .connector import Connector
from .distributions import ConnectivityDistribution
from .maxent import MaximumEntropy
from .modes import rates
from .network import Embedding, LowRankNetwork, flat, states

# Neurons that stand for a population.
_MANY = 8192
# Of its prior's standard deviation, what may be left of a prediction that is identified (three are 5 %), and
# what may be of the part that no drift shows before it is free.
_IDENTIFIED, _FREE = 1 / 60, 1 / 5


class Perturbation(eqx.Module):
    r"""What is done to a set of neurons, made by `silenced`, `current` and `clamped`.

    - `which`: the set: a mask (neuron,), a function from embeddings (neuron, embedding) to a mask, one label
      or several of them; None for all neurons.
    - `kind`: "silenced", "current" or "clamped". `amount`: the current that is added to the potential, or the
      rate at which neurons are held.
    - `during`: from when to when, in the unit of tau; None for always.
    """

    which: Any
    kind: str = eqx.field(static=True)
    amount: float
    during: tuple[float, float] | None

    def neurons(
        self, e: ArrayLike | Embedding, labels: ArrayLike | None = None
    ) -> Bool[np.ndarray, " neuron"]:
        """Which of the neurons of an `Embedding`, or of columns (neuron, embedding), are meant; `labels`:
        (neuron,), of any kind.

        **Raises** `ValueError` for a set without neurons, of all where they are held, unknown labels, and a
        mask of another size.
        """
        e = np.asarray(e.array if isinstance(e, Embedding) else e, float)
        n, which = len(e), self.which
        if which is None:
            found = np.ones(n, bool)
        elif callable(which):
            found = np.asarray(which(e))
            if found.shape != (n,) or found.dtype != bool:
                raise ValueError(
                    f"which: expected a function from embeddings {e.shape} to a mask ({n},), got one to "
                    f"{found.dtype} {found.shape}"
                )
        elif np.asarray(which).dtype == bool:
            found = np.asarray(checks.array("which", which, ("neuron",), sizes={"neuron": n}))
        else:
            found = _labelled(np.atleast_1d(which), labels, n)
        if not found.any():
            raise ValueError(f"which: expected at least one neuron, got none of {n}")
        if self.kind != "current" and found.all():
            raise ValueError(f"which: expected some neurons that stay free, got all {n} {self.kind}")
        return found


def _labelled(names, labels, n: int) -> Bool[np.ndarray, " neuron"]:
    if labels is None:
        raise ValueError(f"labels: expected one for each of the {n} neurons beside the set {names.tolist()}")
    labels = labelled(labels, n)
    unknown = np.setdiff1d(names, labels)
    if len(unknown):
        known = ", ".join(map(str, np.unique(labels)[:12]))
        raise ValueError(f"which: expected labels among {known}, got {unknown[0]}")
    return np.isin(labels, names)


def silenced(which, *, during: tuple[float, float] | None = None) -> Perturbation:
    r"""Neurons that write nothing: $F^S(z,u)=\mathbb E[\mathbf 1_{e\notin S}\,n\,\phi(h)]$.

    `which` and `during` are those of `Perturbation`.

    >>> from lrcore import systems
    >>> net = systems.ring().sample(jr.key(0), 100)
    >>> left = perturbed(net, silenced(lambda e: e[:, 0] < 0))
    >>> bool((left.n[net.m[:, 0] < 0] == 0).all())
    True
    """
    return Perturbation(_some(which), "silenced", 0.0, _pulse(during))


def current(amount, which=None, *, during: tuple[float, float] | None = None) -> Perturbation:
    r"""A current into neurons, by default all: $\phi(h+\delta d)$, with `amount` $\delta d$ in the unit of
    potentials. A sweep is a list of them.

    >>> from lrcore import systems
    >>> net = systems.ring().sample(jr.key(0), 100)
    >>> [perturbed(net, current(level)).d[0].item() for level in (-1.0, 0.5, 1.0)]
    [-1.0, 0.5, 1.0]
    """
    checks.finite("amount", np.asarray(amount, float))
    return Perturbation(which, "current", float(amount), _pulse(during))


def clamped(rate, which, *, during: tuple[float, float] | None = None) -> Perturbation:
    r"""Neurons whose rate is held at a value within the range of $\phi$.

    >>> from lrcore import systems
    >>> net = systems.ring().sample(jr.key(0), 100)
    >>> held = perturbed(net, clamped(0.5, lambda e: e[:, 0] > 1))
    >>> bool(jnp.allclose(held.rates(jnp.ones(2))[net.m[:, 0] > 1], 0.5))
    True
    """
    checks.finite("rate", np.asarray(rate, float))
    return Perturbation(_some(which), "clamped", float(rate), _pulse(during))


def _some(which):
    if which is None:
        raise ValueError("which: expected a set of neurons, got None: some have to stay free")
    return which


def _pulse(during) -> tuple[float, float] | None:
    if during is None:
        return None
    start, stop = (checks.positive("during", time, zero=True) for time in during)
    if not start < stop:
        raise ValueError(f"during: expected (start, stop) with start before stop, got {during}")
    return float(start), float(stop)


def _listed(perturbations) -> list[Perturbation]:
    found = [perturbations] if isinstance(perturbations, Perturbation) else list(perturbations)
    for one in found:
        if not isinstance(one, Perturbation):
            raise TypeError(
                f"perturbations: expected lr.perturb.silenced, current or clamped, got {type(one).__name__}"
            )
    return found


def _potential(rate: float, activation: Activation) -> float:
    """The potential at which a neuron has a rate."""
    if activation == "relu":
        low, high, back = 0.0, np.inf, float
        inside = rate >= 0
    else:
        function, low, high = inverse(activation)
        inside = low < rate < high

        def back(rate: float) -> float:
            return float(function(jnp.asarray(rate)))

    if not inside:
        raise ValueError(
            f"rate: expected one within the range of {activation}, {low:g} to {high:g}, got {rate:g}; "
            "neurons that write nothing are `silenced`"
        )
    return back(rate)


class _Acting(NamedTuple):
    """Of each neuron (neuron,): the added current, whether it is silent, whether it is held, and at which
    rate.
    """

    current: Float[np.ndarray, " neuron"]
    silent: Bool[np.ndarray, " neuron"]
    held: Bool[np.ndarray, " neuron"]
    rate: Float[np.ndarray, " neuron"]


def _acting(perturbations, e, labels, activation) -> _Acting:
    added, rate = np.zeros(len(e)), np.zeros(len(e))
    silent, held = np.zeros(len(e), bool), np.zeros(len(e), bool)
    for one in _listed(perturbations):
        which = one.neurons(e, labels)
        if one.kind == "current":
            added[which] += one.amount
            continue
        silent[which], held[which], rate[which] = one.kind == "silenced", one.kind == "clamped", one.amount
        if one.kind == "clamped":
            _potential(one.amount, activation)
    if (silent | held).all():
        raise ValueError(f"perturbations: expected some neurons that stay free, got all {len(e)} held")
    return _Acting(added, silent, held, rate)


def perturbed(
    model: LowRankNetwork | ConnectivityDistribution | MaximumEntropy,
    perturbations: Perturbation | Sequence[Perturbation],
    *,
    labels: ArrayLike | None = None,
) -> LowRankNetwork:
    r"""The network while it is perturbed: what `lr.flowfield.fixed_points` and `lr.plots.flow_field` take.

    **Arguments**

    - `model`: a network; a fit of `lr.maxent`, which stands for the recorded neurons; or a distribution, of
      which 8,192 neurons at their conditional mean stand for the mean field. (Of a `Connector` they fill p(e)
      evenly, of another one they are independent draws.)
    - `perturbations`: one or several at once. When they act is of no matter here, see `simulate`.
    - `labels`: (neuron,), for sets that are given by labels.

    Neurons that are held read nothing: their m and b are 0. N stays.

    **Raises** `ValueError` for a rate outside the range of the activation, and as
    `Perturbation.neurons`; `TypeError` for anything but these.

    >>> from lrcore import systems
    >>> net = systems.ring().sample(jr.key(0), 100)
    >>> both = [silenced(["PV"]), current(0.5, "SST")]
    >>> perturbed(net, both, labels=np.repeat(["PV", "SST"], 50)).drift(jnp.zeros(2)).shape
    (2,)
    """
    network = _network(model)
    e = network.embedding
    on = _acting(perturbations, np.asarray(e.array, float), labels, network.activation)
    d = on.current + (0 if e.d is None else np.asarray(e.d, float))
    for rate in np.unique(on.rate[on.held]):
        d[on.held & (on.rate == rate)] = _potential(float(rate), network.activation)
    kind, reads = network.n.dtype, ~on.held[:, None]
    m, b = (None if part is None else jnp.where(reads, part, 0) for part in (e.m, e.b))
    n = jnp.where(on.silent[:, None], 0, network.n)
    bias = None if e.d is None and not d.any() else jnp.asarray(d, kind)
    return LowRankNetwork(m, n, b, bias, activation=network.activation, tau=network.tau)


def _network(model) -> LowRankNetwork:
    if isinstance(model, LowRankNetwork):
        return model
    if isinstance(model, MaximumEntropy):
        return model.network()
    if isinstance(model, Connector):
        return model.many
    if isinstance(model, ConnectivityDistribution):
        drawn = model.sample(jr.key(0), _MANY)
        e = drawn.embedding
        return LowRankNetwork(
            e.m, model.conditional_mean(e), e.b, e.d, activation=drawn.activation, tau=drawn.tau
        )
    raise TypeError(
        "model: expected an lr.LowRankNetwork, a distribution, a fit of lr.maxent or an lr.Connector, got "
        f"{type(model).__name__}"
    )


def rows(
    embedding: Embedding,
    perturbations: Perturbation | Sequence[Perturbation],
    z: ArrayLike,
    u: ArrayLike | None = None,
    *,
    activation: Activation = "tanh",
    labels: ArrayLike | None = None,
) -> Float[np.ndarray, "state neuron"]:
    r"""What each neuron's n weighs in the perturbed drift, $F^{\rm pert}(z_s,u_s)=\sum_ir_{si}n_i$, at states
    z (state, rank) and inputs u (state, input): its rate over N, in float64.

    No perturbation is an empty list. They are what `lr.belief.Belief` is asked about, and what a recorded
    perturbation adds to the data.

    >>> from lrcore import systems
    >>> net = systems.ring().sample(jr.key(0), 100)
    >>> found = rows(net.embedding, silenced(lambda e: e[:, 0] < 0), systems.grid(3))
    >>> bool(jnp.allclose(found @ net.n, net.silenced(net.m[:, 0] < 0).drift(systems.grid(3)), atol=1e-5))
    True
    """
    z, u = _listed_states(z, u, embedding)
    options = {"bias": embedding.d is not None, "activation": activation, "labels": labels}
    return perturbed_rates(embedding.array, perturbations, z, u, **options) / embedding.n_neurons


def _listed_states(z, u, embedding: Embedding) -> tuple[np.ndarray, np.ndarray]:
    """(state, rank) and (state, input) in float64, of states with any leading axes."""
    z, u = flat(*states(z, u, embedding.rank, embedding.n_inputs))
    return np.asarray(z, float), np.asarray(u, float)


def perturbed_rates(
    e: ArrayLike,
    perturbations: Perturbation | Sequence[Perturbation],
    z: Float[np.ndarray, "state rank"],
    u: Float[np.ndarray, "state input"],
    *,
    bias: bool,
    activation: Activation,
    labels: ArrayLike | None = None,
) -> Float[np.ndarray, "state neuron"]:
    """What neurons of columns e (neuron, embedding) write while they are perturbed, in float64: their rates,
    0 where they are silent.
    """
    e = np.array(e, float)
    on = _acting(perturbations, e, labels, activation)
    if bias:
        e[:, -1] += on.current
    elif on.current.any():
        e, bias = np.concatenate([e, on.current[:, None]], axis=1), True
    found = np.array(rates(e, z, u, bias=bias, activation=activation))
    found[:, on.silent] = 0
    found[:, on.held] = on.rate[on.held]
    return found


def simulate(
    model: LowRankNetwork | ConnectivityDistribution | MaximumEntropy,
    perturbations: Perturbation | Sequence[Perturbation],
    z0: ArrayLike,
    inputs: ArrayLike | None = None,
    dt=None,
    steps: int | None = None,
    *,
    labels: ArrayLike | None = None,
) -> Float[Array, "... time rank"]:
    r"""Latent trajectories of a network that is perturbed for some of the time.

    A perturbation with `during=(start, stop)` acts on the Euler steps that begin in this interval, one
    without on all. Other arguments and what is returned are those of `LowRankNetwork.simulate`.

    **Raises** what `perturbed` and `LowRankNetwork.simulate` do, and `ValueError` for a pulse that no step
    falls into.

    >>> from lrcore import systems
    >>> net = systems.quadstable().sample(jr.key(0), 500)
    >>> push = current(3.0, lambda e: e[:, 0] > 0, during=(2.0, 4.0))
    >>> z = simulate(net, push, -jnp.ones(2), steps=80)
    >>> z.shape, bool(jnp.allclose(z[:20], net.simulate(-jnp.ones(2), steps=80)[:20], atol=1e-5))
    ((81, 2), True)
    """
    network = _network(model)
    dt = network.tau / 10 if dt is None else checks.positive("dt", dt)
    if inputs is not None:
        inputs = checks.array("inputs", inputs, ("...", "time", "input"))
        steps = inputs.shape[-2]
    if steps is None:
        raise ValueError("steps: expected a number of steps, as there are no inputs to take it from")
    steps, listed = checks.count("steps", steps), _listed(perturbations)
    when = []
    for one in listed:
        start, stop = (0.0, np.inf) if one.during is None else one.during
        # Times that are whole steps up to rounding are meant as such.
        first, last = (int(min(np.ceil(time / dt - 1e-6), steps)) for time in (start, min(stop, dt * steps)))
        if not first < last:
            raise ValueError(f"during: expected a pulse within {steps} steps of {dt:g}, got {one.during}")
        when.append((first, last))
    cuts = sorted({0, steps, *(cut for pair in when for cut in pair)})
    parts = []
    for first, last in zip(cuts[:-1], cuts[1:], strict=True):
        acting = [one for one, (a, b) in zip(listed, when, strict=True) if a <= first < b]
        now = perturbed(network, acting, labels=labels) if acting else network
        given = None if inputs is None else inputs[..., first:last, :]
        z = now.simulate(z0, given, dt, last - first)
        parts.append(z if not parts else z[..., 1:, :])
        z0 = z[..., -1, :]
    return jnp.concatenate(parts, axis=-2)


class Prediction(eqx.Module):
    r"""What data say of a perturbation before it is done; made by `predict`.

    - `states`, `inputs`: where. `drift`: (state, rank), the prediction of maximum entropy: that of the
      simplest circuit with the dynamics that were recorded.
    - `low`, `high`: (state, rank), the band of all circuits with these dynamics.
    - `network`: the simplest circuit, perturbed. `weights`: (draw, neuron, rank), n of circuits drawn from
      the band.
    - `left`: what is left of the prior's standard deviation of this drift, root mean squares over states and
      coordinates, once the data are in: (of any circuit, of the simplest).
    """

    states: Float[np.ndarray, "state rank"]
    inputs: Float[np.ndarray, "state input"]
    drift: Float[np.ndarray, "state rank"]
    low: Float[np.ndarray, "state rank"]
    high: Float[np.ndarray, "state rank"]
    network: LowRankNetwork
    weights: Float[np.ndarray, "draw neuron rank"]
    left: tuple[float, float]

    @property
    def verdict(self) -> str:
        """ "identified", "assumed" or "free", by the rule of `predict`."""
        every, simplest = self.left
        if every <= _IDENTIFIED:
            return "identified"
        return "free" if every**2 - simplest**2 >= _FREE**2 else "assumed"

    @property
    def networks(self) -> tuple[LowRankNetwork, ...]:
        """The circuits of the band, perturbed: each has its own flow, fixed points and trajectories."""
        return tuple(map(self.network.with_weights, self.weights))

    def __repr__(self) -> str:
        every, simplest = self.left
        meant = {
            "identified": "the recording decides it",
            "assumed": "the recording leaves some of it open, where maximum entropy decides",
            "free": "circuits with the recorded dynamics respond differently",
        }
        return (
            f"Prediction at {len(self.states)} states: {self.verdict}, {meant[self.verdict]}\n"
            f"left of the prior's standard deviation: {every:.2g} among all circuits with these dynamics, "
            f"{simplest:.2g} among the simplest"
        )


def fitted(model, otherwise: str) -> MaximumEntropy:
    """The fit of `lr.maxent` that a model is or has; others are refused, with what to do `otherwise`."""
    fit = model.maxent if isinstance(model, Connector) else model
    if not isinstance(fit, MaximumEntropy):
        raise TypeError(
            f"model: expected a fit of lr.maxent or an lr.Connector, got {type(model).__name__}: {otherwise}"
        )
    return fit


def predict(
    model: MaximumEntropy | Connector,
    perturbations: Perturbation | Sequence[Perturbation],
    z: ArrayLike,
    u: ArrayLike | None = None,
    *,
    key: PRNGKeyArray,
    labels: ArrayLike | None = None,
    draws: int = 200,
    level: float = 0.9,
) -> Prediction:
    r"""The perturbed drift that a fit predicts, the band over what the data leave open, and a verdict.

    Two beliefs about g are compared, see `lr.belief.belief`. For one, g also has what no drift on the
    visited states shows, as large as what they show: what the data leave open has its full width. For the
    other, that of maximum entropy, it has not. The perturbed drift has the standard deviation $\sigma_0$
    before the data under the first, and $\sigma_1$ and $\sigma_2$ after them under the first and the second,
    root mean squares over the states and coordinates. The prediction is

    - *identified*, if $\sigma_1\le\sigma_0/60$: the data decide it, unless the circuit hides far more than it
      shows;
    - *free*, if $\sigma_1^2-\sigma_2^2\ge(\sigma_0/5)^2$: a fifth or more of the size of the response is what
      no drift shows, and circuits with the same dynamics respond differently;
    - *assumed* otherwise: the data leave some of it open, to what no drift shows or to noise, and there
      maximum entropy decides.

    **Arguments**

    - `model`: a fit of `lr.maxent`: the recorded neurons are perturbed, and what their weights stray from g
      is part of the band. A `Connector`: the mean over networks with these embeddings, without that.
    - `z`, `u`: states (state, rank) and inputs (state, input) that are asked about.
    - `draws`: circuits of the band; `level`: its coverage at each state.

    The band is what it says where circuits are drawn from the first belief. Where g is rougher, or hides more
    than it shows, it is too narrow.

    **Raises** as `perturbed`; `TypeError` for a model without data, of which `perturbed` is the whole answer.

    Source: ours.

    >>> from lrcore import maxent, systems
    >>> from lrcore.steps import steps
    >>> net = systems.ring().sample(jr.key(0), 300)
    >>> model = maxent.fit(steps(systems.trajectories(net, points=5), alpha=0.1), net.embedding)
    >>> predict(model, silenced(lambda e: e[:, 0] < 0), systems.grid(5), key=jr.key(1)).verdict
    'free'
    """
    fit = fitted(model, "what is known whole is perturbed by lr.perturb.perturbed")
    level, accident = checks.share("level", level), not isinstance(model, Connector)
    e, phi = fit.embedding, fit.activation
    z, u = _listed_states(z, u, e)
    asked = rows(e, perturbations, z, u, activation=phi, labels=labels)
    every, simplest = belief(fit), belief(fit, simplest=True)
    variances = [one.variance(asked, accident=accident).mean() for one in (every, simplest)]
    scale = np.mean(np.linalg.inv(every.gauge) ** 2) * e.rank
    before = np.diag(every.before(asked, accident=accident)).mean() * scale
    left = tuple(float(np.sqrt(one / before)) for one in variances)
    drawn = every.sample(key, draws, accident=accident)
    weights = fit.n if accident else np.asarray(fit.conditional_mean(e), float)
    tau = model.tau if isinstance(model, Connector) else 1.0
    network = fit.network(tau).with_weights(weights.astype(np.float32))
    network = perturbed(network, perturbations, labels=labels)
    low, high = np.quantile(asked @ drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    writes = ~_acting(perturbations, np.asarray(e.array, float), labels, phi).silent
    drawn = (drawn * writes[:, None]).astype(np.float32)
    return Prediction(z, u, asked @ weights, low, high, network, drawn, left)  # ty: ignore[invalid-argument-type]
