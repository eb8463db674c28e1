"""The operator's row space against theory, activation by activation; partners, gauges, and what noise leaves."""

from math import factorial

import jax.random as jr
import numpy as np
import pytest
from numpy.polynomial import hermite_e

import lrcore as lr
from lrcore import identifiability, null_space_partner
from lrcore.identifiability import determined_orders, report, spectrum

LINE = np.linspace(-3, 3, 121)[:, None]
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


def gauss_hermite():
    """The standard Gaussian by the other rule: nodes as neurons, with the weights of Gauss and Hermite."""
    nodes, weights = hermite_e.hermegauss(60)
    return {"embedding": lr.Embedding(nodes[:, None]), "shares": weights}


RULES = {"trapezoidal": lambda: {"embedding": ONE}, "Gauss-Hermite": gauss_hermite}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("row", SEEN)
def test_orders_of_one_dimension(row, rule):
    activation, seen = SEEN[row]
    found = spectrum(states=LINE, activation=activation, **RULES[rule]())
    captured = found.captured(np.stack([hermite(k, found.nodes[:, 0]) for k in range(8)], axis=1))
    if row == "polynomial":
        # x and x + x^3 are different functions of z m only together: He_3 and He_1 stay apart.
        assert found.rank() == 2
    np.testing.assert_allclose(captured, [float(k in seen) for k in range(8)], atol=0.01)


def test_relu_sees_two_functions_of_one_dimension():
    found = spectrum(ONE, LINE, activation="relu")
    captured = found.captured(np.stack([hermite(k, found.nodes[:, 0]) for k in range(8)], axis=1))
    expected = [relu_even(k) if k in EVEN else float(k == 1) for k in range(8)]
    assert found.rank() == 2 and expected[0] == pytest.approx(2 / np.pi)
    np.testing.assert_allclose(captured, expected, atol=0.01)


def test_five_modes_of_tanh_survive_noise():
    assert spectrum(ONE, LINE).rank(1e-3) == 5


PLANE = [(total - j, j) for total in range(5) for j in range(total + 1)]


@pytest.mark.parametrize("row", SEEN)
def test_orders_of_two_dimensions(row):
    activation, seen = SEEN[row]
    found = spectrum(lr.systems.ring(), lr.systems.grid(20), activation=activation, nodes=48)
    m = found.nodes.T
    captured = found.captured(np.stack([hermite(i, m[0]) * hermite(j, m[1]) for i, j in PLANE], axis=1))
    np.testing.assert_allclose(captured, [float(i + j in seen) for i, j in PLANE], atol=0.01)


def test_relu_sees_an_angular_profile():
    r"""Two dimensions, nodes in polar coordinates: an even function is seen through its angular profile, |m| f(angle)."""
    radius, weight = np.polynomial.legendre.leggauss(48)
    radius = 4.5 * (radius + 1)
    angle = 2 * np.pi * (np.arange(128) + 0.5) / 128
    r, a = (x.ravel() for x in np.meshgrid(radius, angle, indexing="ij"))
    shares = np.repeat(weight * radius * np.exp(-(radius**2) / 2), len(angle))
    m = np.stack([r * np.cos(a), r * np.sin(a)], axis=1)
    found = spectrum(lr.Embedding(m), lr.systems.grid(24), activation="relu", shares=shares)
    # Of the constant, the part along |m|: (E|m|)^2 / E|m|^2 = pi / 4. Of an odd function, the linear part.
    even = r * np.cos(2 * a)
    angular = found.captured(np.stack([np.ones_like(r), even, r, m[:, 0], m[:, 0] * (r**2 - 4)], axis=1))
    np.testing.assert_allclose(angular, [np.pi / 4, 1, 1, 1, 0], atol=0.01)
    # Every order: the best |m| f(angle), E[r h | angle] / E r^2 at each angle; of odd functions order 1 only.
    modes = np.stack([hermite(i, m[:, 0]) * hermite(j, m[:, 1]) for i, j in PLANE], axis=1)
    by_angle = modes.reshape(len(radius), len(angle), -1)
    radial = weight * radius * np.exp(-(radius**2) / 2)
    profile = np.einsum("r,rak->ak", radial * radius, by_angle) / (radial @ radius**2)
    share = (radial @ radius**2) * (profile**2).sum(axis=0) / (shares @ modes**2)
    expected = [share[k] if (i + j) % 2 == 0 else float(i + j == 1) for k, (i, j) in enumerate(PLANE)]
    np.testing.assert_allclose(found.captured(modes), expected, atol=0.01)


