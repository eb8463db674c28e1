"""Flows against closed densities, against the Jacobian of their own map, and against finite differences."""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest
from scipy import stats

import lrcore as lr
from lrcore.checks import x64
from lrcore.flow import Flow, _standard

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
    "doubled": (
        lambda: Flow.fit(X @ [[1, 0, -2], [0, 1, 0]] + 5, key=jr.key(0)),
        ValueError,
        r"^samples: expected linearly independent coordinates, got 2 as a combination of \[0\].*drop it",
    ),
    "too few for so many": (
        lambda: Flow.fit(X[:10].repeat(6, axis=1), key=jr.key(0)),
        ValueError,
        "^samples: expected more samples than coordinates, got 10 of 12",
    ),
    "too large for float32": (
        lambda: Flow.fit(np.vstack([X, [[0.0, 1e300]]]), key=jr.key(0)),
        ValueError,
        r"^samples: expected finite numbers, got 1 .* \(20, 1\)",
    ),
    "no width": (
        lambda: Flow.fit(X, key=jr.key(0), width=0),
        ValueError,
        "^width: expected at least 1, got 0",
    ),
    "no depth": (
        lambda: Flow.fit(X, key=jr.key(0), depth=0),
        ValueError,
        "^depth: expected at least 1, got 0",
    ),
    "no update": (lambda: Flow.fit(X, key=jr.key(0), updates=0), ValueError, "^updates: expected at least 1"),
    "no batch": (
        lambda: Flow.fit(X, key=jr.key(0), batch_size=0),
        ValueError,
        "^batch_size: expected at least 1",
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


QUICK = {"key": jr.key(0), "updates": 500, "batch_size": 512, "width": 32, "depth": 2, "progress": False}
NORMAL = np.random.default_rng(1).normal(size=(2000, 2))


def nats_off(flow: Flow, truth=stats.norm, within: float = np.inf) -> float:
    """Mean absolute error of the density on fresh samples of independent coordinates."""
    x = truth.rvs(size=(400, flow.dim), random_state=3)
    x = x[(np.abs(x) < within).all(axis=1)]
    return float(np.abs(flow.log_prob(x) - truth.logpdf(x).sum(axis=1)).mean())


@pytest.mark.parametrize(
    "rows, column, size",
    [([7], 0, 1e2), ([7], 1, 1e4), ([0, 900, 1999], 0, -1e8), (range(20), 1, 1e30)],
    ids=["near", "one", "three", "twenty"],
)
def test_far_values_are_named_and_do_not_hide_the_rest(rows, column, size):
    x = NORMAL.copy()
    x[list(rows), column] = size
    words = (
        f"^samples: expected values of one scale in column {column}, got {len(rows)} far .* row {rows[0]}: "
    )
    with pytest.warns(UserWarning, match=words):
        flow, _ = Flow.fit(x, **QUICK)
    assert nats_off(flow) < 0.2


def test_a_far_condition_is_named_and_does_not_hide_the_rest():
    c = NORMAL.copy()
    c[11, 1] = 1e6
    x = NORMAL @ GAIN + 0.5 * np.random.default_rng(2).normal(size=(2000, 2))
    with pytest.warns(
        UserWarning, match="^condition: expected values of one scale in column 1, got 1 .* row 11:"
    ):
        flow, _ = Flow.fit(x, c, **QUICK)
    assert np.abs(flow.mean(NORMAL[100:300]) - NORMAL[100:300] @ GAIN).mean() < 0.1


@pytest.mark.filterwarnings("ignore:samples")
@pytest.mark.parametrize("df, off", [(1, 0.6), (2, 0.4), (3, 0.2)])
def test_heavy_tails_are_fitted(df, off):
    x = stats.t.rvs(df, size=(4000, 1), random_state=0)
    flow, record = Flow.fit(x, **QUICK)
    assert record.stopped == "finished" and nats_off(flow, stats.t(df), within=20) < off


def test_what_is_no_artefact_sets_the_scale_as_before():
    """Clusters, sparse and binary coordinates, skew."""
    rng = np.random.default_rng(0)
    few = rng.random(2000) < 0.04
    x = np.stack([NORMAL[:, 0] + 50 * few, NORMAL[:, 0] * few, few, rng.exponential(size=2000)], axis=1)
    shift, scale = _standard("samples", jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(shift, x.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(scale, x.std(axis=0), rtol=1e-4)


a, b, c = np.random.default_rng(4).normal(size=(3, 500))
DEPENDENT = {
    "repeated": ([a, b, a], r"got 2 as .* \[0\]"),
    "multiple with offset": ([1e-9 * a, 3e5 - 2 * a], r"got 1 as .* \[0\]"),
    "both far from 0": ([a + 1e4, b, a - 1e4], r"got 2 as .* \[0\]"),
    "sum": ([a, b, c, a - 2 * c + 7], r"got 3 as .* \[0, 2\]"),
    "with an outlier": ([np.append(a, 1e6), np.append(2 * a, 2e6)], r"got 1 as .* \[0\]"),
}


@pytest.mark.filterwarnings("ignore:samples")
@pytest.mark.parametrize("case", DEPENDENT)
def test_dependent_coordinates_are_named(case):
    parts, words = DEPENDENT[case]
    with pytest.raises(ValueError, match=f"^samples: expected linearly independent coordinates, {words}"):
        Flow.fit(np.stack(parts, axis=1), key=jr.key(0))


@pytest.mark.filterwarnings("ignore:samples")
@pytest.mark.parametrize(
    "parts",
    [[a, a + 1e-3 * b], [a + 1e4, b - 1e4], [1e-9 * a, 1e9 * b], [np.append(a, 1e8), np.append(b, 1e8)]],
    ids=["correlated", "far from 0", "tiny and huge", "one artefact in both"],
)
def test_independent_coordinates_are_let_through(parts):
    _standard("samples", jnp.asarray(np.stack(parts, axis=1), jnp.float32))


def test_dependence_is_no_fault_of_conditions_nor_of_samples_with_noise():
    both = jnp.asarray(np.stack([a, 2 * a], axis=1), jnp.float32)
    _standard("condition", both)
    np.testing.assert_allclose(_standard("samples", both, 0.5)[1], np.hypot(both.std(axis=0), 0.5), rtol=1e-4)
    # Nor are constants, whose density is that of the noise.
    np.testing.assert_allclose(_standard("samples", 0 * both, 0.5)[1], 0.5)


def test_numbers_of_numpy_are_numbers(tmp_path, monkeypatch):
    """As in a sweep over an array of widths; types are checked in the tests only."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    own = {
        "updates": 20,
        "batch_size": 64,
        "width": 8,
        "depth": 1,
        "patience": 2,
        "chunk": 10,
        "average": True,
    }
    own |= {"learning_rate": 0.5, "noise": 0.5, "held_out": 0.25, "progress": False}
    flow, _ = Flow.fit(X, key=jr.key(0), **own)
    for number, kind in ((np.array, 0), (jnp.asarray, 1), (lambda x: np.asarray(x)[()], 2)):
        options = {name: number(value) for name, value in own.items()}
        other, _ = Flow.fit(X, key=jr.key(0), checkpoint=tmp_path / str(kind), **options)
        np.testing.assert_array_equal(flow.log_prob(X), other.log_prob(X))
        assert flow.sample(jr.key(0), number(3)).shape == (3, 2)


@pytest.mark.slow
def test_bound_methods_are_functions_to_jax(plane):
    x = rows(3, 2)
    plain = plane.log_prob(x)
    np.testing.assert_allclose(jax.jit(plane.log_prob)(x), plain, atol=CLOSE)
    np.testing.assert_allclose(jax.vmap(plane.log_prob)(x[None])[0], plain, atol=2 * CLOSE)
    one = lambda x: plane.log_prob(x[None])[0]  # noqa: E731
    assert np.isfinite(jax.grad(one)(x[0])).all()
    drawn = jax.jit(plane.sample, static_argnums=1)(jr.key(0), 3)
    np.testing.assert_allclose(drawn, plane.sample(jr.key(0), 3), atol=CLOSE)
    # Another flow of the same shape is not taken for this one.
    assert not np.allclose(jax.jit(untrained(2).log_prob)(x), jax.jit(Flow(2, key=jr.key(0)).log_prob)(x))


@pytest.mark.slow
def test_double_precision():
    few = np.asarray(X[:5], float)
    single = untrained(2, 2)
    before = single.log_prob(few, condition=few)
    with x64():
        # What was fitted in single precision is read in double.
        np.testing.assert_allclose(single.log_prob(few, condition=few), before, atol=2 * CLOSE)
        options = {"updates": 5, "batch_size": 64, "width": 8, "depth": 1, "progress": False}
        flow, record = Flow.fit(X, np.asarray(X, float), key=jr.key(0), **options)
        found = (flow.log_prob(few, condition=few), flow.sample(jr.key(0), condition=few), flow.mean(few))
        assert {part.dtype for part in (*found, record.losses)} == {np.dtype(float)}
