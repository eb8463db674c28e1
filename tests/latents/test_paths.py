"""Weighted paths against the exact posterior on a grid, and against the Gaussian one where that is exact."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import lrcore as lr
from lrcore import latents, paths, statespace

TRIALS, TIME, NOISE, SEEN, ALPHA = 30, 25, 0.2, 1.0, 0.1


def step(z, gain):
    return (1 - ALPHA) * z + ALPHA * gain * np.tanh(2 * z)


def model(gain: float):
    """One latent with F = gain tanh(2 z), and trials of it seen through two linear neurons of unit weight; their mean."""
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
    z, weights = statespace._weighted(found.model, found.posterior, u, mask, jr.key(key), count)
    return np.asarray(z)[..., 0], np.asarray(weights)


def test_weights_bring_the_bend_back():
    """How steeply the state leaves the middle: what the drift is fitted to. The Gaussian posterior makes it too little."""
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
    again = paths.resampled(jnp.asarray(z), jnp.asarray(weights), jr.key(2), 1000)
    each = statistic(np.asarray(again)[..., :-1], np.asarray(again)[..., 1:]).sum(axis=-1)
    assert each.mean(axis=0).sum() == pytest.approx(weighted, rel=0.02)


def test_a_linear_step_needs_no_weights():
    found, _ = model(0.0)
    z, weights = drawn(found, 8)
    np.testing.assert_allclose(weights, 1 / 8, rtol=1e-3)
    ahead = statespace._draws(
        found.model, found.posterior, jnp.zeros((TRIALS, TIME, 0)), jnp.ones((TRIALS, TIME)), jr.key(0), 3
    )
    posterior = found.posterior
    away = ahead[0] - posterior.mean[None]
    by_gain = posterior.mean[None, :, 1:] + (posterior.gain[None] @ away[:, :, :-1, :, None])[..., 0]
    np.testing.assert_allclose(ahead[1], by_gain, atol=1e-5)


def test_the_expected_state_follows_the_drift_where_nothing_is_seen():
    found, _ = model(4.0)
    blind = latents.infer(found, found.recording, neurons=np.zeros(2, bool), iterations=60)
    z, ahead = statespace._draws(
        blind.model, blind.posterior, jnp.zeros((TRIALS, TIME, 0)), jnp.ones((TRIALS, TIME)), jr.key(0), 3
    )
    np.testing.assert_allclose(ahead, step(np.asarray(z)[:, :, :-1], 4.0), atol=1e-3)


def test_resampling_takes_paths_in_proportion():
    weights = jnp.asarray([[0.5, 0.0], [0.25, 1.0], [0.25, 0.0]])
    chosen = paths.resampled(jnp.arange(6.0).reshape(3, 2), weights, jr.key(0), 4)
    counts = [np.bincount(np.asarray(chosen, int)[:, k] // 2, minlength=3).tolist() for k in (0, 1)]
    assert counts == [[2, 1, 1], [0, 4, 0]]
