"""Recordings: what is kept, what can be selected, and courses in time."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import LENGTHS, K, N, S, T, counts, parts

from lrcore.recording import Recording

# --- what is kept


def test_a_recording_keeps_what_it_is_given():
    recording = Recording(**parts())
    mask = np.arange(T) < LENGTHS[:, None]
    assert (recording.n_trials, recording.n_time, recording.n_neurons, recording.n_inputs) == (S, T, N, K)
    np.testing.assert_array_equal(recording.mask, mask)
    np.testing.assert_array_equal(recording.spikes[mask], counts()[mask])
    assert not recording.spikes[~mask].any() and not recording.inputs[~mask].any()
    np.testing.assert_allclose(recording.times, np.arange(T) * 0.01)
    np.testing.assert_allclose(recording.mean_rates, counts()[mask].sum(axis=0) / mask.sum() / 0.01)


def test_the_summary_has_seconds_and_hertz():
    text = repr(Recording(**parts()))
    assert text == Recording(**parts()).summary()
    assert len(text.splitlines()) == 4
    for part in (
        "5 neurons in 12 trials",
        "0.01 s (10 ms)",
        "0.2 to 0.3 s",
        "Hz, from",
        "inputs   2",
        "0: 6, 1: 6",
    ):
        assert part in text


@pytest.mark.parametrize("kind", ["bool", "uint8", "int64", "float32", "float64"])
def test_any_type_of_whole_counts(kind):
    spikes = np.minimum(counts(), 1).astype(kind)
    recording = Recording(**parts(spikes=spikes))
    assert recording.spikes.dtype == np.int8
    np.testing.assert_array_equal(recording.spikes, np.where(recording.mask[:, :, None], spikes, 0))


@pytest.mark.parametrize(("most", "kind"), [(127, "int8"), (128, "int16"), (40_000, "int32")])
def test_counts_are_stored_in_the_smallest_signed_type(most, kind):
    spikes = counts()
    spikes[3, 4, 1] = most
    assert Recording(**parts(spikes=spikes, plausible_rates=(0, 1e9))).spikes.dtype == kind


@pytest.mark.parametrize("kind", ["int64", "float32", "float64"])
def test_rates_may_be_of_any_sign_and_keep_their_type(kind):
    rates = (np.random.default_rng(0).normal(0, 9, (S, T, N))).astype(kind)
    recording = Recording(rates=rates, lengths=LENGTHS)
    assert recording.rates.dtype == (np.float32 if kind == "int64" else np.dtype(kind))
    mask = np.arange(T) < LENGTHS[:, None]
    np.testing.assert_allclose(recording.mean_rates, rates[mask].mean(axis=0), rtol=1e-5)
    assert "rates of 5 neurons" in repr(recording)


def test_jax_arrays_and_lists_are_read():
    spikes = jax.numpy.asarray(counts())
    np.testing.assert_array_equal(Recording(spikes=spikes).spikes, Recording(spikes=counts().tolist()).spikes)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    garbage=st.sampled_from([np.nan, np.inf, -1.0, 0.5, 1e9]),
    shortest=st.integers(2, 20),
)
def test_padding_never_matters(seed, garbage, shortest):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(shortest, T + 1, S)
    lengths[0] = T
    beyond = np.arange(T) >= lengths[:, None]
    spikes, inputs = counts(seed).astype(float), rng.normal(size=(S, T, K))
    clean = Recording(spikes=spikes, inputs=inputs, lengths=lengths)
    spikes[beyond], inputs[beyond] = garbage, np.nan
    dirty = Recording(spikes=spikes, inputs=inputs, lengths=lengths)
    for a, b in zip(jax.tree.leaves(clean), jax.tree.leaves(dirty), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (clean.mask.sum(axis=1) == lengths).all()
    np.testing.assert_array_equal(clean.mean_rates, dirty.mean_rates)


# --- selections


@pytest.mark.parametrize("chosen", [[3, 1], slice(2, 9, 3), np.arange(S) > 8, [-1], 4], ids=str)
def test_selections_of_trials(chosen):
    recording = Recording(**parts(info={"gamma": np.linspace(-1, 1, S)}))
    some = recording.trials(chosen)
    rows = np.atleast_1d(np.arange(S)[chosen])
    assert some.n_trials == len(rows)
    for name in ("spikes", "lengths", "inputs", "choices"):
        np.testing.assert_array_equal(getattr(some, name), getattr(recording, name)[rows])
    np.testing.assert_array_equal(some.info["gamma"], recording.info["gamma"][rows])
    assert some.bin_width == recording.bin_width


def test_selections_of_neurons_keep_their_names():
    recording = Recording(**parts(neurons="abcde"))
    some = recording.select_neurons([4, 0])
    assert some.neurons == ("e", "a") and recording.neurons == tuple("abcde")
    np.testing.assert_array_equal(some.spikes, recording.spikes[:, :, [4, 0]])


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ([], "at least one, got none"),
        ([S], f"below {S}, got {S}"),
        (np.ones(3, bool), "mask of shape"),
        ([0.5], "indices, a slice or a mask"),
    ],
    ids=["none", "beyond", "short mask", "fraction"],
)
def test_impossible_selections(chosen, message):
    with pytest.raises(ValueError, match=message):
        Recording(**parts()).trials(chosen)


def test_constant_neurons_are_named_and_dropped_on_request():
    spikes = counts()
    spikes[:, :, 1], spikes[:, :, 3] = 0, 2
    # Something in the padding does not make a neuron vary.
    spikes[0, LENGTHS[0] :, 1] = 7
    with pytest.raises(ValueError, match=r"got 2 constant of 5 \(1, 3\): drop them with drop_constant=True"):
        Recording(**parts(spikes=spikes))
    with pytest.raises(ValueError, match=r"\(b, d\)"):
        Recording(**parts(spikes=spikes, neurons="abcde"))
    dropped = Recording(**parts(spikes=spikes, drop_constant=True))
    assert dropped.neurons == ("0", "2", "4")
    np.testing.assert_array_equal(dropped.spikes, Recording(**parts()).spikes[:, :, [0, 2, 4]])
    with pytest.raises(ValueError, match="nothing to analyse"):
        Recording(**parts(spikes=np.zeros((S, T, N)), drop_constant=True))


def test_neurons_silent_in_some_trials_can_be_dropped_later():
    spikes = counts()
    spikes[:4, :, 2] = 0
    few = Recording(**parts(spikes=spikes, neurons="abcde")).trials(slice(0, 4))
    assert few.n_neurons == 5 and few.constant.tolist() == [False, False, True, False, False]
    assert few.drop_constant().neurons == ("a", "b", "d", "e")


# --- time courses


def test_psth_is_the_mean_over_the_trials_that_last():
    recording = Recording(**parts())
    mean, error = recording.psth(sigma=0, least=2)
    for t in (0, 19, 25):
        lasting = recording.spikes[recording.lengths > t, t] / 0.01
        np.testing.assert_allclose(mean[t], lasting.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(error[t], lasting.std(axis=0, ddof=1) / len(lasting) ** 0.5, rtol=1e-4)
    few = np.array([(recording.lengths > t).sum() < 5 for t in range(T)])
    assert (np.isnan(recording.psth()[0]).all(axis=1) == few).all() and few.any()


def test_psth_looks_back_only():
    spikes = counts()
    spikes[:, 12:] = 0
    spikes[:, 12] = 3
    whole = np.full(S, T)
    mean, _ = Recording(spikes=spikes, lengths=whole).psth(sigma=0.02)
    before, _ = Recording(spikes=counts(), lengths=whole).psth(sigma=0.02)
    np.testing.assert_allclose(mean[:12], before[:12], rtol=1e-5)
    # Half a Gaussian: highest when the spike comes, and falling from there.
    assert (np.diff(mean[12:20], axis=0) < 0).all()
    constant = Recording(rates=np.full((6, T, 1), 7.0) + np.arange(6)[:, None, None])
    np.testing.assert_allclose(constant.psth(sigma=0.1)[0], 9.5, rtol=1e-5)
    with pytest.raises(ValueError, match="chosen: expected at least 5 trials, got 2"):
        constant.psth([0, 1])
