"""Connector: from latent trajectories to the distribution of connectivities that they require."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from . import checks, maxent, population
from .activation import Activation
from .checks import ArrayLike, floats
from .distributions import ConnectivityDistribution, sobol
from .flow import Flow
from .maxent import MaximumEntropy
from .network import Embedding, LowRankNetwork, columns, flat, states
from .population import Population
from .steps import Steps

_METHODS = ("exact", "flow")
# Neurons that stand for the whole population.
_MANY = 8192


class Connector(ConnectivityDistribution):
    r"""The maximum-entropy distribution of a neuron's weights that a set of latent trajectories requires.

    $$p(m,b,d,n) = p(e)\,p^*(n\mid e),\qquad e=(m,b,d),\qquad \mathbb E[n\mid e]=\bar n(e)$$

    p(e) is a density of the recorded neurons, see `lr.population`. The conditional stands in two forms behind
    one interface: `method="exact"` is the Gaussian $\mathcal N(\bar n(e),\Sigma)$ around the closed-form mean
    of `lr.maxent`, `method="flow"` a conditional flow trained by flow matching on it. `discrepancy` says how
    far apart they are.

    Made by `Connector.fit`. Coordinates of e that do not vary among the recorded neurons (a common bias, say)
    have no density; they are kept as they are.

    - `maxent`: the closed-form solution. `population`: p(e). `conditional_flow`: of n given e, or None.
    - `varying`: which columns of e vary among the recorded neurons, (varying,) indices.
    - `spread`: a root (rank, rank) of $\Sigma$; `tau`: time constant of sampled networks.
    - `many`: 8,192 neurons at $\bar n(e)$ that fill p(e) evenly; their drift is the mean-field drift.
    - `losses`: `{"embedding", "embedding_validation", "conditional", "conditional_validation"}`, of the flows
      that were trained.

    Source: Kim et al. (2026), arXiv:2603.26506, section 3 and algorithm 1. There p(e) is a flow and
    $\Sigma=I$.
    """

    maxent: MaximumEntropy
    population: Population
    conditional_flow: Flow | None
    varying: Int[np.ndarray, " varying"]
    spread: Float[np.ndarray, "rank rank"]
    tau: float
    many: LowRankNetwork
    losses: dict[str, np.ndarray]

    def __repr__(self) -> str:
        conditional = "a flow, and exact" if self.conditional_flow is not None else "exact"
        return "\n".join(
            [
                f"Connector: p(m, b, d, n) = p(e) p(n | e), tau {self.tau:.3g}",
                repr(self.population),
                f"p(n | e)     {conditional}",
                repr(self.maxent),
            ]
        )

    @classmethod
    def fit(
        cls,
        steps: Steps,
        embedding: Embedding,
        *,
        key: PRNGKeyArray,
        activation: Activation = "tanh",
        sigma: float | None = None,
        tau: float = 1.0,
        ridge: float | None = None,
        density: str = "best",
        conditional: bool = True,
        n_targets: int = _MANY,
        updates: int = 700,
        batch_size: int = 512,
        learning_rate: float = 2e-2,
        progress: bool = True,
        **options,
    ) -> "Connector":
        r"""Fit p(e) and p(n | e) to measured drifts and the neurons' embedding.

        **Arguments**

        - `steps`, `embedding`, `activation`, `ridge`: as for `lr.maxent.fit`.
        - `sigma`: standard deviation of n given e, in its unit; as measured by default (the paper has 1).
        - `tau`: time constant of the networks that are sampled (seconds for recordings).
        - `density`: the form of p(e): "best", "heavy", "flow", "mixture" or "gaussian",
          see `lr.population.fit`.
        - `conditional`: whether to train the conditional flow, which takes half of the time.
        - `n_targets`: fresh draws of e on which it is trained.
        - `updates`, `batch_size`, `learning_rate`, `options`: of both flows, see `lr.flow.Flow.fit`. Twice
          the updates halve what the conditional flow is off at rank 5, and help little at rank 2. A
          `checkpoint` becomes two files, with `.embedding` and `.conditional` after the name.

        **Raises** what `lr.maxent.fit` raises, and `ValueError` for embeddings whose varying coordinates are
        linearly dependent, as they have no density, and for neurons that are artefacts (see
        `lr.population.fit`).

        >>> import jax.random as jr
        >>> from lrcore import systems
        >>> net = systems.ring().sample(jr.key(0), 200)
        >>> from lrcore.steps import steps
        >>> seen = steps(systems.trajectories(net, points=5), alpha=0.1)
        >>> found = Connector.fit(seen, net.embedding, key=jr.key(1), updates=100, progress=False)
        >>> found.sample(jr.key(2), 50).n.shape
        (50, 2)
        """
        if sigma is not None:
            sigma = checks.positive("sigma", sigma, zero=True)
        tau = checks.positive("tau", tau)
        density = population.named("density", density)
        steps, embedding = maxent.matched(steps, embedding)
        varying = _varying(embedding)
        population.together("embedding", np.asarray(embedding.array, float))
        solution = maxent.fit(steps, embedding, activation=activation, ridge=ridge, progress=progress)
        spread = solution.spread if sigma is None else sigma * np.eye(steps.rank)
        options: dict[str, Any] = {
            "updates": updates,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "progress": progress,
        } | options
        checkpoint = options.pop("checkpoint", None)
        files = [None, None]
        if checkpoint is not None:
            files = [f"{os.fspath(checkpoint)}.{part}" for part in ("embedding", "conditional")]
        embedding_key, draw_key, conditional_key = (jr.fold_in(key, part) for part in range(3))
        found, record = population.fit(
            np.asarray(embedding.array)[:, varying],
            key=embedding_key,
            kind=density,
            name="flow of e",
            checkpoint=files[0],
            **options,
        )
        records, conditional_flow = {"embedding": record}, None
        if conditional:
            draws = found.push(_base(draw_key, n_targets, len(varying) + 1, False))
            targets = np.asarray(solution.conditional_mean(_whole(draws, embedding, varying)), np.float64)
            # Targets in units of the spread, where there is one.
            free = _positive(spread)
            # Of few neurons, too few held-out ones would not show overfitting.
            own: dict[str, Any] = {"held_out": 0.1} | options
            conditional_flow, records["conditional"] = Flow.fit(
                targets @ np.linalg.inv(spread).T if free else targets,
                draws,
                noise=float(free),
                key=conditional_key,
                name="flow of n given e",
                checkpoint=files[1],
                **own,
            )
        losses = {}
        for name, record in records.items():
            if record is not None:
                losses |= {name: record.losses, f"{name}_validation": record.validation}
        e = found.push(_base(jr.key(0), _MANY, len(varying) + 1, False))
        drawn = embedding.like(_whole(e, embedding, varying))
        many = LowRankNetwork(
            drawn.m,
            solution.conditional_mean(drawn),
            drawn.b,
            drawn.d,
            activation=activation,
            tau=tau,
        )
        parts = (solution, found, conditional_flow, varying, spread, tau, many, losses)
        return cls(*parts)  # ty: ignore[invalid-argument-type, missing-argument]

    @property
    def sigma(self) -> float:
        """Standard deviation of n given e, the root mean square over its coordinates, in the unit of n."""
        return float(np.sqrt((self.spread**2).sum() / self.rank))

    @property
    def embedding(self) -> Embedding:
        """The recorded neurons' embedding."""
        return self.maxent.embedding

    @property
    def activation(self) -> Activation:
        """Name or function of the activation."""
        return self.maxent.activation

    @property
    def rank(self) -> int:  # ty: ignore[incompatible-property-override]
        """R."""
        return self.embedding.rank

    @property
    def n_inputs(self) -> int:  # ty: ignore[incompatible-property-override]
        """K."""
        return self.embedding.n_inputs

    @property
    def bias(self) -> bool:  # ty: ignore[incompatible-property-override]
        """Whether neurons have a bias."""
        return self.embedding.d is not None

    def sample(
        self,
        key: PRNGKeyArray,
        n_neurons: int,
        *,
        sigma: float | None = None,
        method: str = "exact",
        independent: bool = False,
    ) -> LowRankNetwork:
        r"""A network of `n_neurons` neurons drawn from p(m, b, d, n).

        **Arguments**

        - `sigma`: standard deviation of n around its mean; that of the fit by default, 0 for the mean itself.
        - `method`: the form of the conditional, `"exact"` or `"flow"`.
        - `independent`: by default the base points are scrambled Sobol points: each neuron follows p
          exactly, and together they fill it evenly, so that a finite network's drift strays less from the
          mean field than the $N^{-1/2}$ of independent draws. True gives independent draws.
        """
        n_neurons = checks.count("n_neurons", n_neurons, least=self.rank)
        root = (
            self.spread if sigma is None else checks.positive("sigma", sigma, zero=True) * np.eye(self.rank)
        )
        dim, rank = self.population.dim + 1, self.rank
        base = _base(key, n_neurons, dim + rank, independent)
        e = self.population.push(base[:, :dim])
        if _method(method) == "flow" and sigma is None and _positive(self.spread):
            n = self._flow.push(base[:, dim:], condition=e) @ floats(self.spread).T
        else:
            n = self._mean(e, method) + base[:, dim:] @ floats(root).T
        drawn = self.embedding.like(_whole(e, self.embedding, self.varying))
        return LowRankNetwork(drawn.m, n, drawn.b, drawn.d, activation=self.activation, tau=self.tau)

    def posterior(self, key: PRNGKeyArray, n_neurons: int | None = None) -> LowRankNetwork:
        """A whole network drawn from the posterior given the dynamics, which it reproduces at its finite
        size.

        Its embedding is that of the recorded neurons, or `n_neurons` fresh draws of e. See
        `lr.maxent.MaximumEntropy.posterior`.
        """
        embedding_key, weights_key = jr.split(key)
        embedding = self.embedding
        if n_neurons is not None:
            n_neurons = checks.count("n_neurons", n_neurons, least=self.rank)
            base = _base(embedding_key, n_neurons, self.population.dim + 1, False)
            embedding = embedding.like(_whole(self.population.push(base), embedding, self.varying))
        # As measured it is known with an error, which the posterior includes.
        spread = None if np.array_equal(self.spread, self.maxent.spread) else self.spread
        return self.maxent.posterior(weights_key, spread=spread, embedding=embedding, tau=self.tau)

    def conditional_mean(self, e: ArrayLike, *, method: str = "exact") -> Float[Array, "... rank"]:
        r"""$\mathbb E[n\mid e]$ at an `Embedding` or an array (..., embedding) of the columns (m, b, d)."""
        e = columns(e, self.width)
        if _method(method) == "exact":
            return self.maxent.conditional_mean(e)
        flat = jnp.asarray(e.reshape(-1, e.shape[-1])[:, self.varying], jnp.float32)
        return self._mean(flat, method).reshape(*e.shape[:-1], self.rank)

    @property
    def _flow(self) -> Flow:
        if self.conditional_flow is None:
            raise ValueError(
                "method: expected 'exact', as the fit has conditional=False and so no flow, got 'flow'"
            )
        return self.conditional_flow

    def _mean(self, draws: Float[Array, "sample varying"], method: str) -> Float[Array, "sample rank"]:
        if method == "flow":
            mean = self._flow.mean(draws)
            return mean @ floats(self.spread).T if _positive(self.spread) else mean
        return self.maxent.conditional_mean(_whole(draws, self.embedding, self.varying))

    def drift(
        self, z: ArrayLike, u: ArrayLike | None = None, *, method: str = "exact", n_neurons: int = _MANY
    ) -> Float[Array, "... rank"]:
        r"""The mean-field drift $F_p(z,u)=\mathbb E_{p(e)}[\bar n(e)\,\phi(h_e)]$ at states (..., rank),
        inputs (..., input).

        The expectation over p(e) is taken over `n_neurons` evenly spread draws, always the same ones.
        """
        if any(checks.is_traced(leaf) for leaf in jax.tree.leaves((self, z, u))):
            raise TypeError(
                "drift: expected numbers, got what jax traces, where the representer's weights would cancel "
                "in single precision: take network = model.sample(key, 8192, sigma=0.0) first, and "
                "network.drift"
            )
        z, u = states(z, u, self.rank, self.n_inputs)
        network = self.many
        if _method(method) == "flow" or n_neurons != _MANY:
            network = self.sample(jr.key(0), n_neurons, sigma=0.0, method=method)
        # One state at a time: 8,192 rates of many states at once would fill the memory.
        return jax.lax.map(lambda pair: network._drift(*pair), flat(z, u), batch_size=256).reshape(z.shape)

    def log_prob(
        self, m: ArrayLike, b: ArrayLike, d: ArrayLike, n: ArrayLike, *, method: str = "exact"
    ) -> Float[Array, "..."]:
        """Log-density (nats) at weights (..., rank), (..., input) or None, (...,) or None, and (..., rank).

        **Raises** `ValueError` where `sigma` is 0: n is then a function of e and has no density.
        """
        if not _positive(self.spread):
            raise ValueError(
                "sigma: expected a positive sigma in the fit for a density, got 0: n is a function of e"
            )
        weights = self._weights(m, b, d, n)
        e, n = weights[..., : self.width], weights[..., self.width :]
        batch = n.shape[:-1]
        flat, n = e.reshape(-1, self.width), n.reshape(-1, self.rank)
        varying = flat[:, self.varying]
        inverse = floats(np.linalg.inv(self.spread))
        if _method(method) == "flow":
            conditional = self._flow.log_prob(n @ inverse.T, condition=varying)
        else:
            white = (n - self.maxent.conditional_mean(flat)) @ inverse.T
            conditional = jax.scipy.stats.norm.logpdf(white).sum(axis=-1)
        conditional = conditional + jnp.linalg.slogdet(inverse)[1]
        return (self.population.log_prob(varying) + conditional).reshape(batch)

    def discrepancy(self, key: PRNGKeyArray, n_neurons: int = 2048) -> dict[str, float]:
        r"""How far the two forms of the conditional are apart.

        - `conditional_mean`: $\mathbb E\,\|\bar n_{\rm exact}(e)-\bar n_{\rm flow}(e)\|^2/R$ over fresh draws
          of e.
        - `relative`: the same, relative to $\mathbb E\,\|\bar n_{\rm exact}(e)\|^2/R$.
        - `log_prob`: mean absolute difference of $\log p(n\mid e)$ on samples of the exact form, in nats (NaN
          for `sigma` 0).
        - `drift`: root mean square difference of the mean-field drifts on 256 of the fitted states.
        """
        network = self.sample(key, n_neurons)
        e = network.embedding
        exact, flow = self.conditional_mean(e), self.conditional_mean(e, method="flow")
        squares = float(jnp.mean((exact - flow) ** 2))
        steps = self.maxent.steps
        rows = jr.choice(key, len(steps), (min(256, len(steps)),), replace=False)
        z, u = (jnp.asarray(part, jnp.float32)[rows] for part in (steps.z, steps.u))
        drifts = [self.drift(z, u, method=method) for method in _METHODS]
        nats = np.nan
        if _positive(self.spread):
            logs = [self.log_prob(e.m, e.b, e.d, network.n, method=method) for method in _METHODS]
            nats = float(jnp.abs(logs[0] - logs[1]).mean())
        return {
            "conditional_mean": squares,
            "relative": squares / float(jnp.mean(exact**2)),
            "log_prob": nats,
            "drift": float(jnp.sqrt(jnp.mean((drifts[0] - drifts[1]) ** 2))),
        }


