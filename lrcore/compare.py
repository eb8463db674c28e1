"""Comparing connectivities: gauge, and dissimilarities between distributions and between networks."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from . import checks
from .network import LowRankNetwork

BLUR = 0.05


def sinkhorn(x, y, *, blur: float = BLUR) -> float:
    r"""The debiased Sinkhorn divergence $S_\varepsilon$ of two samples, an entropic $\frac12W_2^2$.

    Cost $\frac12\|x-y\|^2$, $\varepsilon=$ `blur` squared, $S_\varepsilon(x,y)=W_\varepsilon(x,y)-\frac12W_\varepsilon(x,x)-\frac12W_\varepsilon(y,y)$.

    **Arguments**

    - `x`, `y`: (sample, dim).

    **Raises** `ValueError` for samples of different dimension; `ImportError` without ott-jax.

    Source: Feydy et al. (2019), arXiv:1810.08278.

    >>> import jax.numpy as jnp
    >>> x = jnp.linspace(0, 1, 50)[:, None]
    >>> round(sinkhorn(x, x + 2.0), 3)
    2.0
    """
    from ott.geometry import costs, pointcloud
    from ott.tools import sinkhorn_divergence

    x = jnp.asarray(checks.array("x", x, ("sample", "dim")), jnp.float32)
    y = jnp.asarray(checks.array("y", y, ("sample", "dim"), sizes={"dim": x.shape[1]}), jnp.float32)
    # ott broadcasts freely, whatever the caller allows.
    with jax.numpy_rank_promotion("allow"):
        value, _ = sinkhorn_divergence.sinkhorn_divergence(
            pointcloud.PointCloud,
            x,
            y,
            cost_fn=costs.SqEuclidean(),
            # ott's cost is |x - y|^2, twice ours, so that both epsilon and the value are.
            epsilon=2 * checks.positive("blur", blur) ** 2,
            solve_kwargs={"max_iterations": 5000, "threshold": 1e-3},
        )
    return float(value) / 2


def dissimilarity(p, q, *, key: PRNGKeyArray, n_neurons: int = 1000, blur: float = BLUR) -> float:
    r"""$D(p,q) = W_2^2\big(p(e),q(e)\big) + \mathbb E_{q(e)}\|g_p(e)-g_q(e)\|^2/R$, with $g(e)=\mathbb E[n\mid e]$.

    **Arguments**

    - `p`, `q`: anything with `.sample(key, n)` -> `LowRankNetwork` and `.conditional_mean(e)`: a `Connector`, a
      `GaussianMixture`, an `Empirical`. `q` is the reference.
    - `n_neurons`: draws of each on which both terms are estimated; the first term by `sinkhorn`.

    The value depends on the gauge of the latents: align first where the latents come from different fits. It is
    not symmetric.

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


def lint_dissimilarity(p: LowRankNetwork, q: LowRankNetwork) -> float:
    r"""$1-\mathrm{corr}\big(\mathrm{sort}\,J^{\rm eff}_p,\ \mathrm{sort}\,J^{\rm eff}_q\big)$.

    $J^{\rm eff}=\frac1N M (P_M N)^\top$, with $P_M$ the projection on the column space of M: the part of the weights that
    a network without bias needs around the origin. Sorting forgets which neuron is which, and with it most of what the
    weights do.

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


def transform(network: LowRankNetwork, gauge) -> LowRankNetwork:
    r"""The same network in other latent coordinates: $(z,m,n)\mapsto(Az,\,A^{-\top}m,\,An)$.

    Rates and J stay as they are.

    **Arguments**

    - `gauge`: $A$ (rank, rank), invertible.

    **Raises** `ValueError` for a singular A.

    >>> import jax.numpy as jnp
    >>> net = LowRankNetwork(jnp.eye(2), jnp.eye(2))
    >>> transform(net, 2 * jnp.eye(2)).n.tolist()
    [[2.0, 0.0], [0.0, 2.0]]
    """
    gauge = checks.array("gauge", gauge, ("rank", "rank"), sizes={"rank": network.rank})
    gauge = np.asarray(gauge, float)
    if np.linalg.cond(gauge) > 1e6:
        raise ValueError(
            f"gauge: expected an invertible matrix, got condition number {np.linalg.cond(gauge):.3g}"
        )
    m = np.asarray(network.m, float) @ np.linalg.inv(gauge)
    n = np.asarray(network.n, float) @ gauge.T
    return LowRankNetwork(m, n, network.b, network.d, activation=network.activation, tau=network.tau)


def whitening(network: LowRankNetwork) -> Float[np.ndarray, "rank rank"]:
    r"""The gauge $A$ in which $\frac1N\sum_i m_i m_i^\top=I$; the rotation that is left is the symmetric root's.

    >>> import jax.numpy as jnp
    >>> net = LowRankNetwork(2 * jnp.eye(2), jnp.eye(2))
    >>> m = transform(net, whitening(net)).m
    >>> bool(jnp.allclose(m.T @ m / 2, jnp.eye(2)))
    True
    """
    m = np.asarray(network.m, float)
    values, vectors = np.linalg.eigh(m.T @ m / len(m))
    return (vectors * np.sqrt(values)) @ vectors.T


def alignment(
    network: LowRankNetwork, reference: LowRankNetwork, *, rotation_only: bool = False
) -> np.ndarray:
    r"""The gauge $A$ that carries a network onto a reference of the **same neurons**, by least squares on m.

    $$\min_A \sum_i \|A^{-\top}m_i - m_i^{\rm ref}\|^2$$

    **Arguments**

    - `rotation_only`: restrict $A$ to $O(R)$ (Procrustes), for networks that are both whitened.

    **Raises** `ValueError` for networks of different size or rank.

    >>> import jax.random as jr, jax.numpy as jnp
    >>> from lrcore import systems
    >>> net = systems.ring().sample(jr.key(0), 50)
    >>> moved = transform(net, jnp.array([[1.0, 0.5], [0.0, 2.0]]))
    >>> back = transform(moved, alignment(moved, net))
    >>> bool(jnp.allclose(back.n, net.n, atol=1e-4))
    True
    """
    m, target = np.asarray(network.m, float), np.asarray(reference.m, float)
    if m.shape != target.shape:
        raise ValueError(
            f"expected the same neurons in both networks, got m of shapes {m.shape} and {target.shape}"
        )
    if rotation_only:
        left, _, right = np.linalg.svd(m.T @ target)
        return (left @ right).T
    inverse, *_ = np.linalg.lstsq(m, target, rcond=None)
    return np.linalg.inv(inverse)
