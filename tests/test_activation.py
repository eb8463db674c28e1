"""Activations by name, and back from their rates."""

import jax.numpy as jnp
import numpy as np
import pytest

from lrcore.activation import inverse, invert, resolve


@pytest.mark.parametrize(
    "name, closed",
    [
        ("tanh", np.tanh),
        ("softplus", lambda x: np.log1p(np.exp(x))),
        ("sigmoid", lambda x: 1 / (1 + np.exp(-x))),
        ("relu", lambda x: np.maximum(x, 0)),
        ("exp", np.exp),
        ("linear", lambda x: x),
    ],
)
def test_activations_by_name(name, closed):
    x = np.linspace(-4, 4, 41)
    np.testing.assert_allclose(resolve(name)(jnp.asarray(x)), closed(x), rtol=1e-5, atol=1e-6)


def test_other_activations():
    assert resolve(jnp.sin) is jnp.sin
    with pytest.raises(ValueError, match="activation: expected one of tanh, softplus.*got 'swish'"):
        resolve("swish")
    with pytest.raises(TypeError):
        resolve(3)


@pytest.mark.parametrize("name", ["tanh", "softplus", "sigmoid", "exp", "linear"])
def test_inverses(name):
    h = jnp.linspace(-3, 3, 13)
    back, low, high = inverse(name)
    r = resolve(name)(h)
    assert ((r > low) & (r < high)).all()
    np.testing.assert_allclose(back(r), h, atol=1e-4)


def test_rates_are_inverted_where_they_are_valid():
    rates = np.array([[0.5, -0.5], [7.0, np.nan]])
    found = invert(rates, "tanh", inside=np.array([True, False]))
    np.testing.assert_allclose(found[0], np.arctanh(rates[0]), atol=1e-6)
    with pytest.raises(
        ValueError, match="^rates: expected rates of tanh, between -1 and 1, got 1 of 4 outside"
    ):
        invert(rates, "tanh")
    # Saturated rates are as far out as float32 can tell.
    assert np.isfinite(invert(np.array([-1.0, 1.0]), "tanh")).all()
    with pytest.raises(
        ValueError, match=r"^activation: expected one with a known inverse \(tanh, .*\), got 'relu'"
    ):
        invert(rates, "relu")
