"""The products of the rates on several devices are those on one, and numpy's."""

import os
import subprocess
import sys
import textwrap

import jax
import jax.random as jr
import numpy as np
import pytest

import lrcore as lr
from lrcore import modes

DEVICES = """
    import sys
    import jax
    import numpy as np
    import lrcore as lr
    from lrcore import modes

    held = np.load(sys.argv[1])
    steps = lr.Steps(held["z"], held["u"], held["y"], held["trial"], alpha=0.1)
    assert len(jax.devices()) == 4
    found = {}
    for name, devices in (("four", jax.devices()), ("one", jax.devices()[:1])):
        for basis in (None, held["basis"]):
            options = dict(bias=True, activation="softplus", devices=devices)
            gram, cross = modes.products(held["e"], steps, basis, **options)
            found |= {f"{name}_{basis is None}_gram": gram, f"{name}_{basis is None}_cross": cross}
    np.savez(sys.argv[1], **found)
"""


def test_steps_divided_among_devices_have_the_same_sums(tmp_path):
    """In a process of its own, as the number of devices is settled once. The last block is not full, nor is
    it of the same length on every device.
    """
    count, neurons = 2 * 4 * modes._BLOCK + 1001, 30
    rng = np.random.default_rng(0)
    z, y, u = (rng.normal(size=(count, columns)) for columns in (2, 2, 1))
    e, basis = rng.normal(size=(neurons, 4)), rng.normal(size=(neurons, 7))
    steps = lr.Steps(z, u, y, np.arange(count) // 100, alpha=0.1)
    file = tmp_path / "steps.npz"
    np.savez(file, z=steps.z, u=steps.u, y=steps.y, trial=steps.trial, e=e, basis=basis)
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    code = textwrap.dedent(DEVICES)
    subprocess.run([sys.executable, "-c", code, str(file)], env=environment, check=True)
    found = np.load(file)
    for whole in (True, False):
        here = modes.products(e, steps, None if whole else basis, bias=True, activation="softplus")
        for what, expected in zip(("gram", "cross"), here, strict=True):
            size = np.abs(expected).max()
            for name in ("one", "four"):
                np.testing.assert_allclose(
                    found[f"{name}_{whole}_{what}"], expected, rtol=0, atol=1e-12 * size
                )


def test_a_recording_shorter_than_a_block_is_summed_as_it_is():
    network = lr.systems.quadstable().sample(jr.key(0), 20)
    steps = lr.steps(lr.systems.trajectories(network, points=4, steps=20), alpha=0.1)
    x = np.asarray(modes.rates(network.m, steps.z, steps.u, bias=False, activation="tanh"))
    gram, cross = modes.products(network.m, steps, bias=False, activation="tanh")
    np.testing.assert_allclose(gram, x.T @ x, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(cross, x.T @ steps.y, rtol=1e-10, atol=1e-10)


def test_sums_are_left_to_the_processors_where_they_are_the_default_device(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert modes.accelerators() == jax.devices()
    with jax.default_device(jax.devices("cpu")[0]):
        assert modes.accelerators() is None
    with jax.default_device("cpu"):
        assert modes.accelerators() is None


@pytest.mark.filterwarnings("ignore:maxent")
def test_float32_is_enough_where_there_is_noise_and_only_there(monkeypatch):
    """What the page on scaling says of cards that are slow in float64."""
    truth = lr.systems.quadstable()
    network, new, exact = truth.sample(jr.key(0), 300), truth.sample(jr.key(1), 500), modes.products
    starts = jr.uniform(jr.key(2), (60, 2), minval=-2.4, maxval=2.4)

    def single(e, steps, basis=None, *, bias, activation, **_):
        x = np.asarray(modes.rates(e, steps.z, steps.u, bias=bias, activation=activation), np.float32)
        return np.asarray(x.T @ x, float), np.asarray(x.T @ steps.y.astype(np.float32), float)

    missed = {}
    for noise in (0.0, 0.05):
        z = network.simulate(starts, None, lr.systems.ALPHA, 100, noise=noise, key=jr.key(3))
        steps = lr.steps(z, alpha=lr.systems.ALPHA)
        true, g = network.drift(steps.z[::50]), truth.conditional_mean(new.embedding.array)
        for name, sums in (("double", exact), ("single", single)):
            monkeypatch.setattr(modes, "products", sums)
            found = lr.maxent.fit(steps, network.embedding)
            drift, mean = found.network().drift(steps.z[::50]), found.conditional_mean(new.embedding.array)
            missed[noise, name] = np.array([np.linalg.norm(drift - true), np.linalg.norm(mean - g)])
    np.testing.assert_allclose(missed[0.05, "single"], missed[0.05, "double"], rtol=0.05)
    assert missed[0.0, "single"][0] > 1000 * missed[0.0, "double"][0]
