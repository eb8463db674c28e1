"""Dale's law: cones against brute force, the convex problem against another solver, and what it costs."""

import warnings

import jax.random as jr
import numpy as np
import pytest
from scipy.optimize import lsq_linear

import lrcore as lr
from lrcore import dale, systems
from lrcore.steps import Steps

STARTS = np.stack([a.ravel() for a in np.meshgrid(np.linspace(0, 8, 5), np.linspace(-8, 0, 5))], axis=1)


def recorded(apart: bool, n: int = 200, noise: float = 0.1):
    """A network under the law, its signs, and the fit of its recording."""
    p = systems.excitatory_inhibitory(apart=apart)
    net, labels = p.sample_labelled(jr.key(0), n, activation="sigmoid")
    clean = lr.steps(net.simulate(STARTS, None, 0.1, 60), alpha=0.1)
    y = clean.y + noise * np.random.default_rng(0).normal(size=clean.y.shape)
    seen = Steps(clean.z, None, y, clean.trial, alpha=0.1)
    # Other neurons are expected to be off by half, and by a little more or less from one draw to the next.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "maxent: the drift of new neurons")
        solution = lr.maxent.fit(seen, net.embedding, activation="sigmoid")
    return net, np.where(labels == "E", 1, -1), solution


@pytest.fixture(scope="module")
def alike():
    return recorded(apart=False)


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_the_cone_holds_all_that_has_one_sign(rank):
    rng = np.random.default_rng(rank)
    m = rng.normal(size=(40, rank)) + 4 * np.eye(rank)[0]
    rays = dale.cone(m)
    assert (m @ rays.T > -1e-9).all()
    # What all m agree on is a combination of the rays with weights that are not negative; others are not.
    for n in rng.normal(size=(200, rank)):
        rest = lsq_linear(rays.T, n, (0, np.inf)).fun
        assert (np.linalg.norm(rest) < 1e-6) == bool((m @ n > 0).all())


def test_no_half_space_no_cone():
    m = np.random.default_rng(0).normal(size=(50, 2))
    assert dale.cone(m).shape == (0, 2)
    assert dale.cone(np.array([[1.0], [-1.0]])).shape == (0, 1)
    # Of symmetric m half of the weight is of the wrong sign, whatever n is.
    both = np.concatenate([m, -m])
    for seed in range(3):
        rng = np.random.default_rng(seed)
        n, signs = rng.normal(size=both.shape), rng.choice([-1, 1], len(both))
        assert dale.violation(both, n, signs) == pytest.approx(0.5)


def test_the_law_is_kept_and_the_drift_too(alike):
    net, signs, solution = alike
    found = dale.fit(solution, signs)
    assert found.feasible and found.violation < 1e-12 and found.free_violation > 0.1
    assert found.error <= 1.2 * found.free_error
    # Against the true drift, at the visited states.
    truth = np.asarray(net.drift(solution.steps.z))
    free = lr.LowRankNetwork(net.m, found.free, None, net.embedding.d, activation="sigmoid")
    off, free_off = (
        np.sqrt(np.mean((np.asarray(one.drift(solution.steps.z)) - truth) ** 2))
        for one in (found.network(), free)
    )
    print(off, free_off)
    assert off < 1.5 * free_off and off < 2e-3 * np.sqrt(np.mean(truth**2))
    # In the network's single precision too.
    assert dale.violation(net.m, found.network().n, signs) < 1e-6


def test_the_problem_is_solved(alike):
    """Its loss is that of scipy's trust-region solver, to 1e-6."""
    _, signs, solution = alike
    ridge = 1e-3
    found = dale.fit(solution, signs, ridge=ridge)
    modes, rays, n = solution.modes, found.cone, len(signs)
    a = np.sqrt(modes.values / n)[:, None] * modes.neurons.T
    flat = np.kron(a, np.eye(2)) @ np.kron(np.diag(signs.astype(float)), rays.T)
    size = np.sqrt(ridge) * np.kron(np.diag(signs.astype(float)), rays.T)
    best = lsq_linear(
        np.concatenate([flat, size]), np.append(modes.drift.ravel(), np.zeros(2 * n)), (0, np.inf)
    )
    loss = np.sum((a @ found.n - modes.drift) ** 2) + ridge * np.sum(found.n**2)
    assert loss == pytest.approx(2 * best.cost, rel=1e-6)


