"""Latents and embedding from rates alone, and what the exact part of Connector makes of them."""

import importlib

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import lrcore as lr
from lrcore import gauge, latents
from lrcore.recording.duplicates import groups

# `latents.from_rates` is the function, not its module.
divided = importlib.import_module("lrcore.latents.from_rates")._divided

LIMITS = {
    "quadstable": (0.06, 0.022),
    "bistable": (0.06, 0.0115),
    "limit cycle": (0.10, 0.0195),
    "ring": (0.05, 0.009),
}


def recorded(net, z, noise=0.0):
    r = np.asarray(net.rates(z))
    r = r + noise * r.std(axis=(0, 1)) * np.random.default_rng(0).normal(size=r.shape)
    return lr.Recording(rates=r.astype(np.float32), bin_width=0.01)


@pytest.mark.parametrize("name", LIMITS)
def test_conditional_mean_from_clean_rates(name):
    """After alignment: g within the limits, the neurons' drift within half of the published error."""
    p = lr.systems.SYSTEMS[name]()
    net = p.sample(jr.key(0), 1000)
    z = lr.systems.trajectories(net, points=lr.book.scale(smoke=10, book=20))
    found = latents.from_rates(recorded(net, z), 2, activation="tanh")
    np.testing.assert_allclose(found.rates(), net.rates(z), atol=1e-4)
    m = np.asarray(found.embedding.m, float)
    np.testing.assert_allclose(m.T @ m / len(m), np.eye(2), atol=1e-5)
    fit = lr.maxent.fit(found.steps(), found.embedding)
    law = lr.LowRankNetwork(found.embedding.m, fit.conditional_mean(found.embedding))
    back = gauge.alignment(law, net)
    g = np.asarray(p.conditional_mean(net.embedding))
    of_g, of_drift = LIMITS[name]
    assert np.mean((np.asarray(gauge.transform(law, back).n) - g) ** 2) < of_g
    back = gauge.transform(fit.network(), back)
    assert lr.flowfield.drift_error(back.drift, net.drift, lr.systems.grid(30)) < of_drift


@pytest.mark.parametrize("activation", ["softplus", "sigmoid", "exp"])
def test_other_activations_and_biases(activation):
    rng = np.random.default_rng(1)
    net = lr.LowRankNetwork(
        rng.normal(size=(60, 2)), np.zeros((60, 2)), d=rng.normal(size=60), activation=activation
    )
    z = jnp.asarray(rng.normal(size=(8, 25, 2)), jnp.float32)
    found = latents.from_rates(recorded(net, z), 2, activation=activation, bias=True)
    np.testing.assert_allclose(found.rates(), net.rates(z), rtol=1e-2, atol=1e-3)
    assert np.abs(np.asarray(found.z).mean(axis=(0, 1))).max() < 1e-4


def test_noisy_rates_reach_the_bound():
    """Signal-to-noise 1: latents err by what the Fisher information leaves."""
    net = lr.systems.ring().sample(jr.key(0), 400)
    z = lr.systems.trajectories(net, points=6)
    recording = recorded(net, z, noise=1.0)
    with pytest.raises(ValueError, match="rates of tanh, between -1 and 1, got .* of .* outside"):
        latents.from_rates(recording, 2, activation="tanh")
    found = latents.from_rates(recording, 2, activation="tanh", noisy=True)
    network = lr.LowRankNetwork(found.embedding.m, found.embedding.m)
    back = gauge.transform(found.z, gauge.alignment(network, net))
    r = np.asarray(net.rates(z))
    m, slope = np.asarray(net.m), 1 - r**2
    information = np.einsum("sti,ip,iq->stpq", (slope / r.std(axis=(0, 1))) ** 2, m, m)
    bound = np.trace(np.linalg.inv(information), axis1=-2, axis2=-1) / 2
    error = np.median(np.mean((back - np.asarray(z)) ** 2, axis=-1)) / np.median(bound)
    # Least squares does not weigh neurons by their noise, so it stays above the bound; the median of a
    # chi-square is below 1.
    assert 0.4 < error < 3


@pytest.mark.filterwarnings("ignore:maxent. the drift of new neurons")
def test_two_halves_take_the_bias_of_noise_away():
    """Signal-to-noise 1: on one estimate of the latents the drift is wrong; no cross-validation sees it."""
    p = lr.systems.ring()
    net = p.sample(jr.key(0), 500)
    z = lr.systems.trajectories(net, points=8)
    recording = recorded(net, z, noise=1.0)
    found = latents.from_rates(recording, 2, activation="tanh", noisy=True)
    both = latents.halves(recording, found, key=jr.key(1))
    assert (both.alpha, both.copies, both.n_trials, both.measured) == (pytest.approx(0.1), 2, 64, 6400)
    np.testing.assert_array_equal(both.trial, np.tile(found.steps().trial, 2))
    states, targets = (part.reshape(2, 64, 100, 2) for part in (both.z, both.y))
    # Each half's targets are those of the other half.
    for mine, theirs in ((0, 1), (1, 0)):
        expected = (states[theirs, :, 1:] - 0.9 * states[theirs, :, :-1]) / 0.1
        np.testing.assert_allclose(targets[mine, :, :-1], expected, rtol=1e-5)
    truth = gauge.transform(z, gauge.alignment(net, lr.LowRankNetwork(found.embedding.m, found.embedding.m)))
    errors = [np.clip(x - truth[:, :-1], -0.3, 0.3).ravel() for x in states]
    assert abs(np.corrcoef(errors)[0, 1]) < 0.15
    drift_errors = []
    for steps in (found.steps(), both):
        fit = lr.maxent.fit(steps, found.embedding).network()
        back = gauge.transform(fit, gauge.alignment(fit, net))
        drift_errors.append(lr.flowfield.drift_error(back.drift, net.drift, lr.systems.grid(20)))
    assert drift_errors[1] < 0.06 and drift_errors[1] < 0.2 * drift_errors[0]
    with pytest.raises(ValueError, match="at least 8 neurons to divide for rank 2, got 6"):
        latents.halves(recording.select_neurons(np.arange(6)), found, key=jr.key(1))


