"""Connector: from latent trajectories to the distribution of connectivities that they require."""

import io
import json
import os

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from . import checks, maxent
from .activation import Activation, resolve
from .flow import Flow
from .maxent import MaximumEntropy
from .network import Embedding, LowRankNetwork, states
from .training import write_whole

_METHODS = ("exact", "flow")
_MAGIC = b"lrcore Connector 1\n"


class Connector(eqx.Module):
    r"""The maximum-entropy distribution of a neuron's weights that a set of latent trajectories requires.

    $$p(m,b,d,n) = p(e)\,p^*(n\mid e),\qquad e=(m,b,d),\qquad \mathbb E[n\mid e]=\bar n(e)$$

    p(e) is a flow trained on the recorded neurons. The conditional stands in two forms behind one interface:
    `method="exact"` is the Gaussian $\mathcal N(\bar n(e),\sigma^2I)$ around the closed-form mean of `lr.maxent`,
    `method="flow"` a conditional flow trained by flow matching on it. `discrepancy` says how far apart they are.

    Made by `Connector.fit`. Coordinates of e that do not vary among the recorded neurons (a common bias, say) have no
    density; they are kept as they are.

    - `maxent`: the closed-form solution; `embedding_flow`, `conditional_flow`: the flows.
    - `sigma`: prior standard deviation of n; `alpha`: $\Delta t/\tau$; `tau`: time constant of sampled networks.
    - `losses`: `{"embedding", "embedding_validation", "conditional", "conditional_validation"}`.

    Source: Kim et al. (2026), arXiv:2603.26506, section 3 and algorithm 1.
    """

    maxent: MaximumEntropy
    embedding_flow: Flow
    conditional_flow: Flow
    sigma: float
    tau: float
    losses: dict[str, np.ndarray]

    @classmethod
    def fit(
        cls,
        latents,
        embedding: Embedding,
        *,
        inputs=None,
        lengths=None,
        alpha: float,
        activation: Activation = "tanh",
        drift=None,
        copies: int = 1,
        sigma: float = 1.0,
        key: PRNGKeyArray,
        tau: float = 1.0,
        ridge: float | None = None,
        tolerance: float = 3e-4,
        n_targets: int = 4096,
        steps: int = 1500,
        batch_size: int = 1024,
        progress: bool = True,
        **options,
    ) -> "Connector":
        r"""Fit p(e) and p(n | e) to latent trajectories and the neurons' embedding.

        **Arguments**

        - `latents`, `embedding`, `inputs`, `lengths`, `alpha`, `activation`, `drift`, `copies`, `ridge`, `tolerance`: as for `lr.maxent.fit`.
        - `sigma`: standard deviation $\sigma_0$ of the prior over n, in the unit of n.
        - `tau`: time constant of the networks that are sampled (seconds for recordings).
        - `n_targets`: fresh draws of e on which the conditional flow is trained.
        - `steps`, `batch_size`, `options`: of both flows, see `lr.flow.Flow.fit`. A `checkpoint` becomes two files, with
          `.embedding` and `.conditional` after the name.

        **Raises** what `lr.maxent.fit` raises, and `ValueError` for embeddings whose varying coordinates are linearly
        dependent, as they have no density.

        >>> import jax.random as jr
        >>> from lrcore import systems
        >>> net = systems.ring().sample(jr.key(0), 200)
        >>> z = systems.trajectories(net, points=5)
        >>> found = Connector.fit(z, net.embedding, alpha=0.1, key=jr.key(1), steps=100, progress=False)
        >>> found.sample(jr.key(2), 50).n.shape
        (50, 2)
        """
        sigma = checks.positive("sigma", sigma, zero=True)
        tau = checks.positive("tau", tau)
        _varies(embedding)
        solution = maxent.fit(
            latents,
            embedding,
            inputs=inputs,
            lengths=lengths,
            alpha=alpha,
            activation=activation,
            drift=drift,
            copies=copies,
            ridge=ridge,
            tolerance=tolerance,
            progress=progress,
        )
        # Of few neurons, too few held-out ones would not show overfitting.
        options = {"steps": steps, "batch_size": batch_size, "progress": progress, "held_out": 0.1} | options
        checkpoint = options.pop("checkpoint", None)
        files = [checkpoint and f"{os.fspath(checkpoint)}.{part}" for part in ("embedding", "conditional")]
        embedding_key, draw_key, conditional_key = jr.split(key, 3)
        varying = np.flatnonzero(_varies(embedding))
        embedding_flow, embedding_record = Flow.fit(
            embedding.array[:, varying],
            key=embedding_key,
            name="flow of e",
            checkpoint=files[0],
            **options,
        )
        draws = embedding_flow.push(_base(draw_key, n_targets, len(varying), False))
        targets = solution.conditional_mean(_insert(draws, embedding))
        conditional_flow, conditional_record = Flow.fit(
            targets,
            draws,
            noise=sigma,
            key=conditional_key,
            name="flow of n given e",
            checkpoint=files[1],
            **options,
        )
        losses = {
            "embedding": embedding_record.losses,
            "embedding_validation": embedding_record.validation,
            "conditional": conditional_record.losses,
            "conditional_validation": conditional_record.validation,
        }
        return cls(solution, embedding_flow, conditional_flow, sigma, tau, losses)

    @property
    def embedding(self) -> Embedding:
        """The recorded neurons' embedding."""
        return self.maxent.embedding

    @property
    def activation(self) -> Activation:
        """Name or function of the activation."""
        return self.maxent.activation

    @property
    def alpha(self) -> float:
        r"""$\Delta t/\tau$."""
        return self.maxent.alpha

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
        - `independent`: by default the flows' base points are scrambled Sobol points: each neuron follows p exactly,
          and together they fill it evenly, so that a finite network's drift strays less from the mean field than the
          $N^{-1/2}$ of independent draws. True gives independent draws.
        """
        n_neurons = checks.count("n_neurons", n_neurons, least=self.embedding.rank)
        sigma = self.sigma if sigma is None else checks.positive("sigma", sigma, zero=True)
        dim, rank = self.embedding_flow.dim, self.embedding.rank
        base = _base(key, n_neurons, dim + rank, independent)
        e = self.embedding_flow.push(base[:, :dim])
        if _method(method) == "flow" and sigma == self.sigma and sigma > 0:
            n = self.conditional_flow.push(base[:, dim:], condition=e)
        else:
            n = self._mean(e, method) + sigma * base[:, dim:]
        drawn = self.embedding.like(_insert(e, self.embedding))
        return LowRankNetwork(drawn.m, n, drawn.b, drawn.d, activation=self.activation, tau=self.tau)

    def posterior(self, key: PRNGKeyArray, n_neurons: int | None = None) -> LowRankNetwork:
        """A whole network drawn from the posterior given the dynamics, which it reproduces at its finite size.

        Its embedding is that of the recorded neurons, or `n_neurons` fresh draws of e. See
        `lr.maxent.MaximumEntropy.posterior`.
        """
        embedding_key, weights_key = jr.split(key)
        embedding = self.embedding
        if n_neurons is not None:
            embedding = self.sample(embedding_key, n_neurons, sigma=0.0).embedding
        return self.maxent.posterior(weights_key, sigma=self.sigma, embedding=embedding, tau=self.tau)

    def conditional_mean(self, e, *, method: str = "exact") -> Float[Array, "... rank"]:
        r"""$\mathbb E[n\mid e]$ at an `Embedding` or an array (..., embedding) of the columns (m, b, d)."""
        e = e.array if isinstance(e, Embedding) else e
        e = checks.array("e", e, ("...", "embedding"), sizes={"embedding": self.embedding.array.shape[1]})
        if _method(method) == "exact":
            return self.maxent.conditional_mean(e)
        varying = np.flatnonzero(_varies(self.embedding))
        flat = jnp.asarray(e.reshape(-1, e.shape[-1])[:, varying], jnp.float32)
        return self.conditional_flow.mean(flat).reshape(*e.shape[:-1], self.embedding.rank)

    def _mean(self, draws: Float[Array, "sample varying"], method: str) -> Float[Array, "sample rank"]:
        if method == "flow":
            return self.conditional_flow.mean(draws)
        return self.maxent.conditional_mean(_insert(draws, self.embedding))

    def drift(self, z, u=None, *, method: str = "exact", n_neurons: int = 8192) -> Float[Array, "... rank"]:
        r"""The mean-field drift $F_p(z,u)=\mathbb E_{p(e)}[\bar n(e)\,\phi(h_e)]$ at states (..., rank), inputs (..., input).

        The expectation over p(e) is taken over `n_neurons` evenly spread draws, always the same ones.
        """
        z, u = states(z, u, self.embedding.rank, self.embedding.n_inputs)
        network = self.sample(jr.key(0), n_neurons, sigma=0.0, method=method)
        batch = z.shape[:-1]
        count = int(np.prod(batch))
        pairs = (z.reshape(count, z.shape[-1]), u.reshape(count, u.shape[-1]))
        # One state at a time: 8,192 rates of many states at once would fill the memory.
        return jax.lax.map(lambda pair: network._drift(*pair), pairs, batch_size=256).reshape(z.shape)

    def log_prob(self, m, b, d, n, *, method: str = "exact") -> Float[Array, "..."]:
        """Log-density (nats) at weights (..., rank), (..., input) or None, (...,) or None, and (..., rank).

        **Raises** `ValueError` where `sigma` is 0: n is then a function of e and has no density.
        """
        if self.sigma == 0:
            raise ValueError(
                "sigma: expected a positive sigma in the fit for a density, got 0: n is a function of e"
            )
        parts = [m, b if self.embedding.b is not None else None]
        parts = [jnp.asarray(part, jnp.float32) for part in parts if part is not None]
        if self.embedding.d is not None:
            parts.append(jnp.asarray(d, jnp.float32)[..., None])
        e, n = jnp.concatenate(parts, axis=-1), jnp.asarray(n, jnp.float32)
        batch, rank = n.shape[:-1], self.embedding.rank
        flat, n = e.reshape(-1, e.shape[-1]), n.reshape(-1, rank)
        varying = flat[:, np.flatnonzero(_varies(self.embedding))]
        if _method(method) == "flow":
            conditional = self.conditional_flow.log_prob(n, condition=varying)
        else:
            mean = self.maxent.conditional_mean(flat)
            conditional = jax.scipy.stats.norm.logpdf(n, mean, self.sigma).sum(axis=-1)
        return (self.embedding_flow.log_prob(varying) + conditional).reshape(batch)

    def discrepancy(self, key: PRNGKeyArray, n_neurons: int = 2048) -> dict[str, float]:
        r"""How far the two forms of the conditional are apart.

        - `conditional_mean`: $\mathbb E\,\|\bar n_{\rm exact}(e)-\bar n_{\rm flow}(e)\|^2/R$ over fresh draws of e.
        - `relative`: the same, relative to $\mathbb E\,\|\bar n_{\rm exact}(e)\|^2/R$.
        - `log_prob`: mean absolute difference of $\log p(n\mid e)$ on samples of the exact form, in nats (NaN for
          `sigma` 0).
        - `drift`: root mean square difference of the mean-field drifts on 256 of the fitted states.
        """
        network = self.sample(key, n_neurons)
        e = network.embedding
        exact, flow = self.conditional_mean(e), self.conditional_mean(e, method="flow")
        squares = float(jnp.mean((exact - flow) ** 2))
        rows = jr.choice(key, len(self.maxent.states), (min(256, len(self.maxent.states)),), replace=False)
        z = jnp.asarray(self.maxent.states, jnp.float32)[rows]
        u = jnp.asarray(self.maxent.inputs, jnp.float32)[rows]
        drifts = [self.drift(z, u, method=method) for method in _METHODS]
        nats = np.nan
        if self.sigma > 0:
            logs = [self.log_prob(e.m, e.b, e.d, network.n, method=method) for method in _METHODS]
            nats = float(jnp.abs(logs[0] - logs[1]).mean())
        return {
            "conditional_mean": squares,
            "relative": squares / float(jnp.mean(exact**2)),
            "log_prob": nats,
            "drift": float(jnp.sqrt(jnp.mean((drifts[0] - drifts[1]) ** 2))),
        }

    def save(self, path: str | os.PathLike) -> None:
        """Write the whole object to one file, whole or not at all.

        **Raises** `ValueError` where the activation is a function rather than a name, as it cannot be written.
        """
        if not isinstance(self.activation, str):
            raise ValueError(
                "activation: expected a name to save, got a function: fit with one of the named activations"
            )
        # Functions, as the activation inside a flow, stand in the template.
        leaves = [leaf for leaf in jax.tree.leaves(self) if not callable(leaf)]
        shapes = {
            "activation": self.activation,
            "b": self.embedding.b is not None,
            "d": self.embedding.d is not None,
            "losses": sorted(self.losses),
            "flows": [_architecture(flow) for flow in (self.embedding_flow, self.conditional_flow)],
        }
        buffer = io.BytesIO()
        np.savez(buffer, *[np.asarray(leaf) for leaf in leaves])
        header = json.dumps(shapes).encode() + b"\n"
        write_whole(path, lambda file: file.write(_MAGIC + header + buffer.getvalue()))

    @staticmethod
    def load(path: str | os.PathLike) -> "Connector":
        """Read what `save` wrote.

        **Raises** `ValueError` for another kind of file, a truncated or a damaged one; `FileNotFoundError`.
        """
        with open(path, "rb") as file:
            if file.readline(64) != _MAGIC:
                raise ValueError(
                    f"path: expected a file written by Connector.save, got another kind of file at {path}"
                )
            try:
                shapes = json.loads(file.readline())
                with np.load(io.BytesIO(file.read()), allow_pickle=False) as archive:
                    leaves = [archive[name] for name in archive.files]
                template = _template(shapes)
                old, structure = jax.tree.flatten(template)
                if len(leaves) != sum(not callable(leaf) for leaf in old):
                    raise ValueError("wrong number of arrays")
                remaining = iter(leaves)
                return jax.tree.unflatten(structure, [_like(leaf, remaining) for leaf in old])
            except Exception as error:
                raise ValueError(
                    f"path: {path} is damaged or truncated: {error}; write it anew with Connector.save"
                ) from error


def _like(leaf, values):
    """The next of `values` in the type of `leaf`; a function stays as it is."""
    if callable(leaf):
        return leaf
    if isinstance(leaf, float):
        return float(next(values))
    return jnp.asarray(next(values)) if isinstance(leaf, jax.Array) else next(values)


def _method(method: str) -> str:
    if method not in _METHODS:
        raise ValueError(f"method: expected 'exact' or 'flow', got {method!r}")
    return method


def _varies(embedding: Embedding) -> np.ndarray:
    """Which columns of e vary among the neurons; refuses columns that are combinations of others."""
    if not isinstance(embedding, Embedding):
        raise TypeError(
            f"embedding: expected an lr.Embedding, got {type(embedding).__name__}: lr.Embedding(m, b, d)"
        )
    columns = np.asarray(embedding.array, np.float64)
    spread = columns.std(axis=0)
    varies = spread > 1e-6 * (1e-6 + np.abs(columns).max(axis=0))
    if not varies[: embedding.rank].all():
        raise ValueError(
            f"embedding: expected every column of m to vary among the neurons, got constant ones at "
            f"{np.flatnonzero(~varies[: embedding.rank]).tolist()}: lower the rank of the latents"
        )
    scaled = (columns - columns.mean(axis=0))[:, varies] / spread[varies]
    singular = np.linalg.svd(scaled, compute_uv=False)
    if len(columns) <= varies.sum() or singular[-1] <= 1e-5 * singular[0]:
        raise ValueError(
            f"embedding: expected linearly independent columns of (m, b, d), got {varies.sum()} columns of rank "
            f"{int((singular > 1e-5 * singular[0]).sum())} among {len(columns)} neurons: drop the dependent ones"
        )
    return varies


def _insert(
    varying: Float[Array, "sample varying"], embedding: Embedding
) -> Float[Array, "sample embedding"]:
    """Full columns (m, b, d) from the varying ones; the others keep their constant value."""
    columns = _varies(embedding)
    full = jnp.broadcast_to(embedding.array[0], (len(varying), len(columns)))
    return full.at[:, np.flatnonzero(columns)].set(varying)


def _base(key: PRNGKeyArray, n: int, dim: int, independent: bool) -> Float[Array, "sample dim"]:
    """Standard normal base points, independent or evenly spread."""
    if independent:
        return jr.normal(key, (n, dim))
    from scipy.stats import norm, qmc

    rng = np.random.default_rng(np.asarray(jr.key_data(key)).tolist())
    try:
        sobol = qmc.Sobol(dim, rng=rng)
    except TypeError:  # before scipy 1.15
        sobol = qmc.Sobol(dim, seed=rng)
    uniform = sobol.random_base2(int(np.ceil(np.log2(n))))[:n]
    return jnp.asarray(norm.ppf(np.clip(uniform, 1e-7, 1 - 1e-7)), jnp.float32)


def _architecture(flow: Flow) -> list[int]:
    return [flow.dim, flow.condition_dim, flow.network.width_size, flow.network.depth]


def _template(shapes: dict) -> Connector:
    """An object of the same structure, whose leaves `load` replaces."""
    one = jnp.zeros((1, 1))
    flows = [Flow(dim, c, width=w, depth=h, key=jr.key(0)) for dim, c, w, h in shapes["flows"]]
    embedding = Embedding(one, one if shapes["b"] else None, one[0] if shapes["d"] else None)
    resolve(shapes["activation"])
    none, rows = np.zeros(0), np.zeros((0, 1))
    solution = MaximumEntropy(embedding, *[rows] * 4, 0.0, 0.0, *[none] * 3, shapes["activation"])
    return Connector(solution, *flows, 0.0, 0.0, {name: none for name in shapes["losses"]})
