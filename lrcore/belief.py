r"""What is believed of the weights n of a population once its drift is measured: Gaussian, for every linear
functional of them.
"""

import equinox as eqx
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from . import checks
from .checks import ArrayLike
from .gauge import whitening
from .maxent import MaximumEntropy
from .network import Embedding

# Neurons whose covariance is held whole: 5,000 take 200 MB.
_MOST = 5000


class Belief(eqx.Module):
    r"""A Gaussian belief about the weights $n_i=g(e_i)+\sigma\xi_i$ of N neurons, made by `belief`.

    Everything that an experiment measures is a row r of weights of the neurons, and says
    $y=\sum_ir_in_i+$ noise; everything that is predicted is a row too. With the covariance C of n before the
    data, the rows A that were measured and the variances S of their noise,

    $$\E[r\cdot n\mid y]=rCA^\top G^{-1}y,\qquad
      \mathrm{Var}[r\cdot n\mid y]=rCr^\top-rCA^\top G^{-1}ACr^\top,\qquad G=ACA^\top+S .$$

    The second does not depend on what is measured: it says what an experiment is worth before it is done.

    - `law`: (neuron, neuron), covariance of $g(e_i)$; `spread`: $\sigma$, so that $C=$ law $+\sigma^2I$.
    - `rows`: A (row, neuron); `values`: y (row, rank); `noise`: S (row, rank).
    - `gauge`: (rank, rank), from the coordinates of the steps to those of these numbers, in which the
      coordinates of n are independent.

    Source: Gaussian processes, Rasmussen & Williams (2006), chapter 2.
    """

    law: Float[np.ndarray, "neuron neuron"]
    spread: float
    rows: Float[np.ndarray, "row neuron"]
    values: Float[np.ndarray, "row rank"]
    noise: Float[np.ndarray, "row rank"]
    gauge: Float[np.ndarray, "rank rank"]

    def before(self, rows: ArrayLike, *, accident: bool = True) -> Float[np.ndarray, "row other"]:
        """Covariance of functionals (row, neuron) before the data, the same in every coordinate; without
        `accident` of $g$ alone, the mean over networks with these embeddings.
        """
        rows = self._rows(rows)
        return self._covariance(rows, rows, accident)

    def after(
        self, rows: ArrayLike, *, accident: bool = True
    ) -> tuple[Float[np.ndarray, "row rank"], Float[np.ndarray, "rank row other"]]:
        """Mean (row, rank) and covariance (rank, row, row) of functionals (row, neuron) given the data, in
        the coordinates of `gauge`.
        """
        rows = self._rows(rows)
        across = self._covariance(rows, self.rows, accident)
        means, covariances = [], []
        for values, gain in zip(self.values.T, self._gains(across), strict=True):
            means.append(gain @ values)
            covariances.append(self._covariance(rows, rows, accident) - gain @ across.T)
        return np.stack(means, axis=1), np.stack(covariances)

    def variance(self, rows: ArrayLike, *, accident: bool = True) -> Float[np.ndarray, "row rank"]:
        """Variance of functionals given the data, in the coordinates of the steps."""
        _, covariance = self.after(rows, accident=accident)
        own = np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0).T
        return own @ (np.linalg.inv(self.gauge) ** 2).T

    def observing(self, rows: ArrayLike, values: ArrayLike, noise: ArrayLike) -> "Belief":
        """The belief with more that is measured: rows (row, neuron), their values (row, rank) and the
        variances of their noise (row, rank), in the coordinates of `gauge`.
        """
        rows = self._rows(rows)
        sizes = {"row": len(rows), "rank": self.values.shape[1]}
        values = checks.array("values", values, ("row", "rank"), sizes=sizes)
        noise = checks.array("noise", noise, ("row", "rank"), sizes=sizes)
        pairs = (self.rows, rows), (self.values, values), (self.noise, noise)
        joined = [np.concatenate([held, np.asarray(more, float)]) for held, more in pairs]
        return Belief(self.law, self.spread, *joined, self.gauge)

    def sample(
        self, key: PRNGKeyArray, draws: int, *, accident: bool = True
    ) -> Float[np.ndarray, "draw neuron rank"]:
        """Weights of all neurons given the data, in the coordinates of the steps; without `accident` g
        alone.

        Source: Matheron's rule, Wilson et al. (2020), ICML 37.
        """
        draws, rank, n = checks.count("draws", draws), self.values.shape[1], len(self.law)
        rng = checks.generator(key)
        root = np.linalg.cholesky(self.law + 1e-9 * np.trace(self.law) / n * np.eye(n))
        found = np.zeros((draws, n, rank))
        for r, gain in enumerate(self._gains(self._covariance(np.eye(n), self.rows, accident))):
            law = root @ rng.normal(size=(n, draws))
            whole = law + self.spread * rng.normal(size=(n, draws))
            seen = self.rows @ whole
            seen += np.sqrt(self.noise[:, r : r + 1]) * rng.normal(size=seen.shape)
            drawn = whole if accident else law
            found[:, :, r] = (drawn + gain @ (self.values[:, r : r + 1] - seen)).T
        return found @ np.linalg.inv(self.gauge).T

    def _rows(self, rows) -> np.ndarray:
        sizes = {"neuron": len(self.law)}
        return np.asarray(checks.array("rows", rows, ("row", "neuron"), sizes=sizes), float)

    def _covariance(self, a, b, accident: bool) -> np.ndarray:
        return a @ (self.law @ b.T) + (self.spread**2 * (a @ b.T) if accident else 0.0)

    def _gains(self, across) -> list[np.ndarray]:
        """What each measured row adds to functionals of that covariance with the rows, by coordinate."""
        seen = self._covariance(self.rows, self.rows, True)
        gains = []
        for noise in self.noise.T:
            total = seen + np.diag(noise)
            # In units of each row's own size: what is hardly measured has a noise of any size.
            size = 1 / np.sqrt(np.diag(total))
            values, vectors = np.linalg.eigh(size[:, None] * total * size)
            kept = values > 1e-13 * values[-1]
            vectors = size[:, None] * vectors[:, kept]
            gains.append(across @ (vectors / values[kept]) @ vectors.T)
        return gains


