"""Distributions over connectivity: what a network's neurons are drawn from."""

from abc import abstractmethod
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from . import checks
from .activation import Activation, resolve
from .checks import ArrayLike, floats
from .module import Module
from .network import LowRankNetwork, columns, states


class ConnectivityDistribution(Module):
    """A distribution p(m, b, d, n) over the weights of one neuron: the abstract base.

    Coordinates stand in the order (m, b, d, n): `rank` columns of m, `n_inputs` of b, one of d where
    `bias`, and `rank` of n. An embedding `e` is an `Embedding` or an array (..., embedding) of the
    columns (m, b, d).
    """

    rank: eqx.AbstractVar[int]
    n_inputs: eqx.AbstractVar[int]
    bias: eqx.AbstractVar[bool]

    @abstractmethod
    def sample(self, key: PRNGKeyArray, n_neurons: int) -> LowRankNetwork:
        """A network of `n_neurons` draws; its m, b, d and n are the samples."""

    @abstractmethod
    def log_prob(self, m: ArrayLike, b: ArrayLike, d: ArrayLike, n: ArrayLike) -> Float[Array, "..."]:
        """Log-density (nats) at weights (..., rank), (..., input), (...,) and (..., rank); absent parts
        None.
        """

    @abstractmethod
    def conditional_mean(self, e: ArrayLike) -> Float[Array, "... rank"]:
        """g(e) = E[n | m, b, d] at an embedding."""

    @abstractmethod
    def drift(self, z: ArrayLike, u: ArrayLike | None = None) -> Float[Array, "... rank"]:
        r"""The mean-field drift $F_p(z,u)=\mathbb E_p[n\,\phi(h)]$ at states (..., rank), inputs (...,
        input).
        """

    @property
    def width(self) -> int:
        """Number of coordinates of an embedding, R + K + 1 with a bias."""
        return self.rank + self.n_inputs + self.bias

    def _embedding(self, e) -> Float[Array, "... embedding"]:
        return floats(columns(e, self.width))

    def _columns(self, m, b, d) -> Float[Array, "... embedding"]:
        """The columns of an embedding from its parts; parts that this distribution does not have are left
        out.
        """
        parts = [floats(m)]
        if b is not None and self.n_inputs:
            parts.append(floats(b))
        if d is not None and self.bias:
            parts.append(floats(d)[..., None])
        return self._embedding(jnp.concatenate(parts, axis=-1))

    def _weights(self, m, b, d, n) -> Float[Array, "... weight"]:
        n = floats(checks.array("n", n, ("...", "rank"), sizes={"rank": self.rank}))
        e = self._columns(m, b, d)
        if e.shape[:-1] != n.shape[:-1]:
            raise ValueError(
                f"n: expected one for each embedding, leading axes {e.shape[:-1]}, got {n.shape[:-1]}"
            )
        return jnp.concatenate([e, n], axis=-1)

    def _network(
        self, x: Float[Array, "neuron weight"], activation: Activation, tau: float
    ) -> LowRankNetwork:
        """The network of neurons with weights x in the order (m, b, d, n)."""
        cut = self.rank + self.n_inputs
        b = x[:, self.rank : cut] if self.n_inputs else None
        d = x[:, cut] if self.bias else None
        return LowRankNetwork(x[:, : self.rank], x[:, self.width :], b, d, activation=activation, tau=tau)