def test_halves_take_time_constant_and_inputs_as_latents_do():
    net = lr.systems.ring().sample(jr.key(0), 60)
    z = lr.systems.trajectories(net, points=3, steps=30)
    lengths = np.array([31, 20, 31, 10, 31, 31, 25, 31, 31])
    inputs = np.random.default_rng(0).normal(size=(9, 31, 1))
    parts = {"rates": np.asarray(net.rates(z)), "bin_width": 0.01, "lengths": lengths}
    recording = lr.Recording(**parts, inputs=inputs)
    found = latents.from_rates(recording, 2, activation="tanh")
    both = latents.halves(recording, found, key=jr.key(1), tau=0.05, inputs=True)
    assert both.alpha == pytest.approx(0.2) and both.measured == lengths.sum() - 9
    np.testing.assert_array_equal(both.u, np.tile(found.steps(inputs=True).u, (2, 1)))
    # Clean rates: both halves are the whole.
    np.testing.assert_allclose(both.z, np.tile(found.steps().z, (2, 1)), atol=5e-3)
    assert latents.halves(recording, found, key=jr.key(1)).n_inputs == 0
    plain = lr.Recording(**parts)
    found = latents.from_rates(plain, 2, activation="tanh")
    with pytest.raises(ValueError, match="^inputs: expected a recording with inputs"):
        latents.halves(plain, found, key=jr.key(1), inputs=True)


def test_copies_of_a_neuron_go_into_one_half():
    """The noise of a copy is the same: states of one half would know that of the targets of the other."""
    net = lr.systems.ring().sample(jr.key(0), 60)
    recording = recorded(net, lr.systems.trajectories(net, points=4, steps=30), noise=1.0)
    twice = lr.Recording(
        rates=np.concatenate([recording.rates, 2 * recording.rates[:, :, ::-1]], axis=2), bin_width=0.01
    )
    label = groups(twice.rates)
    assert label.max() == 59
    for key in jr.split(jr.key(1), 5):
        one, other = divided(label, key)
        assert not set(label[one]) & set(label[other]) and abs(len(one) - len(other)) <= 2
        assert sorted(np.concatenate([one, other])) == list(range(120))
    alike = lr.Recording(rates=np.concatenate([recording.rates[:, :, :4]] * 3, axis=2), bin_width=0.01)
    found = latents.from_rates(alike, 2, activation="linear", noisy=True)
    with pytest.raises(
        ValueError, match="at least 8 neurons to divide for rank 2, got 4, but for copies, of 12"
    ):
        latents.halves(alike, found, key=jr.key(0))


def test_neurons_that_are_small_beside_others_are_read_out_too():
    """One trace in volts among others in thousands."""
    rng = np.random.default_rng(0)
    z = np.cumsum(rng.normal(size=(10, 30, 2)), axis=1)
    rates = (z @ rng.normal(size=(2, 12)) + 0.3 * rng.normal(size=(10, 30, 12))) * np.logspace(-6, 6, 12)
    recording = lr.Recording(rates=rates)
    found = latents.from_rates(recording, 2, activation="linear", bias=True, noisy=True)
    left = ((rates - np.asarray(found.rates(), float)) ** 2).sum(axis=(0, 1))
    assert (left < ((rates - rates.mean(axis=(0, 1))) ** 2).sum(axis=(0, 1))).all()


def test_unequal_trials():
    net = lr.systems.ring().sample(jr.key(0), 100)
    z = lr.systems.trajectories(net, points=3, steps=30)
    lengths = np.array([31, 20, 31, 10, 31, 31, 25, 31, 31])
    r = np.array(net.rates(z))
    r[np.arange(31)[None] >= lengths[:, None]] = np.nan
    found = latents.from_rates(lr.Recording(rates=r, bin_width=0.01, lengths=lengths), 2, activation="tanh")
    inside = np.asarray(found.mask)
    np.testing.assert_allclose(np.asarray(found.rates())[inside], np.asarray(net.rates(z))[inside], atol=1e-4)
    assert (np.asarray(found.z)[~inside] == 0).all()


def test_bad_input():
    net = lr.systems.ring().sample(jr.key(0), 20)
    recording = recorded(net, lr.systems.trajectories(net, points=2, steps=20))
    with pytest.raises(ValueError, match=r"known inverse \(tanh, .*\), got 'relu'"):
        latents.from_rates(recording, 2, activation="relu")
    with pytest.raises(ValueError, match="at most the number of neurons, 20, got 30"):
        latents.from_rates(recording, 30, activation="tanh")
    spikes = lr.Recording(spikes=np.random.default_rng(0).poisson(0.3, (4, 50, 5)), bin_width=0.01)
    with pytest.raises(ValueError, match="expected rates, got spikes"):
        latents.from_rates(spikes, 2, activation="tanh")
    with pytest.raises(ValueError, match="of softplus, between 0 and inf, got"):
        latents.from_rates(recording, 2, activation="softplus")
