"""Checks at the door: what comes from outside is looked at once, here, and refused in one sentence.

Every message says what was expected, what came, and what to do. Values are looked at only when they are
known: inside a jit only shapes and types can be checked.
"""

import operator
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool

# What numpy can read as an array of numbers: it is looked at here, at the door, rather than by a type
# checker.
ArrayLike = Any


def floats(value) -> Array:
    """To a jax array of the default float type (float64 only where the caller enabled it).

    >>> floats([1, 2]).dtype
    dtype('float32')
    """
    # Too large for float32 is infinite there, which `finite` has words for.
    with np.errstate(over="ignore"):
        # An array of numpy is only moved, where `asarray` would compile something for every shape.
        value = jax.device_put(value) if isinstance(value, np.ndarray) else jnp.asarray(value)
    return value if jnp.issubdtype(value.dtype, jnp.floating) else value.astype(jnp.result_type(float))


def float32(values) -> Array:
    """To a jax array of float32, converted by numpy: jax would compile the conversion for every shape."""
    return jax.device_put(np.asarray(values, np.float32))


def generator(key) -> np.random.Generator:
    """Numpy's generator for a key of jax, for what jax would compile for every size.

    >>> int(generator(jax.random.key(0)).integers(9)) == int(generator(jax.random.key(0)).integers(9))
    True
    """
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def x64() -> AbstractContextManager:
    """A context in which jax computes in float64, whatever the global setting."""
    # The public name came with jax 0.8.
    enable = getattr(jax, "enable_x64", None)
    if not callable(enable):
        from jax import experimental

        enable = getattr(experimental, "enable_x64")  # noqa: B009
    return enable(True)


def is_traced(value) -> bool:
    """Whether `value` is being traced by jax, so that its numbers are not known yet."""
    return isinstance(value, Tracer)


def array(
    name: str, value, axes: Sequence[str], *, sizes: dict[str, int] | None = None, padded: bool = False
):
    """Check a real, finite array with the given named axes and return it as a numpy or jax array.

    **Arguments**

    - `name`: what the array is, as the user knows it; it opens the error message.
    - `value`: anything numpy can read as an array of numbers.
    - `axes`: names of the axes. A leading `"..."` admits any number of further axes before.
    - `sizes`: sizes that some of the axes must have.
    - `padded`: admit NaN and infinity, as padding may hold them; the caller looks inside with `finite`.

    **Returns** the array: integers and booleans as they are, float32 or float64 as they are.

    **Raises** `TypeError` for anything but real numbers in float32, float64 or integers; `ValueError` for
    a wrong shape, NaN or infinity.

    >>> array("latents", [[0.0, 1.0]], ("time", "rank")).shape
    (1, 2)
    """
    given = type(value).__name__
    if not isinstance(value, jax.Array):
        try:
            value = np.asarray(value)
        except ValueError as error:
            raise ValueError(
                f"{name}: expected an array with axes ({', '.join(axes)}), got a ragged sequence: pad "
                "unequal trials to one length and give `lengths`"
            ) from error
    kind = value.dtype
    if kind.kind == "O" and given != "ndarray":
        raise TypeError(f"{name}: expected an array of numbers with axes ({', '.join(axes)}), got {given}")
    if kind not in (np.float32, np.float64) and not np.issubdtype(kind, np.integer) and kind != np.bool_:
        raise TypeError(
            f"{name}: expected real numbers in float32 or float64, got {kind}: convert with "
            "`.astype('float32')`"
        )
    named = axes[1:] if axes[0] == "..." else axes
    wrong_axes = value.ndim < len(named) if axes[0] == "..." else value.ndim != len(named)
    if wrong_axes:
        raise ValueError(f"{name}: expected axes ({', '.join(axes)}), got an array of shape {value.shape}")
    shape = value.shape[value.ndim - len(named) :]
    for axis, size in zip(named, shape, strict=True):
        expected = (sizes or {}).get(axis)
        if expected is not None and size != expected:
            raise ValueError(
                f"{name}: expected {expected} along the axis '{axis}' of ({', '.join(axes)}), got {size} "
                f"(shape {value.shape})"
            )
    if not padded:
        finite(name, value)
    return value


def finite(name: str, value) -> None:
    """Refuse NaN and infinity, with their number and the first place.

    >>> finite("rates", np.array([1.0, np.nan]))
    Traceback (most recent call last):
    ValueError: rates: expected finite numbers, got 1 NaN or infinite of 2, the first at index (1,): ...
    """
    if is_traced(value) or not np.issubdtype(value.dtype, np.floating):
        return
    # In numpy: within a jit, jax would trace even what is computed from known numbers.
    value = np.asarray(value)
    # One number first: a sum is NaN or infinite whenever a part of it is, and needs no memory.
    with np.errstate(all="ignore"):
        if np.isfinite(value.sum()):
            return
    bad = ~np.isfinite(value)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{name}: expected finite numbers, got {int(bad.sum())} NaN or infinite of {bad.size}, the first "
            f"at index {first}: remove or repair those samples"
        )