def belief(model: MaximumEntropy, *, simplest: bool = False) -> Belief:
    r"""What a fit of `lr.maxent` leaves open of the recorded neurons' weights.

    Before the data $g=g_{\rm seen}+Pq$. The first part is what the rates on the visited states can show, mode
    by mode with the prior of `lr.evidence`, as are spread and noise. The second is what they cannot: q is a
    Gaussian process of covariance $(1+\|\tilde e-\tilde e'\|^2)^{-1/2}$, a mixture of functions of all
    lengths, in coordinates $\tilde e$ in which m is white and b and d have mean square 1. P takes away its
    part along each mode, to the degree to which noise lets the mode be seen. What is hidden is taken to be as
    large as what was found: the mean square of Pq over the neurons is that of $g_{\rm seen}$ given the data.
    It is what `lr.null_space_partner` makes circuits of. Where the drift is lost in noise, nothing is found,
    and the belief is too narrow.

    - `simplest`: without Pq, the prior of the maximum-entropy fit.

    **Raises** `ValueError` for more than 5,000 neurons, whose covariance is held whole.

    Source: ours.

    >>> import jax.random as jr
    >>> from lrcore import maxent, systems
    >>> from lrcore.steps import steps
    >>> net = systems.ring().sample(jr.key(0), 200)
    >>> model = maxent.fit(steps(systems.trajectories(net, points=5), alpha=0.1), net.embedding)
    >>> found = belief(model)
    >>> rows = net.rates(systems.grid(3)) / 200  # the intact drift is known ...
    >>> bool(found.variance(rows).max() < 1e-4 * found.before(rows).max())
    True
    >>> alone = rows * (net.m[None, :, 0] > 0)  # ... and that of half of the neurons is not.
    >>> bool(found.variance(alone).max() > 0.1 * found.before(alone).max())
    True
    """
    modes, evidence, n = model.modes, model.evidence, model.embedding.n_neurons
    if n > _MOST:
        raise ValueError(f"model: expected at most {_MOST:,} neurons, got {n:,}: fit some of them")
    _, _, noise = (part.mean(axis=0) for part in evidence.parts(modes))
    drift, values = modes.drift @ evidence.gauge.T, modes.values
    prior = evidence.prior(modes.relative).mean(axis=0)
    spread = float(np.sqrt(np.mean(evidence.spread**2)))
    law = n * (modes.neurons * prior) @ modes.neurons.T
    if not simplest:
        # Of what rates show: as found, and what is still uncertain of it.
        gain = (prior * values)[:, None] / (((prior + spread**2 / n) * values)[:, None] + noise)
        size = ((gain * drift) ** 2 / values[:, None] + (1 - gain) * prior[:, None]).sum(axis=0).mean()
        hidden = _smooth(model.embedding)
        shown = values * np.einsum("ij,ij->j", modes.neurons, hidden @ modes.neurons) * size / n
        seen = modes.neurons * (shown / (shown + noise.mean(axis=1)))
        hidden = hidden - seen @ (modes.neurons.T @ hidden)
        hidden = hidden - (hidden @ modes.neurons) @ seen.T
        law = law + hidden * size / np.mean(np.diag(hidden))
    root = np.sqrt(values)[:, None]
    parts = (modes.neurons.T / np.sqrt(n), drift / root, noise / root**2)
    return Belief(law, spread, *parts, evidence.gauge)


def _smooth(embedding: Embedding) -> Float[np.ndarray, "neuron neuron"]:
    """The covariance of the process between the neurons, of variance 1."""
    e = np.array(embedding.array, float)
    e[:, : embedding.rank] = e[:, : embedding.rank] @ np.linalg.inv(whitening(embedding))
    rest = e[:, embedding.rank :]
    size = np.sqrt(np.mean(rest**2, axis=0))
    e[:, embedding.rank :] = rest / np.where(size > 0, size, 1)
    square = (e**2).sum(axis=1)
    return 1 / np.sqrt(1 + np.maximum(square[:, None] + square - 2 * e @ e.T, 0))
