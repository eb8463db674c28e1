"""What a state-space model learns: the gauge of its latents, and weights of inputs."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np

import lrcore as lr
from lrcore import latents
from lrcore.latents import learning, state_space
from lrcore.latents.smoother import Posterior


def test_whitening_changes_no_potential(state_space_fit):
    """m, d, posterior and paths move together, and afterwards the latents are white."""
    found = state_space_fit(80, 40)
    data, mask = found._observed(), found.recording.mask
    # Out of white coordinates first.
    skew, shift = jnp.asarray([[2.0, 0.5], [0.0, 0.7]]), jnp.ones((1, 1, 2))
    p = found.posterior
    moved = Posterior(
        p.mean @ skew.T + shift, skew @ p.covariance @ skew.T, skew @ p.gain @ jnp.linalg.inv(skew)
    )
    z, weights = state_space.weighted(found.model, p, data.u, data.mask, jr.key(0), 2)
    z = z @ skew.T + shift[None]
    sites = state_space.gaussian_sites(found.model, moved, data)
    model, white, _, drawn = learning.whiten(found.model, moved, sites, (z, weights), data.mask)

    def potentials(z, model):
        return np.asarray(z) @ np.asarray(model.m).T + np.asarray(model.d)

    for before, after in ((moved.mean, white.mean), (z[0], drawn[0][0]), (z[1], drawn[0][1])):
        np.testing.assert_allclose(
            potentials(after, model)[mask], potentials(before, found.model)[mask], rtol=1e-3, atol=1e-3
        )
    np.testing.assert_array_equal(drawn[1], weights)
    mean, covariance = np.asarray(white.mean)[mask], np.asarray(white.covariance)[mask]
    np.testing.assert_allclose(mean.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(mean.T @ mean / len(mean) + covariance.mean(axis=0), np.eye(2), atol=1e-3)


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
