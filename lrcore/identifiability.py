"""How much data determine of the connectivity: numbers about the law, single neurons, and what is assumed."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Float

from . import checks
from .activation import Activation
from .checks import ArrayLike
from .connector import Connector
from .maxent import MaximumEntropy, fit, matched
from .network import Embedding
from .spectra import IDENTIFIED, given_noise
from .spectra import Spectrum as Spectrum
from .spectra import determined_orders as determined_orders
from .spectra import spectrum as spectrum
from .steps import Steps

# What rates show to this accuracy, by modes above this tolerance, is a confound.
_CONFOUNDED = 1e-2


def ghost(m: ArrayLike, d: ArrayLike) -> Float[np.ndarray, "..."]:
    r"""A function of the embedding that tanh never sees, though it is odd: for independent standard normal m
    and d, $\mathbb E[q\,\tanh(mz+d)]=0$ for every z.

    $$q(m,d)=m\,(d^2B-2dB'+B'')+(m^3-3m)\,B,\qquad B(d)=\int_0^1e^{a^2c^2/2}\cos(acd)\,\mathrm dc,\quad
      a=\tfrac\pi2$$

    at m and d of one shape, rank 1. A current into all neurons shows it: $\mathbb E[q\tanh(mz+d+u)]\ne0$.

    Source: ours. By Stein's identity the expectation is $z\int\big[(1+z^2)T^{(3)}+T^{(1)}\big]\rho B\,\mathrm
    dd$ with $T(d)=\mathbb E_m\tanh(mz+d)$ and $\rho$ the density of d. Up to factors, the Fourier transform
    of $\rho B$ is $e^{-\omega^2/2}\sinh(a\omega)/a\omega$, and that of $T^{(1)}$ is
    $e^{-\omega^2z^2/2}\,a\omega/\sinh a\omega$: what is integrated over $\omega$ is the derivative of
    $\omega e^{-(1+z^2)\omega^2/2}$.

    >>> x = np.linspace(-9, 9, 361)
    >>> m, d = np.meshgrid(x, x)
    >>> weights = np.exp(-(m**2 + d**2) / 2) / np.exp(-(m**2 + d**2) / 2).sum()
    >>> bool(abs(np.sum(weights * ghost(m, d) * np.tanh(2 * m + d))) < 1e-12)
    True
    """
    m, d = np.asarray(m, float), np.asarray(d, float)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    frequency = np.pi / 4 * (nodes + 1)
    weights = weights / 2 * np.exp(frequency**2 / 2)
    phase = frequency * d[..., None]
    level = np.cos(phase) @ weights
    slope = -np.sin(phase) @ (weights * frequency)
    bend = -np.cos(phase) @ (weights * frequency**2)
    return m * (d**2 * level - 2 * d * slope + bend) + (m**3 - 3 * m) * level


class Confound(NamedTuple):
    r"""What else makes the same flow; made by `confounds`.

    - `name`: "leak" or "origin". `residual`: by how much the drift that it needs is missed, relative to it.
    - `size`: root mean square of q over nodes and coordinates, in the unit of n. `change`: q (node, rank).
    """

    name: str
    residual: float
    size: float
    change: Float[np.ndarray, "node change"]

    @property
    def found(self) -> bool:
        """Whether weights make up for it to a hundredth, so that data of that accuracy do not tell it."""
        return self.residual <= _CONFOUNDED

    def __repr__(self) -> str:
        return f"{self.name}: weights of rms {self.size:.3g} make another, but for {self.residual:.1%} of it"


def confounds(found: Spectrum, tolerance: float = _CONFOUNDED) -> tuple[Confound, Confound]:
    r"""Whether another leak, or another origin of the latents, makes the same flow with other weights.

    - *Leak*: $\kappa\tau$ in place of $\tau$ turns g into $\kappa g+(1-\kappa)q$ with $\mathcal Tq=z$.
    - *Origin*: $z+c$ in place of z, with $d-m\cdot c$ in place of d, turns n into $n+cq$ with
      $\mathcal Tq=1$; its `change` has one column.

    Such q are sought among the modes above `tolerance`, relative to the first. Where the spectrum has
    perturbed experiments, in which z is the same and rates are not, q has to serve in them too.

    Source: ours.

    >>> from lrcore import systems
    >>> for activation in ("softplus", "tanh"):
    ...     leak, _ = confounds(spectrum(systems.ring(), systems.grid(12), activation=activation, nodes=40))
    ...     print(activation, leak.found)
    softplus True
    tanh False
    """
    kept = found.rank(tolerance)
    images, values = found.images[:, :kept], found.values[:kept]
    z = np.tile(found.states, (len(found.images) // len(found.states), 1))

    def confound(name, target):
        along = images.T @ target / len(target)
        power = np.mean(target**2, axis=0).sum()
        residual = np.sqrt(max(power - (along**2).sum(), 0.0) / power)
        change = found.modes[:, :kept] @ (along / values[:, None])
        return Confound(name, float(residual), float(np.sqrt((found.shares @ change**2).mean())), change)

    return confound("leak", z), confound("origin", np.ones((len(z), 1)))


class Individual(NamedTuple):
    r"""How well neurons are known one by one; made by `individually_identified`.

    - `deviation`: (neuron,), posterior standard deviation of one coordinate of each $n_i$, relative to its
      prior's. `count`: $N^*$, about how many numbers of the weights are known to a tenth: of fewer neurons
      than that each is known, of more only functions of e.
    """

    deviation: Float[np.ndarray, " neuron"]
    count: int

    def __repr__(self) -> str:
        known = int((self.deviation <= 0.1).sum())
        return f"{known} of {len(self.deviation)} neurons known to a tenth of their prior; N* = {self.count}"


def individually_identified(found: Spectrum, noise, *, size, steps: int | None = None) -> Individual:
    r"""How well each neuron's weights are known, if before the data all are independent.

    With the prior $\mathcal N(0,\sigma_0^2)$ of every weight, noise s and T steps, the N weights of one
    coordinate have after the data the covariance
    $\sigma_0^2\big(I-\tfrac1N\sum_j\tfrac{\gamma_j}{1+\gamma_j}\psi_j\psi_j^\top\big)$ with
    $\gamma_j=\sigma_j^2\sigma_0^2T/Ns^2$, and $N^*=\#\{j:\gamma_j\ge99\}$.

    - `found`: a spectrum of an `Embedding`, whose nodes are the neurons. `noise`: s of one coordinate of one
      measured drift. `size`: $\sigma_0$, in the unit of n. `steps`: T, the states by default.

    **Raises** `ValueError` for nodes of unequal shares, which are no neurons.

    Source: ours.

    >>> from lrcore import systems
    >>> import jax.random as jr
    >>> few = spectrum(systems.ring().sample(jr.key(0), 6).embedding, systems.grid(12))
    >>> individually_identified(few, 1e-4, size=2.0)
    6 of 6 neurons known to a tenth of their prior; N* = 6
    """
    n = len(found.nodes)
    if not np.allclose(found.shares, 1 / n):
        raise ValueError("found: expected the spectrum of an lr.Embedding, got nodes of unequal shares")
    gain = found.information(noise, steps=steps, size=checks.positive("size", size) / np.sqrt(n))
    known = (found.modes**2 / n) @ (gain / (1 + gain))
    return Individual(np.sqrt(np.maximum(1 - known, 0)), int((gain >= IDENTIFIED).sum()))


def _mixed(first: Steps, second: Steps, counted, most: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """States and inputs of two sets of steps, in proportion to how many each counts for."""
    total = min(len(first) + len(second), most)
    some = max(round(total * counted[0] / sum(counted)), 1)
    rows = [
        np.linspace(0, len(steps) - 1, number).round().astype(int)
        for steps, number in ((first, some), (second, max(total - some, 1)))
    ]
    pairs = ((first.z, second.z), (first.u, second.u))
    z, u = (np.concatenate([a[rows[0]], b[rows[1]]]) for a, b in pairs)
    return z, u


class Report(eqx.Module):
    r"""What a data set determines of $g(e)=\mathbb E[n\mid e]$, in numbers; made by `report`, prints as a
    short table.

    - `spectrum`: the operator on the visited states, the neurons as samples of p(e).
    - `information`: (mode,), how many times the data's precision exceeds the prior's. `counts`: identified
      modes under a prior ten times narrower, as it is, and ten times wider.
    - `noise`: s; `steps`: T, independent measured drifts; `rank`: coordinates of n, each with the same modes.
    - `prior`: which one, in words. `neurons`: numbers about these very neurons, rather than the law (0 under
      a white prior, which makes no difference between the two).
    - `added`: modes that the candidate steps would add, or None.
    - `over_tau`: numbers about the law, and identified modes, with another time constant in place of the one
      that the steps assume: by their ratio.
    - `weights`: root mean square of n as fitted.
    """

    spectrum: Spectrum
    information: Float[np.ndarray, " mode"]
    counts: tuple[int, int, int]
    noise: float
    steps: float
    rank: int
    prior: str = eqx.field(static=True)
    neurons: float
    added: int | None
    over_tau: dict[float, tuple[float, int]]
    weights: float

    @property
    def modes(self) -> int:
        """Identified modes: posterior standard deviation at most a tenth of the prior's."""
        return int((self.information >= IDENTIFIED).sum())

    @property
    def partly(self) -> int:
        """Modes that are not identified, but of which the data say more than the prior."""
        return int((self.information >= 1).sum()) - self.modes

    @property
    def degrees_of_freedom(self) -> float:
        """df, of one coordinate of n."""
        return float((self.information / (1 + self.information)).sum())

    def captured(self, function: ArrayLike) -> float | Float[np.ndarray, " function"]:
        """Share of the energy of functions of e, given at the neurons (neuron,) or (neuron, function), that
        is identified.
        """
        if not self.modes:
            return np.zeros(np.shape(function)[1]) if np.ndim(function) > 1 else 0.0
        last = self.spectrum.values[self.modes - 1] / self.spectrum.values[0]
        return self.spectrum.captured(function, last * (1 - 1e-9))

    def __repr__(self) -> str:
        n, states = len(self.spectrum.nodes), self.spectrum.states
        spread = " x ".join(f"{s:.2g}" for s in states.std(axis=0))
        narrow, _, wide = self.counts
        law = self.rank * self.degrees_of_freedom
        about = f" and {self.neurons:.0f} about these very neurons" if self.neurons else ""
        more = (
            ""
            if self.added is None
            else f"; by the candidates {self.added} functions more would be identified"
        )
        lines = [
            f"Of {n * self.rank:,} weights n of {n:,} neurons the data hold {law:.0f} numbers about their "
            f"law{about}.",
            f"visited      {self.steps:,.0f} independent steps, standard deviation {spread}; noise "
            f"{self.noise:.3g} a step",
            f"prior        {self.prior}",
            f"identified   {self.modes} functions of e for each of the {self.rank} coordinates of n, to a "
            f"tenth of their prior ({narrow} with one ten times narrower, {wide} with one ten times wider)",
            f"partly       {self.partly} more, better than by their prior{more}",
            "free         every other function of e; clusters and tails of n given e",
            "assumed      leak (tau) and origin of z: another leak or origin has other weights",
            *(_sentence(one, self.weights) for one in confounds(self.spectrum)),
        ]
        if self.over_tau:
            over = sorted((self.over_tau | {1.0: (law, self.modes)}).items())
            ratios, numbers, modes = (
                ", ".join(parts)
                for parts in zip(*((f"{tau:g}", f"{x:.0f}", f"{k}") for tau, (x, k) in over), strict=True)
            )
            lines.append(f"tau          {ratios} times the assumed: {numbers} numbers, {modes} functions")
        return "\n".join(lines)


def _sentence(one: Confound, weights: float) -> str:
    if not one.found:
        return f"{one.name:12} no weights that these rates show make another, up to {one.residual:.1%}"
    much = f", {one.size / weights:.2g} times as large as n" if weights > 0 else ""
    return f"{one.name:12} other weights{much}, make another to {one.residual:.1%}"


def report(
    steps: Steps | MaximumEntropy | Connector,
    embedding: Embedding | None = None,
    *,
    noise=None,
    activation: Activation | None = None,
    size: float | None = None,
    candidates: ArrayLike | None = None,
    taus: Sequence[float] = (0.5, 2.0),
) -> Report:
    r"""How many numbers about the connectivity a data set determines.

    **Arguments**

    - `steps`: `Steps` of the data; or a fit of `lr.maxent` or a `Connector`, which know all but `size`.
    - `embedding`: of the recorded neurons, beside `Steps`.
    - `noise`: standard deviation of one coordinate of one drift target $Y_t$; as measured by default.
    - `activation`: of the recorded neurons; by default that of the fit, or tanh.
    - `size`: $s_0$, for a white prior: standard deviation of the coefficient of every mode, in the unit of n.
      Independent weights of standard deviation $\sigma_0$ have $s_0=\sigma_0/\sqrt N$. By default the prior
      is the one that the data measure, see `lr.evidence`: nothing is left to choose, and the spread of n
      given e, which hides the law as noise does, is counted as well.
    - `candidates`: `Steps` of an experiment that could be done, such as other inputs at the same states: what
      they would add to those at hand.
    - `taus`: other time constants, relative to the one that the steps assume. A fit is made again with each
      that is no shorter than a bin, as data do not choose among them, and what it counts is printed:
      $\kappa\tau$ in place of $\tau$ makes $z+\kappa(Y-z)$ of Y. Each takes as long as the fit; () for none.
      `Steps` are counted as they are.

    Copies of a step count as one, and steps whose residuals are correlated as fewer, the more of the noise
    these are; the spectrum is that of at most 4,000 explored states.

    **Raises** `ValueError` for a non-positive noise or size, an embedding that does not go with the steps;
    `TypeError` for anything but these.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> from lrcore.steps import steps
    >>> net = systems.ring().sample(jr.key(0), 200)
    >>> report(steps(systems.trajectories(net, points=4), alpha=0.1), net.embedding, noise=0.1)
    Of 400 weights n of 200 neurons the data hold ... numbers about their law and ... about these very...
    visited      ... independent steps, standard deviation ...
    prior        measured: ...
    ...
    """
    model = steps.maxent if isinstance(steps, Connector) else steps
    if not isinstance(taus, Sequence):
        raise TypeError(f"taus: expected ratios such as (0.5, 2.0), or () for none, got {taus!r}")
    taus = [checks.positive("taus", tau) for tau in taus]
    if isinstance(model, MaximumEntropy):
        if embedding is not None:
            raise ValueError("embedding: expected none beside a fit, which has its own")
        activation = activation or model.activation
        # A ridge that was given is no fit that could be made again.
        taus = taus if len(model.evidence.power) > 1 else []
    else:
        taus = []
        if embedding is None and not isinstance(steps, Steps):
            raise TypeError(
                "steps: expected lr.Steps, or a fit of lr.maxent or a Connector, got "
                f"{type(steps).__name__}: lr.steps(latents, alpha=...)"
            )
        if embedding is None:
            raise TypeError(
                "embedding: expected the recorded neurons' lr.Embedding beside the steps, got None"
            )
        activation = activation or "tanh"
        model = _quietly(model, embedding, activation)
    steps, embedding, found = model.steps, model.embedding, model.evidence
    scale = float(model.noise if noise is None else given_noise(noise))
    n, white = embedding.n_neurons, None if size is None else checks.positive("size", size)
    # Steps that one of them counts for; noise beyond what was measured is taken to be independent.
    correlated = steps.measured / model.modes.steps
    share = 1 / steps.copies / (1 + (correlated - 1) * min(1.0, (model.noise / scale) ** 2))

    def known(states, inputs, count):
        """The spectrum on states, and what `count` independent steps there say of its modes, under three
        priors.
        """
        seen = spectrum(embedding, states, inputs, activation=activation)
        values = seen.values**2 * count
        if white is not None:
            return seen, [(factor * white / scale) ** 2 * values for factor in (0.1, 1, 10)]
        law, network, other = found.divided(values, n, scale / model.noise)
        gain = law / (network + other)
        left = [(1 / (1 + factor**2 * gain)).mean(axis=(0, 2)) for factor in (0.1, 1, 10)]
        return seen, [1 / part - 1 for part in left]

    def count(information):
        return int((information >= IDENTIFIED).sum())

    seen, informations = known(*steps.explored(), share * len(steps))
    if white is None:
        decay = np.mean(found.decay)
        words = (
            f"measured: modes of g fall as their power to the {decay:.2g}, spread {model.deviation:.2g} of n"
        )
        about = found.degrees_of_freedom(model.modes)[1]
    else:
        words = f"white: {white:.3g} for each mode, as of independent weights of {white * np.sqrt(n):.3g}"
        about = 0.0
    added = None
    if candidates is not None:
        more = matched(candidates, embedding)[0]
        counted = share * len(steps), share * steps.copies * more.measured
        both = count(known(*_mixed(steps, more, counted), sum(counted))[1][1])
        # More data never say less; of other states, some 4,000 may seem to.
        added = max(both - count(informations[1]), 0)
    over_tau = {}
    for tau in taus:
        # Bins longer than tau are no Euler steps.
        if steps.alpha <= tau:
            other = _quietly(steps.with_tau(tau), embedding, activation)
            one = report(other, noise=None if noise is None else tau * scale, size=size, taus=())
            over_tau[tau] = one.rank * one.degrees_of_freedom, one.modes
    counts = tuple(count(one) for one in informations)
    about = (words, about, added, over_tau, float(np.sqrt(np.mean(model.n**2))))
    return Report(seen, informations[1], counts, scale, share * len(steps), steps.rank, *about)


def _quietly(steps: Steps, embedding: Embedding, activation: Activation) -> MaximumEntropy:
    """A fit of which nobody samples a population: it is not warned of that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return fit(steps, embedding, activation=activation)
