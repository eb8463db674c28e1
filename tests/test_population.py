"""p(e): the form that is chosen, how far it is from the truth, and that it is a density."""

import pickle

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

import lrcore as lr
from lrcore import population

QUICK = {"updates": 300, "batch_size": 256, "progress": False}
GAUSSIAN = stats.multivariate_normal([1.0, -1.0], [[1.0, 0.5], [0.5, 2.0]])


def two_clusters(n=200, dim=2, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dim)) + np.eye(dim)[0] * 5 * rng.integers(0, 2, (n, 1))


def fit(x, **options) -> population.Population:
    return population.fit(x, key=jr.key(0), **(QUICK | options))[0]


def nats(found, x) -> float:
    return float(found.log_prob(x).mean())


@pytest.mark.slow
@pytest.mark.parametrize("n", [20, 200])
def test_gaussian_neurons_get_no_more_than_a_gaussian(n):
    """Mean divergence from the truth over draws: a flow's would be several times that of a Gaussian."""
    fresh = GAUSSIAN.rvs(4000, random_state=99)
    best, gaussian = [], []
    for seed in range(3):
        x = GAUSSIAN.rvs(n, random_state=seed)
        for into, kind in ((best, "best"), (gaussian, "gaussian")):
            into.append(GAUSSIAN.logpdf(fresh).mean() - nats(fit(x, kind=kind), fresh))
    print(f"{n}: {np.mean(best):.4f}, Gaussian {np.mean(gaussian):.4f}")
    assert np.mean(best) < 1.2 * np.mean(gaussian)


def laws(name: str, dim: int):
    """Samples (n, dim) with a generator, and their log-density."""
    if name == "quadstable":
        p = lr.systems.quadstable()
        return lambda n, rng: np.asarray(p.sample(jr.key(rng.integers(1000)), n).m), p.embedding_log_prob
    if name == "two":
        means, cov = np.zeros((2, dim)), np.eye(dim)
        means[1, 0] = 4
        parts = [stats.multivariate_normal(mean, cov) for mean in means]
        return (
            lambda n, rng: rng.normal(size=(n, dim)) + means[rng.integers(2, size=n)],
            lambda x: np.logaddexp(*(part.logpdf(x) for part in parts)) - np.log(2),
        )
    if name == "student":
        law = stats.multivariate_t(np.zeros(dim), np.eye(dim), df=4)
    else:
        law = stats.multivariate_normal(np.zeros(dim), 0.5 + 0.5 * np.eye(dim))
    return lambda n, rng: law.rvs(n, random_state=rng), law.logpdf


@pytest.mark.slow
def test_the_kept_density_is_near_the_best_of_the_three():
    """Over cases, in divergence from the truth; the noise of the choice shows in single ones."""
    ratios = []
    for n, dim, law in (
        (20, 2, "gaussian"),
        (50, 5, "gaussian"),
        (200, 5, "gaussian"),
        (1000, 3, "gaussian"),
        (200, 2, "quadstable"),
        (1000, 2, "quadstable"),
        (200, 3, "two"),
        (500, 2, "student"),
    ):
        rng = np.random.default_rng(n + dim)
        sample, truth = laws(law, dim)
        x, fresh = sample(n, rng), sample(2000, rng)
        fits = {kind: fit(x, kind=kind) for kind in (*population.KINDS, "best")}
        off = {kind: float(np.mean(truth(fresh))) - nats(found, fresh) for kind, found in fits.items()}
        best = min(off[kind] for kind in population.KINDS)
        ratios.append(off["best"] / best)
        print(f"{n} {dim} {law}: {fits['best'].kind}, {off['best']:.4f} where the best is {best:.4f}")
        # The choice keeps what was asked for by name.
        assert nats(fits["best"], fresh) == pytest.approx(nats(fits[fits["best"].kind], fresh), abs=1e-5)
    assert np.mean(np.array(ratios) <= 1.2) >= 0.85, ratios


@pytest.mark.slow
def test_clusters_get_more_than_a_gaussian():
    m, fresh = (np.asarray(lr.systems.quadstable().sample(jr.key(k), 1000).m) for k in (0, 1))
    found, gaussian = fit(m), fit(m, kind="gaussian")
    assert found.kind in ("mixture", "flow") and found.scores["mixture"] > found.scores["gaussian"] + 0.1
    assert nats(found, fresh) > nats(gaussian, fresh) + 0.1


@pytest.mark.slow
def test_skewed_neurons_get_a_flow():
    """In plain coordinates, or in those of the tails, which take up the skew: whichever predicts better."""
    x, fresh = np.split(np.random.default_rng(0).exponential(size=(2000, 2)), 2)
    found, record = population.fit(x, key=jr.key(0), **(QUICK | {"updates": 800, "batch_size": 2048}))
    assert found.kind in ("flow", "heavy") and found.flow is not None and record is not None
    assert found.scores[found.kind] >= max(found.scores.values()) - 0.01
    assert found.scores["flow"] > max(found.scores["mixture"], found.scores["gaussian"])
    assert nats(found, fresh) > nats(fit(x, kind="mixture"), fresh)


