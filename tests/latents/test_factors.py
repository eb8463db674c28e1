"""The plain latent estimate, against the truth of synthetic sessions and against other libraries."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.decomposition import FactorAnalysis

from lrcore import latents
from lrcore.latents import factors
from lrcore.recording import Recording, find_rat_session, rat_session


@pytest.fixture(scope="module")
def session(clicks_session):
    return clicks_session()


@pytest.fixture(scope="module")
def estimate(session):
    return latents.smooth(session.recording, 2)


def r_squared(predictors, target):
    """Share of the target's variance that an affine map of the predictors explains, for each column."""
    design = np.column_stack([predictors, np.ones(len(predictors))])
    residual = target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
    return 1 - residual.var(axis=0) / target.var(axis=0)


def test_latents_of_the_synthetic_session_are_recovered(session, estimate):
    mask = session.recording.mask
    found, truth = np.asarray(estimate.z)[mask], np.asarray(session.latents)[mask]
    first, second = r_squared(found, truth)
    assert first > 0.8 and second > 0.4
    assert r_squared(np.asarray(latents.smooth(session.recording, 2, width=0).z)[mask], truth)[0] < first
    # Axis 1 is the choice, right positive; the truth has it on its first axis.
    assert np.corrcoef(found[:, 0], truth[:, 0])[0, 1] > 0.9


def test_latents_are_whitened_and_zero_in_padding(session, estimate):
    mask = session.recording.mask
    z = np.asarray(estimate.z)
    np.testing.assert_allclose(np.cov(z[mask].T, bias=True), np.eye(2), atol=1e-3)
    np.testing.assert_allclose(z[mask].mean(axis=0), 0, atol=1e-4)
    assert not z[~mask].any()
    np.testing.assert_array_equal(estimate.mask, mask)
    np.testing.assert_array_equal(estimate.inputs, session.recording.inputs)
    assert estimate.bin_width == 0.01 and estimate.rank == 2 and estimate.embedding.b is None


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_axis_one_is_the_choice(session, rank):
    recording = session.recording
    z = np.asarray(latents.smooth(recording, rank).z)
    ends = np.stack([x[n - 10 : n].mean(axis=0) for x, n in zip(z, recording.lengths, strict=True)])
    difference = ends[recording.choices == 1].mean(axis=0) - ends[recording.choices == 0].mean(axis=0)
    assert difference[0] > 1 and np.abs(difference[1:]).max(initial=0) < 1e-3 * difference[0]


def test_without_choices_axes_go_by_explained_variance(session):
    recording = session.recording
    plain = Recording(spikes=recording.spikes, lengths=recording.lengths)
    mask = recording.mask
    z = np.asarray(latents.smooth(plain, 3).z)[mask]
    features = factors._smoothed(recording.spikes, mask, 5.0, True)[mask]
    shares = [np.median(np.corrcoef(z[:, [i]].T, features.T)[0, 1:] ** 2) for i in range(3)]
    sums = [(np.corrcoef(z[:, [i]].T, features.T)[0, 1:] ** 2).sum() for i in range(3)]
    assert sums[0] > sums[1] > sums[2] and shares[0] > 0
    # The same space as with choices.
    other = np.asarray(latents.smooth(recording, 3).z)[mask]
    assert r_squared(z, other).min() > 0.999


def test_the_read_out_predicts_the_recorded_rates(session, estimate):
    mask, recording = session.recording.mask, session.recording
    rates = np.asarray(estimate.rates())[mask]
    np.testing.assert_allclose(rates.mean(axis=0), recording.mean_rates, rtol=0.01)
    true_m, found_m = np.asarray(session.network.m)[:, 0], np.asarray(estimate.embedding.m)[:, 0]
    assert np.corrcoef(true_m, found_m)[0, 1] > 0.9
    # Of the deviance that the true rates explain over constant ones, the estimate has most.
    network, counts = session.network, recording.spikes[mask]
    truth = session.scale[None, None] * jax.nn.softplus(session.latents @ network.m.T + network.d[None, None])
    constant = np.broadcast_to(recording.mean_rates, rates.shape)
    gains = [
        (counts * np.log(r / constant) - 0.01 * (r - constant)).sum()
        for r in (rates, np.asarray(truth)[mask])
    ]
    assert gains[0] > 0.7 * gains[1]


