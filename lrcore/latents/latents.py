"""Latent states of a recording, and how each of its neurons reads them."""

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .. import checks
from ..activation import Activation, resolve
from ..network import Embedding
from ..steps import Steps, steps


class Latents(eqx.Module):
    r"""Latent states of a recording, and how each of its neurons reads them.

    $$r_i(t) = s_i\,\phi(m_i\cdot z_t + d_i)$$

    - `z`: (trial, time, rank), the latents; 0 beyond a trial's length.
    - `lengths`: (trial,), valid bins of each trial.
    - `embedding`: m (neuron, rank) and d (neuron,); there is no b, as the read-out has no direct input.
    - `scale`: (neuron,), $s_i$: in Hz for spikes, 1 for rates.
    - `inputs`: (trial, time, input), those of the recording, or None.
    - `bin_width`: in seconds.
    - `activation`: $\phi$ of the read-out, "softplus" for spikes and "linear" for rates.
    """

    z: Float[Array, "trial time rank"]
    lengths: Int[np.ndarray, " trial"]
    embedding: Embedding
    scale: Float[Array, " neuron"]
    inputs: Float[Array, "trial time input"] | None
    bin_width: float = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)

    @property
    def rank(self) -> int:
        """R."""
        return self.z.shape[2]

    @property
    def mask(self) -> Bool[np.ndarray, "trial time"]:
        """Where the trials are: True in valid bins, False in padding."""
        return checks.inside(self.lengths, self.z.shape[1])

    def rates(self) -> Float[Array, "trial time neuron"]:
        """The rates that the latents and the embedding say, in Hz (in the unit of the recording for
        rates).
        """
        return self.scale[None, None] * resolve(self.activation)(self.embedding.potential(self.z))

    def steps(self, *, tau: float = 0.1, inputs: bool = False) -> Steps:
        """The steps of all trials, from one valid bin to the next.

        **Arguments**

        - `tau`: time constant of the network in seconds. The latents do not tell it: it is assumed.
        - `inputs`: whether the inputs of the recording drive the steps; then the embedding must have b.

        **Raises** `ValueError` for a time constant shorter than a bin, and where there are no inputs.
        """
        tau = checks.positive("tau", tau)
        if not self.bin_width <= tau <= 10:
            raise ValueError(
                f"tau: expected seconds, from a bin of {self.bin_width:g} to 10, got {tau:g}: 100 ms is 0.1"
            )
        if inputs and self.inputs is None:
            raise ValueError("inputs: expected a recording with inputs, got one without")
        given = self.inputs if inputs else None
        return steps(self.z, inputs=given, lengths=self.lengths, alpha=self.bin_width / tau)
