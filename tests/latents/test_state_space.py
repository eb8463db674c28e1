"""The posterior of a state-space model's states: exact where it can be."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import lrcore as lr
from lrcore import latents


def test_a_linear_gaussian_model_is_solved_exactly():
    """Rates, linear read-out and drift: the smoother against the dense Gaussian posterior."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(3, 6, 8)).astype(np.float32)
    recording = lr.Recording(rates=y, bin_width=0.01)
    fit = latents.fit(
        recording, 2, key=jr.key(0), alpha=0.1, bias=False, iterations=1, features=4, progress=False
    )
    model = fit.model
    model = eqx.tree_at(lambda s: s.n, model, jnp.zeros_like(model.n))
    fit = eqx.tree_at(lambda s: s.model, fit, model)
    got = latents.infer(fit, recording, iterations=25).posterior
    m, s2, q = (np.asarray(x, float) for x in (model.m, model.variance, model.q))
    # z = L noise: prior precision of the whole path.
    time, rank = 6, 2
    step = np.eye(time * rank)
    for t in range(1, time):
        step[rank * t : rank * (t + 1), rank * (t - 1) : rank * t] = -0.9 * np.eye(rank)
    noise = np.zeros((time * rank, time * rank))
    noise[:rank, :rank] = np.linalg.inv(np.asarray(model.v0))
    for t in range(1, time):
        noise[rank * t : rank * (t + 1), rank * t : rank * (t + 1)] = np.linalg.inv(q)
    read = m.T @ np.diag(1 / s2)
    precision = step.T @ noise @ step + np.kron(np.eye(time), read @ m)
    first = np.zeros(time * rank)
    first[:rank] = np.asarray(model.mean0)
    shift = (read @ y[0].T).T.ravel() + step.T @ noise @ first
    np.testing.assert_allclose(
        np.asarray(got.mean[0]).ravel(), np.linalg.solve(precision, shift), atol=2e-3, rtol=1e-2
    )
    dense = np.linalg.inv(precision)
    np.testing.assert_allclose(got.covariance[0, 3], dense[6:8, 6:8], rtol=2e-2, atol=1e-5)