def test_smoothing_against_a_written_out_sum(session):
    recording = session.recording.trials(slice(0, 5))
    width = 3.0
    found = factors._smoothed(recording.spikes, recording.mask, width, False)
    for trial, length in enumerate(recording.lengths):
        steps = np.arange(length)
        kernel = np.exp(-0.5 * ((steps[:, None] - steps) / width) ** 2)
        kernel[np.abs(steps[:, None] - steps) > 12] = 0
        expected = kernel @ recording.spikes[trial, :length] / kernel.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(found[trial, :length], expected, rtol=1e-4, atol=1e-5)


def test_stabilised_counts_have_variance_one():
    spikes = np.random.default_rng(0).poisson(0.3, (50, 400, 4))
    found = factors._smoothed(spikes, np.ones((50, 400), bool), 10.0, True)[:, 50:-50]
    assert found.reshape(-1, 4).var(axis=0) == pytest.approx(1, abs=0.1)


def test_factors_against_scikit_learn_on_all_samples():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 2)) @ rng.normal(size=(2, 8)) + rng.normal(size=(3000, 8)) * rng.uniform(
        0.5, 2, 8
    )
    z, _ = factors._factors(x, 2)
    direct = FactorAnalysis(2, svd_method="lapack", tol=1e-6, max_iter=5000).fit_transform(x / x.std(axis=0))
    assert r_squared(direct, z).min() > 0.9999


def test_poisson_regression_against_scipy(session, estimate):
    """The same posterior mode as a general optimiser's, in float64."""
    mask = session.recording.mask
    z, counts = np.asarray(estimate.z, float)[mask], session.recording.spikes[mask]
    for neuron in (0, 7):
        y = counts[:, neuron]

        def loss(p, y=y):
            link = np.logaddexp(0, z @ p[:2] + p[2])
            return (np.exp(p[3]) * link - y * (p[3] + np.log(link))).sum() + 0.5 * (
                0.01 * p[:2] @ p[:2] + p[2] ** 2
            )

        best = minimize(loss, [0, 0, 0, np.log(y.mean() / np.log(2))], method="BFGS")
        found = [
            *estimate.embedding.m[neuron],
            estimate.embedding.d[neuron],
            np.log(0.01 * estimate.scale[neuron]),
        ]
        assert loss(np.array(found, float)) < best.fun + 0.05
        scale = np.exp(best.x[3]) / 0.01
        np.testing.assert_allclose(
            estimate.rates()[:, :, neuron][mask],
            scale * np.logaddexp(0, z @ best.x[:2] + best.x[2]),
            rtol=0.02,
        )


def test_poisson_regression_finds_known_parameters():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(60_000, 2))
    m, d, scale = rng.normal(size=(6, 2)), rng.normal(size=6), rng.uniform(20, 60, 6)
    counts = rng.poisson(0.01 * scale * np.logaddexp(0, z @ m.T + d))
    found = factors._poisson_regression(jnp.asarray(z, jnp.float32), jnp.asarray(counts, jnp.float32), 0.01)
    # Scale, m and d trade off; the rates do not.
    np.testing.assert_allclose(found[0], m, atol=0.35)
    fitted = np.asarray(found[2]) * np.logaddexp(0, z @ np.asarray(found[0]).T + np.asarray(found[1]))
    assert (r_squared(fitted, scale * np.logaddexp(0, z @ m.T + d)) > 0.99).all()


def test_rates_are_read_out_by_least_squares():
    rng = np.random.default_rng(0)
    truth = np.cumsum(rng.normal(size=(30, 50, 2)), axis=1)
    rates = truth @ rng.normal(size=(2, 12)) + rng.normal(size=12) + 0.1 * rng.normal(size=(30, 50, 12))
    lengths = rng.integers(20, 51, 30)
    rates[np.arange(50) >= lengths[:, None]] = np.nan
    recording = Recording(rates=rates, lengths=lengths)
    found = latents.smooth(recording, 2)
    mask = recording.mask
    assert r_squared(np.asarray(found.z)[mask], truth[mask]).min() > 0.99
    np.testing.assert_allclose(np.asarray(found.rates())[mask], rates[mask], atol=1)
    assert found.activation == "linear" and (np.asarray(found.scale) == 1).all()


@pytest.mark.parametrize("n_neurons", [1, 3])
def test_neurons_that_share_nothing_are_refused(n_neurons):
    spikes = np.random.default_rng(0).poisson(0.2, (9, 30, n_neurons))
    with pytest.raises(ValueError, match=r"rank: expected at most \d, the dimensions in which these"):
        latents.smooth(Recording(spikes=spikes), n_neurons)