def test_without_constraints_it_is_the_ridge(alike):
    _, signs, solution = alike
    found = dale.fit(solution, 0 * signs, ridge=1e-3)
    np.testing.assert_allclose(found.n, found.free, atol=1e-3 * np.abs(found.free).max())
    x = np.asarray(lr.LowRankNetwork(solution.embedding.m, found.n, None, solution.embedding.d,
                                     activation="sigmoid").rates(solution.steps.z), float)  # fmt: skip
    share = solution.modes.steps / len(x)
    n = x.shape[1]
    dense = n * np.linalg.solve(share * x.T @ x + 1e-3 * n**2 * np.eye(n), share * x.T @ solution.steps.y)
    np.testing.assert_allclose(found.free, dense, atol=2e-3 * np.abs(dense).max())


def test_signs_are_found_where_types_differ_in_their_embedding(alike):
    """Of a fit without labels: where the embedding tells the type, and not where it does not."""
    for (net, signs, solution), least in ((recorded(apart=True), 0.95), (alike, None)):
        column = np.asarray(net.m).mean(axis=0)
        found = np.sign(np.asarray(solution.conditional_mean(net.embedding)) @ column)
        right = np.mean(found == signs)
        print(right)
        assert right >= least if least else right < 0.85


def test_signs_that_no_weights_allow_are_said(alike):
    net, signs, solution = alike
    with pytest.warns(UserWarning, match="^dale: .*the drift errs by more under the law.: those with the sm"):
        found = dale.fit(solution, np.ones_like(signs))
    assert not found.feasible and 0 < found.violation < found.free_violation
    assert found.error < 1.05 * found.free_error
    half = systems.ring().sample(jr.key(0), 50)
    both = lr.LowRankNetwork(*(np.concatenate([x, -x]) for x in (half.m, half.n)))
    seen = lr.steps(systems.trajectories(both, points=5), alpha=0.1)
    with pytest.warns(UserWarning, match="m lies in no half-space"):
        found = dale.fit(lr.maxent.fit(seen, both.embedding), np.where(np.arange(100) % 5 < 4, 1, -1))
    assert found.violation == pytest.approx(0.5, abs=1e-4) and "broken by" in repr(found)


@pytest.mark.filterwarnings("ignore:dale")
def test_the_smallest_violation_is_the_smallest(alike):
    """Any other weights with the same drift have more of the wrong sign, in squares."""
    net, signs, solution = alike
    found = dale.fit(solution, np.ones_like(signs))
    m, (modes, rng) = np.asarray(net.m, float), (solution.modes, np.random.default_rng(0))
    ridge = solution.noise**2 / np.mean(solution.n**2)
    seen = modes.neurons[:, modes.values / len(m) > ridge]

    def wrong(n):
        return np.mean(np.minimum(m @ n.T, 0) ** 2)

    np.testing.assert_allclose(seen.T @ found.n, seen.T @ found.free, atol=1e-6 * np.abs(found.free).max())
    for size in (0.01, 0.1, 1.0):
        xi = rng.normal(size=(30, *found.n.shape))
        moved = found.n + size * (xi - seen @ (seen.T @ xi))
        assert min(map(wrong, moved)) > wrong(found.n) * (1 - 1e-3)


def test_bad_signs_are_refused(alike):
    _, signs, solution = alike
    with pytest.raises(
        ValueError, match="^signs: expected 1, -1 or 0 .* each of 200 neurons, got shape .199,."
    ):
        dale.fit(solution, signs[:-1])
    with pytest.raises(ValueError, match="got 2: make them of labels"):
        dale.fit(solution, 2 * signs)
    with pytest.raises(ValueError, match="^ridge: expected"):
        dale.fit(solution, signs, ridge=-1.0)
