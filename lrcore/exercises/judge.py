"""What a check of an exercise says: that an answer is right, or what about it is wrong."""

import math
from collections.abc import Mapping

import numpy as np


class Wrong(Exception):
    """What about an answer is wrong, in words for the one who gave it."""


def same(
    what: str,
    got,
    wanted,
    *,
    rtol: float = 1e-3,
    atol: float | None = None,
    clues: Mapping[str, object] | None = None,
) -> None:
    """Refuse an answer that differs from the right one, and say how it does.

    **Arguments**

    - `what`: a name for what is compared, such as "F(z) of ten states".
    - `got`, `wanted`: numbers or arrays; `wanted` is the right value.
    - `rtol`, `atol`: what is close enough, `atol` in units of `wanted`, a thousandth of its largest entry by
      default.
    - `clues`: what is said of well-known slips, by the value that each would give.

    **Raises** `Wrong`.

    >>> same("the mean", np.ones(3), np.ones(3))
    >>> same("the mean", 8.0, 2.0, clues={"divide by the number of neurons": 8.0})
    Traceback (most recent call last):
    lrcore.exercises.judge.Wrong: the mean: divide by the number of neurons
    """
    wanted = np.asarray(wanted)
    answer = numbers(what, got, bool if wanted.dtype == bool else float, wanted.shape)
    if wanted.ndim == 0:
        if answer.size != 1:
            raise Wrong(f"{what}: expected one number, got the shape {answer.shape}")
        answer = answer.reshape(())
    if answer.shape != wanted.shape:
        swapped = answer.shape == wanted.shape[::-1]
        hint = ": the axes are the other way round" if swapped else ""
        raise Wrong(f"{what}: expected the shape {wanted.shape}, got {answer.shape}{hint}")
    if wanted.dtype == bool:
        if (answer != wanted).any():
            raise Wrong(f"{what}: {int((answer != wanted).sum())} of {wanted.size} differ")
        return
    if not np.isfinite(answer).all():
        raise Wrong(f"{what}: {int((~np.isfinite(answer)).sum())} of {answer.size} are NaN or infinite")
    largest = float(np.abs(wanted).max(initial=0))
    if close(answer, wanted, rtol, atol, wanted):
        return
    for clue, slip in (clues or {}).items():
        slip = np.asarray(slip)
        if slip.shape == answer.shape and close(answer, slip, rtol, atol, wanted):
            raise Wrong(f"{what}: {clue}")
    if close(answer, -wanted, rtol, atol, wanted):
        raise Wrong(f"{what}: the sign is the other one")
    if answer.size == 1:  # of one number any other is a factor away
        more = "large" if answer.item() > wanted.item() else "small"
        raise Wrong(f"{what}: got {answer.item():.4g}, which is too {more}")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.sum(answer * wanted) / np.sum(wanted**2))
    if math.isfinite(ratio) and ratio and close(answer, ratio * wanted, rtol, atol, wanted):
        raise Wrong(f"{what}: right but for a factor of {ratio:.3g}")
    gap = np.abs(answer - wanted)
    at = np.unravel_index(gap.argmax(), gap.shape)
    raise Wrong(f"{what}: off by up to {gap.max():.3g}, where the largest is {largest:.3g}, at {_where(at)}")


def close(answer, value, rtol: float, atol: float | None, wanted) -> bool:
    """Whether an answer is a value, as far as `same` tells; `atol` is by default a thousandth of the largest
    entry of the right one.
    """
    atol = 1e-3 * float(np.abs(wanted).max(initial=0)) if atol is None else atol
    return np.allclose(answer, value, rtol=rtol, atol=atol)


def numbers(what: str, got, kind: type = float, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """What came back, as an array of real numbers, or of truth values where `kind` is bool.

    **Raises** `Wrong` where nothing came back, where it is no numbers (`shape` is that of the wanted
    ones, to be said), and where numbers have an imaginary part, beyond rounding.

    >>> numbers("the mean", [1, 2 + 0j])
    array([1., 2.])
    """
    if got is None or got is Ellipsis:
        raise Wrong(f"{what}: nothing came back; a function ends with `return`")
    try:
        answer = np.asarray(got)
        if np.iscomplexobj(answer):
            if np.abs(answer.imag).max(initial=0) > 1e-9 * np.abs(answer).max(initial=0):
                raise Wrong(f"{what}: complex numbers, with an imaginary part that is not 0")
            answer = answer.real
        return answer.astype(kind)
    except (TypeError, ValueError):
        of = "" if shape is None else f" of shape {shape}" if shape else ", one of them"
        raise Wrong(f"{what}: expected numbers{of}, got {_short(got)}") from None


def _where(at) -> str:
    return "index " + ", ".join(str(int(k)) for k in at)


def _short(value) -> str:
    text = repr(value)
    short = len(text) < 60 and "\n" not in text
    return text if short else f"{type(value).__name__} {' '.join(text.split())[:50]}..."