def test_heterogeneous_bias_is_never_unique():
    r"""Each order k gives one functional, E[phi^(k)(d) g m^k]: it vanishes for what is free, and little else is seen."""
    p = lr.GaussianMixture([1.0], np.zeros((1, 3)), np.eye(3)[None], rank=1, bias=True)
    found = spectrum(p, LINE)
    m, d = found.nodes.T
    rng = np.random.default_rng(0)
    free = found.free_part(np.cos(found.nodes @ rng.normal(size=(2, 4)) + rng.normal(size=4)))
    assert (found.shares @ free**2 > 0.05).all()
    # Derivatives of tanh, as polynomials in y = tanh(d): (1 - y^2) p'(y).
    y, polynomial = np.tanh(d), np.polynomial.Polynomial([0, 1])
    for k in range(7):
        seen = polynomial(y) * m**k
        seen /= np.sqrt(found.shares @ seen**2)
        assert np.abs((found.shares * seen) @ free).max() < 0.01
        polynomial = polynomial.deriv() * np.polynomial.Polynomial([1, 0, -1])
    # Of functions of d alone: the part along tanh(d) and some more, never all; nothing of the even ones.
    odd, even = found.captured(np.stack([d**3 - 3 * d, d**2 - 1], axis=1))
    assert 0.01 < odd < 0.5 and even < 0.01


def test_exp_with_biases_sees_one_function_of_them():
    """The part along e^d: of He_i(m) He_j(d) a share of e^-1 / j!."""
    p = lr.GaussianMixture([1.0], np.zeros((1, 3)), np.eye(3)[None], rank=1, bias=True)
    found = spectrum(p, LINE, activation="exp")
    m, d = found.nodes.T
    captured = found.captured(
        np.stack([hermite(i, m) * hermite(j, d) for i in range(4) for j in range(4)], axis=1)
    )
    expected = np.exp(-1) / np.array([factorial(j) for j in range(4)])
    np.testing.assert_allclose(captured.reshape(4, 4), np.tile(expected, (4, 1)), atol=0.01)


@pytest.mark.parametrize("activation", ["sigmoid", "softplus"])
def test_biases_of_symmetric_law_leave_a_parity_free(activation):
    """Of the even part a sigmoid sees the mean at most; of the odd part softplus sees the first moments at most."""
    p = lr.GaussianMixture([1.0], np.zeros((1, 3)), np.eye(3)[None], rank=1, bias=True)
    found = spectrum(p, LINE, activation=activation)
    m, d = found.nodes.T
    even = [m**2 - 1, m * d, d**2 - 1]
    odd = [m**3 - 3 * m, (m**2 - 1) * d, m * (d**2 - 1), d**3 - 3 * d]
    free = even if activation == "sigmoid" else odd
    np.testing.assert_allclose(found.captured(np.stack(free, axis=1)), 0, atol=0.01)


def test_orders_are_those_of_the_taylor_series():
    expected = {
        "linear": (1,),
        "tanh": (1, 3, 5, 7),
        "sigmoid": (0, 1, 3, 5, 7),
        "softplus": (0, 1, 2, 4, 6),
        "exp": tuple(range(8)),
    }
    assert {name: determined_orders(name) for name in expected} == expected
    assert determined_orders(cubic, most=5) == (1, 3)
    assert determined_orders("tanh", most=0) == ()
    for name in ("tanh", "sigmoid", "softplus"):
        assert determined_orders(name, 0.7) == tuple(range(8))
    for bias in (0.0, 0.01):
        with pytest.raises(ValueError, match="analytic at .* got 'relu', .* spectrum"):
            determined_orders("relu", bias)


def test_quadrature_and_sampling_agree():
    exact = spectrum(lr.systems.ring(), lr.systems.grid(9)).values[:5]
    sampled = spectrum(
        lr.systems.ring().sample(jr.key(0), 50_000).embedding, lr.systems.grid(9), modes=5
    ).values
    np.testing.assert_allclose(sampled, exact, rtol=0.02)


