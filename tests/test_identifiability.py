"""The operator's row space against theory, activation by activation; partners, gauges, and what noise leaves."""

from math import factorial

import jax.random as jr
import numpy as np
import pytest
from numpy.polynomial import hermite_e

import lrcore as lr
from lrcore import identifiability
from lrcore.identifiability import null_space_partner, report, spectrum

LINE = np.linspace(-2.4, 2.4, 101)[:, None]
ONE = lr.GaussianMixture([1.0], np.zeros((1, 2)), [[[1.0, 0.5], [0.5, 2.0]]])
ODD, EVEN = [1, 3, 5, 7], [0, 2, 4, 6]


def hermite(k, x):
    """Normalised under the standard Gaussian."""
    return hermite_e.hermeval(x, np.eye(k + 1)[k]) / np.sqrt(factorial(k))


def double_factorial_moment(k):
    """E|x|^k of a standard Gaussian."""
    from scipy.special import gamma

    return 2 ** (k / 2) * gamma((k + 1) / 2) / np.sqrt(np.pi)


def relu_even(k):
    """Share of He_k along |x|, the one even function that ReLU sees: (E |x| He_k)^2 / E x^2, k even."""
    c = np.eye(k + 1)[k]
    coefficients = hermite_e.herme2poly(c) / np.sqrt(factorial(k))
    return sum(a * double_factorial_moment(j + 1) for j, a in enumerate(coefficients)) ** 2


def cubic(x):
    return x + x**3


def shifted(name, by):
    phi = lr.activation.resolve(name)
    return lambda x: phi(x + by)


SEEN = {
    "linear": ("linear", {1}),
    "polynomial": (cubic, {1, 3}),
    "tanh": ("tanh", set(ODD)),
    "sigmoid": ("sigmoid", {0, *ODD}),
    "softplus": ("softplus", {1, *EVEN}),
    "exp": ("exp", set(range(8))),
    "tanh shifted": (shifted("tanh", 0.7), set(range(8))),
    "sigmoid shifted": (shifted("sigmoid", 0.7), set(range(8))),
    "softplus shifted": (shifted("softplus", 0.7), set(range(8))),
}


@pytest.mark.parametrize("row", SEEN)
def test_orders_of_one_dimension(row):
    activation, seen = SEEN[row]
    found = spectrum(ONE, LINE, activation=activation)
    captured = found.captured(np.stack([hermite(k, found.nodes[:, 0]) for k in range(8)], axis=1))
    if row == "polynomial":
        # x and x + x^3 are different functions of z m only together: He_3 and He_1 stay apart.
        assert found.rank() == 2
    np.testing.assert_allclose(captured, [float(k in seen) for k in range(8)], atol=0.01)


def test_relu_sees_two_functions_of_one_dimension():
    found = spectrum(ONE, LINE, activation="relu", nodes=128)
    captured = found.captured(np.stack([hermite(k, found.nodes[:, 0]) for k in range(8)], axis=1))
    expected = [relu_even(k) if k in EVEN else float(k == 1) for k in range(8)]
    assert found.rank() == 2 and expected[0] == pytest.approx(2 / np.pi)
    np.testing.assert_allclose(captured, expected, atol=0.01)


def test_five_modes_of_tanh_survive_noise():
    assert spectrum(ONE, LINE).rank(1e-3) == 5


@pytest.mark.parametrize("activation", ["linear", "tanh", "sigmoid", "softplus", "exp"])
def test_orders_of_two_dimensions(activation):
    seen = SEEN[activation][1]
    found = spectrum(lr.systems.ring(), lr.systems.grid(30), activation=activation, nodes=24)
    orders = [(i, total - i) for total in range(5) for i in range(total + 1)]
    m = found.nodes.T
    captured = found.captured(np.stack([hermite(i, m[0]) * hermite(j, m[1]) for i, j in orders], axis=1))
    np.testing.assert_allclose(captured, [float(i + j in seen) for i, j in orders], atol=0.01)


