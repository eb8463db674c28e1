"""What the drift says of law, network and noise, against systems whose law, spread and noise are known."""

from typing import NamedTuple

import jax.random as jr
import numpy as np
import pytest

import lrcore as lr
from lrcore import evidence, maxent
from lrcore.modes import Modes

ALPHA = 0.1
PHI = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "softplus": lambda x: np.logaddexp(x, 0),
    "exp": np.exp,
}
# Overlap of m and n, and bias of g, with which the latents neither die nor grow.
STRENGTH = {"tanh": (1.0, 0.0), "relu": (0.5, 0.3), "softplus": (0.5, 0.3), "exp": (0.25, 0.3)}


class Known(NamedTuple):
    """Steps of a network, its neurons and weights, and g there and at 1,000 neurons that nobody recorded."""

    steps: lr.Steps
    embedding: lr.Embedding
    n: np.ndarray
    g: np.ndarray
    fresh: lr.Embedding
    fresh_g: np.ndarray
    activation: str

    def fit(self, **options) -> maxent.MaximumEntropy:
        return lr.maxent.fit(self.steps, self.embedding, activation=self.activation, **options)

    def error(self, found) -> float:
        """Mean square error of g at the fresh neurons."""
        return float(np.mean((np.asarray(found.conditional_mean(self.fresh)) - self.fresh_g) ** 2))


