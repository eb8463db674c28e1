"""The gauge: latent coordinates are a choice, and changing them changes neither rates nor weights."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from . import checks
from .activation import resolve
from .checks import ArrayLike, floats
from .distributions import ConnectivityDistribution, GaussianMixture
from .module import first_lines
from .network import Embedding, LowRankNetwork
from .steps import Steps


def transform(x: ArrayLike, gauge: ArrayLike):
    r"""The same thing in other latent coordinates: $(z,m,n)\mapsto(Az,\,A^{-\top}m,\,An)$; b and d stay.

    **Arguments**

    - `x`: a `LowRankNetwork`, an `Embedding`, a `GaussianMixture` (the result is one), any other
      `ConnectivityDistribution` (the result is a `Gauged`), `Steps`, or latents (..., rank).
    - `gauge`: $A$ (rank, rank), invertible.

    Rates, $J$, and densities in nats stay as they are: $A^{-\top}$ on m undoes the volume that A on n adds.

    **Raises** `ValueError` for a singular A or one of another rank.

    >>> import jax.numpy as jnp
    >>> net = LowRankNetwork(jnp.eye(2), jnp.eye(2))
    >>> transform(net, 2 * jnp.eye(2)).n.tolist()
    [[2.0, 0.0], [0.0, 2.0]]
    """
    if isinstance(x, LowRankNetwork | Embedding | ConnectivityDistribution | Steps):
        rank = x.rank
    else:
        x = np.asarray(checks.array("latents", x, ("...", "rank"), padded=True), float)
        rank = x.shape[-1]
    gauge = np.asarray(checks.array("gauge", gauge, ("rank", "rank"), sizes={"rank": rank}), float)
    if np.linalg.cond(gauge) > 1e6:
        raise ValueError(
            f"gauge: expected an invertible matrix, got condition number {np.linalg.cond(gauge):.3g}"
        )
    inverse = np.linalg.inv(gauge)
    if isinstance(x, Embedding):
        return Embedding(np.asarray(x.m, float) @ inverse, x.b, x.d)
    if isinstance(x, LowRankNetwork):
        m, n = np.asarray(x.m, float) @ inverse, np.asarray(x.n, float) @ gauge.T
        return LowRankNetwork(m, n, x.b, x.d, activation=x.activation, tau=x.tau)
    if isinstance(x, Steps):
        return Steps(x.z @ gauge.T, x.u, x.y @ gauge.T, x.trial, alpha=x.alpha, copies=x.copies)
    if isinstance(x, GaussianMixture):
        map_ = np.eye(x.means.shape[1])
        map_[:rank, :rank], map_[x.width :, x.width :] = inverse.T, gauge
        means = np.asarray(x.means, float) @ map_.T
        roots = map_ @ np.asarray(x.roots, float)
        parts = (means, roots @ roots.transpose(0, 2, 1), roots)
        parts = tuple(jnp.asarray(part, x.means.dtype) for part in parts)
        return eqx.tree_at(lambda p: (p.means, p.covariances, p.roots), x, parts)
    if isinstance(x, ConnectivityDistribution):
        parts = (x, floats(gauge), floats(inverse), rank, x.n_inputs, x.bias)
        return Gauged(*parts)  # ty: ignore[invalid-argument-type]
    return x @ gauge.T


def transform_drift(drift: Callable, gauge: ArrayLike, centre: ArrayLike | None = None) -> Callable:
    r"""A drift in other latent coordinates, $z\mapsto Az+c$:
    $F^{\rm new}(z,u)=c+A\,F\big(A^{-1}(z-c),u\big)$.

    The leak pins the origin, so that a shift is no gauge of a network: it stands for latents that were
    centred.

    - `drift`: $F(z,u)$ of states (state, rank). `gauge`: $A$ (rank, rank); `centre`: $c$ (rank,), 0 by
      default.

    >>> import jax.numpy as jnp
    >>> net = LowRankNetwork(jnp.eye(2), jnp.eye(2))
    >>> z, a = jnp.ones((3, 2)), jnp.array([[0.0, 2.0], [1.0, 0.5]])
    >>> bool(jnp.allclose(transform_drift(net.drift, a)(z), transform(net, a).drift(z), atol=1e-5))
    True
    """
    centre = np.zeros(len(gauge)) if centre is None else centre
    a, back, c = floats(gauge), floats(np.linalg.inv(gauge)), floats(centre)

    def moved(z, u=None):
        shift = jnp.broadcast_to(c, z.shape)
        return shift + drift((z - shift) @ back.T, u) @ a.T

    return moved


class Gauged(ConnectivityDistribution):
    """A distribution in other latent coordinates, made by `transform`; its density is that of the weights
    carried back.
    """

    base: ConnectivityDistribution
    gauge: Float[Array, "rank rank"]
    inverse: Float[Array, "rank rank"]
    rank: int = eqx.field(static=True)
    n_inputs: int = eqx.field(static=True)
    bias: bool = eqx.field(static=True)

    def __repr__(self) -> str:
        return f"Gauged: in other coordinates of the {self.rank} latents\n{first_lines(repr(self.base), 9)}"

    def sample(self, key: PRNGKeyArray, n_neurons: int, **options) -> LowRankNetwork:
        """A network of the base in these coordinates; `options` are those of the base."""
        return transform(self.base.sample(key, n_neurons, **options), self.gauge)

    def conditional_mean(self, e: ArrayLike) -> Float[Array, "... rank"]:
        """A g(e), with g of the embedding carried back."""
        e = self._embedding(e)
        back = jnp.concatenate([e[..., : self.rank] @ self.gauge, e[..., self.rank :]], axis=-1)
        return self.base.conditional_mean(back) @ self.gauge.T

    def drift(self, z: ArrayLike, u: ArrayLike | None = None) -> Float[Array, "... rank"]:
        """A F(A^-1 z, u)."""
        return self.base.drift(floats(z) @ self.inverse.T, u) @ self.gauge.T

    def log_prob(self, m: ArrayLike, b: ArrayLike, d: ArrayLike, n: ArrayLike) -> Float[Array, "..."]:
        """Log-density (nats), that of the base at the weights carried back."""
        return self.base.log_prob(floats(m) @ self.gauge, b, d, floats(n) @ self.inverse.T)


def symmetric_root(a):
    """The symmetric root of a positive semidefinite matrix, of numpy or of jax.

    >>> symmetric_root(np.diag([4.0, 9.0])).tolist()
    [[2.0, 0.0], [0.0, 3.0]]
    """
    lib = jnp if isinstance(a, jax.Array) else np
    values, vectors = lib.linalg.eigh(a)
    # Rounding makes an eigenvalue of 0 negative.
    scale = lib.sqrt(lib.maximum(values, 0.0))
    return (vectors * lib.broadcast_to(scale, a.shape)) @ vectors.T


def signs(m: ArrayLike) -> Float[np.ndarray, " rank"]:
    r"""The sign of each axis that makes $\sum_im_{ik}^3$ positive: reversing an axis then changes nothing
    that is reported.

    >>> signs(np.array([[1.0, -2.0], [1.0, 1.0]])).tolist()
    [1.0, -1.0]
    """
    return np.where((np.asarray(m) ** 3).sum(axis=0) < 0, -1.0, 1.0)


def _full_rank(network: LowRankNetwork | Embedding) -> Float[np.ndarray, "neuron rank"]:
    """m, by which a gauge is found."""
    m = np.asarray(network.m, float)
    if not np.square(m).sum() < np.inf:
        raise ValueError(
            f"network: expected m whose squares are finite, got one of {np.abs(m).max():.3g}: bring it to "
            "another unit"
        )
    condition = np.linalg.cond(m)
    if not condition <= 1e6:
        raise ValueError(
            f"network: expected m of full rank {m.shape[1]}, got condition number {condition:.3g}: some "
            "direction of the latents is read by no neuron; use a lower rank"
        )
    return m


def whitening(network: LowRankNetwork | Embedding) -> Float[np.ndarray, "rank rank"]:
    r"""The gauge $A$ in which $\frac1N\sum_i m_i m_i^\top=I$; the rotation that is left is the symmetric
    root's.

    **Raises** `ValueError` for m that is not of full rank.

    >>> import jax.numpy as jnp
    >>> net = LowRankNetwork(2 * jnp.eye(2), jnp.eye(2))
    >>> m = transform(net, whitening(net)).m
    >>> bool(jnp.allclose(m.T @ m / 2, jnp.eye(2)))
    True
    """
    m = _full_rank(network)
    return symmetric_root(m.T @ m / len(m))


def canonical(network: LowRankNetwork, states: ArrayLike | None = None) -> Float[np.ndarray, "rank rank"]:
    r"""A gauge $A$ that needs no reference: m white, the axes those of the drift,
    $\frac1S\sum_sF(z_s)F(z_s)^\top$, largest first.

    Of n only the drift is used, so that networks of the same neurons and the same dynamics get the same axes,
    however much else of n differs; axes of n itself are no property of the dynamics. The sign of each axis
    makes $\sum_im_{ik}^3$ positive. Networks that differ by a gauge become the same.

    **Arguments**

    - `states`: (state, rank), where the drift is known, such as the visited ones; by default those that look
      like the neurons, $z_s=m_s$ in the white gauge (at most about a thousand), without input. For latents
      that stay much nearer to 0, or for a system that is driven away from it, give the states.

    Where two axes carry the same drift, as in a ring attractor, a rotation, or the quadstable system, the
    sample decides between them: align with a reference instead. It decides the signs where m is symmetric.

    **Raises** `ValueError` for m that is not of full rank, no states, and a drift that is 0 or infinite on
    all or some of them.

    >>> import jax.numpy as jnp, jax.random as jr
    >>> from lrcore import systems
    >>> net = systems.quadstable().sample(jr.key(0), 50)
    >>> moved = transform(net, jnp.array([[1.0, 0.5], [0.0, 2.0]]))
    >>> one, other = (transform(x, canonical(x)) for x in (net, moved))
    >>> bool(jnp.allclose(one.n, other.n, atol=1e-4))
    True
    """
    white = whitening(network)
    e, n = np.asarray(network.embedding.array, float), np.asarray(network.n, float) @ white.T
    m = e[:, : network.rank] @ np.linalg.inv(white)
    if states is None:
        z = m[:: -(-len(m) // 1000)]
    else:
        axes = ("state", "rank")
        z = np.asarray(checks.array("states", states, axes, sizes={"rank": network.rank}), float) @ white.T
        if not len(z):
            raise ValueError("states: expected at least one, got none: give those that were visited")
    bias = 0.0 if network.d is None else np.asarray(network.d, float)
    with checks.x64():
        rates = np.asarray(resolve(network.activation)(jnp.asarray(z @ m.T + bias)))
    with np.errstate(all="ignore"):
        drift = rates @ n / len(m)
    if not np.isfinite(drift).all():
        off = int((~np.isfinite(drift)).any(axis=1).sum())
        raise ValueError(
            f"states: expected a finite drift, got one that overflows at {off} of {len(z)} states: give "
            "states that are visited, or look at the units of m and n"
        )
    if not drift.any():
        raise ValueError(
            f"states: expected some at which the network drifts, got {len(z)} of drift 0, which has no axes: "
            "give states away from 0 and a network whose n is not 0, or take `whitening`"
        )
    drift = drift / np.abs(drift).max()
    axes = np.linalg.eigh(drift.T @ drift)[1][:, ::-1]
    return (signs(m @ axes) * axes).T @ white


def alignment(
    network: LowRankNetwork, reference: LowRankNetwork, *, rotation_only: bool = False
) -> Float[np.ndarray, "rank rank"]:
    r"""The gauge $A$ that carries a network onto a reference of the **same neurons**, by least squares on m.

    $$\min_A \sum_i \|A^{-\top}m_i - m_i^{\rm ref}\|^2$$

    **Arguments**

    - `rotation_only`: restrict $A$ to $O(R)$ (Procrustes), for networks that are both whitened.

    **Raises** `ValueError` for networks of different size or rank, and for m that is not of full rank.

    >>> import jax.random as jr, jax.numpy as jnp
    >>> from lrcore import systems
    >>> net = systems.ring().sample(jr.key(0), 50)
    >>> moved = transform(net, jnp.array([[1.0, 0.5], [0.0, 2.0]]))
    >>> back = transform(moved, alignment(moved, net))
    >>> bool(jnp.allclose(back.n, net.n, atol=1e-4))
    True
    """
    m, target = _full_rank(network), _full_rank(reference)
    if m.shape != target.shape:
        raise ValueError(
            f"expected the same neurons in both networks, got m of shapes {m.shape} and {target.shape}"
        )
    if rotation_only:
        left, _, right = np.linalg.svd(m.T @ target)
        return (left @ right).T
    inverse, *_ = np.linalg.lstsq(m, target, rcond=None)
    return np.linalg.inv(inverse)


def invariants(
    network: LowRankNetwork,
) -> tuple[Complex[np.ndarray, " rank"], Float[np.ndarray, " rank"]]:
    r"""What no gauge changes: the eigenvalues of $J=\frac1NMN^\top$ that are not 0, and its singular values.

    Both from R by R matrices, falling in size: the eigenvalues are those of $\frac1NN^\top M$.

    >>> import jax.numpy as jnp
    >>> values, strengths = invariants(LowRankNetwork(jnp.eye(2), 4 * jnp.eye(2)))
    >>> values.real.tolist(), strengths.tolist()
    ([2.0, 2.0], [2.0, 2.0])
    """
    m, n = np.asarray(network.m, float), np.asarray(network.n, float)
    values = np.linalg.eigvals(n.T @ m / len(m)).astype(complex)
    left, right = (np.asarray(np.linalg.qr(x, mode="r")) for x in (m, n))
    strengths = np.linalg.svd(left @ right.T / len(m), compute_uv=False)
    return values[np.lexsort((values.imag, -values.real.round(12), -np.abs(values).round(12)))], strengths