def test_heterogeneous_bias_leaves_a_dimension_free():
    r"""The row space is span{phi^(k)(d) m^k}: one function of d for each power of m."""
    covariance = np.diag([1.0, 1.0, 1.0])
    p = lr.GaussianMixture([1.0], np.zeros((1, 3)), covariance[None], rank=1, bias=True)
    found = spectrum(p, LINE, nodes=40)
    m, d = found.nodes.T
    # Derivatives of tanh, as polynomials in tanh: (1 - y^2) p'(y).
    y, polynomial, claimed = np.tanh(d), np.polynomial.Polynomial([0, 1]), []
    for k in range(24):
        column = polynomial(y) * m**k
        claimed.append(column / np.sqrt(found.shares @ column**2))
        polynomial = polynomial.deriv() * np.polynomial.Polynomial([1, 0, -1])
    root = np.sqrt(found.shares)[:, None]
    left, values, _ = np.linalg.svd(np.stack(claimed, axis=1) * root, full_matrices=False)
    left = left[:, values > 1e-12 * values[0]]
    modes = np.stack([hermite(i, m) * hermite(j, d) for i in range(4) for j in range(4)], axis=1)
    np.testing.assert_allclose(found.captured(modes), ((left.T @ (root * modes)) ** 2).sum(axis=0), atol=0.01)
    # A function of d alone is seen through its part along tanh(d) only.
    assert 0.02 < found.captured(d**3 - 3 * d) < 0.5


def test_quadrature_and_sampling_agree():
    exact = spectrum(lr.systems.ring(), lr.systems.grid(9), nodes=24).values[:5]
    sampled = spectrum(
        lr.systems.ring().sample(jr.key(0), 50_000).embedding, lr.systems.grid(9), modes=5
    ).values
    np.testing.assert_allclose(sampled, exact, rtol=0.02)


def test_modes_at_any_embedding():
    found = spectrum(lr.systems.ring(), lr.systems.grid(12), nodes=16)
    np.testing.assert_allclose(found.at(found.nodes, 8), found.modes[:, :8], atol=1e-6)
    identity = found.modes.T @ (found.shares[:, None] * found.modes)
    np.testing.assert_allclose(identity, np.eye(len(identity)), atol=1e-9)


def drift64(e, n, z, phi=np.tanh):
    return phi(z @ np.asarray(e, float).T) @ np.asarray(n, float) / len(n)


def sliced_wasserstein(x, y, directions=64):
    along = np.random.default_rng(0).normal(size=(x.shape[1], directions))
    along /= np.linalg.norm(along, axis=0)
    return np.abs(np.sort(x @ along, axis=0) - np.sort(y @ along, axis=0)).mean()


@pytest.mark.parametrize("kind", ["clusters", "tails"])
@pytest.mark.parametrize("name", list(lr.systems.SYSTEMS))
def test_partner_of_a_network(name, kind):
    network = lr.systems.SYSTEMS[name]().sample(jr.key(0), 1000)
    other = null_space_partner(network, key=jr.key(1), kind=kind)
    z = np.asarray(lr.systems.grid(30), float)
    ours, theirs = (drift64(one.m, one.n, z) for one in (network, other))
    assert np.sqrt(np.mean((ours - theirs) ** 2) / np.mean(ours**2)) < 1e-6
    assert sliced_wasserstein(np.asarray(network.n), np.asarray(other.n)) > 1


@pytest.mark.parametrize("name", list(lr.systems.SYSTEMS))
def test_partner_of_a_population(name):
    p = lr.systems.SYSTEMS[name]()
    other = null_space_partner(p, key=jr.key(2))
    # Other nodes and states than those it was made with.
    test = spectrum(p, lr.systems.grid(21), nodes=30, modes=1)
    rates = np.tanh(test.states @ test.nodes.T)
    change = (rates * test.shares) @ other.change(test.nodes)
    drift = np.asarray(p.drift(test.states))
    assert np.sqrt(np.mean(change**2) / np.mean(drift**2)) < 1e-6
    draws = [one.sample(jr.key(3), 4000).n for one in (p, other)]
    assert sliced_wasserstein(*map(np.asarray, draws)) > 1
    # The conditional mean is another function of m, by as much as it says.
    e = p.sample(jr.key(4), 500).embedding
    difference = np.asarray(other.conditional_mean(e) - p.conditional_mean(e))
    np.testing.assert_allclose(difference, other.change(e), atol=1e-4)
    assert np.sqrt(np.mean(difference**2)) > 0.5
    # Finite networks differ as much as their number says, and no more.
    sizes, gaps = np.array([250, 1000, 4000, 16000]), []
    z = np.asarray(lr.systems.grid(9), float)
    for size in sizes:
        pairs = [(p.sample(jr.key(i), size), other.sample(jr.key(i), size)) for i in range(10)]
        gaps.append(np.sqrt(np.mean([(drift64(a.m, a.n, z) - drift64(b.m, b.n, z)) ** 2 for a, b in pairs])))
    assert np.polyfit(np.log(sizes), np.log(gaps), 1)[0] == pytest.approx(-0.5, abs=0.1)