@pytest.mark.slow
@pytest.mark.parametrize("kind", population.KINDS)
def test_densities_integrate_to_one_and_are_those_of_the_samples(kind):
    x = two_clusters(dim=1)
    found = fit(x, kind=kind)
    assert found.kind == kind and found.dim == 1
    axis = np.linspace(-15, 20, 4001)
    density = np.exp(np.asarray(found.log_prob(axis[:, None]), float))
    assert density.sum() * (axis[1] - axis[0]) == pytest.approx(1, abs=2e-3)
    # The distribution function of the density, at samples, is uniform.
    base = stats.norm.ppf(lr.distributions.sobol(np.random.default_rng(0), 1024, 2))
    at = np.sort(np.asarray(found.push(base))[:, 0])
    below = np.interp(at, axis, np.cumsum(density) * (axis[1] - axis[0]))
    assert np.abs(below - (np.arange(1024) + 0.5) / 1024).max() < 0.02


def test_even_points_fill_the_components():
    """Of 4,096 evenly spread base points each component gets its share, far closer than by chance."""
    x = two_clusters(600)
    found = fit(x, kind="mixture")
    assert len(found.weights) == 2
    base = stats.norm.ppf(lr.distributions.sobol(np.random.default_rng(0), 4096, 3))
    drawn = np.asarray(found.push(base), float)
    low = found.weights[np.argmin(found.means[:, 0] * np.asarray(found.root)[0, 0])]
    assert np.mean(drawn[:, 0] < 2.5) == pytest.approx(float(low), abs=0.01)
    np.testing.assert_allclose(drawn.mean(axis=0), x.mean(axis=0), atol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(x.T), atol=0.05 * np.cov(x.T).max())


@pytest.mark.parametrize("kind", ["mixture", "gaussian"])
def test_units_do_not_matter(kind):
    x = two_clusters()
    a, shift = np.array([[100.0, 0.0], [30.0, 0.01]]), np.array([7.0, -3.0])
    found, moved = fit(x, kind=kind), fit(x @ a.T + shift, kind=kind)
    assert len(found.weights) == len(moved.weights)
    volume = np.linalg.slogdet(a)[1]
    np.testing.assert_allclose(moved.log_prob(x @ a.T + shift), found.log_prob(x) - volume, atol=0.02)


def test_a_gaussian_is_that_of_mean_and_covariance():
    x = GAUSSIAN.rvs(50, random_state=0)
    found = fit(x, kind="gaussian")
    # Of the whitened neurons a maximum-likelihood fit, whose diagonal is held up by 1e-4.
    truth = stats.multivariate_normal(x.mean(axis=0), np.cov(x.T, bias=True))
    np.testing.assert_allclose(found.log_prob(x), truth.logpdf(x), atol=2e-3)


def test_components_have_neurons_of_their_own():
    assert len(fit(two_clusters(25), kind="mixture").weights) == 1
    assert len(fit(two_clusters(100), kind="mixture").weights) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", population.KINDS)
def test_it_comes_back_from_a_file(kind, tmp_path):
    x = two_clusters(60)
    found = fit(x, kind=kind, updates=20)
    lr.save(tmp_path / "found", found)
    for back in (lr.load(tmp_path / "found"), pickle.loads(pickle.dumps(found))):
        assert jax.tree.structure(back) == jax.tree.structure(found) and repr(back) == repr(found)
        np.testing.assert_array_equal(back.log_prob(x), found.log_prob(x))
        base = np.random.default_rng(0).normal(size=(9, 3))
        np.testing.assert_array_equal(back.push(base), found.push(base))


@pytest.mark.slow
def test_what_was_tried_is_said():
    x = two_clusters(100)
    found = fit(x, updates=50)
    assert set(found.scores) == {"gaussian", "mixture", "flow"}
    assert repr(found).startswith("Population: mixture of 2 components in 2 coordinates; nats of a left-out")
    assert "gaussian" in repr(found) and not fit(x, kind="gaussian").scores
    # The same key chooses the same neurons.
    np.testing.assert_array_equal(found.log_prob(x), fit(x, updates=50).log_prob(x))


def test_few_neurons_get_a_gaussian_and_a_warning():
    x = two_clusters(9)
    with pytest.warns(UserWarning, match="^samples: expected at least 10 neurons of 2 .*got 9: p.e. is one"):
        found = fit(x)
    assert found.kind == "gaussian" and not found.scores
    with pytest.warns(UserWarning, match="^samples: expected at least 14 neurons of 7 coordinates"):
        fit(np.random.default_rng(0).normal(size=(13, 7)))
    with pytest.raises(ValueError, match="^samples: expected at least 10 for a flow of 2 coordinates, got 9"):
        fit(x, kind="flow")


@pytest.mark.slow
def test_the_choice_is_the_same_in_any_unit():
    x = two_clusters(80).astype(np.float32)
    found = [fit(np.float32(unit) * x, updates=50) for unit in (1, 1e-3, 1e3)]
    assert len({one.kind for one in found}) == 1
    for unit, one in zip((1, 1e-3, 1e3), found, strict=True):
        for name, nats_there in one.scores.items():
            assert nats_there + 2 * np.log(unit) == pytest.approx(found[0].scores[name], abs=0.02)


