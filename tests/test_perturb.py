"""Perturbations: what they do to networks, and what is said of them beforehand, against known circuits."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import lrcore as lr
from lrcore.belief import Belief, belief
from lrcore.modes import measured
from lrcore.perturb import clamped, current, perturbed, predict, rows, silenced, simulate

# That new neurons would not carry the drift is not what a prediction is asked for.
pytestmark = pytest.mark.filterwarnings("ignore:maxent. the drift of new neurons")

GRID = lr.systems.grid(5)
SETS = {
    "half": lambda e: e[:, 0] < 0,
    "side": lambda e: e[:, 0] > 0.5,
    "middle": lambda e: np.abs(e[:, 0]) < 0.8,
    "outside": lambda e: np.abs(e[:, 0]) > 1,
}


@pytest.fixture(scope="module")
def net():
    return lr.systems.quadstable().sample(jr.key(0), 200)


@pytest.fixture(scope="module")
def model(net):
    return fitted(net, 0.05)


def fitted(net, noise):
    seen = lr.steps(lr.systems.trajectories(net, points=5, steps=40), alpha=lr.systems.ALPHA)
    y = seen.y + noise * np.random.default_rng(0).normal(size=seen.y.shape)
    return lr.maxent.fit(lr.Steps(seen.z, None, y, seen.trial, alpha=seen.alpha), net.embedding)


def drift64(e, n, z, change=lambda r: r, added=0.0):
    r = np.tanh(np.asarray(z, float) @ np.asarray(e.m, float).T + added)
    return change(r) @ np.asarray(n, float) / len(n)


def test_what_is_done_to_neurons(net):
    half = SETS["half"](np.asarray(net.m))
    left = np.where(half, 0, 1)
    expected = {
        "silenced": drift64(net, net.n, GRID, lambda r: r * left),
        "clamped": drift64(net, net.n, GRID, lambda r: np.where(half, -0.4, r)),
        "current": drift64(net, net.n, GRID, added=0.7 * half),
        "both": drift64(net, net.n, GRID, lambda r: r * left, added=0.7),
    }
    done = {
        "silenced": silenced(half),
        "clamped": clamped(-0.4, SETS["half"]),
        "current": current(0.7, half),
        "both": [silenced(half), current(0.7)],
    }
    for name, wanted in expected.items():
        found = perturbed(net, done[name])
        np.testing.assert_allclose(found.drift(GRID), wanted, atol=2e-6)
        asked = rows(net.embedding, done[name], GRID)
        np.testing.assert_allclose(asked @ np.asarray(net.n, float), wanted, atol=1e-12)
    with pytest.raises(ValueError, match="range of tanh, -1 to 1, got 1.5"):
        perturbed(net, clamped(1.5, half))


@pytest.mark.parametrize(("activation", "rate", "outside"), [("relu", 2.0, -1.0), ("sigmoid", 0.3, 0.0)])
def test_clamps_of_other_activations(activation, rate, outside):
    rng = np.random.default_rng(1)
    net = lr.LowRankNetwork(
        *rng.normal(size=(2, 30, 2)), rng.normal(size=(30, 1)), rng.normal(size=30), activation=activation
    )
    first = np.arange(30) < 7
    z, u = rng.normal(size=(4, 2)), rng.normal(size=(4, 1))
    held = perturbed(net, clamped(rate, first))
    np.testing.assert_allclose(np.asarray(held.rates(z, u))[:, first], rate, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(held.rates(z, u))[:, ~first], net.rates(z, u)[:, ~first], rtol=1e-5)
    asked = rows(net.embedding, clamped(rate, first), z, u, activation=activation)
    np.testing.assert_allclose(asked @ np.asarray(net.n, float), held.drift(z, u), atol=1e-5)
    with pytest.raises(ValueError, match="neurons that write nothing are `silenced`"):
        perturbed(net, clamped(outside, first))


def test_sets_by_labels_masks_and_functions(net):
    half = SETS["half"](np.asarray(net.m))
    labels = np.where(half, "PV", "PYR")
    ways = [silenced("PV"), silenced(["PV"]), silenced(half), silenced(SETS["half"])]
    for way in ways:
        np.testing.assert_array_equal(way.neurons(net.embedding, labels), half)
    assert current(1.0).neurons(net.embedding).all()
    assert silenced(1).neurons(net.embedding, half.astype(int)).sum() == half.sum()


@pytest.mark.parametrize(
    ("which", "said"),
    [
        (np.zeros(200, bool), "at least one neuron, got none of 200"),
        (np.ones(200, bool), "some neurons that stay free, got all 200 silenced"),
        (np.ones(150, bool), "expected 200 along the axis"),
        ("SST", "labels among PV, PYR, got SST"),
        (lambda e: e, "from embeddings .* to a mask"),
        (lambda e: e[:, 0] > 99, "got none of 200"),
    ],
)
def test_sets_that_are_none(net, which, said):
    labels = np.where(np.asarray(net.m[:, 0]) > 0, "PV", "PYR")
    with pytest.raises(ValueError, match=said):
        perturbed(net, silenced(which), labels=labels)


def test_other_bad_input(net, model):
    half = np.asarray(net.m[:, 0]) < 0
    with pytest.raises(ValueError, match="labels: expected one for each of the 200 neurons beside the set"):
        perturbed(net, silenced("PV"))
    with pytest.raises(ValueError, match="got all 200 held"):
        perturbed(net, [silenced(half), clamped(0.1, ~half)])
    with pytest.raises(ValueError, match="which: expected a set of neurons, got None"):
        silenced(None)
    with pytest.raises(ValueError, match="during: expected .start, stop. with start before stop"):
        silenced(half, during=(2.0, 1.0))
    with pytest.raises(ValueError, match="a pulse within 10 steps of 0.1"):
        simulate(net, silenced(half, during=(2.0, 3.0)), np.ones(2), steps=10)
    with pytest.raises(TypeError, match="model"):
        predict(net, silenced(half), GRID, key=jr.key(0))
    with pytest.raises(TypeError, match="perturbations"):
        perturbed(net, [half])
    with pytest.raises(ValueError, match="amount: expected finite"):
        current(np.nan)


def test_mean_field_of_a_distribution():
    p = lr.systems.quadstable()
    found = perturbed(p, silenced(SETS["half"]))
    # Four clusters, of which two are mostly silent; against a quadrature.
    seen = lr.identifiability.spectrum(p, GRID, modes=1, nodes=100)
    g = np.asarray(p.conditional_mean(seen.nodes.astype(np.float32)), float)
    active = (~SETS["half"](seen.nodes) * seen.shares)[:, None]
    wanted = np.tanh(np.asarray(GRID, float) @ seen.nodes.T) @ (active * g)
    assert np.abs(np.asarray(found.drift(GRID)) - wanted).max() < 0.03


def test_pulses_act_while_they_last(net):
    push = current(2.0, SETS["half"], during=(1.0, 2.0))
    z0 = jnp.array([[1.0, 1.0], [-1.0, 0.5]])
    z = np.asarray(simulate(net, [push, silenced(SETS["side"], during=(1.5, 3.0))], z0, steps=40))
    assert z.shape == (2, 41, 2)
    now = z0
    for step in range(40):
        acting = [push] if 10 <= step < 20 else []
        acting += [silenced(SETS["side"])] if 15 <= step < 30 else []
        one = perturbed(net, acting) if acting else net
        now = now + 0.1 * one.velocity(now)
        np.testing.assert_allclose(z[:, step + 1], now, atol=1e-4)


def test_a_belief_is_its_prior_conditioned(model):
    """Means and variances against the dense formula; more rows; samples."""
    found = belief(model)
    asked = rows(model.embedding, silenced(SETS["half"]), GRID)
    mean, covariance = found.after(asked)
    prior = found.law + found.spread**2 * np.eye(len(found.law))
    for r in range(2):
        precision = np.linalg.inv(prior) + (found.rows.T / found.noise[:, r]) @ found.rows
        weights = np.linalg.solve(precision, found.rows.T @ (found.values[:, r] / found.noise[:, r]))
        dense = asked @ np.linalg.solve(precision, asked.T)
        np.testing.assert_allclose(mean[:, r], asked @ weights, atol=1e-5)
        np.testing.assert_allclose(covariance[r], dense, atol=1e-4 * dense.max())
    # In the coordinates of the steps.
    drawn = asked @ found.sample(jr.key(0), 4000)
    np.testing.assert_allclose(drawn.var(axis=0), found.variance(asked), rtol=0.15)
    np.testing.assert_allclose(drawn.mean(axis=0), mean @ np.linalg.inv(found.gauge).T, atol=0.05)
    # What is measured well is known.
    again = found.observing(asked, mean, np.full(mean.shape, 1e-8))
    assert again.variance(asked).max() < 1e-7
    assert again.variance(asked, accident=False).max() < found.variance(asked, accident=False).max()


def test_ninety_percent_of_circuits_lie_in_their_band(model):
    """Circuits drawn from the prior, their drift measured with its noise."""
    found, rng = belief(model), np.random.default_rng(0)
    asked = rows(model.embedding, silenced(SETS["half"]), GRID + 0.3)
    n = len(found.law)
    root = np.linalg.cholesky(found.law + 1e-9 * np.trace(found.law) / n * np.eye(n))
    truth = root @ rng.normal(size=(n, 400)) + found.spread * rng.normal(size=(n, 400))
    values = found.rows @ truth + np.sqrt(found.noise[:, :1]) * rng.normal(size=(len(found.rows), 400))
    noise = np.repeat(found.noise[:, :1], 400, axis=1)
    mean, covariance = Belief(found.law, found.spread, found.rows, values, noise, np.eye(400)).after(asked)
    off = (mean - asked @ truth) / np.sqrt(np.diag(covariance[0]))[:, None]
    assert 0.85 < np.mean(np.abs(off) < 1.645) < 0.95


def test_verdicts(net):
    # With every neuron its mirror image: sets are their own mirror images in this network, not only by law.
    m, g = (np.asarray(x[:100]) for x in (net.m, lr.systems.quadstable().conditional_mean(net.embedding)))
    quiet = fitted(lr.LowRankNetwork(*(np.concatenate([x, -x]) for x in (m, g))), 0.0005)
    mirrored = silenced(lambda e: e[:, 0] * e[:, 1] > 0)
    verdicts = {
        "mirrored": predict(quiet, mirrored, GRID, key=jr.key(0)),
        "half": predict(quiet, silenced(SETS["half"]), GRID, key=jr.key(0)),
        "some": predict(quiet, current(0.3, SETS["side"]), GRID, key=jr.key(0)),
        "noise": predict(fitted(net, 1.0), mirrored, GRID, key=jr.key(0)),
    }
    assert [one.verdict for one in verdicts.values()] == ["identified", "free", "assumed", "assumed"]
    half = verdicts["half"]
    assert "circuits with the recorded dynamics respond differently" in repr(half)
    # The circuits of the band are as perturbed as the band.
    drifts = np.array([one.drift(GRID) for one in half.networks])
    assert len(drifts) == 200
    assert np.mean((drifts >= half.low) & (drifts <= half.high)) == pytest.approx(0.9, abs=0.05)
    np.testing.assert_allclose(half.network.drift(GRID), half.drift, atol=1e-5)


def test_of_a_connector_the_population(net):
    seen = lr.steps(lr.systems.trajectories(net, points=5, steps=40), alpha=lr.systems.ALPHA)
    options = {"conditional": False, "density": "gaussian", "progress": False}
    found = lr.Connector.fit(seen, net.embedding, key=jr.key(0), **options)
    of_law = predict(found, silenced(SETS["half"]), GRID, key=jr.key(1))
    e = np.asarray(net.embedding.array, float)
    wanted = rows(net.embedding, silenced(SETS["half"]), GRID) @ np.asarray(found.conditional_mean(e), float)
    np.testing.assert_allclose(of_law.drift, wanted, atol=1e-6)
    assert of_law.verdict == "free"
    # The mean field is of other neurons.
    field = np.asarray(perturbed(found, silenced(SETS["half"])).drift(GRID))
    assert np.sqrt(np.mean((field - of_law.drift) ** 2)) < 0.3 * np.sqrt(np.mean(field**2))


def circuit(seed, n=300, steps=300):
    """A circuit drawn from the prior of `belief`: what rates show of g falling as a power of the modes, what
    they do not show as large, a spread; with the steps of its drift, measured with noise.
    """
    rng = np.random.default_rng(seed)
    rank, bias = 1 + seed % 2, seed % 5 == 4
    e = lr.Embedding(rng.normal(size=(n, rank)), d=0.5 * rng.normal(size=n) if bias else None)
    z, trial = rng.uniform(-2.4, 2.4, size=(steps, rank)), np.arange(steps) // 30
    noise, spread = rng.choice([0.001, 0.01, 0.1, 0.3]), rng.choice([0.03, 0.1, 0.3])
    modes = measured(lr.Steps(z, None, 0 * z, trial, alpha=0.1), e, "tanh")
    size = np.sqrt(3 * modes.relative ** rng.uniform(0.7, 1.7))[:, None]
    seen = np.sqrt(n) * modes.neurons @ (size * rng.normal(size=(len(size), rank)))
    apart = np.asarray(e.array, float)
    apart = ((apart[:, None] - apart) ** 2).sum(axis=-1)
    root = np.linalg.cholesky(1 / np.sqrt(1 + apart) + 1e-9 * np.eye(n))
    hidden = root @ rng.normal(size=(n, rank))
    visible = modes.neurons[:, modes.values > noise**2]
    hidden -= visible @ (visible.T @ hidden)
    hidden *= np.sqrt(np.mean(seen**2) / np.mean(hidden**2))
    net = lr.LowRankNetwork(e.m, seen + hidden + spread * rng.normal(size=(n, rank)), d=e.d)
    y = np.asarray(net.drift(z), float) + noise * rng.normal(size=z.shape)
    return net, lr.Steps(z, None, y, trial, alpha=0.1)


@pytest.mark.slow
def test_fifty_circuits_and_their_partners():
    """What is identified holds in both, what is free differs between them, and bands hold the truth."""
    verdicts, held = {"identified": [], "assumed": [], "free": []}, []
    for seed in range(50):
        net, seen = circuit(seed)
        model, n = lr.maxent.fit(seen, net.embedding), np.asarray(net.n, float)
        # As much that no drift shows as was found.
        size = float(np.sqrt(np.mean(model.n**2)))
        other = lr.null_space_partner(net, seen.z, key=jr.key(seed), kind="shift", size=size)
        z = GRID if net.rank == 2 else np.linspace(-2, 2, 15)[:, None]
        kinds = [silenced(SETS[name]) for name in SETS]
        kinds += [current(1.0), clamped(0.5, SETS["side"]), current(0.1)]
        kinds += [silenced(np.random.default_rng(seed).random(net.n_neurons) < 0.1)]
        for which in range(seed % 2, 8, 2):
            found = predict(model, kinds[which], z, key=jr.key(1), draws=100)
            asked = rows(net.embedding, kinds[which], z)
            truth, partner = asked @ n, asked @ np.asarray(other.n, float)
            scale = np.sqrt(np.mean(truth**2))
            errors = [
                np.sqrt(np.mean((found.drift - one) ** 2) / np.mean(one**2)) for one in (truth, partner)
            ]
            apart = np.sqrt(np.mean((truth - partner) ** 2)) / scale
            verdicts[found.verdict].append((*errors, apart))
            held.append(np.mean((truth >= found.low) & (truth <= found.high)))
    identified, free = (np.array(verdicts[name]) for name in ("identified", "free"))
    print({name: len(of) for name, of in verdicts.items()}, np.mean(held))
    print(identified.max(axis=0), np.median(identified, axis=0), free.min(axis=0), np.median(free, axis=0))
    assert min(map(len, verdicts.values())) >= 10
    assert identified[:, :2].max() <= 0.05
    assert free[:, 2].min() > 0.05
    assert 0.85 < np.mean(held) < 0.95