def _positive(spread: Float[np.ndarray, "rank rank"]) -> bool:
    """Whether n has a density given e."""
    return bool(np.linalg.matrix_rank(spread) == len(spread))


def _method(method: str) -> str:
    if method not in _METHODS:
        raise ValueError(f"method: expected 'exact' or 'flow', got {method!r}")
    return method


def _varying(embedding: Embedding) -> Int[np.ndarray, " varying"]:
    """Which columns of e vary among the neurons; refuses columns that are combinations of others."""
    e = np.asarray(embedding.array, np.float64)
    spread = e.std(axis=0)
    varies = spread > 1e-6 * (1e-6 + np.abs(e).max(axis=0))
    if not varies[: embedding.rank].all():
        raise ValueError(
            f"embedding: expected every column of m to vary among the neurons, got constant ones at "
            f"{np.flatnonzero(~varies[: embedding.rank]).tolist()}: lower the rank of the latents"
        )
    scaled = (e - e.mean(axis=0))[:, varies] / spread[varies]
    singular = np.linalg.svd(scaled, compute_uv=False)
    if len(e) <= varies.sum() or singular[-1] <= 1e-5 * singular[0]:
        raise ValueError(
            f"embedding: expected linearly independent columns of (m, b, d), got {varies.sum()} columns of "
            f"rank {int((singular > 1e-5 * singular[0]).sum())} among {len(e)} neurons: drop the dependent "
            "ones"
        )
    return np.flatnonzero(varies)


def _whole(
    draws: Float[Array, "sample varying"], embedding: Embedding, varying: Int[np.ndarray, " varying"]
) -> Float[Array, "sample embedding"]:
    """All columns (m, b, d) from the varying ones; the others keep their constant value."""
    return _filled(embedding.array, varying, draws)


@jax.jit
def _filled(array, varying, draws) -> Float[Array, "sample embedding"]:
    e = jnp.broadcast_to(array[0], (len(draws), array.shape[1]))
    return e.at[:, varying].set(draws)


def _base(key: PRNGKeyArray, n: int, dim: int, independent: bool) -> Float[Array, "sample dim"]:
    """Standard normal base points, independent or evenly spread."""
    if independent:
        return jr.normal(key, (n, dim))
    from scipy.stats import norm

    uniform = sobol(checks.generator(key), n, dim)
    return floats(norm.ppf(np.clip(uniform, 1e-7, 1 - 1e-7)))
