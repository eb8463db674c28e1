r"""Dale's law: a neuron excites, or it inhibits. A sign for every column of $J=\frac1NMN^\top$."""

import warnings

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int

from . import checks
from .checks import ArrayLike
from .maxent import MaximumEntropy
from .network import LowRankNetwork

# How much more the drift may err under the law before it counts as incompatible with it.
_WORSE = 1.2


class Dale(eqx.Module):
    r"""Weights under Dale's law beside those without: made by `fit`.

    - `solution`: what was constrained. `signs`: 1, -1 or 0 where none is known (neuron,).
    - `cone`: rays (ray, rank) of $\{n: m_i\cdot n\ge0\ \forall i\}$; none where m lies in no half-space.
    - `n`: the weights (neuron, rank). `free`: those of the same regression without signs.
    - `error`, `free_error`: root mean square of what they leave of the drift targets.
    - `violation`, `free_violation`: see `violation`. `feasible`: whether `n` keeps the law.
    """

    solution: MaximumEntropy
    signs: Int[np.ndarray, " neuron"]
    cone: Float[np.ndarray, "ray rank"]
    n: Float[np.ndarray, "neuron rank"]
    free: Float[np.ndarray, "neuron rank"]
    error: float
    free_error: float
    violation: float
    free_violation: float
    feasible: bool

    def __repr__(self) -> str:
        law = (
            "kept"
            if self.feasible
            else f"broken by {self.violation:.1%} of the weight, the least with this drift"
        )
        return (
            f"Dale: {(self.signs > 0).sum()} columns excite, {(self.signs < 0).sum()} inhibit, "
            f"{(self.signs == 0).sum()} unknown; the law is {law}\n"
            f"error of the drift {self.error:.3g}, without signs {self.free_error:.3g} "
            f"and {self.free_violation:.1%} of the weight of the wrong sign"
        )

    def network(self, tau: float = 1.0) -> LowRankNetwork:
        """The recorded neurons with these weights."""
        return self.solution.network(tau).with_weights(self.n)


def violation(m: ArrayLike, n: ArrayLike, signs: ArrayLike) -> float:
    r"""Share of the weight whose sign is not that of its column,
    $\sum_{ij}\max(0,-s_jJ_{ij})/\sum_{ij}|J_{ij}|$, over columns with a sign.

    >>> violation([[1.0], [1.0]], [[3.0], [1.0]], [1, -1])
    0.25
    """
    m, n = (np.asarray(checks.array(name, x, ("neuron", "rank")), float) for name, x in (("m", m), ("n", n)))
    signs = _signs(signs, len(n))
    weights = m @ n[signs != 0].T * signs[signs != 0]
    total = np.abs(weights).sum()
    return float(np.maximum(-weights, 0).sum() / total) if total else 0.0