ARTEFACTS = {
    "one": ({2000: 1e4}, r"got 10000 in column 1 of row 2000, while all others are within \d\.\d+ of"),
    "of few": ({20: -1e3}, "got -1000 in column 1 of row 20, while"),
    "one of nine": ({8: 1e3}, "got 1000 in column 1 of row 8, while"),
    "a pair": ({30: 1e4, 61: 1e4}, r"got 10000 in column 1 of row (30, 61|61, 30), while .*drop those"),
    "two": ({500: 1e6, 0: 2e6}, r"got 2e\+06 in column 1 of row 0, 500, while"),
}


@pytest.mark.parametrize("kind", ["best", *population.KINDS])
@pytest.mark.parametrize("case", ARTEFACTS)
def test_artefacts_are_named(case, kind):
    values, words = ARTEFACTS[case]
    x = np.random.default_rng(0).normal(size=(max(values) + 1, 2))
    for row, value in values.items():
        x[row, 1] = value
    with pytest.raises(ValueError, match=f"^samples: expected neurons of one scale, {words}"):
        fit(x, kind=kind)


@pytest.mark.parametrize("n", [12, 20, 50, 200, 1000, 5000])
def test_heavy_tails_are_no_artefacts(n):
    for seed in range(100):
        rng = np.random.default_rng(seed)
        for x in (
            rng.standard_t(2, (n, 2)),
            rng.standard_t(3, (n, 5)),
            rng.lognormal(size=(n, 2)),
            rng.laplace(size=(n, 5)),
            rng.exponential(size=(n, 2)),
            rng.normal(size=(n, 2)) * np.where(rng.random((n, 1)) < 0.05, 10, 1),
            rng.normal(size=(n, 2)) + 30 * (np.arange(n)[:, None] == 0),
            # Inputs that few neurons see.
            rng.normal(size=(n, 2)) * (np.arange(n)[:, None] < max(n // 100, 3)),
            np.ones((n, 2)),
        ):
            population.together("x", x)


def test_a_second_kind_of_neuron_needs_more_than_one_in_fifty():
    x = np.random.default_rng(0).normal(size=(200, 2))
    x[:6] += 1000
    population.together("x", x)
    with pytest.raises(ValueError, match="of a second kind of neuron more are needed$"):
        population.together("x", x[4:])


@pytest.mark.parametrize("kind", ["best", *population.KINDS])
def test_options_are_checked_for_every_kind(kind):
    x = two_clusters(60)
    for option, value in (
        ("batch_size", 0),
        ("updates", 0),
        ("width", 0),
        ("depth", 0),
        ("learning_rate", -1.0),
        ("held_out", 1.0),
        ("held_out", 0.0),
        ("noise", -0.1),
        ("margin", np.nan),
        ("patience", -1),
        ("chunk", 0),
    ):
        with pytest.raises(ValueError, match=f"^{option}: expected"):
            fit(x, kind=kind, **{option: value})
    with pytest.raises(TypeError, match="widht"):
        fit(x, kind=kind, widht=3)
    for copies in (x[:, [0, 1, 0]], (1000 + x[:, [0, 1, 1]]).astype(np.float32)):
        with pytest.raises(ValueError, match="^samples: expected linearly independent .* 3 of rank 2"):
            fit(copies, kind=kind)


def test_bad_input_is_refused():
    x = two_clusters(60)
    with pytest.raises(
        ValueError, match="^kind: expected 'best', 'heavy', 'flow', 'mixture' or 'gaussian', got 'kde'"
    ):
        fit(x, kind="kde")
    with pytest.raises(ValueError, match="^samples: "):
        fit(x[:, 0])
    with pytest.raises(ValueError, match="^samples: "):
        fit(np.where(x > 4, np.nan, x))
    found = fit(x, kind="gaussian")
    with pytest.raises(ValueError, match="^x: expected 2 along"):
        found.log_prob(np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"^base: expected 3 along the axis 'dim \+ 1'"):
        found.push(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="^samples: expected linearly independent"):
        fit(np.concatenate([x, x[:, :1]], axis=1), kind="gaussian")
    with pytest.raises(ValueError, match="^samples: .* got 2 of rank 1 among 60 neurons: drop"):
        fit(x * [1, 0] + [0, 3], kind="mixture")
    for n in (0, 1, 2):
        with pytest.raises(
            ValueError, match=f"^samples: expected more .* at least 3 of 2, got {n}: give more"
        ):
            fit(x[:n], kind="gaussian")
    with pytest.raises(ValueError, match="^samples: expected at least one coordinate, got shape .60, 0."):
        fit(x[:, :0])
    for unit in (1e200, 1e-200):
        with pytest.raises(ValueError, match="^samples: expected coordinates between .* take another unit"):
            fit(unit * x, kind="gaussian")
    assert jnp.isfinite(found.log_prob(x)).all()
