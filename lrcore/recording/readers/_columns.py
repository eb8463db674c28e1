"""Columns of tables as people write them: choices in any coding, light in words, filters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

_SIDES = {"left": 0, "l": 0, "right": 1, "r": 1}
_NO_CHOICE = {
    "", "-", "none", "nan", "null", "na", "n/a", "miss", "missed", "ignore", "ignored", "early", "omission",
    "no choice", "no_choice", "no response", "no_response", "noresponse", "no lick", "undecided", "timeout",
}  # fmt: skip
# No choice between left and right, and one of the two where going is the other.
_NO_GO = {"no-go", "nogo", "no go", "no_go"}
_NO_LIGHT = {"", "-", "0", "0.0", "none", "nan", "null", "na", "n/a", "no", "off", "false", "f", "n"}


class Choices(NamedTuple):
    """Choices of trials, NaN where there was none; what number stands for what, where that is not 0 and 1
    already; and what is doubtful.
    """

    values: Float[np.ndarray, " trial"]
    coding: str | None
    doubt: str | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader says of them."""
        return tuple(note for note in (self.coding and f"choices by {self.coding}", self.doubt) if note)


def word(value) -> str | None:
    """A text in small letters; None for anything else."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return value.strip().lower() if isinstance(value, str) else None


def choices(path, name, column, coding: dict[Any, int] | None = None) -> Choices:
    """Choices as 0, 1, ... in any of the usual codings.

    Left and right are 0 and 1, as are no and yes and any other two words or numbers in their order. Of -1, 0
    and 1 the 0 is no choice. Whole numbers from 0 up stay as they are, with a note where they are of more
    than two kinds, as one may be no choice. Nothing, NaN and words such as "miss"
    are no choice.

    **Arguments**

    - `coding`: what number stands for which value of the column; all other values are then no choice.

    **Raises** `ValueError` where it is not clear which value is which, naming the column.

    >>> choices("file", "choice", ["right", "left", "miss"]).values
    array([ 1.,  0., nan])
    """
    column = [_scalar(value) for value in column]
    if coding is not None:
        return _coded(path, name, column, {_scalar(key): number for key, number in coding.items()})
    words = {word(value) for value in column} - {None}
    if words:
        return _worded(path, name, column, words - _NO_CHOICE)
    try:
        values = np.array([np.nan if value is None else float(value) for value in column])
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected words or numbers in the column '{name}', got others ({error})"
        ) from error
    found = set(values[np.isfinite(values)].tolist())
    values = np.where(np.isfinite(values), values, np.nan)
    if found == {-1, 0, 1}:
        return Choices(
            np.where(values == 0, np.nan, values > 0), f"'{name}': -1 is 0, 1 is 1, 0 is no choice"
        )
    if found == {-1, 0}:
        raise ValueError(
            f"{path}: expected choices of two kinds in the column '{name}', got -1 and 0, of which one may "
            f"be no choice: say which with coding={{-1: 0, 0: 1}}, or leave out what is no choice"
        )
    whole = all(value == round(value) for value in found)
    if whole and len(found) > 2:
        return _several(path, name, values)
    if not whole or found <= {0, 1} or len(found) > 2 or (len(found) == 1 and found != {-1}):
        return Choices(np.where(np.isnan(values), np.nan, values), None)
    low, high = min(found), max(found)
    told = f"'{name}': {low:g} is 0" + (f", {high:g} is 1" if high > low else "")
    return Choices(np.where(np.isnan(values), np.nan, (values == high) & (high > low)), told)


def _several(path, name, values) -> Choices:
    """Choices of three kinds or more, as they stand, with a note that counts them."""
    kinds, numbers = np.unique(values[np.isfinite(values)], return_counts=True)
    listed = ", ".join(f"{kind:g} ({n})" for kind, n in zip(kinds[:6], numbers[:6], strict=True))
    pair = [f"{kind:g}" for kind in kinds[np.sort(numbers.argsort(kind="stable")[-2:])]]
    advice = f"if one of them is no choice, leave it out with coding={{{pair[0]}: 0, {pair[1]}: 1}}"
    if kinds[0] < 0:
        raise ValueError(
            f"{path}: expected choices numbered from 0 up in the column '{name}', got {listed}: {advice}"
        )
    return Choices(values, None, f"choices of {len(kinds)} kinds in '{name}', {listed}: {advice}")


def _worded(path, name, column, words) -> Choices:
    """Choices in words, left and right or two others."""
    numbers = [word(value) for value in column]
    mixed = [v for v in column if v is not None and word(v) is None and np.ndim(v) == 0 and v == v]
    if mixed:
        raise ValueError(
            f"{path}: expected words or numbers in the column '{name}', got both, such as {mixed[0]!r}: say "
            "what is what with coding={value: 0, other: 1}"
        )
    if words <= set(_SIDES) or (words & set(_SIDES) and words - _NO_GO <= set(_SIDES)):
        known = _SIDES
    elif words <= {"true", "false"} or words <= {"yes", "no"}:
        known = {"false": 0, "no": 0, "true": 1, "yes": 1}
    elif all(_number(one) is not None for one in words):
        blank = [None if one is None or one in _NO_CHOICE else _number(one) for one in numbers]
        return choices(path, name, blank)
    elif len(words) == 2 and not words & set(_SIDES):
        # Of going and not going, not going is 0.
        known = {one: i for i, one in enumerate(sorted(words, key=lambda one: (one not in _NO_GO, one)))}
    else:
        odd = next(v for v in column if word(v) in words - (set(_SIDES) if words & set(_SIDES) else set()))
        raise ValueError(
            f"{path}: expected left or right in the column '{name}', got '{odd}'"
            + (f" among {', '.join(sorted(words)[:6])}" if len(words) > 1 else "")
            + ": say what is what with coding={'word': 0, 'other word': 1}; other values are no choice"
        )
    values = np.array([known.get(one, np.nan) if one is not None else np.nan for one in numbers], float)
    told = (
        None
        if known is _SIDES
        else ", ".join(f"{one} is {known[one]}" for one in sorted(words, key=known.__getitem__))
    )
    return Choices(values, None if told is None else f"'{name}': {told}")


def _coded(path, name, column, coding) -> Choices:
    low = {word(key) if word(key) is not None else key: number for key, number in coding.items()}
    values = np.array(
        [low.get(value if word(value) is None else word(value), np.nan) for value in column], float
    )
    if np.isnan(values).all():
        raise ValueError(
            f"{path}: expected some of {', '.join(map(repr, coding))} in the column '{name}', got "
            f"{', '.join(sorted({repr(value) for value in column})[:6])}"
        )
    return Choices(values, f"'{name}': " + ", ".join(f"{key} is {number}" for key, number in coding.items()))


def _number(text) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _scalar(value):
    """A value without numpy's wrapping; None for nothing."""
    value = np.ravel(value)[0] if np.ndim(value) and np.size(value) == 1 else value
    if np.ndim(value):
        return None if np.size(value) == 0 else value
    value = value.item() if isinstance(value, np.generic | np.ndarray) else value
    # pandas' missing value is no number, and no truth value either.
    return None if value is np.ma.masked or type(value).__name__ == "NAType" else value


