"""Flow fields: fixed points of the latent dynamics and their stability."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float

from . import checks
from .checks import ArrayLike


class FixedPoints(eqx.Module):
    r"""Where $F(z,u)=z$, and how the dynamics behave around it.

    - `points`: (point, rank).
    - `eigenvalues`: (point, rank) of the Jacobian of $-z+F(z,u)$, in units of $1/\tau$, complex.
    - `stable`: (point,), whether every real part is negative.
    """

    points: Float[np.ndarray, "point rank"]
    eigenvalues: np.ndarray
    stable: np.ndarray


def fixed_points(
    drift: Callable,
    starts: ArrayLike,
    u: ArrayLike | None = None,
    *,
    tolerance: float = 4e-5,
    apart: float = 0.02,
    visited: ArrayLike | None = None,
) -> FixedPoints:
    r"""Fixed points of $\tau\dot z=-z+F(z,u)$, by two kinds of search from many starts at once.

    Lengths are in units of the extent of the starts, $\sqrt3$ standard deviations in every direction: half a
    side, where they fill a cube. So the points are the same in all latent coordinates and units.

    **Arguments**

    - `drift`: $F$, as `LowRankNetwork.drift`.
    - `starts`: (start, rank), for instance `lr.systems.grid(15)`; a coarse grid can miss points that lie
      close together. Where they lie in a line or a plane, their widest direction says how long the others
      are; where they are all alike, their distance from 0.
    - `u`: one constant input (input,), or None.
    - `tolerance`: largest $|-z+F(z,u)|$ that is accepted.
    - `apart`: points closer than this are one.
    - `visited`: (state, rank), states that a recording went through; points with fewer than one in 500 of
      them within half of the extent of these are left out, as nothing is known of the flow there. All are
      kept by default.

    Points further from the middle of the starts than twice the farthest start are left out. On a ring of
    marginal states the search returns many points of the ring, some by chance called stable.

    **Raises** `ValueError` for starts that are not (start, rank), and for none.

    >>> import jax.numpy as jnp
    >>> found = fixed_points(lambda z, u=None: 2 * jnp.tanh(z), jnp.linspace(-3, 3, 7)[:, None])
    >>> [f"{z:.2f}" for z in found.points[:, 0]], found.stable.tolist()
    (['-1.92', '0.00', '1.92'], [True, False, True])
    """
    # One type for all: the search needs states of the type that the drift has.
    kind = jnp.result_type(float)
    starts = np.asarray(checks.array("starts", starts, ("start", "rank")), float)
    u = None if u is None else jnp.asarray(checks.array("u", u, ("input",)), kind)
    tolerance, apart = checks.positive("tolerance", tolerance), checks.positive("apart", apart, zero=True)

    middle, root = _frame("starts", starts)
    y = np.linalg.solve(root, (starts - middle).T).T
    # Once more nearer to the middle, where points often lie close together, and from the middle itself.
    dense = np.concatenate([y, y / 4, np.zeros_like(y[:1])])
    frame = (jnp.asarray(part, kind) for part in (middle, root, np.linalg.inv(root)))
    y, found, left, jacobians = map(np.asarray, _search(drift, u, jnp.asarray(dense, kind), *frame))
    reach = 2 * max(np.linalg.norm(dense, axis=1).max(), 1.0)
    keep = (left < tolerance) & (np.linalg.norm(y, axis=1) <= reach * (1 + 1e-6))
    if visited is not None:
        visited = checks.array("visited", visited, ("state", "rank"), sizes={"rank": found.shape[1]})
        visited = np.asarray(visited, float)
        width = _frame("visited", visited)[1]
        keep[keep] = [
            np.mean(np.linalg.norm(np.linalg.solve(width, (visited - z).T), axis=0) < 0.5) >= 0.002
            for z in found[keep]
        ]
    # The best solution of each cluster of neighbours stands for it; then in order of the coordinates.
    chosen: list[int] = []
    for i in sorted(np.flatnonzero(keep), key=lambda i: left[i]):
        if all(np.linalg.norm(y[i] - y[j]) > apart for j in chosen):
            chosen.append(i)
    extent = np.linalg.norm(root, axis=1)
    found = np.where(np.abs(found) < tolerance * extent, found.dtype.type(0), found)
    chosen.sort(key=lambda i: tuple((found[i] / extent).round(3)))
    eigenvalues = np.array([np.linalg.eigvals(jacobians[i]) for i in chosen], complex).reshape(
        -1, starts.shape[1]
    )
    stable = np.asarray((eigenvalues.real < 0).all(axis=1))
    return FixedPoints(found[chosen].reshape(-1, starts.shape[1]), eigenvalues, stable)


def _frame(name: str, states: Float[np.ndarray, "state rank"]) -> tuple[np.ndarray, np.ndarray]:
    """The middle of states, and a root (rank, rank) that makes of the unit ball their extent."""
    if not len(states):
        raise ValueError(f"{name}: expected at least one state, got none")
    middle, size = states.mean(axis=0), np.abs(states).max(axis=0)
    # Coordinates one by one first, whose units may differ by any factor.
    extent = np.sqrt(3) * states.std(axis=0)
    varies = extent > 1e-6 * size
    extent = np.where(varies, extent, extent[varies].max() if varies.any() else size.max() or 1.0)
    scaled = (states - middle) / extent
    values, vectors = np.linalg.eigh(3 * scaled.T @ scaled / len(states))
    if not varies.any():
        values[:] = 1.0
    values = np.where(values > 1e-8 * values.max(), values, values.max())
    return middle, extent[:, None] * vectors * np.sqrt(values)


@eqx.filter_jit
def _search(drift, u, starts, middle, root, inverse):
    """Solutions from every start, within the frame and out of it, the residuals that are left, and the
    Jacobians there.
    """

    def residual(y, _=None):
        z = middle + root @ y
        return inverse @ (drift(z, u) - z)

    def one(y):
        # Newton's method finds the saddles near its starts, Levenberg-Marquardt what Newton overshoots.
        options: dict[str, Any] = {"max_steps": 100, "throw": False}
        near = optx.root_find(residual, optx.Newton(rtol=1e-6, atol=1e-7), y, **options).value
        damped = optx.LevenbergMarquardt(rtol=1e-6, atol=1e-7)
        return jnp.stack([near, optx.least_squares(residual, damped, y, **options).value])

    found = jax.vmap(one)(starts).reshape(-1, starts.shape[1])
    left = jax.vmap(lambda y: jnp.linalg.norm(residual(y)))(found)
    return found, jax.vmap(lambda y: middle + root @ y)(found), left, jax.vmap(jax.jacfwd(residual))(found)


def drift_error(drift: Callable, reference: Callable, z: ArrayLike, u: ArrayLike | None = None) -> float:
    r"""Root mean square difference, a coordinate, of two drifts over states `z` (state, rank).

    >>> import jax.numpy as jnp
    >>> drift_error(lambda z, u: z, lambda z, u: 0 * z, jnp.ones((4, 2)))
    1.0
    """
    difference: Array = drift(z, u) - reference(z, u)
    return float(jnp.sqrt(jnp.mean(difference**2)))


class Agreement(NamedTuple):
    """Of two flows over the same states: share of variance of the reference's drift explained, slope on it,
    mean cosine of velocities.
    """

    r2: float
    slope: float
    cosine: float


def agreement(drift: Callable, reference: Callable, z: ArrayLike, u: ArrayLike | None = None) -> Agreement:
    r"""How well a drift agrees with a reference over states `z` (state, rank) and inputs (state, input).

    Slope is that of least squares through the means, over all coordinates; the cosine is between the
    velocities $-z+F$, 0 where one of them stands still.

    **Raises** `ValueError` for a reference whose drift is the same at all states.

    >>> import jax.numpy as jnp
    >>> z = jnp.linspace(-1, 1, 9)[:, None]
    >>> agreement(lambda z, u: 0.5 * z, lambda z, u: z * 0.6, z).slope > 0.8
    True
    """
    ours, truth = np.asarray(drift(z, u), float), np.asarray(reference(z, u), float)
    z = np.asarray(z, float)
    away, ours_away = truth - truth.mean(axis=0), ours - ours.mean(axis=0)
    v, w = ours - z, truth - z
    speeds = np.linalg.norm(v, axis=1) * np.linalg.norm(w, axis=1)
    cosine = np.sum(v * w, axis=1) / np.where(speeds > 0, speeds, 1)
    power = np.sum(away**2)
    if not power > 1e-24 * np.sum(truth**2):
        raise ValueError(
            f"reference: expected a drift that varies over the states, got one constant over {len(z)}: no "
            "share of it can be explained; give more states"
        )
    return Agreement(
        float(1 - np.sum((ours - truth) ** 2) / power),
        float(np.sum(ours_away * away) / power),
        float(cosine.mean()),
    )


def decides(points: FixedPoints, axis: int = 0) -> bool:
    """Whether there is a point that is not stable with stable points on both sides of it along an axis: two
    choices and what divides them.

    >>> found = fixed_points(lambda z, u=None: 2 * jax.numpy.tanh(z), jax.numpy.linspace(-3, 3, 7)[:, None])
    >>> decides(found)
    True
    """
    along, stable = points.points[:, axis], points.stable
    return any((along[stable] < z).any() and (along[stable] > z).any() for z in along[~stable])
