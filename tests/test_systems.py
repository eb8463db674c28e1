"""The reference systems: their moments as defined, and the dynamics that they are known for."""

import jax
import jax.random as jr
import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from lrcore import systems


@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_moments_are_the_published_ones(name):
    """Mean and covariance of (m, n), written out once more from the definitions."""
    if name == "quadstable":
        # The clusters' means add their outer products to the variance within.
        within, m, n = 0.25 * np.eye(4), 0.87, 2.31
        between = np.kron([[m * m, m * n], [m * n, n * n]], np.eye(2))
        expected = within + between
    else:
        overlap = {
            "bistable": [[1.2, 0], [0.8, 1.6]],  # row m, column n
            "limit cycle": [[1.6, 0.8], [-0.8, 1.6]],
            "ring": [[1.6, 0], [0, 1.6]],
        }[name]
        expected = np.block([[np.eye(2), np.array(overlap)], [np.array(overlap).T, 4 * np.eye(2)]])
    network = systems.SYSTEMS[name]().sample(jr.key(0), 200_000)
    draws = np.concatenate([network.m, network.n], axis=1).astype(float)
    np.testing.assert_allclose(draws.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(draws.T), expected, atol=0.05)


@pytest.mark.parametrize("name, attractors", [("quadstable", 4), ("bistable", 2)])
def test_attractors(name, attractors):
    ends = systems.trajectories(systems.SYSTEMS[name]().sample(jr.key(0), 4000), points=8, steps=400)[:, -1]
    apart = np.linalg.norm(ends[:, None] - ends[None], axis=-1) > 0.3
    assert len(np.unique(apart, axis=0)) == attractors


def test_limit_cycle_goes_round():
    cycle = systems.trajectories(systems.limit_cycle().sample(jr.key(0), 4000), points=4, steps=400)
    angle = np.unwrap(np.arctan2(cycle[..., 1], cycle[..., 0]), axis=1)
    assert (np.abs(angle[:, -1] - angle[:, 100]) > 2 * np.pi).all()


def test_ring_stands_still_anywhere_on_a_circle():
    drift = systems.ring().drift
    radius = brentq(lambda r: float(drift(np.array([r, 0.0]))[0]) - r, 0.2, 3, xtol=1e-6)
    angle = np.linspace(0, 2 * np.pi, 9)
    states = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    np.testing.assert_allclose(drift(states), states, atol=1e-4)


def test_trajectories_start_on_the_grid_and_follow_euler():
    network = systems.ring().sample(jr.key(0), 50, tau=0.02)
    z = np.asarray(systems.trajectories(network, points=3, steps=5))
    np.testing.assert_allclose(z[:, 0], systems.grid(3))
    assert z.shape == (9, 6, 2)
    np.testing.assert_allclose(z[:, 1:], 0.9 * z[:, :-1] + 0.1 * network.drift(z[:, :-1]), atol=1e-5)


def test_draws_follow_the_key_and_nothing_else():
    p = systems.quadstable()
    np.testing.assert_array_equal(p.sample(jr.key(3), 10).n, p.sample(jr.key(3), 10).n)
    assert (p.sample(jr.key(3), 10).n != p.sample(jr.key(4), 10).n).all()
    assert jax.jit(lambda key: p.sample(key, 10).drift(systems.grid(3)))(jr.key(0)).shape == (9, 2)


@pytest.mark.parametrize("df", [2.2, 3.0, 5.0, 20.0])
def test_widths_on_a_grid_are_students(df):
    """The density against the closed form, far out too, and the covariance of the base."""
    p, base = systems.heavy_tailed(shape=df), np.asarray(systems.bistable().covariances[0], float)
    x = (
        np.random.default_rng(0).normal(size=(200, 4))
        * np.linspace(0.1, 20 if df < 10 else 2.5, 200)[:, None]
    )
    law = stats.multivariate_t(np.zeros(4), base * (df - 2) / df, df=df)
    found = p.log_prob(x[:, :2], None, None, x[:, 2:])
    np.testing.assert_allclose(found, law.logpdf(x), rtol=1e-4, atol=2e-3)
    if df >= 3:  # of fewer degrees, widths beyond any that is drawn have a share in the covariance
        np.testing.assert_allclose(np.einsum("c,cij->ij", p.weights, p.covariances), base, rtol=1e-3)


@pytest.mark.parametrize("law", ["student", "log-normal"])
def test_only_tails_of_the_embedding_move_the_drift(law):
    z, base = systems.grid(9), systems.bistable()
    both, only_n = (systems.heavy_tailed(where, law) for where in ("both", "n"))
    gap = [np.abs(np.asarray(p.drift(z) - base.drift(z))).max() for p in (both, only_n)]
    assert gap[0] > 0.1 and gap[1] < 1e-4
    # n given m has the tails all the same.
    n = np.asarray(only_n.sample(jr.key(0), 20_000).n)
    assert stats.kurtosis(n).min() > 0.8
