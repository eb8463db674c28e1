"""Cell types: labelled parts of a population, and what a recording says of each."""

from collections.abc import Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from . import checks
from .activation import Activation
from .checks import ArrayLike, x64
from .distributions import ConnectivityDistribution, GaussianMixture
from .modes import rates
from .network import LowRankNetwork, states


class CellTypes(ConnectivityDistribution):
    r"""A population of labelled types, $p(e,n)=\sum_c\pi_c\,p_c(e,n)$.

    $$F(z)=\sum_c\pi_c\,\mathbb E_{p_c}[g_c(e)\,\phi],\qquad
      g(e)=\sum_c p(c\mid e)\,g_c(e)$$

    **Arguments**

    - `parts`: the law $p_c$ of each type, by its label; of one rank, number of inputs and bias.
    - `shares`: $\pi_c$ by label; they sum to 1.

    **Raises** `ValueError` for labels that differ, shares that are not positive or do not sum to 1, and parts
    that disagree.

    Source: Beiran et al. (2021), Neural Computation 33, 1572; Dubreuil et al. (2022), Nature Neuroscience 25.

    >>> one = lambda m: GaussianMixture([1.0], [[m, 1.0]], [[[1.0, 0.0], [0.0, 1.0]]])
    >>> p = CellTypes({"E": one(0.0), "I": one(3.0)}, {"E": 0.8, "I": 0.2})
    >>> p.labels, p.drift(jnp.ones(1)).shape
    (('E', 'I'), (1,))
    """

    joint: GaussianMixture
    parts: tuple[GaussianMixture, ...]
    shares: Float[Array, " type"]
    labels: tuple[str, ...] = eqx.field(static=True)
    rank: int = eqx.field(static=True)
    n_inputs: int = eqx.field(static=True)
    bias: bool = eqx.field(static=True)

    def __init__(self, parts: Mapping[str, GaussianMixture], shares: Mapping[str, float]):
        if not parts or set(parts) != set(shares):
            raise ValueError(
                f"shares: expected one for each of the types {sorted(parts)}, got those of {sorted(shares)}"
            )
        self.labels, self.parts = tuple(parts), tuple(parts.values())
        pi = np.array([checks.positive(f"shares[{label!r}]", shares[label]) for label in self.labels])
        if abs(pi.sum() - 1) > 1e-6:
            raise ValueError(
                f"shares: expected probabilities that sum to 1, got the sum {pi.sum():g} of {dict(shares)}: "
                "divide by it, or add the type that is missing"
            )
        kinds = {(part.rank, part.n_inputs, part.bias) for part in self.parts}
        if len(kinds) > 1:
            raise ValueError(
                f"parts: expected one rank, number of inputs and bias, got {sorted(kinds)}: give all types "
                "the same columns"
            )
        self.rank, self.n_inputs, self.bias = kinds.pop()
        self.shares = jnp.asarray(pi)
        self.joint = GaussianMixture(
            np.concatenate([share * np.asarray(p.weights) for share, p in zip(pi, self.parts, strict=True)]),
            np.concatenate([p.means for p in self.parts]),
            np.concatenate([p.covariances for p in self.parts]),
            rank=self.rank,
            n_inputs=self.n_inputs,
            bias=self.bias,
        )

    def __repr__(self) -> str:
        shares = np.asarray(self.shares)
        some = ", ".join(f"{label} {pi:.3g}" for label, pi in zip(self.labels[:8], shares[:8], strict=True))
        what = f"rank {self.rank}, {self.n_inputs} inputs, {'with' if self.bias else 'without'} biases"
        return f"CellTypes: {some}{', ...' * (len(self.labels) > 8)} of the neurons; {what}"

    def of(self, label: str) -> GaussianMixture:
        """The law of a type; its `conditional_mean` is $g_c$.

        **Raises** `ValueError` for an unknown label.
        """
        if label not in self.labels:
            raise ValueError(f"label: expected one of {', '.join(self.labels)}, got {label!r}")
        return self.parts[self.labels.index(label)]

    def sample(
        self, key: PRNGKeyArray, n_neurons: int, *, activation: Activation = "tanh", tau: float = 1.0
    ) -> LowRankNetwork:
        """A network of `n_neurons` independent draws, whose labels are forgotten: see `sample_labelled`."""
        return self.sample_labelled(key, n_neurons, activation=activation, tau=tau)[0]

    def sample_labelled(
        self, key: PRNGKeyArray, n_neurons: int, *, activation: Activation = "tanh", tau: float = 1.0
    ) -> tuple[LowRankNetwork, np.ndarray]:
        r"""A network, and the label of each neuron (neuron,). The counts are $N\pi_c$, rounded."""
        n_neurons = checks.count("n_neurons", n_neurons, least=len(self.labels))
        ends = np.round(n_neurons * np.cumsum(np.asarray(self.shares, float))).astype(int)
        counts = np.diff(ends, prepend=0)
        keys = jr.split(key, len(counts))
        nets = [p.sample(k, max(int(c), p.rank)) for k, p, c in zip(keys, self.parts, counts, strict=True)]
        x = [
            jnp.concatenate([net.embedding.array, net.n], axis=1)[:c]
            for net, c in zip(nets, counts, strict=True)
        ]
        return self._network(jnp.concatenate(x), activation, tau), np.repeat(self.labels, counts)

    def log_prob(self, m: ArrayLike, b: ArrayLike, d: ArrayLike, n: ArrayLike) -> Float[Array, "..."]:
        """Log-density (nats), without the label."""
        return self.joint.log_prob(m, b, d, n)

    def conditional_mean(self, e: ArrayLike) -> Float[Array, "... rank"]:
        r"""$g(e)=\sum_c p(c\mid e)\,g_c(e)$: what the drift sees where labels are not told apart by e."""
        return self.joint.conditional_mean(e)

    def drift(
        self, z: ArrayLike, u: ArrayLike | None = None, *, activation: Activation = "tanh"
    ) -> Float[Array, "... rank"]:
        """The sum of the types' drifts, each times its share."""
        return self.joint.drift(z, u, activation=activation)

    def posterior(self, e: ArrayLike) -> Float[Array, "... type"]:
        r"""$p(c\mid e)$, in the order of `labels`."""
        logs = [
            jnp.log(share) + p.embedding_log_prob(e) for share, p in zip(self.shares, self.parts, strict=True)
        ]
        return jax.nn.softmax(jnp.stack(logs, axis=-1), axis=-1)


