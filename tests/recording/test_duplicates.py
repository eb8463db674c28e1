"""Copies of a unit are found, and neurons that are only driven alike are not."""

import time

import jax
import numpy as np
import pytest

import lrcore as lr
from lrcore.recording.duplicates import groups

SIZES = {
    "few trials": (40, 100, 8, 0.01),
    "many neurons": (100, 100, 40, 0.01),
    "1 ms": (60, 400, 30, 0.001),
    "50 ms": (200, 60, 20, 0.05),
    "200 ms": (60, 40, 20, 0.2),
    "long trials": (4, 2000, 30, 0.01),
}


def constant(rng, trials, time, neurons, width):
    return np.broadcast_to(
        width * np.exp(rng.normal(np.log(8), 0.8, neurons)), (trials, time, neurons)
    ).copy()


def latent(rng, trials, time, neurons, width):
    """One latent of 0.1 s moves all rates, by a factor of e and more."""
    stays = np.exp(-width / 0.1)
    z = np.empty((trials, time))
    z[:, 0] = rng.normal(size=trials)
    for t in range(1, time):
        z[:, t] = stays * z[:, t - 1] + np.sqrt(1 - stays**2) * rng.normal(size=trials)
    gains = rng.uniform(0.5, 1.5, neurons)
    return constant(rng, trials, time, neurons, width) * np.exp(z[:, :, None] * gains)


