"""Tails of weights: indices against known laws, coordinates against scipy's, and what dynamics require."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

import lrcore as lr
from lrcore import population, systems, tails

GRID = systems.grid(7)
QUICK = {"updates": 300, "batch_size": 256, "progress": False}


def student(seed: int, n: int = 2000, dim: int = 1, df: float = 3.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(df, (n, dim))


@pytest.mark.parametrize("df", [1.5, 3.0, 6.0])
def test_degrees_are_those_of_the_law(df):
    found = [tails.fit(student(seed, df=df)).index() for seed in range(20)]
    index = np.concatenate([one.index.ravel() for one in found])
    assert np.median(index) == pytest.approx(df, rel=0.12)
    held = np.mean([(one.low < df) & (df < one.high) for one in found])
    assert held >= 0.85


def test_degrees_are_those_that_scipy_finds():
    """With the median as location and one scale for both sides of a symmetrical sample."""
    x = np.abs(student(0, 4000))
    x = np.concatenate([x, -x])
    found = tails.fit(x)
    df, _, scale = stats.t.fit(x[:, 0], floc=0)
    np.testing.assert_allclose(found.degrees[:, 0], df, rtol=0.01)
    np.testing.assert_allclose(found.scale[:, 0], scale, rtol=0.01)


def test_standard_errors_are_the_spread_over_samples():
    found = [tails.fit(student(seed, 1000)) for seed in range(40)]
    shape, error = (np.array([getattr(one, part)[:, 0] for one in found]) for part in ("shape", "error"))
    assert shape.std() == pytest.approx(error.mean(), rel=0.25)


def test_hill_is_exact_for_pareto():
    """Of mirrored Pareto numbers, whose median is 0, the interval holds the index as often as it says."""
    held = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x = np.tile([-1, 1], 250)[:, None] * (1 + rng.pareto(2.5, (500, 1)))
        found = tails.tail_index(x, share=0.1)
        held.append(found.low < 2.5 < found.high)
    assert 0.9 <= np.mean(held) <= 0.99


def test_light_tails_are_not_heavy():
    rng = np.random.default_rng(0)
    for n in (30, 200, 2000):
        x = rng.normal(size=(n, 2))
        assert not tails.fit(x).heavy and not tails.fit(x + 6 * rng.integers(0, 2, (n, 1))).heavy
    assert tails.fit(student(0, 500)).heavy and tails.fit(rng.lognormal(size=(500, 1))).heavy


@pytest.fixture(scope="module")
def two_sided() -> tails.Tails:
    parts = [[1.0, -2.0], [[0.5, 2.0], [1.0, 3.0]], [[1 / 3, 1 / 30], [0.5, 0.05]], np.zeros((2, 2))]
    return tails.Tails(*(jnp.asarray(part, jnp.float32) for part in parts))


def test_coordinates_are_scipys(two_sided):
    y = np.linspace(-6, 6, 241)[:, None] * np.ones(2)
    x = np.asarray(two_sided.forward(y), float)
    for column in range(2):
        side = (y[:, column] > 0).astype(int)
        nu, scale = (np.asarray(part, float)[side, column] for part in (two_sided.degrees, two_sided.scale))
        size = np.abs(y[:, column])
        away = np.where(nu < 29, -stats.t(nu).ppf(stats.norm.cdf(-size)), size)
        expected = scale * np.sign(y[:, column]) * away
        centre = float(two_sided.centre[column])
        np.testing.assert_allclose(x[:, column] - centre, expected, rtol=2e-4, atol=1e-5)
    back, _ = two_sided.inverse(x)
    np.testing.assert_allclose(back, y, atol=2e-4)


def test_slopes_are_the_derivatives(two_sided):
    x = np.array([[-40.0, 3.0], [0.3, -2.5], [9.0, 30.0], [1.4, -9.0]])
    _, slope = two_sided.inverse(x)
    up, down = (np.asarray(two_sided.inverse(x + step)[0], float) for step in (1e-2, -1e-2))
    np.testing.assert_allclose(slope, np.log((up - down) / 2e-2).sum(axis=1), atol=5e-3)


def test_a_wider_gaussian_has_a_heavier_tail(two_sided):
    """The index is that of the coordinate over the variance of its Gaussian tail."""
    y = np.array([[5.0, 5.0], [5.5, 5.5]])
    for a in (0.8, 1.0, 1.2):
        x = np.abs(np.asarray(two_sided.forward(a * y), float) - np.asarray(two_sided.centre))[:, 0]
        log_s = stats.norm.logsf(y[:, 0])
        local = -np.diff(log_s) / np.diff(np.log(x))
        assert local[0] == pytest.approx(2 / a**2, rel=0.1)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="^samples: expected at least 20 to tell tails by, got 12"):
        tails.fit(np.zeros((12, 2)))
    with pytest.raises(ValueError, match="^samples: expected coordinates that vary"):
        tails.fit(np.ones((30, 1)))
    with pytest.raises(ValueError, match="^share: expected at least ten samples in the tail, got 5 of 100"):
        tails.tail_index(student(0, 100))
    with pytest.raises(ValueError, match="^where: expected 'both' or 'n', got 'm'"):
        systems.heavy_tailed("m")
    with pytest.raises(ValueError, match="^law: expected 'student' or 'log-normal', got 'cauchy'"):
        systems.heavy_tailed(law="cauchy")
    with pytest.raises(ValueError, match="^shape: expected degrees of freedom above 2 and up to 60, got 2$"):
        systems.heavy_tailed(shape=2)
    few = systems.bistable().sample(jr.key(0), 4)
    with pytest.raises(ValueError, match="^network: expected more neurons than weights of a neuron, 4"):
        tails.required(few, GRID)
    same = lr.LowRankNetwork(few.m, few.m)
    with pytest.raises(ValueError, match="^network: expected"):
        tails.required(same, GRID)


def test_most_at_the_median_have_no_side_to_fit():
    x = np.where(np.arange(200)[:, None] % 20 == 0, student(0, 200), 0.0)
    found = tails.fit(x)
    assert not found.heavy and np.isfinite(found.inverse(x)[0]).all()


# --- what dynamics require


def test_required_tails_are_told_from_those_that_are_not():
    """Ten draws of each law: the two do not overlap, and lie on the two sides of 1."""
    for law, least in (("student", 3.0), ("log-normal", 2.0)):
        ratios = {
            where: [
                tails.required(systems.heavy_tailed(where, law).sample(jr.key(k), 2000), GRID).ratio
                for k in range(10)
            ]
            for where in ("both", "n")
        }
        print(law, {where: np.round([min(r), np.median(r), max(r)], 2) for where, r in ratios.items()})
        assert min(ratios["both"]) > least and max(ratios["n"]) < 1


def test_a_gaussian_law_requires_no_tails():
    found = tails.required(systems.bistable().sample(jr.key(0), 1000), GRID)
    assert found.ratio < 1 and found.ratio == pytest.approx(found.difference / found.floor)


def test_the_floor_is_the_spread_of_drifts_over_draws():
    p = systems.bistable()
    drifts = np.array([p.sample(jr.key(k), 300).drift(GRID) for k in range(40)], float)
    spread = np.sqrt(drifts.var(axis=0, ddof=1).mean())
    assert tails.required(p.sample(jr.key(99), 300), GRID).floor == pytest.approx(spread, rel=0.15)


# --- in the choice of p(e)


@pytest.mark.slow
def test_the_tail_of_neurons_is_recovered_and_a_gaussian_base_has_none():
    """Median of five draws of 2,000 neurons: index within 20 %, outer quantiles within 15 %; with the
    Gaussian base the index is off by more than 50 %.
    """
    from scipy.special import ndtri

    base = ndtri(np.clip(lr.distributions.sobol(np.random.default_rng(0), 32768, 2), 1e-9, 1 - 1e-9))
    index, quantile = {"heavy": [], "flow": []}, []
    for seed in range(5):
        x = student(seed)
        for kind, found in index.items():
            p = population.fit(x, key=jr.key(seed), kind=kind, **QUICK)[0]
            drawn = np.asarray(p.push(base), float)
            found.append(tails.tail_index(drawn, share=0.002).index[0])
            if kind == "heavy":
                quantile.append(np.quantile(drawn, [0.001, 0.999]) / stats.t(3).ppf([0.001, 0.999]))
    print(index, quantile)
    assert np.median(index["heavy"]) == pytest.approx(3, rel=0.2)
    assert abs(np.median(index["flow"]) / 3 - 1) > 0.5
    np.testing.assert_allclose(np.median(quantile, axis=0), 1, atol=0.15)


@pytest.mark.slow
def test_heavy_tails_join_the_choice_where_there_are_some():
    x, fresh = student(0, 600, 2), student(1, 4000, 2)
    found = population.fit(x, key=jr.key(0), **QUICK)[0]
    assert found.kind == "heavy" and set(found.scores) == {"heavy", "flow", "mixture", "gaussian"}
    assert repr(found).startswith("Population: 5 flows beside a Gaussian, heavy tails in 2 coordinates")
    truth = stats.t(3).logpdf(fresh).sum(axis=1).mean()
    off = {kind: truth - float(population.fit(x, key=jr.key(0), kind=kind, **QUICK)[0].log_prob(fresh).mean())
           for kind in ("heavy", "flow", "gaussian")}  # fmt: skip
    print(off, found.scores)
    assert off["heavy"] < 0.5 * min(off["flow"], off["gaussian"])
    # The score is that of neurons that were left out, not of those that were seen.
    assert found.scores["heavy"] == pytest.approx(float(found.log_prob(fresh).mean()), abs=0.15)
    assert jax.jit(found.push)(jnp.zeros((3, 3))).shape == (3, 2)
