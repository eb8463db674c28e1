"""Flows against closed densities, against the Jacobian of their own map, and against finite differences."""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

import lrcore as lr
from lrcore.flow import Flow

# Tolerances of the solver are 1e-4.
CLOSE = 2e-3


def untrained(dim: int, condition_dim: int = 0) -> Flow:
    """A flow far from the identity: five times the initial weights of the last layer, and other units."""
    flow = Flow(dim, condition_dim, width=16, depth=2, key=jr.key(3))
    last = lambda f: f.network.layers[-1].weight  # noqa: E731
    flow = eqx.tree_at(last, flow, 5 * last(flow))
    units = (jnp.linspace(-1, 1, dim), jnp.linspace(0.5, 2, dim))
    flow = eqx.tree_at(lambda f: (f.shift, f.scale), flow, units)
    if condition_dim:
        units = (jnp.linspace(-1, 2, condition_dim), jnp.linspace(0.5, 3, condition_dim))
        flow = eqx.tree_at(lambda f: (f.condition_shift, f.condition_scale), flow, units)
    return flow


@pytest.fixture(scope="module")
def plane() -> Flow:
    return untrained(2)


@pytest.fixture(scope="module")
def conditional() -> Flow:
    return untrained(2, 3)


def rows(n: int, width: int, seed: int = 0):
    return jr.normal(jr.key(seed), (n, width))


@pytest.mark.parametrize("condition", [None, rows(5, 3, 1)], ids=["alone", "conditional"])
def test_log_prob_is_the_jacobian_of_the_map(plane, conditional, condition):
    """Change of variables: log p(x1) = log N(x0) - log |det dx1/dx0|, by the Jacobian of `push`."""
    flow, x0 = plane if condition is None else conditional, rows(5, 2)

    def push(x, i):
        c = None if condition is None else condition[i : i + 1]
        return flow.push(x[None], condition=c)[0]

    x1 = flow.push(x0, condition=condition)
    expected = []
    for i in range(5):
        jacobian = np.asarray(jax.jacrev(lambda x, i=i: push(x, i))(x0[i]), float)
        expected.append(stats.norm.logpdf(x0[i]).sum() - np.log(abs(np.linalg.det(jacobian))))
    found = flow.log_prob(x1, condition=condition)
    np.testing.assert_allclose(found, expected, atol=10 * CLOSE)
    assert np.std(expected - stats.norm.logpdf(x1).sum(axis=1)) > 0.1  # far from no map at all


def test_density_integrates_to_one(plane):
    axis = jnp.linspace(-12, 12, 121)
    grid = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    assert float(jnp.exp(plane.log_prob(grid)).sum()) * float(axis[1] - axis[0]) ** 2 == pytest.approx(
        1, abs=0.01
    )


def test_log_prob_differentiates_in_its_input_condition_and_parameters(conditional):
    x, c = rows(1, 2), rows(1, 3, 1)
    arrays, static = eqx.partition(conditional, eqx.is_array)

    @jax.jit
    def function(arrays, x, c):
        return eqx.combine(arrays, static).log_prob(x, condition=c).sum()

    of_arrays, of_x, of_c = jax.grad(function, argnums=(0, 1, 2))(arrays, x, c)
    step = 2e-2

    def difference(move):
        return (float(function(*move(step))) - float(function(*move(-step)))) / (2 * step)

    for i in range(2):
        by_hand = difference(lambda h, i=i: (arrays, x.at[0, i].add(h), c))
        assert float(of_x[0, i]) == pytest.approx(by_hand, abs=0.05, rel=0.02)
    for i in range(3):
        by_hand = difference(lambda h, i=i: (arrays, x, c.at[0, i].add(h)))
        assert float(of_c[0, i]) == pytest.approx(by_hand, abs=0.05, rel=0.02)
    weight = lambda flow: flow.network.layers[1].weight  # noqa: E731
    # Along the gradient itself, where the slope is its length.
    along = weight(of_arrays) / jnp.linalg.norm(weight(of_arrays))
    by_hand = difference(lambda h: (eqx.tree_at(weight, arrays, weight(arrays) + h * along), x, c))
    assert by_hand == pytest.approx(float(jnp.linalg.norm(weight(of_arrays))), rel=0.03)


