"""Baselines and regressions on them: known weights, and nothing from the future."""

import numpy as np
import pytest

import lrcore as lr
from lrcore.latents import baseline


def test_baseline_follows_drifts_and_the_time_course():
    rng = np.random.default_rng(0)
    trend = np.exp(np.sin(np.linspace(0, 6, 300)))[:, None, None]
    course = np.linspace(0.5, 1.5, 60)[None, :, None]
    wanted = 0.1 * trend * course * np.ones((1, 1, 5))
    recording = lr.Recording(spikes=rng.poisson(wanted), bin_width=0.01, lengths=np.full(300, 60))
    train = np.arange(300) % 5 != 0
    level = baseline.fit(recording, train=train)[~train]
    flat = np.log(wanted[~train].mean())
    error = np.mean((np.log(level) - np.log(wanted[~train])) ** 2)
    assert error < 0.15 * np.mean((flat - np.log(wanted[~train])) ** 2)


def test_known_weights_are_recovered():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 50, 2)) + 3
    weights, level = np.array([[0.5, -0.3], [0.0, 0.4], [-0.2, 0.0]]), 0.2 * np.ones((200, 50, 3))
    wanted = level * np.exp((features - 3) @ weights.T + 0.1)
    recording = lr.Recording(spikes=rng.poisson(wanted), bin_width=0.01, lengths=np.full(200, 50))
    found = baseline.regress(recording, level, features, train=np.arange(150))
    assert np.abs(np.log(found / wanted)).max() < 0.25
    assert np.sqrt(np.mean(np.log(found / wanted)[150:] ** 2)) < 0.06
    # A strong prior leaves the baseline as it is.
    still = baseline.regress(recording, level, features, prior=1e8)
    np.testing.assert_allclose(still, level, rtol=1e-3)


def test_only_training_trials_are_learned_from(clicks_session):
    recording = clicks_session(0, 40, 6).recording
    train, level = np.arange(30), np.full(recording.spikes.shape, 0.1)
    history = baseline.click_history(recording.inputs, recording.bin_width)
    spikes = recording.spikes.copy()
    spikes[30:] = 0
    other = lr.Recording(spikes=spikes, bin_width=recording.bin_width, lengths=recording.lengths)
    one, two = (baseline.regress(r, level, history, train=train) for r in (recording, other))
    np.testing.assert_array_equal(one, two)


def test_click_history_is_causal_and_ends():
    clicks = np.zeros((1, 90, 2))
    clicks[0, 20, 1] = 1
    history = baseline.click_history(clicks, 0.01, cosines=4, longest=0.3)
    assert history.shape == (1, 90, 8)
    seen = np.abs(history[0]).sum(axis=1) > 0
    assert not seen[:20].any() and seen[20:45].all() and not seen[50:].any()
    assert not history[0, :, :4].any()  # the other side
    np.testing.assert_allclose(
        baseline.click_history(3 * clicks, 0.01), 3 * baseline.click_history(clicks, 0.01)
    )
    later = baseline.click_history(np.roll(clicks, 7, axis=1), 0.01, cosines=4, longest=0.3)
    np.testing.assert_allclose(later[0, 7:], history[0, :-7], atol=1e-6)


def test_bad_input(clicks_session):
    recording = clicks_session(0, 20, 4).recording
    level = np.full(recording.spikes.shape, 0.1)
    with pytest.raises(ValueError, match="features"):
        baseline.regress(recording, level, np.zeros((20, 7, 2)))
    with pytest.raises(ValueError, match="train: expected at least ten trials, got 2"):
        baseline.regress(recording, level, np.zeros((20, 100, 2)), train=[0, 1])
    with pytest.raises(ValueError, match="train: expected at least ten trials, got 3"):
        baseline.fit(recording, train=[0, 1, 2])