def known(
    activation="tanh",
    rank=2,
    n=500,
    trials=60,
    time=50,
    *,
    inputs=0,
    biased=False,
    noise=0.0,
    spread=1.0,
    law=None,
    correlation=0.0,
    seed=0,
) -> Known:
    r"""A network with $n=g(e)+$`spread` $\xi$, linear g, and noisy Euler steps of it.

    `law`: how $\xi$ is drawn, (rng, shape). `noise`: standard deviation of a drift target, or a root (rank,
    rank) of its covariance; `correlation`: of the noise of neighbouring steps.
    """
    rng = np.random.default_rng(seed)
    strength, lift = STRENGTH[activation]
    turn = np.linalg.qr(rng.normal(size=(rank, rank)))[0]
    overlap = strength * (1.3 * np.eye(rank) + 0.5 * (turn - turn.T))
    scale = 0.6 if activation == "exp" else 1.0

    def neurons(count):
        m = scale * rng.normal(size=(count, rank))
        b = rng.normal(size=(count, inputs)) if inputs else None
        d = 0.6 * rng.normal(size=count) if biased else None
        return lr.Embedding(m, b, d), m @ overlap + lift

    e, g = neurons(n)
    xi = rng.normal(size=g.shape) if law is None else law(rng, g.shape)
    weights = g + spread * xi
    m = np.asarray(e.m, float)
    u = np.repeat(rng.normal(size=(trials, time // 8 + 1, inputs)), 8, axis=1)[:, : time - 1]
    drive = u @ np.asarray(e.b, float).T if inputs else np.zeros((trials, time - 1, 1))
    drive = drive + (np.asarray(e.d, float) if biased else 0.0)
    z = (0.7 if activation == "exp" else 1.4) * rng.normal(size=(trials, rank))
    root = noise * np.eye(rank) if np.ndim(noise) == 0 else noise
    kick, path = rng.normal(size=(trials, rank)), [z]
    for t in range(time - 1):
        drift = PHI[activation](z @ m.T + drive[:, t]) @ weights / n
        z = z + ALPHA * (drift + kick @ root.T - z)
        path.append(z)
        fresh = np.sqrt(1 - correlation**2) * rng.normal(size=kick.shape)
        kick = correlation * kick + fresh
    found = lr.steps(np.stack(path, axis=1), inputs=u if inputs else None, alpha=ALPHA)
    return Known(found, e, weights, g, *neurons(1000), activation)


def rates(case: Known, embedding=None) -> np.ndarray:
    e = embedding or case.embedding
    h = case.steps.z @ np.asarray(e.m, float).T
    if e.b is not None:
        h = h + case.steps.u @ np.asarray(e.b, float).T
    return PHI[case.activation](h + (0.0 if e.d is None else np.asarray(e.d, float)))


def best_of_path(case: Known) -> float:
    """The least error of g at the fresh neurons of any ridge, which only who knows g can find."""
    x, fresh = rates(case), rates(case, case.fresh)
    values, vectors = np.linalg.eigh(x.T @ x)
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = values > 1e-14 * values[0]
    values, vectors = values[kept], vectors[:, kept]
    # The solution of each ridge at fresh neurons, by its representer.
    along, drift = fresh.T @ (x @ vectors), vectors.T @ (x.T @ case.steps.y)
    n = x.shape[1]
    errors = [
        np.mean((n * along @ (drift / (values * (values + ridge))[:, None]) - case.fresh_g) ** 2)
        for ridge in values[0] * np.logspace(-12, 0, 25)
    ]
    return float(min(errors))


def split(rng, shape):
    return rng.choice([-1.0, 1.0], shape)


def heavy(rng, shape):
    """Student's t of 5 degrees of freedom, of variance 1."""
    return rng.standard_t(5, shape) / np.sqrt(5 / 3)


def modes(x, y) -> Modes:
    """By a singular value decomposition."""
    u, s, v = np.linalg.svd(x, full_matrices=False)
    drift = u.T @ y
    return Modes(s**2 / x.shape[1], v.T, drift, y.T @ y - drift.T @ drift, float(len(x)))


KINDS = {
    "rank 1": {"rank": 1},
    "rank 3": {"rank": 3},
    "rank 5": {"rank": 5, "trials": 100},
    "biases and inputs": {"biased": True, "inputs": 2},
    "relu": {"activation": "relu", "biased": True, "inputs": 1},
    "relu, noise": {"activation": "relu", "biased": True, "inputs": 1, "noise": 0.1},
    "softplus": {"activation": "softplus", "biased": True, "inputs": 1},
    "exp": {"activation": "exp"},
    "50 neurons": {"n": 50},
    "200 neurons": {"n": 200},
    "noise": {"noise": 0.3},
    "10 trials": {"trials": 10},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_g_at_new_neurons_is_nearly_that_of_the_best_ridge(kind):
    case = known(**KINDS[kind])
    found = case.fit()
    error, best, power = case.error(found), best_of_path(case), float(np.mean(case.fresh_g**2))
    print(f"{kind}: {error:.4f}, best {best:.4f}, power {power:.2f}, promised {found.error**2 * power:.4f}")
    assert error < min(3 * best, power)


SPREADS = {
    "0.3": {"spread": 0.3},
    "1": {"spread": 1.0},
    "3": {"spread": 3.0},
    "split": {"spread": 2.0, "law": split},
    "heavy tails": {"law": heavy},
    "rank 3": {"rank": 3},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SPREADS)
def test_spread_is_measured(kind):
    """What of n is no function of e, whatever its law: within a tenth, or where it is said to be."""
    options = SPREADS[kind]
    truth = options.get("spread", 1.0)
    found = known(**options).fit()
    low, high = found.interval()
    print(f"{kind}: {found.deviation:.3f}, 90 % from {low:.3f} to {high:.3f}")
    assert low < found.deviation < high < 1.4 * low
    assert abs(found.deviation / truth - 1) < 0.1 or low < truth < high
    wider = found.interval(0.99)
    assert wider[0] < low and high < wider[1]


@pytest.mark.parametrize("a", [3 * np.eye(2), np.array([[2.0, 1.0], [0.0, -0.4]])], ids=["scale", "shear"])
def test_results_go_with_the_gauge(a):
    """(z, m, n) -> (A z, A^-T m, A n): g, n, spread and noise are those of before, multiplied by A."""
    # Little noise, so that the spread is well determined: its draws have an error of their own.
    case = known(n=200, trials=40, noise=3e-4)
    found = case.fit()
    steps, embedding = lr.gauge.transform(case.steps, a), lr.gauge.transform(case.embedding, a)
    moved = lr.maxent.fit(steps, embedding)
    size = np.abs(found.n @ a.T).max()
    np.testing.assert_allclose(moved.n, found.n @ a.T, atol=0.05 * size)
    fresh = np.asarray(found.conditional_mean(case.fresh))
    np.testing.assert_allclose(
        moved.conditional_mean(lr.gauge.transform(case.fresh, a)), fresh @ a.T, atol=0.05 * size
    )
    expected = a @ found.spread @ found.spread.T @ a.T
    off = 0.1 * np.trace(expected)
    np.testing.assert_allclose(moved.spread @ moved.spread.T, expected, atol=off)
    scale = np.sqrt(np.trace(expected) / 2) / found.deviation
    assert moved.deviation / found.deviation == pytest.approx(scale, rel=0.1)
    np.testing.assert_allclose(moved.interval(), np.multiply(found.interval(), scale), rtol=0.15)
    assert moved.error == pytest.approx(found.error, rel=0.05)
    assert moved.noise == pytest.approx(3e-4 * np.sqrt((a**2).sum() / 2), rel=0.05)
    assert moved.modes.steps == pytest.approx(found.modes.steps, rel=0.02)


@pytest.mark.parametrize(
    "root",
    [0.1 * np.eye(2), 0.3 * np.eye(2), np.diag([0.1, 0.4]), np.array([[0.3, 0.0], [0.25, 0.1]])],
    ids=["0.1", "0.3", "unequal", "correlated"],
)
def test_noise_is_measured(root):
    found = known(n=200, noise=root).fit()
    truth = root @ root.T
    assert found.noise == pytest.approx(np.sqrt(np.trace(truth) / 2), rel=0.1)
    of = found.evidence
    back = np.linalg.inv(of.gauge)
    covariance = (back * of.shares * np.mean(of.noise**2)) @ back.T
    np.testing.assert_allclose(covariance, truth, atol=0.1 * np.sqrt(np.outer(*2 * [np.diag(truth)])).max())


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
def test_noise_that_lasts_counts_for_fewer_steps(correlation):
    """The variance of a mean of autoregressive noise is (1 + r) / (1 - r) times that of white noise."""
    found = known(n=100, noise=0.3, correlation=correlation).fit()
    expected = (1 - correlation) / (1 + correlation)
    assert found.modes.steps / len(found.steps) == pytest.approx(expected, rel=0.25)
    assert found.noise == pytest.approx(0.3, rel=0.1)


def test_copies_count_once():
    case = known(n=60, trials=10, noise=0.2)
    once, s = case.fit(), case.steps
    twice = lr.Steps(*(np.tile(x, (2, 1)) for x in (s.z, s.u, s.y)), np.tile(s.trial, 2), alpha=0.1, copies=2)
    found = lr.maxent.fit(twice, case.embedding)
    assert found.modes.steps == pytest.approx(once.modes.steps, rel=1e-6)
    assert found.noise == pytest.approx(once.noise, rel=0.02)
    np.testing.assert_allclose(found.n, once.n, atol=0.02 * np.abs(once.n).max())
    # The lower end is near zero, where draws are few.
    assert found.interval()[1] == pytest.approx(once.interval()[1], rel=0.2)


PROMISES = {
    "200 neurons": {"n": 200},
    "noise": {"n": 100, "noise": 0.1},
    "rank 3": {"n": 200, "rank": 3, "noise": 0.1},
    "relu": {"n": 300, "activation": "relu", "biased": True},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", PROMISES)
def test_error_says_what_is_found(kind):
    said, seen = [], []
    for seed in range(4):
        case = known(trials=30, seed=seed, **PROMISES[kind])
        found = case.fit()
        said.append(found.error)
        seen.append(np.sqrt(case.error(found) / np.mean(case.fresh_g**2)))
    print(f"{kind}: said {np.mean(said):.3f}, found {np.mean(seen):.3f}")
    assert 0.5 < np.mean(said) / np.mean(seen) < 2


def drawn(seed, n=400, rank=2, *, power=1.0, decay=1.0, spread=2.0, noise=1e-3, steps=800) -> Modes:
    """Modes whose drift is drawn from the model itself."""
    rng = np.random.default_rng(seed)
    values = 50 * 0.6 ** np.arange(40.0)
    variance = power * values * (values / values[0]) ** decay + spread**2 / n * values + noise**2
    drift = np.sqrt(variance)[:, None] * rng.normal(size=(40, rank))
    rest = noise**2 * (rng.normal(size=(steps - 40, rank)) ** 2).sum(axis=0)
    return Modes(values, np.linalg.qr(rng.normal(size=(n, 40)))[0], drift, np.diag(rest), float(steps))


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    inside = []
    for seed in range(20):
        found = evidence.fit(drawn(seed), np.eye(2))
        for draws, truth in ((found.spread, 2.0), (found.noise, 1e-3)):
            low, high = np.quantile(draws, [0.05, 0.95])
            inside.append(low < truth < high)
    # 18 +- 1.3 of 20 each.
    assert 32 <= sum(inside) <= 40


def test_modes_are_the_singular_system():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 8)), rng.normal(size=(30, 2))
    found = Modes.of(*np.linalg.eigh(x.T @ x), x.T @ y, y.T @ y, 30.0)
    expected = modes(x, y)
    np.testing.assert_allclose(found.values, expected.values)
    np.testing.assert_allclose(found.rest, expected.rest, atol=1e-10)
    # Each up to a sign.
    np.testing.assert_allclose(np.abs((found.neurons * expected.neurons).sum(axis=0)), 1)
    np.testing.assert_allclose(np.abs(found.drift), np.abs(expected.drift))
    np.testing.assert_allclose(found.relative, found.values / found.values.max())
    # With fewer steps than neurons there are no more modes than steps.
    few = Modes.of(*np.linalg.eigh(x[:5].T @ x[:5]), x[:5].T @ y[:5], y[:5].T @ y[:5], 5.0)
    assert len(few.values) == 5 and np.abs(few.rest).max() < 1e-10


def test_counted_modes_are_those_of_every_other_step():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 8)), rng.normal(size=(30, 2))
    once, twice = modes(x, y), modes(np.concatenate([x, x]), np.concatenate([y, y])).counted(0.5)
    for name in ("values", "rest", "steps"):
        np.testing.assert_allclose(getattr(twice, name), getattr(once, name), atol=1e-10)
    np.testing.assert_allclose(np.abs(twice.drift), np.abs(once.drift))


def test_degrees_of_freedom_are_shares_of_the_variance():
    given = drawn(0)
    found = evidence.fit(given, np.eye(2))
    law, network, both = 0.0, 0.0, 0.0
    for a, p, sigma, s in zip(found.power, found.decay, found.spread, found.noise, strict=True):
        parts = a * given.values * given.relative**p, sigma**2 / 400 * given.values, s**2 + 0 * given.values
        law += 2 * (parts[0] / sum(parts)).sum() / len(found.power)
        network += 2 * (parts[1] / sum(parts)).sum() / len(found.power)
        both += 2 * ((parts[0] + parts[1]) / sum(parts)).sum() / len(found.power)
    np.testing.assert_allclose(found.degrees_of_freedom(given), (law, network), rtol=1e-6)
    assert law > 1 and network > 1 and both < 80


@pytest.mark.parametrize("ridge", [1e-2, 1e-6])
def test_a_ridge_is_a_white_prior(ridge):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 20)), rng.normal(size=(60, 2))
    given = modes(x, y)
    found = evidence.of_ridge(given, ridge)
    law, network, noise = found.parts(given)
    along = np.sqrt(20 / given.values)[:, None] * (law / (law + network + noise))[0] * given.drift
    weights = np.linalg.solve(x.T @ x / 400 + ridge * np.eye(20), x.T @ y / 20)
    np.testing.assert_allclose(given.neurons @ along, weights, rtol=1e-8)
    # The noise is what is left, for each number that the weights have not taken up.
    freedom = np.trace(x @ np.linalg.solve(x.T @ x + 400 * ridge * np.eye(20), x.T))
    left = ((y - x @ weights / 20) ** 2).sum()
    assert found.noise[0] == pytest.approx(np.sqrt(left / (2 * (60 - freedom))), rel=1e-6)
    np.testing.assert_allclose(found.degrees_of_freedom(given), (2 * freedom, 0), rtol=1e-8)


