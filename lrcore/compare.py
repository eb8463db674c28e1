"""Comparing connectivities: dissimilarities between distributions and between networks."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from . import checks
from .checks import ArrayLike
from .distributions import ConnectivityDistribution
from .gauge import canonical, transform
from .network import Embedding, LowRankNetwork

BLUR = 0.05


def sinkhorn(x: ArrayLike, y: ArrayLike, *, blur: float | None = None) -> float:
    r"""The debiased Sinkhorn divergence $S_\varepsilon$ of two samples, an entropic $\frac12W_2^2$.

    Cost $\frac12\|x-y\|^2$, $\varepsilon=$ `blur` squared,
    $S_\varepsilon(x,y)=W_\varepsilon(x,y)-\frac12W_\varepsilon(x,x)-\frac12W_\varepsilon(y,y)$.
    $\varepsilon$ falls from the largest cost to its own value, by a twentieth an iteration. Computed in
    float64.

    **Arguments**

    - `x`, `y`: (sample, dim).
    - `blur`: in the unit of the samples; by default a twentieth of their spread, so that the value of samples
      in another unit is the same in its square. The spread is $\sqrt{s/2\dim x}$, with s the median squared
      distance of two samples of one cloud: about a standard deviation, whatever a few far ones do. Clouds
      that are much smaller than the blur are told apart by their means alone.

    **Raises** `ValueError` for samples of different dimension; `FloatingPointError` where the iterations do
    not converge, as the value would be wrong; `ImportError` without ott-jax.

    Source: Feydy et al. (2019), arXiv:1810.08278.

    >>> import jax.numpy as jnp
    >>> x = jnp.linspace(0, 1, 50)[:, None]
    >>> round(sinkhorn(x, x + 2.0), 3)
    2.0
    """
    x = np.asarray(checks.array("x", x, ("sample", "dim")), float)
    y = np.asarray(checks.array("y", y, ("sample", "dim"), sizes={"dim": x.shape[1]}), float)
    spread = _spread(x, y)
    blur = BLUR * spread if blur is None else checks.positive("blur", blur)
    shift = x.mean(axis=0) - y.mean(axis=0)
    # In units of the spread, around the means, whose distance adds exactly. ott broadcasts freely, whatever
    # the caller allows.
    with checks.x64(), jax.numpy_rank_promotion("allow"):
        value, converged = _sinkhorn(*((c - c.mean(axis=0)) / spread for c in (x, y)), blur / spread)
        value, converged = float(value) * spread**2 + float(shift @ shift) / 2, bool(converged)
    if not converged or not np.isfinite(value):
        raise FloatingPointError(
            f"blur: expected one at which Sinkhorn's iterations converge, got {blur:.3g} for samples that "
            f"spread over {spread:.3g} and reach {np.abs(np.concatenate([x, y])).max():.3g}: enlarge blur, "
            "bring the columns to like units, or look at the farthest samples"
        )
    return value


def _spread(x: Float[np.ndarray, "sample dim"], y: Float[np.ndarray, "other dim"]) -> float:
    """About a standard deviation of one coordinate within the clouds, or the distance of clouds of copies."""
    from scipy.spatial.distance import pdist

    # A thousand are enough for a median.
    squares = np.concatenate([pdist(cloud[:: -(-len(cloud) // 1000)], "sqeuclidean") for cloud in (x, y)])
    apart = np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2)
    for size in (np.median(squares), squares.mean()) if len(squares) else ():
        if size > 1e-24 * apart:
            return float(np.sqrt(size / (2 * x.shape[1])))
    return float(np.sqrt(apart)) or 1.0


@jax.jit
def _sinkhorn(x, y, blur):
    from ott.geometry import costs, epsilon_scheduler, pointcloud
    from ott.tools import sinkhorn_divergence

    # ott's cost is |x - y|^2, twice ours, so that both epsilon and the value are.
    both = jnp.concatenate([x, y])
    largest = jnp.sum((both.max(axis=0) - both.min(axis=0)) ** 2)
    target = 2 * blur**2
    value, found = sinkhorn_divergence.sinkhorn_divergence(
        pointcloud.PointCloud,
        x,
        y,
        cost_fn=costs.SqEuclidean(),
        epsilon=epsilon_scheduler.Epsilon(target, init=largest / target, decay=0.95),
        solve_kwargs={"max_iterations": 5000, "threshold": 1e-3},
    )
    return value / 2, jnp.stack(found.converged).all()


def dissimilarity(
    p: ConnectivityDistribution,
    q: ConnectivityDistribution,
    *,
    key: PRNGKeyArray,
    n_neurons: int = 1000,
    blur: float = BLUR,
) -> float:
    r"""$D(p,q) = W_2^2\big(p(e),q(e)\big) + \mathbb E_{q(e)}\|g_p(e)-g_q(e)\|^2/R$, with
    $g(e)=\mathbb E[n\mid e]$.

    **Arguments**

    - `p`, `q`: `ConnectivityDistribution`s, such as a `Connector` or a `GaussianMixture`; `q` is the
      reference.
    - `n_neurons`: draws of each on which both terms are estimated; the first term by `sinkhorn`.

    The value depends on the gauge of the latents: align first where the latents come from different fits. It
    is not symmetric.

    Source: Kim et al. (2026), arXiv:2603.26506, section 4.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> dissimilarity(systems.ring(), systems.limit_cycle(), key=jr.key(0), n_neurons=200) > 0.5
    True
    """
    p_key, q_key = jr.split(key)
    from_p, from_q = (one.sample(k, n_neurons).embedding for one, k in ((p, p_key), (q, q_key)))
    difference = p.conditional_mean(from_q) - q.conditional_mean(from_q)
    return sinkhorn(from_p.array, from_q.array, blur=blur) + float(jnp.mean(difference**2))


def distance(
    p: ConnectivityDistribution,
    q: ConnectivityDistribution,
    *,
    key: PRNGKeyArray,
    n_neurons: int = 1000,
    blur: float = BLUR,
) -> float:
    r"""A symmetric dissimilarity that no choice of latent coordinates changes.

    $$d(p,q)=\min_{Q\in O(R)}\ \tfrac12\big(D(p,Qq)+D(Qq,p)\big)$$

    with D of `dissimilarity`, and both distributions in a gauge where $\mathbb E[mm^\top]=I$. The minimum is
    looked for among rotations and reflections spread over O(R), then around the best four of them, with the
    sliced Wasserstein distance in place of Sinkhorn's; the value is computed at the minimum. Draws and search
    go along with the coordinates, so that other ones change the value by rounding alone: 1e-11 in float64,
    1e-5 in float32.

    **Arguments**

    - `p`, `q`: as for `dissimilarity`, of the same rank. `n_neurons`: draws of each.

    **Raises** `ValueError` for different ranks.

    Source: D: Kim et al. (2026), arXiv:2603.26506, section 4; the minimum over the gauge and the symmetric
    form are ours.

    >>> import jax.numpy as jnp, jax.random as jr
    >>> from lrcore import gauge, systems
    >>> turned = gauge.transform(systems.limit_cycle(), jnp.array([[0.0, 2.0], [1.0, 0.5]]))
    >>> distance(systems.limit_cycle(), turned, key=jr.key(0), n_neurons=500) < 0.1
    True
    """
    p_key, q_key, search_key = jr.split(key, 3)
    draws = [one.sample(k, n_neurons) for one, k in ((p, p_key), (q, q_key))]
    if draws[0].rank != draws[1].rank:
        raise ValueError(f"expected distributions of the same rank, got {draws[0].rank} and {draws[1].rank}")
    rank = draws[0].rank
    # Axes that go along with the coordinates, so that the search is the same one in all of them.
    gauges = [canonical(net) for net in draws]
    p, q = (transform(one, gauge) for one, gauge in zip((p, q), gauges, strict=True))
    e_p, e_q = (
        np.asarray(transform(net.embedding, gauge).array, float)
        for net, gauge in zip(draws, gauges, strict=True)
    )
    g_p, g_q = (np.asarray(one.conditional_mean(e), float) for one, e in ((p, e_p), (q, e_q)))

    def turn(e, rotations):
        """Embeddings (neuron, embedding) in other coordinates: (rotation, neuron, embedding)."""
        m = np.einsum("qij,nj->qni", rotations, e[:, :rank])
        rest = np.broadcast_to(e[None, :, rank:], (*m.shape[:2], e.shape[1] - rank))
        return np.concatenate([m, rest], axis=-1)

    def differences(rotations, count):
        """Mean of (g_p - Q g_q)^2 over both embeddings, (rotation,)."""
        there, back = turn(e_q[:count], rotations), turn(e_p[:count], rotations.transpose(0, 2, 1))
        of_p = np.asarray(p.conditional_mean(there))
        of_q = np.asarray(q.conditional_mean(back))
        at_q = of_p - np.einsum("qij,nj->qni", rotations, g_q[:count])
        at_p = g_p[None, :count] - np.einsum("qij,qnj->qni", rotations, of_q)
        return (np.mean(at_q**2, axis=(1, 2)) + np.mean(at_p**2, axis=(1, 2))) / 2

    rng = np.random.default_rng(np.asarray(jr.key_data(search_key)))
    along = rng.normal(size=(e_p.shape[1], 32))
    along /= np.linalg.norm(along, axis=0)

    def cost(rotations, count=128):
        sliced = np.sort(turn(e_q, rotations) @ along, axis=1) - np.sort(e_p @ along, axis=0)[None]
        return differences(rotations, count) + rank * np.mean(sliced**2, axis=(1, 2)) / 2

    rotations = np.linalg.qr(rng.normal(size=(64 if rank < 3 else 256, rank, rank)))[0]
    # QR gives determinants of one sign only; with axes reversed at random there are rotations and
    # reflections.
    rotations = rotations * rng.choice((-1.0, 1.0), size=(len(rotations), 1, rank))
    rotations = np.concatenate([np.eye(rank)[None], rotations])
    best = rotations[np.argsort(cost(rotations, 64))[:4]]
    for width in (0.3, 0.1, 0.03):
        skew = width * rng.normal(size=(8, 1, rank, rank))
        near = np.linalg.qr(np.eye(rank) + np.tril(skew, -1) - np.tril(skew, -1).swapaxes(-1, -2))[0]
        near = near * np.sign(np.einsum("...ii->...i", near))[..., None, :]
        rotations = np.concatenate([best, (near @ best).reshape(-1, rank, rank)])
        best = rotations[np.argsort(cost(rotations))[:4]]
    chosen = best[:1]
    return sinkhorn(e_p, turn(e_q, chosen)[0], blur=blur) + float(differences(chosen, n_neurons)[0])


def matrix(ps, qs, *, key: PRNGKeyArray, measure=distance, **options) -> Float[np.ndarray, "p q"]:
    """`measure(p, q, key=..., **options)` of every pair, all with the same key.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> some = [systems.ring(), systems.limit_cycle()]
    >>> matrix(some, some, key=jr.key(0), measure=dissimilarity, n_neurons=100).shape
    (2, 2)
    """
    return np.array([[measure(p, q, key=key, **options) for q in qs] for p in ps])


def null(
    fit, embedding: Embedding, *, key: PRNGKeyArray, draws: int = 20, measure=distance, **options
) -> Float[np.ndarray, " draw"]:
    r"""Distances that are no difference: between fits to two random halves of the same neurons.

    A distance between two data sets says something where it exceeds most of these. Halves have half of the
    neurons, so that the comparison is a cautious one.

    **Arguments**

    - `fit`: from an `Embedding` of recorded neurons to a distribution, on otherwise the same data.
    - `draws`: random divisions.

    **Raises** `ValueError` for fewer than four neurons.

    Source: ours.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> net = systems.ring().sample(jr.key(0), 100)
    >>> def fit(e):
    ...     return systems.ring()
    >>> bool((null(fit, net.embedding, key=jr.key(1), draws=2, n_neurons=100) < 0.2).all())
    True
    """
    n = embedding.n_neurons
    if n < 4:
        raise ValueError(f"embedding: expected at least four neurons to divide, got {n}")
    found = []
    for one in jr.split(key, checks.count("draws", draws)):
        order_key, distance_key = jr.split(one)
        order = np.asarray(jr.permutation(order_key, n))
        halves = [embedding.like(embedding.array[part]) for part in (order[: n // 2], order[n // 2 :])]
        found.append(measure(*map(fit, halves), key=distance_key, **options))
    return np.array(found)


def lint_dissimilarity(p: LowRankNetwork, q: LowRankNetwork) -> float:
    r"""$1-\mathrm{corr}\big(\mathrm{sort}\,J^{\rm eff}_p,\ \mathrm{sort}\,J^{\rm eff}_q\big)$.

    $J^{\rm eff}=\frac1N M (P_M N)^\top$, with $P_M$ the projection on the column space of M: the part of the
    weights that a network without bias needs around the origin. Sorting forgets which neuron is which, and
    with it most of what the weights do.

    **Raises** `ValueError` for networks of different size.

    Source: Valente, Pillow & Ostojic (2022), NeurIPS 35.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> net = systems.ring().sample(jr.key(0), 50)
    >>> abs(lint_dissimilarity(net, net)) < 1e-6
    True
    """
    if p.n_neurons != q.n_neurons:
        raise ValueError(f"expected networks of the same size, got {p.n_neurons} and {q.n_neurons} neurons")
    weights = []
    for network in (p, q):
        m, n = np.asarray(network.m, float), np.asarray(network.n, float)
        projected = m @ np.linalg.lstsq(m, n, rcond=None)[0]
        weights.append(np.sort((m @ projected.T).ravel()) / network.n_neurons)
    return float(1 - np.corrcoef(*weights)[0, 1])
