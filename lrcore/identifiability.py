"""What dynamics determine of the connectivity: the operator from conditional mean to drift, mode by mode."""

import warnings
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from . import checks
from .activation import Activation, resolve
from .checks import ArrayLike, x64
from .connector import Connector
from .distributions import GaussianMixture
from .maxent import MaximumEntropy, fit, matched
from .modes import rates
from .network import Embedding, columns
from .steps import Steps

# Nodes for each coordinate of a quadrature over one, two or three: the rule's error falls geometrically with
# their number.
_NODES = {1: 128, 2: 64, 3: 24}
# Singular values below this share of the first are rounding errors.
_ROUNDING = 1e-12
# A mode counts as identified when its posterior standard deviation is at most a tenth of its prior's.
_IDENTIFIED = 99.0


class Spectrum(eqx.Module):
    r"""The singular system of $(\mathcal Tg)(z,u)=\mathbb E_{p(e)}[g(e)\,\phi(m\cdot z+b\cdot u+d)]$, made by
    `spectrum`.

    $$\mathcal T=\sum_j\sigma_j\,\chi_j\otimes\psi_j$$

    from $L^2(p(e))$ to the explored states, each coordinate of g on its own. What is orthogonal to every
    $\psi_j$ is its null space: no dynamics on these states tell it apart from zero.

    - `nodes`, `shares`: where p(e) is evaluated (node, embedding) and with which weight (node,); the neurons,
      each with weight 1/N, for a sampled p(e).
    - `states`, `inputs`: the explored $z_s$ (state, rank) and $u_s$ (state, input), of equal weight.
    - `values`: $\sigma_j$ (mode,), falling. `modes`: $\psi_j$ (node, mode), orthonormal under `shares`.
    - `images`: $\chi_j$ (state, mode), orthonormal under equal weights of the states.
    """

    nodes: Float[np.ndarray, "node embedding"]
    shares: Float[np.ndarray, " node"]
    states: Float[np.ndarray, "state rank"]
    inputs: Float[np.ndarray, "state input"]
    values: Float[np.ndarray, " mode"]
    modes: Float[np.ndarray, "node mode"]
    images: Float[np.ndarray, "state mode"]
    bias: bool = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)

    def __repr__(self) -> str:
        last = self.values[-1] / self.values[0] if len(self.values) else 0.0
        return (
            f"Spectrum: {len(self.values)} modes, {len(self.nodes):,} nodes, {len(self.states):,} states; "
            f"singular values {self.values.max(initial=0):.3g} down to {last:.1g} of it"
        )

    def rank(self, tolerance: float = 1e-9) -> int:
        r"""How many singular values exceed `tolerance` times the largest."""
        tolerance = checks.positive("tolerance", tolerance)
        return int((self.values > tolerance * self.values[0]).sum())

    def captured(
        self, function: ArrayLike, tolerance: float = 1e-9
    ) -> float | Float[np.ndarray, " function"]:
        r"""Share of a function's energy that lies in the row space: 1 is fully determined, 0 is free.

        - `function`: values at the nodes, (node,) or (node, function).
        - `tolerance`: modes with $\sigma_j$ below it, relative to $\sigma_1$, count as null.
        """
        values = self._values(function)
        inside = self.modes[:, : self.rank(tolerance)].T @ (self.shares[:, None] * values)
        share = (inside**2).sum(axis=0) / (self.shares @ values**2)
        return share if np.ndim(function) > 1 else float(share[0])

    def identified_part(self, function: ArrayLike, tolerance: float = 1e-9) -> Float[np.ndarray, "node ..."]:
        """The projection of a function (node, ...) on the row space; what is left of it is free."""
        values = self._values(function)
        modes = self.modes[:, : self.rank(tolerance)]
        part = modes @ (modes.T @ (self.shares[:, None] * values))
        return part.reshape(np.shape(function))

    def free_part(self, function: ArrayLike, tolerance: float = 1e-9) -> Float[np.ndarray, "node ..."]:
        """The projection of a function (node, ...) on the null space: added to g it changes no drift."""
        return np.asarray(function, float) - self.identified_part(function, tolerance)

    def at(self, e: ArrayLike, count: int) -> Float[np.ndarray, "neuron mode"]:
        r"""The first `count` modes at any embedding:
        $\psi_j(e)=\frac1{\sigma_j}\langle\chi_j,\phi(h_e)\rangle$.
        """
        e = np.asarray(columns(e, self.nodes.shape[1], ("neuron", "embedding")), float)
        count = checks.count("count", count, least=0)
        if count > len(self.values):
            raise ValueError(f"count: expected at most the {len(self.values)} modes there are, got {count}")
        seen = _rates(e, self.states, self.inputs, self.bias, self.activation)
        return seen.T @ (self.images[:, :count] / (self.values[:count] * len(self.states)))

    def information(
        self, noise, *, steps: int | None = None, size: float = 1.0
    ) -> Float[np.ndarray, " mode"]:
        r"""$\sigma_j^2 s_0^2 T/s^2$: by how much the data's precision on each mode exceeds the prior's.

        - `noise`: s, standard deviation of one coordinate of one measured drift $Y_t$; `steps`: T, how many
          there are (the states by default); `size`: $s_0$, prior standard deviation of the coefficient of a
          mode.
        """
        noise, size = _noise(noise), checks.positive("size", size)
        steps = len(self.states) if steps is None else checks.count("steps", steps)
        return (self.values * size / noise) ** 2 * steps

    def degrees_of_freedom(self, noise, **options) -> float:
        r"""$\mathrm{df}=\mathrm{tr}\,K(K+\lambda I)^{-1}$ with $K=\mathcal T\mathcal T^*$,
        $\lambda=s^2/(s_0^2T)$; options as `information`.
        """
        gain = self.information(noise, **options)
        return float((gain / (1 + gain)).sum())

    def identified(self, noise, **options) -> Bool[np.ndarray, " mode"]:
        """Modes whose posterior standard deviation is at most a tenth of their prior's; options as
        `information`.
        """
        return self.information(noise, **options) >= _IDENTIFIED

    def _values(self, function):
        if np.shape(function)[:1] != (len(self.nodes),):
            raise ValueError(
                f"function: expected a value at each of the {len(self.nodes)} nodes, got shape "
                f"{np.shape(function)}"
            )
        checks.finite("function", np.asarray(function, float))
        return np.asarray(function, float).reshape(len(self.nodes), -1)


