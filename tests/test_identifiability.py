"""The operator's row space against theory, activation by activation, and what noise leaves of it."""

import warnings
from math import factorial

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from numpy.polynomial import hermite_e

import lrcore as lr
from lrcore.identifiability import determined_orders, report, spectrum
from lrcore.spectra import IDENTIFIED

# That new neurons would not carry the drift is not what a report is asked for.
pytestmark = pytest.mark.filterwarnings("ignore:maxent. the drift of new neurons")

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
    r"""Nodes in polar coordinates: an even function is seen through its angular profile, |m| f(angle)."""
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
    r"""Each order k gives one functional, E[phi^(k)(d) g m^k]: it vanishes for what is free."""
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
    """A sigmoid sees of the even part the mean at most, softplus of the odd part the first moments."""
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


EVERY = tuple(range(8))


@pytest.mark.parametrize(
    "activation, bias, expected",
    [
        # Tails: derivatives are small, each of its own size, and none is 0.
        *[("tanh", bias, EVERY) for bias in (5.0, 12.0, -12.0, 16.0)],
        *[("sigmoid", bias, EVERY) for bias in (12.0, -12.0, -600.0)],
        *[("softplus", bias, EVERY) for bias in (25.0, -40.0)],
        (jax.nn.gelu, -4.0, EVERY),
        # Near a symmetry, and at it.
        *[("tanh", bias, EVERY) for bias in (1e-7, -1e-7, 1e-11)],
        ("softplus", 1e-7, EVERY),
        ("linear", 1e-7, (0, 1)),
        (lambda x: 1e-20 * jnp.tanh(x), 0.0, (1, 3, 5, 7)),
        (lambda x: 1e20 * (jnp.tanh(x) + 1e-3), 0.0, (0, 1, 3, 5, 7)),
        # Flat pieces.
        ("relu", -1.0, ()),
        ("relu", 1.0, (0, 1)),
    ],
)
def test_orders_do_not_depend_on_the_size_of_derivatives(activation, bias, expected):
    assert determined_orders(activation, bias) == expected


@pytest.mark.parametrize(
    "activation, bias, words",
    [
        ("tanh", 20.0, "^activation: expected derivatives that float64 tells .* of which order 2 is 0"),
        ("tanh", -300.0, "^activation: expected derivatives that float64 tells"),
        ("softplus", 40.0, "^activation: expected derivatives that float64 tells"),
        ("exp", -800.0, "^activation: expected derivatives that float64 tells"),
        ("exp", 800.0, "^activation: expected finite derivatives at 800, got others of 'exp'"),
        (lambda x: 1e-12 * jax.nn.relu(x), 0.0, "^activation: expected one that is analytic at 0"),
        (lambda x: 1 + 1e-10 * jax.nn.relu(x), 0.01, "^activation: expected one that is analytic at 0.01"),
        ("tanh", np.nan, "^bias: expected finite"),
    ],
)
def test_orders_that_float64_cannot_tell_are_refused(activation, bias, words):
    with pytest.raises(ValueError, match=words):
        determined_orders(activation, bias)


def test_one_missing_order_costs_nothing():
    """Müntz and Szász: its moment is determined by the others of its parity, if these are many; a polynomial
    has few.
    """
    bias = float(np.arctanh(1 / np.sqrt(3)))  # where the third derivative of tanh is 0
    assert determined_orders("tanh", bias) == (0, 1, 2, 4, 5, 6, 7)
    p = lr.GaussianMixture([1.0], np.zeros((1, 2)), np.eye(2)[None])
    many = spectrum(p, LINE, activation=lambda x: jnp.tanh(x + bias))
    assert many.captured(hermite(3, many.nodes[:, 0])) > 1 - 1e-7
    assert determined_orders(lambda x: x + x**5) == (1, 5)
    few = spectrum(p, LINE, activation=lambda x: x + x**5)
    assert few.rank() == 2 and few.captured(hermite(3, few.nodes[:, 0])) < 0.9


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


