"""What perturbed experiments add to the operator, and what stays hidden without them."""

from math import factorial

import jax.random as jr
import numpy as np
import pytest
from numpy.polynomial import hermite_e

import lrcore as lr
from lrcore.identifiability import confounds, ghost, individually_identified, spectrum
from lrcore.perturb import clamped, current, rows, silenced

LINE = np.linspace(-3, 3, 61)[:, None]
SWEEP = [current(level) for level in np.linspace(-3, 3, 13) if level]


def hermite(k, x):
    return hermite_e.hermeval(x, np.eye(k + 1)[k]) / np.sqrt(factorial(k))


def plane(points=41):
    """Quadrature nodes of independent standard normal m and d, as neurons with shares."""
    x = np.linspace(-6, 6, points)
    m, d = (part.ravel() for part in np.meshgrid(x, x))
    shares = np.exp(-(m**2 + d**2) / 2)
    kept = shares > 1e-9
    return lr.Embedding(m[kept, None], d=d[kept]), shares[kept]


@pytest.fixture(scope="module")
def rest():
    e, shares = plane()
    return spectrum(e, LINE, shares=shares)


@pytest.fixture(scope="module")
def swept():
    e, shares = plane()
    return spectrum(e, LINE, shares=shares, perturbed=SWEEP)


def test_rows_are_those_of_the_experiments():
    net = lr.systems.quadstable().sample(jr.key(0), 60)
    experiments = [silenced(lambda e: e[:, 0] < 0), current(0.5), clamped(0.3, lambda e: e[:, 1] > 1)]
    z = np.asarray(lr.systems.grid(7), float)
    found = spectrum(net.embedding, z, perturbed=experiments)
    whole = (found.images * found.values) @ found.modes.T
    for block, one in zip(np.split(whole, 4), [[], *experiments], strict=True):
        np.testing.assert_allclose(block, rows(net.embedding, one, z) * 60, atol=1e-9)
    # The modes at other embeddings, here the same ones.
    np.testing.assert_allclose(found.at(net.embedding, 8), found.modes[:, :8], atol=1e-6)
    by_label = spectrum(net.embedding, z, perturbed=[silenced("a")], labels=np.repeat(["a", "b"], 30))
    assert by_label.images.shape[0] == 2 * len(z)


@pytest.mark.parametrize(
    ("set_", "least", "most"),
    [(lambda e: e[:, 0] < 0, 0.9, 1.0), (lambda e: np.abs(e[:, 0]) < 1, 0.0, 1e-6)],
    ids=["half", "disc"],
)
def test_a_silenced_half_opens_the_even_part(set_, least, most):
    m = np.random.default_rng(0).normal(size=300)
    e = lr.Embedding(np.concatenate([m, -m])[:, None])
    before = spectrum(e, LINE)
    after = spectrum(e, LINE, perturbed=[silenced(set_)])
    even = hermite(2, np.asarray(e.m[:, 0], float))
    assert before.captured(even, 1e-3) < 1e-6
    assert least <= after.captured(even, 1e-3) <= most
    opened = after.opened(before)
    overlap = opened.T @ (after.shares[:, None] * opened)
    np.testing.assert_allclose(overlap, np.eye(opened.shape[1]), atol=1e-8)
    assert np.abs(before.captured(opened, 1e-3)).max() < 0.5
    # A set that is its own mirror image opens odd functions alone, those that were below the tolerance.
    halves = np.split(opened, 2)
    share = np.mean(((halves[0] + halves[1]) / 2) ** 2, axis=0)
    assert opened.shape[1] >= 2 and (share.min() > 0.3 if least else share.max() < 1e-6)
    with pytest.raises(ValueError, match="before: expected a spectrum of the same embedding"):
        after.opened(spectrum(lr.Embedding(m[:, None]), LINE))


def test_a_sweep_of_currents_sees_what_thresholds_hide(rest, swept):
    m, d = rest.nodes.T
    hidden = hermite(3, m) * hermite(3, d)
    assert rest.captured(hidden, 1e-3) < 0.01
    assert swept.captured(hidden, 1e-3) > 0.6
    counts = [one.rank(1e-3) for one in (rest, swept)]
    assert counts[1] > 4 * counts[0]


def test_the_ghost():
    x = np.linspace(-9, 9, 361)
    m, d = np.meshgrid(x, x)
    weights = np.exp(-(m**2 + d**2) / 2)
    weights /= weights.sum()
    q = ghost(m, d)
    size = np.sqrt(np.sum(weights * q**2))
    np.testing.assert_allclose(ghost(-m, -d), -q, atol=1e-12)
    for z in (0.1, 0.5, 1.0, 3.0, 10.0):
        assert abs(np.sum(weights * q * np.tanh(m * z + d))) < 1e-12
    assert np.sum(weights * q * np.tanh(m + d + 1)) ** 2 > 0.03**2 and size < 10


