"""Distances against closed forms and linear programming."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import lrcore as lr
from lrcore import compare, turns
from lrcore.checks import x64


def network(n=80, rank=2, seed=0) -> lr.LowRankNetwork:
    rng = np.random.default_rng(seed)
    m = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, rank))
    return lr.LowRankNetwork(m, rng.normal(size=(n, rank)), rng.normal(size=(n, 1)), rng.normal(size=n))


def test_sinkhorn_is_half_the_optimal_assignment():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) * [1, 2] + [1, 0]
    cost = cdist(x, y, "sqeuclidean") / 2
    exact = cost[linear_sum_assignment(cost)].mean()
    assert compare.sinkhorn(x, y) == pytest.approx(exact, rel=0.02)


def test_sinkhorn_is_the_formula_by_hand():
    """Entropic transport by plain iterations in numpy, debiased."""
    rng = np.random.default_rng(0)
    x, y, epsilon = rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 0.5, 0.5**2

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
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 2))
    assert compare.sinkhorn(x, x) == pytest.approx(0, abs=1e-4)
    assert compare.sinkhorn(x, x + [0.6, 0.8]) == pytest.approx(0.5, rel=0.01)
    y = rng.normal(size=(100, 2)) + 0.5
    assert compare.sinkhorn(x, y) == pytest.approx(compare.sinkhorn(y, x), rel=0.01)


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("sizes", [(60, 60, 2), (60, 40, 8)])
def test_sinkhorn_in_any_unit(sizes, far):
    """Within 5 % of the optimal assignment, far clouds and a far sample included."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(sizes[0], sizes[2])), rng.normal(size=(sizes[1], sizes[2])) + 2
    x[0] += 1000 * far
    copies = [np.repeat(c, 120 // len(c), axis=0) for c in (x, y)]
    cost = cdist(*copies, "sqeuclidean") / 2
    exact = cost[linear_sum_assignment(cost)].mean()
    for unit in (1e-2, 1.0, 1e4):
        assert compare.sinkhorn(unit * x, unit * y) == pytest.approx(exact * unit**2, rel=0.05)


def assigned(x, y):
    """Half the squared Wasserstein distance of clouds of one size."""
    cost = cdist(x, y, "sqeuclidean") / 2
    return cost[linear_sum_assignment(cost)].mean()


def tight(shares, seed, dim=2, moved=0.0):
    """A hundred samples in clusters of standard deviation 0.01, ten apart."""
    rng = np.random.default_rng(seed)
    which = np.repeat(np.arange(len(shares)), shares)
    centres = np.zeros((len(shares), dim))
    centres[:, 0] = 10 * np.arange(len(shares))
    return centres[which] + 0.01 * rng.normal(size=(len(which), dim)) + moved * np.sign(which - 0.5)[:, None]


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("others", [[50, 50], [30, 70], [100], [20, 30, 50]])
def test_sinkhorn_of_tight_clusters(others, unit):
    """Mass that moves between clusters, and clusters that move by a few of their widths."""
    x, y = unit * tight([50, 50], 0), unit * tight(others, 1, moved=0.05)
    assert compare.sinkhorn(x, y) == pytest.approx(assigned(x, y), rel=0.03)


def test_sinkhorn_of_clusters_of_unequal_samples():
    x, y = tight([10, 10, 20, 30, 30], 0, dim=8), tight([10, 20, 30], 1, dim=8)
    copies = [np.repeat(c, 300 // len(c), axis=0) for c in (x, y)]
    assert compare.sinkhorn(x, y) == pytest.approx(assigned(*copies), rel=0.02)


def test_clusters_change_the_blur_and_tails_do_not():
    rng = np.random.default_rng(0)
    for x in (rng.normal(size=(200, 1)), rng.normal(size=(200, 8)), rng.standard_t(2, size=(200, 2))):
        squares = cdist(x, x, "sqeuclidean")[np.triu_indices(200, 1)]
        assert compare._spread(x, x) == pytest.approx(np.sqrt(np.median(squares) / (2 * x.shape[1])))
    assert compare._spread(tight([50, 50], 0), tight([50, 50], 1)) < 0.1


def test_sinkhorn_of_single_samples():
    assert compare.sinkhorn([[1.0, 2.0]], [[4.0, 6.0]]) == pytest.approx(12.5)
    assert compare.sinkhorn([[1.0, 2.0]], [[1.0, 2.0]]) == pytest.approx(0, abs=1e-12)


def unequal(name):
    """Clouds of sizes whose copies are too many to assign."""
    rng = np.random.default_rng(1)
    if name == "gaussian":
        return rng.normal(size=(100, 2)), rng.normal(size=(101, 2))
    if name == "few":
        return rng.normal(size=(43, 2)), rng.normal(size=(47, 2))
    if name == "tails":
        return rng.standard_t(2, size=(100, 2)), rng.standard_t(2, size=(101, 2))
    shares = [np.arange(n)[:, None] < k for n, k in ((100, 47), (99, 53))]
    return [10 * share * [1, 0] + 1e-3 * rng.normal(size=(len(share), 2)) for share in shares]


@pytest.mark.parametrize("name", ["gaussian", "few", "tails", "clusters"])
def test_sinkhorn_of_clouds_of_unequal_sizes(name):
    """Against the optimal transport, which is an assignment of copies."""
    x, y = unequal(name)
    copies = [np.repeat(c, np.lcm(len(x), len(y)) // len(c), axis=0) for c in (x, y)]
    exact = compare._exact(x, y)
    if len(copies[0]) < 3000:
        assert exact == pytest.approx(assigned(*copies), rel=1e-9)
    assert compare.sinkhorn(x, y) == pytest.approx(exact, rel=0.02)
    assert compare.sinkhorn(100 * x, 100 * y) == pytest.approx(1e4 * exact, rel=0.02)


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_the_linear_programme_is_the_assignment(monkeypatch, scale):
    rng = np.random.default_rng(0)
    shares = [np.arange(n)[:, None] < k for n, k in ((60, 30), (80, 41))]
    x, y = [10 * share * [1, 0] + scale * rng.normal(size=(len(share), 2)) for share in shares]
    exact = compare._exact(x, y)
    assert exact == pytest.approx(assigned(np.repeat(x, 4, axis=0), np.repeat(y, 3, axis=0)))
    monkeypatch.setattr(compare, "ASSIGNED", 0)
    assert compare._exact(x, y) == pytest.approx(exact, rel=1e-6)
    # A value that the tolerance of the programme would drown is none.
    same = np.concatenate([x, x])
    assert compare._exact(x, same) == 0


def test_sinkhorn_of_a_blur_too_small_is_exact_or_refused(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = 100 * rng.normal(size=(2, 60, 2))
    assert compare.sinkhorn(x, y, blur=1e-3) == pytest.approx(assigned(x, y), rel=1e-6)
    more = np.concatenate([y, y[:7] + 1])
    assert compare.sinkhorn(x, more, blur=1e-3) == pytest.approx(compare._exact(x, more), rel=1e-6)
    # As of larger clouds.
    monkeypatch.setattr(compare, "PAIRS", 1000)
    with pytest.raises(
        FloatingPointError, match="^blur: expected one at which .* got 0.001 for samples that"
    ):
        compare.sinkhorn(x, more, blur=1e-3)


def test_dissimilarity_adds_both_terms():
    """Gaussians: W_2^2 / 2 of N(0, I) with itself vanishes, E||(A - B) m||^2 / R = |A - B|^2 / R."""
    p, q = lr.systems.ring(), lr.systems.limit_cycle()
    expected = (0.8**2 + 0.8**2) / 2
    found = compare.dissimilarity(p, q, key=jr.key(0), n_neurons=150)
    assert found == pytest.approx(expected, abs=0.2)
    assert compare.dissimilarity(p, p, key=jr.key(0), n_neurons=150) < 0.1
    e = q.sample(jr.key(1), 400)
    assert (
        compare.dissimilarity(lr.distributions.Empirical(e), q, key=jr.key(0), n_neurons=150) < 0.5 * expected
    )


def test_lint_is_blind_to_what_sorting_forgets():
    p = network()
    order = np.random.default_rng(0).permutation(80)
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


def test_distance_is_zero_for_one_system_in_two_gauges_and_symmetric():
    p, q = lr.systems.limit_cycle(), lr.systems.bistable()
    gauge = np.array([[0.5, 2.0], [-1.0, 0.3]])
    same = compare.distance(p, lr.gauge.transform(p, gauge), key=jr.key(0), n_neurons=300)
    apart = compare.distance(p, q, key=jr.key(0), n_neurons=300)
    assert same < 0.1 < apart
    turned = compare.distance(lr.gauge.transform(p, gauge), q, key=jr.key(0), n_neurons=300)
    assert turned == pytest.approx(apart, abs=0.1)
    assert compare.distance(q, p, key=jr.key(0), n_neurons=300) == pytest.approx(apart, abs=0.1)
    # Without a gauge that is fixed, the same system is far from itself.
    assert compare.dissimilarity(p, lr.gauge.transform(p, gauge), key=jr.key(0), n_neurons=300) > 1


@pytest.mark.slow
def test_distance_finds_every_turn():
    """Noise of n decides the canonical axes and is no part of the distance: any turn has to be found."""
    overlap = np.array([[1.5, 1.0], [-0.3, 0.4]])

    def system(noise):
        covariance = np.block([[np.eye(2), overlap.T], [overlap, overlap @ overlap.T + noise]])
        return lr.GaussianMixture([1.0], np.zeros((1, 4)), covariance[None])

    for k in (5, 8, 11):
        axis = np.array([np.cos(k), np.sin(k)])
        noisy = system(np.eye(2) + 20 * np.outer(axis, axis))
        assert compare.distance(system(np.eye(2)), noisy, key=jr.key(k), n_neurons=1000) < 0.06


def gaussian(rank, seed) -> lr.GaussianMixture:
    """Normal m and a linear g, whose overlap is as good as any."""
    overlap = 2 * np.random.default_rng(seed).normal(size=(rank, rank)) / np.sqrt(rank)
    covariance = np.block([[np.eye(rank), overlap.T], [overlap, overlap @ overlap.T + np.eye(rank)]])
    return lr.GaussianMixture([1.0], np.zeros((1, 2 * rank)), covariance[None])


def clustered(rank, seed) -> lr.GaussianMixture:
    """Three clusters, with an input and a bias."""
    rng, width = np.random.default_rng(seed), 2 * rank + 2
    roots = rng.normal(size=(3, width, 2 * width)) / np.sqrt(2 * width)
    covariances = roots @ roots.swapaxes(1, 2) + 0.2 * np.eye(width)
    means = rng.normal(size=(3, width))
    return lr.GaussianMixture(np.ones(3), means, covariances, rank=rank, n_inputs=1, bias=True)


def pair(p, q, key, n):
    """What `distance` minimises over: its draws, in white gauges."""
    draws = [one.sample(k, n) for one, k in zip((p, q), jr.split(key, 3), strict=False)]
    gauges = [lr.gauge.whitening(net) for net in draws]
    there = [lr.gauge.transform(one, a) for one, a in zip((p, q), gauges, strict=True)]
    e = [
        np.asarray(lr.gauge.transform(net.embedding, a).array, float)
        for net, a in zip(draws, gauges, strict=True)
    ]
    return gauges, turns.Pair(*there, *e, p.rank)


def value(found, rotation):
    plan = compare.sinkhorn(found.e_p, found.turned(found.e_q, rotation[None])[0])
    return plan + np.mean(found.differences(rotation[None], len(found.e_q)) ** 2)


@pytest.mark.parametrize("make", [gaussian, clustered])
@pytest.mark.parametrize("rank", [1, *(pytest.param(rank, marks=pytest.mark.slow) for rank in (3, 8))])
def test_distance_of_a_system_to_itself_is_that_of_the_gauge_that_was_applied(make, rank):
    p, rng = make(rank, rank), np.random.default_rng(rank)
    a = rng.normal(size=(rank, rank)) + 0.5 * np.eye(rank)
    q = lr.gauge.transform(p, a)
    (of_p, of_q), found = pair(p, q, jr.key(0), 400)
    left, _, right = np.linalg.svd(of_p @ np.linalg.inv(of_q @ a))
    assert compare.distance(p, q, key=jr.key(0), n_neurons=400) < 1.1 * value(found, left @ right)


class Known(lr.ConnectivityDistribution):
    """Independent m, and n a function of it."""

    rank: int = eqx.field(static=True)
    draw: Callable = eqx.field(static=True)
    g: Callable = eqx.field(static=True)
    n_inputs: int = eqx.field(static=True, default=0)
    bias: bool = eqx.field(static=True, default=False)

    def sample(self, key, n_neurons):
        m = self.draw(key, (n_neurons, self.rank))
        return lr.LowRankNetwork(m, self.g(m))

    def conditional_mean(self, e):
        return self.g(self._embedding(e))

    def log_prob(self, m, b, d, n):
        raise NotImplementedError

    def drift(self, z, u=None):
        raise NotImplementedError


def known(kind, rank, seed) -> Known:
    a = jnp.asarray(np.random.default_rng(seed).normal(size=(rank, rank)), jnp.float32)
    if kind == "waves":
        return Known(rank, jr.laplace, lambda m: jnp.sin(m @ a) + jnp.abs(m[..., ::-1]))
    if kind == "even":
        return Known(rank, jr.normal, lambda m: jnp.abs(m @ a))
    if kind == "tails":
        return Known(rank, lambda k, s: jr.t(k, 3.0, s), lambda m: m @ a + jnp.tanh(m[..., ::-1]))
    return Known(rank, jr.laplace, lambda m: jnp.sin(2 * m))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "rank", "seed"),
    [("waves", 6, 2), ("waves", 8, 2), ("even", 7, 2), ("tails", 5, 0), ("exchangeable", 6, 1)],
)
def test_distance_of_systems_that_are_nearly_symmetric(kind, rank, seed):
    """Axes that low moments hardly tell apart or from their reverse, noise of heavy tails included."""
    p, rng = known(kind, rank, seed), np.random.default_rng(100 * rank + seed)
    a = rng.normal(size=(rank, rank)) + 0.5 * np.eye(rank)
    q = lr.gauge.transform(p, a)
    (of_p, of_q), found = pair(p, q, jr.key(seed), 400)
    left, _, right = np.linalg.svd(of_p @ np.linalg.inv(of_q @ a))
    assert compare.distance(p, q, key=jr.key(seed), n_neurons=400) < 1.3 * value(found, left @ right)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [1, 3])
def test_distance_in_other_units_and_the_other_way_round(rank):
    with x64():
        p, q, key = clustered(rank, 0), clustered(rank, 1), jr.key(0)
        here = compare.distance(p, q, key=key, n_neurons=100)
        for unit in (1e-3, 1e3):
            there = lr.gauge.transform(p, unit * np.eye(rank))
            # Steps end where one gains less than a thousandth, which rounding decides.
            assert compare.distance(there, q, key=key, n_neurons=100) == pytest.approx(here, rel=0.01)
        assert compare.distance(q, p, key=key, n_neurons=100) == pytest.approx(here, rel=0.2)


def test_distance_without_weights_n():
    p = Known(2, jr.normal, jnp.zeros_like)
    assert compare.distance(p, p, key=jr.key(0), n_neurons=100) < 0.2


def test_a_conditional_mean_of_nan_is_named():
    p = Known(2, jr.normal, lambda m: m / jnp.where(m > 2, 0.0, 1.0) * jnp.where(m > 2, 0.0, 1.0))
    with pytest.raises(ValueError, match="expected finite"):
        compare.distance(p, lr.systems.ring(), key=jr.key(0), n_neurons=400)


@pytest.mark.slow
@pytest.mark.parametrize("systems", ["limit cycle, clustered", "ring, ring", "quadstable, bistable"])
def test_distance_is_the_least_of_all_turns(systems):
    """By trial of rotations and reflections, every ten degrees."""
    known = {name: make() for name, make in lr.systems.SYSTEMS.items()}
    known["clustered"] = lr.GaussianMixture(np.ones(2), np.eye(4)[:2] * 2, np.tile(np.eye(4) / 2, (2, 1, 1)))
    p, q = (known[name] for name in systems.split(", "))
    angles = np.deg2rad(np.arange(0, 360, 10))
    turns = np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]]).transpose(2, 0, 1)
    _, found = pair(p, q, jr.key(0), 100)
    least = min(value(found, turn @ np.diag([1, flip])) for turn in turns for flip in (1, -1))
    assert compare.distance(p, q, key=jr.key(0), n_neurons=100) < 1.05 * least


@pytest.mark.slow
def test_floor_is_what_two_samples_are_apart():
    p = gaussian(4, 0)
    small, large = (compare.floor(p, key=jr.key(0), draws=2, n_neurons=n) for n in (100, 400))
    assert small.shape == (2,) and small.min() > 1.3 * large.max()
    # The two samples of m alone are half of it or more.
    x, y = (np.asarray(p.sample(jr.key(k), 400).m) for k in (1, 2))
    assert large.mean() == pytest.approx(compare.sinkhorn(x, y), rel=0.5)


@pytest.mark.slow
def test_matrices_tell_the_four_systems_apart_and_sorted_weights_do_not():
    """Sorted weights confuse the three Gaussian systems, whatever they compute."""
    systems = [make() for make in lr.systems.SYSTEMS.values()]
    ours = compare.matrix(systems, systems, key=jr.key(0), n_neurons=200)
    assert (np.diag(ours) < 0.1 * ours.max()).all()
    assert (ours.argmin(axis=0) == range(4)).all() and (ours.argmin(axis=1) == range(4)).all()
    networks = [[p.sample(jr.key(k), 1000) for p in systems] for k in (0, 1)]
    sort = np.array([[compare.lint_dissimilarity(p, q) for q in networks[1]] for p in networks[0]])
    sort /= sort.max()
    published = [
        [0.00, 0.83, 0.70, 0.68],
        [1.00, 0.02, 0.07, 0.07],
        [0.71, 0.00, 0.02, 0.03],
        [0.58, 0.02, 0.02, 0.02],
    ]
    assert sort[1:, 1:].max() < 0.15 and sort[0, 1:].min() > 0.4 and sort[1:, 0].min() > 0.4
    assert np.abs(sort - published).max() < 0.35


def test_halves_of_one_network_are_no_difference():
    p, q = lr.systems.ring(), lr.systems.limit_cycle()
    network = p.sample(jr.key(0), 400)

    def fit(e):
        """The conditional mean that is known, on the neurons that there are."""
        return lr.distributions.Empirical(lr.LowRankNetwork(e.m, p.conditional_mean(e)))

    null = compare.null(fit, network.embedding, key=jr.key(1), draws=3, n_neurons=200)
    assert null.shape == (3,) and null.max() < compare.distance(
        fit(network.embedding), q, key=jr.key(2), n_neurons=200
    )


BAD = {
    "other ranks": (
        lambda: compare.distance(
            lr.systems.ring(), lr.distributions.Empirical(network(rank=3)), key=jr.key(0), n_neurons=50
        ),
        "^expected distributions of the same rank, got 2 and 3",
    ),
    "too few neurons to divide": (
        lambda: compare.null(None, lr.Embedding(np.eye(3)), key=jr.key(0)),
        "^embedding: expected at least four",
    ),
    "other inputs": (
        lambda: compare.distance(clustered(2, 0), lr.systems.ring(), key=jr.key(0), n_neurons=50),
        "^expected distributions with as many inputs, got 1 and 0",
    ),
    "other ranks, aligned": (
        lambda: compare.dissimilarity(gaussian(3, 0), lr.systems.ring(), key=jr.key(0), n_neurons=50),
        "^expected distributions of the same rank, got 3 and 2",
    ),
    "no samples": (lambda: compare.sinkhorn(np.zeros((0, 2)), np.ones((5, 2))), "^x: expected at least one"),
    "no samples there": (
        lambda: compare.sinkhorn(np.ones((5, 2)), np.zeros((0, 2))),
        "^y: expected at least one sample .* got shape .0, 2.",
    ),
    "squares that overflow": (
        lambda: compare.sinkhorn(np.ones((5, 2)), np.full((5, 2), 1e200)),
        "^y: expected numbers whose squares are finite, got one of 1e.200",
    ),
    "infinity": (
        lambda: compare.sinkhorn(np.ones((5, 2)), np.full((5, 2), np.inf)),
        "^y: expected finite numbers, got 10",
    ),
    "n of zeros": (
        lambda: compare.lint_dissimilarity(network(), lr.LowRankNetwork(network().m, np.zeros((80, 2)))),
        "^q: expected weights J that differ, got 6400 of 0, ",
    ),
    "one neuron": (
        lambda: compare.lint_dissimilarity(network(n=1, rank=1), network(n=1, rank=1)),
        "^p: expected weights J that differ, got 1 of",
    ),
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


NO_DISTRIBUTIONS = {
    "a network": (
        lambda: compare.distance(lr.systems.ring(), network(), key=jr.key(0)),
        "^q: expected a distribution of connectivity, got LowRankNetwork: take lr.distributions.Empirical",
    ),
    "an array": (
        lambda: compare.distance(np.eye(3), lr.systems.ring(), key=jr.key(0)),
        "^p: expected a distribution of connectivity, got ndarray: fit one",
    ),
    "a dissimilarity of networks": (
        lambda: compare.dissimilarity(network(), network(), key=jr.key(0)),
        "^p: expected a distribution of connectivity, got LowRankNetwork",
    ),
    "sorted weights of distributions": (
        lambda: compare.lint_dissimilarity(network(), lr.systems.ring()),
        "^q: expected a LowRankNetwork, got GaussianMixture: sample it",
    ),
    "a fit without a return": (
        lambda: compare.null(lambda e: None, network().embedding, key=jr.key(0)),
        "^fit: expected a function that returns a distribution, got None",
    ),
    "halves of a network": (
        lambda: compare.null(lambda e: lr.systems.ring(), network(), key=jr.key(0)),
        "^embedding: expected an Embedding, got LowRankNetwork: ",
    ),
    "single distributions": (
        lambda: compare.matrix([lr.systems.ring()], lr.systems.ring(), key=jr.key(0)),
        "^qs: expected a list of distributions, got GaussianMixture: wrap it in a list",
    ),
}


@pytest.mark.parametrize("case", NO_DISTRIBUTIONS)
def test_what_is_no_distribution_is_refused(case):
    call, words = NO_DISTRIBUTIONS[case]
    # As outside of the tests, where no type checker stands before.
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(TypeError, match=words):
            call()
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_distances_are_plain_numbers():
    assert isinstance(compare.sinkhorn(jnp.zeros((5, 1)), jnp.ones((5, 1))), float)
    assert isinstance(compare.lint_dissimilarity(network(), network()), float)
