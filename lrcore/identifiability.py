"""What dynamics determine of the connectivity: the operator from conditional mean to drift, and its null space."""

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Bool, Float, PRNGKeyArray

from . import checks
from .activation import Activation, resolve
from .distributions import ConnectivityDistribution, GaussianMixture
from .maxent import x64
from .network import Embedding, LowRankNetwork
from .systems import EXTENT

# States whose rates are held at once.
_BLOCK = 4096
# A mode counts as identified when its posterior standard deviation is at most a tenth of its prior's.
_IDENTIFIED = 99.0


class Spectrum(eqx.Module):
    r"""The singular system of $(\mathcal Tg)(z,u)=\E_{p(e)}[g(e)\,\phi(m\cdot z+b\cdot u+d)]$, made by `spectrum`.

    $$\mathcal T=\sum_j\sigma_j\,\chi_j\otimes\psi_j$$

    from $L^2(p(e))$ to the explored states, each coordinate of g on its own. Modes with $\sigma_j=0$ are its null space:
    no dynamics on these states tell them apart from zero.

    - `nodes`, `shares`: where p(e) is evaluated (node, embedding) and with which weight (node,); the neurons, each with
      weight 1/N, for a sampled p(e).
    - `states`, `inputs`: the explored $z_s$ (state, rank) and $u_s$ (state, input), of equal weight.
    - `values`: $\sigma_j$ (mode,), falling. `modes`: $\psi_j$ (node, mode), orthonormal under `shares`.
    - `images`: $\chi_j$ (state, mode), orthonormal under equal weights of the states.
    """

    nodes: Float[np.ndarray, "node embedding"]
    shares: Float[np.ndarray, " node"]
    states: Float[np.ndarray, "state rank"]
    inputs: Float[np.ndarray, "state input"]
    values: Float[np.ndarray, " mode"]
    modes: Float[np.ndarray, "node mode"]
    images: Float[np.ndarray, "state mode"]
    bias: bool = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)

    def rank(self, tolerance: float = 1e-9) -> int:
        r"""How many singular values exceed `tolerance` times the largest."""
        tolerance = checks.positive("tolerance", tolerance)
        return int((self.values > tolerance * self.values[0]).sum())

    def captured(self, function, tolerance: float = 1e-9) -> Float[np.ndarray, "..."]:
        r"""Share of a function's energy that lies in the row space: 1 is fully determined, 0 is free.

        - `function`: values at the nodes, (node,) or (node, function).
        - `tolerance`: modes with $\sigma_j$ below it, relative to $\sigma_1$, count as null.
        """
        values = self._values(function)
        inside = self.modes[:, : self.rank(tolerance)].T @ (self.shares[:, None] * values)
        share = (inside**2).sum(axis=0) / (self.shares @ values**2)
        return share if np.ndim(function) > 1 else share[0]

    def identified_part(self, function, tolerance: float = 1e-9) -> Float[np.ndarray, "node ..."]:
        """The projection of a function (node, ...) on the row space; what is left of it is free."""
        values = self._values(function)
        modes = self.modes[:, : self.rank(tolerance)]
        part = modes @ (modes.T @ (self.shares[:, None] * values))
        return part.reshape(np.shape(function))

    def free_part(self, function, tolerance: float = 1e-9) -> Float[np.ndarray, "node ..."]:
        """The projection of a function (node, ...) on the null space: added to g it changes no drift."""
        return np.asarray(function, float) - self.identified_part(function, tolerance)

    def at(self, e, count: int) -> Float[np.ndarray, "neuron mode"]:
        r"""The first `count` modes at any embedding: $\psi_j(e)=\frac1{\sigma_j}\langle\chi_j,\phi(h_e)\rangle$."""
        e = np.asarray(e.array if isinstance(e, Embedding) else e, float)
        if count > self.rank(1e-12):
            raise ValueError(
                f"count: expected at most the {self.rank(1e-12)} modes that are not null, got {count}"
            )
        weighted = self.images[:, :count] / (self.values[:count] * len(self.states))
        total = np.zeros((len(e), count))
        for start in range(0, len(self.states), _BLOCK):
            part = slice(start, start + _BLOCK)
            rates = _rates(e, self.states[part], self.inputs[part], self.bias, self.activation)
            total += rates.T @ weighted[part]
        return total

    def information(
        self, noise: float, *, steps: int | None = None, size: float = 1.0
    ) -> Float[np.ndarray, " mode"]:
        r"""$\sigma_j^2 s_0^2 T/s^2$: by how much the data's precision on each mode exceeds the prior's.

        - `noise`: s, standard deviation of one coordinate of one measured drift $Y_t$; `steps`: T, how many there are
          (the states by default); `size`: $s_0$, prior standard deviation of the coefficient of a mode.
        """
        noise, size = _noise(noise), checks.positive("size", size)
        steps = len(self.states) if steps is None else checks.count("steps", steps)
        return (self.values * size / noise) ** 2 * steps

    def degrees_of_freedom(self, noise: float, **options) -> float:
        r"""$\mathrm{df}=\mathrm{tr}\,K(K+\lambda I)^{-1}$ with $K=\mathcal T\mathcal T^*$, $\lambda=s^2/(s_0^2T)$; options as `information`."""
        gain = self.information(noise, **options)
        return float((gain / (1 + gain)).sum())

    def identified(self, noise: float, **options) -> Bool[np.ndarray, " mode"]:
        """Modes whose posterior standard deviation is at most a tenth of their prior's; options as `information`."""
        return self.information(noise, **options) >= _IDENTIFIED

    def _values(self, function):
        if np.shape(function)[:1] != (len(self.nodes),):
            raise ValueError(
                f"function: expected a value at each of the {len(self.nodes)} nodes, got shape {np.shape(function)}"
            )
        checks.finite("function", np.asarray(function, float))
        return np.asarray(function, float).reshape(len(self.nodes), -1)


