"""Low-rank recurrent networks: from connectivity vectors to latent dynamics."""

import math
from collections.abc import Callable

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from . import checks
from .activation import Activation, resolve
from .checks import ArrayLike, floats
from .module import Module


def states(z: ArrayLike, u: ArrayLike, rank: int, n_inputs: int) -> tuple[Array, Array]:
    """States (..., rank) and inputs (..., input), checked and broadcast to the same leading axes; no input is
    0.
    """
    z = floats(checks.array("z", z, ("...", "rank"), sizes={"rank": rank}))
    u = jnp.zeros(n_inputs, z.dtype) if u is None else u
    u = floats(checks.array("u", u, ("...", "input"), sizes={"input": n_inputs}))
    batch = jnp.broadcast_shapes(z.shape[:-1], u.shape[:-1])
    return jnp.broadcast_to(z, (*batch, rank)), jnp.broadcast_to(u, (*batch, n_inputs))


def flat(z: Array, u: Array) -> tuple[Array, Array]:
    """States (..., rank) and inputs (..., input) of the same leading axes as (state, rank) and
    (state, input).
    """
    count = math.prod(z.shape[:-1])
    return z.reshape(count, z.shape[-1]), u.reshape(count, u.shape[-1])


def columns(e: ArrayLike, width: int, axes: tuple[str, ...] = ("...", "embedding")):
    """The columns (m, b, d) of an `Embedding`, or an array (..., embedding) of them, checked to be
    `width`.
    """
    e = e.array if isinstance(e, Embedding) else e
    return checks.array("e", e, axes, sizes={"embedding": width})


def population_rates(
    e: Array, z: Array, u: Array, *, bias: bool, phi: Callable
) -> Float[Array, "step neuron"]:
    r"""$\phi(m\cdot z+b\cdot u+d)$ of columns e (neuron, embedding) at states (step, rank), inputs (step,
    input).
    """
    rank, cut = z.shape[1], z.shape[1] + u.shape[1]
    h = z @ e[:, :rank].T
    if u.shape[1]:
        h = h + u @ e[:, rank:cut].T
    return phi(h + jnp.broadcast_to(e[:, cut], h.shape) if bias else h)


