"""Comparing connectivities: dissimilarities between distributions and between networks."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from . import checks
from .checks import ArrayLike
from .distributions import ConnectivityDistribution
from .gauge import canonical, transform, whitening
from .network import Embedding, LowRankNetwork
from .turns import Pair

BLUR = 0.05
# An assignment of so many takes seconds, as does a linear programme of so many pairs.
ASSIGNED = 2000
PAIRS = 60_000


def sinkhorn(x: ArrayLike, y: ArrayLike, *, blur: float | None = None) -> float:
    r"""The debiased Sinkhorn divergence $S_\varepsilon$ of two samples, an entropic $\frac12W_2^2$.

    Cost $\frac12\|x-y\|^2$, $\varepsilon=$ `blur` squared,
    $S_\varepsilon(x,y)=W_\varepsilon(x,y)-\frac12W_\varepsilon(x,x)-\frac12W_\varepsilon(y,y)$.
    For N samples $|S_\varepsilon-\frac12W_2^2|\le\varepsilon\log N$. Where that is at most a hundredth of
    $\frac12W_2^2$, as for tight clusters between which mass has to move, and an optimal assignment or, of few
    samples, a linear programme gives that, it is what is returned: Sinkhorn's iterations would hardly get
    there. Else they are made, over-relaxed, while $\varepsilon$ falls from the largest cost to its own value,
    by a twentieth an iteration. Computed in float64.

    **Arguments**

    - `x`, `y`: (sample, dim).
    - `blur`: in the unit of the samples; by default a twentieth of their spread, so that the value of samples
      in another unit is the same in its square. The spread is $\sqrt{s/2\dim x}$, with s the median squared
      distance of two samples of one cloud: about a standard deviation, whatever a few far ones do. In clouds
      of tight clusters s is at most a hundred times the median squared distance to which a sample has a tenth
      of its cloud: about a standard deviation within the clusters. Clouds that are much smaller than the blur
      are told apart by their means alone.

    **Raises** `ValueError` for no samples, NaN or infinity, and samples of different dimension;
    `FloatingPointError` where the iterations do not converge and $\frac12W_2^2$ is not known within a
    twentieth to be the value; `ImportError` without ott-jax.

    Source: Feydy et al. (2019), arXiv:1810.08278; over-relaxation: Thibault et al. (2021), Algorithms 14,
    143. The bound: the entropy of a plan is at most log N.

    >>> import jax.numpy as jnp
    >>> x = jnp.linspace(0, 1, 50)[:, None]
    >>> round(sinkhorn(x, x + 2.0), 3)
    2.0
    """
    x = _cloud("x", x)
    y = _cloud("y", y, sizes={"dim": x.shape[1]})
    spread = _spread(x, y)
    blur = BLUR * spread if blur is None else checks.positive("blur", blur)
    exact, off = _exact(x, y), blur**2 * np.log(max(len(x), len(y)))
    if off <= 0.01 * exact:
        return exact
    shift = x.mean(axis=0) - y.mean(axis=0)
    # In units of the spread, around the means, whose distance adds exactly. ott broadcasts freely, whatever
    # the caller allows.
    with checks.x64(), jax.numpy_rank_promotion("allow"):
        value, converged = _sinkhorn(*((c - c.mean(axis=0)) / spread for c in (x, y)), blur / spread)
        value, converged = float(value) * spread**2 + float(shift @ shift) / 2, bool(converged)
    if converged and np.isfinite(value):
        return value
    if off <= 0.05 * exact:
        return exact
    raise FloatingPointError(
        f"blur: expected one at which Sinkhorn's iterations converge, got {blur:.3g} for samples that "
        f"spread over {spread:.3g} and reach {np.abs(np.concatenate([x, y])).max():.3g}: enlarge blur, "
        f"take at most {ASSIGNED} samples, as many of both, or at most {PAIRS} pairs of them, bring the "
        "columns to like units, or look at the farthest samples"
    )


def _cloud(name: str, value, **options) -> Float[np.ndarray, "sample dim"]:
    value = np.asarray(checks.array(name, value, ("sample", "dim"), **options), float)
    if not value.size:
        raise ValueError(
            f"{name}: expected at least one sample of at least one number, got shape {value.shape}: check "
            "what was selected"
        )
    if np.abs(value).max() > 1e150:
        raise ValueError(
            f"{name}: expected numbers whose squares are finite, got one of {np.abs(value).max():.3g}: look "
            "at the farthest samples, or take another unit"
        )
    return value


def _exact(x: Float[np.ndarray, "sample dim"], y: Float[np.ndarray, "other dim"]) -> float:
    """Half the squared Wasserstein distance, by an optimal assignment of copies or by a linear programme; 0
    where both take too long.
    """
    from scipy.optimize import linear_sum_assignment, linprog
    from scipy.sparse import eye_array, kron, vstack
    from scipy.spatial.distance import cdist

    n_x, n_y = len(x), len(y)
    copies = np.lcm(n_x, n_y)
    if copies > ASSIGNED and n_x * n_y > PAIRS:
        return 0.0
    cost = cdist(x, y, "sqeuclidean") / 2
    if copies <= ASSIGNED:
        cost = np.repeat(np.repeat(cost, copies // n_x, axis=0), copies // n_y, axis=1)
        return float(cost[linear_sum_assignment(cost)].mean())
    # What leaves every sample of x, and what comes to all of y but the last, which follows.
    leaves, comes = kron(eye_array(n_x), np.ones((1, n_y))), kron(np.ones((1, n_x)), eye_array(n_y))
    masses = np.repeat([1 / n_x, 1 / n_y], [n_x, n_y])[:-1]
    # Tolerances are 1e-7 of a unit, so that it is a bound from below, where that is not lost in rounding.
    unit = max(cost.min(axis=0).mean(), cost.min(axis=1).mean(), 1e-6 * cost.max()) or 1.0
    found = linprog(cost.ravel() / unit, A_eq=vstack([leaves, comes]).tocsr()[:-1], b_eq=masses)
    return float(found.fun * unit) if found.success and found.fun > 1e-4 else 0.0


def _spread(x: Float[np.ndarray, "sample dim"], y: Float[np.ndarray, "other dim"]) -> float:
    """About a standard deviation of one coordinate within the clouds, or within the clusters that they
    consist of, or the distance of clouds of copies.
    """
    from scipy.spatial.distance import pdist, squareform

    # A thousand are enough for a median.
    some = [cloud[:: -(-len(cloud) // 1000)] for cloud in (x, y)]
    squares = [pdist(cloud, "sqeuclidean") for cloud in some]
    # A tenth of the cloud is, with the sample itself, what stands before that place.
    near = [
        np.sort(squareform(of), axis=1)[:, -(-len(c) // 10)]
        for of, c in zip(squares, some, strict=True)
        if len(c) > 1
    ]
    squares = np.concatenate(squares)
    apart = np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2)
    if not len(squares):
        return float(np.sqrt(apart)) or 1.0
    median, near = np.median(squares), 100 * np.median(np.concatenate(near))
    for size in (min(median, near), median, squares.mean()):
        if size > 1e-24 * apart:
            return float(np.sqrt(size / (2 * x.shape[1])))
    return float(np.sqrt(apart)) or 1.0


@jax.jit
def _sinkhorn(x, y, blur):
    from ott.geometry import costs, epsilon_scheduler, pointcloud
    from ott.solvers.linear import acceleration
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
        solve_kwargs={
            "max_iterations": 5000,
            "threshold": 1e-3,
            "momentum": acceleration.Momentum(value=1.8),
        },
    )
    return value / 2, jnp.stack(found.converged).all()


def dissimilarity(
    p: ConnectivityDistribution,
    q: ConnectivityDistribution,
    *,
    key: PRNGKeyArray,
    n_neurons: int = 1000,
    blur: float | None = None,
) -> float:
    r"""$D(p,q)=\frac12W_2^2\big(p(e),q(e)\big)+\frac1R\,\mathbb E_{q(e)}\|g_p(e)-g_q(e)\|^2$, with
    $g(e)=\mathbb E[n\mid e]$.

    **Arguments**

    - `p`, `q`: `ConnectivityDistribution`s, such as a `Connector` or a `GaussianMixture`; `q` is the
      reference.
    - `n_neurons`: draws of each on which both terms are estimated; the first term by `sinkhorn`, with `blur`.

    The value depends on the gauge of the latents: align first where the latents come from different fits. It
    is not symmetric.

    **Raises** `ValueError` for different ranks, inputs or biases; `TypeError` for what is no distribution.

    Source: Kim et al. (2026), arXiv:2603.26506, section 4, which writes $W_2^2$ and computes half of it.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> dissimilarity(systems.ring(), systems.limit_cycle(), key=jr.key(0), n_neurons=200) > 0.5
    True
    """
    _comparable(p, q)
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

    The minimum is looked for in two steps, in `lrcore/turns.py`. First candidates, which make low moments or
    a smooth kernel of $x=(m,g,b,d)$ agree, and what follows from them where a system is nearly symmetric.
    Then, from the best few, Gauss-Newton steps on d itself, its transport plan an optimal assignment, updated
    between steps. Draws and search go along with the coordinates, so that other ones change the value by
    rounding alone.

    **Arguments**

    - `p`, `q`: as for `dissimilarity`, of the same rank. `n_neurons`: draws of each. The value at p = q is
      not 0 but that of two samples: see `floor`.

    **Raises** `ValueError` for different ranks, inputs or biases, and a conditional mean that is NaN or
    infinite; `TypeError` for what is no distribution, such as a network.

    Source: D: Kim et al. (2026), arXiv:2603.26506, section 4; the minimum over the gauge and the symmetric
    form are ours.

    >>> import jax.numpy as jnp, jax.random as jr
    >>> from lrcore import gauge, systems
    >>> turned = gauge.transform(systems.limit_cycle(), jnp.array([[0.0, 2.0], [1.0, 0.5]]))
    >>> distance(systems.limit_cycle(), turned, key=jr.key(0), n_neurons=500) < 0.1
    True
    """
    _comparable(p, q)
    p_key, q_key, search_key = jr.split(key, 3)
    draws = [one.sample(k, n_neurons) for one, k in ((p, p_key), (q, q_key))]
    # Axes that go along with the coordinates, so that the search is the same one in all of them.
    gauges = [(canonical if np.asarray(net.n).any() else whitening)(net) for net in draws]
    pair = Pair(
        *(transform(one, gauge) for one, gauge in zip((p, q), gauges, strict=True)),
        *(
            np.asarray(transform(net.embedding, gauge).array, float)
            for net, gauge in zip(draws, gauges, strict=True)
        ),
        draws[0].rank,
    )
    starts = pair.starts(checks.generator(search_key))
    best = min((pair.descend(start) for start in starts), key=lambda found: found[0])[1]
    plan = sinkhorn(pair.e_p, pair.turned(pair.e_q, best[None])[0], blur=blur)
    return plan + float(np.mean(pair.differences(best[None], n_neurons) ** 2))


