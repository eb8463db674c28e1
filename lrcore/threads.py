"""Small sums on one thread: more threads do little there but wait for each other."""

import functools
import importlib
from collections.abc import Callable

from threadpoolctl import threadpool_limits


def one(*modules: str) -> Callable:
    """A decorator: the function's linear algebra runs on one thread.

    `modules` are those that it imports. They come first, as a limit holds only for libraries that are there:
    without them, the first call of a session would take ten times as long on a busy machine.

    >>> @one("scipy.optimize")
    ... def total(x):
    ...     return sum(x)
    >>> total([1, 2])
    3
    """

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def limited(*args, **kwargs):
            for module in modules:
                importlib.import_module(module)
            with threadpool_limits(limits=1):
                return function(*args, **kwargs)

        return limited

    return decorate