def experiment(trial, rng, repeats=25):
    """Measured drifts of networks with weights from the prior, and the ridge estimate of the weights."""
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
    """Errors are small in the identified subspace and the prior's outside; in all, df modes are recovered."""
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
        beyond = gain < 1 / IDENTIFIED
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


def at(states, inputs=None) -> lr.Steps:
    """Steps at given states (state, rank), each a trial of its own."""
    return lr.Steps(states, inputs, np.tanh(states), np.arange(len(states)), alpha=0.1)


def test_trajectories_on_the_attractor_determine_less():
    network = lr.systems.quadstable().sample(jr.key(0), 300)
    paths = np.asarray(lr.systems.trajectories(network, points=10))
    options = {"noise": 0.1, "size": 1.0}
    moving = report(lr.steps(paths, alpha=0.1), network.embedding, **options)
    resting = report(lr.steps(paths[:, -30:], alpha=0.1), network.embedding, **options)
    assert resting.modes < moving.modes and resting.degrees_of_freedom < moving.degrees_of_freedom
    law = f"{2 * moving.degrees_of_freedom:.0f} numbers about their law."
    assert f"Of 600 weights n of 300 neurons the data hold {law}" in repr(moving) and moving.neurons == 0
    assert moving.partly == np.sum((moving.information >= 1) & (moving.information < 99)) > 0
    assert f"partly       {moving.partly} more" in repr(moving)


def test_report_of_a_recording(clicks_session):
    """The steps of latents end where their trials do."""
    recording = clicks_session(0, 60).recording
    states = lr.latents.smooth(recording, 2)
    options = {"noise": 0.5, "activation": states.activation, "size": 0.1}
    found = report(states.steps(), states.embedding, **options)
    by_hand = lr.steps(np.asarray(states.z), lengths=states.lengths, alpha=0.1)
    np.testing.assert_allclose(
        found.information, report(by_hand, states.embedding, **options).information, rtol=0.02, atol=1e-6
    )
    assert states.activation == "softplus"
    # Latents are smooth, and so are their residuals: the steps count for fewer.
    assert 10 < found.steps < 0.5 * (recording.lengths - 1).sum() and len(found.spectrum.states) <= 4000


def test_report_of_a_fit():
    """A fit of maximum entropy and a Connector know their steps, embedding, activation and noise."""
    network = lr.systems.ring().sample(jr.key(0), 100)
    seen = lr.steps(lr.systems.trajectories(network, points=4), alpha=0.1)
    fit = lr.maxent.fit(seen, network.embedding)
    found = report(fit, taus=())
    by_hand = report(seen, network.embedding, noise=fit.noise, activation="tanh")
    np.testing.assert_array_equal(found.information, by_hand.information)
    assert found.noise == fit.noise and report(fit, noise=0.1, taus=()).noise == 0.1
    assert report(fit, size=2.0, taus=()).prior == "white: 2 for each mode, as of independent weights of 20"
    with pytest.raises(ValueError, match="^embedding: expected none beside a fit, which has its own"):
        report(fit, network.embedding)
    # Of a given ridge the noise is what the fit leaves, for each number that it has not taken up.
    given = lr.maxent.fit(seen, network.embedding, ridge=1e-3)
    left = seen.y - np.asarray(given.network().drift(seen.z))
    freedom = 2 * len(seen) - given.evidence.degrees_of_freedom(given.modes)[0]
    assert report(given).noise == pytest.approx(np.sqrt(np.sum(left**2) / freedom), rel=1e-3)


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_measured_prior_counts_what_the_evidence_counts(noise):
    """Numbers about the law and about these neurons, and modes under narrower and wider priors."""
    network = lr.systems.limit_cycle().sample(jr.key(0), 100)
    paths = network.simulate(lr.systems.grid(6), None, 0.1, 60, noise=noise * np.sqrt(0.1), key=jr.key(1))
    fit = lr.maxent.fit(lr.steps(paths, alpha=0.1), network.embedding)
    found = report(fit, taus=())
    law, accident = fit.evidence.degrees_of_freedom(fit.modes)
    assert 2 * found.degrees_of_freedom == pytest.approx(law, rel=0.02) and found.neurons == accident
    assert f"hold {law:.0f} numbers about their law and {accident:.0f} about these very neurons" in repr(
        found
    )
    assert found.counts[0] <= found.counts[1] == found.modes <= found.counts[2] and found.counts[2] > 0
    assert found.steps == fit.modes.steps and found.prior.startswith("measured: modes of g fall")
    # More noise than was measured hides more.
    assert report(fit, noise=3 * fit.noise, taus=()).degrees_of_freedom < found.degrees_of_freedom


