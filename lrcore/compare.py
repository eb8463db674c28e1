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
    blur: float | None = None,
) -> float:
    r"""A symmetric dissimilarity that no choice of latent coordinates changes.

    $$d(p,q)=\min_{Q\in O(R)}\ \tfrac12\big(D(p,Qq)+D(Qq,p)\big)$$

    with D of `dissimilarity`, and both distributions in a gauge where $\mathbb E[mm^\top]=I$.

    The minimum is looked for in two steps. First a smooth cost, $-\mathbb E\,k(x_p,Qx_q)$ with a Gaussian
    kernel on $x=(m,g,b,d)$, that is a maximum mean discrepancy: it is concave in Q, so that the polar
    factors of its gradients descend without a step size, from 64 starts on both parts of O(R). Then, from the
    best few, Gauss-Newton steps on d itself, its transport plan an optimal assignment, updated between steps.
    Draws and search go along with the coordinates, so that other ones change the value by rounding alone.

    **Arguments**

    - `p`, `q`: as for `dissimilarity`, of the same rank. `n_neurons`: draws of each. The value at p = q is
      not 0 but that of two samples: see `floor`.

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
    # Axes that go along with the coordinates, so that the search is the same one in all of them.
    gauges = [canonical(net) for net in draws]
    pair = _Pair(
        *(transform(one, gauge) for one, gauge in zip((p, q), gauges, strict=True)),
        *(
            np.asarray(transform(net.embedding, gauge).array, float)
            for net, gauge in zip(draws, gauges, strict=True)
        ),
        draws[0].rank,
    )
    starts = pair.starts(np.random.default_rng(np.asarray(jr.key_data(search_key))))
    best = min((pair.descend(start) for start in starts), key=lambda found: found[0])[1]
    plan = sinkhorn(pair.e_p, pair.turned(pair.e_q, best[None])[0], blur=blur)
    return plan + float(np.mean(pair.differences(best[None], n_neurons) ** 2))


class _Pair:
    """Two distributions in white gauges, draws of both, and the rotations between them."""

    def __init__(self, p, q, e_p, e_q, rank):
        self.p, self.q, self.e_p, self.e_q, self.rank = p, q, e_p, e_q, rank
        self.g_p, self.g_q = (np.asarray(one.conditional_mean(e), float) for one, e in ((p, e_p), (q, e_q)))
        pairs = np.triu_indices(rank, 1)
        # A basis of the skew matrices.
        self.skew = np.zeros((len(pairs[0]), rank, rank))
        self.skew[np.arange(len(pairs[0])), *pairs] = 1.0
        self.skew -= self.skew.transpose(0, 2, 1)

    def turned(self, e, rotations):
        """Embeddings (neuron, embedding) in other coordinates: (rotation, neuron, embedding)."""
        m = np.einsum("qij,nj->qni", rotations, e[:, : self.rank])
        rest = np.broadcast_to(e[None, :, self.rank :], (*m.shape[:2], e.shape[1] - self.rank))
        return np.concatenate([m, rest], axis=-1)

    def differences(self, rotations, count):
        """$g_p-Qg_q$ at both embeddings, (rotation, 2, neuron, rank)."""
        there = self.turned(self.e_q[:count], rotations)
        back = self.turned(self.e_p[:count], rotations.transpose(0, 2, 1))
        of_p, of_q = np.asarray(self.p.conditional_mean(there)), np.asarray(self.q.conditional_mean(back))
        at_q = of_p - np.einsum("qij,nj->qni", rotations, self.g_q[:count])
        at_p = self.g_p[None, :count] - np.einsum("qij,qnj->qni", rotations, of_q)
        return np.stack([at_q, at_p], axis=1)

    def starts(self, rng, count: int = 64, most: int = 8) -> Float[np.ndarray, "start rank rank"]:
        """The rotations of the largest mean kernel."""
        rank = self.rank
        size = np.sqrt((np.mean(self.g_p**2) + np.mean(self.g_q**2)) / 2)
        fixed = [e[:, rank:] for e in (self.e_p, self.e_q)]
        spread = np.concatenate(fixed).std(axis=0)
        fixed = [e / np.where(spread > 0, spread, 1.0) for e in fixed]
        turning = [
            np.stack([e[:, :rank], g / (size or 1.0)])
            for e, g in ((self.e_p, self.g_p), (self.e_q, self.g_q))
        ]
        norms = [(x**2).sum(axis=(0, 2)) for x in turning]

        def climb(rotation, neurons, width, steps):
            """Polar steps up the mean kernel: a convex function is above its tangents."""
            (x, y), (f, h) = ([part[..., :neurons, :] for part in parts] for parts in (turning, fixed))
            offset = norms[0][:neurons, None] + norms[1][None, :neurons]
            offset = offset + ((f[:, None] - h[None]) ** 2).sum(axis=-1)
            for _ in range(steps):
                inner = sum(one @ rotation @ other.T for one, other in zip(x, y, strict=True))
                kernel = np.exp((inner - offset / 2) / width)
                left, _, right = np.linalg.svd(
                    sum(one.T @ kernel @ other for one, other in zip(x, y, strict=True))
                )
                rotation = left @ right
            return kernel.mean(), rotation

        # QR gives determinants of one sign only; with axes reversed at random there are rotations and
        # reflections.
        rotations = np.linalg.qr(rng.normal(size=(count, rank, rank)))[0]
        rotations = rotations * rng.choice((-1.0, 1.0), size=(count, 1, rank))
        rotations = np.concatenate([np.eye(rank)[None], rotations])
        for neurons, width, steps, kept in ((200, rank, 30, 3 * most), (500, rank / 2, 50, most)):
            found = sorted((climb(one, neurons, width, steps) for one in rotations), key=lambda x: -x[0])
            rotations = []
            for _, one in found:
                if all(np.linalg.norm(one - other) > 0.1 for other in rotations):
                    rotations.append(one)
            rotations = rotations[:kept]
        return np.stack(rotations)

    def descend(self, rotation, steps: int = 6):
        """Gauss-Newton steps on the distance; returns its value by assignment, and the rotation."""
        from scipy.linalg import expm
        from scipy.optimize import linear_sum_assignment
        from scipy.spatial.distance import cdist

        # Fewer neurons where each stands for more directions, so that g is asked for about equally often.
        rank, near, count = self.rank, 1e-2, max(128, 1024 // (1 + len(self.skew)))
        # An assignment takes the third power of their number.
        e_p, e_q = self.e_p[:300], self.e_q[:300]
        m_p, m_q = e_p[:, :rank], e_q[:, :rank]

        def at(rotations):
            """The residuals of g, of mean square the second term of the distance: (rotation, residual)."""
            left = self.differences(rotations, count).reshape(len(rotations), -1)
            return left / np.sqrt(left.shape[1])

        def value(rotation, residuals):
            cost = cdist(e_p, self.turned(e_q, rotation[None])[0], "sqeuclidean") / 2
            order = linear_sum_assignment(cost)[1]
            return cost[np.arange(len(cost)), order].mean() + residuals @ residuals, order

        small = np.stack([np.eye(rank), *(expm(near * one) for one in self.skew)])
        residuals, damping = at(small @ rotation), 1e-3
        best, order = value(rotation, residuals[0])
        for _ in range(steps if rank > 1 else 0):
            # The plan stays within a step: it gives a bound from above.
            turned = m_q[order] @ rotation.T
            moved = np.einsum("kij,nj->kni", self.skew, turned)
            plan = (turned - m_p).ravel() / np.sqrt(2 * len(m_p))
            slopes = np.concatenate(
                [
                    (residuals[1:] - residuals[0]).T / near,
                    moved.reshape(len(self.skew), -1).T / np.sqrt(2 * len(m_p)),
                ]
            )
            gram, slope = slopes.T @ slopes, slopes.T @ np.concatenate([residuals[0], plan])
            change = np.linalg.solve(gram + damping * np.trace(gram) * np.eye(len(gram)), -slope)
            tried = expm(np.einsum("k,kij->ij", change, self.skew)) @ rotation
            left = at(small @ tried)
            found, new = value(tried, left[0])
            if found < best:
                enough = best - found < 1e-3 * best
                best, rotation, residuals, order, damping = found, tried, left, new, damping / 10
                if enough:
                    break
            else:
                damping *= 30
        return best, rotation


def matrix(ps, qs, *, key: PRNGKeyArray, measure=distance, **options) -> Float[np.ndarray, "p q"]:
    """`measure(p, q, key=..., **options)` of every pair, all with the same key.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> some = [systems.ring(), systems.limit_cycle()]
    >>> matrix(some, some, key=jr.key(0), measure=dissimilarity, n_neurons=100).shape
    (2, 2)
    """
    return np.array([[measure(p, q, key=key, **options) for q in qs] for p in ps])


def floor(
    p: ConnectivityDistribution, *, key: PRNGKeyArray, draws: int = 5, measure=distance, **options
) -> Float[np.ndarray, " draw"]:
    """What independent samples of one distribution are apart, `measure(p, p, key=..., **options)`: a distance
    at the same options cannot be smaller, however alike the systems are.

    Of m alone it grows with the rank: about 0.02, 0.2 and 1.3 for 1,000 normal samples of 2, 4 and 8 numbers.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> bool((floor(systems.ring(), key=jr.key(0), draws=2, n_neurons=200) < 0.2).all())
    True
    """
    return np.array([measure(p, p, key=k, **options) for k in jr.split(key, checks.count("draws", draws))])


def null(
    fit, embedding: Embedding, *, key: PRNGKeyArray, draws: int = 20, measure=distance, **options
) -> Float[np.ndarray, " draw"]:
    r"""Distances that are no difference: between fits to two random halves of the same neurons.

    A distance between two data sets says something where it exceeds most of these, taken at the same
    `options`. Halves have half of the neurons, so that the comparison is a cautious one.

    **Arguments**

    - `fit`: from an `Embedding` of recorded neurons to a distribution, on otherwise the same data.
    - `draws`: random divisions; of 20, the largest is about the 95th percentile.

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
