"""The figures that Connector must reach on the reference systems, from published and from fresh draws."""

import os
from pathlib import Path

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import lrcore as lr

GRID = lr.systems.grid(30)
# One fresh draw of each system in every run of the tests; all three with LRCORE_SCALE=book.
DRAWS = lr.book.scale(smoke=[0], book=[0, 1, 2])
FILES = {
    "quadstable": "quadstable_attractors",
    "bistable": "bistable_attractors",
    "limit cycle": "limit_cycle",
    "ring": "ring_attractor",
}


def _published(name: str) -> lr.LowRankNetwork:
    folder = os.environ.get("LRCORE_DATA")
    if not folder or not (Path(folder) / "reference").is_dir():
        pytest.skip("LRCORE_DATA names no folder with the published reference networks")
    with np.load(Path(folder) / "reference" / f"{FILES[name]}.npz") as file:
        return lr.LowRankNetwork(file["MBD"], file["N"])


@pytest.mark.slow
@pytest.mark.parametrize("draw", ["published", *DRAWS])
@pytest.mark.parametrize("name", list(lr.systems.SYSTEMS))
def test_connector_reaches_the_figures(name, draw):
    truth = lr.systems.SYSTEMS[name]()
    network = _published(name) if draw == "published" else truth.sample(jr.key(draw), 1000)
    steps = lr.steps(lr.systems.trajectories(network), alpha=0.1)
    found = lr.Connector.fit(steps, network.embedding, key=jr.key(7), progress=False)

    g = truth.conditional_mean(network.embedding)
    error = {
        m: float(jnp.mean((found.conditional_mean(network.embedding, method=m) - g) ** 2))
        for m in ("exact", "flow")
    }
    fresh = found.sample(jr.key(8), 1000, sigma=0.0)
    drift = lr.flowfield.drift_error(fresh.drift, network.drift, GRID)
    distance = lr.compare.sinkhorn(fresh.m, network.m)
    of_g = f"{error['exact']:.3f} {error['flow']:.3f}"
    print(f"{name} {draw}: g {of_g}, drift {drift:.4f}, Sinkhorn {distance:.4f}")
    assert error["exact"] <= 0.05
    assert error["flow"] <= 0.07
    assert drift <= 0.04
    assert distance <= 0.02