def test_the_range_over_tau_is_that_of_fits_with_another():
    """By hand: steps of the same velocities in time constants of another length, fitted and counted."""
    network = lr.systems.ring().sample(jr.key(0), 60)
    z = np.asarray(lr.systems.trajectories(network, points=3, steps=20))
    z = z + 0.01 * np.random.default_rng(0).normal(size=z.shape)
    fit = lr.maxent.fit(lr.steps(z, alpha=0.4), network.embedding)
    found = report(fit, taus=(0.3, 0.5, 2.0))
    assert list(found.over_tau) == [0.5, 2.0]  # alpha of more than 1 is none
    for tau, (numbers, modes) in found.over_tau.items():
        other = lr.steps(z, alpha=0.4 / tau)
        y = fit.steps.z + tau * (fit.steps.y - fit.steps.z)
        np.testing.assert_allclose(y, other.y, atol=1e-12)
        # The same numbers to the last digit: walkers that start elsewhere draw others.
        other = lr.Steps(other.z, None, y, other.trial, alpha=other.alpha)
        with warnings.catch_warnings(action="ignore"):
            one = report(lr.maxent.fit(other, network.embedding), taus=())
        assert one.over_tau == {}
        assert (numbers, modes) == (pytest.approx(2 * one.degrees_of_freedom), one.modes)
    assert "\ntau          0.5, 1, 2 times the assumed: " in repr(found)
    assert repr(found).count("\n") < 10
    with pytest.raises(ValueError, match="^taus: "):
        report(fit, taus=(-1.0,))
    # Of a ridge that was given, and of steps, there is no fit to make again.
    assert not report(lr.maxent.fit(fit.steps, fit.embedding, ridge=1e-3)).over_tau
    assert not report(fit.steps, fit.embedding).over_tau


def test_report_of_a_connector(quadstable_fit):
    _, seen, found = quadstable_fit
    said = report(found, taus=())
    np.testing.assert_array_equal(said.information, report(found.maxent, taus=()).information)
    assert said.steps == found.maxent.modes.steps <= len(seen) and said.rank == 2


def test_copies_are_one_measurement():
    network = lr.systems.ring().sample(jr.key(0), 100)
    paths = np.asarray(lr.systems.trajectories(network, points=3, steps=20))
    once, twice = (
        report(
            lr.steps(np.tile(paths, (n, 1, 1)), alpha=0.1, copies=n), network.embedding, noise=0.1, size=1.0
        )
        for n in (1, 2)
    )
    assert once.steps == pytest.approx(twice.steps, rel=0.02) and once.steps <= 180
    kept = len(once.information)
    np.testing.assert_allclose(
        twice.information[:kept] / twice.steps, once.information / once.steps, rtol=1e-6, atol=1e-9
    )


def test_many_steps_all_count_and_some_are_looked_at():
    """Every k-th state stands for the others: the information is that of all of them."""
    network = lr.systems.ring().sample(jr.key(0), 60)
    z = np.random.default_rng(0).normal(size=(9000, 2))
    found = report(at(z), network.embedding, noise=0.1, size=1.0)
    assert found.steps == 9000 and len(found.spectrum.states) == 3000
    np.testing.assert_array_equal(found.spectrum.states, z[::3])
    some = spectrum(network.embedding, z[::3]).information(0.1, steps=9000)
    np.testing.assert_allclose(found.information, some)