class Embedding(Module):
    r"""What each neuron does: $e_i = (m_i, b_i, d_i)$, with potential $h_i = m_i\cdot z + b_i\cdot u + d_i$.

    **Arguments**

    - `m`: (neuron, rank), how each neuron reads the latent state.
    - `b`: (neuron, input), input weights; None without inputs.
    - `d`: (neuron,), biases; None for zero biases.

    **Raises** `ValueError` when the neurons do not agree in number, when there are fewer neurons than
    dimensions, on NaN or infinity; `TypeError` for float16.

    Source: theory of the latent dynamics in Kim et al. (2026), arXiv:2603.26506, section 2.

    >>> import jax.numpy as jnp
    >>> e = Embedding(jnp.eye(2), d=jnp.array([0.0, 1.0]))
    >>> e.potential(jnp.array([1.0, 2.0])).tolist()
    [1.0, 3.0]
    """

    m: Float[Array, "neuron rank"]
    b: Float[Array, "neuron input"] | None
    d: Float[Array, " neuron"] | None

    def __init__(self, m: ArrayLike, b: ArrayLike | None = None, d: ArrayLike | None = None):
        m = checks.array("m", m, ("neuron", "rank"))
        n, rank = m.shape
        if n < rank or rank < 1:
            raise ValueError(
                f"m: expected at least as many neurons as latent dimensions, got {n} neurons of rank {rank}: "
                "m has shape (neuron, rank); lower the rank or transpose"
            )
        self.m = floats(m)
        self.b = self.d = None
        if b is not None:
            b = checks.array("b", b, ("neuron", "input"), sizes={"neuron": n})
            self.b = floats(b) if b.shape[1] else None
        if d is not None:
            self.d = floats(checks.array("d", d, ("neuron",), sizes={"neuron": n}))

    @property
    def n_neurons(self) -> int:
        """N."""
        return self.m.shape[0]

    @property
    def rank(self) -> int:
        """R."""
        return self.m.shape[1]

    @property
    def n_inputs(self) -> int:
        """K."""
        return 0 if self.b is None else self.b.shape[1]

    @property
    def width(self) -> int:
        """Number of columns (m, b, d), R + K + 1 with a bias."""
        return self.rank + self.n_inputs + (self.d is not None)

    @property
    def array(self) -> Float[Array, "neuron embedding"]:
        """The columns (m, b, d) side by side; parts that are None are left out."""
        parts = [self.m, self.b, None if self.d is None else self.d[:, None]]
        return jnp.concatenate([part for part in parts if part is not None], axis=1)

    def like(self, array: ArrayLike) -> "Embedding":
        """Another embedding with the same parts, from its columns (m, b, d): the inverse of `.array`."""
        array = checks.array("embedding", array, ("neuron", "embedding"), sizes={"embedding": self.width})
        cut = self.rank + self.n_inputs
        b = array[:, self.rank : cut] if self.b is not None else None
        return Embedding(array[:, : self.rank], b, array[:, cut] if self.d is not None else None)

    def potential(self, z: ArrayLike, u: ArrayLike | None = None) -> Float[Array, "... neuron"]:
        r"""$h_i = m_i\cdot z + b_i\cdot u + d_i$ for states `z` (..., rank) and inputs `u` (..., input)."""
        z, u = states(z, u, self.rank, self.n_inputs)
        return jnp.vectorize(self._potential, signature="(r),(k)->(n)")(z, u)

    def _potential(self, z: Float[Array, " rank"], u: Float[Array, " input"]) -> Float[Array, " neuron"]:
        h = self.m @ z
        if self.b is not None:
            h = h + self.b @ u
        return h if self.d is None else h + self.d