class GaussianMixture(ConnectivityDistribution):
    r"""A mixture of Gaussians over (m, b, d, n), with everything the book needs in closed form.

    $$p(m,b,d,n) = \sum_c \pi_c\,\mathcal N(\mu_c, \Sigma_c)$$

    **Arguments**

    - `weights`: (component,), normalised on the way in.
    - `means`: (component, weight) in the order (m, b, d, n).
    - `covariances`: (component, weight, weight), positive definite.
    - `rank`, `n_inputs`, `bias`: how the columns divide; rank defaults to half of them.

    **Raises** `ValueError` when shapes disagree, weights are not positive or a covariance is not positive
    definite.

    Source: Beiran et al. (2021), Neural Computation 33, 1572; Kim et al. (2026), arXiv:2603.26506.

    >>> import jax.numpy as jnp, jax.random as jr
    >>> p = GaussianMixture([1.0], jnp.zeros((1, 2)), jnp.array([[[1.0, 0.5], [0.5, 2.0]]]))
    >>> p.conditional_mean(jnp.array([[2.0]])).tolist()
    [[1.0]]
    >>> p.sample(jr.key(0), 100).n.shape
    (100, 1)
    """

    weights: Float[Array, " component"]
    means: Float[Array, "component weight"]
    covariances: Float[Array, "component weight weight"]
    # Kept, as Cholesky's root of a covariance in other latent coordinates would draw other neurons.
    roots: Float[Array, "component weight weight"]
    rank: int = eqx.field(static=True)
    n_inputs: int = eqx.field(static=True)
    bias: bool = eqx.field(static=True)

    def __init__(
        self,
        weights: ArrayLike,
        means: ArrayLike,
        covariances: ArrayLike,
        *,
        rank: int | None = None,
        n_inputs=0,
        bias: bool = False,
    ):
        weights = np.asarray(checks.array("weights", weights, ("component",)), float)
        means = np.asarray(checks.array("means", means, ("component", "weight")), float)
        n, width = means.shape
        covariances = np.asarray(
            checks.array("covariances", covariances, ("component", "weight", "weight")), float
        )
        if weights.shape != (n,) or covariances.shape != (n, width, width):
            raise ValueError(
                f"expected weights ({n},) and covariances ({n}, {width}, {width}) beside means "
                f"{means.shape}, got {weights.shape} and {covariances.shape}"
            )
        if (weights <= 0).any():
            raise ValueError(f"weights: expected positive numbers, got {weights.tolist()}")
        if (np.linalg.eigvalsh(covariances) <= 0).any():
            raise ValueError("covariances: expected positive definite matrices, got one that is not")
        self.rank = (width - n_inputs - bias) // 2 if rank is None else checks.count("rank", rank)
        self.n_inputs, self.bias = checks.count("n_inputs", n_inputs, least=0), bool(bias)
        if 2 * self.rank + n_inputs + bias != width:
            raise ValueError(
                f"means: expected 2 rank + n_inputs + bias columns, got {width} for rank {self.rank}, "
                f"{n_inputs} inputs and bias={bool(bias)}"
            )
        self.weights = jnp.asarray(weights / weights.sum())
        self.means, self.covariances = jnp.asarray(means), jnp.asarray(covariances)
        self.roots = jnp.asarray(np.linalg.cholesky(covariances))

    def sample(
        self, key: PRNGKeyArray, n_neurons: int, *, activation: Activation = "tanh", tau: float = 1.0
    ) -> LowRankNetwork:
        """A network of `n_neurons` independent draws."""
        draws = _mixture_draws(self, key, checks.count("n_neurons", n_neurons, least=self.rank))
        return self._network(draws, activation, tau)

    def log_prob(self, m: ArrayLike, b: ArrayLike, d: ArrayLike, n: ArrayLike) -> Float[Array, "..."]:
        """Log-density (nats)."""
        return self._marginal(self._weights(m, b, d, n), slice(None))[1]

    def embedding_log_prob(self, e: ArrayLike) -> Float[Array, "..."]:
        """Log-density (nats) of the embedding alone, log p(m, b, d)."""
        return self._marginal(self._embedding(e), slice(0, self.width))[1]

    def conditional_mean(self, e: ArrayLike):
        r"""$g(e)=\sum_c p(c\mid e)\,\big(\mu^n_c + \Sigma^{ne}_c(\Sigma^{ee}_c)^{-1}(e-\mu^e_c)\big)$."""
        return _mixture_mean(self, self._embedding(e))

    def _marginal(self, x: Float[Array, "... part"], part: slice) -> tuple[Array, Array]:
        """Log of weight times density per component (..., component), and of their sum (...,)."""

        def one(x):
            def component(weight, mean, covariance):
                density = jax.scipy.stats.multivariate_normal.logpdf(x, mean[part], covariance[part, part])
                return jnp.log(weight) + density

            joint = jax.vmap(component)(self.weights, self.means, self.covariances)
            return joint, logsumexp(joint)

        return jnp.vectorize(one, signature="(e)->(c),()")(x)

    def drift(
        self, z: ArrayLike, u: ArrayLike | None = None, *, activation: Activation = "tanh", nodes: int = 96
    ) -> Float[Array, "... rank"]:
        r"""The mean-field drift $F_p(z,u)=\mathbb E_p[n\,\phi(h)]$, exact up to a one-dimensional quadrature.

        Within a component the potential $h$ is a Gaussian number and $\mathbb E[n\mid h]$ is linear in it, so
        that one Gauss-Hermite rule of `nodes` points is enough in any dimension.
        """
        w = self.width
        phi: Callable = resolve(activation)
        points, at = np.polynomial.hermite_e.hermegauss(nodes)
        points, at = jnp.asarray(points, jnp.float32), jnp.asarray(at / at.sum(), jnp.float32)
        z, u = states(z, u, self.rank, self.n_inputs)

        def one(z, u):
            along = jnp.concatenate([z, u] + ([jnp.ones(1)] if self.bias else []))

            def component(mean, covariance):
                # At z = 0 without bias the potential has no spread; the floor keeps the Jacobian finite
                # there.
                spread = jnp.sqrt(jnp.maximum(along @ covariance[:w, :w] @ along, 1e-6))
                slope = covariance[w:, :w] @ along / spread
                rates = phi(mean[:w] @ along + spread * points)
                return mean[w:] * (at @ rates) + slope * (at @ (rates * points))

            return self.weights @ jax.vmap(component)(self.means, self.covariances)

        return jnp.vectorize(one, signature="(r),(k)->(r)")(z, u)