def test_conditions_are_taken_row_by_row(conditional):
    x, c = rows(4, 2), rows(4, 3, 1)
    together = conditional.log_prob(x, condition=c)
    np.testing.assert_allclose(together[::-1], conditional.log_prob(x[::-1], condition=c[::-1]), atol=CLOSE)
    assert not np.allclose(together, conditional.log_prob(x, condition=c[::-1]), atol=0.1)
    assert conditional.sample(jr.key(0), condition=c).shape == (4, 2)
    np.testing.assert_array_equal(
        conditional.sample(jr.key(0), condition=c), conditional.sample(jr.key(0), condition=c)
    )


def test_samples_follow_the_density(plane):
    """E_p[f] by samples, and by the density on a grid."""
    draws = np.asarray(plane.sample(jr.key(0), 20_000), float)
    axis = jnp.linspace(-12, 12, 121)
    grid = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    density = np.exp(np.asarray(plane.log_prob(grid), float))
    density /= density.sum()
    for f in (
        lambda x: x[:, 0],
        lambda x: x[:, 1],
        lambda x: x[:, 0] * x[:, 1],
        lambda x: np.sin(2 * x[:, 0]),
    ):
        values = f(draws)
        error = values.std() / np.sqrt(len(values))
        assert values.mean() == pytest.approx(density @ f(np.asarray(grid, float)), abs=5 * error + 0.005)


GAIN = np.array([[1.0, -0.5], [0.0, 2.0]])


@pytest.fixture(scope="module")
def regression() -> tuple:
    """x = A c + 3 + noise: the conditional is Gaussian. Noise is drawn anew in training, as in Connector."""
    c = rows(4000, 2, 1)
    return Flow.fit(c @ GAIN + 3, c, noise=0.7, key=jr.key(0), updates=800, width=32, depth=2, progress=False)


def test_conditional_flow_learns_a_regression(regression):
    flow, record = regression
    c = rows(400, 2, 5)
    mean = c @ GAIN + 3
    np.testing.assert_allclose(flow.mean(c), mean, atol=0.25)
    assert float(jnp.mean((flow.mean(c) - mean) ** 2)) < 0.005
    x = mean + 0.7 * rows(400, 2, 6)
    expected = stats.norm.logpdf(x, mean, 0.7).sum(axis=1)
    assert np.abs(flow.log_prob(x, condition=c) - expected).mean() < 0.1
    spread = np.asarray(flow.sample(jr.key(3), condition=c) - mean)
    np.testing.assert_allclose(np.cov(spread.T), 0.49 * np.eye(2), atol=0.12)
    assert record.losses[-100:].mean() < 0.8 * record.losses[:20].mean()
    assert record.validation[-1] < record.validation[0] and record.stopped == "finished"


def test_mean_is_the_average_over_samples(regression):
    flow, _ = regression
    c = jnp.repeat(rows(3, 2, 7), 3000, axis=0)
    draws = flow.sample(jr.key(0), condition=c).reshape(3, 3000, 2)
    np.testing.assert_allclose(flow.mean(c[::3000]), draws.mean(axis=1), atol=0.06)


