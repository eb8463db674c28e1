"""Held-out scores against direct computations, and what co-smoothing may not see."""

from concurrent.futures import ThreadPoolExecutor

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats

import lrcore as lr
from lrcore.latents import heldout

QUICK = {"folds": 3, "iterations": 12, "progress": False}


@pytest.fixture(scope="module")
def recording(clicks_session):
    return clicks_session(0, 60, 24).recording


@pytest.fixture(scope="module")
def found(recording):
    return heldout.evaluate(recording, 2, key=jr.key(1), only=[0, 2], **QUICK)


def without(recording, **changed):
    """The recording with other parts, or without some."""
    parts = {name: getattr(recording, name) for name in ("spikes", "lengths", "inputs", "choices")}
    return lr.Recording(bin_width=recording.bin_width, **(parts | changed))


def test_bits_per_spike_against_scipy(recording):
    rng = np.random.default_rng(0)
    expected = rng.uniform(0.05, 0.3, recording.spikes.shape)
    reference = rng.uniform(0.05, 0.3, recording.n_neurons)
    y, inside = recording.spikes, recording.mask
    gain = scipy.stats.poisson.logpmf(y, expected) - scipy.stats.poisson.logpmf(y, reference)
    wanted = gain[inside].sum() / y[inside].sum() / np.log(2)
    assert heldout.bits_per_spike(recording, expected, reference) == pytest.approx(wanted, rel=1e-9)
    assert heldout.bits_per_spike(recording, reference, reference) == 0


def test_a_neuron_is_predicted_without_its_own_spikes(recording, found):
    fold = found.folds[0]
    test = recording.trials(fold.test)
    group = np.arange(test.n_neurons) % 4 == 1
    spikes = test.spikes.copy()
    spikes[..., group] = np.random.default_rng(0).permuted(spikes[..., group], axis=0) * test.mask[..., None]
    again = heldout.co_smoothing(fold.fit, without(test, spikes=spikes), fold.level)
    np.testing.assert_array_equal(again[..., group], fold.neurons[..., group])
    assert np.abs(again[..., ~group] - fold.neurons[..., ~group]).max() > 1e-3


def test_training_trials_alone_make_a_fold(recording, found):
    """Other spikes in the test trials change neither the model nor the baseline of a fold."""
    fold = found.folds[0]
    spikes = recording.spikes.copy()
    spikes[fold.test] = spikes[fold.test][:, :, ::-1]
    again = heldout.evaluate(without(recording, spikes=spikes), 2, key=jr.key(1), only=[0], **QUICK)
    np.testing.assert_array_equal(again.folds[0].fit.model.m, fold.fit.model.m)
    np.testing.assert_array_equal(again.folds[0].inputs, fold.inputs)
    assert np.abs(again.folds[0].neurons - fold.neurons).max() > 1e-3


def test_scores(recording, found):
    scores = found.scores
    assert (scores["neurons"] > scores["time"]).all() and (scores["inputs"] > scores["time"]).all()
    assert (scores["choice"] > 0.8).all() and (scores["choice_inputs"] > 0.7).all()
    assert found.psth.shape == (24,) and np.nanmax(found.psth) > 0.3
    first, last = found.folds
    assert not set(first.test) & set(last.test) and set(first.train) | set(first.test) == set(range(60))
    mean = recording.trials(first.train).mean_rates * recording.bin_width
    direct = heldout.bits_per_spike(recording.trials(first.test), first.neurons, mean)
    assert scores["neurons"][0] == pytest.approx(direct)
    assert "2 folds" in repr(found) and "neurons" in repr(found)


def test_folds_on_threads_are_the_same(recording, found):
    with ThreadPoolExecutor(2) as pool:
        again = heldout.evaluate(recording, 2, key=jr.key(1), only=[0, 2], executor=pool, **QUICK)
    for name, values in found.scores.items():
        np.testing.assert_array_equal(again.scores[name], values)


def test_select_takes_the_simplest_within_the_error(monkeypatch, recording):
    scores = {1: [0.10, 0.20, 0.30], 2: [0.129, 0.231, 0.329], 3: [0.13, 0.23, 0.33], 4: [0.12, 0.22, 0.32]}

    def evaluate(recording, rank, **options):
        return heldout.Evaluation((), {"neurons": np.array(scores[rank])}, np.zeros(0))

    monkeypatch.setattr(heldout, "evaluate", evaluate)
    candidates = [{"rank": rank} for rank in scores]
    best, table = heldout.select(recording, candidates, key=jr.key(0))
    assert best == 1 and table.tolist() == list(scores.values())
    assert heldout.select(recording, candidates[::-1], key=jr.key(0))[0] == 1
    assert heldout.select(recording, candidates[:1] + candidates[2:], key=jr.key(0))[0] == 1


def test_without_choices_or_inputs(recording):
    silent = without(recording, inputs=None)
    found = heldout.evaluate(silent, 2, key=jr.key(1), only=[0], **QUICK)
    assert set(found.scores) == {"time", "neurons", "choice"} and found.folds[0].inputs is None
    assert found.folds[0].fit.embedding().b is None
    one = without(recording, choices=np.ones(60, int))
    found = heldout.evaluate(one, 2, key=jr.key(1), only=[0], **QUICK)
    assert set(found.scores) == {"time", "neurons", "inputs"} and np.isfinite(found.psth).any()


def test_bad_input(recording):
    rates = lr.Recording(rates=np.random.default_rng(0).normal(size=(30, 20, 4)), bin_width=0.01)
    with pytest.raises(ValueError, match="^recording: expected spikes, got rates"):
        heldout.evaluate(rates, 2, key=jr.key(0))
    with pytest.raises(ValueError, match="^recording: expected at least 20 trials .* got 19"):
        heldout.evaluate(recording.trials(np.arange(19)), 2, key=jr.key(0))


def test_a_state_that_ran_away_has_even_odds(found):
    fold = found.folds[0]
    mean = fold.held.posterior.mean.at[1].set(jnp.nan)
    lost = eqx.tree_at(lambda s: s.posterior.mean, fold.held, mean)
    choices = fold.fit.recording.choices
    odds = heldout._odds(fold.fit, lost, choices)
    assert odds[1] == 0
    np.testing.assert_array_equal(np.delete(odds, 1), np.delete(fold.choice, 1))