@eqx.filter_jit
def _mixture_draws(p: GaussianMixture, key, n: int) -> Float[Array, "neuron weight"]:
    which_key, noise_key = jr.split(key)
    which = jr.choice(which_key, len(p.weights), (n,), p=p.weights)
    noise = jr.normal(noise_key, (n, p.means.shape[1]))
    return p.means[which] + jnp.einsum("nij,nj->ni", p.roots[which], noise)


@eqx.filter_jit
def _mixture_mean(p: GaussianMixture, e: Float[Array, "... embedding"]) -> Float[Array, "... rank"]:
    w = p.width
    joint, total = p._marginal(e, slice(0, w))
    gain = jnp.linalg.solve(p.covariances[:, :w, :w], p.covariances[:, :w, w:])
    centred = e[..., None, :] - jnp.broadcast_to(p.means[:, :w], (*e.shape[:-1], *p.means[:, :w].shape))
    of_component = jnp.einsum("...ce,cer->...cr", centred, gain)
    of_component = of_component + jnp.broadcast_to(p.means[:, w:], of_component.shape)
    return jnp.einsum("...c,...cr->...r", jnp.exp(joint - total[..., None]), of_component)


class Empirical(ConnectivityDistribution):
    r"""The neurons of a network, drawn with replacement, and blurred by a Gaussian kernel.

    $$p(x) = \frac1N\sum_j
      \mathcal N\big(x;\, x_j,\ \beta^2\,\mathrm{diag}(\mathrm{Cov}\,e,\ \mathrm{Cov}\,n)\big),
      \qquad x = (e,n),\ e = (m,b,d)$$

    A kernel shaped like the neurons is the same in all latent coordinates. Where their coordinates are
    linearly dependent, the kernel has the spread of each coordinate instead.

    **Arguments**

    - `network`: the `LowRankNetwork` whose neurons these are.
    - `bandwidth`: $\beta$, in standard deviations of the neurons; None for Scott's rule
      $N^{-1/(4+\dim x)}$; 0 for the bare bootstrap, which has no density.

    **Raises** `ValueError` on a density or conditional mean asked of the bare bootstrap.

    Source: Scott (1992), Multivariate Density Estimation; the conditional mean is Nadaraya and Watson's
    (1964).

    >>> import jax.numpy as jnp, jax.random as jr
    >>> net = LowRankNetwork(jnp.eye(2), jnp.eye(2))
    >>> Empirical(net, bandwidth=0.0).sample(jr.key(0), 5).m.shape
    (5, 2)
    """

    points: Float[Array, "neuron weight"]
    root: Float[Array, "weight weight"]
    rank: int = eqx.field(static=True)
    n_inputs: int = eqx.field(static=True)
    bias: bool = eqx.field(static=True)

    def __init__(self, network: LowRankNetwork, bandwidth: float | None = None):
        embedding = network.embedding
        self.points = jnp.concatenate([embedding.array, network.n], axis=1)
        n, width = self.points.shape
        scott = n ** (-1 / (4 + width))
        beta = scott if bandwidth is None else checks.positive("bandwidth", bandwidth, zero=True)
        self.rank, self.n_inputs = embedding.rank, embedding.n_inputs
        self.bias = embedding.d is not None
        points = np.asarray(self.points, float)
        root = np.zeros((width, width))
        for part in (slice(0, self.width), slice(self.width, width)):
            root[part, part] = _root(points[:, part])
        self.root = jnp.asarray(beta * root, self.points.dtype)

    def sample(
        self, key: PRNGKeyArray, n_neurons: int, *, activation: Activation = "tanh", tau: float = 1.0
    ) -> LowRankNetwork:
        """A network of `n_neurons` independent draws."""
        draws = _blurred_draws(self, key, checks.count("n_neurons", n_neurons, least=self.rank))
        return self._network(draws, activation, tau)

    def log_prob(self, m: ArrayLike, b: ArrayLike, d: ArrayLike, n: ArrayLike) -> Float[Array, "..."]:
        """Log-density (nats)."""
        x = self._weights(m, b, d, n)
        self._has_width(x.shape[-1])
        return logsumexp(_kernels(self, x), axis=-1) - np.log(len(self.points))

    def drift(
        self, z: ArrayLike, u: ArrayLike | None = None, *, activation: Activation = "tanh"
    ) -> Float[Array, "... rank"]:
        r"""$F_p(z,u)$: each neuron's n at the mean of its rate under the kernel, by Gauss and Hermite's rule.

        The kernel blurs e and n independently, so that
        $\mathbb E[n\phi(h)]=n_j\,\mathbb E[\phi(h_j+\beta\,\epsilon)]$.
        """
        w, phi = self.width, resolve(activation)
        points, at = np.polynomial.hermite_e.hermegauss(32)
        points, at = jnp.asarray(points, jnp.float32), jnp.asarray(at / at.sum(), jnp.float32)
        z, u = states(z, u, self.rank, self.n_inputs)

        def one(z, u):
            along = jnp.concatenate([z, u] + ([jnp.ones(1)] if self.bias else []))
            h = (self.points[:, :w] @ along)[:, None]
            spread = jnp.sqrt(jnp.sum((self.root[:w, :w].T @ along) ** 2) + 1e-12)
            rates = phi(h + spread * jnp.broadcast_to(points, (len(h), len(points)))) @ at
            return rates @ self.points[:, w:] / len(self.points)

        return jnp.vectorize(one, signature="(r),(k)->(r)")(z, u)

    def conditional_mean(self, e: ArrayLike):
        """g(e), each neuron's n weighted by its kernel at e."""
        self._has_width(self.width)
        return jax.nn.softmax(_kernels(self, self._embedding(e))) @ self.points[:, self.width :]

    def _has_width(self, columns: int):
        root = self.root[:columns, :columns]
        if not checks.is_traced(root) and not np.linalg.cond(np.asarray(root, float)) < 1e6:
            raise ValueError(
                "bandwidth: expected a positive bandwidth and coordinates that vary for a density or a "
                "conditional mean, got a kernel without width: a bare bootstrap can only be sampled"
            )


