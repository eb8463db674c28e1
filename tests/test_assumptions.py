"""What trajectories leave open of leak, origin and units, and which experiments fix it."""

import numpy as np
import pytest

import lrcore as lr
from lrcore.identifiability import confounds, spectrum
from lrcore.perturb import current, silenced

NOISE = 0.099  # of a drift, 0.0099 of a step
RATIOS = (0.5, 1.0, 2.0, 3.0)


def softplus(h):
    return np.logaddexp(h, 0)


@pytest.fixture(scope="module")
def neurons():
    """m, d, b and n of 300 neurons, each with its mirror image: m, d, b of covariance 1 and overlap 1.05."""
    x = np.random.default_rng(0).normal(size=(150, 4))
    x = x - x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / len(x))).T
    m, d, xi, b = np.concatenate([x, -x]).T
    return m, d, b, 1.05 * m + 0.3 * (m**2 - 1) + 0.5 * xi


@pytest.mark.parametrize("activation", ["softplus", "relu"])
def test_what_makes_the_state(neurons, activation):
    """2 Cov(m)^-1 m, for two latents that are correlated and scaled."""
    m, d, b, _ = neurons
    both = np.stack([m, m + 0.3 * b], axis=1)
    z = np.random.default_rng(1).normal(size=(50, 2))
    phi = {"softplus": softplus, "relu": lambda h: np.maximum(h, 0)}[activation]
    q = 2 * both @ np.linalg.inv(both.T @ both / len(m))
    np.testing.assert_allclose(phi(z @ both.T + d) @ q / len(m), z, atol=1e-12)
    np.testing.assert_allclose(q.T @ both / len(m), 2 * np.eye(2), atol=1e-12)


def test_another_origin_of_sigmoid_neurons(neurons):
    m, d, _, n = neurons
    z = np.linspace(-3, 3, 41)[:, None]

    def drift(z, d, n):
        return (1 / (1 + np.exp(-(z * m + d)))) @ n / len(m)

    np.testing.assert_allclose(drift(z + 0.7, d - 0.7 * m, n + 1.4), drift(z, d, n) + 0.7, atol=1e-12)


def test_tanh_without_biases_makes_the_state_by_ever_larger_weights_and_no_constant():
    law = lr.GaussianMixture([1.0], np.zeros((1, 2)), np.eye(2)[None], rank=1)
    found = spectrum(law, np.linspace(-2.4, 2.4, 97)[:, None])
    pairs = [confounds(found, tolerance) for tolerance in 10.0 ** -np.arange(1, 7)]
    misses, sizes = np.array([(leak.residual, leak.size) for leak, _ in pairs]).T
    assert (np.diff(misses) < 0).all() and (np.diff(sizes) > 0).all() and sizes[-1] > 10 * sizes[0]
    assert min(origin.residual for _, origin in pairs) > 0.99


def held_out(parts, n, pushes, z, ratio, *, width=5.0):
    """Error of a step with another time constant, and the weights, by ridge regression."""
    X, at, pushed = np.concatenate(parts), np.tile(z, (len(parts), 1)), np.concatenate(pushes)
    F = X @ n[:, None] + NOISE * np.random.default_rng(4).normal(size=at.shape)
    y = at + ratio * (F + pushed - at) - pushed
    test = np.arange(len(X)) % 4 == 0
    ridge = (NOISE * ratio / width) ** 2 * np.eye(X.shape[1])
    found = np.linalg.solve(X[~test].T @ X[~test] + ridge, X[~test].T @ y[~test])
    return 0.1 / ratio * np.sqrt(np.mean((X[test] @ found - y[test]) ** 2)), found[:, 0]


def test_the_overlap_is_a_line_at_one_held_out_error(neurons):
    """1.52, 1.05, .10 and -.85 at .0099, for noisy drifts: theirs is 1.05 k + 2 (1 - k)."""
    m, d, _, n = neurons
    z = np.random.default_rng(1).uniform(-2.4, 2.4, (20000, 1))
    X = softplus(z * m + d) / len(m)
    errors, overlaps = {}, {}
    for ratio in RATIOS:
        errors[ratio], found = held_out([X], n, [0 * z], z, ratio)
        overlaps[ratio] = np.mean(found * m)
    assert list(errors.values()) == pytest.approx([0.0099] * 4, abs=1.5e-4)
    assert max(errors.values()) < 1.002 * min(errors.values())
    assert overlaps == pytest.approx({0.5: 1.52, 1.0: 1.05, 2.0: 0.10, 3.0: -0.85}, abs=0.05)


def test_which_experiments_fix_the_time_constant(neurons):
    m, d, b, n = neurons
    rng = np.random.default_rng(2)
    z, u, push = rng.uniform(-2.4, 2.4, (3000, 1)), *rng.normal(size=(2, 3000, 1))
    silent = rng.permutation(len(m)) < 150

    def rows(added=0.0, gain=1.0, active=1.0):
        return softplus(gain * (z * m + d + added)) * active / len(m)

    nothing, others = 0 * z, np.tanh(z * m + d) / len(m)
    experiments = {
        "flow alone": ([rows()], n, [nothing]),
        "half silent": ([rows(), rows(active=~silent)], n, 2 * [nothing]),
        "tanh neurons": ([np.hstack([rows(), others])], np.concatenate([n, n]), [nothing]),
        "inputs": ([rows(u * b)], n, [nothing]),
        "input to z": ([rows()], n, [0.3 * push]),
        "currents": ([rows(added) for added in (-4, -2, 0, 2, 4)], n, 5 * [nothing]),
        "gain": ([rows(), rows(gain=2.0)], n, 2 * [nothing]),
    }
    growth = {}
    for name, one in experiments.items():
        errors = [held_out(*one, z, ratio)[0] for ratio in RATIOS]
        growth[name] = errors[3] / errors[1] - 1
    assert all(abs(growth[name]) < 0.01 for name in list(experiments)[:4]), growth
    assert all(growth[name] > 0.08 for name in list(experiments)[4:]), growth


def test_confounds_name_the_experiments_beforehand(neurons):
    m, d, _, _ = neurons
    e, line = lr.Embedding(m[:, None], d=d), np.linspace(-2.4, 2.4, 61)[:, None]
    silent = np.random.default_rng(3).permutation(len(m)) < 150
    told = {}
    for name, what in {"half": [silenced(silent)], "currents": [current(-1.5), current(1.5)]}.items():
        told[name] = confounds(spectrum(e, line, activation="softplus", perturbed=what))[0].found
    assert told == {"half": True, "currents": False}