def spectrum(
    embedding,
    states,
    inputs=None,
    *,
    activation: Activation = "tanh",
    nodes: int = 64,
    modes: int | None = None,
) -> Spectrum:
    r"""The singular system of $\mathcal T$ for an embedding distribution, an activation and explored states.

    **Arguments**

    - `embedding`: a `GaussianMixture` with at most three embedding coordinates, integrated by Gauss-Hermite
      quadrature; or an `Embedding` whose neurons are samples of p(e).
    - `states`: (state, rank), or (trial, time, rank); `inputs`: None, or of the same leading axes.
    - `nodes`: of the quadrature, for each coordinate and component.
    - `modes`: how many to keep; all by default.

    Computed in float64, through a QR decomposition that takes the states in blocks: small singular values are right to
    about 1e-14 of the largest, and memory does not grow with the recording.

    **Raises** `ValueError` for an embedding without variance, fewer distinct states than `modes`, a mixture of more
    than three coordinates.

    Source: Kim et al. (2026), arXiv:2603.26506, section 3, for the operator; the singular system is ours.

    >>> from lrcore import systems
    >>> found = spectrum(systems.ring(), systems.grid(12), nodes=16)
    >>> float(found.captured(found.nodes[:, 0]).round(3)), float(found.captured(found.nodes[:, 0] ** 2).round(3))
    (1.0, 0.0)
    """
    e, shares, rank, bias = _nodes(embedding, nodes)
    if not isinstance(states, np.ndarray):
        states = np.asarray(states)
    states = checks.array("states", states, ("...", "rank"), sizes={"rank": rank})
    states = np.asarray(states, float)
    n_inputs = e.shape[1] - rank - bias
    if inputs is None:
        inputs = np.zeros((*states.shape[:-1], n_inputs))
    inputs = checks.array("inputs", inputs, ("...", "input"), sizes={"input": n_inputs})
    if inputs.shape[:-1] != states.shape[:-1]:
        raise ValueError(f"inputs: expected one for each state, {states.shape[:-1]}, got {inputs.shape[:-1]}")
    states = states.reshape(-1, rank)
    inputs = np.asarray(inputs, float).reshape(len(states), n_inputs)
    spread = np.sqrt(shares @ (e - shares @ e) ** 2)
    if not (spread > 1e-9 * np.abs(e).max()).any():
        raise ValueError(
            f"embedding: expected neurons that differ, got {len(e)} alike: all that dynamics determine is the sum of n"
        )
    if modes is not None:
        modes = checks.count("modes", modes)
        distinct = len(np.unique(np.concatenate([states, inputs], axis=1), axis=0))
        if distinct < modes:
            raise ValueError(
                f"states: expected at least as many distinct states as modes, {modes}, got {distinct}: at most {distinct} "
                "modes can be computed on them"
            )
    triangle = np.zeros((0, len(e)))
    root = np.sqrt(shares / len(states))
    for start in range(0, len(states), _BLOCK):
        part = slice(start, start + _BLOCK)
        block = _rates(e, states[part], inputs[part], bias, activation) * root
        triangle = np.linalg.qr(np.concatenate([triangle, block]), mode="r")
    _, values, right = np.linalg.svd(triangle, full_matrices=False)
    right = right[:modes].T
    values = values[:modes]
    images = np.zeros((len(states), len(values)))
    inverse = np.divide(1, values, out=np.zeros_like(values), where=values > 1e-15 * values[0])
    for start in range(0, len(states), _BLOCK):
        part = slice(start, start + _BLOCK)
        block = _rates(e, states[part], inputs[part], bias, activation)
        images[part] = (block * np.sqrt(shares)) @ right * inverse
    return Spectrum(
        e, shares, states, inputs, values, right / np.sqrt(shares)[:, None], images, bias, activation
    )


