"""Negative controls: what was found should be absent in them, or is known."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import lrcore as lr
from lrcore.latents import surrogates


@pytest.fixture(scope="module")
def data(clicks_session):
    return clicks_session(0, 80, 40).recording


@pytest.fixture(scope="module")
def found(state_space_fit):
    return state_space_fit(80, 40)


def test_shuffled_trials_keep_each_neuron_and_lose_what_they_share(data):
    mixed = surrogates.shuffled(data, jr.key(2), block=8)
    assert mixed.n_trials == data.n_trials and (mixed.lengths <= data.lengths).all()
    np.testing.assert_allclose(mixed.mean_rates, data.mean_rates, rtol=0.3)
    np.testing.assert_array_equal(mixed.inputs, data.inputs)
    np.testing.assert_array_equal(mixed.choices, data.choices)

    def selective(recording):
        """Mean over neurons of the squared correlation of late rates with the choice."""
        late = [recording.spikes[k, n - 30 : n].mean(axis=0) for k, n in enumerate(recording.lengths)]
        return np.mean(np.corrcoef(np.array(late).T, recording.choices)[-1, :-1] ** 2)

    # With 80 trials chance alone gives 1 / 80.
    assert selective(data) > 2.5 * selective(mixed)
    assert selective(mixed) < 0.025


def test_linear_surrogate_is_linear_and_stable(found):
    drift = surrogates.linear(found, jr.key(0))
    z, w = jr.normal(jr.key(1), (2, 50, 2))
    zero = drift(jnp.zeros((50, 2)))
    np.testing.assert_allclose(drift(z + w) - zero, drift(z) + drift(w) - 2 * zero, atol=1e-4)
    points = lr.flowfield.fixed_points(drift, lr.systems.grid(7))
    assert points.stable.tolist() == [True]
    # Inputs push as the model's own do, on average.
    u = jnp.array([[0.0, 1.0]])
    pushed = drift(jnp.zeros((1, 2)), u) - drift(jnp.zeros((1, 2)))
    states = jnp.asarray(found.latents.z[found.recording.mask][::10])
    model = (found.model.drift(states, jnp.tile(u, (len(states), 1))) - found.model.drift(states)).mean(
        axis=0
    )
    assert np.sum(pushed[0] * model) > 0


def test_bistable_surrogate_has_the_points_it_says(found):
    drift, points = surrogates.bistable(found, jr.key(0))
    seen = lr.flowfield.fixed_points(drift, jnp.asarray(points) + 0.05)
    order = np.argsort(seen.points @ (points[2] - points[0]))
    np.testing.assert_allclose(seen.points[order], points, atol=1e-3)
    assert seen.stable[order].tolist() == [True, False, True]
    gain = np.asarray(surrogates.linear(found, jr.key(0))(jnp.zeros((1, 2)), jnp.ones((1, 2))))
    gain = gain - np.asarray(surrogates.linear(found, jr.key(0))(jnp.zeros((1, 2))))
    same = np.asarray(drift(jnp.zeros((1, 2)), jnp.ones((1, 2))) - drift(jnp.zeros((1, 2))))
    np.testing.assert_allclose(same, gain, atol=1e-5)


def test_surrogate_has_the_rates_of_the_recording_and_known_latents(found, data):
    made, path = surrogates.surrogate(found, jr.key(3))
    assert path.shape == (80, 100, 2) and not path[~data.mask].any()
    np.testing.assert_array_equal(made.lengths, data.lengths)
    np.testing.assert_allclose(made.mean_rates.mean(), data.mean_rates.mean(), rtol=0.15)
    assert np.corrcoef(made.mean_rates, data.mean_rates)[0, 1] > 0.9


@pytest.mark.parametrize("which", ["one choice", "rates", "unstable", "block"])
def test_bad_input(which, found, data):
    if which == "one choice":
        one = lr.latents.fit(data.trials(data.choices == 1), 2, key=jr.key(0), iterations=1, progress=False)
        with pytest.raises(ValueError, match="expected a fit of a recording with two choices"):
            surrogates.bistable(one, jr.key(0))
    elif which == "rates":
        rates = lr.Recording(rates=np.random.default_rng(0).random((20, 30, 10)), bin_width=0.01)
        with pytest.raises(ValueError, match="expected a model of spikes"):
            surrogates.surrogate(
                lr.latents.fit(rates, 1, key=jr.key(0), iterations=1, progress=False), jr.key(0)
            )
    elif which == "unstable":
        with pytest.raises(FloatingPointError, match="the drift is unstable"):
            surrogates.surrogate(found, jr.key(0), drift=lambda z, u=None: 1e4 * z**3)
    else:
        with pytest.raises(ValueError, match="block"):
            surrogates.shuffled(data, jr.key(0), block=1)


# --- few spikes and many


def sparse(**changes):
    """Six neurons at 10 Hz; the first spikes once in the session."""
    counts = np.random.default_rng(0).poisson(0.1, (40, 50, 6))
    counts[:, :, 0] = 0
    counts[3, 10, 0] = 1
    return lr.Recording(**({"spikes": counts, "info": {"onsets": 3.0 * np.arange(40)}} | changes))


def test_a_neuron_of_one_spike_is_in_every_control():
    """Silent in some of them, by chance, and there all the same: neurons are those of the fit."""
    recording = sparse(neurons=[f"unit {i}" for i in range(6)])
    found = lr.latents.fit(recording, 1, key=jr.key(0), iterations=2, progress=False)
    silent = 0
    for k in range(8):
        made, _ = surrogates.surrogate(found, jr.key(k))
        for control in (made, surrogates.shuffled(recording, jr.key(k))):
            assert control.neurons == recording.neurons and control.n_trials == 40
            np.testing.assert_array_equal(control.info["onsets"], recording.info["onsets"])
        silent += made.spikes[:, :, 0].sum() == 0
    assert 0 < silent < 8 and "Recording: spikes of 6 neurons" in repr(made)


@pytest.mark.parametrize("mean", [8.0, 900.0, 2e-4], ids=["800 Hz", "90 kHz", "0.02 Hz"])
def test_rates_that_were_admitted_stay_admitted(mean):
    counts = np.random.default_rng(0).poisson(mean, (40, 50, 6))
    counts[0, 0] = 1
    recording = lr.Recording(spikes=counts, plausible_rates=(0, np.inf))
    mixed = surrogates.shuffled(recording, jr.key(0))
    np.testing.assert_array_equal(mixed.spikes.sum(axis=(0, 1)), counts.sum(axis=(0, 1)))
    found = lr.latents.fit(recording, 1, key=jr.key(0), iterations=1, progress=False)
    made, _ = surrogates.surrogate(found, jr.key(1))
    assert made.spikes.shape == counts.shape and np.issubdtype(made.spikes.dtype, np.signedinteger)


def test_counts_of_a_surrogate_may_be_larger_than_those_of_the_recording():
    """And are still right: the recording's are kept in one byte."""
    recording = lr.Recording(spikes=np.random.default_rng(0).poisson(1.0, (20, 30, 4)))
    found = lr.latents.fit(recording, 1, key=jr.key(0), iterations=1, progress=False)
    loud = eqx.tree_at(lambda f: f.baseline, found, 1000 * found.baseline)
    assert surrogates.surrogate(loud, jr.key(0))[0].spikes.mean() > 500
    with pytest.raises(FloatingPointError, match="spikes a bin: unstable"):
        surrogates.surrogate(eqx.tree_at(lambda f: f.baseline, found, 1e12 * found.baseline), jr.key(0))


