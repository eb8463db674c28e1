"""Distributions over connectivity against scipy, against samples, and by hand."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logsumexp

import lrcore as lr
from lrcore.activation import resolve
from lrcore.distributions import Empirical, sobol


def mixture(rank=2, n_inputs=1, bias=True, components=3, seed=0) -> lr.GaussianMixture:
    rng = np.random.default_rng(seed)
    width = 2 * rank + n_inputs + bias
    roots = rng.normal(size=(components, width, 2 * width)) / np.sqrt(2 * width)
    return lr.GaussianMixture(
        rng.uniform(1, 3, components),
        rng.normal(size=(components, width)),
        roots @ roots.swapaxes(1, 2) + 0.1 * np.eye(width),
        n_inputs=n_inputs,
        bias=bias,
    )


def numbers(p) -> tuple:
    return tuple(np.asarray(part, float) for part in (p.weights, p.means, p.covariances))


def parts(p, x) -> tuple:
    """Rows (m, b, d, n) cut into the arguments of log_prob."""
    cut = p.rank + p.n_inputs
    b = x[..., p.rank : cut] if p.n_inputs else None
    return x[..., : p.rank], b, x[..., cut] if p.bias else None, x[..., p.width :]


SHAPES = {
    "m, n": {"n_inputs": 0, "bias": False},
    "m, b, n": {"n_inputs": 2, "bias": False},
    "m, d, n": {"n_inputs": 0, "bias": True},
    "all": {"n_inputs": 2, "bias": True},
    "rank 1": {"rank": 1, "n_inputs": 1, "bias": True},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_log_prob_is_scipys(shape):
    p = mixture(**SHAPES[shape])
    weights, means, covariances = numbers(p)
    x = np.random.default_rng(1).normal(size=(7, 3, means.shape[1]))
    each = [stats.multivariate_normal(mean, c).logpdf(x) for mean, c in zip(means, covariances, strict=True)]
    np.testing.assert_allclose(
        p.log_prob(*parts(p, x)), logsumexp(np.stack(each, -1), b=weights, axis=-1), rtol=1e-4, atol=1e-4
    )
    w = p.width
    each = [
        stats.multivariate_normal(mean[:w], c[:w, :w]).logpdf(x[..., :w])
        for mean, c in zip(means, covariances, strict=True)
    ]
    expected = logsumexp(np.stack(each, -1), b=weights, axis=-1)
    np.testing.assert_allclose(p.embedding_log_prob(x[..., :w]), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_conditional_mean_is_the_integral_of_n(shape):
    """E[n | e] by brute force: the first coordinate's mean under the joint density on a fine grid of n."""
    p = mixture(**SHAPES[shape])
    e = np.random.default_rng(2).normal(size=(2, p.width))
    axis = np.linspace(-9, 9, 121)
    n = np.stack(np.meshgrid(*[axis] * p.rank, indexing="ij"), axis=-1).reshape(-1, p.rank)
    for one in e:
        rows = np.concatenate([np.broadcast_to(one, (len(n), p.width)), n], axis=1)
        density = np.exp(np.asarray(p.log_prob(*parts(p, rows)), float))
        expected = density @ n / density.sum()
        np.testing.assert_allclose(p.conditional_mean(one), expected, atol=2e-3)
    stacked = p.conditional_mean(e[None])
    assert stacked.shape == (1, 2, p.rank)
    np.testing.assert_allclose(stacked[0, 1], p.conditional_mean(e[1]), atol=1e-5)


def test_samples_have_the_mixtures_moments():
    p = mixture()
    weights, means, covariances = numbers(p)
    net = p.sample(jr.key(0), 100_000, activation="relu", tau=0.2)
    assert (net.activation, net.tau) == ("relu", 0.2)
    draws = np.concatenate([net.embedding.array, net.n], axis=1).astype(float)
    mean = weights @ means
    covariance = sum(
        w * (c + np.outer(m - mean, m - mean)) for w, m, c in zip(weights, means, covariances, strict=True)
    )
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.06)


@pytest.mark.parametrize("activation", ["tanh", "softplus", "relu", "exp"])
@pytest.mark.parametrize("shape", ["m, n", "all"])
def test_drift_is_the_expectation_over_neurons(shape, activation):
    p = mixture(**SHAPES[shape])
    rng = np.random.default_rng(3)
    z, u = 0.5 * rng.normal(size=(4, p.rank)), 0.5 * rng.normal(size=(4, p.n_inputs))
    # By Monte Carlo with e drawn by numpy and n in its closed form: the noise of n is not in it.
    weights, means, covariances = numbers(p)
    n_draws = 100_000
    which = rng.choice(len(weights), n_draws, p=weights / weights.sum())
    e = np.empty((n_draws, p.width))
    for c in range(len(weights)):
        rows = which == c
        at = p.width
        e[rows] = rng.multivariate_normal(means[c, :at], covariances[c, :at, :at], rows.sum())
    g = np.asarray(p.conditional_mean(e.astype(np.float32)), float)
    along = np.concatenate([z, u, np.ones((4, int(p.bias)))], axis=1)
    values = g[:, None] * np.asarray(resolve(activation)(jnp.asarray(e @ along.T)))[..., None]
    error = values.std(axis=0) / np.sqrt(n_draws)
    drift = p.drift(z, u if p.n_inputs else None, activation=activation)
    assert (np.abs(drift - values.mean(axis=0)) < 5 * error + 1e-3).all()