def spectrum(
    embedding,
    states: ArrayLike,
    inputs: ArrayLike | None = None,
    *,
    activation: Activation = "tanh",
    shares: ArrayLike | None = None,
    nodes: int | None = None,
    modes: int | None = None,
) -> Spectrum:
    r"""The singular system of $\mathcal T$ for an embedding distribution, an activation and explored states.

    **Arguments**

    - `embedding`: an `Embedding` whose neurons are samples of p(e); or a `GaussianMixture` with at most three
      embedding coordinates, integrated by the trapezoidal rule, which converges geometrically for analytic
      integrands.
    - `states`: (state, rank), or (trial, time, rank); `inputs`: None, or of the same leading axes.
    - `shares`: (neuron,), weights of the neurons of an `Embedding` that are nodes of a quadrature; equal by
      default.
    - `nodes`: of the trapezoidal rule, for each coordinate; by default 128, 64 or 24 for one, two or three.
    - `modes`: how many to keep; by default all whose $\sigma_j$ exceeds 1e-12 of the first.

    Computed in float64 from the matrix of rates (state, node), which is held in memory.

    **Raises** `ValueError` for an embedding without variance, fewer distinct states than `modes`, states at
    which all rates are 0, a mixture of more than three coordinates.

    Source: Kim et al. (2026), arXiv:2603.26506, section 3, for the operator; the singular system is ours. The
    rule: Trefethen & Weideman (2014), SIAM Review 56, 385.

    >>> from lrcore import systems
    >>> found = spectrum(systems.ring(), systems.grid(12), nodes=32)
    >>> m = found.nodes[:, 0]
    >>> round(found.captured(m), 3), round(found.captured(m**2), 3)
    (1.0, 0.0)
    """
    e, shares, rank, bias = _nodes(embedding, shares, nodes)
    states = np.asarray(checks.array("states", states, ("...", "rank"), sizes={"rank": rank}), float)
    n_inputs = e.shape[1] - rank - bias
    if inputs is None:
        inputs = np.zeros((*states.shape[:-1], n_inputs))
    inputs = np.asarray(checks.array("inputs", inputs, ("...", "input"), sizes={"input": n_inputs}), float)
    if inputs.shape[:-1] != states.shape[:-1]:
        raise ValueError(f"inputs: expected one for each state, {states.shape[:-1]}, got {inputs.shape[:-1]}")
    states = states.reshape(-1, rank)
    if not len(states):
        raise ValueError("states: expected at least one, got none: without states nothing is determined")
    inputs = inputs.reshape(len(states), n_inputs)
    spread = np.sqrt(shares @ (e - shares @ e) ** 2)
    if not (spread > 1e-9 * np.abs(e).max()).any():
        raise ValueError(
            f"embedding: expected neurons that differ, got {len(e)} alike: all that dynamics determine is "
            "the sum of n"
        )
    if modes is not None:
        modes = checks.count("modes", modes)
        distinct = len(np.unique(np.concatenate([states, inputs], axis=1), axis=0))
        if distinct < modes:
            raise ValueError(
                f"states: expected at least as many distinct states as modes, {modes}, got {distinct}: at "
                f"most {distinct} modes can be computed on them"
            )
    scaled = _rates(e, states, inputs, bias, activation) * np.sqrt(shares / len(states))
    if not scaled.any():
        raise ValueError(
            f"states: expected some at which neurons have rates, got {len(states)} where every rate is 0: "
            "the drift there is 0 whatever n is, and nothing is determined"
        )
    left, values, right = np.linalg.svd(scaled, full_matrices=False)
    kept = int((values > _ROUNDING * values[0]).sum()) if modes is None else modes
    psi = right[:kept].T / np.sqrt(shares)[:, None]
    chi = left[:, :kept] * np.sqrt(len(states))
    return Spectrum(e, shares, states, inputs, values[:kept], psi, chi, bias, activation)


