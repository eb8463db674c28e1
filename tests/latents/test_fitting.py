"""The state-space model against a session whose truth is known, and baselines."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import lrcore as lr
from lrcore import baseline, latents


@pytest.fixture(scope="module")
def session():
    return lr.recording.clicks_session(jr.key(0), n_trials=200)


@pytest.fixture(scope="module")
def found(session):
    return latents.fit(session.recording, 2, key=jr.key(1), iterations=20, progress=False)


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
    # Means scatter less around the truth than the truth around means, so that somewhat more than 95 percent are inside.
    assert 0.9 < (distance < 5.99).mean() < 0.999


def test_paths_have_the_posterior_moments(found):
    draws = np.stack([found.posterior.sample(k) for k in jr.split(jr.key(3), 200)])[:, :5]
    mean, covariance = np.asarray(found.posterior.mean[:5]), np.asarray(found.posterior.covariance[:5])
    deviation = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    assert np.abs((draws.mean(axis=0) - mean) / deviation).max() < 5 / np.sqrt(200)
    np.testing.assert_allclose(draws.std(axis=0) / deviation, 1, atol=0.3)


def test_a_linear_gaussian_model_is_solved_exactly():
    """Rates, linear read-out and drift: the smoother against the dense Gaussian posterior."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(3, 6, 8)).astype(np.float32)
    recording = lr.Recording(rates=y, bin_width=0.01)
    fit = latents.fit(
        recording, 2, key=jr.key(0), alpha=0.1, bias=False, iterations=1, features=4, progress=False
    )
    model = fit.model
    model = eqx.tree_at(lambda s: s.n, model, jnp.zeros_like(model.n))
    fit = eqx.tree_at(lambda s: s.model, fit, model)
    got = latents.infer(fit, recording, iterations=25).posterior
    m, s2, q = (np.asarray(x, float) for x in (model.m, model.variance, model.q))
    # z = L noise: prior precision of the whole path.
    time, rank = 6, 2
    step = np.eye(time * rank)
    for t in range(1, time):
        step[rank * t : rank * (t + 1), rank * (t - 1) : rank * t] = -0.9 * np.eye(rank)
    noise = np.zeros((time * rank, time * rank))
    noise[:rank, :rank] = np.linalg.inv(np.asarray(model.v0))
    for t in range(1, time):
        noise[rank * t : rank * (t + 1), rank * t : rank * (t + 1)] = np.linalg.inv(q)
    read = m.T @ np.diag(1 / s2)
    precision = step.T @ noise @ step + np.kron(np.eye(time), read @ m)
    first = np.zeros(time * rank)
    first[:rank] = np.asarray(model.mean0)
    shift = (read @ y[0].T).T.ravel() + step.T @ noise @ first
    np.testing.assert_allclose(
        np.asarray(got.mean[0]).ravel(), np.linalg.solve(precision, shift), atol=2e-3, rtol=1e-2
    )
    dense = np.linalg.inv(precision)
    np.testing.assert_allclose(got.covariance[0, 3], dense[6:8, 6:8], rtol=2e-2, atol=1e-5)


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
    with pytest.raises(ValueError, match="train: expected at least ten trials, got 3"):
        baseline.fit(recording, train=[0, 1, 2])


def test_draws_for_a_regression(found):
    data = found.draws(jr.key(4), 40)
    trials, rank = found.recording.n_trials, 2
    z = data["latents"].reshape(40, trials, -1, rank)
    mask = found.recording.mask
    assert (z[:, ~mask] == 0).all() and data["copies"] == 40 and data["alpha"] == found.model.alpha
    np.testing.assert_array_equal(data["lengths"].reshape(40, -1), np.tile(found.recording.lengths, (40, 1)))
    mean, covariance = np.asarray(found.posterior.mean), np.asarray(found.posterior.covariance)
    off = (z - mean[None])[:, mask]
    deviation = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))[mask]
    # Sampling alone leaves 0.16; the drift as it is moves the posterior a little off the Gaussian one.
    assert np.sqrt(np.mean((off.mean(axis=0) / deviation) ** 2)) < 0.25
    np.testing.assert_allclose(np.mean((off / deviation) ** 2), 1, atol=0.03)
    product = np.einsum("kti,ktj->ij", off, off) / off[..., 0].size
    np.testing.assert_allclose(product, covariance[mask].mean(axis=0), atol=0.02 * product.max())
    # On average, what is expected after a state is the next one.
    ahead = data["alpha"] * data["drift"] + (1 - data["alpha"]) * data["latents"][:, :-1]
    off = (ahead.reshape(40, trials, -1, rank) - mean[None, :, 1:])[:, mask[:, 1:]]
    assert np.sqrt(np.mean(off.mean(axis=0) ** 2)) < 0.12 and np.abs(off.mean(axis=(0, 1))).max() < 0.02
    np.testing.assert_array_equal(data["inputs"][:trials], found.recording.inputs)


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


def test_input_weights_of_neurons_that_read_inputs():
    """Half of the neurons are driven by an input at once, to either side; the others are not."""
    rng = np.random.default_rng(0)
    trials, time, neurons = 80, 60, 20
    inputs = rng.poisson(0.2, (trials, time, 1)).astype(np.float32)
    weights = np.where(np.arange(neurons) < 10, np.linspace(-1.5, 1.5, 10).repeat(2)[:neurons], 0.0)
    z = np.cumsum(rng.normal(size=(trials, time)) * 0.15, axis=1)
    potential = z[..., None] * rng.normal(size=neurons) + inputs * weights
    spikes = rng.poisson(0.2 * np.log1p(np.exp(potential)))
    recording = lr.Recording(spikes=spikes, bin_width=0.01, lengths=np.full(trials, time), inputs=inputs)
    fit = latents.fit(recording, 1, key=jr.key(0), iterations=8, progress=False)
    b = np.asarray(fit.embedding().b)[:, 0]
    assert np.corrcoef(b, weights)[0, 1] > 0.8
    strong = np.abs(weights) > 0.5
    assert (np.sign(b[strong]) == np.sign(weights[strong])).mean() > 0.9