def test_drift_of_one_gaussian_under_a_line_is_its_overlap():
    """phi(x) = x: F(z) = E[n m^T] z."""
    p = lr.systems.bistable()
    z = np.array([[0.3, -1.0], [2.0, 1.0]])
    overlap = np.array([[1.2, 0.8], [0.0, 1.6]])  # row n, column m
    np.testing.assert_allclose(p.drift(z, activation="linear"), z @ overlap.T, atol=1e-4)


@pytest.mark.parametrize("name", lr.systems.SYSTEMS)
def test_drift_has_a_jacobian_at_the_origin(name):
    p = lr.systems.SYSTEMS[name]()
    jacobian = np.asarray(jax.jacfwd(p.drift)(jnp.zeros(2)), float)
    differences = [(p.drift(h) - p.drift(-h)) / 0.02 for h in 0.01 * np.eye(2)]
    np.testing.assert_allclose(jacobian, np.array(differences).T, atol=5e-3)
    np.testing.assert_allclose(p.drift(np.zeros(2)), 0, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 10))
def test_only_relative_weights_count(seed, factor):
    p = mixture()
    q = lr.GaussianMixture(factor * p.weights, p.means, p.covariances, n_inputs=1, bias=True)
    e = np.random.default_rng(seed).normal(size=(3, p.width))
    np.testing.assert_allclose(p.conditional_mean(e), q.conditional_mean(e), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(p.embedding_log_prob(e), q.embedding_log_prob(e), rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def drawn():
    return mixture().sample(jr.key(5), 200)


@pytest.mark.parametrize("bandwidth", [None, 0.3], ids=["Scott", "given"])
def test_empirical_density_has_kernels_shaped_like_the_neurons(drawn, bandwidth):
    p = Empirical(drawn, bandwidth=bandwidth)
    points = np.concatenate([drawn.embedding.array, drawn.n], axis=1).astype(float)
    n, width = points.shape
    factor = stats.gaussian_kde(points.T).factor if bandwidth is None else bandwidth
    x = points[:9] + 0.3 * np.random.default_rng(0).normal(size=(9, width))
    parts_of = slice(0, p.width), slice(p.width, width)
    kernels = [
        stats.multivariate_normal(cov=factor**2 * np.cov(points[:, part].T, bias=True)).logpdf(
            x[:, None, part] - points[None, :, part]
        )
        for part in parts_of
    ]
    expected = logsumexp(sum(kernels), axis=1) - np.log(n)
    np.testing.assert_allclose(p.log_prob(*parts(p, x)), expected, rtol=1e-4, atol=2e-3)
    weights = np.exp(kernels[0])
    expected = weights @ points[:, p.width :] / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(p.conditional_mean(x[:, : p.width]), expected, atol=2e-3)
    off = np.cov(np.concatenate([p.sample(jr.key(0), 50_000).embedding.array], axis=1).T)
    np.testing.assert_allclose(off, (1 + factor**2) * np.cov(points[:, : p.width].T), atol=0.1 * off.max())


def test_empirical_of_dependent_coordinates():
    """Two coordinates on a line: a kernel of their shape has no density, one of their spreads does."""
    m = np.random.default_rng(0).normal(size=(30, 1)) @ np.array([[1.0, 2.0]])
    p = Empirical(lr.LowRankNetwork(m, m[:, ::-1]))
    assert np.isfinite(p.conditional_mean(m[:4])).all() and np.isfinite(p.sample(jr.key(0), 9).m).all()


def test_empirical_density_of_one_coordinate_each_is_scipys():
    """Uncorrelated points: scipy's full covariance is the diagonal one."""
    x, y = np.meshgrid([-1.0, 0.5, 2.0], [-2.0, 0.0, 1.0])
    net = lr.LowRankNetwork(x.reshape(-1, 1), y.reshape(-1, 1))
    p = Empirical(net)
    points = np.stack([x.ravel(), y.ravel()])
    # scipy divides the covariance by N - 1, ours by N.
    theirs = stats.gaussian_kde(points, lambda kde: kde.scotts_factor() * np.sqrt(8 / 9))
    at = np.random.default_rng(0).normal(size=(5, 2))
    np.testing.assert_allclose(p.log_prob(at[:, :1], None, None, at[:, 1:]), theirs.logpdf(at.T), rtol=1e-4)


def test_empirical_samples(drawn):
    bare = Empirical(drawn, bandwidth=0.0).sample(jr.key(0), 5000)
    rows = {tuple(row) for row in np.asarray(drawn.embedding.array)}
    assert {tuple(row) for row in np.asarray(bare.embedding.array)} == rows
    blurred = Empirical(drawn, bandwidth=0.5).sample(jr.key(0), 50_000)
    expected = np.asarray(drawn.n).std(axis=0) * np.sqrt(1 + 0.5**2)
    np.testing.assert_allclose(np.asarray(blurred.n).std(axis=0), expected, rtol=0.03)


@pytest.mark.parametrize("activation", ["tanh", "relu", "exp"])
@pytest.mark.parametrize("shape", ["m, n", "all"])
def test_empirical_drift_is_the_expectation_over_draws(shape, activation):
    """Draws of a kernel by numpy, and those of the distribution itself."""
    net = mixture(**SHAPES[shape]).sample(jr.key(5), 60)
    p = Empirical(net, bandwidth=0.4)
    rng = np.random.default_rng(3)
    z, u = 0.5 * rng.normal(size=(4, p.rank)), 0.5 * rng.normal(size=(4, p.n_inputs))
    points, root = np.asarray(p.points, float), np.asarray(p.root, float)
    n_draws = 200_000
    draws = points[rng.integers(len(points), size=n_draws)]
    draws = draws + rng.normal(size=draws.shape) @ root.T
    own = p.sample(jr.key(0), n_draws)
    own = np.concatenate([own.embedding.array, own.n], axis=1).astype(float)
    along = np.concatenate([z, u, np.ones((4, int(p.bias)))], axis=1)
    drift = p.drift(z, u if p.n_inputs else None, activation=activation)
    for x in (draws, own):
        rates = np.asarray(resolve(activation)(jnp.asarray(x[:, : p.width] @ along.T)))
        values = x[:, None, p.width :] * rates[..., None]
        error = values.std(axis=0) / np.sqrt(n_draws)
        assert (np.abs(drift - values.mean(axis=0)) < 5 * error + 1e-3).all()


def test_drift_of_a_bare_bootstrap_is_that_of_its_network(drawn):
    z, u = np.random.default_rng(0).normal(size=(2, 6, 2))
    found = Empirical(drawn, bandwidth=0.0).drift(z, u[:, :1])
    np.testing.assert_allclose(found, drawn.drift(z, u[:, :1]), atol=1e-4)


def test_what_a_distribution_has_to_say():
    """The base says nothing itself, and a distribution that leaves something out cannot be made."""

    class Half(lr.ConnectivityDistribution):
        rank: int = 2
        n_inputs: int = 0
        bias: bool = False

        def sample(self, key, n_neurons):
            return None

    for kind in (lr.ConnectivityDistribution, Half):
        with pytest.raises(TypeError, match="abstract"):
            kind()


def test_sobol_points_are_even_and_follow_the_generator():
    one, same, other = (sobol(np.random.default_rng(seed), 200, 2) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert one.shape == (200, 2) and (one != other).any() and 0 <= one.min() and one.max() <= 1
    # Of 128 points, as many in each of eight strips.
    assert (np.histogram(one[:128, 0], np.linspace(0, 1, 9))[0] == 16).all()


def test_a_bare_bootstrap_has_no_density(drawn):
    p = Empirical(drawn, bandwidth=0.0)
    for ask in (
        lambda: p.conditional_mean(drawn.embedding),
        lambda: p.log_prob(drawn.m, drawn.b, drawn.d, drawn.n),
    ):
        with pytest.raises(ValueError, match="^bandwidth: expected a positive bandwidth.*only be sampled"):
            ask()


ONE = np.zeros((1, 2))
BAD = {
    "weights of other components": (
        lambda: lr.GaussianMixture([1.0, 1.0], ONE, np.eye(2)[None]),
        "expected weights",
    ),
    "negative weight": (
        lambda: lr.GaussianMixture([-1.0], ONE, np.eye(2)[None]),
        "^weights: expected positive",
    ),
    "indefinite": (
        lambda: lr.GaussianMixture([1.0], ONE, -np.eye(2)[None]),
        "^covariances: expected positive def",
    ),
    "odd columns": (
        lambda: lr.GaussianMixture([1.0], np.zeros((1, 3)), np.eye(3)[None]),
        r"^means: expected 2 rank \+ n_inputs \+ bias columns, got 3",
    ),
    "nan": (
        lambda: lr.GaussianMixture([1.0], np.full((1, 2), np.nan), np.eye(2)[None]),
        "^means: expected finite",
    ),
    "embedding of another width": (
        lambda: mixture().conditional_mean(np.zeros((2, 3))),
        "^e: expected 4 along",
    ),
    "fewer neurons than rank": (
        lambda: mixture().sample(jr.key(0), 1),
        "^n_neurons: expected at least 2, got 1",
    ),
    "negative bandwidth": (
        lambda: Empirical(mixture().sample(jr.key(0), 9), -1.0),
        "^bandwidth: expected",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case):
    call, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        call()