@pytest.mark.parametrize("trials", [32, 33, 47])
def test_shuffling_loses_the_choice_of_sorted_trials(trials):
    """Also where all trials are of one length, so that neighbours would be permuted among themselves."""
    choices = (np.arange(trials) >= trials // 2).astype(int)
    rates = np.where(choices == 1, 1.5, 0.5)[:, None, None] * np.ones((1, 30, 12))
    recording = lr.Recording(
        spikes=np.random.default_rng(0).poisson(rates), choices=choices, lengths=np.full(trials, 30)
    )
    mixed = surrogates.shuffled(recording, jr.key(0))
    by_choice = [mixed.spikes[choices == side].mean() for side in (0, 1)]
    assert abs(by_choice[1] - by_choice[0]) < 0.25
    # No trial keeps the spikes of all its neurons.
    same = (mixed.spikes == recording.spikes).all(axis=1).mean(axis=1)
    assert same.max() < 0.6


def test_rates_are_shuffled_in_their_unit():
    rates = 1e-6 * np.random.default_rng(0).normal(size=(30, 20, 5)) - 0.07
    lengths = np.random.default_rng(1).integers(5, 21, 30)
    recording = lr.Recording(rates=rates, lengths=lengths)
    mixed = surrogates.shuffled(recording, jr.key(0))
    assert mixed.rates.dtype == np.float64 and not mixed.rates[~mixed.mask].any()
    assert np.isin(mixed.rates[mixed.mask], recording.rates).all()