def test_clean_rates_of_low_rank_do_not_break():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(10, 40, 2))
    recording = Recording(rates=1e-3 * truth @ rng.normal(size=(2, 7)))
    found = np.asarray(latents.smooth(recording, 2).z).reshape(-1, 2)
    assert r_squared(found, truth.reshape(-1, 2)).min() > 0.99


def test_padding_and_neuron_order_do_not_matter(session):
    recording = session.recording.trials(slice(0, 60)).drop_constant()
    plain = latents.smooth(recording, 2)
    wider = Recording(
        spikes=np.pad(recording.spikes, ((0, 0), (0, 30), (0, 0))),
        lengths=recording.lengths,
        choices=recording.choices,
    )
    np.testing.assert_allclose(latents.smooth(wider, 2).z[:, :100], plain.z, atol=1e-3)
    order = np.random.default_rng(0).permutation(recording.n_neurons)
    shuffled = latents.smooth(recording.select_neurons(order), 2)
    np.testing.assert_allclose(shuffled.z, plain.z, atol=5e-3)
    np.testing.assert_allclose(shuffled.embedding.m, plain.embedding.m[order], atol=0.02)


def small(**changes):
    spikes = np.random.default_rng(0).poisson(0.2, (4, 30, 3))
    return Recording(**({"spikes": spikes} | changes))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="rank: expected at most the number of neurons, 3, got 4"):
        latents.smooth(small(), 4)
    with pytest.raises(ValueError, match="rank: expected at least 1, got 0"):
        latents.smooth(small(), 0)
    with pytest.raises(TypeError, match="rank"):
        latents.smooth(small(), 1.5)
    with pytest.raises(ValueError, match="width: expected seconds, at most the trials' 0.3, got 50"):
        latents.smooth(small(), 1, width=50)
    with pytest.raises(ValueError, match="width: expected a non-negative finite number"):
        latents.smooth(small(), 1, width=-0.1)
    with pytest.raises(TypeError, match="recording: expected a Recording, got ndarray"):
        latents.smooth(np.zeros((4, 30, 3)), 1)
    short = small(spikes=np.random.default_rng(0).poisson(0.5, (2, 2, 30)), drop_constant=True)
    with pytest.raises(ValueError, match="expected more valid time bins than its .* neurons, got 4"):
        latents.smooth(short, 1, width=0)
    spikes = np.random.default_rng(0).poisson(0.2, (4, 30, 3))
    spikes[:2, :, 1] = 0
    with pytest.raises(ValueError, match=r"1 constant of 3: use recording.drop_constant\(\)"):
        latents.smooth(small(spikes=spikes).trials([0, 1]), 1)


def test_copies_are_named():
    """By the names of the neurons, once for each set, with the line that leaves one of each."""
    one = np.random.default_rng(0).poisson(0.3, (20, 40, 5))
    for twice in (one[:, :, [3, 0]], np.random.default_rng(1).binomial(one[:, :, [3, 0]], 0.9)):
        spikes = np.concatenate([one, twice], axis=2)
        recording = Recording(spikes=spikes, lengths=np.full(20, 40), neurons=list("abcdefg"))
        words = r"2 sets of neurons are duplicates, .*: \(a, g\), \(d, f\): "
        with pytest.warns(UserWarning, match=words + r".*np.delete\(np.arange\(7\), \[6, 5\]\)"):
            latents.smooth(recording, 1)
    rates = np.random.default_rng(0).normal(size=(20, 40, 5))
    scaled = np.concatenate([rates, 3 * rates[:, :, :1] + 100], axis=2)
    with pytest.warns(UserWarning, match=r"1 sets of neurons are duplicates, .*: \(0, 5\)"):
        latents.smooth(Recording(rates=scaled), 1)
    latents.smooth(recording.select_neurons(np.arange(5)), 1)


@pytest.mark.data
@pytest.mark.skipif(find_rat_session() is None, reason="LRCORE_DATA names no folder with rat/*.mat")
def test_a_published_session():
    recording = rat_session(find_rat_session())
    began = time.perf_counter()
    found = latents.smooth(recording, 2)
    found.embedding.m.block_until_ready()
    # About 5 s on two cores with nothing compiled; generous, as cores are shared.
    assert time.perf_counter() - began < 40
    assert np.isfinite(np.asarray(found.z)).all() and np.isfinite(np.asarray(found.embedding.array)).all()
    ends = np.asarray(found.z)[np.arange(recording.n_trials), recording.lengths - 1, 0]
    # Choice is read from the sign of axis 1 at the end of the trial.
    assert ((ends > np.median(ends)) == recording.choices).mean() > 0.85
