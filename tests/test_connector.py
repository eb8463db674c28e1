"""Connector: two forms of one distribution, and whole networks from it."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

import lrcore as lr
from lrcore import connector, optimize

ALPHA = 0.1
QUICK = {"updates": 200, "batch_size": 256, "n_targets": 512, "progress": False}


@pytest.fixture
def plain(quadstable_fit) -> tuple:
    """quadstable: m and n alone."""
    return quadstable_fit


@pytest.fixture(scope="module")
def driven() -> tuple:
    """Inputs, and a bias that all neurons share: a coordinate without density."""
    rng = np.random.default_rng(0)
    m, b = rng.normal(size=(80, 2)), rng.normal(size=(80, 1))
    network = lr.LowRankNetwork(m, 1.5 * m + 0.5 * rng.normal(size=(80, 2)), b, np.full(80, 0.3), tau=0.2)
    inputs = rng.normal(size=(20, 30, 1))
    latents = network.simulate(rng.normal(size=(20, 2)), inputs, ALPHA * 0.2)
    steps = lr.steps(latents, inputs=inputs, alpha=ALPHA)
    options = {"sigma": 0.5, "tau": 0.2, "key": jr.key(1)}
    return network, steps, lr.Connector.fit(steps, network.embedding, **options, **QUICK)


@pytest.fixture(params=["plain", "driven"])
def fitted(request) -> tuple:
    return request.getfixturevalue(request.param)


def test_conditional_mean_is_the_closed_form(fitted):
    network, steps, found = fitted
    e = network.embedding
    np.testing.assert_array_equal(found.conditional_mean(e), found.maxent.conditional_mean(e))
    np.testing.assert_allclose(found.conditional_mean(e.array[3]), found.conditional_mean(e)[3], atol=1e-3)
    np.testing.assert_array_equal(found.embedding.array, e.array)
    assert found.maxent.steps.alpha == ALPHA and found.activation == "tanh"
    # The flow was trained on it: it explains nearly all of its variance.
    exact, flow = (found.conditional_mean(e, method=method) for method in ("exact", "flow"))
    assert float(jnp.mean((flow - exact) ** 2)) < 0.15 * float(exact.var())
    assert found.conditional_mean(e.array[None, :4], method="flow").shape == (1, 4, 2)


def test_samples_are_of_the_recorded_kind(fitted):
    network, _, found = fitted
    for method in ("exact", "flow"):
        drawn = found.sample(jr.key(3), 1000, method=method)
        assert drawn.n_neurons == 1000 and drawn.activation == "tanh" and drawn.tau == found.tau
        assert (drawn.b is None) == (network.b is None) and (drawn.d is None) == (network.d is None)
        if network.d is not None:
            np.testing.assert_array_equal(drawn.d, np.full(1000, 0.3, np.float32))
        columns = np.asarray(network.embedding.array, float)
        np.testing.assert_allclose(drawn.embedding.array.mean(axis=0), columns.mean(axis=0), atol=0.3)
        np.testing.assert_allclose(drawn.embedding.array.std(axis=0), columns.std(axis=0), atol=0.3)
        spread = np.asarray(drawn.n - found.conditional_mean(drawn.embedding, method=method))
        off = 0.25 * found.sigma**2
        np.testing.assert_allclose(np.cov(spread.T), found.spread @ found.spread.T, atol=off)
        assert np.cov(spread.T).trace() / 2 == pytest.approx(found.sigma**2, rel=0.15)


@pytest.mark.parametrize("n_neurons", [2, 3, 100, 1000])
@pytest.mark.parametrize("independent", [False, True], ids=["even", "independent"])
def test_any_number_of_neurons(plain, n_neurons, independent):
    found = plain[2]
    one, same, other = (found.sample(jr.key(k), n_neurons, independent=independent) for k in (0, 0, 1))
    assert one.n.shape == (n_neurons, 2) and np.isfinite(one.n).all()
    np.testing.assert_array_equal(one.n, same.n)
    assert not np.isclose(one.n, other.n).all()


def test_sigma_zero_is_the_mean_itself(fitted):
    _, _, found = fitted
    for method in ("exact", "flow"):
        drawn = found.sample(jr.key(3), 100, sigma=0.0, method=method)
        np.testing.assert_allclose(drawn.n, found.conditional_mean(drawn.embedding, method=method), atol=1e-4)


def test_even_draws_are_standard_normal_and_even():
    for n, dim in ((1, 2), (1000, 3), (4096, 2)):
        base = np.asarray(connector._base(jr.key(5), n, dim, False), float)
        assert base.shape == (n, dim) and np.isfinite(base).all()
    for column in base.T:
        # Far closer to the normal distribution than independent draws: one in a thousand is below 0.006.
        assert stats.kstest(column, "norm").statistic < 0.003
    assert abs(np.corrcoef(base.T)[0, 1]) < 0.01
    # Each point follows the distribution exactly: the first one over many keys.
    first = np.array([connector._base(jr.key(k), 4, 2, False)[0] for k in range(300)])
    assert stats.kstest(first[:, 0], "norm").pvalue > 1e-3
    single = np.asarray(connector._base(jr.key(0), 1, 1, False))
    np.testing.assert_array_equal(single, connector._base(jr.key(0), 1, 1, False))


def test_drift_is_the_expectation_over_fresh_neurons(fitted):
    network, steps, found = fitted
    z = jnp.asarray(steps.z, jnp.float32)[: 6 * 60].reshape(6, 60, 2)[:, ::20]
    u = None if network.b is None else jnp.full((*z.shape[:-1], 1), 0.4)
    mean_field = found.drift(z, u)
    assert mean_field.shape == z.shape
    e = found.sample(jr.key(9), 20_000, sigma=0.0, independent=True)
    each = jnp.tanh(e.embedding.potential(z, u))[..., None] * e.n[None, None]
    error = each.std(axis=2) / np.sqrt(20_000)
    assert (jnp.abs(mean_field - each.mean(axis=2)) < 5 * error + 2e-3).all()
    np.testing.assert_allclose(
        found.drift(z[0, 0], None if u is None else u[0, 0]), mean_field[0, 0], atol=1e-5
    )
    assert float(jnp.abs(found.drift(z, u, method="flow") - mean_field).max()) < 0.5


def test_sampled_networks_move_as_the_data(plain):
    network, _, found = plain
    z = lr.systems.grid(10, 2.0)
    size = float(jnp.sqrt(jnp.mean(network.drift(z) ** 2)))
    fresh = found.sample(jr.key(3), 1000, sigma=0.0)
    assert lr.flowfield.drift_error(fresh.drift, network.drift, z) < 0.3 * size
    together = [found.posterior(jr.key(3), n) for n in (None, 500)]
    assert together[0].n_neurons == 300 and together[1].n_neurons == 500
    np.testing.assert_array_equal(together[0].m, network.m)
    alone = found.sample(jr.key(3), 500, independent=True)
    off = [lr.flowfield.drift_error(net.drift, network.drift, z) for net in (*together, alone)]
    assert max(off[:2]) < 0.4 * off[2]


def test_log_prob_is_the_product_of_both_factors(fitted):
    network, _, found = fitted
    n = np.asarray(network.n[:20], float)
    e = found.embedding.like(network.embedding.array[:20])
    varying = e.array[:, : 2 if network.b is None else 3]
    marginal = np.asarray(found.population.log_prob(varying))
    off = n - np.asarray(found.conditional_mean(e), float)
    exact = marginal + stats.multivariate_normal(cov=found.spread @ found.spread.T).logpdf(off)
    np.testing.assert_allclose(found.log_prob(e.m, e.b, e.d, n), exact, atol=5e-3)
    white = n @ np.linalg.inv(found.spread).T
    volume = np.linalg.slogdet(found.spread)[1]
    flow = marginal + np.asarray(found.conditional_flow.log_prob(white, condition=varying)) - volume
    np.testing.assert_allclose(found.log_prob(e.m, e.b, e.d, n, method="flow"), flow, atol=5e-3)
    b, d = (None if part is None else part[None] for part in (e.b, e.d))
    assert found.log_prob(e.m[None], b, d, n[None]).shape == (1, 20)


@pytest.mark.parametrize("method", ["exact", "flow"])
def test_density_of_n_is_normalised(plain, method):
    """Over a grid of n, at one neuron; what is left is its own p(e)."""
    network, _, found = plain
    m = np.asarray(network.m[:1])
    centre = np.asarray(found.conditional_mean(m, method=method))[0]
    axis = np.linspace(-6, 6, 61) * found.sigma
    n = centre + np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    logs = found.log_prob(np.repeat(m, len(n), axis=0), None, None, n, method=method)
    cell = (axis[1] - axis[0]) ** 2
    total = float(np.exp(np.asarray(logs, float)).sum()) * cell
    assert total == pytest.approx(float(jnp.exp(found.population.log_prob(m)[0])), rel=0.03)


def test_discrepancy_reports_how_far_the_forms_are_apart(fitted):
    _, _, found = fitted
    report = found.discrepancy(jr.key(0), 400)
    assert set(report) == {"conditional_mean", "relative", "log_prob", "drift"}
    assert all(np.isfinite(list(report.values()))) and min(report.values()) >= 0
    drawn = found.sample(jr.key(0), 400).embedding
    means = [found.conditional_mean(drawn, method=method) for method in ("exact", "flow")]
    assert report["conditional_mean"] == pytest.approx(float(jnp.mean((means[0] - means[1]) ** 2)), rel=1e-4)
    assert report["relative"] < 0.3


def test_losses_go_down(plain):
    losses = plain[2].losses
    assert set(losses) == {"embedding", "embedding_validation", "conditional", "conditional_validation"}
    for name in ("embedding", "conditional"):
        assert losses[name].shape == (200,) and losses[name][-50:].mean() < losses[name][:10].mean()


@pytest.mark.slow
def test_the_same_key_gives_the_same_fit_and_a_checkpoint_resumes_it(plain, tmp_path, monkeypatch):
    network, steps, found = plain
    options = {"key": jr.key(1), "checkpoint": tmp_path / "fit", **QUICK}
    again = lr.Connector.fit(steps, network.embedding, **options)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["fit.conditional", "fit.embedding"]
    monkeypatch.setattr(optimize, "_run", None)  # nothing is left to run
    resumed = lr.Connector.fit(steps, network.embedding, **options)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_function_as_activation_is_the_same_as_its_name(plain):
    network, steps, found = plain
    options = {"activation": jnp.tanh, "key": jr.key(1), **QUICK}
    other = lr.Connector.fit(steps, network.embedding, **options)
    np.testing.assert_array_equal(other.maxent.n, found.maxent.n)


def test_it_is_a_distribution_like_any_other(fitted):
    network, _, found = fitted
    assert isinstance(found, lr.ConnectivityDistribution)
    assert (found.rank, found.n_inputs, found.bias) == (2, network.embedding.n_inputs, network.d is not None)
    assert found.width == network.embedding.width
    gauge = np.array([[2.0, 1.0], [0.0, 1.0]])
    moved = lr.gauge.transform(found, gauge)
    e, n = network.embedding, network.n
    there = lr.gauge.transform(network, gauge)
    np.testing.assert_allclose(
        moved.log_prob(there.m, there.b, there.d, there.n), found.log_prob(e.m, e.b, e.d, n), atol=5e-3
    )


def test_without_sigma_n_is_a_function_of_e(plain):
    network, steps, _ = plain
    found = lr.Connector.fit(steps, network.embedding, sigma=0.0, key=jr.key(1), **(QUICK | {"updates": 20}))
    drawn = found.sample(jr.key(0), 50)
    np.testing.assert_allclose(drawn.n, found.conditional_mean(drawn.embedding), atol=1e-4)
    with pytest.raises(ValueError, match="^sigma: expected a positive sigma"):
        found.log_prob(drawn.m, None, None, drawn.n)
    assert np.isnan(found.discrepancy(jr.key(0), 64)["log_prob"])


@pytest.mark.slow
@pytest.mark.parametrize("density", ["flow", "mixture", "gaussian"])
def test_density_of_e_is_of_the_form_that_was_asked_for(plain, density):
    network, steps, best = plain
    options = {"key": jr.key(1), "density": density, "conditional": False} | QUICK
    found = lr.Connector.fit(steps, network.embedding, **options)
    assert found.population.kind == density and not found.population.scores
    assert (found.population.flow is None) == (density != "flow")
    assert set(best.population.scores) == {"flow", "mixture", "gaussian"}
    if density != "flow":
        assert (len(found.population.weights) > 1) == (density == "mixture")
    drawn = found.sample(jr.key(0), 1000)
    np.testing.assert_allclose(np.std(drawn.m, axis=0), np.std(network.m, axis=0), rtol=0.1)
    assert set(found.losses) == ({"embedding", "embedding_validation"} if density == "flow" else set())


@pytest.mark.slow
def test_without_a_flow_of_n_the_closed_form_is_all_there_is(plain):
    network, steps, both = plain
    options = {"key": jr.key(1), "conditional": False} | QUICK
    found = lr.Connector.fit(steps, network.embedding, **options)
    assert found.conditional_flow is None and "conditional" not in found.losses
    # All else is the same.
    np.testing.assert_array_equal(found.sample(jr.key(0), 50).n, both.sample(jr.key(0), 50).n)
    np.testing.assert_array_equal(found.posterior(jr.key(0), 70).n, both.posterior(jr.key(0), 70).n)
    np.testing.assert_array_equal(found.drift(steps.z[:3]), both.drift(steps.z[:3]))
    words = "^method: expected 'exact', as the fit has conditional=False and so no flow, got 'flow'"
    for call in (
        lambda: found.sample(jr.key(0), 10, method="flow"),
        lambda: found.conditional_mean(network.embedding, method="flow"),
        lambda: found.drift(steps.z[:3], method="flow"),
        lambda: found.log_prob(network.m, None, None, network.n, method="flow"),
        lambda: found.discrepancy(jr.key(0), 64),
    ):
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.slow
def test_spread_is_measured_or_given(plain):
    network, steps, found = plain
    np.testing.assert_array_equal(found.spread, found.maxent.spread)
    assert found.sigma == pytest.approx(found.maxent.deviation)
    options = {"key": jr.key(1), "conditional": False, "density": "gaussian"} | QUICK
    given = lr.Connector.fit(steps, network.embedding, sigma=1.0, **options)
    np.testing.assert_array_equal(given.spread, np.eye(2))
    assert given.sigma == 1.0
    # Of latents ten times as large, n is, and its spread with it.
    gauge = 10 * np.eye(2)
    moved = lr.Connector.fit(
        lr.gauge.transform(steps, gauge), lr.gauge.transform(network.embedding, gauge), **options
    )
    assert moved.sigma == pytest.approx(10 * found.sigma, rel=0.1)
    drawn = moved.sample(jr.key(0), 2000)
    off = np.asarray(drawn.n - moved.conditional_mean(drawn.embedding))
    np.testing.assert_allclose(np.cov(off.T), 100 * found.spread @ found.spread.T, atol=25 * found.sigma**2)


def refused(embedding=None, trials=slice(None), inputs=None, **options):
    rng = np.random.default_rng(3)
    m, latents = rng.normal(size=(30, 2)), rng.normal(size=(5, 10, 2))
    embedding = lr.Embedding(m) if embedding is None else embedding(m)
    steps = lr.steps(latents[trials], inputs=inputs, alpha=ALPHA)
    return lr.Connector.fit(steps, embedding, **({"key": jr.key(0)} | QUICK | options))


BAD = {
    "constant m": (
        lambda: refused(lambda m: lr.Embedding(m * [1, 0] + [0, 2])),
        r"^embedding: expected every column of m to vary among the neurons, got constant ones at \[1\]",
    ),
    "b that follows from m": (
        lambda: refused(lambda m: lr.Embedding(m, m[:, :1] - m[:, 1:]), inputs=np.zeros((5, 10, 1))),
        "^embedding: expected linearly independent columns.*got 3 columns of rank 2 among 30",
    ),
    "d that follows from m": (
        lambda: refused(lambda m: lr.Embedding(m, d=2 * m[:, 0])),
        "^embedding: expected linearly indep",
    ),
    "few neurons": (lambda: refused(lambda m: lr.Embedding(m[:2])), "^embedding: expected"),
    "neurons for no flow": (
        lambda: refused(lambda m: lr.Embedding(m[:6]), density="flow"),
        "^samples: expected at least 10",
    ),
    "density": (
        lambda: refused(density="kde"),
        "^density: expected 'best', 'heavy', 'flow', 'mixture' or 'gaussian', got 'kde'",
    ),
    "no b beside inputs": (lambda: refused(inputs=np.ones((5, 10, 1))), "^steps: expected no inputs"),
    "negative sigma": (lambda: refused(sigma=-1.0), "^sigma: expected a non-negative"),
    "tau": (lambda: refused(tau=0.0), "^tau: expected a positive"),
    "unknown activation": (lambda: refused(activation="swish"), "^activation: expected one of"),
}


@pytest.mark.filterwarnings("ignore:maxent. the drift of new neurons")
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        call()
    assert not list(tmp_path.iterdir())


def test_bad_questions_are_refused(plain):
    found = plain[2]
    with pytest.raises(ValueError, match="^method: expected 'exact' or 'flow', got 'both'"):
        found.conditional_mean(found.embedding, method="both")
    with pytest.raises(ValueError, match="^method: expected"):
        found.sample(jr.key(0), 10, method="both")
    with pytest.raises(ValueError, match="^n_neurons: expected at least 2, got 1"):
        found.sample(jr.key(0), 1)
    with pytest.raises(ValueError, match="^e: expected 2 along the axis 'embedding'"):
        found.conditional_mean(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="^z: expected 2 along"):
        found.drift(np.zeros((4, 3)))


def test_what_a_jit_cannot_compute_is_refused(quadstable_fit):
    """In single precision the weights would cancel: a drawn network has a drift that can be traced."""
    network, _, found = quadstable_fit
    with pytest.raises(TypeError, match=r"^drift: expected numbers, .* model.sample\(key, 8192, sigma=0.0\)"):
        lr.flowfield.fixed_points(found.drift, lr.systems.grid(3))
    drawn = found.sample(jr.key(0), 500, sigma=0.0)
    assert len(lr.flowfield.fixed_points(drawn.drift, lr.systems.grid(5)).points)
    with pytest.raises(
        ValueError, match=r"^n: expected one for each embedding, leading axes \(4,\), got \(6,\)"
    ):
        found.log_prob(network.m[:4], None, None, network.n[:6])