def test_the_same_key_gives_the_same_flow():
    x = 2 + 3 * rows(300, 1)
    options = {"updates": 20, "batch_size": 64, "width": 8, "depth": 1, "progress": False}
    one, other = (Flow.fit(x, key=jr.key(0), **options)[0] for _ in range(2))
    for a, b in zip(*(jax.tree.leaves(eqx.filter(f, eqx.is_array)) for f in (one, other)), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(one.shift, x.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(one.scale, x.std(axis=0), rtol=1e-4)


@pytest.fixture(scope="module")
def mixture() -> tuple:
    """The density of m in quadstable: four Gaussians at (+-0.87, +-0.87) of variance 0.25."""
    p = lr.systems.quadstable()
    m = p.sample(jr.key(0), 20_000).m
    start = time.process_time()
    flow, record = Flow.fit(m, key=jr.key(1), progress=False)
    print(f"training took {time.process_time() - start:.1f} s of processor time")
    return flow, record, p


def mixture_log_prob(x) -> np.ndarray:
    """The product of two one-dimensional mixtures, by scipy."""
    each = [stats.norm.logpdf(x, centre, 0.5) for centre in (0.87, -0.87)]
    return (np.logaddexp(*each) - np.log(2)).sum(axis=1)


@pytest.mark.slow
def test_log_prob_reaches_the_mixtures(mixture):
    flow, _, p = mixture
    x = np.asarray(p.sample(jr.key(2), 4000).m, float)
    expected = mixture_log_prob(x)
    np.testing.assert_allclose(p.embedding_log_prob(x), expected, atol=1e-3)
    error = np.abs(flow.log_prob(x) - expected).mean()
    print(f"mean absolute error {error:.4f} nats")
    assert error <= 0.05


@pytest.mark.slow
def test_fitted_density_integrates_to_one(mixture):
    axis = jnp.linspace(-5, 5, 101)
    grid = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    assert float(jnp.exp(mixture[0].log_prob(grid)).sum()) * 0.01 == pytest.approx(1, abs=0.01)


@pytest.mark.slow
def test_samples_are_the_mixtures(mixture):
    """Along random directions, the largest gap between the two distribution functions."""
    flow, _, p = mixture
    drawn, truth = (np.asarray(x) for x in (flow.sample(jr.key(4), 4000), p.sample(jr.key(5), 4000).m))
    for angle in np.linspace(0, np.pi, 7)[:-1]:
        along = np.array([np.cos(angle), np.sin(angle)])
        # 0.036 is the one in a hundred level of two true samples; the flow is not exact.
        assert stats.ks_2samp(drawn @ along, truth @ along).statistic < 0.05


X = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
BAD = {
    "too few": (lambda: Flow.fit(X[:9], key=jr.key(0)), ValueError, "^samples: expected at least 10, got 9"),
    "constant": (
        lambda: Flow.fit(X * [1, 0], key=jr.key(0)),
        ValueError,
        r"^samples: expected coordinates that vary, got constant ones at \[1\]: drop them",
    ),
    "constant condition": (
        lambda: Flow.fit(X, X * [0, 1] + 3, key=jr.key(0)),
        ValueError,
        r"^condition: expected coordinates that vary.*\[0\]",
    ),
    "nan": (lambda: Flow.fit(X * np.nan, key=jr.key(0)), ValueError, "^samples: expected finite"),
    "float16": (
        lambda: Flow.fit(X.astype(np.float16), key=jr.key(0)),
        TypeError,
        "^samples: expected.*float16",
    ),
    "axes": (lambda: Flow.fit(X[0], key=jr.key(0)), ValueError, r"^samples: expected axes \(sample, dim\)"),
    "other rows": (lambda: Flow.fit(X, X[1:], key=jr.key(0)), ValueError, "^condition: expected 20 along"),
    "all held out": (lambda: Flow.fit(X, key=jr.key(0), held_out=1.0), ValueError, "^held_out: expected"),
    "negative noise": (lambda: Flow.fit(X, key=jr.key(0), noise=-1.0), ValueError, "^noise: expected"),
    "condition missing": (
        lambda: untrained(2, 3).log_prob(X),
        ValueError,
        r"^condition: expected \(sample, 3\) for a conditional flow, got None",
    ),
    "condition unwanted": (
        lambda: untrained(2).log_prob(X, condition=X),
        ValueError,
        "^condition: expected none",
    ),
    "condition of other rows": (
        lambda: untrained(2, 3).log_prob(X, condition=np.zeros((3, 3))),
        ValueError,
        "^condition: expected 20 along the axis 'sample'",
    ),
    "x of other width": (
        lambda: untrained(2).log_prob(X[:, :1]),
        ValueError,
        "^x: expected 2 along the axis 'dim'",
    ),
    "no number": (lambda: untrained(2).sample(jr.key(0)), TypeError, "^n: expected a whole number"),
    "no dimension": (lambda: Flow(0, key=jr.key(0)), ValueError, "^dim: expected at least 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case):
    call, error, words = BAD[case]
    with pytest.raises(error, match=words):
        call()


def test_density_far_out_and_of_no_samples():
    flow = Flow(2, key=jr.key(0))
    far = np.array([[1e30, 0.0], [0.0, 0.0]])
    for found in (flow.log_prob(far), jax.jit(lambda x: flow.log_prob(x))(far)):
        assert found[0] == -np.inf and np.isfinite(found[1])
    assert flow.log_prob(np.zeros((0, 2))).shape == (0,) and flow.push(np.zeros((0, 2))).shape == (0, 2)


def test_blocks_are_one_answer():
    """Samples are solved in blocks of one size: the answer does not depend on where they stand."""
    flow = Flow(2, key=jr.key(0))
    x = jr.normal(jr.key(1), (1025, 2))
    np.testing.assert_allclose(flow.push(x)[-3:], flow.push(x[-3:]), atol=1e-5)
    np.testing.assert_allclose(flow.log_prob(x)[:5], flow.log_prob(x[:5]), atol=1e-4)