class LowRankNetwork(Module):
    r"""A recurrent network of rank R, seen through its R latent variables.

    $$\tau\dot z = -z + F_N(z,u),\qquad
      F_N(z,u) = \frac1N\sum_{j=1}^N n_j\,\phi(m_j\cdot z + b_j\cdot u + d_j)$$

    **Arguments**

    - `m`, `n`: (neuron, rank), the left and right connectivity vectors; $J = \frac1N M N^\top$.
    - `b`: (neuron, input) or None; `d`: (neuron,) or None.
    - `activation`: the name of $\phi$ (tanh, softplus, sigmoid, relu, exp, linear) or a function.
    - `tau`: time constant, in the unit of `dt` (seconds for recordings).

    States `z` are (..., rank), inputs `u` (..., input); any leading axes are batch axes.

    **Raises** `ValueError` or `TypeError` at the door, as `Embedding`.

    Source: Mastrogiuseppe & Ostojic (2018); Kim et al. (2026), arXiv:2603.26506, section 2.

    >>> import jax.numpy as jnp
    >>> net = LowRankNetwork(jnp.eye(2), 4 * jnp.eye(2), activation="tanh", tau=1.0)
    >>> net.drift(jnp.zeros(2)).tolist()
    [0.0, 0.0]
    >>> net.simulate(jnp.ones(2), None, 0.1, 50).shape
    (51, 2)
    """

    embedding: Embedding
    n: Float[Array, "neuron rank"]
    activation: Activation = eqx.field(static=True)
    tau: float

    def __init__(
        self,
        m: ArrayLike,
        n: ArrayLike,
        b: ArrayLike | None = None,
        d: ArrayLike | None = None,
        *,
        activation: Activation = "tanh",
        tau: float = 1.0,
    ):
        self.embedding = Embedding(m, b, d)
        sizes = {"neuron": self.embedding.n_neurons, "rank": self.embedding.rank}
        self.n = floats(checks.array("n", n, ("neuron", "rank"), sizes=sizes))
        resolve(activation)
        self.activation = activation
        self.tau = checks.positive("tau", tau)

    @property
    def m(self) -> Float[Array, "neuron rank"]:
        """Left connectivity vectors."""
        return self.embedding.m

    @property
    def b(self) -> Float[Array, "neuron input"] | None:
        """Input weights."""
        return self.embedding.b

    @property
    def d(self) -> Float[Array, " neuron"] | None:
        """Biases."""
        return self.embedding.d

    @property
    def n_neurons(self) -> int:
        """N."""
        return self.embedding.n_neurons

    @property
    def rank(self) -> int:
        """R."""
        return self.embedding.rank

    def rates(self, z: ArrayLike, u: ArrayLike | None = None) -> Float[Array, "... neuron"]:
        r"""$r_i = \phi(h_i)$."""
        return resolve(self.activation)(self.embedding.potential(z, u))

    def drift(self, z: ArrayLike, u: ArrayLike | None = None) -> Float[Array, "... rank"]:
        r"""$F_N(z,u)$, without the leak."""
        z, u = states(z, u, self.rank, self.embedding.n_inputs)
        return jnp.vectorize(self._drift, signature="(r),(k)->(r)")(z, u)

    def _drift(self, z: Float[Array, " rank"], u: Float[Array, " input"]) -> Float[Array, " rank"]:
        return resolve(self.activation)(self.embedding._potential(z, u)) @ self.n / self.n_neurons

    def velocity(self, z: ArrayLike, u: ArrayLike | None = None) -> Float[Array, "... rank"]:
        r"""$\dot z = (-z + F_N(z,u))/\tau$."""
        drift = self.drift(z, u)
        return (drift - jnp.asarray(z, drift.dtype)) / self.tau

    def silenced(self, which) -> "LowRankNetwork":
        """The network in which the neurons `which`, indices or a mask (neuron,), write nothing: their n is 0.

        N stays, and so does what the others write.
        """
        writes = np.ones(self.n_neurons, bool)
        writes[np.asarray(which)] = False
        return eqx.tree_at(lambda net: net.n, self, jnp.where(writes[:, None], self.n, 0.0))

    def with_weights(self, n: ArrayLike) -> "LowRankNetwork":
        """The same neurons, reading as they do, with other n (neuron, rank)."""
        e = self.embedding
        return LowRankNetwork(e.m, n, e.b, e.d, activation=self.activation, tau=self.tau)

    def recurrent_weights(self) -> Float[Array, "neuron neuron"]:
        r"""$J = \frac1N M N^\top$; row $i$ holds the weights onto neuron $i$."""
        return self.m @ self.n.T / self.n_neurons

    def simulate(
        self,
        z0: ArrayLike,
        inputs: ArrayLike | None = None,
        dt=None,
        steps=None,
        *,
        noise=0.0,
        key: PRNGKeyArray | None = None,
        method="euler",
    ) -> Float[Array, "... time rank"]:
        r"""Latent trajectories from `z0`, computed in the R latent dimensions.

        **Arguments**

        - `z0`: (rank,) or (trial, rank).
        - `inputs`: None, or (steps, input) or (trial, steps, input); `inputs[t]` acts from t to t+1.
        - `dt`: time step, in the unit of `tau`; default `tau / 10`.
        - `steps`: number of steps; taken from `inputs` when not given.
        - `noise`: $s$ in $\mathrm dz = \dot z\,\mathrm dt + s\,\mathrm dW$; needs `key`.
        - `method`: `"euler"` (Euler-Maruyama, the model that is fitted to binned data) or `"diffrax"` (Tsit5
          with adaptive steps; the same inputs and noise increments, held constant within a step). The two
          agree to first order in `dt`.

        **Returns** latents (..., steps + 1, rank), the initial state first.

        **Raises** `ValueError` for inputs of another length; `FloatingPointError` when the latents diverge,
        with the step at which they did.
        """
        z0 = floats(checks.array("z0", z0, ("...", "rank"), sizes={"rank": self.rank}))
        if z0.ndim > 2:
            raise ValueError(f"z0: expected (rank,) or (trial, rank), got shape {z0.shape}")
        dt = self.tau / 10 if dt is None else checks.positive("dt", dt)
        noise = checks.positive("noise", noise, zero=True)
        if method not in ("euler", "diffrax"):
            raise ValueError(f"method: expected 'euler' or 'diffrax', got {method!r}")
        if inputs is None:
            if steps is None:
                raise ValueError("steps: expected a number of steps, as there are no inputs to take it from")
            steps = checks.count("steps", steps)
            inputs = jnp.zeros((steps, self.embedding.n_inputs), z0.dtype)
        sizes = {"input": self.embedding.n_inputs}
        if steps is not None:
            sizes["time"] = checks.count("steps", steps)
        inputs = floats(checks.array("inputs", inputs, ("...", "time", "input"), sizes=sizes))
        steps = inputs.shape[-2]
        kind = jnp.result_type(z0, inputs, *jax.tree.leaves((self.embedding, self.n)))
        z0, inputs = z0.astype(kind), inputs.astype(kind)

        batch = jnp.broadcast_shapes(z0.shape[:-1], inputs.shape[:-2])
        if len(batch) > 1:
            raise ValueError(f"inputs: expected (steps, input) or (trial, steps, input), got {inputs.shape}")
        z0 = jnp.broadcast_to(z0, (*batch, self.rank))
        inputs = jnp.broadcast_to(inputs, (*batch, *inputs.shape[-2:]))
        if key is None:
            if not checks.is_traced(noise) and noise != 0.0:
                raise ValueError("key: expected a jax random key, as noise is not zero, got None")
            kicks = jnp.zeros((*batch, steps, self.rank), z0.dtype)
        else:
            kicks = noise * jr.normal(key, (*batch, steps, self.rank), z0.dtype)
        latents = _simulate(self, z0, inputs, kicks, dt, method)
        return _not_diverged(latents)


