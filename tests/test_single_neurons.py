"""How many neurons are known one by one: computed beforehand, against recovered weights."""

import numpy as np
import pytest

import lrcore as lr
from lrcore.identifiability import individually_identified, spectrum

SIZE = 2.0


def circuit(count, rank, seed=0, states=1000):
    rng = np.random.default_rng([seed, rank])
    z = rng.uniform(-2.4, 2.4, (states, rank))
    return lr.Embedding(rng.normal(size=(count, rank))), z


def rates(e, z, phi):
    h = z @ np.asarray(e.m, float).T + (0 if e.d is None else np.asarray(e.d, float))
    return {"tanh": np.tanh, "sigmoid": lambda h: 1 / (1 + np.exp(-h))}[phi](h) / e.n_neurons


@pytest.mark.parametrize("noise", [1e-1, 1e-3])
@pytest.mark.parametrize(("count", "phi"), [(20, "tanh"), (80, "tanh"), (200, "sigmoid")])
def test_errors_of_single_weights_are_those_computed(count, phi, noise):
    """Neuron by neuron, against ridge regression with the true noise; sigmoid neurons with biases too."""
    e, z = circuit(count, 2)
    if phi == "sigmoid":
        e = lr.Embedding(e.m, d=np.random.default_rng(7).normal(size=count))
    rng, draws = np.random.default_rng(1), 400
    X = rates(e, z, phi)
    n = SIZE * rng.normal(size=(count, draws))
    y = X @ n + noise * rng.normal(size=(len(z), draws))
    back = np.linalg.solve(X.T @ X + (noise / SIZE) ** 2 * np.eye(count), X.T @ y)
    error = np.sqrt(np.mean((back - n) ** 2, axis=1)) / SIZE
    found = spectrum(e, z, activation=phi)
    known = individually_identified(found, noise, size=SIZE)
    np.testing.assert_allclose(error / known.deviation, 1, atol=0.2)
    # The mean square is 1 - df / N.
    df = found.degrees_of_freedom(noise, size=SIZE / np.sqrt(count))
    assert np.mean(known.deviation**2) == pytest.approx(1 - df / count, abs=1e-9)


def test_below_the_count_all_are_known_and_far_above_none():
    for count, least, most in ((10, 1.0, 1.0), (640, 0.0, 0.02)):
        known = individually_identified(spectrum(*circuit(count, 2)), 1e-4, size=SIZE)
        assert (known.count == count) == (count == 10)
        assert least <= np.mean(known.deviation <= 0.1) <= most


@pytest.mark.parametrize("rank", [1, 2])
def test_the_even_part_of_many_stays_at_its_prior(rank):
    e, z = circuit(1000, rank, seed=2)
    found = spectrum(e, z)
    gain = found.information(0.1, size=SIZE / np.sqrt(1000))
    a = np.asarray(e.m[:, 0], float) ** 2
    along = (found.modes.T @ a / 1000) ** 2 / np.mean(a**2)
    assert np.sqrt(1 - along @ (gain / (1 + gain))) > 0.95
    # With each neuron's mirror image it is hidden at any precision.
    m = np.asarray(e.m[:150], float)
    found = spectrum(lr.Embedding(np.concatenate([m, -m])), z)
    a = np.concatenate([m, -m])[:, 0] ** 2
    assert np.abs(found.modes.T @ a / 300).max() < 1e-4 and len(found.values) <= 150


def test_the_exponent_is_the_dimension_that_is_explored():
    """Of states and inputs, or of the embedding, whichever is smaller: biases or a current alone add none."""
    n, levels = 1000, 10.0 ** -np.arange(1, 6.5, 0.5)
    line, z = circuit(n, 1, seed=3)
    ones, d = np.ones((n, 1)), np.random.default_rng(5).normal(size=n)
    u = np.random.default_rng(4).uniform(-2.4, 2.4, z.shape)
    cases = {
        "1": (*circuit(n, 1, seed=3), None),
        "2": (*circuit(n, 2, seed=3), None),
        "3": (*circuit(n, 3, seed=3), None),
        "biases": (lr.Embedding(line.m, d=d), z, None),
        "current": (lr.Embedding(line.m, ones), z, u),
        "both": (lr.Embedding(line.m, ones, d), z, u),
    }
    powers = {}
    for name, (e, states, inputs) in cases.items():
        found = spectrum(e, states, inputs)
        size = SIZE / np.sqrt(n)
        x = np.log(np.array([found.information(s, size=size)[0] for s in levels]) / 99)
        counts = np.array([individually_identified(found, s, size=SIZE).count for s in levels])
        kept = (x > 5) & (counts < n / 4)
        powers[name] = np.polyfit(np.log(x[kept]), np.log(counts[kept]), 1)[0]
    assert powers == pytest.approx(
        {"1": 1.0, "2": 2.0, "3": 3.0, "biases": 1.2, "current": 1.2, "both": 2.0}, abs=0.35
    )
