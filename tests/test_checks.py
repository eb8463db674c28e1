"""What comes from outside is refused in one sentence: what was expected, what came, what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcore import checks

AXES = ("trial", "time", "rank")


@pytest.mark.parametrize(
    "value",
    [
        [[[0.0, 1.0]]],
        np.zeros((2, 3, 1)),
        np.zeros((2, 3, 1), np.float32),
        np.zeros((2, 3, 1), np.int16),
        np.zeros((2, 3, 1), bool),
        jnp.zeros((2, 3, 1)),
    ],
    ids=["list", "float64", "float32", "integers", "booleans", "jax"],
)
def test_numbers_come_back_as_they_are(value):
    back = checks.array("latents", value, AXES)
    np.testing.assert_array_equal(back, value)
    if hasattr(value, "dtype"):
        assert back is value


@pytest.mark.parametrize(
    "value, error, words",
    [
        (np.zeros((2, 3, 1), np.float16), TypeError, r"float32 or float64, got float16.*astype"),
        (np.zeros((2, 3, 1), complex), TypeError, "real numbers.*complex128"),
        (np.full((2, 3, 1), "a"), TypeError, "real numbers"),
        (np.zeros((3, 1)), ValueError, r"axes \(trial, time, rank\), got an array of shape \(3, 1\)"),
        ([[[0.0]], [[0.0], [1.0]]], ValueError, "ragged.*pad unequal trials.*lengths"),
        (np.full((2, 3, 1), np.nan), ValueError, r"finite numbers, got 6 NaN or infinite of 6.*\(0, 0, 0\)"),
        (np.array([[[0.0, -np.inf]]]), ValueError, r"got 1 NaN or infinite of 2.*\(0, 0, 1\)"),
        (jnp.array([[[0.0, jnp.nan]]]), ValueError, r"got 1 NaN"),
    ],
    ids=["float16", "complex", "text", "axes", "ragged", "nan", "infinite", "nan in jax"],
)
def test_bad_arrays_are_refused(value, error, words):
    with pytest.raises(error, match=f"^latents: expected.*{words}"):
        checks.array("latents", value, AXES)


def test_infinities_that_cancel_and_sums_that_overflow():
    with pytest.raises(ValueError, match="got 2 NaN"):
        checks.finite("x", np.array([np.inf, -np.inf]))
    checks.finite("x", np.array([3e38, 3e38], np.float32))  # each is finite, their sum is not


def test_sizes_and_padding():
    with pytest.raises(ValueError, match="expected 4 along the axis 'time'.*got 3"):
        checks.array("latents", np.zeros((2, 3, 1)), AXES, sizes={"time": 4})
    assert np.isnan(checks.array("latents", np.full((1, 1, 1), np.nan), AXES, padded=True)).all()
    assert checks.array("z", np.zeros((5, 4, 3, 2)), ("...", "rank"), sizes={"rank": 2}).shape == (5, 4, 3, 2)
    with pytest.raises(ValueError, match=r"expected axes \(\.\.\., rank\)"):
        checks.array("z", 1.0, ("...", "rank"))


def test_known_numbers_are_looked_at_inside_a_jit_and_traced_ones_are_not():
    known = jnp.ones((2, 2))

    @jax.jit
    def inside(traced):
        return checks.array("x", traced, ("a", "b")) + checks.array("y", known, ("a", "b"))

    assert inside(jnp.full((2, 2), jnp.nan)).shape == (2, 2)
    with pytest.raises(ValueError, match="expected axes"):
        jax.jit(lambda x: checks.array("x", x, ("a",)))(known)
    assert jax.jit(lambda x: checks.positive("x", x))(-1.0) == -1.0


@pytest.mark.parametrize(
    "value, words",
    [
        ([5, 0, 5], "at least 2 time bins.*got 0 in trial 1.*drop them first"),
        ([5, 5, 1], "at least 2 time bins.*got 1 in trial 2"),
        ([5, 6, 5], "at most 5.*got 6 in trial 1"),
        ([5, 5], r"one length for each of the 3 trials.*\(2,\).*check that the axes"),
        ([5, 5, 2.5], "whole numbers.*give bins, not seconds"),
        ([5, -1, 5], "at least 2"),
        ([5, np.nan, 5], "whole numbers"),
    ],
    ids=["empty", "one bin", "beyond", "other trials", "seconds", "negative", "nan"],
)
def test_bad_lengths_are_refused(value, words):
    with pytest.raises(ValueError, match=f"^lengths: expected {words}"):
        checks.lengths(value, 3, 5)


def test_lengths():
    np.testing.assert_array_equal(checks.lengths([2.0, 5.0, 3.0], 3, 5), [2, 5, 3])
    np.testing.assert_array_equal(checks.lengths(np.array([1, 5], np.uint8), 2, 5, least=1), [1, 5])
    with pytest.raises(ValueError, match="at least 2.*got 1"):
        checks.lengths(None, 3, 1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-3, 12), min_size=1, max_size=6), st.integers(2, 9))
def test_lengths_pass_exactly_when_they_fit(value, n_time):
    if all(2 <= length <= n_time for length in value):
        np.testing.assert_array_equal(checks.lengths(value, len(value), n_time), value)
    else:
        with pytest.raises(ValueError, match="^lengths: expected"):
            checks.lengths(value, len(value), n_time)


@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf, "a", "3", None, [1, 2], np.ones(1)], ids=str)
def test_positive_refuses(value):
    with pytest.raises(ValueError, match="^tau: expected a positive finite number, got"):
        checks.positive("tau", value)


def test_positive_and_count():
    assert checks.positive("tau", np.float32(0.5)) == 0.5 and checks.positive("noise", 0, zero=True) == 0
    with pytest.raises(ValueError, match="^noise: expected a non-negative"):
        checks.positive("noise", -1, zero=True)
    assert checks.count("steps", np.int32(4)) == 4
    with pytest.raises(ValueError, match="^steps: expected at least 1, got 0"):
        checks.count("steps", 0)
    for value in (1.5, "3", None):
        with pytest.raises(TypeError, match="^steps: expected a whole number"):
            checks.count("steps", value)


def test_fraction():
    assert checks.fraction("alpha", np.float32(1)) == 1.0
    for value in (0, 1.5, np.nan, "0.5"):
        with pytest.raises(ValueError, match="^alpha: expected"):
            checks.fraction("alpha", value)


def test_varying():
    """In any unit, and however far from 0."""
    x = np.random.default_rng(0).normal(size=(50, 1))
    checks.varying("x", np.hstack([x, 1e-12 * x, x + 1e5]))
    with pytest.raises(
        ValueError, match=r"^x: expected coordinates that vary, got constant ones at \[1, 2\]"
    ):
        checks.varying("x", np.hstack([x, 0 * x, 1e-8 * x + 1]))


def test_inside():
    np.testing.assert_array_equal(checks.inside([2, 3], 3), [[True, True, False], [True, True, True]])


def test_double_precision_for_a_while():
    with checks.x64():
        assert jnp.asarray(1.0).dtype == np.float64
        assert checks.floats([1]).dtype == np.float64 and checks.floats(np.float32(1)).dtype == np.float32
    assert jnp.asarray(1.0).dtype == np.float32