def lit(column, *, times=False) -> tuple[Bool[np.ndarray, " trial"], tuple[str, ...]]:
    """Which trials had light, and in which words: a truth value, a time that is NaN where there was none,
    times of several flashes, or a word. With `times`, numbers are times where all are 0, or all are 1.

    >>> lit(["none", "left ALM", b"off"])[0], lit([0.0, 1.0])[0], lit([float("nan"), 0.0])[0]
    (array([False,  True, False]), array([False,  True]), array([False,  True]))
    """
    flat = [np.ravel(value).tolist() if not isinstance(value, str | bytes) else [value] for value in column]
    numbers = [x for row in flat for x in row if isinstance(x, int | float) and not isinstance(x, bool)]
    # A column of nothing but 0 and 1, one for each trial, is of flags, not of times.
    known = {x for x in numbers if np.isfinite(x)}
    flags = known == {0, 1} or (not times and len(numbers) == len(flat) and set(numbers) <= {0, 1})
    on, words = [], set()
    for row in flat:
        some = [word(x) for x in row if word(x) is not None and word(x) not in _NO_LIGHT]
        words |= set(some)
        rest = [x for x in row if isinstance(x, bool | int | float)]
        on.append(
            bool(some) or any(x == 1 if flags or isinstance(x, bool) else bool(np.isfinite(x)) for x in rest)
        )
    return np.array(on, bool), tuple(sorted(words))


def matching(path, what, wanted, column: Callable[[str], Any], n) -> Bool[np.ndarray, " row"]:
    """Rows of a table that a filter keeps.

    **Arguments**

    - `what`: the name of the argument, for messages.
    - `wanted`: None for all; indices or a mask (row,); or, for columns by name, a value, a list of values, or
      a function of the column that gives a mask.
    - `column`: the column of that name, or None where there is none.

    **Raises** `ValueError` for a column that the table does not have, values of which it has none, a mask of
    another length.
    """
    if wanted is None:
        return np.ones(n, bool)
    if not isinstance(wanted, dict):
        return _chosen(path, what, wanted, n)
    kept = np.ones(n, bool)
    for name, values in wanted.items():
        held = column(name)
        if held is None:
            raise ValueError(f"{path}: expected a column '{name}' for {what}={{'{name}': ...}}, got none")
        if callable(values):
            found = np.asarray(values(np.asarray(held)))
            if found.shape != (n,) or found.dtype != bool:
                raise ValueError(
                    f"{path}: expected {what}={{'{name}': function}} to give a truth value for each of {n} "
                    f"rows, got {found.dtype} of shape {found.shape}"
                )
        else:
            values = values if isinstance(values, list | tuple | set | np.ndarray) else [values]
            keys = {_key(value) for value in values}
            found = np.array([_key(value) in keys for value in held], bool)
            if not found.any():
                seen = ", ".join(sorted({str(_key(value)) for value in held})[:6])
                raise ValueError(
                    f"{path}: expected rows with {name} {', '.join(map(str, values))} for {what}, got none: "
                    f"there are {seen}"
                )
        kept &= found
    return kept


def _chosen(path, what, wanted, n) -> Bool[np.ndarray, " row"]:
    wanted = np.asarray(wanted)
    kept = np.zeros(n, bool)
    if wanted.shape == (0,):
        return kept
    right = wanted.shape == (n,) if wanted.dtype == bool else wanted.ndim == 1 and wanted.dtype.kind in "iu"
    if not right or (wanted.dtype != bool and len(wanted) and (wanted.max() >= n or wanted.min() < -n)):
        raise ValueError(
            f"{path}: expected {what} as {{column: value}}, as indices below {n} or as a mask ({n},), "
            f"got {wanted.dtype} of shape {wanted.shape}"
        )
    kept[wanted] = True
    return kept


def _key(value) -> Shaped[np.ndarray, ""] | Any:
    """What two values are compared by: words without case, numbers by value."""
    value = _scalar(value)
    return word(value) if word(value) is not None else str(value) if isinstance(value, np.ndarray) else value
