"""What is reported of a system does not depend on the coordinates of its latents, nor on their unit."""

import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings
from strategies import gauges

import lrcore as lr
from lrcore import clusters, compare, flowfield, identifiability
from lrcore.checks import x64
from lrcore.gauge import canonical, invariants, transform

P = lr.systems.quadstable()
NETWORK, OTHER = (P.sample(jr.key(seed), 200) for seed in (0, 1))
STATES = np.asarray(lr.systems.grid(7))
# On one side of the plane.
SEEN = np.random.default_rng(0).normal(size=(1000, 2)) * [0.4, 1.0] + [1.2, 0.0]


def counts(gauge):
    moved, mean = transform(NETWORK, gauge), transform(P, gauge).conditional_mean
    return [one.count for one in clusters.required(moved, mean, key=jr.key(0), most=5, starts=1, folds=3)]


def fixed_points(gauge):
    """Their number, the stable ones, and the eigenvalues around the origin."""
    found = flowfield.fixed_points(transform(P, gauge).drift, STATES @ gauge.T, visited=SEEN @ gauge.T)
    centre = np.linalg.norm(found.points, axis=1).argmin()
    return [len(found.points), int(found.stable.sum()), *np.sort(found.eigenvalues[centre].real)]


def spectrum(gauge):
    found = identifiability.spectrum(transform(NETWORK.embedding, gauge), STATES @ gauge.T)
    n = np.asarray(NETWORK.n, float) @ gauge.T
    return [
        found.rank(1e-3),
        *found.values[:6] / found.values[0],
        found.captured(n @ np.linalg.inv(gauge).T[:, 0]),
    ]


def in_canonical_gauge(gauge):
    moved = transform(NETWORK, gauge)
    return [*np.ravel(transform(moved, canonical(moved)).n), *np.ravel(invariants(moved)[1])]


REPORTED = {
    "compare.distance": lambda a: compare.distance(
        transform(P, a), lr.systems.bistable(), key=jr.key(0), n_neurons=50
    ),
    "compare.lint_dissimilarity": lambda a: compare.lint_dissimilarity(transform(NETWORK, a), OTHER),
    "counts of clusters.required": counts,
    "gauge.invariants, weights in the canonical gauge": in_canonical_gauge,
    "eigenvalues of gauge.invariants": lambda a: np.sort(invariants(transform(NETWORK, a))[0].real),
    "flowfield.fixed_points": fixed_points,
    "identifiability.spectrum": spectrum,
}
HERE = {}


LONG = ("compare.distance", "counts of clusters.required", "flowfield.fixed_points")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in REPORTED]
)
@settings(max_examples=4, deadline=None)
@given(gauge=gauges(10, 0.01, 100))
def test_in_other_coordinates(name, gauge):
    with x64():
        if name not in HERE:
            HERE[name] = REPORTED[name](np.eye(2))
        np.testing.assert_allclose(REPORTED[name](gauge), HERE[name], rtol=2e-3, atol=1e-4)