@eqx.filter_jit
def _simulate(network, z0, inputs, kicks, dt, method):
    """Kicks are standard normal increments times the noise strength; Euler adds `sqrt(dt)` of them a step."""

    def euler(z, u, kick):
        return z + dt * network.velocity(z, u) + jnp.sqrt(dt) * kick

    def adaptive(z, u, kick):
        terms = diffrax.ODETerm(lambda t, y, args: network.velocity(y, u) + kick / jnp.sqrt(dt))
        controller = diffrax.PIDController(rtol=1e-5, atol=1e-6)
        # A diverging solution is reported by the caller as such; the solver's own message would hide where.
        solution = diffrax.diffeqsolve(
            terms, diffrax.Tsit5(), 0.0, dt, dt, z, stepsize_controller=controller, throw=False
        )
        end = jnp.where(solution.result == diffrax.RESULTS.successful, solution.ys[-1], jnp.nan)
        return end.astype(z.dtype)

    step = euler if method == "euler" else adaptive

    def one(z0, inputs, kicks):
        def scan(z, now):
            z = step(z, *now)
            return z, z

        _, later = jax.lax.scan(scan, z0, (inputs, kicks))
        return jnp.concatenate([z0[None], later])

    return jax.vmap(one)(z0, inputs, kicks) if z0.ndim == 2 else one(z0, inputs, kicks)


def _not_diverged(latents):
    message = "latents diverged: lower the gain of the network or the time step"
    if checks.is_traced(latents):
        return eqx.error_if(latents, ~jnp.isfinite(latents).all(), message)
    bad = ~np.isfinite(np.asarray(latents)).all(axis=-1)
    if bad.any():
        first = int(bad.reshape(-1, bad.shape[-1]).any(axis=0).argmax())
        trials = int(bad.reshape(-1, bad.shape[-1]).any(axis=1).sum())
        raise FloatingPointError(f"{message} (first at step {first}; {trials} trials)")
    return latents