def _nodes(embedding, nodes: int) -> tuple[np.ndarray, np.ndarray, int, bool]:
    """Where p(e) is evaluated, and with which weights."""
    if isinstance(embedding, Embedding):
        e = np.asarray(embedding.array, float)
        return e, np.full(len(e), 1 / len(e)), embedding.rank, embedding.d is not None
    if not isinstance(embedding, GaussianMixture):
        raise TypeError(
            f"embedding: expected an lr.Embedding or an lr.GaussianMixture, got {type(embedding).__name__}"
        )
    width = embedding.width
    if width > 3:
        raise ValueError(
            f"embedding: expected at most three coordinates for quadrature, got {width}: sample it, "
            "p.sample(key, 2000).embedding"
        )
    x, w = np.polynomial.hermite_e.hermegauss(checks.count("nodes", nodes, least=2))
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*[x] * width, indexing="ij")], axis=1)
    w = np.prod([axis.ravel() for axis in np.meshgrid(*[w / w.sum()] * width, indexing="ij")], axis=0)
    points, shares = [], []
    for share, mean, covariance in zip(
        *(np.asarray(part, float) for part in (embedding.weights, embedding.means, embedding.covariances)),
        strict=True,
    ):
        points.append(mean[:width] + grid @ np.linalg.cholesky(covariance[:width, :width]).T)
        shares.append(share * w)
    # Nodes of no weight (below 1e-40 of a Gaussian's) would only cost time, and divide by zero.
    points, shares = np.concatenate(points), np.concatenate(shares)
    keep = shares > 1e-40
    return points[keep], shares[keep] / shares[keep].sum(), embedding.rank, embedding.bias


def _rates(e, states, inputs, bias, activation) -> np.ndarray:
    """phi(h), (state, node) in float64."""
    rank = states.shape[1]
    h = states @ e[:, :rank].T
    if inputs.shape[1]:
        h = h + inputs @ e[:, rank : rank + inputs.shape[1]].T
    if bias:
        h = h + e[:, -1]
    with x64():
        rates = np.asarray(resolve(activation)(jax.numpy.asarray(h)))
    if not np.isfinite(rates).all():
        raise FloatingPointError(
            "rates are not finite on these states: the activation overflows; check units"
        )
    return rates


def _noise(noise) -> float:
    if noise is None:
        raise ValueError(
            "noise: expected the standard deviation of one measured drift, got None: the residual of lr.maxent.fit, or "
            "the spread between repeats; without it only the spectrum can be computed"
        )
    return checks.positive("noise", noise)


