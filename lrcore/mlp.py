"""The network that a flow's velocity is: a multilayer perceptron."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from . import checks

# Functions that can be pickled: jax's own SiLU is a compiled one, and equinox's identity has no name.


def _silu(x):
    return jax.nn.silu(x)


def _identity(x):
    return x


def mlp(inputs: int, outputs: int, width: int, depth: int, key: PRNGKeyArray) -> eqx.nn.MLP:
    """A network with equinox's initial weights, all cut from one draw: to compile many small ones takes
    seconds.
    """
    network = eqx.filter_eval_shape(eqx.nn.MLP, inputs, outputs, width, depth, _silu, _identity, key=key)
    sizes = [size for layer in network.layers for size in (layer.weight.size, layer.bias.size)]
    # As many as the next power of two, so that what is compiled serves networks of other sizes.
    draws = jr.uniform(key, (1 << (sum(sizes) - 1).bit_length(),), minval=-1.0, maxval=1.0)
    # In numpy, unless in a compiled function: jax would compile each cut.
    cut = jnp if checks.is_traced(draws) else np
    draws, layers = iter(cut.split(cut.asarray(draws), np.cumsum(sizes))), []
    for layer in network.layers:
        weight, bias = (layer.in_features**-0.5 * next(draws) for _ in range(2))
        values = checks.floats(weight.reshape(layer.weight.shape)), checks.floats(bias)
        layers.append(eqx.tree_at(lambda layer: (layer.weight, layer.bias), layer, values))
    return eqx.tree_at(lambda n: n.layers, network, tuple(layers))
