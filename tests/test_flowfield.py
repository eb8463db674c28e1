"""Fixed points against closed forms and another root finder; eigenvalues against finite differences."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.optimize import brentq, root

import lrcore as lr
from lrcore import checks
from lrcore.flowfield import drift_error, fixed_points


def test_fixed_points_of_two_uncoupled_switches():
    """z = 2 tanh z has the roots 0 and +-1.915, so that there are nine points, four of them stable."""

    def drift(z, u=None):
        return 2 * jnp.tanh(z)

    found = fixed_points(drift, lr.systems.grid(7))
    edge = brentq(lambda z: 2 * np.tanh(z) - z, 1, 3)
    expected = [[a, b] for a in (-edge, 0, edge) for b in (-edge, 0, edge)]
    np.testing.assert_allclose(found.points, expected, atol=1e-4)
    slope = 2 / np.cosh(found.points.astype(float)) ** 2 - 1
    np.testing.assert_allclose(np.sort(found.eigenvalues.real), np.sort(slope), atol=1e-3)
    np.testing.assert_array_equal(found.stable, np.abs(found.points).min(axis=1) > 1)


@pytest.fixture(scope="module")
def drawn():
    network = lr.systems.bistable().sample(jr.key(1), 300)
    return network, fixed_points(network.drift, lr.systems.grid(10))


def test_fixed_points_are_those_of_another_solver(drawn):
    network, found = drawn
    m, n = np.asarray(network.m, float), np.asarray(network.n, float)
    ends = [
        root(lambda z: np.tanh(m @ z) @ n / 300 - z, z0, tol=1e-10)
        for z0 in np.asarray(lr.systems.grid(14), float)
    ]
    theirs = np.array([end.x for end in ends if end.success and np.abs(end.x).max() < 4.8])
    distances = np.linalg.norm(theirs[:, None] - found.points[None], axis=-1)
    assert distances.min(axis=1).max() < 0.05  # each of theirs is one of ours
    assert distances.min(axis=0).max() < 1e-3  # each of ours is one of theirs
    assert len(found.points) == 5 and found.stable.sum() == 2  # two attractors, two saddles, the origin
    np.testing.assert_allclose(found.points[2], 0, atol=1e-4)
    apart = np.linalg.norm(found.points[:, None] - found.points[None], axis=-1) + np.eye(len(found.points))
    assert apart.min() > 0.05


def test_eigenvalues_are_the_jacobians(drawn):
    network, found = drawn
    for point, eigenvalues in zip(found.points, found.eigenvalues, strict=True):
        steps = [(network.drift(point + h) - network.drift(point - h)) / 0.02 for h in 0.01 * np.eye(2)]
        expected = np.linalg.eigvals(np.array(steps, float).T - np.eye(2))
        np.testing.assert_allclose(np.sort(eigenvalues.real), np.sort(expected.real), atol=5e-3)
        np.testing.assert_allclose(np.sort(eigenvalues.imag), np.sort(expected.imag), atol=5e-3)
    np.testing.assert_array_equal(found.stable, (found.eigenvalues.real < 0).all(axis=1))


def test_trajectories_end_in_stable_points(drawn):
    network, found = drawn
    ends = network.simulate(lr.systems.grid(4), None, 0.1, 600)[:, -1]
    stable = found.points[found.stable]
    assert np.linalg.norm(ends[:, None] - stable[None], axis=-1).min(axis=1).max() < 0.02


def test_input_moves_the_points():
    network = lr.LowRankNetwork(np.ones((2, 1)), 2 * np.ones((2, 1)), b=np.ones((2, 1)))
    starts = np.linspace(-3, 3, 9)[:, None]
    for u, expected in ((0.0, 3), (2.0, 1)):
        found = fixed_points(network.drift, starts, np.array([u]))
        assert len(found.points) == expected
        np.testing.assert_allclose(2 * np.tanh(found.points + u), found.points, atol=1e-3)


def test_no_fixed_point_is_an_empty_answer():
    found = fixed_points(lambda z, u=None: z + 1.0, np.zeros((3, 2)))
    assert found.points.shape == (0, 2) and found.eigenvalues.shape == (0, 2) and found.stable.shape == (0,)


def test_drift_error():
    z = np.random.default_rng(0).normal(size=(50, 2))
    u = np.ones((50, 1))
    assert drift_error(lambda z, u: z + [3, 4] * u, lambda z, u: z, z, u) == pytest.approx(np.sqrt(12.5))


@pytest.mark.parametrize(
    "starts, u, words",
    [
        (np.zeros(2), None, r"^starts: expected axes \(start, rank\)"),
        (np.full((3, 2), np.nan), None, "^starts: expected finite"),
        (np.zeros((3, 2)), np.zeros((3, 1)), r"^u: expected axes \(input\)"),
    ],
    ids=["one start", "nan", "u for each"],
)
def test_bad_input_is_refused(starts, u, words):
    with pytest.raises(ValueError, match=words):
        fixed_points(lambda z, u=None: z, starts, u)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_double_precision(kind):
    """Whatever the types of starts and weights, the points are better than float32 can tell."""
    with checks.x64():
        m = np.ones((2, 1), kind)
        network = lr.LowRankNetwork(m, 2 * m, b=m)
        found = fixed_points(network.drift, np.linspace(-3, 3, 7, dtype=kind)[:, None], np.zeros(1, kind))
    edge = brentq(lambda z: 2 * np.tanh(z) - z, 1, 3, xtol=1e-14)
    assert found.points.dtype == np.float64
    np.testing.assert_allclose(found.points[:, 0], [-edge, 0, edge], atol=1e-9)
