"""Strict numerics for every test: no silent broadcasting, no warning passed over, no window opened.

And what several files look at: sessions and fits, each made once for all of them.
"""

import functools
from collections import defaultdict
from pathlib import Path

import jax
import matplotlib
import pytest

import lrcore as lr

matplotlib.use("Agg")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config: pytest.Config) -> None:
    # Warnings are errors, but for those of other packages that no code of ours can avoid.
    for line in (
        "error",
        "default::DeprecationWarning:jaxopt.*",
        "default::DeprecationWarning:ott.*",
    ):
        config.addinivalue_line("filterwarnings", line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Those that `make check` leaves out, and those that .ci/run does; tools/slow_tests.py writes the list.
    here = Path(__file__).parent
    lines = (here / "slow.txt").read_text().splitlines()
    slow = {name: long for name, _, long in (line.partition(" ") for line in lines)}
    for item in items:
        if item.path.is_relative_to(here):
            name = f"{item.path.relative_to(here)}::{getattr(item, 'originalname', None) or item.name}"
            if name in slow:
                item.add_marker(pytest.mark.slow)
                if slow[name]:
                    item.add_marker(pytest.mark.long)
    # Slow files first: what is left for the end is short, and both workers have it.
    marks = defaultdict(list)
    for item in items:
        marks[item.path].append(item.get_closest_marker("slow") is not None)
    items.sort(key=lambda item: -sum(marks[item.path]) / len(marks[item.path]))


@pytest.fixture(scope="module", autouse=True)
def room():
    """What was compiled is let go after a file: a process that runs out of memory maps is ended by XLA."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > 30_000:
        jax.clear_caches()


@pytest.fixture(scope="session")
def clicks_session():
    """Synthetic sessions by the number of their key, and by their size. Nobody writes into them."""

    @functools.cache
    def made(seed: int = 0, n_trials: int = 400, n_neurons: int = 80):
        return lr.recording.clicks_session(jax.random.key(seed), n_trials=n_trials, n_neurons=n_neurons)

    return made


@pytest.fixture(scope="session")
def state_space_fit(clicks_session):
    """State-space models of rank 2 of such sessions, after twenty iterations."""

    @functools.cache
    def made(n_trials: int = 200, n_neurons: int = 80):
        recording = clicks_session(0, n_trials, n_neurons).recording
        return lr.latents.fit(recording, 2, key=jax.random.key(1), iterations=20, progress=False)

    return made


@pytest.fixture(scope="session")
def quadstable_fit() -> tuple:
    """A network of m and n alone, the steps of its latents, and a quick Connector of them."""
    network = lr.systems.quadstable().sample(jax.random.key(0), 300)
    steps = lr.steps(lr.systems.trajectories(network, points=10, steps=60), alpha=0.1)
    options = {"updates": 200, "batch_size": 256, "n_targets": 512, "progress": False}
    return network, steps, lr.Connector.fit(steps, network.embedding, key=jax.random.key(1), **options)