def test_the_same_modes_give_the_same_numbers():
    one, other = (evidence.fit(drawn(1), np.eye(2)) for _ in range(2))
    np.testing.assert_array_equal(one.spread, other.spread)
    assert len(one.spread) == 240


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:maxent. the drift of new neurons")
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_bands_of_the_posterior_hold_the_true_drift(rank, noise):
    """90 % of it, give or take what four networks of 100 neurons can say."""
    inside = []
    for seed in range(4):
        case = known(rank=rank, n=100, noise=noise, trials=30, seed=seed)
        found = case.fit()
        x = rates(case)[:: len(case.steps) // 200] / 100
        drawn = np.stack([x @ found.posterior(jr.key(i)).n for i in range(200)])
        low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
        true = x @ case.n
        inside.append(np.mean((low < true) & (true < high)))
    print(f"rank {rank}, noise {noise}: {np.mean(inside):.3f} of {np.round(inside, 2)}")
    assert 0.84 < np.mean(inside) < 0.97


@pytest.mark.parametrize("sd", [(2.0, 0.5), (1.0, 1.0, 0.3)])
def test_spread_is_measured_along_each_direction(sd):
    """Where n given e varies alike in all directions and m does not, or the other way round."""
    rank = len(sd)
    case = known(rank=rank, law=lambda rng, shape: rng.normal(size=shape) @ np.diag(sd))
    moved = lr.gauge.transform(case.steps, np.diag(sd)), lr.gauge.transform(case.embedding, np.diag(sd))
    for found, true in ((case.fit(), np.diag(sd)), (maxent.fit(*moved), np.diag(sd) ** 2)):
        covariance = found.spread @ found.spread.T
        back = np.linalg.inv(true)
        np.testing.assert_allclose(np.sqrt(np.diag(back @ covariance @ back.T)), 1, atol=0.15)
