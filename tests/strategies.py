"""What hypothesis draws in more than one file."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

import lrcore as lr


def draws(most: int):
    """How often something is drawn that takes seconds: `most` times in the size of the book, a third of it in
    every run of the tests."""
    return settings(max_examples=lr.book.scale(smoke=max(3, most // 3), book=most), deadline=None)


def gauges(condition: float, smallest: float, largest: float):
    """A of rank 2, with condition number up to `condition` and of a size from `smallest` to `largest`."""

    def build(values):
        seed, spread, size = values
        left, right = (np.linalg.qr(x)[0] for x in np.random.default_rng(seed).normal(size=(2, 2, 2)))
        return size * (left * np.geomspace(1, spread, 2)) @ right

    return st.tuples(st.integers(0, 2**31), st.floats(1, condition), st.floats(smallest, largest)).map(build)
