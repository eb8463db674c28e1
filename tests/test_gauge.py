"""A change of latent coordinates changes nothing that can be measured, and can be undone."""

import functools

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given
from strategies import draws, gauges

import lrcore as lr
from lrcore import compare
from lrcore.checks import x64
from lrcore.distributions import Empirical
from lrcore.gauge import Gauged, alignment, canonical, invariants, signs, symmetric_root, transform, whitening

TOLERANCE = {"rtol": 1e-5, "atol": 1e-9}


def network(n=80, rank=2, seed=0) -> lr.LowRankNetwork:
    rng = np.random.default_rng(seed)
    m = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, rank))
    return lr.LowRankNetwork(m, rng.normal(size=(n, rank)), rng.normal(size=(n, 1)), rng.normal(size=n))


def mixture() -> lr.GaussianMixture:
    """Two clusters of rank 2, with an input and a bias."""
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(2, 6, 6))
    covariances = roots @ roots.transpose(0, 2, 1) + np.eye(6)
    return lr.GaussianMixture([0.3, 0.7], rng.normal(size=(2, 6)), covariances, n_inputs=1, bias=True)


@draws(60)
@given(gauges(100, 0.1, 10))
def test_networks_and_their_latents(gauge):
    """Rates, J, invariants and distances are those of the network; alignment and canonical gauge undo A."""
    with x64():
        p, other = network(), network(seed=1)
        moved = transform(p, gauge)
        z, u = np.random.default_rng(2).normal(size=(2, 7, 2))
        there, u = transform(z, gauge), u[:, :1]
        np.testing.assert_allclose(moved.rates(there, u), p.rates(z, u), **TOLERANCE)
        np.testing.assert_allclose(moved.drift(there, u), transform(p.drift(z, u), gauge), **TOLERANCE)
        np.testing.assert_allclose(
            transform(p.embedding, gauge).potential(there, u), p.embedding.potential(z, u), **TOLERANCE
        )
        np.testing.assert_allclose(moved.recurrent_weights(), p.recurrent_weights(), **TOLERANCE)
        for ours, theirs in zip(invariants(moved), invariants(p), strict=True):
            np.testing.assert_allclose(ours, theirs, **TOLERANCE)
        before, after = (compare.lint_dissimilarity(x, other) for x in (p, moved))
        assert after == pytest.approx(before, rel=1e-5, abs=1e-9)
        back = transform(moved, alignment(moved, p))
        np.testing.assert_allclose(back.m, p.m, **TOLERANCE)
        np.testing.assert_allclose(back.n, p.n, **TOLERANCE)
        # What whitening leaves open is a rotation or reflection, and Procrustes finds it.
        white = [transform(x, whitening(x)) for x in (p, moved)]
        np.testing.assert_allclose(white[1].m.T @ white[1].m / 80, np.eye(2), **TOLERANCE)
        rotation = alignment(white[1], white[0], rotation_only=True)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(2), **TOLERANCE)
        np.testing.assert_allclose(transform(white[1], rotation).n, white[0].n, **TOLERANCE)
        # The canonical gauge needs no reference; any distance computed in it is the same.
        ours, theirs = (transform(x, canonical(x)) for x in (moved, p))
        np.testing.assert_allclose(ours.m, theirs.m, **TOLERANCE)
        np.testing.assert_allclose(ours.n, theirs.n, **TOLERANCE)


@draws(15)
@given(gauges(100, 0.1, 10))
def test_distributions(gauge):
    """Closed form for a mixture, carried back for any other; drift, conditional mean and density go along."""
    with x64():
        p = mixture()
        there = transform(p, gauge)
        wrapped = Gauged(p, jnp.asarray(gauge), jnp.linalg.inv(jnp.asarray(gauge)), 2, 1, True)
        net = p.sample(jr.key(0), 9)
        moved = transform(net, gauge)
        parts = (moved.m, moved.b, moved.d, moved.n)
        density = p.log_prob(net.m, net.b, net.d, net.n)
        mean = transform(p.conditional_mean(net.embedding), gauge)
        for q in (there, wrapped):
            np.testing.assert_allclose(q.log_prob(*parts), density, **TOLERANCE)
            np.testing.assert_allclose(q.conditional_mean(moved.embedding), mean, **TOLERANCE)
        z, u = np.ones((3, 2)), np.ones((3, 1))
        drift = transform(p.drift(z, u), gauge)
        for q in (there, wrapped):
            np.testing.assert_allclose(q.drift(transform(z, gauge), u), drift, **TOLERANCE)
            np.testing.assert_allclose(q.sample(jr.key(0), 9).n, moved.n, **TOLERANCE)


DRAWS = {"key": jr.key(0), "n_neurons": 50}


@functools.cache
def unmoved(measure) -> float:
    return measure(mixture(), Empirical(network(seed=1)), **DRAWS)


