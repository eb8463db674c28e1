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
from lrcore import gauge, maxent
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
    assert np.linalg.norm(found.n - expected) < 1e-5 * np.linalg.norm(expected)
    np.testing.assert_allclose(x @ found.n / n, x @ expected / n, atol=1e-7)
    assert found.ridge == ridge and len(found.ridges) == 0


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
    np.testing.assert_allclose(found.weights, (y - x @ found.n / 40) / (1e-4 * 40), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("ridge", [1e-3, 1e-7, None], ids=["strong", "weak", "chosen"])
def test_representer_at_the_fitted_neurons_is_the_solution(driven, ridge):
    network, z, u, options = driven
    found = fit(z, network.embedding, inputs=u, **options, ridge=ridge)
    scale = np.abs(found.n).max()
    np.testing.assert_allclose(found.conditional_mean(network.embedding), found.n, atol=1e-4 * scale)
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


def test_blocks_of_time_change_nothing(driven, monkeypatch):
    network, z, u, options = driven
    one = fit(z, network.embedding, inputs=u, **options)
    monkeypatch.setattr(maxent, "_BLOCK", 7)
    other = fit(z, network.embedding, inputs=u, **options)
    assert one.ridge == pytest.approx(other.ridge)
    np.testing.assert_allclose(one.n, other.n, rtol=1e-4, atol=1e-5)
    e = network.embedding
    np.testing.assert_allclose(one.conditional_mean(e), other.conditional_mean(e), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ridge", [1e-5, None], ids=["given", "chosen"])
def test_twice_the_neurons_are_the_same_function(driven, ridge):
    """rho N is what counts: with every neuron twice, half the ridge gives the same function of e."""
    network, z, u, options = driven
    e = network.embedding
    twice = e.like(jnp.concatenate([e.array, e.array]))
    one = fit(z, e, inputs=u, **options, ridge=ridge)
    other = fit(z, twice, inputs=u, **options, ridge=ridge and ridge / 2)
    assert other.ridge * 2 == pytest.approx(one.ridge, rel=1e-6)
    at = np.random.default_rng(5).normal(size=(50, 5))
    expected = np.asarray(one.conditional_mean(at))
    np.testing.assert_allclose(other.conditional_mean(at), expected, atol=1e-3 * np.abs(expected).max())


def test_order_of_trials_and_of_neurons_does_not_matter(driven):
    network, z, u, options = driven
    rng = np.random.default_rng(0)
    trials, neurons = rng.permutation(len(z)), rng.permutation(network.n_neurons)
    one = fit(z, network.embedding, inputs=u, **options, ridge=1e-5)
    shuffled = network.embedding.like(network.embedding.array[neurons])
    other = fit(z[trials], shuffled, inputs=u[trials], **options, ridge=1e-5)
    np.testing.assert_allclose(other.n, one.n[neurons], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ridge", [1e-5, None], ids=["given", "chosen"])
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
def test_chosen_ridge_is_nearly_the_best(system, noise):
    network, z = noisy(system, 300 if noise else 500, noise=noise, points=14, steps=80, key=3)
    g = lr.systems.SYSTEMS[system]().conditional_mean(network.embedding)

    chosen = fit(z, network.embedding)
    # The whole path at once, by the eigenvectors of the dual problem.
    n, here = network.n_neurons, z[:, :-1].reshape(-1, 2).astype(float)
    y = (z[:, 1:].reshape(-1, 2) - (1 - ALPHA) * here) / ALPHA
    x = features(network, here, None, "tanh")
    values, vectors = np.linalg.eigh(x.T @ x)
    turned = vectors.T @ (x.T @ y)
    on_path = [n * vectors @ (turned / (values + ridge * n**2)[:, None]) for ridge in chosen.ridges[8:]]
    best = min(float(np.mean((solution - g) ** 2)) for solution in on_path)
    error = float(np.mean((chosen.n - g) ** 2))
    print(f"{system} {noise}: {error:.4f} at {chosen.ridge:.2g}, best {best:.4f}")
    assert error < 2 * best
    # The choice lies inside the path, and the records say how it was made.
    assert chosen.ridges[0] < chosen.ridge < chosen.ridges[-1]
    at = list(chosen.ridges).index(chosen.ridge)
    assert chosen.held_out[at] - chosen.held_out.min() <= chosen.accepted[at]


def test_held_out_error_is_the_one_of_leaving_trials_out(driven):
    """Each fold once more by its own fit; the folds are those of the documented seed."""
    network, z, u, options = driven
    found = fit(z, network.embedding, inputs=u, **options, folds=3)
    fold = np.random.default_rng(0).permutation(6) % 3
    at = 30
    errors = []
    for k in range(3):
        kept = fold != k
        rest = fit(z[kept], network.embedding, inputs=u[kept], **options, ridge=found.ridges[at])
        here = z[fold == k, :-1].astype(float)
        y = (z[fold == k, 1:] - (1 - ALPHA) * here) / ALPHA
        fitted = features(network, here, u[fold == k], "softplus") @ rest.n / 40
        errors.append(((y - fitted) ** 2).mean(axis=(1, 2)))
    assert found.held_out[at] == pytest.approx(np.concatenate(errors).mean(), rel=1e-3)


def test_tolerance_prefers_less_structure(driven):
    network, z, u, options = driven
    ridges = [fit(z, network.embedding, inputs=u, **options, tolerance=t).ridge for t in (0.0, 1e-3, 1e-1)]
    assert ridges == sorted(ridges) and ridges[0] < ridges[-1]


def test_posterior_has_the_formulas_mean_and_covariance():
    """Whitened by the root of the formula's covariance, draws are standard normal."""
    network, z = noisy("ring", 8, points=4, steps=20)
    found = fit(z, network.embedding, ridge=1e-3)
    x = features(network, found.steps.z, None, "tanh")
    sigma, n, draws = 0.7, 8, 300
    covariance = sigma**2 * np.linalg.inv(np.eye(n) + x.T @ x / (1e-3 * n**2))
    drawn = np.stack([found.posterior(jr.key(i), sigma=sigma).n for i in range(draws)]).astype(float)
    root = np.linalg.cholesky(covariance)
    white = np.concatenate(
        [np.linalg.solve(root, (drawn[..., r] - found.n[:, r]).T) for r in range(2)], axis=1
    )
    # 600 draws of 8 numbers: means within 4 / sqrt(600), covariances likewise.
    np.testing.assert_allclose(white.mean(axis=1), 0, atol=0.17)
    np.testing.assert_allclose(np.cov(white), np.eye(n), atol=0.25)
    np.testing.assert_allclose(found.posterior(jr.key(0), sigma=0.0).n, found.n, atol=1e-4)


def test_posterior_networks_move_as_the_data_and_independent_draws_do_not():
    network, z = noisy("limit cycle", 200, points=8)
    found = fit(z, network.embedding)
    states = lr.systems.grid(12, 2.0)

    def off(other):
        return lr.flowfield.drift_error(other.drift, network.drift, states)

    posterior = [found.posterior(jr.key(i)) for i in range(3)]
    independent = [
        lr.LowRankNetwork(network.m, found.n + jr.normal(jr.key(i), found.n.shape)) for i in range(3)
    ]
    assert max(map(off, posterior)) < 0.3 * min(map(off, independent))
    # It is spread as widely where the dynamics do not look: n itself is nearly as uncertain as before. The
    # spread is that of the covariance (400 numbers: 3 standard errors are 0.11); most directions are free.
    x = np.tanh(found.steps.z @ np.asarray(network.m, float).T)
    variance = 1 / (1 + np.linalg.eigvalsh(x.T @ x) / (found.ridge * 200**2))
    np.testing.assert_allclose(np.std(posterior[0].n - found.n), np.sqrt(variance.mean()), rtol=0.11)
    assert variance.mean() > 0.7
    # The same for other neurons, of another number.
    fresh = lr.systems.limit_cycle().sample(jr.key(9), 500).embedding
    other = found.posterior(jr.key(1), embedding=fresh, tau=0.3)
    assert other.n_neurons == 500 and other.tau == 0.3
    assert off(other) < 0.5 * min(map(off, independent))


def test_single_trial_with_a_given_ridge():
    network, z = noisy("ring", 50, points=2)
    one = fit(z[0], network.embedding, ridge=1e-4)
    np.testing.assert_array_equal(one.n, fit(z[:1], network.embedding, ridge=1e-4).n)


def test_global_precision_stays(driven):
    network, z, u, options = driven
    found = fit(z, network.embedding, inputs=u, **options)
    assert found.n.dtype == np.float64 and found.conditional_mean(network.embedding).dtype == jnp.float32
    assert jnp.zeros(1).dtype == jnp.float32 and not jax.config.jax_enable_x64
    assert callable(resolve(found.activation))


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
    "one trial": (
        lambda: refused(LATENTS[:1], inputs=INPUTS[:1]),
        ValueError,
        "^steps: expected at least two trials.*give `ridge`, or cut",
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
    "one fold": (lambda: refused(folds=1), ValueError, "^folds: expected at least 2"),
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