def _comparable(p: ConnectivityDistribution, q: ConnectivityDistribution) -> None:
    for name, one in (("p", p), ("q", q)):
        if not isinstance(one, ConnectivityDistribution):
            network = isinstance(one, LowRankNetwork)
            raise TypeError(
                f"{name}: expected a distribution of connectivity, got {type(one).__name__}: "
                + (
                    "take lr.distributions.Empirical(network) for it"
                    if network
                    else "fit one, or take lr.distributions.Empirical(lr.LowRankNetwork(m, n))"
                )
            )
    for name, word in (
        ("rank", "of the same rank"),
        ("n_inputs", "with as many inputs"),
        ("bias", "that both have biases or neither"),
    ):
        one, other = getattr(p, name), getattr(q, name)
        if one != other:
            raise ValueError(f"expected distributions {word}, got {one} and {other}: fit both alike")


def matrix(ps, qs, *, key: PRNGKeyArray, measure=distance, **options) -> Float[np.ndarray, "p q"]:
    """`measure(p, q, key=..., **options)` of every pair of the lists `ps` and `qs`, all with the same key.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> some = [systems.ring(), systems.limit_cycle()]
    >>> matrix(some, some, key=jr.key(0), measure=dissimilarity, n_neurons=100).shape
    (2, 2)
    """
    for name, some in (("ps", ps), ("qs", qs)):
        if not hasattr(some, "__len__"):
            raise TypeError(
                f"{name}: expected a list of distributions, got {type(some).__name__}: wrap it in a list"
            )
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

    **Raises** `ValueError` for fewer than four neurons; `TypeError` for a `fit` that returns None, and for
    anything but an `Embedding`.

    Source: ours.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> net = systems.ring().sample(jr.key(0), 100)
    >>> def fit(e):
    ...     return systems.ring()
    >>> bool((null(fit, net.embedding, key=jr.key(1), draws=2, n_neurons=100) < 0.2).all())
    True
    """
    if not isinstance(embedding, Embedding):
        raise TypeError(
            f"embedding: expected an Embedding, got {type(embedding).__name__}: take that of a network, or "
            "lr.Embedding(m, b, d)"
        )
    n = embedding.n_neurons
    if n < 4:
        raise ValueError(f"embedding: expected at least four neurons to divide, got {n}")
    found = []
    for one in jr.split(key, checks.count("draws", draws)):
        order_key, distance_key = jr.split(one)
        order = np.asarray(jr.permutation(order_key, n))
        halves = [embedding.like(embedding.array[part]) for part in (order[: n // 2], order[n // 2 :])]
        fits = [fit(half) for half in halves]
        if any(one is None for one in fits):
            raise TypeError(
                "fit: expected a function that returns a distribution, got None from it: return it"
            )
        found.append(measure(*fits, key=distance_key, **options))
    return np.array(found)


def lint_dissimilarity(p: LowRankNetwork, q: LowRankNetwork) -> float:
    r"""$1-\mathrm{corr}\big(\mathrm{sort}\,J^{\rm eff}_p,\ \mathrm{sort}\,J^{\rm eff}_q\big)$.

    $J^{\rm eff}=\frac1N M (P_M N)^\top$, with $P_M$ the projection on the column space of M: the part of the
    weights that a network without bias needs around the origin. Sorting forgets which neuron is which, and
    with it most of what the weights do.

    **Raises** `ValueError` for networks of different size, and for weights that are all the same, as where n
    is 0 or there is one neuron; `TypeError` for distributions, from which to sample networks first.

    Source: Valente, Pillow & Ostojic (2022), NeurIPS 35.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> net = systems.ring().sample(jr.key(0), 50)
    >>> abs(lint_dissimilarity(net, net)) < 1e-6
    True
    """
    for name, one in (("p", p), ("q", q)):
        if not isinstance(one, LowRankNetwork):
            way = (
                "sample it"
                if isinstance(one, ConnectivityDistribution)
                else "make one by lr.LowRankNetwork(m, n)"
            )
            raise TypeError(f"{name}: expected a LowRankNetwork, got {type(one).__name__}: {way}")
    if p.n_neurons != q.n_neurons:
        raise ValueError(f"expected networks of the same size, got {p.n_neurons} and {q.n_neurons} neurons")
    weights = []
    for network in (p, q):
        m, n = np.asarray(network.m, float), np.asarray(network.n, float)
        projected = m @ np.linalg.lstsq(m, n, rcond=None)[0]
        weights.append(np.sort((m @ projected.T).ravel()) / network.n_neurons)
    for name, one in zip("pq", weights, strict=True):
        if one[-1] - one[0] <= 1e-12 * np.abs(one).max():
            raise ValueError(
                f"{name}: expected weights J that differ, got {len(one)} of {one[0]:.3g}, which correlate "
                "with nothing: take networks of several neurons whose n has a part along m"
            )
    return float(1 - np.corrcoef(*weights)[0, 1])
