"""Fixed points against closed forms and another root finder; eigenvalues against finite differences."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.optimize import brentq, root

import lrcore as lr
from lrcore import checks
from lrcore.flowfield import agreement, drift_error, fixed_points


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


P = lr.systems.quadstable()


@pytest.mark.parametrize(
    "gauge",
    [
        *(unit * np.eye(2) for unit in (0.01, 1e6)),
        np.diag([1e3, 1e-3]),
        [[1.0, 3.0], [0.0, 0.2]],
    ],
    ids=["0.01", "1e6", "two units", "sheared"],
)
def test_points_know_no_unit(gauge):
    """In single precision, as they are looked for."""
    gauge = np.asarray(gauge, float)
    here = fixed_points(P.drift, lr.systems.grid(7))
    there = fixed_points(lr.gauge.transform_drift(P.drift, gauge), np.asarray(lr.systems.grid(7)) @ gauge.T)
    assert len(here.points) == len(there.points) == 9
    apart = (there.points @ np.linalg.inv(gauge).T)[:, None] - here.points[None]
    order = np.linalg.norm(apart, axis=-1).argmin(axis=1)
    np.testing.assert_allclose(there.points @ np.linalg.inv(gauge).T, here.points[order], atol=5e-4)
    assert sorted(order) == list(range(9))
    np.testing.assert_array_equal(there.stable, here.stable[order])
    np.testing.assert_allclose(
        np.sort(there.eigenvalues.real), np.sort(here.eigenvalues.real[order]), atol=5e-3
    )


@pytest.mark.parametrize("unit", [0.01, 1])
def test_points_that_were_not_visited_are_left_out(unit):
    rng = np.random.default_rng(0)
    seen = unit * (rng.normal(size=(4000, 2)) * [0.4, 1.2] + [1.5, 0])
    drift = lr.gauge.transform_drift(P.drift, unit * np.eye(2))
    found = fixed_points(drift, unit * np.asarray(lr.systems.grid(7)), visited=seen)
    assert len(found.points) == 3 and (found.points[:, 0] > 0).all()


@pytest.mark.parametrize("unit", [1, 100])
@pytest.mark.parametrize("starts", [[[2.0, 1.5]], [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]], [[0, 1.0], [0, 2.0]]])
def test_starts_need_not_span_the_plane(starts, unit):
    """One point, a diagonal, an axis: the others are as long as the widest, or as the way from 0."""

    def drift(z, u=None):
        return 2 * unit * jnp.tanh(z / unit)

    found = fixed_points(drift, unit * np.array(starts))
    edge = brentq(lambda z: 2 * np.tanh(z) - z, 1, 3)
    assert np.linalg.norm(found.points / unit - [edge, edge], axis=1).min() < 1e-3 or starts[0][0] == 0
    np.testing.assert_allclose(2 * np.tanh(found.points / unit), found.points / unit, atol=1e-3)
    assert len(found.points)


def test_agreement_knows_no_unit():
    z = np.random.default_rng(0).normal(size=(50, 2))
    pair = (lambda z, u=None: np.tanh(z), lambda z, u=None: np.sin(z))
    here = agreement(*pair, z)
    for unit in (1e-9, 1e9):
        moved = [lambda z, u=None, f=f, unit=unit: unit * f(z / unit) for f in pair]
        np.testing.assert_allclose(agreement(*moved, unit * z), here, rtol=1e-9)
    assert agreement(lambda z, u: z, lambda z, u: 2 * z, z).cosine == 0
    with pytest.raises(ValueError, match="^reference: expected a drift that varies over the states, got one"):
        agreement(pair[0], lambda z, u=None: np.ones_like(z), z)


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
        (np.zeros((0, 2)), None, "^starts: expected at least one state, got none"),
        (np.zeros((3, 2)), np.zeros((3, 1)), r"^u: expected axes \(input\)"),
    ],
    ids=["one start", "nan", "none", "u for each"],
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
