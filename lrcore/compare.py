"""Comparing connectivities: gauge, and dissimilarities between distributions and between networks."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from . import checks
from .gauge import alignment as alignment
from .gauge import transform as transform
from .gauge import whitening as whitening
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
