"""Clusters of weights: how many there are, and whether the dynamics ask for them."""

from typing import NamedTuple

import equinox as eqx
import jax.random as jr
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from . import checks, threads
from .checks import ArrayLike
from .gauge import canonical, symmetric_root
from .network import LowRankNetwork


class Clusters(eqx.Module):
    """Mixtures of Gaussians by number of components, made by `fit`.

    - `log_likelihood`: (component,) held-out nats per neuron of 1, 2, ... components; `spread`: (component,)
      its standard error over folds, of the paired difference from the best.
    """

    log_likelihood: Float[np.ndarray, " component"]
    spread: Float[np.ndarray, " component"]

    def __repr__(self) -> str:
        scores = ", ".join(f"{nats:.3g}" for nats in self.log_likelihood)
        return f"{self.count} cluster{'s' * (self.count > 1)}; held-out nats a neuron of 1, 2, ...: {scores}"

    @property
    def count(self) -> int:
        """The smallest number of components whose likelihood is within a standard error of the best."""
        return 1 + int((self.log_likelihood >= self.log_likelihood.max() - self.spread).argmax())


@threads.one("sklearn.mixture")
def fit(weights: ArrayLike, *, key: PRNGKeyArray, most: int = 8, folds: int = 5, starts: int = 3) -> Clusters:
    """Number of clusters by cross-validated likelihood of Gaussian mixtures with full covariances.

    **Arguments**

    - `weights`: (neuron, weight), for instance n. `most`: components tried.
    - `folds`: of the neurons; `starts`: initialisations by k-means of each mixture.

    **Raises** `ValueError` for fewer than 10 neurons for each component of the largest mixture, for constant
    columns, and for fewer different neurons than components.

    >>> import jax.random as jr, numpy as np
    >>> x = np.random.default_rng(0).normal(size=(400, 1)) + np.repeat([[-4.0], [4.0]], 200, axis=0)
    >>> fit(x, key=jr.key(0), most=4).count
    2
    """
    from sklearn.mixture import GaussianMixture
    from sklearn.model_selection import KFold

    weights = np.asarray(checks.array("weights", weights, ("neuron", "weight")), float)
    most, folds = checks.count("most", most), checks.count("folds", folds, least=2)
    starts = checks.count("starts", starts)
    if len(weights) * (folds - 1) / folds < 10 * most:
        raise ValueError(
            f"weights: expected at least ten neurons of each training fold for each of {most} components, "
            f"got {len(weights)} in all: lower most"
        )
    checks.varying("weights", weights)
    seed = int(jr.randint(key, (), 0, 2**31 - 1))
    splits = list(KFold(folds, shuffle=True, random_state=seed).split(weights))
    for train, _ in splits:
        checks.varying("weights in a training fold", weights[train])
        different = len(np.unique(weights[train], axis=0))
        if different < most:
            raise ValueError(
                f"weights: expected at least {most} different rows in each training fold, as many as "
                f"components, got {different}: lower most"
            )
    weights = _white(weights)
    scores = np.zeros((folds, most))
    for fold, (train, test) in enumerate(splits):
        for count in range(1, most + 1):
            mixture = GaussianMixture(count, n_init=starts, reg_covar=1e-4, random_state=seed)
            scores[fold, count - 1] = mixture.fit(weights[train]).score(weights[test])
    mean = scores.mean(axis=0)
    behind = scores - scores[:, [mean.argmax()]]
    return Clusters(mean, behind.std(axis=0, ddof=1) / np.sqrt(folds))


def _white(weights: Float[np.ndarray, "neuron weight"]) -> Float[np.ndarray, "neuron direction"]:
    """Centred and of covariance I, so that neither units nor axes of the weights count; without directions in
    which they do not vary.
    """
    weights = (weights - weights.mean(axis=0)) / weights.std(axis=0)
    values, vectors = np.linalg.eigh(weights.T @ weights / len(weights))
    kept = values > 1e-10 * values.max()
    return weights @ (vectors[:, kept] / np.sqrt(values[kept]))


class RequiredClusters(NamedTuple):
    """Clusters of a fitted network, made by `required`: as fitted, in what the dynamics ask for, and in the
    rest.
    """

    fitted: Clusters
    required: Clusters
    residual: Clusters

    def __repr__(self) -> str:
        return f"fitted    {self.fitted}\nrequired  {self.required}\nresidual  {self.residual}"


def required(
    network: LowRankNetwork,
    conditional_mean,
    *,
    key: PRNGKeyArray,
    sigma: float | ArrayLike = 1.0,
    **options,
) -> RequiredClusters:
    r"""Is the structure of fitted weights in $g(e)=\mathbb E[n\mid e]$, or only in n given e?

    Counts clusters three times: in n as fitted; in $n=g(e)+\xi$ with $\xi$ Gaussian, which has the same
    dynamics and nothing that they do not ask for; and in the rest, $n-g(e)$. Clusters that are in the first
    and not in the second are not required. All three are counted in the canonical gauge, and no gauge of the
    network changes them.

    **Arguments**

    - `network`: with the fitted n. `conditional_mean`: $g$, a function of the embedding: that of a
      `Connector`, of `lr.maxent`, or the truth.
    - `sigma`: of $\xi$; a number is its standard deviation where m is white, the unit of n that needs no
      coordinates. A matrix (rank, rank) is a root of its covariance in the network's own coordinates, such as
      the `spread` of a `Connector` or of `lr.maxent`, and A times that after a change of gauge z to A z.
    - `options`: of `fit`.

    **Raises** what `fit` does, and `ValueError` for m that is not of full rank.

    Source: ours.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> p = systems.ring()
    >>> net = p.sample(jr.key(0), 500)
    >>> sides = 4 * jr.rademacher(jr.key(1), (500, 2), dtype=float)
    >>> split = LowRankNetwork(net.m, p.conditional_mean(net.embedding) + sides)
    >>> found = required(split, p.conditional_mean, key=jr.key(2), most=5)
    >>> found.fitted.count, found.required.count, found.residual.count
    (4, 1, 4)
    """
    noise_key, key = jr.split(key)
    gauge = canonical(network)
    n, g = (np.asarray(part, float) @ gauge.T for part in (network.n, conditional_mean(network.embedding)))
    root = checks.root("sigma", sigma, network.rank)
    if np.ndim(sigma):
        # The symmetric one, as roots of one covariance differ between coordinates.
        root = symmetric_root(gauge @ root @ root.T @ gauge.T)
    drawn = g + np.asarray(jr.normal(noise_key, g.shape), float) @ root
    return RequiredClusters(*(fit(part, key=key, **options) for part in (n, drawn, n - g)))