def test_modes_at_any_embedding():
    found = spectrum(lr.systems.ring(), lr.systems.grid(12), nodes=32)
    np.testing.assert_allclose(found.at(found.nodes, 8), found.modes[:, :8], atol=1e-6)
    identity = found.modes.T @ (found.shares[:, None] * found.modes)
    np.testing.assert_allclose(identity, np.eye(len(identity)), atol=1e-9)


def drift64(e, n, z, phi=np.tanh):
    return phi(z @ np.asarray(e, float).T) @ np.asarray(n, float) / len(n)


def sliced_wasserstein(x, y, directions=64):
    along = np.random.default_rng(0).normal(size=(x.shape[1], directions))
    along /= np.linalg.norm(along, axis=0)
    return np.abs(np.sort(x @ along, axis=0) - np.sort(y @ along, axis=0)).mean()


@pytest.mark.parametrize("kind", ["clusters", "tails", "sign"])
@pytest.mark.parametrize("name", list(lr.systems.SYSTEMS))
def test_partner_of_a_network(name, kind):
    network = lr.systems.SYSTEMS[name]().sample(jr.key(0), 1000)
    other = null_space_partner(network, key=jr.key(1), kind=kind)
    z = np.asarray(lr.systems.grid(30), float)
    ours, theirs = (drift64(one.m, one.n, z) for one in (network, other))
    assert np.sqrt(np.mean((ours - theirs) ** 2) / np.mean(ours**2)) < 1e-6
    assert sliced_wasserstein(np.asarray(network.n), np.asarray(other.n)) > 1


@pytest.mark.parametrize("kind", ["clusters", "tails", "sign"])
@pytest.mark.parametrize("name", list(lr.systems.SYSTEMS))
def test_partner_of_a_population(name, kind):
    p = lr.systems.SYSTEMS[name]()
    other = null_space_partner(p, key=jr.key(2), kind=kind)
    # Other nodes and states than those it was made with.
    test = spectrum(p, lr.systems.grid(21), nodes=110, modes=1)
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


@pytest.mark.parametrize("name", list(lr.systems.SYSTEMS))
def test_partners_of_finite_size_differ_by_their_number(name):
    p = lr.systems.SYSTEMS[name]()
    other = null_space_partner(p, key=jr.key(2))
    sizes, gaps = [250, 1000, 4000], []
    z = np.asarray(lr.systems.grid(9), float)
    for size in sizes:
        pairs = [(p.sample(jr.key(i), size), other.sample(jr.key(i), size)) for i in range(24)]
        gaps.append(np.sqrt(np.mean([(drift64(a.m, a.n, z) - drift64(b.m, b.n, z)) ** 2 for a, b in pairs])))
    assert np.polyfit(np.log(sizes), np.log(gaps), 1)[0] == pytest.approx(-0.5, abs=0.1)


def experiment(trial, rng, repeats=25):
    """Measured drifts of networks with weights from the prior, and the ridge estimate of them by the normal equations."""
    n = int(rng.choice([150, 300, 600]))
    noise, extent = 10 ** rng.uniform(-2, 0), rng.choice([0.5, 1.0, 2.4])
    e = lr.systems.ring().sample(jr.key(trial), n).embedding
    z = rng.uniform(-extent, extent, (int(rng.choice([300, 3000])), 2))
    x = np.tanh(z @ np.asarray(e.m, float).T) / n
    # A prior of standard deviation 1 for the coefficient of every mode is one of sqrt(n) for every weight.
    weights = np.sqrt(n) * rng.normal(size=(n, repeats))
    y = x @ weights + noise * rng.normal(size=(len(z), repeats))
    estimate = np.linalg.solve(x.T @ x + noise**2 / n * np.eye(n), x.T @ y)
    return spectrum(e, z), noise, weights, estimate


