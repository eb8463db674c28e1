"""The closed-form conditional mean against direct solves, its formulas, and the reference systems' truth."""

import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.linalg

import lrcore as lr
from lrcore import gauge, maxent, modes
from lrcore.activation import resolve

ALPHA = 0.1


def noisy(system: str, n: int, *, noise=0.0, points=10, steps=60, key=0) -> tuple:
    network = lr.systems.SYSTEMS[system]().sample(jr.key(key), n)
    starts = lr.systems.grid(points)
    return network, np.asarray(network.simulate(starts, None, ALPHA, steps, noise=noise, key=jr.key(key + 1)))


def whole(seed=0, n=40, trials=6, time=15) -> tuple:
    """A network with m, b and d, driven by inputs, of rank 2."""
    rng = np.random.default_rng(seed)
    m, b, d = rng.normal(size=(n, 2)), rng.normal(size=(n, 2)), rng.normal(size=n)
    network = lr.LowRankNetwork(m, m + rng.normal(size=(n, 2)), b, d, activation="softplus")
    inputs = rng.normal(size=(trials, time - 1, 2))
    return network, np.asarray(network.simulate(rng.normal(size=(trials, 2)), inputs, ALPHA)), inputs


def features(network, z, u, activation) -> np.ndarray:
    """X in float64, by numpy alone."""
    h = z @ np.asarray(network.m, float).T
    if network.b is not None:
        h = h + u @ np.asarray(network.b, float).T
    if network.d is not None:
        h = h + np.asarray(network.d, float)
    return {"tanh": np.tanh, "softplus": lambda x: np.logaddexp(x, 0)}[activation](h)


@pytest.fixture(scope="module")
def driven():
    network, z, u = whole()
    return network, z, u, {"activation": "softplus"}


def fit(latents, embedding, *, inputs=None, lengths=None, **options) -> maxent.MaximumEntropy:
    return lr.maxent.fit(lr.steps(latents, inputs=inputs, lengths=lengths, alpha=ALPHA), embedding, **options)


@pytest.mark.parametrize("condition", [1e4, 1e10], ids=["1e4", "1e10"])
def test_solution_is_the_one_of_a_direct_solve(condition):
    """QR of the stacked least squares, which never forms X^T X: its condition is only the square root."""
    network, z = noisy("quadstable", 150)
    n, (here, following) = (
        150,
        (z[:, :-1].reshape(-1, 2).astype(float), z[:, 1:].reshape(-1, 2).astype(float)),
    )
    x, y = features(network, here, None, "tanh"), (following - (1 - ALPHA) * here) / ALPHA
    ridge = np.linalg.norm(x, 2) ** 2 / n**2 / condition
    stacked = np.concatenate([x / n, np.sqrt(ridge) * np.eye(n)])
    assert np.linalg.cond(stacked) ** 2 == pytest.approx(condition, rel=0.5)
    expected = np.linalg.lstsq(stacked, np.concatenate([y, np.zeros((n, 2))]), rcond=None)[0]
    found = fit(z, network.embedding, ridge=ridge)
    assert np.linalg.norm(found.n - expected) < 5e-5 * np.linalg.norm(expected)
    np.testing.assert_allclose(x @ found.n / n, x @ expected / n, atol=1e-7)
    law, network = found.evidence.degrees_of_freedom(found.modes)
    values = np.linalg.eigvalsh(x.T @ x)
    assert (law, network) == pytest.approx((2 * (values / (values + ridge * n**2)).sum(), 0), rel=1e-4)


