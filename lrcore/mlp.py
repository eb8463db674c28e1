"""The network that a flow's velocity is: a multilayer perceptron."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

# Functions that can be pickled: jax's own SiLU is a compiled one, and equinox's identity has no name.


def _silu(x):
    return jax.nn.silu(x)


def _identity(x):
    return x


@eqx.filter_jit
def mlp(inputs: int, outputs: int, width: int, depth: int, key: PRNGKeyArray) -> eqx.nn.MLP:
    """A network with equinox's initial weights, all cut from one draw: to compile many small ones takes
    seconds.
    """
    network = eqx.filter_eval_shape(eqx.nn.MLP, inputs, outputs, width, depth, _silu, _identity, key=key)
    sizes = [size for layer in network.layers for size in (layer.weight.size, layer.bias.size)]
    draws = iter(jnp.split(jr.uniform(key, (sum(sizes),), minval=-1.0, maxval=1.0), np.cumsum(sizes)[:-1]))
    layers = []
    for layer in network.layers:
        weight, bias = (layer.in_features**-0.5 * next(draws) for _ in range(2))
        values = (weight.reshape(layer.weight.shape), bias)
        layers.append(eqx.tree_at(lambda layer: (layer.weight, layer.bias), layer, values))
    return eqx.tree_at(lambda n: n.layers, network, tuple(layers))