def _nodes(embedding, shares, nodes: int | None) -> tuple[np.ndarray, np.ndarray, int, bool]:
    """Where p(e) is evaluated, and with which weights."""
    if isinstance(embedding, Embedding):
        e = np.asarray(embedding.array, float)
        shares = np.ones(len(e)) if shares is None else shares
        shares = np.asarray(checks.array("shares", shares, ("neuron",), sizes={"neuron": len(e)}), float)
        if not (shares > 0).all():
            raise ValueError(f"shares: expected positive weights, got one of {shares.min():g}")
        return e, shares / shares.sum(), embedding.rank, embedding.d is not None
    if not isinstance(embedding, GaussianMixture):
        raise TypeError(
            f"embedding: expected an lr.Embedding or an lr.GaussianMixture, got {type(embedding).__name__}"
        )
    width = embedding.width
    if width > 3:
        raise ValueError(
            f"embedding: expected at most three coordinates for quadrature, got {width}: sample it, "
            "p.sample(key, 2000).embedding"
        )
    nodes = _NODES[width] if nodes is None else checks.count("nodes", nodes, least=2)
    weights, means, covariances = (
        np.asarray(part, float) for part in (embedding.weights, embedding.means, embedding.covariances)
    )
    means, covariances = means[:, :width], covariances[:, :width, :width]
    reach = 7 * np.sqrt(np.einsum("cii->ci", covariances))
    low, high = (means - reach).min(axis=0), (means + reach).max(axis=0)
    axes = np.meshgrid(*(np.linspace(a, b, nodes) for a, b in zip(low, high, strict=True)), indexing="ij")
    e = np.stack([axis.ravel() for axis in axes], axis=1)
    density = np.zeros(len(e))
    for weight, mean, covariance in zip(weights, means, covariances, strict=True):
        white = np.linalg.solve(np.linalg.cholesky(covariance), (e - mean).T)
        density += weight / np.sqrt(np.linalg.det(covariance)) * np.exp(-0.5 * (white**2).sum(axis=0))
    # Nodes of no weight would cost time and, as modes are divided by its root, digits.
    keep = density > 1e-13 * density.max()
    return e[keep], density[keep] / density[keep].sum(), embedding.rank, embedding.bias


def _rates(e, states, inputs, bias, activation) -> np.ndarray:
    """phi(h), (state, node) in float64."""
    found = np.asarray(rates(e, states, inputs, bias=bias, activation=activation))
    if not np.isfinite(found).all():
        raise FloatingPointError(
            "rates are not finite on these states: the activation overflows; check units"
        )
    return found