@draws(15)
@given(gauges(100, 0.1, 10), gauges(100, 0.1, 10))
def test_distances(one, other):
    """Between mixtures, and between the neurons of networks, each in coordinates of its own."""
    with x64():
        p, q = mixture(), network(seed=1)
        moved = transform(p, one), Empirical(transform(q, other))
        assert compare.distance(*moved, **DRAWS) == pytest.approx(unmoved(compare.distance), rel=1e-5)
        # The paper's knows no gauge: it stays where both are in the same coordinates, and those are rotated.
        rotation = np.linalg.qr(one)[0]
        moved = transform(p, rotation), Empirical(transform(q, rotation))
        assert compare.dissimilarity(*moved, **DRAWS) == pytest.approx(
            unmoved(compare.dissimilarity), rel=1e-5
        )


def test_any_distribution_goes_along():
    base = Empirical(network())
    gauge = np.array([[2.0, 1.0], [0.0, 1.0]])
    there = transform(base, gauge)
    assert isinstance(there, Gauged) and (there.n_inputs, there.bias) == (1, True)
    net = there.sample(jr.key(0), 20)
    assert np.isfinite(there.log_prob(net.m, net.b, net.d, net.n)).all()
    assert compare.dissimilarity(there, transform(base, gauge), key=jr.key(1), n_neurons=100) < 0.5


def test_drift_of_any_distribution_is_the_expectation_over_its_neurons():
    """By Monte Carlo: neurons drawn in the new coordinates, moved there."""
    there = transform(Empirical(network(), bandwidth=0.3), np.array([[2.0, 1.0], [0.0, 1.0]]))
    rng = np.random.default_rng(1)
    z, u = rng.normal(size=(5, 2)), rng.normal(size=(5, 1))
    net = there.sample(jr.key(0), 200_000)
    values = np.asarray(net.rates(z, u), float)[..., None] * np.asarray(net.n, float)
    error = values.std(axis=1) / np.sqrt(200_000)
    assert (np.abs(there.drift(z, u) - values.mean(axis=1)) < 5 * error + 1e-4).all()
    # Without inputs they are 0.
    np.testing.assert_allclose(there.drift(z), there.drift(z, np.zeros((5, 1))), atol=1e-6)


def test_steps_go_along():
    """States and drifts of the moved network are those of the network, moved."""
    p, gauge = network(), np.array([[2.0, 1.0], [0.0, 1.0]])
    rng = np.random.default_rng(0)
    u, starts = rng.normal(size=(4, 9, 1)), rng.normal(size=(4, 2))
    seen, there = (
        lr.steps(net.simulate(z, u, 0.1), inputs=u, alpha=0.1)
        for net, z in ((p, starts), (transform(p, gauge), transform(starts, gauge)))
    )
    moved = transform(seen, gauge)
    np.testing.assert_allclose(moved.z, there.z, atol=1e-4)
    np.testing.assert_allclose(moved.y, there.y, atol=1e-3)
    np.testing.assert_array_equal(moved.u, seen.u)
    np.testing.assert_array_equal(moved.trial, seen.trial)
    assert (moved.alpha, moved.copies) == (seen.alpha, seen.copies)


def test_roots_and_signs():
    a = np.array([[2.0, 1.0], [1.0, 3.0]])
    for lib in (np, jnp):
        root = symmetric_root(lib.asarray(a))
        np.testing.assert_allclose(root @ root, a, atol=1e-5)
        np.testing.assert_allclose(root, root.T, atol=1e-6)
    m = np.random.default_rng(0).gamma(1.0, size=(50, 2)) * [1, -1]
    np.testing.assert_array_equal(signs(m), [1, -1])
    np.testing.assert_array_equal(signs(m * signs(m)), [1, 1])


def test_what_has_no_gauge_stays():
    p = network()
    moved = transform(p, np.array([[2.0, 1.0], [0.0, 1.0]]))
    np.testing.assert_array_equal(moved.b, p.b)
    np.testing.assert_array_equal(moved.d, p.d)
    assert (moved.activation, moved.tau) == (p.activation, p.tau)
    padded = transform(np.array([[1.0, 2.0], [np.nan, np.nan]]), np.eye(2))
    assert np.isnan(padded[1]).all()


def test_invariants_are_those_of_the_weights():
    p = network(n=30, rank=3)
    weights = np.asarray(p.recurrent_weights(), float)
    values, strengths = invariants(p)
    full = np.linalg.eigvals(weights)
    np.testing.assert_allclose(np.abs(values), np.sort(np.abs(full))[:-4:-1], rtol=1e-4)
    np.testing.assert_allclose(strengths, np.linalg.svd(weights, compute_uv=False)[:3], rtol=1e-4)


