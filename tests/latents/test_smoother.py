"""Small matrices against numpy; draws of a posterior that is known."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from lrcore import smoother


@pytest.mark.parametrize("dim", range(1, 6))
def test_small_matrices(dim):
    root = np.random.default_rng(dim).normal(size=(7, dim, dim + 2))
    a = root @ root.swapaxes(1, 2) + 0.1 * np.eye(dim)
    inside = jnp.asarray(np.moveaxis(a, 0, -1), jnp.float32)
    np.testing.assert_allclose(
        np.moveaxis(smoother.cholesky(inside), -1, 0), np.linalg.cholesky(a), rtol=1e-3, atol=1e-4
    )
    inverse = np.linalg.inv(a)
    np.testing.assert_allclose(
        np.moveaxis(smoother.inverse(inside), -1, 0), inverse, rtol=1e-3, atol=1e-3 * np.abs(inverse).max()
    )
    np.testing.assert_allclose(smoother.inverse(inside[..., 0]), inverse[0], rtol=2e-3, atol=1e-3)


def test_draws_remember_as_the_truth_does_and_means_do_not():
    """z' = 0.9 z + noise, seen with noise: the slope of the next state on this one."""
    trials, time = 400, 60
    rng = np.random.default_rng(0)
    z = rng.normal(size=(trials, time))
    for t in range(1, time):
        z[:, t] = 0.9 * z[:, t - 1] + np.sqrt(0.19) * z[:, t]
    y = z + 2 * rng.normal(size=z.shape)

    def fixed(value):
        return jnp.full((time - 1, 1, 1, trials), value)

    found = smoother.smooth(
        (jnp.zeros(1), jnp.ones((1, 1))),
        (fixed(0.9), jnp.zeros((time - 1, 1, trials)), fixed(0.19)),
        jnp.full((trials, time, 1, 1), 0.25),
        jnp.asarray(y / 4, jnp.float32)[..., None],
    )

    def slope(x, y):
        return float(jnp.sum(x * y) / jnp.sum(x**2))

    path = found.sample(jr.key(1))
    assert slope(path[:, :-1], path[:, 1:]) == pytest.approx(0.9, abs=0.015)
    assert slope(found.mean[:, :-1], found.mean[:, 1:]) > 0.96
    off = np.asarray(found.mean)[..., 0] - z
    np.testing.assert_allclose(np.mean(off**2), np.mean(found.covariance), rtol=0.05)