def lengths(value, n_trials: int, n_time: int, *, least: int = 2) -> np.ndarray:
    """Check trial lengths (in time bins) against an array of `n_trials` trials of `n_time` bins.

    **Returns** an int64 array (trial,); all `n_time` when `value` is None.

    **Raises** `ValueError` when the number of trials differs, when a length exceeds `n_time`, or when it is
    below `least` (two bins: a trial needs one step to say anything about dynamics).

    >>> lengths(None, 3, 100)
    array([100, 100, 100])
    """
    if value is None:
        value = np.full(n_trials, n_time)
    value = np.asarray(value)
    if value.shape != (n_trials,):
        raise ValueError(
            f"lengths: expected one length for each of the {n_trials} trials (the first axis), got shape "
            f"{value.shape}: check that the axes are (trial, time, ...)"
        )
    if not np.issubdtype(value.dtype, np.integer):
        if not np.all(value == np.round(value)):
            raise ValueError(
                "lengths: expected whole numbers of time bins, got fractions: give bins, not seconds"
            )
    value = value.astype(np.int64)
    if (value > n_time).any():
        worst = int(value.argmax())
        raise ValueError(
            f"lengths: expected at most {n_time}, the number of time bins, got {value[worst]} in trial "
            f"{worst}"
        )
    if (value < least).any():
        short = np.flatnonzero(value < least)
        raise ValueError(
            f"lengths: expected at least {least} time bins in every trial, got {value[short[0]]} in trial "
            f"{short[0]} ({len(short)} such trials): drop them first"
        )
    return value


def inside(lengths, n_time: int) -> Bool[np.ndarray, "trial time"]:
    """Which of `n_time` bins lie within the lengths (trial,) of the trials.

    >>> inside([1, 2], 3).astype(int).tolist()
    [[1, 0, 0], [1, 1, 0]]
    """
    return np.arange(n_time) < np.asarray(lengths)[:, None]


def positive(name: str, value, *, zero: bool = False) -> Any:
    """Check a single positive (or, with `zero`, non-negative) finite number: a float, or what is traced as it
    is.

    >>> positive("dt", -1)
    Traceback (most recent call last):
    ValueError: dt: expected a positive finite number, got -1
    """
    if is_traced(value):
        return value
    try:
        number = np.nan if isinstance(value, str) or np.ndim(value) else float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number) or number < 0 or (number == 0 and not zero):
        word = "non-negative" if zero else "positive"
        raise ValueError(f"{name}: expected a {word} finite number, got {value}")
    return number


def fraction(name: str, value) -> float:
    """Check a number in (0, 1], such as dt / tau.

    >>> fraction("alpha", 2)
    Traceback (most recent call last):
    ValueError: alpha: expected a number in (0, 1], got 2
    """
    number = float(positive(name, value))
    if number > 1:
        raise ValueError(f"{name}: expected a number in (0, 1], got {number:g}")
    return number


def share(name: str, value) -> float:
    """Check a number in (0, 1), such as what is held out.

    >>> share("held_out", 1)
    Traceback (most recent call last):
    ValueError: held_out: expected a fraction between 0 and 1, got 1
    """
    if positive(name, value) >= 1:
        raise ValueError(f"{name}: expected a fraction between 0 and 1, got {value}")
    return float(value)


def root(name: str, value, rank: int):
    """A root (rank, rank) of a covariance: given as one, or by a standard deviation for every coordinate.

    >>> root("sigma", 2, 2).tolist()
    [[2.0, 0.0], [0.0, 2.0]]
    """
    if np.ndim(value) == 0:
        return positive(name, value, zero=True) * np.eye(rank)
    return np.asarray(array(name, value, ("rank", "rank"), sizes={"rank": rank}), float)


def varying(name: str, values) -> None:
    """Refuse columns of (row, column) that are constant, but for rounding in float32.

    >>> varying("weights", np.array([[1.0, 2.0], [3.0, 2.0]]))
    Traceback (most recent call last):
    ValueError: weights: expected coordinates that vary, got constant ones at [1]: drop them
    """
    flat = values.std(axis=0) <= 1e-6 * np.abs(values).max(axis=0)
    if flat.any():
        raise ValueError(
            f"{name}: expected coordinates that vary, got constant ones at {np.flatnonzero(flat).tolist()}: "
            "drop them"
        )


def count(name: str, value, *, least: int = 1) -> int:
    """Check a whole number of at least `least`.

    >>> count("steps", 100)
    100
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected a whole number, got {value!r}") from None
    if number < least:
        raise ValueError(f"{name}: expected at least {least}, got {number}")
    return number
