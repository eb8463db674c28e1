"""The maximum-entropy conditional p(n | e): a ridge solve, its representer, and whole networks from its
posterior.
"""

import contextlib
from collections.abc import Callable, Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from tqdm import tqdm

from . import checks
from .activation import Activation, resolve
from .checks import ArrayLike, x64
from .network import Embedding, LowRankNetwork, columns, population_rates
from .steps import Steps, given

# Steps whose features are held at once: 4,096 of 1,000 neurons are 33 MB in float64.
_BLOCK = 4096


class MaximumEntropy(eqx.Module):
    r"""The conditional of least structure that gives the dynamics:
    $p^*(n\mid e)=\mathcal N(\bar n(e),\sigma_0^2 I)$.

    $$\hat N=\arg\min\|Y-\tfrac1N X\hat N\|^2+\rho\|\hat N\|^2,\qquad
      \bar n(e)=\sum_t w_t\,\phi(m\cdot z_t+b\cdot u_t+d),\qquad w=\frac{Y-\frac1N X\hat N}{\rho N}$$

    with $X_{ti}=\phi(h_i(t))$ and $z_t,u_t,Y_t$ of `Steps`. Made by `fit`.

    - `steps`: what was regressed on. `weights`: $w_t$ (step, rank).
    - `embedding`, `n`: the neurons of the solve and their $\hat N$ (neuron, rank).
    - `ridge`: $\rho$; `ridges`, `held_out`, `accepted`: the path that was tried (empty for a given ridge),
      its error on held-out trials (mean square of one coordinate of $Y$), and how much above the best error
      is still accepted.

    Source: Kim et al. (2026), arXiv:2603.26506, section 3; the representer and the posterior are ours.
    """

    steps: Steps
    embedding: Embedding
    n: Float[np.ndarray, "neuron rank"]
    weights: Float[np.ndarray, "step rank"]
    ridge: float
    ridges: Float[np.ndarray, " ridge"]
    held_out: Float[np.ndarray, " ridge"]
    accepted: Float[np.ndarray, " ridge"]
    activation: Activation = eqx.field(static=True)

    @property
    def noise(self) -> float:
        """Standard deviation of one coordinate of one drift target around the fit: on held-out trials, where
        there were.
        """
        if len(self.held_out):
            return float(np.sqrt(self.held_out.min()))
        return float(self.ridge * len(self.n) * np.sqrt(np.mean(self.weights**2)))

    def conditional_mean(self, e: ArrayLike) -> Float[Array, "... rank"]:
        r"""$\bar n(e)$ at any embedding: an `Embedding` or an array (..., embedding) of the columns (m, b,
        d).

        Computed in float64 (the weights cancel), in the precision at hand inside a jit.
        """
        width = self.embedding.width
        e = columns(e, width)
        flat = e.reshape(-1, width)
        phi, bias = resolve(self.activation), self.embedding.d is not None
        precision = contextlib.nullcontext() if checks.is_traced(e) else x64()
        with precision:
            total = 0.0
            for z, u, w in _blocks(self.steps.z, self.steps.u, self.weights):
                total = total + _represent(flat, z, u, w, bias, phi)
        return jnp.asarray(total, jnp.float32).reshape(*e.shape[:-1], self.n.shape[1])

    def network(self, tau: float = 1.0) -> LowRankNetwork:
        r"""The neurons of the solve with their $\hat N$: the posterior mean network."""
        e = self.embedding
        return LowRankNetwork(e.m, self.n.astype(np.float32), e.b, e.d, activation=self.activation, tau=tau)

    def posterior(
        self, key: PRNGKeyArray, *, sigma: float = 1.0, embedding: Embedding | None = None, tau: float = 1.0
    ) -> LowRankNetwork:
        r"""One whole network from the posterior given the dynamics.

        The weights of its N neurons are drawn together, from a Gaussian with covariance
        $\sigma_0^2\big(I+\tfrac{1}{\rho N^2}X^\top X\big)^{-1}$: where the dynamics constrain a direction the
        network obeys them, elsewhere it is free. Independent draws around $\bar n(e)$ would add drift noise
        of order $N^{-1/2}$.

        **Arguments**

        - `sigma`: prior standard deviation $\sigma_0$ of each weight.
        - `embedding`: neurons of the network, of any number; those of the fit by default.
        """
        embedding = embedding or self.embedding
        sigma = checks.positive("sigma", sigma, zero=True)
        n = embedding.n_neurons
        ridge = self.ridge * self.embedding.n_neurons / n
        steps = self.steps
        gram, cross = _normal_equations(embedding, self.activation, steps.z, steps.u, steps.y)
        values, vectors = _eigen(gram)
        noise = np.asarray(jax.random.normal(key, cross.shape), np.float64)
        spread = vectors @ (noise / np.sqrt(1 + values / (ridge * n**2))[:, None])
        draw = (ridge_solution(values, vectors, cross, ridge) + sigma * spread).astype(np.float32)
        e = embedding
        return LowRankNetwork(e.m, draw, e.b, e.d, activation=self.activation, tau=tau)


