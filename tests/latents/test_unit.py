"""Rates in any unit: the same answer, in the unit of the data, or a refusal."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import draws

import lrcore as lr
from lrcore import latents

TRIALS, TIME, NEURONS = 12, 25, 10


def base():
    """Rates of rank 2 and noise, of mean 0 and a variance of about 1, in float64."""
    rng = np.random.default_rng(0)
    z = np.zeros((TRIALS, TIME, 2))
    for t in range(1, TIME):
        z[:, t] = 0.9 * z[:, t - 1] + 0.5 * rng.normal(size=(TRIALS, 2))
    rates = z @ rng.normal(size=(2, NEURONS)) + 0.5 * rng.normal(size=(TRIALS, TIME, NEURONS))
    return (rates - rates.mean(axis=(0, 1))) / rates.std()


RATES = base()


def recorded(scale=1.0, shift=0.0, lengths=None):
    choices = np.arange(TRIALS) % 2
    return lr.Recording(rates=scale * RATES + shift, bin_width=0.01, choices=choices, lengths=lengths)


def fit(recording, **options):
    return latents.fit(recording, 2, key=jr.key(0), iterations=3, features=16, progress=False, **options)


def r_squared(rates, said):
    return 1 - ((rates - said) ** 2).sum() / ((rates - rates.mean(axis=(0, 1))) ** 2).sum()


def units(apart: bool):
    """Scales of any size, of all neurons or of each, and shifts of up to a thousand times that of each."""

    def build(values):
        size, seed = values
        rng = np.random.default_rng(seed)
        scale = 10.0**size * (10.0 ** rng.uniform(-2, 2, NEURONS) if apart else np.ones(NEURONS))
        return scale, scale * rng.normal(size=NEURONS) * 10.0 ** rng.uniform(-3, 3, NEURONS)

    return st.tuples(st.floats(-6, 6), st.integers(0, 2**31)).map(build)


@pytest.fixture(scope="module")
def plain():
    return fit(recorded())


@draws(15)
@given(units(apart=True))
def test_a_fit_in_any_unit(plain, unit):
    """Latents, drift and noise of the state stay; m, d and the noise of rates are in the unit."""
    scale, shift = unit
    found = fit(recorded(scale, shift))
    close = {"rtol": 2e-3, "atol": 2e-3}
    np.testing.assert_allclose(found.posterior.mean, plain.posterior.mean, **close)
    np.testing.assert_allclose(found.posterior.covariance, plain.posterior.covariance, **close)
    for name in ("n", "q", "v0", "mean0", "features"):
        np.testing.assert_allclose(getattr(found.model, name), getattr(plain.model, name), **close)
    np.testing.assert_allclose(np.asarray(found.model.m) / scale[:, None], plain.model.m, **close)
    np.testing.assert_allclose(np.asarray(found.model.variance) / scale**2, plain.model.variance, **close)
    for rates in (found.rates(), found.latents.rates()):
        np.testing.assert_allclose((np.asarray(rates, float) - shift) / scale, plain.rates(), atol=5e-3)
    # Applied to trials of its own, as the fit was.
    again = latents.infer(found, recorded(scale, shift))
    np.testing.assert_allclose(
        again.posterior.mean, latents.infer(plain, recorded()).posterior.mean, atol=5e-3
    )


@draws(15)
@given(units(apart=True))
def test_factors_in_any_unit(unit):
    scale, shift = unit
    one, found = latents.smooth(recorded(), 2), latents.smooth(recorded(scale, shift), 2)
    np.testing.assert_allclose(found.z, one.z, atol=1e-4)
    np.testing.assert_allclose((np.asarray(found.rates(), float) - shift) / scale, one.rates(), atol=2e-3)
    white = [latents.white_factors(recorded(*unit), 2) for unit in ((1.0, 0.0), (scale, shift))]
    np.testing.assert_allclose(*white, atol=1e-4)


@draws(15)
@given(units(apart=False))
def test_least_squares_in_any_unit(unit):
    """One scale for all neurons, whose errors count alike; z has it, and m is white."""
    scale, shift = unit
    options = {"activation": "linear", "bias": True, "noisy": True}
    one, found = (latents.from_rates(r, 2, **options) for r in (recorded(), recorded(scale, shift)))
    np.testing.assert_allclose(found.embedding.m, one.embedding.m, atol=1e-3)
    scale = scale[0]
    np.testing.assert_allclose(np.asarray(found.z) / scale, one.z, atol=1e-3)
    np.testing.assert_allclose((np.asarray(found.rates(), float) - shift) / scale, one.rates(), atol=2e-3)
    parts = [
        latents.halves(r, x, key=jr.key(1)) for r, x in ((recorded(), one), (recorded(scale, shift), found))
    ]
    np.testing.assert_allclose(parts[1].y / scale, parts[0].y, atol=0.02)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_fluorescence_of_large_numbers(dtype):
    """Counts of a camera: a mean of 30,000, a few per cent of it signal, in whole numbers or not."""
    rates = (30_000 + 800 * RATES).astype(dtype)
    found = fit(lr.Recording(rates=rates, bin_width=0.03))
    assert r_squared(rates.astype(float), found.rates()) > 0.7
    assert found.model.d.mean() == pytest.approx(30_000, rel=0.01)


def test_trials_of_unequal_length_and_volts():
    lengths = np.random.default_rng(1).integers(8, TIME + 1, TRIALS)
    one, found = (fit(recorded(scale, shift, lengths)) for scale, shift in ((1.0, 0.0), (2e-5, -0.07)))
    mask = found.recording.mask
    np.testing.assert_allclose(found.posterior.mean[mask], one.posterior.mean[mask], atol=2e-3)


def test_without_biases_a_scale_is_taken_up_and_a_shift_is_signal():
    one, large = (fit(recorded(scale), bias=False) for scale in (1.0, 1e5))
    np.testing.assert_allclose(large.posterior.mean, one.posterior.mean, atol=2e-3)
    np.testing.assert_allclose(large.model.m / 1e5, one.model.m, atol=2e-3)
    assert not np.asarray(large.model.d).any()


@pytest.mark.parametrize("activation", ["softplus", "relu", "exp"])
@pytest.mark.parametrize(("shift", "scale"), [(100.0, 10.0), (5e4, 5e3), (2e-3, 2e-4)])
def test_other_activations_find_rates_far_from_one(activation, shift, scale):
    """Where phi can make such rates it explains as much as a line does."""
    recording = recorded(scale, shift)
    wanted = r_squared(recording.rates, fit(recording).rates()) - 0.03
    assert r_squared(recording.rates, fit(recording, activation=activation).rates()) > wanted
    found = latents.from_rates(recording, 2, activation=activation, bias=True, noisy=True)
    assert r_squared(recording.rates, np.asarray(found.rates(), float)) > wanted


@pytest.mark.parametrize("scale", [1e-4, 1e3])
def test_a_rectifier_takes_up_any_scale(scale):
    """Half of the rates are cut off, so that a line would not do."""
    rates = np.maximum(RATES + 0.3, 0)
    one, found = (lr.Recording(rates=s * rates, bin_width=0.01) for s in (1.0, scale))
    some, other = (fit(x, activation="relu") for x in (one, found))
    np.testing.assert_allclose(other.rates() / scale, some.rates(), atol=5e-3)
    np.testing.assert_allclose(other.posterior.mean, some.posterior.mean, atol=5e-3)
    np.testing.assert_allclose(np.asarray(other.model.m) / scale, some.model.m, atol=5e-3)
    options = {"activation": "relu", "bias": True, "noisy": True}
    some, other = (latents.from_rates(x, 2, **options) for x in (one, found))
    np.testing.assert_allclose(np.asarray(other.rates()) / scale, some.rates(), atol=5e-3)


def test_a_function_of_ones_own_has_its_own_unit():
    recording = recorded(10.0, 100.0)
    found = fit(recording, activation=lambda h: 50 * (1 + h / (1 + abs(h))) + 50)
    assert r_squared(recording.rates, found.rates()) > 0.6
    with pytest.raises(ValueError, match="between 50 and 150 but for noise, got means from 1e.04"):
        fit(recorded(10.0, 1e4), activation=lambda h: 50 * (1 + h / (1 + abs(h))) + 50)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_rates_beyond_what_the_activation_reaches_are_refused(activation):
    words = f"rates: expected rates of {activation}, between .* and 1 but for noise, .* 10 of 10 neurons"
    for call in (fit, lambda r, **o: latents.from_rates(r, 2, bias=True, noisy=True, **o)):
        with pytest.raises(ValueError, match=words):
            call(recorded(10.0, 100.0), activation=activation)


@pytest.mark.parametrize("call", [fit, lambda r: latents.smooth(r, 2), lambda r: latents.white_factors(r, 2)])
def test_what_float32_cannot_hold_is_refused(call):
    """Seconds since 1970 with a signal of milliseconds; a neuron that stands still but for rounding."""
    with pytest.raises(ValueError, match="recording: expected rates that vary by 1e-05 of their mean"):
        call(recorded(1e-3, 1.7e9))
    with pytest.raises(ValueError, match="subtract a constant from each neuron"):
        call(recorded(np.where(np.arange(NEURONS) == 3, 1e-9, 1.0), 1.0))
    still = recorded().trials([0, 1])
    still.rates[:, :, 2] = 0.5
    with pytest.raises(ValueError, match=r"1 constant of 10: use recording.drop_constant\(\)"):
        call(still)


def test_inputs_in_any_unit():
    """Clicks in hundreds, or a contrast in per cent, drive as they do when they are counted."""
    rng = np.random.default_rng(0)
    inputs = rng.poisson(0.2, (TRIALS, TIME, 2)).astype(np.float32)
    one, found = (
        fit(lr.Recording(rates=RATES, bin_width=0.01, inputs=size * inputs))
        for size in (np.ones(2), np.array([1e-4, 250.0]))
    )
    np.testing.assert_allclose(found.posterior.mean, one.posterior.mean, atol=2e-3)
    size = np.float32([1e-4, 250.0])
    np.testing.assert_allclose(np.asarray(found.embedding().b) * size, one.embedding().b, atol=2e-3)
    z, u = jnp.zeros((3, 2)), jnp.asarray(inputs[0, :3])
    drift = found.model.drift(z, jnp.asarray(inputs[0, :3] * size))
    np.testing.assert_allclose(drift, one.model.drift(z, u), atol=2e-3)


def test_baseline_of_rates_is_refused():
    with pytest.raises(ValueError, match="^baseline: expected None for rates"):
        fit(recorded(), baseline=np.ones(NEURONS))
    with pytest.raises(ValueError, match="^recording: expected rates, as the fit is of rates, got spikes"):
        spikes = np.random.default_rng(0).poisson(0.3, (12, 20, NEURONS))
        latents.infer(fit(recorded()), lr.Recording(spikes=spikes))


@pytest.mark.parametrize(("bin_width", "alpha"), [(0.2, None), (0.5, None), (0.01, 1.5), (0.1001, None)])
def test_bins_longer_than_the_time_constant_are_refused(bin_width, alpha):
    with pytest.raises(ValueError, match="^alpha: expected bin_width / tau of at most 1.*make bins shorter"):
        fit(lr.Recording(rates=RATES, bin_width=bin_width), alpha=alpha)


def test_long_bins_of_a_slow_network_are_taken():
    found = fit(lr.Recording(rates=RATES, bin_width=0.2), alpha=0.2 / 0.5)
    assert found.model.alpha == 0.4 and fit(lr.Recording(rates=RATES, bin_width=0.1)).model.alpha == 1
