"""Small matrices against numpy; draws of a posterior that is known; weighted paths against one on a grid."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import lrcore as lr
from lrcore import latents
from lrcore.latents import smoother, state_space


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


# --- weighted paths

TRIALS, TIME, NOISE, SEEN, ALPHA = 30, 25, 0.2, 1.0, 0.1


def step(z, gain):
    return (1 - ALPHA) * z + ALPHA * gain * np.tanh(2 * z)


def model(gain: float):
    """One latent with F = gain tanh(2 z), seen through two linear neurons of unit weight; and their mean."""
    rng = np.random.default_rng(0)
    z = np.zeros((TRIALS, TIME))
    for t in range(1, TIME):
        z[:, t] = step(z[:, t - 1], gain) + np.sqrt(NOISE) * rng.normal(size=TRIALS)
    y = z[..., None] + np.sqrt(2 * SEEN) * rng.normal(size=(*z.shape, 2))
    recording = lr.Recording(rates=y.astype(np.float32), bin_width=0.01)
    options = {"alpha": ALPHA, "bias": False, "features": 1, "iterations": 1, "progress": False}
    found = latents.fit(recording, 1, key=jr.key(0), **options)
    parts = {"m": [[1.0], [1.0]], "n": [[gain]], "features": [[2.0, 0.0]], "q": [[NOISE]], "v0": [[0.02]]}
    parts |= {"variance": [2 * SEEN] * 2, "mean0": [0.0], "d": [0.0] * 2}
    parts = {name: jnp.asarray(value) for name, value in parts.items()}
    found = eqx.tree_at(lambda s: [getattr(s.model, name) for name in parts], found, list(parts.values()))
    return latents.infer(found, recording, iterations=20), y.mean(axis=-1)


def exact(y, gain, statistic):
    """Sums over all steps of the expected statistic(z_t, z_t+1), by forward and backward passes on a grid."""
    grid = np.linspace(-7, 7, 401)
    move = np.exp(-((grid[None] - step(grid, gain)[:, None]) ** 2) / (2 * NOISE))
    move /= move.sum(axis=1, keepdims=True)
    value = statistic(grid[:, None], grid[None])
    total = 0.0
    for one in y:
        seen = np.exp(-((one[:, None] - grid) ** 2) / (2 * SEEN))
        ahead = [np.exp(-(grid**2) / 0.04) * seen[0]]
        for t in range(1, TIME):
            ahead.append(ahead[-1] / ahead[-1].sum() @ move * seen[t])
        back = np.ones(len(grid))
        for t in range(TIME - 2, -1, -1):
            pairs = ahead[t][:, None] * move * (seen[t + 1] * back)[None]
            total += np.sum(pairs * value) / pairs.sum()
            back = move @ (seen[t + 1] * back)
            back /= back.sum()
    return total


def drawn(found, count, key=1):
    u = jnp.zeros((TRIALS, TIME, 0))
    mask = jnp.asarray(found.recording.mask, jnp.float32)
    z, weights = state_space.weighted(found.model, found.posterior, u, mask, jr.key(key), count)
    return np.asarray(z)[..., 0], np.asarray(weights)


def drawn_ahead(found):
    """Three paths without weights, and the state expected after each state."""
    data = found._observed()
    z = state_space.draw_paths(found.model, found.posterior, data, jr.key(0), 3)
    return z, state_space.expected_next(found.model, found.posterior, data, z)


def test_weights_bring_the_bend_back():
    """How steeply the state leaves the middle: what the drift is fitted to, too little without weights."""
    gain = 4.0

    def statistic(now, ahead):
        return (ahead - (1 - ALPHA) * now) * np.tanh(2 * now)

    found, y = model(gain)
    truth = exact(y, gain, statistic)
    z, weights = drawn(found, 4000)
    each = statistic(z[..., :-1], z[..., 1:]).sum(axis=-1)
    weighted, plain = np.sum(weights * each), each.mean(axis=0).sum()
    assert weighted == pytest.approx(truth, rel=0.015)
    assert abs(plain - truth) > 3 * abs(weighted - truth)
    # Resampling keeps the sum, up to its noise.
    again = smoother.resampled(jnp.asarray(z), jnp.asarray(weights), jr.key(2), 1000)
    each = statistic(np.asarray(again)[..., :-1], np.asarray(again)[..., 1:]).sum(axis=-1)
    assert each.mean(axis=0).sum() == pytest.approx(weighted, rel=0.02)


def test_a_linear_step_needs_no_weights():
    found, _ = model(0.0)
    z, weights = drawn(found, 8)
    np.testing.assert_allclose(weights, 1 / 8, rtol=1e-3)
    z, ahead = drawn_ahead(found)
    posterior = found.posterior
    away = z - posterior.mean[None]
    by_gain = posterior.mean[None, :, 1:] + (posterior.gain[None] @ away[:, :, :-1, :, None])[..., 0]
    np.testing.assert_allclose(ahead, by_gain, atol=1e-5)


def test_the_expected_state_follows_the_drift_where_nothing_is_seen():
    found, _ = model(4.0)
    blind = latents.infer(found, found.recording, neurons=np.zeros(2, bool), iterations=60)
    z, ahead = drawn_ahead(blind)
    np.testing.assert_allclose(ahead, step(np.asarray(z)[:, :, :-1], 4.0), atol=1e-3)


def test_resampling_takes_paths_in_proportion():
    weights = jnp.asarray([[0.5, 0.0], [0.25, 1.0], [0.25, 0.0]])
    chosen = smoother.resampled(jnp.arange(6.0).reshape(3, 2), weights, jr.key(0), 4)
    counts = [np.bincount(np.asarray(chosen, int)[:, k] // 2, minlength=3).tolist() for k in (0, 1)]
    assert counts == [[2, 1, 1], [0, 4, 0]]