def cone(m: ArrayLike) -> Float[np.ndarray, "ray rank"]:
    r"""Rays of the n whose weights onto all neurons have one sign: $\{n: m_i\cdot n\ge0\ \forall i\}$.

    The m of all neurons must lie in an open half-space. Its normal is found by linear programming; seen from
    there, the m are points of R - 1 dimensions, and the rays are the normals of their convex hull.

    **Returns** unit vectors (ray, rank), none where m lies in no half-space: the only such n is then 0.

    Source: Rockafellar (1970), Convex Analysis, section 14 (polar cones).

    >>> np.round(np.sort(cone([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), axis=0), 6).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    from scipy.optimize import linprog

    m = np.asarray(checks.array("m", m, ("neuron", "rank")), float)
    rank = m.shape[1]
    m = m / np.linalg.norm(m, axis=1, keepdims=True)
    # The normal with the largest margin in a cube.
    rows = np.concatenate([-m, np.ones((len(m), 1))], axis=1)
    found = linprog(np.eye(rank + 1)[-1] * -1, rows, np.zeros(len(m)), bounds=[(-1, 1)] * rank + [(None, 1)])
    if found.status or found.x[-1] < 1e-6:
        return np.zeros((0, rank))
    normal = found.x[:rank] / np.linalg.norm(found.x[:rank])
    if rank == 1:
        return normal[None]
    across = np.linalg.svd(normal[None])[2][1:]
    points = (m @ across.T) / (m @ normal)[:, None]
    if rank == 2:
        rays = np.stack([across[0] - points.min() * normal, points.max() * normal - across[0]])
    else:
        from scipy.spatial import ConvexHull

        sides = ConvexHull(points).equations
        rays = np.unique(np.round(-(sides[:, :-1] @ across + sides[:, -1:] * normal), 12), axis=0)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def fit(solution: MaximumEntropy, signs: ArrayLike, *, ridge: float | None = None) -> Dale:
    r"""The weights that give the drift under Dale's law.

    $$\min_n\ \|Y-\tfrac1NXn\|^2+\rho\|n\|^2\quad\text{subject to}\quad s_j\,m_i\cdot n_j\ge0\ \ \forall i,j$$

    Convex: with the rays V of `cone`, $n_j=s_jV^\top c_j$ and $c_j\ge0$, a quadratic with bounds, solved by
    scipy's L-BFGS-B. Where m lies in no half-space, or the drift under the law errs more than 1.2 times as
    much as without, the law and the drift are not compatible: `n` is then, among weights with the drift of
    the free regression, the one whose entries of the wrong sign have the least sum of squares, and a
    warning says so.

    **Arguments**

    - `solution`: of `lr.maxent.fit`. `signs`: 1, -1, or 0 where not known (neuron,).
    - `ridge`: $\rho$; by default the noise's variance over the mean square of `solution.n`.

    **Raises** `ValueError` for signs of another length, or other than -1, 0 and 1.

    Source: Dale's law in trained networks: Song, Yang and Wang (2016), PLoS Computational Biology 12,
    e1004792. The cone and the smallest violation are ours.

    >>> import jax.random as jr
    >>> from lrcore import maxent, systems
    >>> from lrcore.steps import steps
    >>> net = systems.ring().sample(jr.key(0), 100)
    >>> net = LowRankNetwork(abs(net.m), abs(net.n))
    >>> seen = steps(net.simulate(systems.grid(5), None, 0.1, 20), alpha=0.1)
    >>> fit(maxent.fit(seen, net.embedding), np.ones(100, int)).feasible
    True
    """
    signs = _signs(signs, len(solution.n))
    modes, count = solution.modes, len(signs)
    slope = np.sqrt(modes.values / count)
    if ridge is None:
        ridge = solution.noise**2 / np.mean(solution.n**2)
    # Of clean drifts the ridge is held up, as modes far below have nothing to say.
    ridge = max(float(checks.positive("ridge", ridge, zero=True)), 1e-8 * slope[0] ** 2)
    seen, goal = modes.neurons, modes.drift

    def residual(n):
        return slope[:, None] * (seen.T @ n) - goal

    def error(n):
        left = np.sum(residual(n) ** 2) + max(np.trace(modes.rest), 0.0)
        return float(np.sqrt(left / (modes.steps * goal.shape[1])))

    free = seen @ ((slope / (slope**2 + ridge))[:, None] * goal)
    m = np.asarray(solution.embedding.m, float)
    rays, n, feasible = cone(m), free, False
    if len(rays):
        n = _within(residual, lambda r: seen @ (slope[:, None] * r), ridge, rays, signs)
        feasible = error(n) <= _WORSE * error(free)
    if not feasible:
        n = _least_violation(free, seen[:, slope**2 > ridge], m, signs)
    broken = violation(m, n, signs)
    if not feasible:
        why = "the drift errs by more under the law" if len(rays) else "m lies in no half-space"
        warnings.warn(
            f"dale: expected weights with these signs that give the drift, found none ({why}): those with "
            f"the smallest violation break the law by {broken:.1%} of the weight",
            stacklevel=2,
        )
    parts = (
        solution,
        signs,
        rays,
        n,
        free,
        error(n),
        error(free),
        broken,
        violation(m, free, signs),
        feasible,
    )
    return Dale(*parts)


def _signs(signs, count: int) -> np.ndarray:
    signs = np.asarray(signs)
    if signs.shape != (count,) or not np.isin(signs, (-1, 0, 1)).all():
        got = (
            f"shape {signs.shape}" if signs.shape != (count,) else f"{signs[~np.isin(signs, (-1, 0, 1))][0]}"
        )
        raise ValueError(
            f"signs: expected 1, -1 or 0 (not known) for each of {count} neurons, got {got}: make them of "
            "labels by np.where(labels == 'E', 1, -1)"
        )
    return signs.astype(int)


def _within(residual, adjoint, ridge: float, rays, signs) -> np.ndarray:
    """The ridge regression over n_j = s_j V^T c_j, with c_j >= 0 where the sign is known."""
    from scipy.optimize import Bounds, minimize

    sign = np.where(signs == 0, 1, signs)[:, None]
    shape = (len(signs), len(rays))

    def loss(c):
        n = sign * (c.reshape(shape) @ rays)
        left = residual(n)
        slope = 2 * (adjoint(left) + ridge * n)
        return np.sum(left**2) + ridge * np.sum(n**2), ((sign * slope) @ rays.T).ravel()

    low = np.where(np.repeat(signs == 0, len(rays)), -np.inf, 0.0)
    options = {"maxiter": 5000, "maxfun": 20_000, "ftol": 1e-13, "gtol": 1e-10, "maxcor": 30}
    found = minimize(
        loss, np.zeros(low.size), jac=True, method="L-BFGS-B", bounds=Bounds(low), options=options
    )
    return sign * (found.x.reshape(shape) @ rays)


def _least_violation(free, seen, m, signs) -> np.ndarray:
    """Of weights with the same drift, those whose entries of the wrong sign have the least sum of squares."""
    from scipy.optimize import minimize

    scale = np.mean((m @ free.T) ** 2)

    def moved(x):
        x = x.reshape(free.shape)
        return free + x - seen @ (seen.T @ x)

    def loss(x):
        n = moved(x)
        wrong = np.minimum(m @ n.T * signs, 0.0)
        # A little of the size decides among weights without any violation.
        slope = (wrong * signs).T @ m / (scale * wrong.size) + 1e-6 * n / (np.mean(free**2) * n.size)
        slope = slope - seen @ (seen.T @ slope)
        size = 0.5e-6 * np.mean(n**2) / np.mean(free**2)
        return 0.5 * np.mean(wrong**2) / scale + size, slope.ravel()

    found = minimize(
        loss, np.zeros(free.size), jac=True, method="L-BFGS-B", options={"maxiter": 500, "gtol": 1e-10}
    )
    return moved(found.x)
