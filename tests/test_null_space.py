"""Partners: other weights, visibly, and the same dynamics; their densities against Monte Carlo."""

import itertools

import jax.numpy as jnp
import jax.random as jr
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats
from scipy.special import logsumexp
from strategies import gauges

import lrcore as lr
from lrcore import null_space_partner
from lrcore.checks import x64
from lrcore.identifiability import spectrum
from lrcore.null_space import Partner

KINDS = ["clusters", "tails", "shift"]


def drift64(e, n, z, phi=np.tanh):
    return phi(z @ np.asarray(e, float).T) @ np.asarray(n, float) / len(n)


def sliced_wasserstein(x, y, directions=64):
    along = np.random.default_rng(0).normal(size=(x.shape[1], directions))
    along /= np.linalg.norm(along, axis=0)
    return np.abs(np.sort(x @ along, axis=0) - np.sort(y @ along, axis=0)).mean()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(lr.systems.SYSTEMS))
def test_partner_of_a_network(name, kind):
    network = lr.systems.SYSTEMS[name]().sample(jr.key(0), 1000)
    other = null_space_partner(network, key=jr.key(1), kind=kind)
    z = np.asarray(lr.systems.grid(30), float)
    ours, theirs = (drift64(one.m, one.n, z) for one in (network, other))
    assert np.sqrt(np.mean((ours - theirs) ** 2) / np.mean(ours**2)) < 1e-6
    assert sliced_wasserstein(np.asarray(network.n), np.asarray(other.n)) > 1


@settings(max_examples=4, deadline=None)
@given(gauge=gauges(10, 1e-2, 1e2))
def test_partners_in_any_unit(gauge):
    """The same states see the same drift, and n changes by as much, however the latents are given."""
    with x64():
        network = lr.systems.limit_cycle().sample(jr.key(0), 400)
        moved = lr.gauge.transform(network, gauge)
        other = null_space_partner(moved, key=jr.key(1))
        z = np.asarray(lr.systems.grid(15), float)
        before, after = (drift64(one.m, one.n, z @ gauge.T) for one in (moved, other))
        assert np.sqrt(np.mean((before - after) ** 2) / np.mean(before**2)) < 1e-5
        # Three times n, less what the drift sees of it.
        assert 1.5 < float(np.std(other.n - moved.n) / np.std(moved.n)) < 3.1
    with pytest.raises(ValueError, match="^size: expected a positive"):
        null_space_partner(network, key=jr.key(0), size=-1.0)


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1e-2, 1e2])
def test_a_population_in_another_unit(unit):
    p = lr.systems.bistable()
    there = lr.gauge.transform(p, unit * np.eye(2))
    ours, theirs = (null_space_partner(one, key=jr.key(2)) for one in (p, there))
    e = np.asarray(p.sample(jr.key(3), 200).m, float)
    np.testing.assert_allclose(theirs.change(e / unit), unit * ours.change(e), rtol=0.02, atol=0.02 * unit)
    assert theirs.size == pytest.approx(unit * ours.size) and ours.size == pytest.approx(6)


@pytest.mark.parametrize("kind", KINDS)
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


# Rank, inputs and bias: all parts of the embedding that a quadrature over three coordinates has room for.
SHAPES = {
    "rank 1": (1, 0, False),
    "rank 1, b, d": (1, 1, True),
    "rank 2": (2, 0, False),
    "rank 2, b": (2, 1, False),
    "rank 2, d": (2, 0, True),
    "rank 3": (3, 0, False),
}


def mixture(rank, n_inputs, bias, components=2) -> lr.GaussianMixture:
    rng = np.random.default_rng(rank)
    width = 2 * rank + n_inputs + bias
    roots = rng.normal(size=(components, width, 2 * width)) / np.sqrt(2 * width)
    covariances = roots @ roots.swapaxes(1, 2) + 0.2 * np.eye(width)
    means = 0.7 * rng.normal(size=(components, width))
    return lr.GaussianMixture([1.0, 2.0], means, covariances, rank=rank, n_inputs=n_inputs, bias=bias)


def explored(p, count=60) -> tuple:
    rng = np.random.default_rng(0)
    return rng.uniform(-1.5, 1.5, (count, p.rank)), rng.uniform(-1, 1, (count, p.n_inputs))


@pytest.fixture(scope="module")
def partners():
    """Partners by shape and kind; that of rank 3 with b and d has drawn neurons in place of a quadrature."""
    made = {}

    def partner(shape, kind, size=1.5) -> Partner:
        if (shape, kind, size) not in made:
            if shape == "rank 3, b, d":
                p = mixture(3, 1, True)
                other = _of_neurons(p, kind, size)
            else:
                p = mixture(*SHAPES[shape])
                other = null_space_partner(
                    p, *explored(p), key=jr.key(1), kind=kind, size=size, tolerance=1e-3
                )
            made[shape, kind, size] = other
        return made[shape, kind, size]

    return partner


