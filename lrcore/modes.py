"""The rates of the neurons at the visited steps, mode by mode, and the drift along each."""

import functools
from collections.abc import Iterator, Sequence

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float
from tqdm import tqdm

from .activation import Activation, resolve
from .checks import floats, x64
from .network import Embedding, population_rates
from .steps import Steps

# Steps whose rates are held at once: 4,096 of 1,000 neurons are 33 MB in float64.
_BLOCK = 4096
# Neurons up to which the whole matrix X^T X is decomposed.
_DENSE = 2000


class Modes(eqx.Module):
    r"""The rates of the neurons at the visited steps, mode by mode:
    $X_{ti}=\phi(h_i(t))=\sqrt N\sum_j\sqrt{\lambda_j}\,u_{tj}V_{ij}$, and the drift along each.

    - `values`: $\lambda_j$ (mode,), falling: the eigenvalues of $\frac1NXX^\top$. `neurons`: $V$ (neuron,
      mode).
    - `drift`: $c=u^\top Y$ (mode, rank). `rest`: $Y^\top Y-c^\top c$ (rank, rank), what of the drift lies
      outside all modes.
    - `steps`: T, how many independent measurements the sums above count for.
    """

    values: Float[np.ndarray, " mode"]
    neurons: Float[np.ndarray, "neuron mode"]
    drift: Float[np.ndarray, "mode rank"]
    rest: Float[np.ndarray, "rank rank"]
    steps: float

    @classmethod
    def of(cls, values, vectors, cross, power, steps: float) -> "Modes":
        """From eigenvalues (mode,) and eigenvectors (neuron, mode) of $X^\top X$, $X^\top Y$ and
        $Y^\top Y$.
        """
        values, vectors = values[::-1], vectors[:, ::-1]
        # Below this an eigenvalue of a sum of squares is rounding error.
        kept = values > 1e-14 * values[0]
        kept[int(steps) :] = False
        values, vectors = values[kept], vectors[:, kept]
        drift = vectors.T @ cross / np.sqrt(values)[:, None]
        return cls(values / len(vectors), vectors, drift, power - drift.T @ drift, steps)

    @property
    def relative(self) -> Float[np.ndarray, " mode"]:
        r"""$\lambda_j/\lambda_1$."""
        return self.values / self.values[0]

    def counted(self, share: float) -> "Modes":
        """The same modes, of which only a share of the steps are independent measurements."""
        return Modes(
            share * self.values,
            self.neurons,
            np.sqrt(share) * self.drift,
            share * self.rest,
            share * self.steps,
        )


def blocks(*arrays, size: int = _BLOCK) -> Iterator[tuple]:
    """The arrays' rows, as many at a time as are held at once."""
    for start in range(0, len(arrays[0]), size):
        yield tuple(array[start : start + size] for array in arrays)


def rates(e, z, u, *, bias: bool, activation: Activation) -> Float[Array, "step neuron"]:
    """phi(h) of neurons (neuron, embedding) at some steps, in float64."""
    with x64():
        parts = (floats(np.asarray(part, float)) for part in (e, z, u))
        return _rates(*parts, bias, resolve(activation))


@eqx.filter_jit
def _rates(e, z, u, bias, phi):
    return population_rates(e, z, u, bias=bias, phi=phi)


def measured(steps: Steps, embedding: Embedding, activation: Activation, *, progress: bool = False) -> Modes:
    """The singular system of the rates of an embedding's neurons on the steps, and the drift along it.

    The matrix of rates is never held whole, and of more than 2,000 neurons whose rates span fewer dimensions
    only these are decomposed.

    **Raises** `FloatingPointError` where the activation overflows, `ValueError` where every rate is 0.
    """
    e, n, bias = np.asarray(embedding.array, float), embedding.n_neurons, embedding.d is not None

    def of(z, u):
        return rates(e, z, u, bias=bias, activation=activation)

    # Directions of the neurons' space that are decomposed; None for all.
    basis = None
    if n > _DENSE:
        # The rates at some of the steps span those at all of them, where they span few dimensions.
        some = steps.thinned(2 * _DENSE)
        x = np.asarray(of(some.z, some.u))
        values, vectors = _eigen(x @ x.T)
        kept = values > 1e-15 * values[-1]
        if kept.sum() < 0.6 * min(n, len(x)):
            basis = np.linalg.qr(x.T @ vectors[:, kept])[0]
    gram, cross = products(
        e, steps, basis, bias=bias, activation=activation, devices=accelerators(), progress=progress
    )
    values, vectors = _eigen(gram)
    if basis is not None:
        vectors, cross = basis @ vectors, basis @ cross
    return Modes.of(values, vectors, cross, steps.y.T @ steps.y, float(len(steps)))


