"""The operator from conditional mean to drift, mode by mode: what dynamics on some states can show at all."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from . import checks
from .activation import Activation, resolve
from .checks import ArrayLike, x64
from .distributions import GaussianMixture
from .network import Embedding, columns
from .perturb import Perturbation, perturbed_rates

# Nodes for each coordinate of a quadrature over one, two or three: the rule's error falls geometrically with
# their number.
_NODES = {1: 128, 2: 64, 3: 24}
# Singular values below this share of the first are rounding errors.
_ROUNDING = 1e-12
# A mode counts as identified when its posterior standard deviation is at most a tenth of its prior's.
IDENTIFIED = 99.0


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
    - `images`: $\chi_j$ (row, mode), orthonormal under equal weights of the rows: the states.
    - `perturbed`: experiments beside the intact one, on the same states; the rows are then the states of each
      in turn, those of the intact one first.
    """

    nodes: Float[np.ndarray, "node embedding"]
    shares: Float[np.ndarray, " node"]
    states: Float[np.ndarray, "state rank"]
    inputs: Float[np.ndarray, "state input"]
    values: Float[np.ndarray, " mode"]
    modes: Float[np.ndarray, "node mode"]
    images: Float[np.ndarray, "row mode"]
    bias: bool = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)
    perturbed: tuple[Perturbation, ...] = ()

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
        seen = _rates(e, self.states, self.inputs, self.bias, self.activation, self.perturbed, None)
        return seen.T @ (self.images[:, :count] / (self.values[:count] * len(seen)))

    def opened(self, before: "Spectrum", tolerance: float = 1e-3) -> Float[np.ndarray, "node function"]:
        """Functions that these experiments show and those `before` did not, both at a tolerance: values at
        the nodes, orthonormal under `shares`, what is newest first. Of each more than half of the energy is
        new.

        **Raises** `ValueError` for a spectrum of other nodes.
        """
        if self.nodes.shape != before.nodes.shape or not np.allclose(self.nodes, before.nodes):
            raise ValueError("before: expected a spectrum of the same embedding, got other nodes")
        root = np.sqrt(self.shares)[:, None]
        now, old = (one.modes[:, : one.rank(tolerance)] * root for one in (self, before))
        left, new, _ = np.linalg.svd(now - old @ (old.T @ now), full_matrices=False)
        return left[:, new**2 > 0.5] / root

    def information(
        self, noise, *, steps: int | None = None, size: float = 1.0
    ) -> Float[np.ndarray, " mode"]:
        r"""$\sigma_j^2 s_0^2 T/s^2$: by how much the data's precision on each mode exceeds the prior's.

        - `noise`: s, standard deviation of one coordinate of one measured drift $Y_t$; `steps`: T, how many
          there are (the states by default); `size`: $s_0$, prior standard deviation of the coefficient of a
          mode.
        """
        noise, size = given_noise(noise), checks.positive("size", size)
        steps = len(self.images) if steps is None else checks.count("steps", steps)
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
        return self.information(noise, **options) >= IDENTIFIED

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
    perturbed: Sequence[Perturbation] = (),
    labels: ArrayLike | None = None,
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
    - `perturbed`: `lr.perturb.silenced(...)`, `current(...)` or `clamped(...)`, each an experiment that is
      recorded on the same states beside the intact one. What neurons write in it,
      $\mathbf 1_{e\notin S}\,\phi(h+\delta d)$, joins the operator's rows. `labels`: (neuron,), for sets that
      are given by labels.

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
    written = _rates(e, states, inputs, bias, activation, perturbed, labels)
    scaled = written * np.sqrt(shares / len(written))
    if not scaled.any():
        raise ValueError(
            f"states: expected some at which neurons have rates, got {len(states)} where every rate is 0: "
            "the drift there is 0 whatever n is, and nothing is determined"
        )
    left, values, right = np.linalg.svd(scaled, full_matrices=False)
    kept = int((values > _ROUNDING * values[0]).sum()) if modes is None else modes
    psi = right[:kept].T / np.sqrt(shares)[:, None]
    chi = left[:, :kept] * np.sqrt(len(written))
    parts = (values[:kept], psi, chi, bias, activation, tuple(perturbed))
    return Spectrum(e, shares, states, inputs, *parts)


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


def _rates(e, states, inputs, bias, activation, perturbed, labels) -> np.ndarray:
    """What neurons write in every experiment, the intact one first, (state, node) in float64."""
    options = {"bias": bias, "activation": activation, "labels": labels}
    found = [perturbed_rates(e, one, states, inputs, **options) for one in ([], *perturbed)]
    if not all(np.isfinite(part).all() for part in found):
        raise FloatingPointError(
            "rates are not finite on these states: the activation overflows; check units"
        )
    return np.concatenate(found)


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


def given_noise(noise) -> float:
    """A standard deviation of the drift, or a refusal that says where one is to be had."""
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
