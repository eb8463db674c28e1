"""The state-space model, fitted and applied, against a session whose truth is known."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import lrcore as lr
from lrcore import latents
from lrcore.latents import baseline


@pytest.fixture(scope="module")
def session(clicks_session):
    return clicks_session(0, 200)


@pytest.fixture(scope="module")
def found(state_space_fit):
    return state_space_fit(200)


def explained(truth, estimate):
    """Share of variance of truth (sample, dim) explained by an affine map of the estimate."""
    design = np.column_stack([estimate, np.ones(len(estimate))])
    left = truth - design @ np.linalg.lstsq(design, truth, rcond=None)[0]
    return 1 - left.var(axis=0) / truth.var(axis=0)


def test_latents_are_found(session, found):
    mask = session.recording.mask
    truth, mean = np.asarray(session.latents)[mask], np.asarray(found.posterior.mean)[mask]
    quick = np.asarray(latents.smooth(session.recording, 2).z)[mask]
    assert (explained(truth, mean) > [0.93, 0.6]).all()
    assert (explained(truth, mean) > explained(truth, quick)).all()


def test_posterior_covers_the_truth(session, found):
    """About 95 percent of the true states lie in the 95 percent ellipses, in the truth's coordinates."""
    mask = session.recording.mask
    truth, mean = np.asarray(session.latents)[mask], np.asarray(found.posterior.mean)[mask]
    # A map from the truth: on the estimates as regressors it would be shrunk.
    design = np.column_stack([truth, np.ones(len(truth))])
    ahead = np.linalg.lstsq(design, mean, rcond=None)[0]
    off = mean - design @ ahead
    covariance = np.asarray(found.posterior.covariance)[mask]
    distance = np.einsum("ti,tij,tj->t", off, np.linalg.inv(covariance), off)
    # Means scatter less around the truth than the truth around means: somewhat more than 95 percent lie
    # inside.
    assert 0.9 < (distance < 5.99).mean() < 0.999


def test_paths_have_the_posterior_moments(found):
    draws = np.stack([found.posterior.sample(k) for k in jr.split(jr.key(3), 200)])[:, :5]
    mean, covariance = np.asarray(found.posterior.mean[:5]), np.asarray(found.posterior.covariance[:5])
    deviation = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    assert np.abs((draws.mean(axis=0) - mean) / deviation).max() < 5 / np.sqrt(200)
    np.testing.assert_allclose(draws.std(axis=0) / deviation, 1, atol=0.3)


def test_noise_starts_from_q(session):
    """And is held there while the latents are still those of factor analysis."""
    few = session.recording.trials(np.arange(30))
    found = latents.fit(few, 2, key=jr.key(1), q=0.1, iterations=2, progress=False)
    np.testing.assert_allclose(found.model.q, 0.1 * np.eye(2), rtol=1e-6)


def test_prediction_of_left_out_neurons_and_by_inputs_alone(session):
    """Held-out trials: better than the baseline from other neurons, and from the clicks alone."""
    recording = session.recording
    train, test = np.arange(150), np.arange(150, 200)
    level = baseline.fit(recording, train=train)
    fit = latents.fit(
        recording.trials(train), 2, key=jr.key(1), baseline=level[train], iterations=15, progress=False
    )
    held = recording.trials(test)
    y, mask = held.spikes, held.mask

    def likelihood(rates, neurons):
        return (y * np.log(rates) - rates)[mask][:, neurons].sum() / y[mask][:, neurons].sum() / np.log(2)

    left_out = np.arange(80) % 4 == 0
    others = latents.infer(fit, held, baseline=level[test], neurons=~left_out).rates()
    clicks = latents.infer(fit, held, baseline=level[test], neurons=np.zeros(80, bool)).rates()
    base = likelihood(level[test], left_out)
    assert likelihood(others, left_out) > likelihood(clicks, left_out) > base
    assert likelihood(others, left_out) > base + 0.03


def test_bad_input(session, found):
    recording = session.recording
    with pytest.raises(ValueError, match=r"baseline: expected the shape \(200, 100, 80\)"):
        latents.fit(recording, 2, key=jr.key(0), baseline=np.ones((3, 3, 3)), progress=False)
    with pytest.raises(ValueError, match="baseline: expected positive counts a bin, got .* others"):
        latents.fit(recording, 2, key=jr.key(0), baseline=np.zeros(80), progress=False)
    with pytest.raises(ValueError, match="expected the 80 neurons of the fit, got 5"):
        latents.infer(found, recording.select_neurons(np.arange(5)))
    with pytest.raises(ValueError, match="start: expected latents of rank 3, got 2"):
        latents.fit(recording, 3, key=jr.key(0), start=found.latents, progress=False)
    with pytest.raises(ValueError, match="^q: expected a positive finite number, got -0.1"):
        latents.fit(recording, 2, key=jr.key(0), q=-0.1, progress=False)
    with pytest.raises(ValueError, match="^count: expected at least 1"):
        found.steps(jr.key(0), 0)


