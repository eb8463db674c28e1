"""Backpropagation through time: gradients, masks, starts, seeds, and what happens when it explodes."""

import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import optax
import pytest

import lrcore as lr
from lrcore import optimize, training
from lrcore.checks import x64
from lrcore.training import backpropagation


@pytest.fixture(scope="module")
def network():
    return lr.systems.bistable().sample(jr.key(0), 60)


@pytest.fixture(scope="module")
def recording(network):
    # Within the part of tanh that float32 can invert.
    z = network.simulate(lr.systems.grid(3, 1.0), None, 0.1, 30)
    return lr.Recording(rates=network.rates(z), bin_width=0.01)


def train(recording, epochs=1500, **options):
    options = {"alpha": 0.1, "key": jr.key(1), "batch_size": 9, "progress": False} | options
    return training.on_recording(recording, options.pop("rank", 2), epochs=epochs, **options)


@pytest.mark.parametrize(
    "options", [{}, {"start": "learned"}, {"teacher_forcing": 5}, {"target": "potentials"}, {"bias": True}]
)
def test_gradient_agrees_with_finite_differences(recording, options):
    """In float64, along three random directions, to 1e-4."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 31, recording.n_trials)
    with x64():
        shape = {"m": (1, 60, 2), "n": (1, 60, 2), "d": (1, 60) if "bias" in options else None}
        shape["z0"] = (1, 9, 2) if options.get("start") == "learned" else None
        parts = {k: None if s is None else jnp.asarray(rng.normal(size=s)) for k, s in shape.items()}
        potentials = options.get("target") == "potentials"
        model = backpropagation._Model(
            **parts,
            b=None,
            w=None,
            alpha=0.1,
            activation="tanh",
            penalty=0.01,
            forcing=options.get("teacher_forcing", 0),
            potentials=potentials,
        )
        rates = jnp.asarray(recording.rates, float)
        batch = {
            "rates": rates,
            "potentials": jnp.arctanh(rates),
            "mask": jnp.asarray(np.arange(31)[None] < lengths[:, None], float),
            "trial": jnp.arange(9),
        }
        value = jax.jit(lambda model: backpropagation._loss(model, batch, None))
        gradient = jax.grad(value)(model)
        for _ in range(3):
            way = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), model)
            ahead, back = (jax.tree.map(lambda p, d, s=s: p + s * d, model, way) for s in (1e-6, -1e-6))
            numeric = (value(ahead) - value(back)) / 2e-6
            exact = sum(
                jnp.vdot(g, d) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(way), strict=True)
            )
            assert float(numeric) == pytest.approx(float(exact), rel=1e-4)


@pytest.mark.parametrize(
    "options", [{}, {"start": "learned"}, {"teacher_forcing": 10}, {"target": "potentials"}, {"bias": True}]
)
def test_training_follows_the_recording(network, recording, options):
    trained = train(recording, **options)
    assert trained.stopped == "finished"
    wanted = recording.rates if options.get("target") != "potentials" else np.arctanh(recording.rates)
    assert trained.error[0] < 0.1 * np.mean(wanted**2)
    (made,) = trained.networks
    assert (made.embedding.d is not None) == ("bias" in options)
    # The network on its own, from the starts, does what the error says.
    if "teacher_forcing" not in options:
        z = made.simulate(trained.starts[0], None, 0.1, 30)
        h = made.embedding.potential(z)
        own = h if options.get("target") == "potentials" else jnp.tanh(h)
        assert float(jnp.mean((own - wanted) ** 2)) == pytest.approx(trained.error[0], rel=1e-3)


def test_padding_and_inputs(network):
    rng = np.random.default_rng(0)
    net = lr.LowRankNetwork(network.m, network.n, b=rng.normal(size=(60, 1)))
    u = rng.normal(size=(9, 31, 1)).astype(np.float32)
    z = net.simulate(lr.systems.grid(3), u[:, :-1], 0.1)
    rates = np.array(net.rates(z, u))
    lengths = rng.integers(15, 31, 9)
    rates[np.arange(31)[None] >= lengths[:, None]] = np.nan
    u[np.arange(31)[None] >= lengths[:, None]] = 0
    recording = lr.Recording(rates=rates, bin_width=0.01, lengths=lengths, inputs=u)
    trained = train(recording, start="learned")
    assert trained.error[0] < 0.15 * np.nanvar(rates) and trained.networks[0].b.shape == (60, 1)


def test_seeds_are_different_networks_of_the_same_dynamics(recording):
    trained = train(recording, seeds=3)
    assert len(trained.networks) == 3 and trained.error.max() < 0.05 * np.var(recording.rates)
    one, other = (np.asarray(lr.gauge.transform(x, lr.gauge.whitening(x)).n) for x in trained.networks[:2])
    assert np.abs(one - other).max() > 0.5


DEVICES = """
    import sys
    import jax
    jax.config.update("jax_num_cpu_devices", 4)
    import jax.random as jr
    import numpy as np
    import pytest
    import lrcore as lr
    from test_optimize import interrupt_after

    folder = sys.argv[1]
    recording = lr.Recording(rates=np.load(f"{folder}/rates.npy"), bin_width=0.01)
    options = dict(alpha=0.1, key=jr.key(1), batch_size=9, seeds=4, epochs=60, chunk=20, progress=False)
    whole = lr.training.on_recording(recording, 2, **options)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_after(patch, 2)
        part = lr.training.on_recording(recording, 2, checkpoint=f"{folder}/run", **options)
    assert part.stopped == "interrupted"
    resumed = lr.training.on_recording(recording, 2, checkpoint=f"{folder}/run", **options)
    np.testing.assert_array_equal(whole.losses, resumed.losses)
    assert all(len(net.m.devices()) == 1 for net in whole.networks)
    n = np.stack([net.n for net in whole.networks])
    np.savez(f"{folder}/out.npz", losses=whole.losses, error=whole.error, n=n)
