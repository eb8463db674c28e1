"""The unit of rates. What is computed has mean 0 and variance 1; what goes in and out has the recording's."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..activation import Activation, resolve
from ..recording import Recording

# Of the mean, that a neuron's standard deviation must exceed: float32 then still tells 1/100 of it.
_LEAST = 1e-5
# Potentials at which an activation is looked at, those near 0 first.
_SIZES = np.geomspace(1e-4, 1e7, 4000)
_POTENTIALS = np.concatenate([[0.0], np.stack([_SIZES, -_SIZES], axis=1).ravel()])


class Unit(eqx.Module):
    """Rates of each neuron are `offset` + `scale` times what is computed with; both (neuron,), in float64."""

    offset: Float[np.ndarray, " neuron"]
    scale: Float[np.ndarray, " neuron"]

    def inside(self, rates) -> Float[np.ndarray, "... neuron"]:
        """Rates (..., neuron) as they are computed with, in float32."""
        # The difference in float64: in float32 a large offset would take the signal with it.
        return ((np.asarray(rates, np.float64) - self.offset) / self.scale).astype(np.float32)


def unit_of(recording: Recording, activation: Activation, bias: bool, *, common: bool = False) -> Unit:
    """The unit to compute a linear read-out in; of "relu" its scale alone, since a kink has no other place.
    Any other has a unit of its own, that of its potentials, and counts are pure numbers: these stay as they
    are.

    - `bias`: whether the read-out takes up an offset. `common`: one scale for all neurons, for a fit in which
      their noise counts alike.

    **Raises** `ValueError` for neurons that are constant, vary by less than float32 can tell from their mean,
    or have a mean beyond what the activation can reach.

    >>> rates = 100 + 10 * np.random.default_rng(0).normal(size=(20, 30, 2))
    >>> found = unit_of(Recording(rates=rates), "linear", True)
    >>> found.offset.round(-1), found.scale.round()
    (array([100., 100.]), array([10., 10.]))
    """
    n = recording.n_neurons
    if recording.rates is None:
        return Unit(np.zeros(n), np.ones(n))
    mean, spread = moments(recording)
    if activation != "linear":
        _reachable(mean, spread, activation)
        if activation != "relu":
            return Unit(np.zeros(n), np.ones(n))
    shifted = bias and activation == "linear"
    scale = spread if bias else np.hypot(mean, spread)
    scale = np.full(n, np.sqrt(np.mean(scale**2))) if common else scale
    return Unit(mean if shifted else np.zeros(n), scale)


def moments(recording: Recording) -> tuple[Float[np.ndarray, " neuron"], Float[np.ndarray, " neuron"]]:
    """Mean and standard deviation (neuron,) of rates over the valid bins, in float64.

    **Raises** `ValueError` for neurons that are constant, or nearly so.
    """
    mean, spread = mean_and_spread(recording.signal, recording.lengths)
    flat = int((recording.constant | (spread == 0)).sum())
    if flat:
        raise ValueError(
            f"recording: expected neurons that vary, got {flat} constant of {len(mean)}: use "
            "recording.drop_constant()"
        )
    if spread.min() < 1e-15 or spread.max() > 1e15:
        raise ValueError(
            "recording: expected rates of a standard deviation between 1e-15 and 1e15, got "
            f"{spread.min():.3g} to {spread.max():.3g}: give them in another unit"
        )
    worst = int((np.abs(mean) / spread).argmax())
    if spread[worst] < _LEAST * abs(mean[worst]):
        raise ValueError(
            f"recording: expected rates that vary by {_LEAST:g} of their mean or more, got a standard "
            f"deviation of {spread[worst]:.3g} about {mean[worst]:.6g} in neuron {worst}, which float32 "
            "cannot hold: subtract a constant from each neuron, rates - rates.mean((0, 1))"
        )
    return mean, spread


def mean_and_spread(signal, lengths) -> tuple[Float[np.ndarray, " neuron"], Float[np.ndarray, " neuron"]]:
    """Of a signal (trial, time, neuron) over the valid bins of its trials; one trial at a time in float64."""
    parts = [part[:length] for part, length in zip(signal, lengths, strict=True)]
    mean = sum(part.sum(axis=0, dtype=np.float64) for part in parts) / lengths.sum()
    return mean, np.sqrt(sum(((part - mean) ** 2).sum(axis=0) for part in parts) / lengths.sum())


def resting(activation: Activation, mean, spread) -> Float[np.ndarray, " neuron"]:
    r"""Potentials (neuron,) at which an activation comes nearest to mean rates, to about half a percent: a
    place to start from. A tenth of the standard deviation is kept from the ends of its range.

    >>> resting("softplus", np.array([0.0, 100.0]), np.array([1.0, 10.0])).round()
    array([ -2., 100.])
    """
    said = _said(activation)
    low, high = _range(said)
    room = np.minimum(0.1 * spread, (high - low) / 4)
    wanted = np.clip(mean, low + room, high - room)
    return _POTENTIALS[[int(np.argmin(np.abs(said - rate))) for rate in wanted]]


def tangent(activation: Activation, at: Float[np.ndarray, " neuron"], m: Float[np.ndarray, "neuron dim"]):
    """Loadings of potentials (neuron, dim) that move rates as the linear loadings `m` do, about potentials
    `at` (neuron,); none larger than 1 or the potential itself, for neurons that are saturated there.
    """
    slope = np.asarray(jax.vmap(jax.grad(resolve(activation)))(jnp.asarray(at, jnp.float32)), np.float64)
    size = np.linalg.norm(m, axis=1)
    most = np.maximum(1.0, np.abs(at))
    with np.errstate(divide="ignore"):
        wanted = np.where(slope == 0, most, size / np.abs(slope))
    return m * (np.minimum(wanted, most) * np.where(slope < 0, -1, 1) / np.maximum(size, 1e-30))[:, None]


def _said(activation: Activation) -> Float[np.ndarray, " potential"]:
    """The activation at all potentials; infinite where it is no number."""
    said = np.asarray(resolve(activation)(jnp.asarray(_POTENTIALS, jnp.float32)), np.float64)
    return np.where(np.isfinite(said), said, np.inf)


def _range(said) -> tuple[float, float]:
    """Least and largest value; what reaches a million has no end."""
    low, high = said.min(), said[np.isfinite(said)].max()
    return (low if low > -1e6 else -np.inf), (high if high < 1e6 else np.inf)


def _reachable(mean, spread, activation: Activation) -> None:
    """Refuse neurons whose mean no potential explains, whatever the noise: these rates have another unit."""
    low, high = _range(_said(activation))
    beyond = np.maximum(low - mean, mean - high) > 0.1 * spread
    if beyond.any():
        raise ValueError(
            f"rates: expected rates of {activation}, between {low:g} and {high:g} but for noise, got means "
            f"from {mean.min():.3g} to {mean.max():.3g}, {int(beyond.sum())} of {len(mean)} neurons outside: "
            "divide by their scale, or take activation='linear', which has any unit"
        )