def test_targets_and_weights_are_as_defined(driven):
    network, z, u, options = driven
    found = fit(z, network.embedding, inputs=u, **options, ridge=1e-4)
    here = z[:, :-1].reshape(-1, 2).astype(float)
    np.testing.assert_allclose(found.steps.z, here)
    np.testing.assert_allclose(found.steps.u, u.reshape(-1, 2))
    y = (z[:, 1:].reshape(-1, 2) - (1 - ALPHA) * here) / ALPHA
    # Y is the drift: the latents are Euler's, kept in float32.
    np.testing.assert_allclose(y, network.drift(here, u.reshape(-1, 2)), atol=1e-4)
    x = features(network, here, u.reshape(-1, 2), "softplus")
    # What of Y lies outside of all rates is noise, and has no part in it.
    span = np.linalg.svd(x, full_matrices=False)[0]
    expected = span @ (span.T @ (y - x @ found.n / 40)) / (1e-4 * 40)
    np.testing.assert_allclose(found.weights, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("ridge", [1e-3, 1e-7], ids=["strong", "weak"])
def test_representer_at_the_fitted_neurons_is_the_solution(driven, ridge):
    network, z, u, options = driven
    found = fit(z, network.embedding, inputs=u, **options, ridge=ridge)
    scale = np.abs(found.n).max()
    np.testing.assert_allclose(found.conditional_mean(network.embedding), found.n, atol=1e-4 * scale)
    np.testing.assert_array_equal(found.network().n, found.n.astype(np.float32))


def test_recorded_neurons_deviate_from_their_law():
    """Theirs is the drift of their own; the law is nearer to g."""
    network, z = noisy("ring", 200)
    found, g = fit(z, network.embedding), lr.systems.ring().conditional_mean(network.embedding)
    law = np.asarray(found.conditional_mean(network.embedding))
    assert np.mean((law - g) ** 2) < np.mean((found.n - g) ** 2)
    x = np.tanh(found.steps.z @ np.asarray(network.m, float).T)
    own, new = (np.mean((x @ n / 200 - found.steps.y) ** 2) for n in (found.n, law))
    assert own < 1e-4 * new
    np.testing.assert_array_equal(found.network().n, found.n.astype(np.float32))


def test_representer_anywhere_is_the_sum_over_steps(driven):
    network, z, u, options = driven
    found = fit(z, network.embedding, inputs=u, **options, ridge=1e-4)
    e = np.random.default_rng(5).normal(size=(3, 4, 5))
    h = np.einsum("...r,tr->...t", e[..., :2], found.steps.z) + np.einsum(
        "...k,tk->...t", e[..., 2:4], found.steps.u
    )
    expected = np.logaddexp(h + e[..., 4:], 0) @ found.weights
    np.testing.assert_allclose(found.conditional_mean(e), expected, rtol=1e-4, atol=1e-4)
    assert found.conditional_mean(e[0, 0]).shape == (2,)
    # Inside a jit, in single precision.
    np.testing.assert_allclose(
        jax.jit(lambda e: found.conditional_mean(e))(e), expected, atol=0.02 * np.abs(expected).max()
    )


@pytest.mark.parametrize("ridge", [1e-4, None], ids=["given", "evidence"])
def test_blocks_of_time_change_nothing(monkeypatch, ridge):
    network, z = noisy("limit cycle", 60, noise=0.1, points=4)
    one = fit(z, network.embedding, ridge=ridge)
    monkeypatch.setattr(modes, "_BLOCK", 7)
    other = fit(z, network.embedding, ridge=ridge)
    close = {"atol": (1e-5 if ridge else 0.06) * np.abs(one.n).max()}
    np.testing.assert_allclose(one.n, other.n, **close)
    e = network.embedding
    np.testing.assert_allclose(one.conditional_mean(e), other.conditional_mean(e), **close)


def test_twice_the_neurons_are_the_same_function(driven):
    """rho N is what counts: with every neuron twice, half the ridge gives the same function of e."""
    network, z, u, options = driven
    e = network.embedding
    twice = e.like(jnp.concatenate([e.array, e.array]))
    one = fit(z, e, inputs=u, **options, ridge=1e-5)
    other = fit(z, twice, inputs=u, **options, ridge=1e-5 / 2)
    at = np.random.default_rng(5).normal(size=(50, 5))
    expected = np.asarray(one.conditional_mean(at))
    np.testing.assert_allclose(other.conditional_mean(at), expected, atol=1e-3 * np.abs(expected).max())


def test_only_the_dimensions_that_rates_span_are_decomposed(monkeypatch):
    """Of many neurons, in the space of some steps: the solution is the same."""
    network, z = noisy("bistable", 300)
    whole = fit(z, network.embedding, ridge=1e-6)
    monkeypatch.setattr(modes, "_DENSE", 250)
    spanned = fit(z, network.embedding, ridge=1e-6)
    assert len(spanned.modes.values) < 150
    x = np.tanh(whole.steps.z @ np.asarray(network.m, float).T) / 300
    np.testing.assert_allclose(x @ spanned.n, x @ whole.n, atol=1e-5)
    np.testing.assert_allclose(spanned.n, whole.n, atol=0.01 * np.abs(whole.n).max())
    e = network.embedding
    expected = np.asarray(whole.conditional_mean(e))
    np.testing.assert_allclose(spanned.conditional_mean(e), expected, atol=0.01 * np.abs(expected).max())


def test_order_of_trials_and_of_neurons_does_not_matter(driven):
    network, z, u, options = driven
    rng = np.random.default_rng(0)
    trials, neurons = rng.permutation(len(z)), rng.permutation(network.n_neurons)
    one = fit(z, network.embedding, inputs=u, **options, ridge=1e-5)
    shuffled = network.embedding.like(network.embedding.array[neurons])
    other = fit(z[trials], shuffled, inputs=u[trials], **options, ridge=1e-5)
    np.testing.assert_allclose(other.n, one.n[neurons], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ridge", [1e-5, None], ids=["given", "evidence"])
@pytest.mark.filterwarnings("ignore:maxent. the drift of new neurons")
def test_padding_is_never_looked_at(driven, ridge):
    network, z, u, options = driven
    lengths = np.array([15, 4, 9, 2, 15, 11])
    padded, padded_inputs = z.copy(), u.copy()
    for trial, length in enumerate(lengths):
        padded[trial, length:] = np.nan
        padded_inputs[trial, length - 1 :] = np.inf
    options = options | {"ridge": ridge, "lengths": lengths}
    one = fit(padded, network.embedding, inputs=padded_inputs, **options)
    # The same steps cut out by hand: garbage, but finite, in the padding.
    again = fit(np.where(np.isnan(padded), 77, padded), network.embedding, inputs=u, **options)
    np.testing.assert_array_equal(one.n, again.n)
    here = np.concatenate([z[i, : n - 1] for i, n in enumerate(lengths)])
    np.testing.assert_allclose(one.steps.z, here)
    np.testing.assert_allclose(one.steps.u, np.concatenate([u[i, : n - 1] for i, n in enumerate(lengths)]))
    if ridge is not None:
        following = np.concatenate([z[i, 1:n] for i, n in enumerate(lengths)]).astype(float)
        x = features(network, one.steps.z, one.steps.u, "softplus")
        y = (following - (1 - ALPHA) * one.steps.z) / ALPHA
        gram = x.T @ x + ridge * 1600 * np.eye(40)
        np.testing.assert_allclose(one.n, 40 * scipy.linalg.solve(gram, x.T @ y), rtol=1e-3, atol=1e-4)


def test_inputs_of_the_same_length_as_the_latents_lose_their_last(driven):
    network, z, u, options = driven
    longer = np.concatenate([u, np.full((6, 1, 2), 99.0)], axis=1)
    one, other = (fit(z, network.embedding, inputs=inputs, **options, ridge=1e-5) for inputs in (u, longer))
    np.testing.assert_array_equal(one.n, other.n)


def test_gauge(driven):
    """(z, m) -> (A z, A^-T m): the same rates, and n goes with A."""
    network, z, u, options = driven
    a = np.array([[2.0, 1.0], [0.5, -1.0]])
    moved = gauge.transform(network, a)
    one = fit(z, network.embedding, inputs=u, **options, ridge=1e-4)
    other = fit(z @ a.T, moved.embedding, inputs=u, **options, ridge=1e-4)
    np.testing.assert_allclose(other.n, one.n @ a.T, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.3], ids=["clean", "noise 0.05", "noise 0.3"])
@pytest.mark.parametrize("system", lr.systems.SYSTEMS)
def test_law_is_as_near_to_g_as_that_of_the_best_ridge(system, noise):
    network, z = noisy(system, 300 if noise else 500, noise=noise, points=14, steps=80, key=3)
    g = np.asarray(lr.systems.SYSTEMS[system]().conditional_mean(network.embedding))
    found = fit(z, network.embedding)
    # The whole path at once, by the eigenvectors of the dual problem.
    n, x = network.n_neurons, features(network, found.steps.z, None, "tanh")
    values, vectors = np.linalg.eigh(x.T @ x)
    turned = vectors.T @ (x.T @ found.steps.y)
    ridges = values[-1] * np.logspace(-12, 0, 49)
    best = min(np.mean((n * vectors @ (turned / (values + k)[:, None]) - g) ** 2) for k in ridges)
    error = float(np.mean((found.conditional_mean(network.embedding) - g) ** 2))
    print(f"{system} {noise}: {error:.4f}, best {best:.4f}")
    assert error < 1.5 * best


@pytest.mark.parametrize("spread", [0.0, 0.7, np.array([[0.7, 0.0], [0.4, 0.2]])], ids=["0", "0.7", "matrix"])
def test_posterior_has_the_formulas_mean_and_covariance(spread):
    """Whitened by the root of the formula's covariance, draws are standard normal."""
    network, z = noisy("ring", 8, points=4, steps=20)
    found = fit(z, network.embedding, ridge=1e-3)
    x = features(network, found.steps.z, None, "tanh")
    n, draws, noise = 8, 300, found.noise
    root = np.asarray(spread) if np.ndim(spread) else spread * np.eye(2)
    # Prior of the weights: the law of a ridge, s^2 / rho for each, and their spread. Neurons run slowest.
    values, vectors = np.linalg.eigh(x.T @ x)
    assert values[0] > 1e-13 * values[-1]
    prior = np.kron(np.eye(n), noise**2 / 1e-3 * np.eye(2) + root @ root.T)
    rates = np.kron(x / n, np.eye(2))
    gain = prior @ rates.T @ np.linalg.inv(rates @ prior @ rates.T + noise**2 * np.eye(len(rates)))
    mean = gain @ found.steps.y.ravel()
    covariance = prior - gain @ rates @ prior
    drawn = np.stack([found.posterior(jr.key(i), spread=spread).n for i in range(draws)]).astype(float)
    white = np.linalg.solve(np.linalg.cholesky(covariance), (drawn.reshape(draws, -1) - mean).T)
    # 300 draws of 16 numbers: means within 4 / sqrt(300), covariances likewise.
    np.testing.assert_allclose(white.mean(axis=1), 0, atol=0.24)
    np.testing.assert_allclose(np.cov(white), np.eye(2 * n), atol=0.35)


def test_posterior_networks_move_as_the_data_and_independent_draws_do_not():
    network, z = noisy("limit cycle", 200, points=8)
    found = fit(z, network.embedding)
    states = lr.systems.grid(12, 2.0)

    def off(other):
        return lr.flowfield.drift_error(other.drift, network.drift, states)

    def independent(key, e):
        xi = np.asarray(jr.normal(key, (e.n_neurons, 2))) @ found.spread.T
        return lr.LowRankNetwork(e.m, found.conditional_mean(e) + xi)

    posterior = [found.posterior(jr.key(i)) for i in range(3)]
    alone = [independent(jr.key(i), network.embedding) for i in range(3)]
    assert max(map(off, posterior)) < 0.2 * min(map(off, alone))
    # It is spread as widely as n given e where the dynamics do not look, and most directions are free.
    wide = np.std(posterior[0].n - np.asarray(found.conditional_mean(network.embedding)))
    assert wide == pytest.approx(found.deviation, rel=0.2)
    # The same for other neurons, of another number: their weights are as likely.
    fresh = lr.systems.limit_cycle().sample(jr.key(9), 500).embedding
    others = [found.posterior(jr.key(i), embedding=fresh, tau=0.3) for i in range(3)]
    assert others[0].n_neurons == 500 and others[0].tau == 0.3
    alone = [independent(jr.key(i), fresh) for i in range(3)]
    assert max(map(off, others)) < 0.3 * min(map(off, alone))
    for other in others:
        wide = np.std(other.n - np.asarray(found.conditional_mean(fresh)))
        # These neurons carry what was the accident of others.
        assert wide < 1.6 * found.deviation


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_other_neurons_carry_the_drift_without_wild_weights(noise):
    network, z = noisy("bistable", 100, noise=noise, points=6, steps=60)
    found = fit(z, network.embedding)
    states = lr.systems.grid(12, 1.5)
    for count in (50, 400):
        fresh = lr.systems.bistable().sample(jr.key(count), count).embedding
        other = found.posterior(jr.key(1), embedding=fresh)
        off = lr.flowfield.drift_error(other.drift, network.drift, states)
        size = float(jnp.sqrt(jnp.mean(network.drift(states) ** 2)))
        print(f"{count}: drift {off:.3f} of {size:.2f}, n {np.std(other.n):.2f} of {np.std(network.n):.2f}")
        assert off < (0.1 if noise == 0.1 else 0.2) * size
        assert np.std(other.n) < 2 * np.std(network.n)


def test_spread_of_the_posterior_is_given_or_measured():
    network, z = noisy("ring", 150, points=5)
    found = fit(z, network.embedding)
    wide = [float(np.std(found.posterior(jr.key(0), spread=spread).n)) for spread in (0.0, 1.0, 5.0)]
    assert wide[0] < wide[1] < wide[2] and wide[2] > 3.5
    same = [found.posterior(jr.key(0), spread=spread).n for spread in (2.0, 2 * np.eye(2))]
    # A standard deviation is one of every coordinate of n, in its unit.
    np.testing.assert_allclose(*same, atol=1e-4)
    with pytest.raises(ValueError, match="^spread: expected a non-negative"):
        found.posterior(jr.key(0), spread=-1.0)
    with pytest.raises(ValueError, match="^spread: expected 2 along"):
        found.posterior(jr.key(0), spread=np.eye(3))


def test_single_trial_with_a_given_ridge():
    network, z = noisy("ring", 50, points=2)
    one = fit(z[0], network.embedding, ridge=1e-4)
    np.testing.assert_array_equal(one.n, fit(z[:1], network.embedding, ridge=1e-4).n)


def test_global_precision_stays(driven):
    network, z, u, options = driven
    found = fit(z, network.embedding, inputs=u, **options, ridge=1e-4)
    assert found.n.dtype == np.float64 and found.conditional_mean(network.embedding).dtype == jnp.float32
    assert jnp.zeros(1).dtype == jnp.float32 and not jax.config.jax_enable_x64
    assert callable(resolve(found.activation))


def test_populations_that_carry_no_flow_are_warned_of(driven):
    network, z, u, options = driven
    with pytest.warns(UserWarning, match="new neurons is expected to differ from that of the 40 recorded"):
        found = fit(z, network.embedding, inputs=u, **options)
    assert found.drift_error > 0.5
    assert f"their drift to {found.drift_error:.0%}" in repr(found)
    # What is expected is what is seen: among new neurons of the same kind.
    rng, off = np.random.default_rng(5), []
    rates = features(network, found.steps.z, found.steps.u, "softplus")
    drift = rates @ np.asarray(network.n, float) / 40
    for _ in range(10):
        e = lr.Embedding(rng.normal(size=(40, 2)), rng.normal(size=(40, 2)), rng.normal(size=40))
        n = np.asarray(found.conditional_mean(e)) + rng.normal(size=(40, 2)) @ found.spread.T
        off.append(np.mean((features(e, found.steps.z, found.steps.u, "softplus") @ n / 40 - drift) ** 2))
    assert np.sqrt(np.mean(off) / np.mean(drift**2)) == pytest.approx(found.drift_error, rel=0.6)


def test_a_drift_of_zero_has_weights_zero():
    network, z = noisy("ring", 40, points=4)
    steps = lr.steps(z, alpha=ALPHA)
    still = lr.Steps(steps.z, None, 0 * steps.y, steps.trial, alpha=ALPHA)
    rest = lr.steps(np.zeros((3, 11, 2)), alpha=ALPHA)
    biased = lr.Embedding(network.m, d=np.linspace(-1, 1, 40))
    for found in (lr.maxent.fit(still, network.embedding), lr.maxent.fit(rest, biased)):
        assert np.isfinite(found.error) and found.noise < 1e-20 and found.deviation < 1e-20
        np.testing.assert_allclose(found.n, 0, atol=1e-20)
        np.testing.assert_allclose(found.posterior(jr.key(0)).n, 0, atol=1e-20)


MEMORY = """
    import resource, numpy as np
    import lrcore as lr
    rng = np.random.default_rng(0)
    embedding = lr.Embedding(rng.normal(size=(250, 2)))
    z = rng.normal(size=(1000, 300, 2)).astype(np.float32)
    lr.maxent.fit(lr.steps(z[:5], alpha=0.1), embedding)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lr.maxent.fit(lr.steps(z, alpha=0.1), embedding)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the peak of memory is asked of Unix")
def test_memory_does_not_grow_with_the_features():
    """300,000 steps of 250 neurons would be 600 MB of features in float64; states and targets are 30 MB."""
    code = textwrap.dedent(MEMORY)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    megabytes = float(run.stdout) / (2**20 if sys.platform == "darwin" else 2**10)
    print(f"{megabytes:.0f} MB above the start")
    assert megabytes < 200


NETWORK, LATENTS, INPUTS = whole()


def refused(latents=LATENTS, embedding=NETWORK.embedding, inputs=INPUTS, activation="softplus", **options):
    return fit(latents, embedding, inputs=inputs, activation=activation, **options)


def flat(rank: int) -> lr.Embedding:
    m = np.random.default_rng(0).normal(size=(40, 1))
    return lr.Embedding(np.concatenate([m, 2 * m], axis=1), NETWORK.b, NETWORK.d)


BAD = {
    "latents": (lambda: lr.maxent.fit(LATENTS, NETWORK.embedding), TypeError, "Steps"),
    "axes swapped": (
        lambda: refused(LATENTS.swapaxes(1, 2), lr.Embedding(NETWORK.m), None),
        ValueError,
        "^embedding: expected m of rank 15, that of the steps, got 2",
    ),
    "another rank": (
        lambda: refused(LATENTS[..., :1]),
        ValueError,
        "^embedding: expected m of rank 1, that of the steps, got 2: are they of one fit",
    ),
    "two steps": (
        lambda: refused(LATENTS[:1, :3], inputs=INPUTS[:1, :2]),
        ValueError,
        "^steps: expected at least three, to tell drift from noise, got 2: give `ridge`",
    ),
    "inputs of another width": (
        lambda: refused(inputs=INPUTS[..., :1]),
        ValueError,
        "^steps: expected 2 inputs, as the embedding has 2 columns of b, got 1",
    ),
    "inputs missing": (
        lambda: refused(inputs=None),
        ValueError,
        "^steps: expected 2 inputs, as the embedding has 2 columns of b, got none: give lr.steps the inputs",
    ),
    "inputs without b": (
        lambda: refused(embedding=lr.Embedding(NETWORK.m)),
        ValueError,
        "^steps: expected no inputs, as the embedding has no columns of b, got 2",
    ),
    "no embedding": (lambda: refused(embedding=np.zeros((40, 2))), TypeError, "Embedding"),
    "rank-deficient": (
        lambda: refused(embedding=flat(2)),
        ValueError,
        "^embedding: expected m of full column rank 2",
    ),
    "zero": (
        lambda: refused(embedding=lr.Embedding(np.zeros((40, 2)), NETWORK.b, NETWORK.d)),
        ValueError,
        "^embedding: expected m of full column rank 2",
    ),
    "unknown activation": (lambda: refused(activation="swish"), ValueError, "^activation: expected one of"),
    "ridge 0": (lambda: refused(ridge=0.0), ValueError, "^ridge: expected a positive"),
    "overflow": (
        lambda: refused(1e3 * LATENTS, activation="exp", ridge=1e-3),
        FloatingPointError,
        "rates of the embedding are not finite.*check units",
    ),
    "embedding of another width": (
        lambda: refused(ridge=1e-3).conditional_mean(np.zeros((3, 4))),
        ValueError,
        "^e: expected 5 along",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case):
    call, error, words = BAD[case]
    with pytest.raises(error, match=words):
        call()


def test_rates_that_are_all_zero_are_refused():
    network, z = noisy("ring", 50, points=3)
    silent = lr.Embedding(network.m, d=np.full(50, -100.0))
    with pytest.raises(ValueError, match="^steps: expected states at which neurons have rates"):
        lr.maxent.fit(lr.steps(z, alpha=ALPHA), silent, activation="relu")