class Report(eqx.Module):
    r"""What a data set determines of $g(e)=\E[n\mid e]$, in numbers; made by `report`, prints as a short table.

    - `spectrum`: the operator on the visited states, the neurons as samples of p(e).
    - `information`: (mode,), how many times the data's precision exceeds the prior's; `noise`, `size`: s and $s_0$.
    - `rank`: coordinates of n, each with the same modes. `added`: modes that become identified with inputs, or None.
    """

    spectrum: Spectrum
    information: Float[np.ndarray, " mode"]
    noise: float
    size: float
    rank: int
    added: int | None

    @property
    def modes(self) -> int:
        """Identified modes: posterior standard deviation at most a tenth of the prior's."""
        return int((self.information >= _IDENTIFIED).sum())

    @property
    def degrees_of_freedom(self) -> float:
        """df, of one coordinate of n."""
        return float((self.information / (1 + self.information)).sum())

    def __repr__(self) -> str:
        n, states = len(self.spectrum.nodes), self.spectrum.states
        spread = " x ".join(f"{s:.2g}" for s in states.std(axis=0))
        lines = [
            f"neurons      {n:,}: {n * self.rank:,} weights n, {self.rank} a neuron",
            f"visited      {len(states):,} states, standard deviation {spread}; noise {self.noise:.3g} a step",
            f"determined   {self.rank * self.modes} numbers: {self.modes} functions of e for each of the {self.rank} "
            "coordinates of n",
            f"             to a tenth of their prior ({self.size:.3g}) or better; {self.degrees_of_freedom:.1f} degrees of "
            "freedom each",
            "free         all other functions of e; spread, clusters and tails of n given e",
        ]
        if self.added is not None:
            lines.append(f"inputs       varied beside the states, would add {self.rank * self.added} numbers")
        return "\n".join(lines)


def report(
    latents,
    embedding: Embedding,
    *,
    noise: float,
    inputs=None,
    lengths=None,
    activation: Activation = "tanh",
    size: float = 1.0,
    candidates=None,
) -> Report:
    r"""How many numbers about the connectivity a data set determines.

    **Arguments**

    - `latents`: (trial, time, rank) or (state, rank); `lengths`: (trial,) valid times, all by default.
    - `embedding`: of the recorded neurons.
    - `noise`: standard deviation of one coordinate of one measured drift $Y_t=(z_{t+1}-(1-\alpha)z_t)/\alpha$; for a fit,
      the residual of `lr.maxent.fit`.
    - `inputs`: (..., input) that were given; zero by default.
    - `size`: $s_0$, prior standard deviation of the coefficient of a mode, in the unit of n.
    - `candidates`: (..., input) that could be given with the same states, to see what they would add.

    **Raises** `ValueError` for a missing or non-positive noise, inputs for an embedding without b, shapes that disagree.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> net = systems.ring().sample(jr.key(0), 200)
    >>> report(systems.trajectories(net, points=4), net.embedding, noise=0.1)
    neurons      200: 400 weights n, 2 a neuron
    visited      1,616 states, standard deviation ...
    determined   ... numbers: ... functions of e for each of the 2 coordinates of n
    ...
    """
    noise = _noise(noise)
    latents = np.asarray(latents)
    keep = np.ones(latents.shape[:-1], bool)
    if latents.ndim == 3:
        valid = checks.lengths(lengths, *latents.shape[:2])
        keep = np.arange(latents.shape[1])[None] < valid[:, None]
    elif lengths is not None:
        raise ValueError(f"lengths: expected none for states without trials, got shape {np.shape(lengths)}")

    def visited(u, name):
        if u is None:
            return None
        u = checks.array(name, u, ("...", "input"), sizes={"input": embedding.n_inputs})
        if u.shape[:-1] != keep.shape:
            raise ValueError(
                f"{name}: expected leading axes {keep.shape}, as the latents, got {u.shape[:-1]}"
            )
        return np.asarray(u)[keep]

    states = latents[keep]
    found = spectrum(embedding, states, visited(inputs, "inputs"), activation=activation)
    information = found.information(noise, size=size)
    added = None
    if candidates is not None:
        other = spectrum(embedding, states, visited(candidates, "candidates"), activation=activation)
        more = int(other.identified(noise, size=size).sum())
        added = more - int((information >= _IDENTIFIED).sum())
    return Report(found, information, noise, float(size), embedding.rank, added)