@eqx.filter_jit
def _blurred_draws(p: Empirical, key, n: int) -> Float[Array, "neuron weight"]:
    which_key, noise_key = jr.split(key)
    draws = p.points[jr.randint(which_key, (n,), 0, len(p.points))]
    return draws + jr.normal(noise_key, draws.shape) @ p.root.T


@eqx.filter_jit
def _kernels(p: Empirical, x: Float[Array, "... part"]) -> Float[Array, "... neuron"]:
    """Log-density of each neuron's kernel over the first columns of (e, n)."""
    columns = x.shape[-1]
    root = p.root[:columns, :columns]
    back = jnp.linalg.inv(root).T
    points = p.points[:, :columns] @ back

    def one(x):
        return jax.scipy.stats.norm.logpdf(x[None] - points).sum(axis=1) - jnp.linalg.slogdet(root)[1]

    return jnp.vectorize(one, signature="(w)->(n)")(x @ back)


def _root(points: Float[np.ndarray, "neuron part"]) -> Float[np.ndarray, "part part"]:
    """L with L L^T the covariance of the points, which goes along with them: linear maps A of the points make
    it A L.
    """
    centred = points - points.mean(axis=0)
    covariance = centred.T @ centred / len(points)
    if np.linalg.matrix_rank(covariance, hermitian=True) < len(covariance):
        return np.diag(points.std(axis=0))
    # Any fixed combinations of the points go along; made orthonormal in the metric of the covariance they are
    # a root.
    frame = centred.T @ np.random.default_rng(0).normal(size=(len(points), len(covariance)))
    values, vectors = np.linalg.eigh(frame.T @ np.linalg.solve(covariance, frame))
    return frame @ (vectors / np.sqrt(values)) @ vectors.T


def sobol(rng: np.random.Generator, n: int, dim: int) -> Float[np.ndarray, "sample dim"]:
    """The first `n` of scrambled Sobol points, evenly spread in the unit cube.

    >>> sobol(np.random.default_rng(0), 5, 2).shape
    (5, 2)
    """
    from scipy.stats import qmc

    try:
        points = qmc.Sobol(dim, rng=rng)
    except TypeError:  # before scipy 1.15
        points = qmc.Sobol(dim, seed=rng)
    return points.random_base2(int(np.ceil(np.log2(n))))[:n]
