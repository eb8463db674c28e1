"""Turns that were applied are found again."""

import numpy as np
import pytest

from lrcore import turns


def neurons(kind, rank, seed, n=400):
    """m and g of drawn neurons, and one input."""
    a = np.random.default_rng(0).normal(size=(rank, rank))
    rng = np.random.default_rng(seed)
    m = {"normal": rng.normal, "waves": rng.laplace}[kind](size=(n, rank))
    m = m @ np.linalg.inv(np.linalg.cholesky(m.T @ m / n)).T
    g = np.sin(m @ a) + np.abs(m[:, ::-1])
    return m, g, m[:, :1] + rng.normal(size=(n, 1))


def orthogonal(rank, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(rank, rank)))[0]


@pytest.mark.parametrize("kind", ["normal", "waves"])
@pytest.mark.parametrize("rank", [1, 2, pytest.param(6, marks=pytest.mark.slow)])
def test_the_turn_that_was_applied_is_a_candidate(kind, rank):
    p, (m, g, fixed), turn = neurons(kind, rank, 1), neurons(kind, rank, 2), orthogonal(rank)
    found = turns.candidates(p, (m @ turn, g @ turn, fixed), np.random.default_rng(0))
    np.testing.assert_allclose(
        found @ found.transpose(0, 2, 1), np.tile(np.eye(rank), (len(found), 1, 1)), atol=1e-9
    )
    assert np.linalg.norm(found - turn, axis=(1, 2)).min() < 0.2 * np.sqrt(rank)


def test_agreement_of_moments_has_its_slope_and_turns_along():
    p, q = neurons("waves", 3, 1), neurons("waves", 3, 2)
    agree, rng = turns._moments(p, q), np.random.default_rng(0)
    turn, step = np.stack([orthogonal(3, k) for k in (1, 2)]), 1e-5 * rng.normal(size=(2, 3, 3))
    ahead, behind = agree(turn + step)[0], agree(turn - step)[0]
    slope = (agree(turn)[1] * step).sum(axis=(1, 2))
    np.testing.assert_allclose((ahead - behind) / 2, slope, rtol=1e-5)
    # <T_p, Q A T_q> is that of q in other coordinates at Q.
    a = orthogonal(3, 3)
    there = turns._moments(p, (q[0] @ a.T, q[1] @ a.T, q[2]))
    np.testing.assert_allclose(there(turn)[0], agree(turn @ a)[0], rtol=1e-9)


def test_moments_agree_best_where_they_are_the_same():
    p = neurons("waves", 4, 1)
    agree = turns._moments(p, p)
    others = np.stack([np.eye(4), *(orthogonal(4, k) for k in range(20))])
    assert agree(others)[0].argmax() == 0


def test_reversals_are_all_choices_of_axes():
    axes, rng = orthogonal(4), np.random.default_rng(0)
    signs = np.array([[1, 1, 1, 1], [-1, 1, 1, 1], [1, -1, 1, 1], [1, 1, -1, -1], [1, 1, 1, -1]])
    some = np.einsum("ij,sj,kj->sik", axes, signs, axes) @ orthogonal(4, 1)

    def agree(turn):
        """Nothing to climb."""
        return np.zeros(len(turn)), turn

    found = turns._reversals(agree, some, rng)
    assert len(turns.distinct(found, 100, apart=0.05)) == 16
    for sign in np.array([[-1, -1, 1, 1], [-1, -1, -1, -1]]):
        wanted = (axes * sign) @ axes.T @ some[0]
        assert np.linalg.norm(found - wanted, axis=(1, 2)).min() < 1e-6