class Partner(ConnectivityDistribution):
    r"""Another distribution with the same population drift: $n'=n+q(e)+\xi$ with $\mathcal Tq=0$ and $\E[\xi\mid e]=0$.

    Made by `null_space_partner`.

    - `base`: the distribution of (m, b, d, n). `spectrum`: $\mathcal T$ on the states where the drift is kept.
    - `kind`: of $\xi$: "clusters" ($\pm$ `size` in each coordinate) or "tails" (Student's t, two degrees of freedom).
    - `frequency`: (embedding, rank) and `removed`: (mode, rank), the two parts of q.
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

    def change(self, e) -> Float[np.ndarray, "neuron rank"]:
        """q(e) at embeddings (neuron, embedding), in float64."""
        e = np.asarray(e.array if isinstance(e, Embedding) else e, float)
        return _wave(e, self.frequency, self.size) - self.spectrum.at(e, len(self.removed)) @ self.removed

    def sample(self, key, n_neurons, *, activation: Activation | None = None, tau: float = 1.0):
        base_key, noise_key = jax.random.split(key)
        activation = activation or self.spectrum.activation
        network = self.base.sample(base_key, n_neurons, activation=activation, tau=tau)
        shape = (network.n_neurons, network.rank)
        n = (
            np.asarray(network.n)
            + self.change(network.embedding)
            + self.size * _noise_of(self.kind, noise_key, shape)
        )
        e = network.embedding
        return LowRankNetwork(e.m, n.astype(np.float32), e.b, e.d, activation=activation, tau=tau)

    def conditional_mean(self, e):
        e = self._embedding(e)
        change = self.change(np.asarray(e).reshape(-1, self.width)).reshape(*e.shape[:-1], self.rank)
        return self.base.conditional_mean(e) + change.astype(np.float32)


def null_space_partner(
    network: LowRankNetwork | GaussianMixture,
    states=None,
    inputs=None,
    *,
    key: PRNGKeyArray,
    kind: str = "clusters",
    size: float = 4.0,
    activation: Activation = "tanh",
    tolerance: float = 1e-9,
):
    r"""The counterexample machine: other weights n, the same dynamics.

    **Arguments**

    - `network`: a `LowRankNetwork`, whose neurons keep their embedding and get $n'=n+P\,\xi$, with P the projection on what
      its own drift does not see; or a `GaussianMixture`, for a `Partner` with the same population drift.
    - `states`, `inputs`: where the drift is kept; by default 2,000 states in the cube of half side 2.4, no inputs.
    - `kind`: of what is added: "clusters" ($\pm$ `size`) or "tails" (Student's t with two degrees of freedom).
    - `size`: its scale. `tolerance`: singular values below it, relative to the first, count as null.

    For a network the activation is its own. The change of the drift is at most about `tolerance` times the size of n.

    **Raises** `ValueError` for an unknown kind, and where the drift determines everything at this tolerance.

    Source: ours.

    >>> import jax.random as jr, numpy as np
    >>> from lrcore import flowfield, systems
    >>> net = systems.ring().sample(jr.key(0), 500)
    >>> other = null_space_partner(net, key=jr.key(1))
    >>> bool(np.std(other.n) > 1.5 * np.std(net.n)), flowfield.drift_error(other.drift, net.drift, systems.grid(9)) < 1e-5
    (True, True)
    """
    if kind not in ("clusters", "tails"):
        raise ValueError(f"kind: expected 'clusters' or 'tails', got {kind!r}")
    size = checks.positive("size", size)
    if states is None:
        from scipy.stats import qmc

        states = EXTENT * (2 * qmc.Sobol(network.rank, seed=0).random(2048) - 1)
    if isinstance(network, LowRankNetwork):
        found = spectrum(network.embedding, states, inputs, activation=network.activation)
        if found.rank(tolerance) >= network.n_neurons:
            raise ValueError(
                f"network: its drift determines all {network.n_neurons} weights at tolerance {tolerance:g}: take more "
                "neurons, or a larger tolerance"
            )
        change = found.free_part(size * _noise_of(kind, key, network.n.shape), tolerance)
        n = np.asarray(network.n, float) + change
        e = network.embedding
        return LowRankNetwork(e.m, n, e.b, e.d, activation=network.activation, tau=network.tau)
    found = spectrum(network, states, inputs, activation=activation, nodes=24)
    frequency = 1.5 * np.asarray(jax.random.normal(key, (network.width, network.rank)), float)
    wave = _wave(found.nodes, frequency, size)
    kept = found.modes[:, : found.rank(tolerance)]
    removed = kept.T @ (found.shares[:, None] * wave)
    return Partner(
        network, found, frequency, removed, kind, size, network.rank, network.n_inputs, network.bias
    )


def _wave(e, frequency, size):
    """A function of e with parts of both parities."""
    return size * np.cos(e @ frequency + np.pi / 4)


def _noise_of(kind: str, key, shape) -> np.ndarray:
    """Clusters at -1 and 1, or Student's t with two degrees of freedom."""
    if kind == "clusters":
        return np.asarray(jax.random.rademacher(key, shape, np.float32), float)
    return np.asarray(jax.random.t(key, 2.0, shape), float)