def test_degrees_of_freedom_predict_what_is_recovered():
    """Ridge regression with the prior's own strength: small errors inside the identified subspace, none gained outside."""
    inside, outside = [], []
    rng = np.random.default_rng(0)
    for trial in range(20):
        n = int(rng.choice([150, 300, 600]))
        noise, extent = 10 ** rng.uniform(-2, 0), rng.choice([0.5, 1.0, 2.4])
        e = lr.systems.ring().sample(jr.key(trial), n).embedding
        z = rng.uniform(-extent, extent, (int(rng.choice([300, 3000])), 2))
        found = spectrum(e, z)
        gain = found.information(noise)
        # A g from the prior: coefficients of standard deviation 1 in all modes of the row space.
        coefficients = rng.normal(size=(len(found.values), 2))
        y = found.images * found.values @ coefficients + noise * rng.normal(size=(len(z), 2))
        estimate = (gain / (1 + gain))[:, None] * (found.images.T @ y / len(z)) / found.values[:, None]
        identified = found.identified(noise)
        assert identified.sum() <= found.degrees_of_freedom(noise) / 0.99
        error = estimate - coefficients
        if identified.any():
            inside.append(np.sum(error[identified] ** 2) / np.sum(coefficients[identified] ** 2))
        beyond = gain < 1 / identifiability._IDENTIFIED
        outside.append(np.sum(error[beyond] ** 2) / np.sum(coefficients[beyond] ** 2))
    assert len(inside) >= 15
    assert np.sqrt(np.max(inside)) < 0.1
    assert np.min(outside) > 0.9


def test_trajectories_on_the_attractor_determine_less():
    network = lr.systems.quadstable().sample(jr.key(0), 300)
    paths = np.asarray(lr.systems.trajectories(network, points=10))
    moving = report(paths, network.embedding, noise=0.1)
    resting = report(paths[:, -30:], network.embedding, noise=0.1)
    assert resting.modes < moving.modes and resting.degrees_of_freedom < moving.degrees_of_freedom
    assert f"determined   {2 * moving.modes} numbers" in repr(moving)


def test_inputs_open_dimensions():
    rng = np.random.default_rng(0)
    e = lr.Embedding(rng.normal(size=(200, 1)), rng.normal(size=(200, 1)))
    z = rng.normal(size=(40, 30, 1))
    u = rng.normal(size=(40, 30, 1))
    before = report(z, e, noise=0.1, candidates=u)
    after = report(z, e, noise=0.1, inputs=u)
    assert before.added == after.modes - before.modes > 5
    assert f"would add {before.added} numbers" in repr(before)


def test_padding_is_not_visited():
    network = lr.systems.ring().sample(jr.key(0), 100)
    paths = np.array(lr.systems.trajectories(network, points=4))
    lengths = np.full(16, 60)
    padded = paths.copy()
    padded[:, 60:] = np.nan
    short = report(paths[:, :60], network.embedding, noise=0.1)
    np.testing.assert_allclose(
        report(padded, network.embedding, noise=0.1, lengths=lengths).information, short.information
    )


def test_bad_input():
    e = lr.systems.ring().sample(jr.key(0), 50).embedding
    z = np.asarray(lr.systems.grid(5))
    found = spectrum(e, z)
    with pytest.raises(ValueError, match="noise: expected the standard deviation .* only the spectrum"):
        found.identified(None)
    with pytest.raises(ValueError, match="noise: expected a positive"):
        report(z, e, noise=0.0)
    with pytest.raises(ValueError, match="at least as many distinct states as modes, 30, got 25"):
        spectrum(e, z, modes=30)
    with pytest.raises(ValueError, match="neurons that differ, got 10 alike"):
        spectrum(lr.Embedding(np.ones((10, 2))), z)
    with pytest.raises(ValueError, match="at most three coordinates"):
        big = lr.GaussianMixture([1.0], np.zeros((1, 8)), np.eye(8)[None])
        spectrum(big, np.zeros((5, 4)))
    with pytest.raises(TypeError, match="lr.Embedding or an lr.GaussianMixture"):
        spectrum(np.ones((3, 2)), z)
    with pytest.raises(ValueError, match="value at each of the 50 nodes"):
        found.captured(np.ones(3))
    with pytest.raises(ValueError, match="'clusters' or 'tails'"):
        null_space_partner(lr.systems.ring(), key=jr.key(0), kind="x")
    with pytest.raises(ValueError, match="determines all 5 weights"):
        null_space_partner(lr.systems.ring().sample(jr.key(0), 5), key=jr.key(0))
    with pytest.raises(ValueError, match="lengths: expected none for states without trials"):
        report(z, e, noise=0.1, lengths=[5])
