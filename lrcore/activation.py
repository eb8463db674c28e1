"""Activations: the function phi from a neuron's potential to its rate."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Activation = str | Callable[[Array], Array]


def _linear(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return x


_NAMED = {
    "tanh": jnp.tanh,
    "softplus": jax.nn.softplus,
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "exp": jnp.exp,
    "linear": _linear,
}


def resolve(activation: Activation) -> Callable[[Array], Array]:
    """The function behind an activation's name; a callable is returned as it is.

    **Raises** `ValueError` for an unknown name, `TypeError` for anything else.

    >>> float(resolve("relu")(-1.0))
    0.0
    """
    if callable(activation):
        return activation
    if not isinstance(activation, str):
        raise TypeError(
            f"activation: expected a name or a function of an array, got {type(activation).__name__}"
        )
    if activation not in _NAMED:
        raise ValueError(
            f"activation: expected one of {', '.join(_NAMED)} or a function of an array, got '{activation}'"
        )
    return _NAMED[activation]
