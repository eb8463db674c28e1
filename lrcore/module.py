"""The base of what holds arrays and computes with them."""

import types

import equinox as eqx


def first_lines(text: str, most: int) -> str:
    """What prints in more lines than that, cut: of an object within another.

    >>> first_lines("a\\nb\\nc", 2)
    'a\\n...'
    """
    lines = text.splitlines()
    return text if len(lines) <= most else "\n".join([*lines[: most - 1], "..."])


class _Any(eqx.Module):
    def method(self):
        pass


class _Method(type(_Any().method)):  # ty: ignore[subclass-of-final-class]
    """A method of an object, a pytree as equinox makes it, that is equal to that of this very object alone.

    Equinox would compare arrays, of which nothing is known within a jit, and hash them, which none can.
    """

    def __eq__(self, other):
        return (
            isinstance(other, _Method) and self.__self__ is other.__self__ and self.__func__ is other.__func__
        )

    def __hash__(self):
        return hash((id(self.__self__), self.__func__))


class Module(eqx.Module):
    """An equinox module whose methods are functions to jax: `jax.jit(p.drift)`, within a jit or not.

    >>> import jax, jax.numpy as jnp
    >>> class Line(Module):
    ...     slope: jax.Array
    ...     def at(self, x):
    ...         return self.slope * x
    >>> float(jax.jit(Line(jnp.float32(2)).at)(3.0))
    6.0
    """

    __hash__ = object.__hash__

    def __getattribute__(self, name: str):
        found = object.__getattribute__(self, name)
        own = isinstance(found, types.MethodType) and found.__self__ is self and not name.startswith("__")
        return _Method(found.__func__, self) if own else found