def fit(
    steps: Steps,
    embedding: Embedding,
    *,
    activation: Activation = "tanh",
    ridge: float | None = None,
    tolerance: float = 3e-4,
    folds: int = 5,
    progress: bool = False,
) -> MaximumEntropy:
    r"""The maximum-entropy conditional mean of n given e, from measured drifts and the neurons' embedding.

    **Arguments**

    - `steps`: states, inputs and drift targets: `lr.steps(latents, alpha=...)`, or `.steps()` of what has
      latents.
    - `embedding`: of the N neurons that stand for p(e); with b exactly where the steps have inputs.
    - `ridge`: $\rho$. By default the largest on a path whose error on held-out trials exceeds the best by no
      more than one standard error of the paired differences over trials, or by `tolerance` squared times the
      mean square of Y, whichever is larger: no more structure than the data ask for. Cross-validation alone
      would drive $\rho$ to zero on clean latents and fit the finite network's own noise.
    - `tolerance`: relative error of the drift that is not worth a smaller ridge. The default is for neurons
      that are the whole network, or nearly. N neurons that are a sample of a larger network give its drift
      only to about $N^{-1/2}$: set this then.
    - `folds`: parts into which the trials are cut to choose the ridge; copies of a trial are held out
      together.

    Features and their Gram matrix are accumulated in float64 over blocks of time, so that memory does not
    grow with the length of the recording, and the system is solved through its eigenvectors (accurate to
    condition numbers of 1e10).

    **Raises** `TypeError` for anything but `Steps` and an `Embedding`; `ValueError` where these disagree in
    rank or inputs, for an embedding whose m is rank-deficient, and for a single trial where the ridge is to
    be chosen.

    Source: Kim et al. (2026), arXiv:2603.26506, section 3; the rule for the ridge is ours.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> from lrcore.steps import steps
    >>> net = systems.ring().sample(jr.key(0), 200)
    >>> found = fit(steps(systems.trajectories(net, points=5), alpha=0.1), net.embedding)
    >>> found.conditional_mean(net.embedding).shape
    (200, 2)
    """
    steps, embedding = matched(steps, embedding)
    resolve(activation)
    tolerance = checks.positive("tolerance", tolerance, zero=True)
    folds = checks.count("folds", folds, least=2)
    z, u, y, n = steps.z, steps.u, steps.y, embedding.n_neurons
    ridges = held_out = accepted = np.zeros(0)
    if ridge is not None:
        rho = checks.positive("ridge", ridge)
        gram, cross = _normal_equations(embedding, activation, z, u, y, progress)
        values, vectors = _eigen(gram)
    else:
        trial = np.unique(steps.trial, return_inverse=True)[1]
        n_trials = int(trial.max()) + 1
        if n_trials < 2:
            raise ValueError(
                "steps: expected at least two trials to choose the ridge on held-out ones, got one: give "
                "`ridge`, or cut the recording into trials"
            )
        fold = np.random.default_rng(0).permutation(n_trials) % min(folds, n_trials)
        rows = [np.flatnonzero(fold[trial] == k) for k in range(fold.max() + 1)]
        parts = [_normal_equations(embedding, activation, z[r], u[r], y[r], progress) for r in rows]
        gram, cross = (np.sum(part, axis=0) for part in zip(*parts, strict=True))
        values, vectors = _eigen(gram)
        ridges = values[-1] / n**2 * np.logspace(-13, 0, 53)
        errors = np.empty((n_trials, len(ridges)))
        for r, part in zip(rows, parts, strict=True):
            rest = (gram - part[0], cross - part[1])
            _held_out(errors, ridges, *rest, embedding, activation, z[r], u[r], y[r], trial[r])
        rho, held_out, accepted = _choose(ridges, errors, tolerance**2 * float(np.mean(y**2)))
    solution = ridge_solution(values, vectors, cross, rho)
    features = _features(embedding, activation)
    fitted = [np.asarray(features(*block)) @ solution / n for block in _blocks(z, u)]
    weights = (y - np.concatenate(fitted)) / (rho * n)
    return MaximumEntropy(steps, embedding, solution, weights, rho, ridges, held_out, accepted, activation)


def ridge_solution(
    values: ArrayLike, vectors, cross: ArrayLike, ridge
) -> Float[np.ndarray, "neuron rank ..."]:
    r"""$\hat N=N\,(X^\top X+\rho N^2 I)^{-1}X^\top Y$ from the eigenvalues (neuron,) and eigenvectors of
    $X^\top X$.

    - `cross`: $X^\top Y$ (neuron, rank). `ridge`: $\rho$, or a path of them (ridge,) for solutions (neuron,
      rank, ridge).

    >>> ridge_solution(np.ones(2), np.eye(2), np.ones((2, 1)), 0.25).tolist()
    [[1.0], [1.0]]
    """
    n, path = len(values), np.atleast_1d(ridge)
    shrunk = (vectors.T @ cross)[:, :, None] / (values[:, None] + path * n**2)[:, None, :]
    solutions = n * (vectors @ shrunk.reshape(n, -1)).reshape(*cross.shape, len(path))
    return solutions if np.ndim(ridge) else solutions[..., 0]