def _of_neurons(p, kind, size) -> Partner:
    found = spectrum(p.sample(jr.key(5), 400).embedding, *explored(p))
    frequency = np.random.default_rng(2).normal(size=(p.width, p.rank)) * (kind != "shift")
    wave = size * (np.cos(found.nodes @ frequency) - np.sin(found.nodes @ frequency))
    kept = found.modes[:, : found.rank(1e-3)]
    removed = kept.T @ (found.shares[:, None] * wave)
    return Partner(p, found, frequency, removed, kind, size, p.rank, p.n_inputs, p.bias)


def columns(network) -> np.ndarray:
    return np.concatenate([network.embedding.array, network.n], axis=1).astype(float)


def parts(p, x) -> tuple:
    """Rows (m, b, d, n) cut into the arguments of log_prob."""
    cut = p.rank + p.n_inputs
    b = x[..., p.rank : cut] if p.n_inputs else None
    return x[..., : p.rank], b, x[..., cut] if p.bias else None, x[..., p.width :]


def base_log_prob(p, x):
    """The mixture's density by scipy."""
    weights, means, covariances = (np.asarray(part, float) for part in (p.weights, p.means, p.covariances))
    each = [stats.multivariate_normal(m, c).logpdf(x) for m, c in zip(means, covariances, strict=True)]
    return logsumexp(np.stack(each, axis=-1), b=weights, axis=-1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [*SHAPES, "rank 3, b, d"])
def test_log_prob_is_the_expectation_over_the_noise(partners, shape, kind):
    r"""$\log\mathbb E_\xi\,p(e, n-q(e)-\xi)$ with the noise drawn by numpy and the density of scipy."""
    other = partners(shape, kind)
    p, rng = other.base, np.random.default_rng(0)
    x = columns(other.sample(jr.key(3), 12))
    back = x.copy()
    back[:, p.width :] -= other.change(x[:, : p.width])
    draws = {
        "clusters": lambda size: rng.choice([-1.0, 1.0], size),
        "tails": lambda size: rng.standard_t(3, size),
        "shift": np.zeros,
    }[kind]
    noise = other.size * draws((20_000 if kind != "shift" else 1, p.rank))
    if kind == "clusters":
        noise = other.size * np.array(list(itertools.product((-1.0, 1.0), repeat=p.rank)))
    found = np.asarray(other.log_prob(*parts(p, x)), float)
    for i, row in enumerate(back):
        moved = np.tile(row, (len(noise), 1))
        moved[:, p.width :] -= noise
        density = np.exp(base_log_prob(p, moved))
        error = density.std() / np.sqrt(len(density)) / density.mean() if kind == "tails" else 0.0
        assert found[i] == pytest.approx(np.log(density.mean()), abs=5 * error + 5e-3)


@pytest.mark.parametrize("kind", ["clusters", pytest.param("tails", marks=pytest.mark.slow), "shift"])
@pytest.mark.parametrize("shape", ["rank 1, b, d", "rank 2, b", "rank 3, b, d"])
def test_samples_follow_the_density(partners, shape, kind):
    r"""For any density r, $\mathbb E[r/p']$ over draws of p' is 1: here Gaussians around the clusters."""
    other = partners(shape, kind)
    p = other.base
    x = columns(other.sample(jr.key(4), 10_000))
    log_prob = np.asarray(other.log_prob(*parts(p, x)), float)
    # n carried back, where the shape of p' is known.
    x[:, p.width :] -= other.change(x[:, : p.width])
    signs = {"clusters": (-1.0, 1.0), "tails": (0.0, 2.0), "shift": (0.0,)}[kind]
    for mean, covariance in zip(np.asarray(p.means, float), np.asarray(p.covariances, float), strict=True):
        for sign in signs:
            centre = mean + other.size * sign * (np.arange(len(mean)) == p.width)
            if kind == "clusters":
                centre[p.width + 1 :] += other.size
            r = stats.multivariate_normal(centre, 0.6 * covariance)
            ratio = np.exp(r.logpdf(x) - log_prob)
            error = ratio.std() / np.sqrt(len(x))
            assert error < 0.15 and ratio.mean() == pytest.approx(1, abs=4 * error)