def turned_by(one, other) -> float:
    """Largest angle (degrees) by which the axes of a gauge leave those of another with the same white m."""
    cosines = np.abs(np.diag(other @ np.linalg.inv(one)))
    return float(np.degrees(np.arccos(np.minimum(cosines, 1.0))).max())


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("rank", [2, 3, 4])
def test_same_dynamics_have_the_same_canonical_axes(rank, activation):
    """Partners in the null space, and ridge regressions on the drift at other states, with other noise."""
    rng = np.random.default_rng(rank)
    m = rng.normal(size=(1200 if rank == 4 else 300, rank))
    overlap = 1.2 * np.diag(1.6 ** -np.arange(rank)) @ (np.eye(rank) + 0.3 * rng.normal(size=(rank, rank)))
    n = m @ overlap.T + np.abs(m) + rng.normal(size=m.shape)
    net = lr.LowRankNetwork(m, n, activation=activation)
    states = rng.uniform(-2.4, 2.4, (512, rank))
    axes = canonical(net)
    for kind in ("clusters", "tails"):
        partner = lr.null_space_partner(net, states, key=jr.key(0), kind=kind, tolerance=1e-3)
        assert turned_by(axes, canonical(partner)) < 2
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        z = 2.4 * rng.uniform(-1, 1, (600, rank))
        drift = np.asarray(net.drift(z), float)
        drift += 0.02 * drift.std(axis=0) * rng.normal(size=drift.shape)
        rates = np.asarray(net.rates(z), float) / len(m)
        fitted = rates.T @ np.linalg.solve(rates @ rates.T + 1e-5 * np.eye(len(z)), drift)
        assert turned_by(axes, canonical(lr.LowRankNetwork(m, fitted, activation=activation))) < 3


def test_canonical_axes_are_those_of_the_drift_that_is_known():
    """A linear network: those of O C O^T, with O the overlap and C the second moment of states."""
    rng = np.random.default_rng(0)
    m, n = np.linalg.qr(rng.normal(size=(60, 3)))[0] * np.sqrt(60), rng.normal(size=(60, 3))
    z = rng.normal(size=(40, 3)) * [1, 2, 3]
    overlap = n.T @ m / 60
    for states, second in ((None, np.eye(3)), (z, z.T @ z)):
        axes = canonical(lr.LowRankNetwork(m, n, activation="linear"), states)
        expected = np.linalg.eigh(overlap @ second @ overlap.T)[1][:, ::-1]
        np.testing.assert_allclose(np.abs(axes @ expected), np.eye(3), atol=1e-4)


def flat():
    """A network in which no neuron tells the two latents apart."""
    return lr.LowRankNetwork(np.ones((5, 2)), np.ones((5, 2)))


BAD = {
    "singular": (lambda: transform(network(), np.ones((2, 2))), "^gauge: expected an invertible"),
    "another rank": (lambda: transform(network(), np.eye(3)), "^gauge: expected 2 along"),
    "latents of another rank": (lambda: transform(jnp.ones((5, 3)), np.eye(2)), "^gauge: expected 3 along"),
    "other neurons": (lambda: alignment(network(), network(n=70)), "^expected the same neurons"),
    "one direction unread": (lambda: whitening(flat()), "^network: expected m of full rank 2, got condition"),
    "the same, canonical": (lambda: canonical(flat()), "^network: expected m of full rank"),
    "m too large": (
        lambda: whitening(lr.Embedding(np.full((5, 2), 1e200) * np.eye(5, 2))),
        "^(network: expected m whose squares|m: expected finite)",
    ),
    "no states": (lambda: canonical(network(), np.zeros((0, 2))), "^states: expected at least one, got none"),
    "states at rest": (
        lambda: canonical(lr.LowRankNetwork(np.eye(3, 2), np.eye(3, 2)), np.zeros((4, 2))),
        "^states: expected some at which the network drifts, got 4 of drift 0",
    ),
    "n of zeros": (
        lambda: canonical(lr.LowRankNetwork(np.eye(3, 2), np.zeros((3, 2)))),
        "^states: expected some at which the network drifts, got 3",
    ),
    "rates that overflow": (
        lambda: canonical(
            lr.LowRankNetwork(np.eye(3, 2), np.eye(3, 2), activation=jnp.exp), [[1.0, 1.0], [1e4, 0.0]]
        ),
        "^states: expected a finite drift, got one that overflows at 1 of 2 states",
    ),
    "states of infinity": (lambda: canonical(network(), [[np.inf, 0.0]]), "^states: expected finite"),
    "the same, aligned": (lambda: alignment(flat(), flat()), "^network: expected m of full rank"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case):
    call, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        call()


def test_root_of_a_semidefinite_matrix():
    a = np.outer([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    root = symmetric_root(a)
    np.testing.assert_allclose(root @ root, a, atol=1e-12)
    np.testing.assert_allclose(symmetric_root(jnp.asarray(a)) @ symmetric_root(jnp.asarray(a)), a, atol=1e-4)


def test_fixed_points_of_a_distribution_in_other_coordinates():
    p = lr.systems.bistable()
    moved = transform(p, 2 * np.eye(2))
    ours = lr.flowfield.fixed_points(moved.drift, 2 * lr.systems.grid(9)).points
    np.testing.assert_allclose(
        ours, 2 * lr.flowfield.fixed_points(p.drift, lr.systems.grid(9)).points, atol=0.02
    )