def labelled(
    labels: Sequence[str] | np.ndarray, n_neurons: int, known: Sequence[str] | None = None
) -> np.ndarray:
    """Labels (neuron,), checked against the number of neurons and against the labels that are known.

    **Raises** `ValueError` for another length, and for an unknown label, by its first neuron.

    >>> labelled(["E", "E", "I"], 3).tolist()
    ['E', 'E', 'I']
    """
    found = np.asarray(labels)
    if found.shape != (n_neurons,):
        raise ValueError(
            f"labels: expected one for each of {n_neurons} neurons, got shape {found.shape}: give them in "
            "the order of the neurons"
        )
    wrong = [] if known is None else np.flatnonzero(~np.isin(found, list(known)))
    if len(wrong):
        raise ValueError(
            f"labels: expected only {', '.join(map(str, known or ()))}, got {str(found[wrong[0]])!r} of "
            f"neuron {wrong[0]}"
        )
    return found


def separated(
    network: LowRankNetwork,
    labels: Sequence[str] | np.ndarray,
    z: ArrayLike,
    u: ArrayLike | None = None,
    *,
    silenced: Sequence[str] = (),
    tolerance: float = 1e-3,
) -> dict[str, float]:
    r"""How much of each type's own part of the drift a recording determines: 1 for all, 0 for nothing.

    $$\frac{\|P\,(X\,\mathbf 1_c)^\top\|^2}{\|X\,\mathbf 1_c\|^2},\qquad X_{ti}=\phi(h_i(t))$$

    with P the projection on the rows of X, those of the intact network and those with a type silenced. The
    drift is a sum over types: it shows $g_c$ apart from the others only as far as the rates of type c alone
    are combinations of rates that were recorded. Labels by themselves add unknowns, and no equation.

    **Arguments**

    - `network`, `labels`: the neurons and the type of each, (neuron,). `z`, `u`: visited states (state, rank)
      and inputs (state, input).
    - `silenced`: types whose silencing was recorded too, at the same states.
    - `tolerance`: singular values of X below this part of the largest do not count.

    **Returns** the share by label.

    **Raises** `ValueError` for labels of another length, and for unknown ones in `silenced`.

    Source: ours.

    >>> from lrcore import systems
    >>> net = systems.ring().sample(jr.key(0), 200)
    >>> labels = np.where(np.arange(200) < 100, "E", "I")
    >>> before = separated(net, labels, systems.grid(9))
    >>> after = separated(net, labels, systems.grid(9), silenced=["I"])
    >>> before["E"] < 0.9 < 0.999 < after["E"]
    True
    """
    labels = labelled(labels, network.n_neurons)
    known = np.unique(labels)
    for label in silenced:
        if label not in known:
            raise ValueError(f"silenced: expected types among {', '.join(known)}, got {label!r}")
    e = network.embedding
    z, u = states(z, u, e.rank, e.n_inputs)
    with x64():
        x = np.asarray(rates(e.array, z, u, bias=e.d is not None, activation=network.activation), float)
    rows = np.concatenate([x, *(np.where(labels == label, 0.0, x) for label in silenced)])
    _, values, right = np.linalg.svd(rows, full_matrices=False)
    right = right[values > tolerance * values[0]]
    found = {}
    for label in known:
        own = np.where(labels == label, x, 0.0)
        found[str(label)] = float(np.sum((own @ right.T) ** 2) / np.sum(own**2))
    return found
