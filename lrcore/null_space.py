"""The null space of dynamics: other connectivity, the same drift."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from . import checks
from .activation import Activation, resolve
from .checks import ArrayLike, x64
from .distributions import ConnectivityDistribution, GaussianMixture, sobol
from .gauge import symmetric_root, whitening
from .module import first_lines
from .network import LowRankNetwork, columns, flat, population_rates, states
from .spectra import Spectrum, spectrum
from .systems import EXTENT


class Partner(ConnectivityDistribution):
    r"""Another distribution with the same population drift: $n'=n+q(e)+\xi$ with $\mathcal Tq=0$ and
    $\mathbb E[\xi\mid e]=0$.

    Made by `null_space_partner`.

    - `base`: the distribution of (m, b, d, n). `spectrum`: $\mathcal T$ on the states where the drift is
      kept.
    - `kind`: of $\xi$: "clusters" ($\pm$ `size` in each coordinate), "tails" (Student's t, three degrees of
      freedom), or "shift" (none; q is the free part of a constant).
    - `frequency`: (embedding, rank) and `removed`: (mode, rank): $q(e)=$ `size`
      $(\cos\omega\cdot e-\sin\omega\cdot e)$ less its identified part.
    """

    base: GaussianMixture
    spectrum: Spectrum
    frequency: Float[np.ndarray, "embedding rank"]
    removed: Float[np.ndarray, "mode rank"]
    kind: str = eqx.field(static=True)
    size: float = eqx.field(static=True)
    rank: int = eqx.field(static=True)
    n_inputs: int = eqx.field(static=True)
    bias: bool = eqx.field(static=True)

    def __repr__(self) -> str:
        return (
            f"Partner: the drift of the base on {len(self.spectrum.states):,} states, n changed by "
            f"{self.size:.3g} (kind {self.kind!r})\n{first_lines(repr(self.base), 9)}"
        )

    def change(self, e: ArrayLike) -> Float[np.ndarray, "neuron rank"]:
        """q(e) at embeddings (neuron, embedding), in float64.

        **Raises** `TypeError` for what jax traces.
        """
        e = columns(e, self.width, ("neuron", "embedding"))
        if any(checks.is_traced(leaf) for leaf in jax.tree.leaves((self, e))):
            raise TypeError(
                "partner: expected numbers, got what jax traces, where parts of q would cancel in single "
                "precision: take network = partner.sample(key, n) first, and what the network has"
            )
        e = np.asarray(e, float)
        # What is known is computed at once, within a jit too.
        with jax.ensure_compile_time_eval():
            seen = self.spectrum.at(e, len(self.removed))
        return _wave(e, self.frequency, self.size) - seen @ self.removed

    def sample(
        self, key: PRNGKeyArray, n_neurons: int, *, activation: Activation | None = None, tau: float = 1.0
    ) -> LowRankNetwork:
        """A network of `n_neurons` independent draws; by default of the activation whose drift is kept."""
        base_key, noise_key = jax.random.split(key)
        activation = activation or self.spectrum.activation
        network = self.base.sample(base_key, n_neurons, activation=activation, tau=tau)
        shape = (network.n_neurons, network.rank)
        e = network.embedding
        n = np.asarray(network.n) + self.change(e) + self.size * _noise_of(self.kind, noise_key, shape)
        return LowRankNetwork(e.m, n, e.b, e.d, activation=activation, tau=tau)

    def conditional_mean(self, e: ArrayLike) -> Float[Array, "... rank"]:
        """g(e) + q(e)."""
        return self.base.conditional_mean(e) + self._change(self._embedding(e))

    def drift(self, z: ArrayLike, u: ArrayLike | None = None) -> Float[Array, "... rank"]:
        r"""$F+\mathcal Tq$, the second part by the quadrature of the spectrum: what of the base's drift is
        not kept.
        """
        z, u = states(z, u, self.rank, self.n_inputs)
        base = self.base.drift(z, u, activation=self.spectrum.activation)
        q = self.spectrum.shares[:, None] * self.change(self.spectrum.nodes)
        nodes, weights = (jnp.asarray(part, base.dtype) for part in (self.spectrum.nodes, q))
        rates = population_rates(nodes, *flat(z, u), bias=self.bias, phi=resolve(self.spectrum.activation))
        return base + (rates @ weights).reshape(base.shape)

    def log_prob(self, m: ArrayLike, b: ArrayLike, d: ArrayLike, n: ArrayLike) -> Float[Array, "..."]:
        r"""Log-density (nats): that of the base, with n carried back by q(e) and averaged over $\xi$.

        Exact for "clusters" and "shift". A Student's t is a Gaussian of random width: for "tails" the average
        is over 4,096 Sobol points of the widths, which leaves an error of about 0.001.
        """
        weights = self._weights(m, b, d, n)
        e = weights[..., : self.width]
        back = weights[..., self.width :] - self._change(e)
        if self.kind == "tails":
            return _widened_log_prob(self.base, jnp.concatenate([e, back], axis=-1), self.size)
        signs = (
            itertools.product((-1.0, 1.0), repeat=self.rank)
            if self.kind == "clusters"
            else [[0.0] * self.rank]
        )
        shifts = [
            back - jnp.broadcast_to(self.size * jnp.asarray(sign, back.dtype), back.shape) for sign in signs
        ]
        logs = jnp.stack([self.base.log_prob(m, b, d, shifted) for shifted in shifts])
        return logsumexp(logs, axis=0) - np.log(len(shifts))

    def _change(self, e: Float[Array, "... embedding"]) -> Float[Array, "... rank"]:
        change = self.change(e.reshape(-1, self.width)).reshape(*e.shape[:-1], self.rank)
        return jnp.asarray(change, e.dtype)


@eqx.filter_jit
def _widened_log_prob(base: GaussianMixture, x, size: float) -> Float[Array, "..."]:
    """Log-density of a mixture whose n has Student's t with three degrees of freedom added to each
    coordinate.
    """
    from scipy.stats import chi2

    w = base.width
    uniform = sobol(np.random.default_rng(0), 4096, base.rank)
    widths = jnp.asarray(size**2 * 3 / chi2.ppf(np.clip(uniform, 1e-9, 1 - 1e-9), 3), x.dtype)
    n = jnp.arange(w, base.means.shape[1])

    def one(width):
        wider = base.covariances.at[:, n, n].add(jnp.broadcast_to(width, (len(base.weights), base.rank)))
        return eqx.tree_at(lambda p: p.covariances, base, wider)._marginal(x, slice(None))[1]

    return logsumexp(jax.lax.map(one, widths), axis=0) - np.log(len(widths))


def null_space_partner(
    network: LowRankNetwork | GaussianMixture,
    states: ArrayLike | None = None,
    inputs: ArrayLike | None = None,
    *,
    key: PRNGKeyArray,
    kind: str = "clusters",
    size: float | None = None,
    activation: Activation = "tanh",
    tolerance: float = 1e-7,
):
    r"""A network, or a population, with visibly other weights n and the same dynamics.

    **Arguments**

    - `network`: a `LowRankNetwork`, whose neurons keep their embedding and get $n'=n+P\,\xi$, with P the
      projection on what its own drift does not see; or a `GaussianMixture`, for a `Partner` with the same
      population drift.
    - `states`, `inputs`: where the drift is kept; by default 1,024 states in the ball of radius
      $2.4\sqrt R$ of the latents in which $\mathbb E[mm^\top]=I$, so of potentials up to about that size, in
      whatever unit the latents are given; no inputs. A network that goes farther, as one of large n may,
      needs the states that it visits.
    - `kind`: of what is added: "clusters" ($\pm$ `size`), "tails" (Student's t with three degrees of
      freedom), or "shift" (`size` to every weight, less what the drift sees of it). All three are along
      the coordinates that n is given in: the sign of a weight n means nothing in other ones. What does is the
      sign of $J_{ij}=\frac1Nm_i\cdot n_j$.
    - `size`: its scale, in the unit of n; by default three times the root mean square of n, or the
      inverse of that of m where n is 0.
    - `tolerance`: singular values below it, relative to the first, count as null.

    For a network the activation is its own. The change of the drift is at most about `tolerance` times the
    size of n.

    **Raises** `ValueError` for an unknown kind, for m that is not of full rank, where the drift determines
    everything at this tolerance, and for a population whose drift on these states is too fine for the
    quadrature.

    Source: ours.

    >>> import jax.random as jr, numpy as np
    >>> from lrcore import flowfield, systems
    >>> net = systems.ring().sample(jr.key(0), 500)
    >>> other = null_space_partner(net, key=jr.key(1))
    >>> bool(np.std(other.n) > 1.5 * np.std(net.n))
    True
    >>> flowfield.drift_error(other.drift, net.drift, systems.grid(9)) < 1e-5
    True
    """
    if kind not in ("clusters", "tails", "shift"):
        raise ValueError(f"kind: expected 'clusters', 'tails' or 'shift', got {kind!r}")
    if not isinstance(network, LowRankNetwork | GaussianMixture):
        raise TypeError(
            f"network: expected an lr.LowRankNetwork or an lr.GaussianMixture, got {type(network).__name__}"
        )
    white, usual = _scales(network)
    size = usual if size is None else checks.positive("size", size)
    if states is None:
        states = EXTENT * np.sqrt(network.rank) * _ball(1024, network.rank) @ np.linalg.inv(white).T
    if isinstance(network, LowRankNetwork):
        found = spectrum(network.embedding, states, inputs, activation=network.activation)
        if found.rank(tolerance) >= network.n_neurons:
            raise ValueError(
                f"network: its drift determines all {network.n_neurons} weights at tolerance {tolerance:g}: "
                "take more neurons, or a larger tolerance"
            )
        added = np.ones(network.n.shape) if kind == "shift" else _noise_of(kind, key, network.n.shape)
        change = found.free_part(size * added, tolerance)
        n = np.asarray(network.n, float) + change
        return network.with_weights(n)
    # Nodes dense enough for the rates' poles at the outermost states.
    found = spectrum(network, states, inputs, activation=activation, nodes=120 if network.width < 3 else None)
    frequency = 1.5 * np.asarray(jax.random.normal(key, (network.width, network.rank)), float)
    # Along m in the gauge where it is white.
    frequency[: network.rank] = np.linalg.inv(white) @ frequency[: network.rank]
    frequency = np.zeros_like(frequency) if kind == "shift" else frequency
    wave = _wave(found.nodes, frequency, size)
    kept = found.modes[:, : found.rank(tolerance)]
    removed = kept.T @ (found.shares[:, None] * wave)
    parts = (network, found, frequency, removed, kind, size, network.rank, network.n_inputs, network.bias)
    partner = Partner(*parts)  # ty: ignore[invalid-argument-type]
    _same_drift(partner, tolerance)
    return partner


def _scales(network: LowRankNetwork | GaussianMixture) -> tuple[np.ndarray, float]:
    """The gauge in which m is white (rank, rank), and the usual size of a change of n."""
    rank = network.rank
    if isinstance(network, LowRankNetwork):
        white, square = whitening(network), np.mean(np.asarray(network.n, float) ** 2)
    else:
        weights, means, covariances = (
            np.asarray(part, float) for part in (network.weights, network.means, network.covariances)
        )
        second = np.einsum("c,cij->ij", weights, covariances + means[:, :, None] * means[:, None])
        white = symmetric_root(second[:rank, :rank])
        square = np.trace(second[network.width :, network.width :]) / rank
    return white, 3 * float(np.sqrt(square or rank / np.trace(white @ white)))


def _ball(count: int, rank: int) -> Float[np.ndarray, "state rank"]:
    """Points that fill the unit ball evenly."""
    from scipy.special import ndtri

    uniform = np.clip(sobol(np.random.default_rng(0), count, rank + 1), 1e-9, 1 - 1e-9)
    along = ndtri(uniform[:, 1:])
    return along * (uniform[:, :1] ** (1 / rank) / np.linalg.norm(along, axis=1, keepdims=True))


def _same_drift(partner: Partner, tolerance: float) -> None:
    """Refuse a partner whose drift another quadrature finds elsewhere: its own cannot see its error."""
    seen = partner.spectrum
    some = slice(None, None, -(-len(seen.states) // 64))
    z, u = seen.states[some], seen.inputs[some]
    check = {1: 131, 2: 113, 3: 31}[partner.width]
    other = spectrum(partner.base, z, u, activation=seen.activation, nodes=check, modes=1)
    phi = resolve(seen.activation)
    with x64():
        parts = (jnp.asarray(part) for part in (other.nodes, z, u))
        rates = np.asarray(population_rates(*parts, bias=partner.bias, phi=phi))
    moved = (rates * other.shares) @ partner.change(other.nodes)
    drift = np.asarray(partner.base.drift(z, u, activation=seen.activation))
    off, size = (float(np.sqrt(np.mean(part**2))) for part in (moved, drift))
    if off > 0.02 * size + 10 * tolerance * partner.size:
        raise ValueError(
            f"network: expected {partner.width} embedding coordinates that the quadrature resolves on these "
            f"states, got a partner whose drift moves by {off / size:.0%}: keep the states nearer to 0, or "
            "give a network drawn from it, p.sample(key, 2000)"
        )


def _wave(e, frequency, size):
    """A function of e with parts of both parities; a constant at frequency zero."""
    return size * (np.cos(e @ frequency) - np.sin(e @ frequency))


def _noise_of(kind: str, key, shape) -> np.ndarray:
    """Clusters at -1 and 1, Student's t with three degrees of freedom, or nothing; of mean zero given e."""
    if kind == "shift":
        return np.zeros(shape)
    if kind == "clusters":
        return np.asarray(jax.random.rademacher(key, shape, np.float32), float)
    return np.asarray(jax.random.t(key, 3.0, shape), float)