"""


def test_seeds_divided_among_devices_are_the_same_networks(recording, tmp_path):
    """In a process of its own, as the number of devices is settled once; interrupted and resumed midway."""
    np.save(tmp_path / "rates.npy", recording.rates)
    code = textwrap.dedent(DEVICES)
    # Started in the folder of all tests, to find the one that knows how to interrupt.
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[1], check=True)
    found = np.load(tmp_path / "out.npz")
    alone = train(recording, epochs=60, seeds=4, chunk=20)
    np.testing.assert_allclose(found["losses"], alone.losses, rtol=1e-4)
    np.testing.assert_allclose(found["error"], alone.error, rtol=1e-3)
    np.testing.assert_allclose(found["n"], np.stack([net.n for net in alone.networks]), atol=1e-3)


def test_an_exploding_seed_is_named_and_the_others_go_on(recording):
    good = train(recording, epochs=5, seeds=2)
    assert np.isfinite(good.error).all()
    linear = lr.Recording(rates=recording.rates, bin_width=0.01)
    with pytest.raises(FloatingPointError, match="LINT: the loss is not finite"):
        train(linear, activation="exp", start="learned", weights=1e3)


def test_exploding_midway_keeps_the_best_weights(recording, monkeypatch):
    """A learning rate that is fine for 60 updates, makes it worse for 20, and is absurd from there."""
    absurd = optax.adam(optax.piecewise_constant_schedule(0.05, {60: 20.0, 80: 1e6}))
    monkeypatch.setattr(backpropagation, "_adam", lambda *_: absurd)
    options = {"activation": "linear", "start": "learned", "seeds": 2, "chunk": 20}
    trained, before = train(recording, epochs=200, **options), train(recording, epochs=60, **options)
    assert (trained.stopped, before.stopped) == ("diverged", "finished")
    np.testing.assert_array_equal(trained.losses[:60], before.losses)
    assert len(trained.losses) == 80 and trained.losses[60:].mean() > trained.losses[40:60].mean()
    np.testing.assert_array_equal(trained.error, before.error)
    assert trained.error.max() < 0.8 * trained.losses[0]


@pytest.mark.parametrize("options", [{"start": "learned", "bias": True}, {"teacher_forcing": 5}], ids=str)
def test_double_precision_and_debug_nans(recording, options):
    with x64(), jax.debug_nans(True):
        trained = train(recording, epochs=3, **options)
    assert trained.networks[0].m.dtype == trained.error.dtype == trained.starts.dtype == np.float64


def test_numbers_of_numpy_are_numbers(recording, tmp_path, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    own = {
        "alpha": 0.5,
        "bias": True,
        "teacher_forcing": 5,
        "seeds": 2,
        "epochs": 3,
        "batch_size": 4,
        "weights": 1.0,
    }
    own |= {"learning_rate": 0.125, "penalty": 0.5, "rank": 2, "progress": False}
    losses = train(recording, **own).losses
    for number in (np.array, lambda x: np.asarray(x)[()]):
        given = {name: number(value) for name, value in own.items()}
        np.testing.assert_array_equal(train(recording, **given).losses, losses)
    train(recording, **given, checkpoint=tmp_path / "run")


def test_a_checkpoint_of_another_learning_rate_is_refused(recording, tmp_path):
    options = {"epochs": 20, "checkpoint": tmp_path / "run"}
    train(recording, **options)
    with pytest.raises(ValueError, match="checkpoint"):
        train(recording, learning_rate=0.02, **options)


BAD = {
    "start": (lambda r: train(r, start="x"), "^start: expected 'given' or 'learned'"),
    "target": (lambda r: train(r, target="x"), "^target: expected 'rates' or 'potentials'"),
    "no inverse": (lambda r: train(r, activation="relu"), "^activation: expected one with a known inverse"),
    "outside": (
        lambda r: train(lr.Recording(rates=2 * r.rates, bin_width=0.01)),
        r"^rates: expected rates of tanh, between -1 and 1, got [\d,]+ of [\d,]+ outside",
    ),
    "rank": (lambda r: train(r, rank=61), "^rank: expected at most the 60 neurons, got 61"),
    "no rank": (lambda r: train(r, rank=0), "^rank: expected at least 1, got 0"),
    "no batch": (lambda r: train(r, batch_size=0), "^batch_size: expected at least 1, got 0"),
    "alpha": (lambda r: train(r, alpha=2.0), r"^alpha: expected a number in \(0, 1\], got 2"),
    "no rate": (lambda r: train(r, learning_rate=0.0), "^learning_rate: expected a positive finite number"),
    "spikes": (
        lambda r: train(
            lr.Recording(spikes=np.random.default_rng(0).poisson(0.3, (4, 50, 5)), bin_width=0.01)
        ),
        "^recording: expected rates, got spikes",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_training(recording, case, monkeypatch):
    monkeypatch.setattr(optimize, "_run", lambda *_: pytest.fail("trained first"))
    call, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        call(recording)
