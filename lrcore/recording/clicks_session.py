"""A synthetic session of the Poisson-Clicks task, with the truth behind it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .. import checks
from ..network import Embedding, LowRankNetwork
from .readers import BIN_WIDTH
from .recording import Recording

TAU = 0.1
CLICK_RATE = 40.0
LOG_RATIOS = (-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5)
N_TIME = 100
N_NETWORK = 80
# Standard deviation of the latent noise in one bin.
NOISE = 0.06
START = np.array([0.0, -0.3])


class Session(NamedTuple):
    """A synthetic session and the truth behind it.

    - `recording`: spikes, clicks and choices, as of an experiment.
    - `latents`: (trial, time, 2), the latent state in each bin; 0 beyond the trial's end.
    - `network`: the network that made them; the recorded neurons are its first ones, all by default.
    - `scale`: (neuron,), in Hz: neuron i spikes at the rate `scale[i] * softplus(m_i . z + d_i)`.
    """

    recording: Recording
    latents: Float[Array, "trial time 2"]
    network: LowRankNetwork
    scale: Float[Array, " neuron"]

    def __repr__(self) -> str:
        return (
            f"Session: a recording, and the network of {self.network.n_neurons:,} neurons that made it\n"
            + repr(self.recording)
        )


def clicks_session(key: PRNGKeyArray, n_trials: int = 400, n_neurons: int = 80) -> Session:
    r"""A synthetic session of the Poisson-Clicks task: a rat hears clicks left and right and goes where there
    were more.

    A network of rank 2 decides. In bins of $\Delta t$ = 10 ms, with $\tau$ = 0.1 s and
    $\alpha=\Delta t/\tau=0.1$,

    $$z_{t+1} = (1-\alpha)\,z_t + \alpha F_N(z_t,u_t) + 0.06\,\varepsilon_t,\qquad
      F_N(z,u)=\tfrac1N\sum_i n_i\tanh(m_i\cdot z+b_i\cdot u+d_i),$$
    $$y_{it}\sim\mathrm{Poisson}\big(\Delta t\; s_i\,\mathrm{softplus}(m_i\cdot z_t+d_i)\big).$$

    The neurons that are recorded are the network's own: spikes and recurrent dynamics read the latents
    through the same m and d. $F_N$ has a stable point for each choice, at about $z_1=\pm1$, and a saddle
    between, where trials start; clicks push along $z_1$ and, less, $z_2$. m (heavy-tailed), b and d are
    drawn, n is the smallest one that makes these dynamics (a ridge regression on a grid of states and
    clicks).

    As in the published sessions: a stereo click opens the trial in bin 0; then left and right clicks, 40 a
    second together, with a log ratio of rates (`info["gamma"]`) of 0.5 to 3.5 to either side, for 0.2 to 1 s;
    the animal leaves about 0.16 s later, at most 1 s is recorded; the choice is the sign of $z_1$ at the end,
    1 for right. Neurons spike at 2 to 30 Hz, median about 8.

    **Arguments**

    - `key`: a jax random key; the same key gives the same session.
    - `n_trials`: 10 or more, so that every neuron spikes. `n_neurons`: recorded neurons, 2 or more. The
      network consists of these, or of 80 if these are fewer, as it takes that many to make the two attractors
      at any key.

    **Returns** a `Session`: the recording, the latents, the network, the scale of the rates.

    **Raises** `ValueError` for too few trials or neurons.

    Source: task and data, Luo, Kim et al. (2025), Nature; the model is ours.

    >>> session = clicks_session(jr.key(0), n_trials=50, n_neurons=40)
    >>> session.recording.spikes.shape, session.network.rank
    ((50, 100, 40), 2)
    """
    n_trials = checks.count("n_trials", n_trials, least=10)
    n_neurons = checks.count("n_neurons", n_neurons, least=2)
    seed_key, noise_key = jr.split(key)
    # Draws are numpy's: its Poisson counts are many times quicker than jax's on a CPU.
    rng = np.random.default_rng(np.asarray(jr.bits(seed_key, (4,))))
    network = _deciding_network(rng, max(n_neurons, N_NETWORK))
    lengths, gamma, clicks = _trials(rng, n_trials)

    start = START + 0.1 * rng.standard_normal((n_trials, 2))
    noise = NOISE / np.sqrt(BIN_WIDTH)
    latents = network.simulate(start, clicks, BIN_WIDTH, noise=noise, key=noise_key)[:, :-1]
    mask = checks.inside(lengths, N_TIME)
    latents = jnp.where(mask[:, :, None], latents, 0.0)
    choices = np.asarray(latents[np.arange(n_trials), lengths - 1, 0] > 0).astype(int)

    resting = np.clip(7.0 * np.exp(0.7 * rng.standard_normal(n_neurons)), 2.0, 30.0)
    d = jnp.asarray(network.d)[:n_neurons]
    recorded = Embedding(network.m[:n_neurons], d=d)
    scale = jnp.asarray(resting / jax.nn.softplus(d), jnp.float32)
    rates = scale[None, None] * jax.nn.softplus(recorded.potential(latents))
    spikes = rng.poisson(BIN_WIDTH * np.asarray(rates))
    recording = Recording(
        spikes=spikes,
        bin_width=BIN_WIDTH,
        lengths=lengths,
        inputs=clicks,
        choices=choices,
        info={"gamma": gamma},
    )
    return Session(recording, latents, network, scale)


def _deciding_network(rng, n_neurons: int) -> LowRankNetwork:
    """Two choice attractors and a saddle between: n by ridge regression of the wanted drift on the neurons'
    rates.
    """
    m = rng.laplace(size=(n_neurons, 2)) * [0.3, 0.25]
    b = 0.5 * rng.standard_normal((n_neurons, 2))
    d = 0.7 * rng.standard_normal(n_neurons)
    grid = np.meshgrid(np.linspace(-1.6, 1.6, 13), np.linspace(-1.2, 1.2, 9), indexing="ij")
    states = np.stack([axis.ravel() for axis in grid], axis=1)
    clicks = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [2, 0], [0, 2]])
    z, u = np.repeat(states, len(clicks), axis=0), np.tile(clicks, (len(states), 1))
    x = np.tanh(z @ m.T + u @ b.T + d) / n_neurons
    gram = x.T @ x
    ridge = 3e-4 * np.trace(gram) / n_neurons
    n = np.linalg.solve(gram + ridge * np.eye(n_neurons), x.T @ _wanted_drift(z, u))
    m, n, b, d = (np.asarray(part, np.float32) for part in (m, n, b, d))
    return LowRankNetwork(m, n, b, d, activation="tanh", tau=TAU)


def _wanted_drift(z, u):
    """z + tau dz/dt: z_1 leaves the saddle at 0 for +-1, z_2 rises as z_1 does, clicks push."""
    push = u[:, 1] - u[:, 0]
    first = 0.5 * z[:, 0] * (1 - z[:, 0] ** 2) + 0.7 * push
    second = 0.6 * (0.8 * z[:, 0] ** 2 - 0.3 - z[:, 1]) + 0.3 * push
    return z + np.stack([first, second], axis=1)


def _trials(rng, n_trials: int):
    """Lengths (trial,) in bins, log ratios of click rates (trial,) and click counts (trial, time, 2)."""
    gamma = rng.choice(LOG_RATIOS, n_trials)
    stimulus = rng.uniform(0.2, 1.0, n_trials)
    response = 0.04 + 0.12 * rng.gamma(3.0, size=n_trials) / 3
    lengths = np.minimum(np.ceil((stimulus + response) / BIN_WIDTH).astype(int), N_TIME)
    right = CLICK_RATE / (1 + np.exp(-gamma))
    rates = np.stack([CLICK_RATE - right, right], axis=1)
    heard = np.arange(N_TIME) < np.round(stimulus / BIN_WIDTH)[:, None]
    clicks = rng.poisson(BIN_WIDTH * rates[:, None] * heard[:, :, None], (n_trials, N_TIME, 2))
    clicks[:, 0] += 1
    clicks[~checks.inside(lengths, N_TIME)] = 0
    return lengths, gamma, clicks.astype(np.float32)
