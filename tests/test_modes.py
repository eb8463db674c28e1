"""The products of the rates on several devices are those on one, and numpy's."""

import os
import subprocess
import sys
import textwrap

import jax.random as jr
import numpy as np

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
