"""Distances against closed forms and linear programming."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import lrcore as lr
from lrcore import compare

RNG = np.random.default_rng(0)


def network(n=80, rank=2, seed=0) -> lr.LowRankNetwork:
    rng = np.random.default_rng(seed)
    m = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, rank))
    return lr.LowRankNetwork(m, rng.normal(size=(n, rank)), rng.normal(size=(n, 1)), rng.normal(size=n))


def test_sinkhorn_is_half_the_optimal_assignment():
    x, y = RNG.normal(size=(100, 2)), RNG.normal(size=(100, 2)) * [1, 2] + [1, 0]
    cost = cdist(x, y, "sqeuclidean") / 2
    exact = cost[linear_sum_assignment(cost)].mean()
    assert compare.sinkhorn(x, y) == pytest.approx(exact, rel=0.02)


def test_sinkhorn_is_the_formula_by_hand():
    """Entropic transport by plain iterations in numpy, debiased."""
    x, y, epsilon = RNG.normal(size=(100, 2)), RNG.normal(size=(100, 2)) + 0.5, 0.5**2

    def transport(x, y):
        cost = cdist(x, y, "sqeuclidean") / 2
        f, g = np.zeros(len(x)), np.zeros(len(y))
        for _ in range(2000):
            f = -epsilon * np.log(np.mean(np.exp((g[None] - cost) / epsilon), axis=1))
            g = -epsilon * np.log(np.mean(np.exp((f[:, None] - cost) / epsilon), axis=0))
        return f.mean() + g.mean()

    expected = transport(x, y) - (transport(x, x) + transport(y, y)) / 2
    assert compare.sinkhorn(x, y, blur=0.5) == pytest.approx(expected, rel=0.02, abs=1e-3)


def test_sinkhorn_of_a_shift_and_of_itself():
    x = RNG.normal(size=(100, 2))
    assert compare.sinkhorn(x, x) == pytest.approx(0, abs=1e-4)
    assert compare.sinkhorn(x, x + [0.6, 0.8]) == pytest.approx(0.5, rel=0.01)
    y = RNG.normal(size=(100, 2)) + 0.5
    assert compare.sinkhorn(x, y) == pytest.approx(compare.sinkhorn(y, x), rel=0.01)


def test_dissimilarity_adds_both_terms():
    """Gaussians: W_2^2 / 2 of N(0, I) with itself vanishes, E||(A - B) m||^2 / R = |A - B|^2 / R."""
    p, q = lr.systems.ring(), lr.systems.limit_cycle()
    expected = (0.8**2 + 0.8**2) / 2
    found = compare.dissimilarity(p, q, key=jr.key(0), n_neurons=150)
    assert found == pytest.approx(expected, abs=0.2)
    assert compare.dissimilarity(p, p, key=jr.key(0), n_neurons=150) < 0.1
    e = q.sample(jr.key(1), 400)
    assert compare.dissimilarity(lr.Empirical(e), q, key=jr.key(0), n_neurons=150) < 0.5 * expected


def test_lint_is_blind_to_what_sorting_forgets():
    p = network()
    order = RNG.permutation(80)
    shuffled = lr.LowRankNetwork(p.m[order], p.n[order], p.b[order], p.d[order])
    assert compare.lint_dissimilarity(p, shuffled) == pytest.approx(0, abs=1e-6)
    # The part of n orthogonal to m is projected out.
    q, _ = np.linalg.qr(np.asarray(p.m, float), mode="complete")
    off = lr.LowRankNetwork(p.m, p.n + 3 * q[:, 2:4])
    assert compare.lint_dissimilarity(p, off) == pytest.approx(0, abs=1e-5)
    m, n = np.asarray(p.m, float), np.asarray(p.n, float)
    other = network(seed=1)
    effective = [
        np.sort((x @ (np.linalg.pinv(x) @ y).T @ x.T).ravel()) for x, y in ((m, n), (other.m, other.n))
    ]
    expected = 1 - np.corrcoef(*effective)[0, 1]
    assert compare.lint_dissimilarity(p, other) == pytest.approx(expected, abs=1e-5)


BAD = {
    "other dimension": (lambda: compare.sinkhorn(np.zeros((5, 2)), np.zeros((5, 3))), "^y: expected 2 along"),
    "nan": (lambda: compare.sinkhorn(np.full((5, 2), np.nan), np.zeros((5, 2))), "^x: expected finite"),
    "blur": (
        lambda: compare.sinkhorn(np.zeros((5, 2)), np.ones((5, 2)), blur=-1.0),
        "^blur: expected a positive",
    ),
    "networks of other sizes": (
        lambda: compare.lint_dissimilarity(network(), network(n=70)),
        "^expected networks of the same size, got 80 and 70 neurons",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case):
    call, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        call()


def test_distances_are_plain_numbers():
    assert isinstance(compare.sinkhorn(jnp.zeros((5, 1)), jnp.ones((5, 1))), float)
    assert isinstance(compare.lint_dissimilarity(network(), network()), float)