def test_degrees_of_freedom_predict_what_is_recovered():
    """Errors are small inside the identified subspace, the prior's outside of it; in all df modes are recovered."""
    inside, outside, ratios = [], [], []
    rng = np.random.default_rng(0)
    for trial in range(24):
        found, noise, weights, estimate = experiment(trial, rng)
        gain, identified = found.information(noise), found.identified(noise)
        assert identified.sum() <= found.degrees_of_freedom(noise) / 0.99

        def energy(x, modes, found=found):
            return np.sum((found.modes[:, modes].T @ (found.shares[:, None] * x)) ** 2)

        if identified.any():
            inside.append(energy(estimate - weights, identified) / energy(weights, identified))
        beyond = gain < 1 / identifiability._IDENTIFIED
        outside.append(energy(estimate - weights, beyond) / energy(weights, beyond))
        # Mode by mode, the share of the energy that is recovered: they add up to the degrees of freedom.
        wrong, true = (
            np.sum((found.modes.T @ (found.shares[:, None] * x)) ** 2, axis=1)
            for x in (estimate - weights, weights)
        )
        ratios.append(np.sum(1 - wrong / true) / found.degrees_of_freedom(noise))
    assert len(inside) >= 20
    assert np.sqrt(np.max(inside)) < 0.1
    assert np.min(outside) > 0.9
    np.testing.assert_allclose(ratios, 1, atol=0.25)
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)


def test_trajectories_on_the_attractor_determine_less():
    network = lr.systems.quadstable().sample(jr.key(0), 300)
    paths = np.asarray(lr.systems.trajectories(network, points=10))
    moving = report(paths, network.embedding, noise=0.1)
    resting = report(paths[:, -30:], network.embedding, noise=0.1)
    assert resting.modes < moving.modes and resting.degrees_of_freedom < moving.degrees_of_freedom
    assert f"Of 600 weights n of 300 neurons the data determine {2 * moving.modes} numbers." in repr(moving)
    assert moving.partly == np.sum((moving.information >= 1) & (moving.information < 99)) > 0
    assert f"partly       {moving.partly} more" in repr(moving)


def test_report_of_a_recording():
    """Latents carry lengths, embedding and activation."""
    recording = lr.recording.clicks_session(jr.key(0), n_trials=60).recording
    states = lr.latents.smooth(recording, 2)
    found = report(states, noise=0.5)
    by_hand = report(
        np.asarray(states.z), states.embedding, noise=0.5, lengths=states.lengths, activation="softplus"
    )
    np.testing.assert_allclose(found.information, by_hand.information)
    assert found.steps == recording.lengths.sum() and len(found.spectrum.states) <= 4000


def test_inputs_open_dimensions():
    rng = np.random.default_rng(0)
    e = lr.Embedding(rng.normal(size=(200, 1)), rng.normal(size=(200, 1)))
    z = rng.normal(size=(40, 30, 1))
    u = rng.normal(size=(40, 30, 1))
    before = report(z, e, noise=0.1, candidates=u)
    after = report(z, e, noise=0.1, inputs=u)
    assert before.added == after.modes - before.modes >= 3
    assert f"would add {before.added} numbers" in repr(before)
    assert before.captured(np.asarray(e.m[:, 0])) > 0.99 > before.captured(np.asarray(e.m[:, 0]) ** 2)


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
    for noise in (0.0, -1.0, np.nan):
        with pytest.raises(
            ValueError, match="noise: expected a positive .* only the spectrum can be computed"
        ):
            report(z, e, noise=noise)
    with pytest.raises(ValueError, match="noise: expected the standard deviation"):
        report(z, e)
    with pytest.raises(TypeError, match="infer them first, lr.latents.smooth"):
        report(lr.recording.clicks_session(jr.key(0), n_trials=10).recording, noise=0.1)
    for states, words in ((z[:0], "at least one, got none"), (np.zeros((4, 2)), "4 where every rate is 0")):
        with pytest.raises(ValueError, match=f"states: expected .*{words}"):
            report(states, e, noise=0.1)
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
    with pytest.raises(ValueError, match="'clusters', 'tails' or 'sign'"):
        null_space_partner(lr.systems.ring(), key=jr.key(0), kind="x")
    with pytest.raises(ValueError, match="determines all 5 weights"):
        null_space_partner(lr.systems.ring().sample(jr.key(0), 5), key=jr.key(0))
    with pytest.raises(ValueError, match="embedding: expected that of the recorded neurons"):
        report(z, noise=0.1)
    with pytest.raises(ValueError, match="shares: expected positive"):
        spectrum(e, z, shares=np.zeros(50))
    with pytest.raises(ValueError, match="count: expected at most"):
        found.at(e, 51)
    with pytest.raises(ValueError, match="e: expected 2 along"):
        found.at(np.ones((3, 5)), 2)
    with pytest.raises(ValueError, match="lengths: expected none for states without trials"):
        report(z, e, noise=0.1, lengths=[5])
