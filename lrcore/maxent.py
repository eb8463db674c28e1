"""The maximum-entropy conditional p(n | e): its mean in closed form, its spread, and whole networks from its
posterior.
"""

import contextlib
import warnings

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from . import checks, evidence
from .activation import Activation, resolve
from .checks import ArrayLike, x64
from .evidence import Evidence
from .gauge import symmetric_root, whitening
from .modes import Modes, blocks, measured, rates
from .network import Embedding, LowRankNetwork, columns, population_rates
from .steps import Steps, given

# States, the first number that is enough, that may stand for ten times as many steps in the sum over them.
_KEPT = (300, 2000)
# Neurons on which that sum is tried.
_TEST = 300
# A new population whose drift is expected to be this far off, relative to the drift, is warned of.
_OFF = 0.5


class MaximumEntropy(eqx.Module):
    r"""The conditional of least structure that gives the dynamics:
    $p^*(n\mid e)=\mathcal N(\bar n(e),\Sigma)$.

    $$\bar n(e)=\sum_t w_t\,\phi(m\cdot z_t+b\cdot u_t+d),\qquad
      w=\sum_ju_j\,\frac{a(\lambda_j/\lambda_1)^p}{v_j}\,c_j^\top$$

    with the modes $\lambda_j,u_j$ of the rates, the drift $c_j=u_j^\top Y$ along each, its variance $v_j$ of
    `lr.evidence.Evidence`, and $z_t,u_t,Y_t$ of `Steps`. Made by `fit`.

    - `steps`: what was regressed on. `states`, `inputs`, `weights`: $z_t$, $u_t$ and $w_t$ of the sum: of all
      steps, or, of a long recording, of 300 or 2,000 states that give the same sum to 1e-4.
    - `embedding`, `n`: the recorded neurons and the mean of their weights given the drift (neuron, rank):
      $\bar n(e_i)$ and what this network deviates from it.
    - `modes`, `evidence`: the drift mode by mode, and how it divides among law, network and noise.

    Source: Kim et al. (2026), arXiv:2603.26506, section 3; the prior, the spread and the posterior are ours.
    """

    steps: Steps
    embedding: Embedding
    n: Float[np.ndarray, "neuron rank"]
    states: Float[np.ndarray, "state rank"]
    inputs: Float[np.ndarray, "state input"]
    weights: Float[np.ndarray, "state rank"]
    modes: Modes
    evidence: Evidence
    activation: Activation = eqx.field(static=True)

    @property
    def noise(self) -> float:
        """Standard deviation of one coordinate of one drift target around the drift (root mean square over
        the coordinates).
        """
        found = self.evidence
        back = np.linalg.inv(found.gauge)
        covariance = (back * (found.shares * np.mean(found.noise**2))) @ back.T
        return float(np.sqrt(np.trace(covariance) / len(covariance)))

    @property
    def spread(self) -> Float[np.ndarray, "rank rank"]:
        r"""A root S of the covariance $\Sigma=SS^\top$ of n given e, in the coordinates of the steps.

        Measured: it is what makes the drift of this network stray from that of its law.
        """
        return np.median(self.evidence.spread) * np.linalg.inv(self.evidence.gauge)

    @property
    def deviation(self) -> float:
        """Standard deviation of n given e as measured (the median of its draws), root mean square over the
        coordinates, in the unit of n.
        """
        return float(np.sqrt((self.spread**2).sum() / self.steps.rank))

    def interval(self, level: float = 0.9) -> tuple[float, float]:
        r"""Where the standard deviation of n given e lies with probability `level`: (low, high) of its root
        mean square over the coordinates, in the unit of n.
        """
        unit = np.sqrt(np.mean(np.linalg.inv(self.evidence.gauge) ** 2) * self.steps.rank)
        low, high = unit * np.quantile(self.evidence.spread, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    @property
    def error(self) -> float:
        r"""How far $\bar n$ is expected to be from g at neurons that were not recorded:
        $\sqrt{\mathbb E\|\bar n-g\|^2/\mathbb E\|g\|^2}$. At 1 the drift says nothing about new neurons.

        Of g only the part that rates at the visited states can show is meant: what no drift shows, such as
        the even part for tanh without biases, is 0 in $\bar n$, and its size is not known.
        """
        left, size = self._uncertainty()
        return float(np.sqrt(left.sum() / (size.sum() + left.sum())))

    @property
    def drift_error(self) -> float:
        """How far the drift of as many new neurons is expected to be from that of the recorded ones, relative
        to it (root mean squares): by what is not known of g, and by the spread of n.
        """
        left, size = self._uncertainty()
        modes = self.modes
        network = 2 * np.mean(self.evidence.spread**2) * (self._to_white() ** 2).sum() / len(modes.neurons)
        off = modes.values @ (left + network)
        return float(np.sqrt(off / (modes.values @ (size + left))))

    def _uncertainty(self) -> tuple[Float[np.ndarray, " mode"], Float[np.ndarray, " mode"]]:
        """Expected square error of each mode of g, and its square as found, summed over the coordinates in
        which the neurons' m is white.
        """
        law, network, noise = self.evidence.parts(self.modes)
        prior = self.evidence.prior(self.modes.relative)[:, :, None]
        left = (prior * (network + noise) / (law + network + noise)).mean(axis=0)
        white = self._to_white()
        return left @ (white**2).sum(axis=0), ((_law(self.evidence, self.modes) @ white.T) ** 2).sum(axis=1)

    def _to_white(self) -> Float[np.ndarray, "rank rank"]:
        return whitening(self.embedding) @ np.linalg.inv(self.evidence.gauge)

    def conditional_mean(self, e: ArrayLike) -> Float[Array, "... rank"]:
        r"""$\bar n(e)$ at any embedding: an `Embedding` or an array (..., embedding) of the columns (m, b,
        d).

        Computed in float64 (the weights cancel), in the precision at hand inside a jit.
        """
        width = self.embedding.width
        e = columns(e, width)
        flat = e.reshape(-1, width)
        found = _sum(flat, self.states, self.inputs, self.weights, self.embedding, self.activation)
        return jnp.asarray(found, jnp.float32).reshape(*e.shape[:-1], self.n.shape[1])

    def network(self, tau: float = 1.0) -> LowRankNetwork:
        r"""The recorded neurons with the mean of their weights: the posterior mean network."""
        e = self.embedding
        return LowRankNetwork(e.m, self.n.astype(np.float32), e.b, e.d, activation=self.activation, tau=tau)

    def posterior(
        self,
        key: PRNGKeyArray,
        *,
        spread: ArrayLike | None = None,
        embedding: Embedding | None = None,
        tau: float = 1.0,
    ) -> LowRankNetwork:
        r"""One whole network from the posterior given the dynamics.

        The weights of its N neurons are drawn together: where the dynamics constrain a direction the network
        obeys them, elsewhere it is as free as its prior, $n_i=g(e_i)+\sigma\xi_i$. Independent draws around
        $\bar n(e)$ would add drift noise of order $N^{-1/2}$. Noise, prior and spread are those of a draw of
        `evidence`. Other neurons than those of the fit follow the drift as closely as weights that are likely
        under their prior let them: to the noise, or to the smallest multiple of it with which the drift is
        likely.

        **Arguments**

        - `spread`: a root (rank, rank) of the covariance of n given e, or its standard deviation; by default
          as measured.
        - `embedding`: neurons of the network, of any number; those of the fit by default.
        """
        found = self.evidence
        embedding, modes = embedding or self.embedding, self.modes
        if embedding is not self.embedding:
            modes = measured(self.steps, embedding, self.activation).counted(
                self.modes.steps / len(self.steps)
            )
        # Numpy's generator, as jax would compile one for every number of modes.
        rng = checks.generator(key)
        draw = int(rng.integers(len(found.power)))
        n, rank = len(modes.neurons), len(found.gauge)
        law = found.power[draw] * modes.relative ** found.decay[draw]
        # A network that stands for the drift has what other neurons make of it too.
        law = law + found.others[draw] / np.sqrt(modes.relative)
        if spread is None:
            root = found.spread[draw] * np.eye(rank)
        else:
            root = found.gauge @ checks.root("spread", spread, rank)
        prior = law[:, None, None] * np.eye(rank) + root @ root.T / n
        noise = np.broadcast_to(found.noise[draw] ** 2 * np.diag(found.shares), prior.shape)
        if embedding is not self.embedding:
            noise = noise * _carried(modes, prior, noise, modes.drift @ found.gauge.T)
        gain = np.linalg.solve(modes.values[:, None, None] * prior + noise, prior)
        gain = gain.swapaxes(1, 2)
        drift = modes.drift @ found.gauge.T
        mean = np.sqrt(modes.values)[:, None] * np.einsum("jkl,jl->jk", gain, drift)
        # What is left of the prior's variance: P - l P (l P + S)^-1 P = P (l P + S)^-1 S.
        left = gain @ noise
        values, vectors = np.linalg.eigh((left + left.swapaxes(1, 2)) / 2)
        xi, zeta = rng.normal(size=drift.shape), rng.normal(size=(n, rank))
        along = mean + np.einsum("jkl,jl->jk", vectors * np.sqrt(np.maximum(values, 0))[:, None, :], xi)
        free = zeta - modes.neurons @ (modes.neurons.T @ zeta)
        drawn = np.sqrt(n) * modes.neurons @ along + free @ root.T
        drawn = (drawn @ np.linalg.inv(found.gauge).T).astype(np.float32)
        e = embedding
        return LowRankNetwork(e.m, drawn, e.b, e.d, activation=self.activation, tau=tau)

    def __repr__(self) -> str:
        (low, high), rank = self.interval(), self.steps.rank
        law, network = self.evidence.degrees_of_freedom(self.modes)
        return "\n".join(
            [
                f"MaximumEntropy: {self.embedding.n_neurons:,} neurons of rank {rank}, "
                f"{self.modes.steps:,.0f} independent steps, noise {self.noise:.3g}",
                f"numbers      {law:.0f} about the law of n given e, {network:.0f} about these neurons",
                f"spread       {self.deviation:.2g} of n given e, 90 % interval {low:.2g} to {high:.2g}",
                f"new neurons  g, as far as drift shows it, to {self.error:.0%}; their drift to "
                f"{self.drift_error:.0%}",
            ]
        )


def fit(
    steps: Steps,
    embedding: Embedding,
    *,
    activation: Activation = "tanh",
    ridge: float | None = None,
    progress: bool = False,
) -> MaximumEntropy:
    r"""The maximum-entropy conditional of n given e, from measured drifts and the neurons' embedding.

    How much of the drift is the law of the weights, how much this network's accident and how much noise is
    decided by marginal likelihood, see `lr.evidence`: held-out trials could not tell, as they have the same
    neurons.

    **Arguments**

    - `steps`: states, inputs and drift targets: `lr.steps(latents, alpha=...)`, or `.steps()` of what has
      latents.
    - `embedding`: of the N neurons that stand for p(e); with b exactly where the steps have inputs.
    - `ridge`: $\rho$, for $\arg\min\|Y-\frac1NXn\|^2+\rho\|n\|^2$ in place of the evidence: all weights are
      then part of the law.

    Features and their Gram matrix are accumulated in float64 over blocks of time, so that memory does not
    grow with the length of the recording. Of more than 2,000 neurons whose rates span fewer dimensions, only
    these are decomposed. Residuals that are correlated in time count for fewer steps.

    **Raises** `TypeError` for anything but `Steps` and an `Embedding`; `ValueError` where these disagree in
    rank or inputs, for an embedding whose m is rank-deficient, and for fewer steps than three.

    **Warns** where a new population is not expected to carry the flow, see `drift_error`.

    Source: Kim et al. (2026), arXiv:2603.26506, section 3; the prior by marginal likelihood is ours.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> from lrcore.steps import steps
    >>> net = systems.ring().sample(jr.key(0), 200)
    >>> found = fit(steps(systems.trajectories(net, points=5), alpha=0.1), net.embedding)
    >>> found.conditional_mean(net.embedding).shape
    (200, 2)
    """
    steps, embedding = matched(steps, embedding)
    resolve(activation)
    ridge = None if ridge is None else checks.positive("ridge", ridge)
    if steps.measured < 3 and ridge is None:
        raise ValueError(
            f"steps: expected at least three, to tell drift from noise, got {steps.measured}: give `ridge`"
        )
    modes = measured(steps, embedding, activation, progress=progress).counted(1 / steps.copies)
    n, e, bias = len(modes.neurons), embedding.array, embedding.d is not None

    def along(coefficients):
        """X (neuron-side coefficients) at all steps, block by block."""
        return np.concatenate(
            [
                np.asarray(rates(e, *block, bias=bias, activation=activation)) @ coefficients
                for block in blocks(steps.z, steps.u)
            ]
        )

    if ridge is not None:
        found = evidence.of_ridge(modes, ridge)
    else:
        found = evidence.fit(modes, whitening(embedding), quick=True)
        residual = steps.y - along(_neurons(found, modes) / n)
        modes = modes.counted(_independent(residual, steps))
        noise = np.cov(residual.T).reshape(2 * found.gauge.shape[:1])
        # The covariances of n given e and of noise decide the coordinates, and are found in some: twice over.
        for last in (False, True):
            found = evidence.fit(modes, *evidence.coordinates(found, modes, noise), quick=not last)
    back = np.linalg.inv(found.gauge).T
    # w = X V (law / lambda) / sqrt(N), with the eigenvalue of all steps, of which `modes` counts some.
    share = modes.steps / len(steps)
    law = _law(found, modes) / (modes.values / share)[:, None] / np.sqrt(n)
    weights = along(modes.neurons @ law @ back)
    at_neurons = np.sqrt(n) * modes.neurons @ _law(found, modes) @ back
    kept = _kept(steps, weights, at_neurons, embedding, activation)
    solution = MaximumEntropy(steps, embedding, _neurons(found, modes), *kept, modes, found, activation)
    if ridge is None and steps.y.any() and solution.drift_error > _OFF:
        warnings.warn(
            f"maxent: the drift of new neurons is expected to differ from that of the {n} recorded ones by "
            f"{solution.drift_error:.0%}: samples of the population do not carry the flow; use `posterior`, "
            "or record more neurons or trials",
            stacklevel=2,
        )
    return solution


def _carried(modes: Modes, prior, noise, drift) -> float:
    """The smallest multiple of the noise's variance, at least 1, under which the drift along the modes is
    within two standard deviations of what their prior expects.
    """
    # In coordinates in which noise is white and, mode by mode, the prior diagonal.
    root = 1 / np.sqrt(np.diagonal(noise, axis1=1, axis2=2))
    sizes, axes = np.linalg.eigh(modes.values[:, None, None] * prior * root[:, :, None] * root[:, None, :])
    squares = np.einsum("jkl,jk->jl", axes, drift * root) ** 2
    multiples = np.logspace(0, 30, 301)
    distance = (squares[..., None] / (np.maximum(sizes, 0)[..., None] + multiples)).sum(axis=(0, 1))
    likely = squares.size + 2 * np.sqrt(2 * squares.size)
    return float(multiples[min(int(np.argmax(distance <= likely)), 300)])


def _sum(e, z, u, w, embedding: Embedding, activation):
    r"""$\sum_tw_t\,\phi(m\cdot z_t+b\cdot u_t+d)$ at embeddings e (neuron, embedding)."""
    phi, bias, total = resolve(activation), embedding.d is not None, None
    with contextlib.nullcontext() if checks.is_traced(e) else x64():
        for block in blocks(z, u, w):
            part = _represent(e, *block, bias, phi)
            total = part if total is None else total + part
    return total


@eqx.filter_jit
def _represent(e, z, u, w, bias, phi):
    return population_rates(e.astype(jnp.result_type(float)), z, u, bias=bias, phi=phi).T @ w


def _kept(steps: Steps, weights, n, embedding: Embedding, activation) -> tuple[np.ndarray, ...]:
    r"""States, inputs and weights of the representer: those of all steps, or of some that stand for them.

    `n`: $\bar n$ (neuron, rank) at the neurons of the embedding.
    """
    whole = (steps.z, steps.u, weights)
    if len(steps) < 10 * _KEPT[-1]:
        return whole
    # Neurons as recorded, and others half as far again from their mean; the last are a test.
    e, rng = np.asarray(embedding.array, float), np.random.default_rng(0)
    spread = symmetric_root(np.cov(e.T).reshape(2 * e.shape[1:]))
    for count in _KEPT:
        z, u = _apart(steps, count)
        beyond = e.mean(axis=0) + 1.5 * rng.normal(size=(max(count, 600) + _TEST, e.shape[1])) @ spread
        target = np.concatenate([n, np.asarray(_sum(beyond, *whole, embedding, activation))])
        bias, at = embedding.d is not None, np.concatenate([e, beyond])
        x = np.asarray(rates(at, z, u, bias=bias, activation=activation))
        values, vectors = np.linalg.eigh(x[:, :-_TEST] @ x[:, :-_TEST].T)
        along = vectors.T @ (x[:, :-_TEST] @ target[:-_TEST]) / (values + 1e-14 * values[-1])[:, None]
        off = x[:, -_TEST:].T @ (vectors @ along) - target[-_TEST:]
        off = np.sqrt(np.mean(off**2) / np.mean(target**2)) if target.any() else 0.0
        if off <= 1e-4:
            return z, u, vectors @ along
        # So far off, a few times as many would be too.
        if off > 0.03:
            break
    return whole


def _apart(steps: Steps, count: int) -> tuple[np.ndarray, np.ndarray]:
    """States and inputs of so many steps, each the farthest from those before it: where trials linger, few
    are enough.
    """
    some = steps.thinned(max(10_000 // steps.copies, 1))
    x = np.concatenate([some.z, some.u], axis=1)
    # White, so that distances are the same in all coordinates of z.
    values, vectors = np.linalg.eigh(np.cov(x.T).reshape(2 * x.shape[1:]))
    varies = values > 1e-12 * values[-1]
    x = (x - x.mean(axis=0)) @ (vectors[:, varies] / np.sqrt(values[varies]))
    rows, distance = [], (x**2).sum(axis=1)
    for _ in range(min(count, len(x))):
        rows.append(int(distance.argmax()))
        distance = np.minimum(distance, ((x - x[rows[-1]]) ** 2).sum(axis=1))
    return some.z[rows], some.u[rows]


def _law(found: Evidence, modes: Modes) -> Float[np.ndarray, "mode rank"]:
    r"""The coefficient of each mode of $\bar n$, in the coordinates of the evidence."""
    law, network, noise = found.parts(modes)
    return _coefficients((law / (law + network + noise)).mean(axis=0), found, modes)


def _coefficients(gain, found: Evidence, modes: Modes) -> Float[np.ndarray, "mode rank"]:
    """Of n along each mode, where the share `gain` (mode, rank) of the drift is its own, in the coordinates
    of the evidence.
    """
    return gain * (modes.drift @ found.gauge.T) / np.sqrt(modes.values)[:, None]


def _neurons(found: Evidence, modes: Modes) -> Float[np.ndarray, "neuron rank"]:
    """The mean of the recorded neurons' weights given the drift, in the coordinates of the steps."""
    # Drift that other neurons make is drift: a network that stands for it has it too.
    white = (found.noise[:, None] ** 2 * found.shares)[:, None, :]
    gain = (1 - white / sum(found.parts(modes))).mean(axis=0)
    along = _coefficients(gain, found, modes)
    return np.sqrt(len(modes.neurons)) * modes.neurons @ along @ np.linalg.inv(found.gauge).T


def _independent(residual: Float[np.ndarray, "step rank"], steps: Steps) -> float:
    """The share of steps that count as independent, from the correlation of residuals in time."""
    at = np.arange(len(residual))
    starts = np.flatnonzero((np.diff(steps.trial, prepend=-1) != 0) | (at % steps.measured == 0))
    position = at - starts[np.searchsorted(starts, at, "right") - 1]
    residual = residual - residual.mean(axis=0)
    total, variance = 1.0, np.mean(residual**2, axis=0) + np.finfo(float).tiny
    for lag in range(1, min(int(position.max()), 1000) + 1):
        pairs = np.flatnonzero(position >= lag)
        now, before = residual[pairs], residual[pairs - lag]
        correlation = float(np.mean(np.mean(now * before, axis=0) / variance))
        # Up to where it is no more than chance.
        if correlation < 2 / np.sqrt(len(pairs) * residual.shape[1]):
            break
        total += 2 * correlation
    return 1 / total


def matched(steps, embedding) -> tuple[Steps, Embedding]:
    """Steps and an embedding that go together: what is fitted comes in by this door; see `fit` for the
    errors.
    """
    steps = given(steps)
    if not isinstance(embedding, Embedding):
        raise TypeError(
            f"embedding: expected an lr.Embedding, got {type(embedding).__name__}: lr.Embedding(m, b, d)"
        )
    if embedding.rank != steps.rank:
        raise ValueError(
            f"embedding: expected m of rank {steps.rank}, that of the steps, got {embedding.rank}: are they "
            "of one fit?"
        )
    if embedding.n_inputs != steps.n_inputs:
        raise ValueError(
            f"steps: expected {embedding.n_inputs or 'no'} inputs, as the embedding has "
            f"{embedding.n_inputs or 'no'} columns of b, got {steps.n_inputs or 'none'}: give lr.steps the "
            "inputs and lr.Embedding(m, b, d) the neurons' input weights, or neither"
        )
    spread = np.linalg.svd(np.asarray(embedding.m, np.float64), compute_uv=False)
    if spread[-1] <= 1e-6 * spread[0]:
        raise ValueError(
            f"embedding: expected m of full column rank {embedding.rank}, got singular values from "
            f"{spread[0]:.3g} down to {spread[-1]:.3g}: lower the rank of the latents"
        )
    return steps, embedding