def test_steps_for_a_regression(found):
    """Along posterior paths: states with the posterior's moments, and after each the one that is expected."""
    steps = found.steps(jr.key(4), 40)
    recording, mask, taken = found.recording, found.recording.mask, found.recording.mask[:, 1:]
    assert steps.copies == 40 and steps.alpha == found.model.alpha and steps.measured == taken.sum()
    once = np.repeat(np.arange(recording.n_trials), recording.lengths - 1)
    np.testing.assert_array_equal(steps.trial, np.tile(once, 40))
    z = steps.z.reshape(40, -1, 2)
    mean, covariance = np.asarray(found.posterior.mean), np.asarray(found.posterior.covariance)
    off = z - mean[:, :-1][taken][None]
    deviation = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))[:, :-1][taken]
    # Sampling alone leaves 0.16; the drift as it is moves the posterior a little off the Gaussian one.
    assert np.sqrt(np.mean((off.mean(axis=0) / deviation) ** 2)) < 0.25
    np.testing.assert_allclose(np.mean((off / deviation) ** 2), 1, atol=0.03)
    product = np.einsum("kti,ktj->ij", off, off) / off[..., 0].size
    np.testing.assert_allclose(product, covariance[:, :-1][taken].mean(axis=0), atol=0.02 * product.max())
    # On average, what is expected after a state is the next one.
    ahead = steps.alpha * steps.y + (1 - steps.alpha) * steps.z
    off = ahead.reshape(40, -1, 2) - mean[:, 1:][taken][None]
    assert np.sqrt(np.mean(off.mean(axis=0) ** 2)) < 0.12 and np.abs(off.mean(axis=(0, 1))).max() < 0.02
    np.testing.assert_array_equal(steps.u[: len(once)], recording.inputs[:, :-1][taken])
    assert mask.sum() - recording.n_trials == len(once)


def test_a_path_of_each_trial(found):
    drawn = found.sample(jr.key(5))
    mask = found.recording.mask
    assert isinstance(drawn, latents.Latents) and not np.asarray(drawn.z)[~mask].any()
    # Not smoother than the truth: means are, paths are not.
    rough, smooth = (
        np.diff(np.asarray(x.z), axis=1)[mask[:, 1:]].std(axis=0) for x in (drawn, found.latents)
    )
    assert (rough > smooth).all()
    np.testing.assert_array_equal(found.sample(jr.key(5)).z, drawn.z)


@pytest.mark.filterwarnings("ignore:maxent. the drift of new neurons")
def test_steps_of_a_fit_go_into_a_regression(found):
    """As every other steps do; the embedding has b where the recording has inputs."""
    steps = found.steps(jr.key(0), 1)
    fit = lr.maxent.fit(steps, found.embedding())
    assert fit.n.shape == (80, 2) and fit.steps is steps
    report = lr.identifiability.report(found.steps(jr.key(0), 2), found.embedding(), noise=fit.noise)
    # Two paths of a trial are one measurement.
    assert 0 < report.steps <= len(steps)


def test_a_network_as_drift(session, found):
    rng = np.random.default_rng(0)
    m, n, b = (rng.normal(size=(30, 2)).astype(np.float32) for _ in range(3))
    network = lr.LowRankNetwork(m, n, b, rng.normal(size=30).astype(np.float32), activation="tanh")
    changed = found.with_network(network)
    z, u = (jnp.asarray(rng.normal(size=(20, 2)), jnp.float32) for _ in range(2))
    np.testing.assert_allclose(changed.model.drift(z, u), network.drift(z, u), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(changed.model.m, found.model.m)
    blind = lr.LowRankNetwork(m, n, activation="tanh")
    np.testing.assert_allclose(
        found.with_network(blind).model.drift(z, u), blind.drift(z), rtol=1e-4, atol=1e-5
    )
    with pytest.raises(ValueError, match="^network: expected tanh neurons of rank 2 with 2 inputs or none"):
        found.with_network(lr.LowRankNetwork(m, n, b, activation="softplus"))
    with pytest.raises(ValueError, match="^network: expected tanh neurons of rank 2"):
        found.with_network(lr.LowRankNetwork(m[:, :1], n[:, :1]))
