"""Checks of the chapters' exercises, one module a chapter: each judges an answer on inputs of its own.

The check of exercise `ex-some-thing` is the function `ex_some_thing(answer)` in the module of its chapter. It
returns nothing where the answer is right, and raises `Wrong` with what is wrong where it is not.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Callable

import numpy as np

from .judge import Wrong as Wrong

_NONE = "there is no answer yet: complete the function, run its cell, then this one"


def all_checks() -> dict[str, Callable]:
    """The check of every exercise, by its label.

    >>> callable(all_checks()["ex-gain"])
    True
    """
    found = {}
    for chapter in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{chapter.name}")
        found |= {name.replace("_", "-"): f for name, f in vars(module).items() if name.startswith("ex_")}
    return found


def judge(label, answer) -> str:
    """What is wrong about an answer; nothing where it is right.

    An answer that is a function may fail in any way: what it raised is said, and is no failure of the check.
    It may change the numpy arrays that it is given, which are copies.

    **Raises** `ValueError` for a label that is no exercise with a check.

    >>> judge("ex-gain", None)
    'there is no answer yet: complete the function, run its cell, then this one'
    """
    checks = all_checks()
    if not isinstance(label, str):
        raise ValueError(
            f"label: expected that of an exercise, such as 'ex-gain', got a {type(label).__name__}"
        )
    if label not in checks:
        near = difflib.get_close_matches(label.lower().replace("_", "-"), checks, n=1, cutoff=0.82)
        meant = f"did you mean {near[0]!r}?" if near else "that exercise has no check, or none has that name"
        raise ValueError(f"label: expected that of an exercise with a check, got {label[:60]!r}; {meant}")
    if answer is None or answer is Ellipsis:
        return _NONE
    try:
        checks[label](_on_copies(answer) if callable(answer) else answer)
    except Wrong as wrong:
        return str(wrong)
    except NotImplementedError:
        return _NONE
    except (Exception, SystemExit) as error:  # whatever a student's function does
        text = str(error).strip().split("\n")[0][:200]
        if not callable(answer) and "not callable" in text:
            return f"expected a function, got {repr(answer)[:60]}"
        return f"it stopped with {type(error).__name__}" + (f": {text}" if text else "")
    return ""


def _on_copies(answer: Callable) -> Callable:
    """The function, given copies of numpy arrays: what it changes in place is then no one else's."""

    def own(value):
        return value.copy() if isinstance(value, np.ndarray) else value

    def call(*args, **kwargs):
        return answer(*map(own, args), **{name: own(value) for name, value in kwargs.items()})

    return call
