"""How many clusters, and which of them the dynamics ask for."""

import jax.random as jr
import jaxtyping
import numpy as np
import pytest

import lrcore as lr
from lrcore.clusters import fit, required


@pytest.mark.parametrize("count", [1, 3])
def test_count(count):
    rng = np.random.default_rng(count)
    centres = 8 * np.array([[0, 0], [1, 0], [0, 1]])[:count]
    x = centres[rng.integers(count, size=600)] + rng.normal(size=(600, 2))
    found = fit(x, key=jr.key(0), most=5, starts=1)
    assert found.count == count
    # Another unit for each column is no difference.
    np.testing.assert_allclose(
        fit(x * [1, 100], key=jr.key(0), most=5, starts=1).spread, found.spread, rtol=1e-3
    )


def test_the_quadstable_system_requires_its_four_clusters():
    """In the truth, and in what maximum entropy makes of the trajectories."""
    p = lr.systems.quadstable()
    network = p.sample(jr.key(0), 1000)
    seen = lr.steps(lr.systems.trajectories(network, points=10), alpha=0.1)
    g = lr.maxent.fit(seen, network.embedding)
    found = required(network, g.conditional_mean, key=jr.key(2), most=6, starts=2)
    assert (found.fitted.count, found.required.count) == (4, 4)


def test_clusters_around_the_mean_are_not_required():
    p = lr.systems.ring()
    network = p.sample(jr.key(0), 800)
    split = lr.LowRankNetwork(network.m, network.n + 6 * jr.rademacher(jr.key(1), (800, 2), dtype=float))
    found = required(split, p.conditional_mean, key=jr.key(2), most=5, starts=2)
    assert (found.fitted.count, found.required.count, found.residual.count) == (4, 1, 4)


@pytest.mark.parametrize("unit", [0.2, 5.0, None])
def test_required_clusters_know_no_unit(unit):
    """Counts and likelihoods to rounding, with sigma as a number and as a root that goes along."""
    p = lr.systems.quadstable()
    network = p.sample(jr.key(0), 400)
    gauge = np.array([[2.0, 1.5], [-0.2, 0.3]]) if unit is None else unit * np.eye(2)
    moved, mean = lr.gauge.transform(network, gauge), lr.gauge.transform(p, gauge).conditional_mean
    root = np.array([[1.0, 0.3], [0.0, 0.7]])
    options = {"key": jr.key(1), "most": 5, "starts": 1}
    for sigmas in ((1.0, 1.0), (root, gauge @ root)):
        here = required(network, p.conditional_mean, sigma=sigmas[0], **options)
        there = required(moved, mean, sigma=sigmas[1], **options)
        assert [part.count for part in there] == [part.count for part in here]
        for one, other in zip(here, there, strict=True):
            np.testing.assert_allclose(other.log_likelihood, one.log_likelihood, atol=0.01)
    # The prior of a fit in these coordinates, where m is nearly white.
    same = required(network, p.conditional_mean, sigma=np.eye(2), **options)
    assert same.required.count == here.required.count == 4


def test_bad_input():
    with pytest.raises(ValueError, match="at least ten neurons .* got 50 in all"):
        fit(np.zeros((50, 2)), key=jr.key(0))
    p = lr.systems.ring()
    with pytest.raises(ValueError, match="^sigma: expected 2 along"):
        required(p.sample(jr.key(0), 400), p.conditional_mean, key=jr.key(1), sigma=np.eye(3))
    with pytest.raises(ValueError, match="weights: expected finite"):
        fit(np.full((500, 2), np.nan), key=jr.key(0))


X = np.random.default_rng(0).normal(size=(100, 2))
SPOILED = {
    "constant": (
        X * [1, 0] + [0, 0.1],
        r"^weights: expected coordinates that vary, got constant ones at \[1\]",
    ),
    "but one neuron": (
        np.column_stack([X, np.eye(100)[0]]),
        r"^weights in a training fold: .* at \[2\]: drop them",
    ),
    "few values": (
        np.sign(X),
        "^weights: expected at least 8 different rows in each training fold, .* got 4: lower",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_columns_that_a_mixture_cannot_take_are_named(case):
    weights, words = SPOILED[case]
    with pytest.raises(ValueError, match=words):
        fit(weights, key=jr.key(0))


def test_numbers_of_numpy(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    options = {"most": 2, "folds": 3, "starts": 1}
    found = [
        fit(X, key=jr.key(0), **{k: number(v) for k, v in options.items()})
        for number in (int, np.int64, np.array)
    ]
    assert [part.log_likelihood.tolist() for part in found] == 3 * [found[0].log_likelihood.tolist()]
