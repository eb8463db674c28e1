"""Checks of the chapters' exercises, one module a chapter: each judges an answer on inputs of its own.

The check of exercise `ex-some-thing` is the function `ex_some_thing(answer)` in the module of its chapter. It
returns nothing where the answer is right, and raises `Wrong` with what is wrong where it is not.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Callable

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


def judge(label: str, answer) -> str:
    """What is wrong about an answer; nothing where it is right.

    An answer that is a function may fail in any way: what it raised is said, and is no failure of the check.

    **Raises** `ValueError` for a label that is no exercise with a check.

    >>> judge("ex-gain", None)
    'there is no answer yet: complete the function, run its cell, then this one'
    """
    checks = all_checks()
    if label not in checks:
        near = difflib.get_close_matches(str(label), checks, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"label: expected that of an exercise with a check, got {label!r}{meant}")
    if answer is None or answer is Ellipsis:
        return _NONE
    try:
        checks[label](answer)
    except Wrong as wrong:
        return str(wrong)
    except NotImplementedError:
        return _NONE
    except Exception as error:  # whatever a student's function does
        text = str(error).strip().split("\n")[0][:200]
        if not callable(answer) and "not callable" in text:
            return f"expected a function, got {repr(answer)[:60]}"
        return f"it stopped with {type(error).__name__}: {text}"
    return ""
