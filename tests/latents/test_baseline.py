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


@pytest.mark.parametrize("way", ["sorted", "blocks", "sorted in time", "rare", "three"])
def test_the_drift_does_not_read_off_the_choice(way):
    """Rates differ threefold by choice and stand still otherwise: the baseline is that of any trial."""
    choices = {
        "blocks": np.repeat([0, 1, 0, 1], 60),
        "rare": np.repeat([0, 1], [200, 40]),
        "three": np.repeat([2, 5, 9], 80),
    }.get(way, np.repeat([0, 1], 120))
    high = choices == choices.max()
    spikes = np.random.default_rng(0).poisson(np.where(high, 0.6, 0.2)[:, None, None] * np.ones((1, 30, 4)))
    info = {"onsets": 4.0 * np.arange(240)} if way == "sorted in time" else None
    recording = lr.Recording(spikes=spikes, choices=choices, lengths=np.full(240, 30), info=info)
    level = np.log(baseline.fit(recording, train=np.arange(240) % 4 != 0))[::4]
    assert abs(level[high[::4]].mean() - level[~high[::4]].mean()) < 0.05
    np.testing.assert_allclose(np.exp(level).mean(), spikes.mean(), rtol=0.05)


def test_the_drift_is_one_of_time_where_onsets_are_known():
    """However the trials stand, and with the choice beside it."""
    rng = np.random.default_rng(0)
    choices, at = rng.integers(0, 2, 200), np.arange(200)
    trend = np.exp(np.sin(at / 40)) * np.where(choices == 1, 1.5, 0.7)
    spikes = rng.poisson(0.2 * trend[:, None, None] * np.ones((1, 40, 5)))
    onsets = np.cumsum(rng.uniform(3, 6, 200))
    recording = lr.Recording(
        spikes=spikes, choices=choices, lengths=np.full(200, 40), info={"onsets": onsets}
    )
    train, places = at % 5 != 0, rng.permutation(200)
    one, other = (
        baseline.fit(recording, train=train),
        baseline.fit(recording.trials(places), train=train[places]),
    )
    np.testing.assert_allclose(other, one[places], rtol=1e-4)
    wanted = np.sin(at / 40)
    assert np.corrcoef(np.log(one[~train].mean(axis=(1, 2))), wanted[~train])[0, 1] > 0.97
    # Said by hand, it is the same; in any unit of time.
    plain = lr.Recording(spikes=spikes, choices=choices, lengths=np.full(200, 40)).trials(places)
    given = baseline.fit(plain, train=train[places], slow=1e3 * onsets[places] - 1e6)
    np.testing.assert_allclose(given, other, rtol=1e-4)
    with pytest.raises(ValueError, match="slow: expected 200 along the axis 'trial'"):
        baseline.fit(recording, slow=np.arange(7))


@pytest.mark.parametrize(
    ("scale", "shift"), [(1e-6, 0.0), (1e6, 0.0), (1e4, -3e7), (np.array([1e-5, 1e5]), 2.0)]
)
def test_features_in_any_unit(scale, shift):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 30, 2))
    level = 0.2 * np.ones((60, 30, 3))
    spikes = rng.poisson(level * np.exp(features @ np.array([[0.5, 0.0, -0.2], [-0.3, 0.4, 0.0]])))
    recording = lr.Recording(spikes=spikes, lengths=np.full(60, 30))
    one, found = (baseline.regress(recording, level, x) for x in (features, scale * features + shift))
    np.testing.assert_allclose(found, one, rtol=2e-3)
    # A feature that never changes says nothing.
    more = np.concatenate([features, np.full((60, 30, 1), 7.0)], axis=2)
    np.testing.assert_allclose(baseline.regress(recording, level, more), one, rtol=1e-4)


def test_baselines_that_are_none_are_refused():
    spikes = np.random.default_rng(0).poisson(0.3, (40, 20, 5))
    recording = lr.Recording(spikes=spikes, lengths=np.full(40, 20))
    for wrong in (0.0, -0.1, np.nan):
        level = np.full(spikes.shape, 0.3)
        level[3, 4, 1] = wrong
        with pytest.raises(ValueError, match="^baseline: expected positive counts a bin, got 1 others"):
            baseline.regress(recording, level, np.zeros((40, 20, 2)))
    spikes[:30, :, [1, 4]] = 0
    silent = lr.Recording(spikes=spikes, lengths=np.full(40, 20))
    with pytest.raises(ValueError, match=r"got 2 of 5 that do not.*np.delete\(np.arange\(5\), \[1, 4\]\)"):
        baseline.fit(silent, train=np.arange(30))


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