def determined_orders(activation: Activation, bias: float = 0.0, *, most: int = 7) -> tuple[int, ...]:
    r"""The orders k, up to `most`, that the Taylor series has at the one bias $d_0$ of all neurons:
    $\phi^{(k)}(d_0)\ne0$.

    Dynamics around z = 0 determine the moments $\mathbb E[g(m)\,m^{\otimes k}]$ of these orders. An order
    that is not listed is not free for that: where m is bounded, every order k > 0 of a parity is determined
    if $\sum1/k$ diverges over all the orders of that parity that the series has, beyond `most` too. So one
    that is missing among many costs nothing (tanh at 0.6585 has no order 3, and determines it), those of a
    whole parity are free (tanh at 0), and so are those that a polynomial lacks.

    A derivative is taken for 0 where it is less than 1e-12 of its own size within 0.02 of the bias: each
    order is measured by itself, so that the tails of an activation have all that are there. Computed in
    float64.

    **Raises** `ValueError` for an activation that is not analytic at $d_0$, as its derivatives there say
    nothing, and for one that float64 takes for a line around $d_0$ though it bends elsewhere: it is saturated
    (tanh at 25), or made of pieces.

    Source: ours; the sum is that of the theorem of Müntz and Szász.

    >>> determined_orders("tanh"), determined_orders("softplus"), determined_orders("linear")
    ((1, 3, 5, 7), (0, 1, 2, 4, 6), (1,))
    >>> determined_orders("tanh", 12.0)
    (0, 1, 2, 3, 4, 5, 6, 7)
    """
    bias = float(bias)
    checks.finite("bias", np.asarray(bias))
    derivatives = [resolve(activation)]
    # Enough of them to tell a Taylor series from a kink, also where few are asked for.
    for _ in range(max(checks.count("most", most, least=0), 7)):
        derivatives.append(jax.jacfwd(derivatives[-1]))
    near = np.array([-0.02, -0.01, 0.01, 0.02])
    away = np.geomspace(0.05, 2 * abs(bias) + 40, 50)
    away = np.concatenate([away, -away, bias + away, bias - away])
    with x64():
        at = jnp.asarray(np.concatenate([[bias], bias + near, away]))
        values = np.asarray(jax.jit(jax.vmap(lambda x: jnp.stack([f(x) for f in derivatives])))(at))
    found, nearby, elsewhere = values[0], values[1:5], values[5:]
    if not np.isfinite(values[:5]).all():
        raise ValueError(f"activation: expected finite derivatives at {bias:g}, got others of {activation!r}")
    orders = np.arange(len(found))
    series = near[:, None] ** orders @ (found / np.cumprod(np.maximum(orders, 1.0)))
    # Rounding, and the first neglected term, with room for derivatives that grow as factorials.
    off, change = np.abs(series - nearby[:, 0]), np.abs(nearby[:, 0] - found[0]).max()
    rounding = 1e-14 * np.abs(found[0]) + 1e-9 * change
    if (off > rounding + 100 * 0.02 ** len(found) * np.abs(found[1:]).max()).any():
        raise ValueError(
            f"activation: expected one that is analytic at {bias:g}, got {activation!r}, whose Taylor series "
            f"misses it by {off.max():.1g} nearby: compute what is determined by spectrum(...) and "
            "captured(...)"
        )
    # An analytic function that is 0 on one side is 0 everywhere.
    sides = np.abs(nearby[:2]).max(axis=0), np.abs(nearby[2:]).max(axis=0)
    lost = (np.minimum(*sides) == 0) & ((np.maximum(*sides) > 0) | (np.abs(elsewhere) > 0).any(axis=0))
    if lost[2:].any():
        raise ValueError(
            f"activation: expected derivatives that float64 tells from 0 around {bias:g}, got those of "
            f"{activation!r}, of which order {int(np.flatnonzero(lost[2:])[0]) + 2} is 0 there and not "
            "elsewhere: it is saturated there, or made of pieces; take a bias nearer to 0"
        )
    return tuple(int(k) for k in orders[: most + 1] if abs(found[k]) > 1e-12 * max(side[k] for side in sides))


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


def _noise(noise) -> float:
    try:
        if noise is not None:
            return checks.positive("noise", noise)
        wrong = "noise: expected the standard deviation of one measured drift, got None"
    except ValueError as error:
        wrong = str(error)
    raise ValueError(
        f"{wrong}: take the residual of lr.maxent.fit, or the spread between repeats; without it only the "
        "spectrum can be computed"
    )


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

    @property
    def modes(self) -> int:
        """Identified modes: posterior standard deviation at most a tenth of the prior's."""
        return int((self.information >= _IDENTIFIED).sum())

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
        lines = [
            f"Of {n * self.rank:,} weights n of {n:,} neurons the data hold {law:.0f} numbers about their "
            f"law{about}.",
            f"visited      {self.steps:,.0f} independent steps, standard deviation {spread}; noise "
            f"{self.noise:.3g} a step",
            f"prior        {self.prior}",
            f"identified   {self.modes} functions of e for each of the {self.rank} coordinates of n, to a "
            f"tenth of their prior ({narrow} with one ten times narrower, {wide} with one ten times wider)",
            f"partly       {self.partly} more, better than by their prior",
            "free         every other function of e; clusters and tails of n given e",
            "assumed      leak (tau) and origin of z: another leak or origin has other weights",
        ]
        if self.over_tau:
            over = sorted((self.over_tau | {1.0: (law, self.modes)}).items())
            ratios, numbers, modes = (
                ", ".join(parts)
                for parts in zip(*((f"{tau:g}", f"{x:.0f}", f"{k}") for tau, (x, k) in over), strict=True)
            )
            lines.append(f"tau          {ratios} times the assumed: {numbers} numbers, {modes} functions")
        if self.added is not None:
            lines.append(f"candidates   {self.added} functions more would be identified")
        return "\n".join(lines)


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
    scale = float(model.noise if noise is None else _noise(noise))
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
        return int((information >= _IDENTIFIED).sum())

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
    about = (words, about, added, over_tau)
    return Report(seen, informations[1], counts, scale, share * len(steps), steps.rank, *about)


def _quietly(steps: Steps, embedding: Embedding, activation: Activation) -> MaximumEntropy:
    """A fit of which nobody samples a population: it is not warned of that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return fit(steps, embedding, activation=activation)
