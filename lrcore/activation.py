"""Activations: the function phi from a neuron's potential to its rate."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .checks import ArrayLike

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
    if not isinstance(activation, str):
        if callable(activation):
            return activation
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

    **Raises** `ValueError` for an activation without an inverse here: ReLU, which sends many potentials to 0,
    or a callable.

    >>> potential, low, high = inverse("sigmoid")
    >>> float(potential(0.5)), low, high
    (0.0, 0.0, 1.0)
    """
    resolve(activation)
    if not isinstance(activation, str) or activation not in _INVERSES:
        raise ValueError(
            f"activation: expected one with a known inverse ({', '.join(_INVERSES)}), got {activation!r}: "
            "rates say potentials only up to what it hides"
        )
    return _INVERSES[activation]


def invert(rates: ArrayLike, activation: Activation, *, inside=None) -> Float[Array, "..."]:
    r"""Potentials $\phi^{-1}(r)$; saturated rates, at the end of the range, at what float32 can tell.

    - `inside`: (...,) of the leading axes, where the rates are valid; everywhere by default.

    **Raises** `ValueError` for an activation without inverse, and for rates outside its range, with how many.

    >>> import jax.numpy as jnp
    >>> invert(jnp.zeros(3), "tanh").tolist()
    [0.0, 0.0, 0.0]
    """
    back, low, high = inverse(activation)
    valid = np.ones(rates.shape[:-1], bool) if inside is None else np.asarray(inside)
    values = np.asarray(rates)[valid]
    outside = int(((values < low) | (values > high)).sum())
    if outside:
        raise ValueError(
            f"rates: expected rates of {activation}, between {low:g} and {high:g}, got {outside:,} of "
            f"{values.size:,} outside: divide by their scale, or use what needs no inverse (noisy=True, "
            "start='learned')"
        )
    ends = [low + 1e-6 if np.isfinite(low) else None, high - 1e-6 if np.isfinite(high) else None]
    return back(jnp.clip(jnp.asarray(rates), *ends))
