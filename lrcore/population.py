"""p(e): the density of the neurons' embeddings, in the form that predicts left-out neurons best."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from . import checks
from .checks import ArrayLike, floats
from .flow import Flow
from .module import Module
from .optimize import Fit

KINDS = ("flow", "mixture", "gaussian")
# Components of a mixture that are tried.
_MOST = 8


class Population(Module):
    r"""A density over the embeddings of neurons: a flow, a mixture of Gaussians, or one Gaussian.

    $$x=\mu+Ly,\qquad y\sim\text{the flow, or }\textstyle\sum_c\pi_c\,\mathcal N(\mu_c,L_cL_c^\top)$$

    with $\mu$ and $LL^\top$ the mean and covariance of the neurons. A flow needs many neurons: of 200 or
    fewer it is several times further from the truth than a Gaussian. Made by `fit`.

    - `kind`: "flow", "mixture" or "gaussian". `scores`: log-density of left-out neurons (nats each) of every
      kind that was tried, by its name.
    - `shift`, `root`: $\mu$ (dim,) and $L$ (dim, dim). `flow`: that of y, or None.
    - `weights`, `means`, `roots`: $\pi$ (component,), $\mu_c$ (component, dim), $L_c$ (component, dim, dim).
    """

    shift: Float[Array, " dim"]
    root: Float[Array, "dim dim"]
    flow: Flow | None
    weights: Float[Array, " component"]
    means: Float[Array, "component dim"]
    roots: Float[Array, "component dim dim"]
    scores: dict[str, float]
    kind: str = eqx.field(static=True)

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self.shift.size

    def push(self, base: ArrayLike) -> Float[Array, "sample dim"]:
        """Samples from base points (sample, dim + 1): `dim` standard normal coordinates, and one that chooses
        a component of a mixture.
        """
        base = floats(checks.array("base", base, ("sample", "dim + 1"), sizes={"dim + 1": self.dim + 1}))
        y = base[:, :-1]
        if self.flow is not None:
            y = self.flow.push(y)
        else:
            ends = jnp.cumsum(self.weights)[:-1]
            which = jnp.searchsorted(ends, jax.scipy.stats.norm.cdf(base[:, -1]))
            y = self.means[which] + jnp.einsum("nij,nj->ni", self.roots[which], y)
        return jax.vmap(lambda y: self.shift + self.root @ y)(y)

    def log_prob(self, x: ArrayLike) -> Float[Array, " sample"]:
        """Log-density (nats) at (sample, dim)."""
        x = floats(checks.array("x", x, ("sample", "dim"), sizes={"dim": self.dim}))
        inverse = jnp.linalg.inv(self.root)
        y = jax.vmap(lambda x: inverse @ (x - self.shift))(x)
        volume = jnp.linalg.slogdet(self.root)[1]
        if self.flow is not None:
            return self.flow.log_prob(y) - volume
        return _mixture(self.weights, self.means, self.roots, y) - volume

    def __repr__(self) -> str:
        tried = ", ".join(f"{kind} {nats:.2f}" for kind, nats in self.scores.items())
        size = f" of {len(self.weights)} components" if self.kind == "mixture" else ""
        return f"Population: {self.kind}{size} in {self.dim} coordinates; nats of a left-out neuron: {tried}"


@jax.jit
def _mixture(weights, means, roots, y) -> Float[Array, " sample"]:
    def one(y):
        def component(weight, mean, root):
            white = jax.scipy.linalg.solve_triangular(root, y - mean, lower=True)
            return jnp.log(weight) + jax.scipy.stats.norm.logpdf(white).sum() - jnp.log(jnp.diag(root)).sum()

        return logsumexp(jax.vmap(component)(weights, means, roots))

    return jax.vmap(one)(y)


def fit(
    samples: ArrayLike, *, key: PRNGKeyArray, kind: str = "best", **options: Any
) -> tuple[Population, Fit | None]:
    r"""A density from the recorded neurons' embeddings.

    **Arguments**

    - `samples`: (neuron, dim), linearly independent columns.
    - `kind`: "flow", "mixture" (as many of at most eight components as BIC asks for), "gaussian", or "best":
      of these three the first, from the Gaussian to the flow, that predicts a seventh of the neurons, left
      out, better than those before it by more than a standard error of the difference. Gaussian and mixture
      are then fitted to all neurons.
    - `options`: of `Flow.fit`.

    **Returns** the density, and the record of the flow's training (None where none was trained).

    **Raises** `ValueError` for an unknown kind, for coordinates that depend linearly on others, and what
    `Flow.fit` raises.

    Source: ours; BIC: Schwarz (1978), Annals of Statistics 6, 461.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(100, 2)) + np.array([4, 0]) * rng.integers(0, 2, (100, 1))
    >>> len(fit(x, key=jr.key(0), kind="mixture")[0].weights)
    2
    """
    x = np.asarray(checks.array("samples", samples, ("neuron", "dim")), float)
    kind = named("kind", kind)
    shift, spread = x.mean(axis=0), x.std(axis=0)
    scaled = (x - shift) / np.where(spread > 0, spread, 1) / np.sqrt(max(len(x), 1))
    rank = np.linalg.matrix_rank(scaled, tol=1e-6)
    if len(x) <= x.shape[1] or rank < x.shape[1]:
        raise ValueError(
            f"samples: expected linearly independent coordinates, got {x.shape[1]} of rank {rank} among "
            f"{len(x)} neurons: drop the dependent ones, which have no density"
        )
    root = np.linalg.cholesky(np.cov(x.T).reshape(2 * x.shape[1:]))
    y = np.linalg.solve(root, (x - shift).T).T
    parts = (jnp.asarray(shift, jnp.float32), jnp.asarray(root, jnp.float32))
    split_key, flow_key = jr.split(key)
    record, flow, scores = None, None, {}
    if kind == "flow":
        flow, record = Flow.fit(y, key=flow_key, **options)
    if kind == "best":
        order = np.asarray(jr.permutation(split_key, len(y)))
        tested, trained = np.split(y[order], [max(len(y) // 7, 1)])
        flow, record = Flow.fit(trained, key=flow_key, **options)
        logs = {"gaussian": _gaussians(trained, 1), "mixture": _gaussians(trained, _MOST)}
        logs = {name: _mixture(*model, jnp.asarray(tested, jnp.float32)) for name, model in logs.items()}
        logs["flow"] = flow.log_prob(tested)
        logs = {name: np.asarray(log) for name, log in logs.items()}
        volume = np.log(np.diag(root)).sum()
        scores = {name: float(log.mean() - volume) for name, log in logs.items()}
        kind = "gaussian"
        for more in ("mixture", "flow"):
            ahead = logs[more] - logs[kind]
            error = ahead.std(ddof=1) / np.sqrt(len(ahead)) if len(ahead) > 2 else np.inf
            kind = more if ahead.mean() > error else kind
    # A flow's mixture is never looked at: one Gaussian stands in its place.
    mixture = _gaussians(y, _MOST if kind == "mixture" else 1)
    if kind != "flow":
        flow, kind = None, "gaussian" if len(mixture[0]) == 1 else "mixture"
    return Population(*parts, flow, *mixture, scores, kind), record


def named(name: str, kind: str) -> str:
    """The kind of density that a function was asked for by its argument `name`; others are refused."""
    if kind not in ("best", *KINDS):
        raise ValueError(f"{name}: expected 'best', 'flow', 'mixture' or 'gaussian', got {kind!r}")
    return kind


def _gaussians(y, most: int) -> tuple[Array, Array, Array]:
    """Weights, means and roots of the mixture with the least BIC."""
    from sklearn.mixture import GaussianMixture

    found = []
    for count in range(1, most + 1):
        # Each component needs neurons of its own.
        if count > 1 and len(y) < 5 * count * (y.shape[1] + 1):
            break
        model = GaussianMixture(count, n_init=3, reg_covar=1e-4, random_state=0).fit(y)
        found.append((model.bic(y), count, model))
    model = min(found, key=lambda one: one[:2])[2]
    roots = np.linalg.cholesky(model.covariances_)
    weights, means, roots = (jnp.asarray(part, jnp.float32) for part in (model.weights_, model.means_, roots))
    return weights, means, roots