def accelerators() -> list[jax.Device] | None:
    """All of jax, or None on a processor, or where `jax.default_device` names one: there numpy's product of a
    matrix with itself takes a fourth of the time of jax's.
    """
    named = getattr(jax.config, "jax_default_device", None)
    return None if (getattr(named, "platform", named) or jax.default_backend()) == "cpu" else jax.devices()


def products(
    e,
    steps: Steps,
    basis=None,
    *,
    bias: bool,
    activation: Activation,
    devices: Sequence[jax.Device] | None = None,
    progress: bool = False,
) -> tuple[Float[np.ndarray, "column column"], Float[np.ndarray, "column rank"]]:
    r"""$X^\top X$ and $X^\top Y$ of the rates X of neurons (neuron, embedding), or of X times a `basis`
    (neuron, column), in float64 and block by block.

    - `devices`: each sums over its share of the steps, and what they have is fetched once, at the end; None:
      by numpy, here.
    """
    size, at_once = (len(e) if basis is None else basis.shape[1]), _BLOCK * len(devices or [None])
    n_blocks = -(-len(steps) // at_once)
    # A bar that would be gone at once is not shown.
    shown = progress and n_blocks > 20
    given = blocks(steps.z, steps.u, steps.y, size=at_once)
    bar = tqdm(given, total=n_blocks, desc="rates", disable=not shown, leave=False)
    # What overflows is refused later, in words.
    with x64(), np.errstate(over="ignore", invalid="ignore"):
        if devices is None:
            gram, cross = np.zeros((size, size)), np.zeros((size, steps.rank))
            for z, u, y in bar:
                x = np.asarray(rates(e, z, u, bias=bias, activation=activation))
                x = x if basis is None else x @ basis
                gram += x.T @ x
                cross += x.T @ y
            return gram, cross
        count = len(devices)
        mesh = Mesh(np.array(devices), ("device",))
        divided, everywhere = (NamedSharding(mesh, PartitionSpec(*axis)) for axis in (["device"], []))
        e, basis = jax.device_put((e, basis), everywhere)
        sums = jax.device_put((np.zeros((count, size, size)), np.zeros((count, size, steps.rank))), divided)
        # As long as the others, the last block too, or it would be compiled for anew.
        rows = min(_BLOCK, -(-len(steps) // count))
        for block in bar:
            parts = [np.asarray(part, float) for part in (*block, np.ones((len(block[0]), 1)))]
            parts = [np.pad(part, ((0, count * rows - len(part)), (0, 0))) for part in parts]
            parts = [part.reshape(count, rows, -1) for part in parts]
            sums = _added(sums, e, basis, jax.device_put(parts, divided), bias, resolve(activation))
        gram, cross = (np.asarray(part).sum(axis=0) for part in sums)
        return gram, cross


@functools.partial(jax.jit, static_argnums=(4, 5), donate_argnums=0)
def _added(sums, e, basis, block, bias, phi):
    """The sums (device, ...) with a block's steps (device, row, ...) added; a device needs its own only."""

    def one(gram, cross, z, u, y, inside):
        x = population_rates(e, z, u, bias=bias, phi=phi) * inside
        x = x if basis is None else x @ basis
        return gram + x.T @ x, cross + x.T @ y

    return jax.vmap(one)(*sums, *block)


def _eigen(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not np.isfinite(gram).all():
        raise FloatingPointError(
            "rates of the embedding are not finite on these latents: the activation overflows; check units "
            "of m and z"
        )
    if not gram.any():
        raise ValueError(
            "steps: expected states at which neurons have rates, got only such where every rate is 0: the "
            "drift there is 0 whatever n is"
        )
    values, vectors = np.linalg.eigh(gram)
    return np.maximum(values, 0.0), vectors
