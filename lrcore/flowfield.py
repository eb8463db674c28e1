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
    tolerance: float = 1e-4,
    apart: float = 0.05,
    visited: ArrayLike | None = None,
) -> FixedPoints:
    r"""Fixed points of $\tau\dot z=-z+F(z,u)$, by two kinds of search from many starts at once.

    **Arguments**

    - `drift`: $F$, as `LowRankNetwork.drift`.
    - `starts`: (start, rank), for instance `lr.systems.grid(15)`; a coarse grid can miss points that lie
      close together.
    - `u`: one constant input (input,), or None.
    - `tolerance`: largest $|-z+F(z,u)|$ that is accepted.
    - `apart`: points closer than this are one.
    - `visited`: (state, rank), states that a recording went through; points with fewer than one in 500 of
      them within a distance of 0.5 are left out, as nothing is known of the flow there. All are kept by
      default.

    Points outside twice the extent of the starts are left out. On a ring of marginal states the search
    returns many points of the ring, some by chance called stable.

    **Raises** `ValueError` for starts that are not (start, rank).

    >>> import jax.numpy as jnp
    >>> found = fixed_points(lambda z, u=None: 2 * jnp.tanh(z), jnp.linspace(-3, 3, 7)[:, None])
    >>> [f"{z:.2f}" for z in found.points[:, 0]], found.stable.tolist()
    (['-1.92', '0.00', '1.92'], [True, False, True])
    """
    # One type for all: the search needs states of the type that the drift has.
    kind = jnp.result_type(float)
    starts = jnp.asarray(checks.array("starts", starts, ("start", "rank")), kind)
    u = None if u is None else jnp.asarray(checks.array("u", u, ("input",)), kind)
    tolerance, apart = checks.positive("tolerance", tolerance), checks.positive("apart", apart, zero=True)

    # Once more nearer to the middle, where points often lie close together, and from the middle itself.
    middle = jnp.broadcast_to(starts.mean(axis=0), starts.shape)
    dense = jnp.concatenate([starts, middle + (starts - middle) / 4, middle[:1]])
    found, left, jacobians = (np.asarray(part) for part in _search(drift, u, dense))
    keep = (left < tolerance) & (np.abs(found) <= 2 * np.abs(starts).max(axis=0) + 1e-6).all(axis=1)
    if visited is not None:
        visited = np.asarray(
            checks.array("visited", visited, ("state", "rank"), sizes={"rank": found.shape[1]})
        )
        keep[keep] = [np.mean(np.linalg.norm(visited - z, axis=1) < 0.5) >= 0.002 for z in found[keep]]
    # The best solution of each cluster of neighbours stands for it; then in order of the coordinates.
    chosen: list[int] = []
    for i in sorted(np.flatnonzero(keep), key=lambda i: left[i]):
        if all(np.linalg.norm(found[i] - found[j]) > apart for j in chosen):
            chosen.append(i)
    chosen.sort(key=lambda i: tuple(found[i].round(3) + 0.0))
    eigenvalues = np.array([np.linalg.eigvals(jacobians[i]) for i in chosen], complex).reshape(
        -1, starts.shape[1]
    )
    found = np.where(np.abs(found) < tolerance, 0.0, found)
    stable = np.asarray((eigenvalues.real < 0).all(axis=1))
    return FixedPoints(found[chosen].reshape(-1, starts.shape[1]), eigenvalues, stable)


@eqx.filter_jit
def _search(drift, u, starts):
    """Solutions from every start, the residuals that are left, and the Jacobians there."""

    def residual(z, _=None):
        return drift(z, u) - z

    def one(z):
        # Newton's method finds the saddles near its starts, Levenberg-Marquardt what Newton overshoots.
        options: dict[str, Any] = {"max_steps": 100, "throw": False}
        near = optx.root_find(residual, optx.Newton(rtol=1e-6, atol=1e-7), z, **options).value
        damped = optx.LevenbergMarquardt(rtol=1e-6, atol=1e-7)
        return jnp.stack([near, optx.least_squares(residual, damped, z, **options).value])

    found = jax.vmap(one)(starts).reshape(-1, starts.shape[1])
    left = jax.vmap(lambda z: jnp.linalg.norm(residual(z)))(found)
    return found, left, jax.vmap(jax.jacfwd(residual))(found)


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
    velocities $-z+F$.

    >>> import jax.numpy as jnp
    >>> z = jnp.linspace(-1, 1, 9)[:, None]
    >>> agreement(lambda z, u: 0.5 * z, lambda z, u: z * 0.6, z).slope > 0.8
    True
    """
    ours, truth = np.asarray(drift(z, u), float), np.asarray(reference(z, u), float)
    z = np.asarray(z, float)
    away, ours_away = truth - truth.mean(axis=0), ours - ours.mean(axis=0)
    v, w = ours - z, truth - z
    cosine = np.sum(v * w, axis=1) / np.maximum(np.linalg.norm(v, axis=1) * np.linalg.norm(w, axis=1), 1e-12)
    power = np.sum(away**2)
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
