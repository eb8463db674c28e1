"""What the chapters need to be a book: one scale for all of them, and numbers that the prose can quote."""

import os

SCALES = ("smoke", "book", "full")


def scale(*, smoke, book, full=None):
    """The value for the scale at hand, which the environment variable `LRCORE_SCALE` names; `book` by default.

    smoke: seconds a chapter, for tests. book: at most two minutes a chapter on two processor cores. full: the paper's
    sizes, for an accelerator; the same as book where not given.

    **Raises** `ValueError` for another name in `LRCORE_SCALE`.

    >>> scale(smoke=1, book=1)
    1
    """
    name = os.environ.get("LRCORE_SCALE", "book")
    if name not in SCALES:
        raise ValueError(f"LRCORE_SCALE: expected one of {', '.join(SCALES)}, got {name!r}")
    return {"smoke": smoke, "book": book, "full": book if full is None else full}[name]


def glue(name: str, value) -> None:
    """Keep a number, or a text, for the prose of the chapter; without the book's tools, print it.

    >>> import sys; sys.modules["myst_nb"] = None  # as on Colab
    >>> glue("error", 0.25); del sys.modules["myst_nb"]
    error = 0.25
    """
    try:
        from myst_nb import glue as keep
    except ImportError:
        print(f"{name} = {value}")
    else:
        keep(name, value if isinstance(value, str) else float(value), display=False)