def test_density_of_one_coordinate_integrates_to_its_conditional_mean(partners):
    """The integral over n at given embeddings: p(e), and E[n | e]."""
    for kind in KINDS:
        other = partners("rank 1, b, d", kind)
        e = columns(other.sample(jr.key(5), 2))[:, : other.width]
        n = np.linspace(-50, 50, 501)
        for one in e:
            x = np.concatenate([np.tile(one, (len(n), 1)), n[:, None]], axis=1)
            density = np.exp(np.asarray(other.log_prob(*parts(other, x)), float))
            of_e = float(other.base.embedding_log_prob(one))
            assert np.log(density.sum() * 0.2) == pytest.approx(of_e, abs=0.01)
            mean = float(other.conditional_mean(one)[0])
            assert density @ n / density.sum() == pytest.approx(mean, abs=0.03)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_drift_is_that_of_the_base_and_of_the_draws(partners, shape, kind):
    other = partners(shape, kind)
    p = other.base
    z, u = (part[:20] for part in explored(p))
    drift = np.asarray(other.drift(z, u), float)
    # It is kept where it was asked to be, to about the tolerance times the size.
    assert np.abs(drift - p.drift(z, u)).max() < 0.02
    network = other.sample(jr.key(6), 100_000)
    values = np.asarray(network.rates(z, u), float)[..., None] * np.asarray(network.n, float)
    error = values.std(axis=1) / np.sqrt(values.shape[1])
    assert (np.abs(drift - values.mean(axis=1)) < 5 * error + 2e-3).all()


def test_drift_says_what_is_not_kept(partners):
    """Far from the states where the drift was kept it differs from the base's, as that of the draws does."""
    p = mixture(2, 0, False)
    other = null_space_partner(p, *explored(p), key=jr.key(1), kind="clusters", size=3.0, tolerance=0.05)
    z = np.array([[6.0, 0.0], [0.0, 6.0], [-5.0, 5.0]])
    off = np.asarray(other.drift(z) - p.drift(z), float)
    assert np.abs(off).max() > 0.02
    network = other.sample(jr.key(6), 400_000)
    values = np.asarray(network.rates(z), float)[..., None] * np.asarray(network.n, float)
    error = values.std(axis=1) / np.sqrt(values.shape[1])
    assert (np.abs(other.drift(z) - values.mean(axis=1)) < 5 * error).all()


def test_a_partner_is_a_distribution_like_any_other(partners):
    other = partners("rank 2, b", "tails")
    assert isinstance(other, lr.ConnectivityDistribution)
    gauge = np.array([[2.0, 1.0], [0.0, 1.0]])
    moved = lr.gauge.transform(other, gauge)
    net = other.sample(jr.key(0), 20)
    there = lr.gauge.transform(net, gauge)
    np.testing.assert_allclose(
        moved.log_prob(there.m, there.b, there.d, there.n),
        other.log_prob(net.m, net.b, net.d, net.n),
        atol=0.01,
    )
    # Leading axes are batches, and the parts that it does not have may be given.
    stacked = other.log_prob(net.m[None], net.b[None], None, net.n[None])
    assert stacked.shape == (1, 20)
    np.testing.assert_allclose(stacked[0], other.log_prob(net.m, net.b, net.d, net.n), atol=1e-3)
    assert other.conditional_mean(net.embedding.array.reshape(4, 5, 3)).shape == (4, 5, 2)


def test_flow_field_of_a_partner(partners):
    other = partners("rank 2", "clusters")
    ax = lr.plots.flow_field(other, points=5)
    assert ax.get_xlabel() == "$z_1$"
    plt.close("all")


def test_bad_input():
    with pytest.raises(ValueError, match="'clusters', 'tails' or 'shift'"):
        null_space_partner(lr.systems.ring(), key=jr.key(0), kind="x")
    with pytest.raises(ValueError, match="determines all 5 weights"):
        null_space_partner(lr.systems.ring().sample(jr.key(0), 5), key=jr.key(0))
    with pytest.raises(ValueError, match="^size: expected a positive"):
        null_space_partner(lr.systems.ring(), key=jr.key(0), size=0.0)
    with pytest.raises(TypeError, match="network"):
        null_space_partner(jnp.ones((4, 2)), key=jr.key(0))
    with pytest.raises(ValueError, match="at most three coordinates"):
        null_space_partner(mixture(3, 1, True), key=jr.key(0))


def test_a_drift_that_the_quadrature_does_not_resolve_is_refused():
    """In three coordinates the nodes are too far apart for rates at the corners of the cube."""
    covariance = np.eye(6)
    covariance[np.arange(3), np.arange(3, 6)] = covariance[np.arange(3, 6), np.arange(3)] = 0.5
    p = lr.GaussianMixture([1.0], np.zeros((1, 6)), covariance[None], rank=3)
    with pytest.raises(
        ValueError, match="^network: expected 3 embedding coordinates that the quadrature resolves"
    ):
        null_space_partner(p, key=jr.key(0))
    near = 0.3 * np.random.default_rng(0).uniform(-1, 1, (200, 3))
    other = null_space_partner(p, near, key=jr.key(0), tolerance=1e-4)
    assert np.abs(np.asarray(other.drift(near) - p.drift(near))).max() < 0.01
