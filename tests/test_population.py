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


@pytest.mark.slow
def test_clusters_get_more_than_a_gaussian():
    m, fresh = (np.asarray(lr.systems.quadstable().sample(jr.key(k), 1000).m) for k in (0, 1))
    found, gaussian = fit(m), fit(m, kind="gaussian")
    assert found.kind in ("mixture", "flow") and found.scores["mixture"] > found.scores["gaussian"] + 0.1
    assert nats(found, fresh) > nats(gaussian, fresh) + 0.1


@pytest.mark.slow
def test_skewed_neurons_get_a_flow():
    x, fresh = np.split(np.random.default_rng(0).exponential(size=(2000, 2)), 2)
    found, record = population.fit(x, key=jr.key(0), **(QUICK | {"updates": 800}))
    assert found.kind == "flow" and found.flow is not None and record is not None
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


def test_bad_input_is_refused():
    x = two_clusters(60)
    with pytest.raises(
        ValueError, match="^kind: expected 'best', 'flow', 'mixture' or 'gaussian', got 'kde'"
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
    with pytest.raises(ValueError, match="^samples: expected linearly independent .* among 2 neurons"):
        fit(x[:2], kind="gaussian")
    assert jnp.isfinite(found.log_prob(x)).all()
