"""Latent dynamics against the N-dimensional network they stand for, and against an adaptive solver."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import lrcore as lr
from lrcore import checks, gauge
from lrcore.activation import resolve

N, R, K = 60, 3, 2


def network(activation="tanh", b=True, d=True, tau=1.0, seed=0) -> lr.LowRankNetwork:
    rng = np.random.default_rng(seed)
    m, n = rng.normal(size=(N, R)), rng.normal(size=(N, R))
    return lr.LowRankNetwork(
        m,
        2 * m + n,
        rng.normal(size=(N, K)) if b else None,
        rng.normal(size=N) if d else None,
        activation=activation,
        tau=tau,
    )


def states(seed=1, shape=()) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(*shape, R)), rng.normal(size=(*shape, K))


@pytest.mark.parametrize(
    "activation",
    ["tanh", "softplus", "sigmoid", "relu", "exp", "linear", jnp.sin],
    ids=lambda a: a if isinstance(a, str) else a.__name__,
)
def test_drift_is_the_sum_over_neurons(activation):
    net = network(activation)
    z, u = states(shape=(4,))
    m, n, b, d = (np.asarray(part, float) for part in (net.m, net.n, net.b, net.d))
    for i in range(4):
        phi = [float(resolve(activation)(jnp.asarray(m[j] @ z[i] + b[j] @ u[i] + d[j]))) for j in range(N)]
        by_hand = sum(n[j] * phi[j] for j in range(N)) / N
        np.testing.assert_allclose(net.rates(z, u)[i], phi, rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose(net.drift(z, u)[i], by_hand, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(net.velocity(z, u), -z + net.drift(z, u), atol=1e-5)


def test_latent_dynamics_are_those_of_the_network_of_n_neurons():
    """dx/dt = (-x + J phi(x + B v + d)) / tau in N dimensions, with x = M z, step by step."""
    net, dt, steps = network(tau=0.5), 0.02, 80
    z0, _ = states()
    inputs = np.random.default_rng(2).normal(size=(steps, K))
    z = np.asarray(net.simulate(z0, inputs, dt, steps))
    m, b, d = (np.asarray(part, float) for part in (net.m, net.b, net.d))
    weights = np.asarray(net.m, float) @ np.asarray(net.n, float).T / N
    np.testing.assert_allclose(net.recurrent_weights(), weights, atol=1e-6)
    x = m @ z0
    for t in range(steps):
        x = x + dt / 0.5 * (-x + weights @ np.tanh(x + b @ inputs[t] + d))
        np.testing.assert_allclose(m @ z[t + 1], x, atol=2e-4)


@pytest.mark.parametrize("b, d", [(True, True), (True, False), (False, True), (False, False)])
def test_parts_may_be_absent(b, d):
    net = network(b=b, d=d)
    z, u = states(shape=(5, 2))
    full = lr.LowRankNetwork(
        net.m,
        net.n,
        net.b if b else np.zeros((N, K)),
        net.d if d else np.zeros(N),
    )
    np.testing.assert_allclose(net.drift(z, u if b else None), full.drift(z, u if b else None), atol=1e-6)
    again = net.embedding.like(net.embedding.array)
    assert (again.b is None) == (not b) and (again.d is None) == (not d)
    np.testing.assert_array_equal(again.array, net.embedding.array)
    assert net.embedding.array.shape == (N, R + K * b + d)
    if b:
        # No input is the input 0.
        np.testing.assert_array_equal(net.drift(z), net.drift(z, np.zeros(K)))


def test_leading_axes_are_batches():
    net = network()
    z, u = states(shape=(4, 3))
    one_by_one = np.stack([[net.drift(z[i, j], u[i, j]) for j in range(3)] for i in range(4)])
    np.testing.assert_allclose(net.drift(z, u), one_by_one, atol=1e-5)
    np.testing.assert_allclose(net.drift(z, u[0, 0])[1, 2], net.drift(z[1, 2], u[0, 0]), atol=1e-5)
    assert net.drift(z[0, 0], u).shape == (4, 3, R)


@pytest.fixture(scope="module")
def smooth_run():
    net = network(d=False, b=False)
    return net, 2 * states(shape=(6,))[0]


def test_euler_agrees_with_diffrax_to_first_order(smooth_run):
    net, z0 = smooth_run
    runs = {}
    for dt in (0.1, 0.05, 0.025):
        euler, adaptive = (net.simulate(z0, None, dt, 80, method=method) for method in ("euler", "diffrax"))
        at = round(2 / dt)
        runs[dt] = float(jnp.abs(euler[:, at] - adaptive[:, at]).max())
    gaps = np.array(list(runs.values()))
    ratios = gaps[:-1] / gaps[1:]
    assert (1.7 < ratios).all() and (ratios < 2.4).all()


def test_diffrax_agrees_with_scipy(smooth_run):
    net, z0 = smooth_run
    m, n = np.asarray(net.m, float), np.asarray(net.n, float)
    ours = net.simulate(z0, None, 0.5, 8, method="diffrax")
    for i in range(2):
        theirs = solve_ivp(lambda t, z: -z + np.tanh(m @ z) @ n / N, (0, 4), z0[i], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(ours[i, -1], theirs.y[:, -1], atol=1e-4)


def test_with_one_key_both_methods_follow_the_same_noisy_path(smooth_run):
    net, z0 = smooth_run
    gaps = []
    for dt in (0.05, 0.0125):
        options = {"noise": 0.3, "key": jr.key(7)}
        euler, adaptive = (net.simulate(z0, None, dt, 80, method=m, **options) for m in ("euler", "diffrax"))
        gaps.append(float(jnp.abs(euler - adaptive)[:, : round(1 / dt) + 1].max()))
        noise = float(jnp.abs(euler - net.simulate(z0, None, dt, 80)).max())
        assert noise > 10 * gaps[-1]
    assert gaps[1] < gaps[0] / 2
    again = net.simulate(z0, None, 0.05, 40, noise=0.3, key=jr.key(7))
    np.testing.assert_array_equal(again, net.simulate(z0, None, 0.05, 40, noise=0.3, key=jr.key(7)))


def test_noise_has_the_stationary_variance_of_an_ornstein_uhlenbeck_process():
    """Without drift, tau dz = -z dt + tau s dW: variance s^2 tau / 2 (Euler: / (1 - alpha / 2))."""
    net = lr.LowRankNetwork(np.ones((2, 1)), np.zeros((2, 1)), tau=0.5)
    z = net.simulate(np.zeros((4000, 1)), None, 0.05, 100, noise=0.8, key=jr.key(0))
    assert float(z[:, -1].var()) == pytest.approx(0.8**2 * 0.5 / 2 / (1 - 0.1 / 2), rel=0.1)


def test_tau_is_the_unit_of_time():
    slow, fast = network(tau=1.0), network(tau=0.1)
    z0, _ = states()
    np.testing.assert_allclose(slow.simulate(z0, None, 0.1, 30), fast.simulate(z0, None, 0.01, 30), atol=1e-5)
    np.testing.assert_array_equal(fast.simulate(z0, steps=5), fast.simulate(z0, None, 0.01, 5))


def test_simulation_can_be_differentiated_and_compiled():
    net = network(b=False, d=False)
    z0 = jnp.asarray(states()[0])
    end = jax.jit(lambda z: net.simulate(z, None, 0.1, 10)[-1].sum())
    slope = jax.grad(end)(z0)
    for i in range(R):
        shift = 1e-2 * jnp.eye(R)[i]
        assert float(slope[i]) == pytest.approx(float(end(z0 + shift) - end(z0 - shift)) / 2e-2, abs=2e-3)


def gauges():
    """A with condition number up to 100: random rotations around random singular values."""

    def build(values):
        seed, spread, size = values
        left, right = (np.linalg.qr(x)[0] for x in np.random.default_rng(seed).normal(size=(2, R, R)))
        return size * (left * np.geomspace(1, spread, R)) @ right

    return st.tuples(st.integers(0, 2**31), st.floats(1, 100), st.floats(0.1, 10)).map(build)


@settings(max_examples=200, deadline=None)
@given(gauges())
def test_gauge_leaves_rates_and_weights(a):
    net = network()
    z, u = states(shape=(5,))
    moved = gauge.transform(net, a)
    there = z @ a.T
    # Rounding to float32 is magnified by the condition number at most.
    off = 1e-5 * np.linalg.cond(a)
    np.testing.assert_allclose(moved.rates(there, u), net.rates(z, u), atol=off)
    np.testing.assert_allclose(moved.recurrent_weights(), net.recurrent_weights(), atol=off)
    np.testing.assert_allclose(
        np.linalg.solve(a, np.asarray(moved.drift(there, u)).T).T, net.drift(z, u), atol=10 * off
    )


BAD = {
    "float16": (lambda: lr.Embedding(np.zeros((4, 2), np.float16)), TypeError, "^m: expected.*float16"),
    "nan": (lambda: lr.Embedding(np.full((4, 2), np.nan)), ValueError, "^m: expected finite"),
    "axes": (lambda: lr.Embedding(np.zeros(4)), ValueError, r"^m: expected axes \(neuron, rank\)"),
    "fewer neurons than rank": (
        lambda: lr.Embedding(np.zeros((2, 3))),
        ValueError,
        "at least as many neurons as latent dimensions, got 2 neurons of rank 3",
    ),
    "no rank": (lambda: lr.Embedding(np.zeros((2, 0))), ValueError, "^m: expected at least"),
    "b of other neurons": (
        lambda: lr.Embedding(np.zeros((4, 2)), np.zeros((3, 1))),
        ValueError,
        "^b: expected 4",
    ),
    "d of other neurons": (
        lambda: lr.Embedding(np.zeros((4, 2)), d=np.zeros(3)),
        ValueError,
        "^d: expected 4",
    ),
    "n of another shape": (
        lambda: lr.LowRankNetwork(np.zeros((4, 2)), np.zeros((4, 1))),
        ValueError,
        "^n: expected 2 along the axis 'rank'",
    ),
    "unknown activation": (
        lambda: lr.LowRankNetwork(np.zeros((4, 2)), np.zeros((4, 2)), activation="swish"),
        ValueError,
        "^activation: expected one of",
    ),
    "tau": (
        lambda: lr.LowRankNetwork(np.zeros((4, 2)), np.zeros((4, 2)), tau=0.0),
        ValueError,
        "^tau: expected",
    ),
    "state of another rank": (lambda: network().drift(np.zeros(2)), ValueError, "^z: expected 3 along"),
    "input of another width": (
        lambda: network().drift(np.zeros(R), np.zeros(3)),
        ValueError,
        "^u: expected 2 along the axis 'input'",
    ),
    "inputs of another length": (
        lambda: network().simulate(np.zeros(R), np.zeros((5, K)), 0.1, 6),
        ValueError,
        "^inputs: expected 6 along the axis 'time'",
    ),
    "no steps": (lambda: network().simulate(np.zeros(R)), ValueError, "^steps: expected a number"),
    "noise without key": (
        lambda: network().simulate(np.zeros(R), None, 0.1, 5, noise=0.1),
        ValueError,
        "^key: expected",
    ),
    "z0 of three axes": (
        lambda: network().simulate(np.zeros((2, 2, R)), steps=3),
        ValueError,
        "^z0: expected",
    ),
    "method": (
        lambda: network().simulate(np.zeros(R), steps=3, method="rk4"),
        ValueError,
        "^method: expected",
    ),
    "columns of another width": (
        lambda: network().embedding.like(np.zeros((4, 3))),
        ValueError,
        "^embedding: expected 6",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case):
    call, error, words = BAD[case]
    with pytest.raises(error, match=words):
        call()


def runaway() -> lr.LowRankNetwork:
    """dz/dt = -z + 0.2 exp(z): stable at 0.26, beyond 2.5 it runs away in a finite time."""
    return lr.LowRankNetwork(np.ones((2, 1)), 0.2 * np.ones((2, 1)), activation="exp")


@pytest.mark.parametrize("method", ["euler", "diffrax"])
def test_diverging_latents_are_reported(method):
    starts = np.array([[0.0], [5.0], [1.0]])
    assert runaway().simulate(starts[::2], None, 0.1, 80, method=method)[:, -1] == pytest.approx(
        0.26, abs=0.01
    )
    with pytest.raises(FloatingPointError, match=r"latents diverged: lower.*first at step \d+; 1 trials"):
        runaway().simulate(starts, None, 0.1, 80, method=method)


def test_diverging_latents_are_reported_inside_a_jit():
    run = jax.jit(lambda z: runaway().simulate(z, None, 0.1, 80))
    with pytest.raises(Exception, match="latents diverged"):
        jax.block_until_ready(run(jnp.array([5.0])))


@pytest.mark.parametrize("method", ["euler", "diffrax"])
@pytest.mark.parametrize(
    "weights, start", [(np.float32, np.float32), (np.float32, float), (float, np.float32), (float, int)]
)
def test_simulation_in_double_precision(method, weights, start):
    """Types that meet are those of the wider one, in every combination."""
    m = np.ones((4, 1), weights)
    with checks.x64():
        network = lr.LowRankNetwork(m, 2 * m, m.astype(np.float32), tau=1.0)
        z = network.simulate(
            np.ones(1, start),
            np.zeros((5, 1), np.float32),
            np.float32(0.1),
            np.int64(5),
            noise=np.float32(0.1),
            key=jr.key(0),
            method=method,
        )
    assert z.dtype == (np.float32 if weights == start == np.float32 else np.float64) and z.shape == (6, 1)