@pytest.mark.filterwarnings("ignore:maxent. the drift of new neurons")
def test_conditional_mean_of_biases_by_a_sweep():
    """g(m, d) of a system with biases that differ: from graded currents into all neurons, not without."""
    rng = np.random.default_rng(0)
    m, d = rng.normal(size=(2, 800))
    g = m * np.cos(1.5 * d) + 1.2 * m * d
    z = np.tile(np.linspace(-3, 3, 60), 12)[:, None]
    errors = {}
    for name, most in (("sweep", 3.0), ("rest", 0.0)):
        # A current into all neurons is an input of equal weights.
        u = np.repeat(np.linspace(-most, most, 12), 60)[:, None]
        e = lr.Embedding(m[:, None], np.ones((800, 1)), d)
        net = lr.LowRankNetwork(e.m, (g + 0.1 * rng.normal(size=800))[:, None], e.b, e.d)
        y = np.asarray(net.drift(z, u), float) + 1e-3 * rng.normal(size=z.shape)
        found = lr.maxent.fit(lr.Steps(z, u, y, np.arange(720) // 60, alpha=0.1), e)
        errors[name] = np.mean((np.asarray(found.conditional_mean(e))[:, 0] - g) ** 2) / np.mean(g**2)
    assert errors["sweep"] <= 0.1 and errors["rest"] > 0.5, errors


def test_confounds_of_leak_and_origin():
    states = np.asarray(lr.systems.grid(13), float)
    ring = lr.systems.ring()
    biased = lr.GaussianMixture([1.0], np.zeros((1, 3)), np.eye(3)[None], rank=1, bias=True)
    line = np.linspace(-2.4, 2.4, 97)[:, None]
    cases = {
        "softplus": confounds(spectrum(ring, states, activation="softplus", nodes=40)),
        "relu": confounds(spectrum(ring, states, activation="relu", nodes=41)),
        "tanh": confounds(spectrum(ring, states, nodes=40)),
        "biases": confounds(spectrum(biased, line)),
    }
    assert [one[0].found for one in cases.values()] == [True, True, False, True]
    leak = cases["softplus"][0]
    nodes = spectrum(ring, states, activation="softplus", nodes=40).nodes
    np.testing.assert_allclose(leak.change, 2 * nodes, atol=1e-6)
    assert leak.residual < 1e-7 and cases["relu"][0].residual < 1e-7
    assert 1e-3 < cases["biases"][0].residual < 0.01
    # Without biases no weights make a constant of tanh.
    assert cases["tanh"][1].residual > 0.99
    # A recorded current breaks it.
    again = spectrum(ring, states, activation="softplus", nodes=40, perturbed=[current(1.5), current(-1.5)])
    assert not confounds(again)[0].found


def test_the_line_of_overlaps_over_the_assumed_leak():
    """Softplus, overlap 1.05: half, two and three times the time constant make 1.52, .10 and -.85 of it."""
    m = np.random.default_rng(0).normal(size=400)
    m = np.concatenate([m, -m])[:, None] / np.sqrt(np.mean(m**2))
    g = 1.05 * m + 0.3 * (m**2 - 1)
    z = np.linspace(-2.4, 2.4, 200)[:, None]
    y = np.logaddexp(z @ m.T, 0) @ g / len(m)
    seen = lr.Steps(z, None, y, np.arange(200) // 20, alpha=0.1)
    e = lr.Embedding(m)
    overlaps = {}
    for ratio in (0.5, 1.0, 2.0, 3.0):
        found = lr.maxent.fit(seen.with_tau(ratio), e, activation="softplus", ridge=1e-9)
        overlaps[ratio] = float(np.mean(found.n * m))
    wanted = {0.5: 1.52, 1.0: 1.05, 2.0: 0.10, 3.0: -0.85}
    assert overlaps == pytest.approx(wanted, abs=0.05)


def test_neurons_one_by_one():
    """Exact drift determines 40 neurons to 1e-9; of 1,000 the even part stays as it was before."""
    z = np.asarray(lr.systems.grid(30), float)
    few = lr.systems.quadstable().sample(jr.key(0), 40)
    n = np.asarray(few.n, float)
    asked = rows(few.embedding, [], z)
    size = np.linalg.norm(asked, axis=0)
    back = np.linalg.lstsq(asked / size, asked @ n, rcond=None)[0] / size[:, None]
    assert np.abs(back - n).max() < 1e-9
    many = lr.systems.quadstable().sample(jr.key(0), 1000)
    found = spectrum(many.embedding, z[::4])
    known = individually_identified(found, 0.1, size=2.0, steps=40000)
    assert known.count < 20 and np.median(known.deviation) > 0.95
    # Its even part: the functional m_1^2, mean over neurons.
    gain = found.information(0.1, steps=40000, size=2 / np.sqrt(1000))
    even = np.asarray(many.m[:, 0], float) ** 2
    along = found.modes.T @ even / 1000
    left = 1 - (along**2 * gain / (1 + gain)).sum() / np.mean(even**2)
    assert left > 0.95
    with pytest.raises(ValueError, match="nodes of unequal shares"):
        individually_identified(spectrum(lr.systems.ring(), z[::9], nodes=20), 0.1, size=1.0)


def test_a_finer_drift_knows_more_neurons_the_more_so_the_higher_the_rank():
    """N* grows as a power of the logarithm of T/s^2, and the power rises with R."""
    powers = []
    for rank in (1, 2, 3):
        rng = np.random.default_rng(rank)
        e = lr.Embedding(rng.normal(size=(700, rank)))
        z = rng.uniform(-2.4, 2.4, size=(700, rank))
        found = spectrum(e, z)
        noises = 10.0 ** -np.arange(2, 6)
        counts = [individually_identified(found, s, size=2.0, steps=10_000).count for s in noises]
        powers.append(np.polyfit(np.log(np.log(1e4 / noises**2)), np.log(counts), 1)[0])
    assert powers[0] + 0.3 < powers[1] and powers[1] + 0.3 < powers[2], powers
