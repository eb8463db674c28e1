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


_INVERSES = {
    "tanh": (jnp.arctanh, -1.0, 1.0),
    "softplus": (lambda r: r + jnp.log(-jnp.expm1(-r)), 0.0, jnp.inf),
    "sigmoid": (jax.scipy.special.logit, 0.0, 1.0),
    "exp": (jnp.log, 0.0, jnp.inf),
    "linear": (_linear, -jnp.inf, jnp.inf),
}


def inverse(activation: Activation) -> tuple[Callable[[Array], Array], float, float]:
    """The function from a rate to the potential behind it, and the open range of rates where it is defined.

    **Raises** `ValueError` for an activation without an inverse here: ReLU, which sends many potentials to 0, or a callable.

    >>> potential, low, high = inverse("sigmoid")
    >>> float(potential(0.5)), low, high
    (0.0, 0.0, 1.0)
    """
    resolve(activation)
    if not isinstance(activation, str) or activation not in _INVERSES:
        raise ValueError(
            f"activation: expected one with a known inverse ({', '.join(_INVERSES)}), got {activation!r}: rates say "
            "potentials only up to what it hides"
        )
    return _INVERSES[activation]