def matched(steps, embedding) -> tuple[Steps, Embedding]:
    """Steps and an embedding that go together: what is fitted comes in by this door; see `fit` for the
    errors.
    """
    steps = given(steps)
    if not isinstance(embedding, Embedding):
        raise TypeError(
            f"embedding: expected an lr.Embedding, got {type(embedding).__name__}: lr.Embedding(m, b, d)"
        )
    if embedding.rank != steps.rank:
        raise ValueError(
            f"embedding: expected m of rank {steps.rank}, that of the steps, got {embedding.rank}: are they "
            "of one fit?"
        )
    if embedding.n_inputs != steps.n_inputs:
        raise ValueError(
            f"steps: expected {embedding.n_inputs or 'no'} inputs, as the embedding has "
            f"{embedding.n_inputs or 'no'} columns of b, got {steps.n_inputs or 'none'}: give lr.steps the "
            "inputs and lr.Embedding(m, b, d) the neurons' input weights, or neither"
        )
    spread = np.linalg.svd(np.asarray(embedding.m, np.float64), compute_uv=False)
    if spread[-1] <= 1e-6 * spread[0]:
        raise ValueError(
            f"embedding: expected m of full column rank {embedding.rank}, got singular values from "
            f"{spread[0]:.3g} down to {spread[-1]:.3g}: lower the rank of the latents"
        )
    return steps, embedding


def _blocks(*arrays) -> Iterator[tuple]:
    for start in range(0, len(arrays[0]), _BLOCK):
        yield tuple(array[start : start + _BLOCK] for array in arrays)


def _features(embedding: Embedding, activation: Activation) -> Callable:
    """(z, u) -> phi(h) of a block of steps, (step, neuron) in float64."""
    e, bias, phi = np.asarray(embedding.array, np.float64), embedding.d is not None, resolve(activation)

    def features(z, u):
        with x64():
            return _rates(e, z, u, bias, phi)

    return features


@eqx.filter_jit
def _rates(e, z, u, bias, phi):
    return population_rates(e, z, u, bias=bias, phi=phi)


@eqx.filter_jit
def _represent(e, z, u, w, bias, phi):
    return population_rates(e.astype(jnp.result_type(float)), z, u, bias=bias, phi=phi).T @ w


def _normal_equations(embedding, activation, z, u, y, progress=False) -> tuple[np.ndarray, np.ndarray]:
    """X^T X (neuron, neuron) and X^T Y (neuron, rank) in float64."""
    features = _features(embedding, activation)
    # On a processor numpy's product of a matrix with itself takes a fourth of the time of jax's.
    lib = np if jax.default_backend() == "cpu" else jnp
    n_blocks = -(-len(z) // _BLOCK)
    # A bar that would be gone at once is not shown.
    shown = progress and n_blocks > 20
    gram, cross = np.zeros((embedding.n_neurons,) * 2), np.zeros((embedding.n_neurons, y.shape[1]))
    for *block, y_ in tqdm(_blocks(z, u, y), total=n_blocks, desc="features", disable=not shown, leave=False):
        # What overflows is refused later, in words.
        with x64(), np.errstate(over="ignore", invalid="ignore"):
            x = lib.asarray(features(*block))
            gram += np.asarray(x.T @ x)
            cross += np.asarray(x.T @ lib.asarray(y_))
    return gram, cross


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


def _held_out(errors, ridges, gram, cross, embedding, activation, z, u, y, trial) -> None:
    """Write the mean square error of each held-out trial on the whole path of ridges into its row of
    `errors`.
    """
    n = embedding.n_neurons
    # All solutions of the path side by side: (neuron, rank x ridge).
    solutions = ridge_solution(*_eigen(gram), cross, ridges).reshape(n, -1) / n
    features = _features(embedding, activation)
    squares = np.zeros((errors.shape[0], len(ridges)))
    for z_, u_, y_, trial_ in _blocks(z, u, y, trial):
        fitted = (np.asarray(features(z_, u_)) @ solutions).reshape(len(z_), y.shape[1], len(ridges))
        np.add.at(squares, trial_, ((y_[:, :, None] - fitted) ** 2).mean(axis=1))
    counts = np.bincount(trial, minlength=len(errors))
    mine = counts > 0
    errors[mine] = squares[mine] / counts[mine, None]


def _choose(ridges, errors, unseen: float) -> tuple[float, np.ndarray, np.ndarray]:
    """The largest ridge no worse than the best by a paired standard error, or by what is not worth seeing."""
    held_out = errors.mean(axis=0)
    best = int(held_out.argmin())
    excess = errors - errors[:, best : best + 1]
    accepted = np.maximum(excess.std(axis=0, ddof=1) / np.sqrt(len(errors)), unseen)
    ridge = ridges[np.flatnonzero(held_out - held_out[best] <= accepted)[-1]]
    return float(ridge), held_out, accepted