def evoked(rng, trials, time, neurons, width):
    """Nearly every neuron fires in the same bin of every trial."""
    rates = constant(rng, trials, time, neurons, width)
    rates[:, time // 3] += 0.8
    return rates


def gain(rng, trials, time, neurons, width):
    """A common factor that is new in each bin."""
    return constant(rng, trials, time, neurons, width) * rng.gamma(4, 1 / 4, (trials, time, 1))


def states(rng, trials, time, neurons, width):
    """The population is silent or on, for twenty bins."""
    on = (rng.random((trials, time // 20 + 1)) < 0.3).repeat(20, axis=1)[:, :time, None]
    return constant(rng, trials, time, neurons, width) * (0.05 + 4 * on)


def bursts(rng, trials, time, neurons, width):
    """Bursts of one bin, in which neurons take part with probabilities of their own."""
    at = rng.random((trials, time, 1)) < 0.02
    return constant(rng, trials, time, neurons, width) / 2 + at * rng.uniform(0.2, 0.9, neurons)


DRIVES = [constant, latent, evoked, gain, states, bursts]


def beside(rng, counts):
    """Each spike one bin earlier, later, or where it was."""
    found = np.zeros_like(counts)
    trial, bin_, unit = np.nonzero(counts)
    several = counts[trial, bin_, unit]
    trial, bin_, unit = (np.repeat(x, several) for x in (trial, bin_, unit))
    np.add.at(found, (trial, np.clip(bin_ + rng.integers(-1, 2, len(bin_)), 0, counts.shape[1] - 1), unit), 1)
    return found


COPIES = {
    "the same": lambda rng, one, other: (one, one),
    "a fifth missing in each": lambda rng, one, other: (rng.binomial(one, 0.8), rng.binomial(one, 0.8)),
    "a bin beside": lambda rng, one, other: (one, beside(rng, one)),
    "merged with another": lambda rng, one, other: (one, one + other),
}


@pytest.mark.parametrize("drive", DRIVES, ids=lambda f: f.__name__)
def test_neurons_that_are_driven_alike_are_no_copies(drive):
    for size in SIZES.values():
        for seed in range(6):
            rng = np.random.default_rng(seed)
            counts = rng.poisson(drive(rng, *size))
            np.testing.assert_array_equal(groups(counts), np.arange(size[2]))
            if size[3] <= 0.01:
                # A refractory period leaves one spike a bin.
                np.testing.assert_array_equal(groups(np.minimum(counts, 1)), np.arange(size[2]))


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("drive", DRIVES, ids=lambda f: f.__name__)
def test_copies_are_found(drive, copy):
    found = asked = 0
    for name, size in SIZES.items():
        if name == "200 ms" and copy in ("a bin beside", "merged with another"):
            continue
        for seed in range(4):
            rng = np.random.default_rng(seed)
            counts = rng.poisson(drive(rng, *size))
            first, second = COPIES[copy](rng, counts[:, :, :2], counts[:, :, 2:4])
            labels = groups(np.concatenate([first, counts[:, :, 2:], second], axis=2))
            enough = np.minimum(first, 1).sum(axis=(0, 1)) >= 25
            found += (labels[:2] == labels[-2:])[enough].sum()
            asked += enough.sum()
            if copy != "merged with another":
                assert len(np.unique(labels)) >= size[2]
    assert found >= 0.95 * asked and asked >= 20


def test_labels_go_up_and_padding_is_not_looked_at():
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.2, (30, 60, 6))
    counts = counts[:, :, [0, 1, 1, 2, 0, 3]]
    np.testing.assert_array_equal(groups(counts), [0, 1, 1, 2, 0, 3])
    lengths = rng.integers(20, 60, 30)
    noise = rng.poisson(5, counts.shape)
    counts = np.where(np.arange(60)[:, None] < lengths[:, None, None], counts, noise)
    np.testing.assert_array_equal(groups(counts, lengths), [0, 1, 1, 2, 0, 3])


def test_three_copies_silent_units_and_two_neurons():
    counts = np.random.default_rng(0).poisson(0.1, (40, 50, 5))
    counts[:, :, 4] = 0
    np.testing.assert_array_equal(groups(counts[:, :, [0, 0, 0, 1, 2, 3, 4, 4]]), [0, 0, 0, 1, 2, 3, 4, 5])
    np.testing.assert_array_equal(groups(counts[:, :, [0, 0]]), [0, 0])
    np.testing.assert_array_equal(groups(counts[:, :, [0, 1]]), [0, 1])
    np.testing.assert_array_equal(groups(counts[:, :, :1]), [0])


def test_a_few_spikes_that_coincide_are_no_copies():
    for seed in range(20):
        counts = np.random.default_rng(seed).poisson(0.0005, (20, 500, 100))
        np.testing.assert_array_equal(groups(counts), np.arange(100))


def test_sessions_have_no_copies(clicks_session):
    for seed in range(3):
        recording = clicks_session(seed, 200).recording
        np.testing.assert_array_equal(groups(recording.counts, recording.lengths), np.arange(80))


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("system", ["ring", "bistable"])
def test_scaled_copies_of_rates(system, noise):
    rng = np.random.default_rng(0)
    network = getattr(lr.systems, system)().sample(jax.random.key(0), 40)
    rates = np.tanh(
        np.asarray(lr.systems.trajectories(network, points=4, steps=60)) @ np.asarray(network.m).T
    )
    rates = rates + noise * rates.std() * rng.normal(size=rates.shape)
    np.testing.assert_array_equal(groups(rates), np.arange(40))
    for scale, shift in ((1, 0), (1e-6, 0), (-3, 50), (1e6, 1e6)):
        copies = np.concatenate([rates, scale * rates[:, :, :2] + shift], axis=2)
        np.testing.assert_array_equal(groups(copies.astype(np.float32)), [*range(40), 0, 1])
    if noise == 0.5:
        near = rates[:, :, :2] + 0.1 * rng.normal(size=rates[:, :, :2].shape)
        np.testing.assert_array_equal(groups(np.concatenate([rates, near], axis=2)), [*range(40), 0, 1])


def test_slow_signals_are_no_copies():
    for seed in range(10):
        walks = np.cumsum(np.random.default_rng(seed).normal(size=(300, 10)), axis=0)
        np.testing.assert_array_equal(groups(walks.reshape(3, 100, 10)), np.arange(10))


def test_rates_that_move_together_a_few_times_are_no_copies():
    events = np.zeros((10, 200, 12))
    events[3, [5, 90, 91]] = np.array([1.0, 3.0, 2.0])[:, None] * np.random.default_rng(0).uniform(1, 2, 12)
    np.testing.assert_array_equal(groups(events), np.arange(12))


def test_large_recordings_take_seconds():
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.05 * np.exp(rng.normal(size=500)), (200, 200, 500)).astype(np.int8)
    counts[:, :, 7] = counts[:, :, 3]
    start = time.process_time()
    assert groups(counts)[7] == 3
    assert time.process_time() - start < 10


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="signal: expected axes"):
        groups(np.zeros((3, 4), int))
    with pytest.raises(ValueError, match="lengths: expected one length for each of the 3 trials"):
        groups(np.zeros((3, 4, 2), int), [4, 4])