def test_inputs_open_dimensions():
    rng = np.random.default_rng(0)
    e = lr.Embedding(rng.normal(size=(200, 1)), rng.normal(size=(200, 1)))
    z = rng.normal(size=(1200, 1))
    u = rng.normal(size=(1200, 1))
    before = report(at(z, 0 * u), e, noise=0.1, size=1.0, candidates=at(z, u))
    after = report(at(z, u), e, noise=0.1, size=1.0)
    both = report(at(np.tile(z, (2, 1)), np.concatenate([0 * u, u])), e, noise=0.1, size=1.0)
    assert before.added == both.modes - before.modes >= 3
    assert f"{before.added} functions more would be identified" in repr(before)
    assert before.captured(np.asarray(e.m[:, 0])) > 0.99 > before.captured(np.asarray(e.m[:, 0]) ** 2)
    assert after.added is None and "candidates" not in repr(after)


@pytest.mark.parametrize("count", [1, 40, 1200, 20000])
def test_more_of_the_same_adds_to_what_there_is(count):
    """Candidates come to the steps at hand: a few of the same kind add nothing, and never less."""
    e = lr.systems.quadstable().sample(jr.key(0), 100).embedding
    z = np.random.default_rng(0).normal(size=(1200 + count, 2))
    found = report(at(z[:1200]), e, noise=0.1, size=1.0, candidates=at(z[1200:]))
    both = report(at(z), e, noise=0.1, size=1.0)
    assert found.added >= 0
    assert abs(found.added - (both.modes - found.modes)) <= 1


def test_padding_is_not_visited():
    network = lr.systems.ring().sample(jr.key(0), 100)
    paths = np.array(lr.systems.trajectories(network, points=4))
    padded = paths.copy()
    padded[:, 60:] = np.nan
    short = report(lr.steps(paths[:, :60], alpha=0.1), network.embedding, noise=0.1)
    steps = lr.steps(padded, lengths=np.full(16, 60), alpha=0.1)
    np.testing.assert_allclose(report(steps, network.embedding, noise=0.1).information, short.information)


def test_bad_input(clicks_session):
    e = lr.systems.ring().sample(jr.key(0), 50).embedding
    z = np.asarray(lr.systems.grid(5))
    found = spectrum(e, z)
    with pytest.raises(ValueError, match="noise: expected the standard deviation .* only the spectrum"):
        found.identified(None)
    for noise in (0.0, -1.0, np.nan):
        with pytest.raises(
            ValueError, match="noise: expected a positive .* only the spectrum can be computed"
        ):
            report(at(z), e, noise=noise)
    with pytest.raises(ValueError, match="^size: expected a positive"):
        report(at(z), e, noise=0.1, size=0.0)
    # The types themselves are checked by jaxtyping here; tests/test_steps.py has what is said without it.
    for wrong in (clicks_session(0, 10).recording, z):
        with pytest.raises(TypeError, match="steps"):
            report(wrong, e, noise=0.1)
    with pytest.raises(TypeError, match="embedding"):
        report(at(z), noise=0.1)
    with pytest.raises(TypeError, match="candidates|steps"):
        report(at(z), e, noise=0.1, candidates=z)
    with pytest.raises(ValueError, match="^embedding: expected m of rank 1, that of the steps, got 2"):
        report(at(z[:, :1]), e, noise=0.1)
    with pytest.raises(ValueError, match="^steps: expected no inputs, as the embedding has no columns of b"):
        report(at(z), e, noise=0.1, candidates=at(z, z))
    with pytest.raises(ValueError, match="^states: expected at least one, got none"):
        spectrum(e, z[:0])
    with pytest.raises(ValueError, match="^steps: expected states at which neurons have rates"):
        report(at(np.zeros((4, 2))), e, noise=0.1)
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
    with pytest.raises(ValueError, match="shares: expected positive"):
        spectrum(e, z, shares=np.zeros(50))
    with pytest.raises(ValueError, match="count: expected at most"):
        found.at(e, 51)
    with pytest.raises(ValueError, match="e: expected 2 along"):
        found.at(np.ones((3, 5)), 2)
