"""The maximum-entropy conditional p(n | e): a ridge solve, its representer, and whole networks from its posterior."""

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
from .network import Embedding, LowRankNetwork

# Time steps whose features are held at once: 4,096 of 1,000 neurons are 33 MB in float64.
_BLOCK = 4096


class MaximumEntropy(eqx.Module):
    r"""The conditional of least structure that gives the dynamics: $p^*(n\mid e)=\mathcal N(\bar n(e),\sigma_0^2 I)$.

    $$\hat N=\arg\min\|Y-\tfrac1N X\hat N\|^2+\rho\|\hat N\|^2,\qquad
      \bar n(e)=\sum_t w_t\,\phi(m\cdot z_t+b\cdot u_t+d),\qquad w=\frac{Y-\frac1N X\hat N}{\rho N}$$

    with $X_{ti}=\phi(h_i(t))$ and $Y_t=(z_{t+1}-(1-\alpha)z_t)/\alpha$, an estimate of $F(z_t,u_t)$. Made by `fit`.

    - `embedding`, `n`: the neurons of the solve and their $\hat N$ (neuron, rank).
    - `states`, `inputs`, `weights`: $z_t$ (step, rank), $u_t$ (step, input) and $w_t$ (step, rank).
    - `ridge`: $\rho$; `ridges`, `held_out`, `accepted`: the path that was tried (empty for a given ridge), its error on
      held-out trials (mean square of one coordinate of $Y$), and how much above the best error is still accepted.

    Source: Kim et al. (2026), arXiv:2603.26506, section 3; the representer and the posterior are ours.
    """

    embedding: Embedding
    n: Float[np.ndarray, "neuron rank"]
    states: Float[np.ndarray, "step rank"]
    inputs: Float[np.ndarray, "step input"]
    weights: Float[np.ndarray, "step rank"]
    alpha: float
    ridge: float
    ridges: Float[np.ndarray, " ridge"]
    held_out: Float[np.ndarray, " ridge"]
    accepted: Float[np.ndarray, " ridge"]
    activation: Activation = eqx.field(static=True)

    def conditional_mean(self, e) -> Float[Array, "... rank"]:
        r"""$\bar n(e)$ at any embedding: an `Embedding` or an array (..., embedding) of the columns (m, b, d).

        Computed in float64 (the weights cancel), in the precision at hand inside a jit.
        """
        e = e.array if isinstance(e, Embedding) else e
        width = self.embedding.array.shape[1]
        e = checks.array("e", e, ("...", "embedding"), sizes={"embedding": width})
        flat = e.reshape(-1, width)
        phi = resolve(self.activation)
        precision = contextlib.nullcontext() if checks.is_traced(e) else x64()
        with precision:
            total = 0.0
            for z, u, w in _blocks(self.states, self.inputs, self.weights):
                total = total + _represent(flat, z, u, w, phi, self.embedding.d is not None)
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
        $\sigma_0^2\big(I+\tfrac{1}{\rho N^2}X^\top X\big)^{-1}$: where the dynamics constrain a direction the network
        obeys them, elsewhere it is free. Independent draws around $\bar n(e)$ would add drift noise of order $N^{-1/2}$.

        **Arguments**

        - `sigma`: prior standard deviation $\sigma_0$ of each weight.
        - `embedding`: neurons of the network, of any number; those of the fit by default.
        """
        embedding = embedding or self.embedding
        sigma = checks.positive("sigma", sigma, zero=True)
        ridge = self.ridge * self.embedding.n_neurons / embedding.n_neurons
        # The targets follow from the representer: Y = X n / N + rho N w.
        own = _features(self.embedding, self.activation)
        target = np.concatenate(
            [
                np.asarray(own(z, u)) @ self.n / len(self.n) + self.ridge * len(self.n) * w
                for z, u, w in _blocks(self.states, self.inputs, self.weights)
            ]
        )
        gram, cross = _accumulate(embedding, self.activation, self.states, self.inputs, target)
        values, vectors = _eigen(gram)
        noise = np.asarray(jax.random.normal(key, cross.shape), np.float64)
        strength = ridge * embedding.n_neurons**2
        mean = embedding.n_neurons * vectors @ ((vectors.T @ cross) / (values + strength)[:, None])
        draw = mean + sigma * vectors @ (noise / np.sqrt(1 + values / strength)[:, None])
        return LowRankNetwork(
            embedding.m,
            draw.astype(np.float32),
            embedding.b,
            embedding.d,
            activation=self.activation,
            tau=tau,
        )


def fit(
    latents,
    embedding: Embedding,
    *,
    inputs=None,
    lengths=None,
    alpha: float,
    activation: Activation = "tanh",
    drift=None,
    copies: int = 1,
    ridge: float | None = None,
    tolerance: float = 3e-4,
    folds: int = 5,
    progress: bool = False,
) -> MaximumEntropy:
    r"""The maximum-entropy conditional mean of n given e, from latent trajectories and the neurons' embedding.

    **Arguments**

    - `latents`: (trial, time, rank); steps from one time to the next are used, each trial on its own.
    - `embedding`: of the N neurons that stand for p(e).
    - `inputs`: (trial, time, input), or one step shorter; `inputs[:, t]` drives the step from t to t+1.
    - `lengths`: (trial,) valid times of each trial; all by default.
    - `alpha`: $\Delta t/\tau$, in (0, 1].
    - `drift`: (trial, time - 1, rank), estimates of $F(z_t,u_t)$ to take for Y. By default those of the latents. Where latents are
      noisy, their error enters X and Y together and Y looks predictable: by -(1 - alpha) / alpha times the error. Estimates whose
      errors are independent of those of `latents` average out: see `lr.rates.halves` and `lr.latents.StateSpaceFit.draws`.
    - `copies`: how often all trials stand one after another in `latents`, each time estimated otherwise; a trial and its copies are
      held out together.
    - `ridge`: $\rho$. By default the largest on a path whose error on held-out trials exceeds the best by no more than
      one standard error of the paired differences over trials, or by `tolerance` squared times the mean square of Y,
      whichever is larger: no more structure than the data ask for. Cross-validation alone would drive $\rho$ to zero on
      clean latents and fit the finite network's own noise.
    - `tolerance`: relative error of the drift that is not worth a smaller ridge. The default is for neurons that are the
      whole network, or nearly. N neurons that are a sample of a larger network give its drift only to about
      $N^{-1/2}$: set this then.
    - `folds`: parts into which the trials are cut to choose the ridge.

    Features and their Gram matrix are accumulated in float64 over blocks of time, so that memory does not grow with the
    length of the recording, and the system is solved through its eigenvectors (accurate to condition numbers of 1e10).

    **Raises** `ValueError` for shapes that disagree, fewer neurons than latents, an embedding whose m is
    rank-deficient, `alpha` outside (0, 1], a single trial where the ridge is to be chosen.

    Source: Kim et al. (2026), arXiv:2603.26506, section 3; the rule for the ridge is ours.

    >>> import jax.random as jr
    >>> from lrcore import systems
    >>> net = systems.ring().sample(jr.key(0), 200)
    >>> found = fit(systems.trajectories(net, points=5), net.embedding, alpha=0.1)
    >>> found.conditional_mean(net.embedding).shape
    (200, 2)
    """
    z, u, y, trial = transitions(latents, embedding, inputs=inputs, lengths=lengths, alpha=alpha)
    if drift is not None:
        y = _given_drift(drift, np.shape(latents), lengths)
    resolve(activation)
    tolerance = checks.positive("tolerance", tolerance, zero=True)
    folds, copies = checks.count("folds", folds, least=2), checks.count("copies", copies)
    n, n_trials = embedding.n_neurons, int(trial[-1]) + 1
    ridges = held_out = accepted = np.zeros(0)
    if ridge is not None:
        ridge = checks.positive("ridge", ridge)
        gram, cross = _accumulate(embedding, activation, z, u, y, progress)
        values, vectors = _eigen(gram)
    else:
        if n_trials < 2 * copies:
            raise ValueError(
                "latents: expected at least two trials to choose the ridge on held-out ones, got one: give `ridge`, or "
                "cut the recording into trials"
            )
        if n_trials % copies:
            raise ValueError(f"copies: expected a divisor of the {n_trials} trials, got {copies}")
        own = n_trials // copies
        fold = np.tile(np.random.default_rng(0).permutation(own) % min(folds, own), copies)
        rows = [np.flatnonzero(fold[trial] == k) for k in range(fold.max() + 1)]
        parts = [_accumulate(embedding, activation, z[r], u[r], y[r], progress) for r in rows]
        gram, cross = (sum(part[i] for part in parts) for i in (0, 1))
        values, vectors = _eigen(gram)
        ridges = values[-1] / n**2 * np.logspace(-13, 0, 53)
        errors = np.empty((n_trials, len(ridges)))
        for r, part in zip(rows, parts, strict=True):
            _held_out(
                errors,
                ridges,
                gram - part[0],
                cross - part[1],
                embedding,
                activation,
                z[r],
                u[r],
                y[r],
                trial[r],
            )
        errors = errors.reshape(copies, own, -1).mean(axis=0)
        ridge, held_out, accepted = _choose(ridges, errors, tolerance**2 * float(np.mean(y**2)))
    solution = n * vectors @ ((vectors.T @ cross) / (values + ridge * n**2)[:, None])
    features = _features(embedding, activation)
    fitted = [np.asarray(features(*block)) @ solution / n for block in _blocks(z, u)]
    weights = (y - np.concatenate(fitted)) / (ridge * n)
    return MaximumEntropy(
        embedding,
        solution,
        z,
        u,
        weights,
        float(alpha),
        float(ridge),
        ridges,
        held_out,
        accepted,
        activation,
    )


def transitions(latents, embedding: Embedding, *, inputs=None, lengths=None, alpha: float) -> tuple:
    r"""All steps of all trials: $z_t$ (step, rank), $u_t$ (step, input), $Y_t$ (step, rank), trial (step,), float64.

    Everything that is fitted to latents comes in by this door; see `fit` for the arguments and the errors.

    >>> import numpy as np
    >>> z, u, y, trial = transitions(np.zeros((3, 5, 1)), Embedding(np.ones((2, 1))), lengths=[5, 2, 3], alpha=0.1)
    >>> len(z), trial.tolist()
    (7, [0, 0, 0, 0, 1, 2, 2])
    """
    if not isinstance(embedding, Embedding):
        raise TypeError(
            f"embedding: expected an lr.Embedding, got {type(embedding).__name__}: lr.Embedding(m, b, d)"
        )
    if np.ndim(latents) == 2:
        latents = latents[None]
    latents = np.asarray(latents)
    n_time = latents.shape[1] if latents.ndim == 3 else 0
    valid = checks.lengths(lengths, len(latents), n_time) if latents.ndim == 3 else None
    if valid is not None:
        # Beyond a trial's length anything may stand, also NaN.
        inside = np.arange(n_time)[None, :] < valid[:, None]
        if not inside.all():
            latents = np.where(inside[..., None], latents, 0)
    latents = checks.array("latents", latents, ("trial", "time", "rank"), sizes={"rank": embedding.rank})
    alpha = checks.positive("alpha", alpha)
    if alpha > 1:
        raise ValueError(f"alpha: expected dt / tau in (0, 1], got {alpha}")
    spread = np.linalg.svd(np.asarray(embedding.m, np.float64), compute_uv=False)
    if spread[-1] <= 1e-6 * spread[0]:
        raise ValueError(
            f"embedding: expected m of full column rank {embedding.rank}, got singular values from {spread[0]:.3g} down to "
            f"{spread[-1]:.3g}: lower the rank of the latents"
        )
    if inputs is None:
        if embedding.n_inputs:
            raise ValueError(
                f"inputs: expected (trial, time, {embedding.n_inputs}), as the embedding has b, got None"
            )
        inputs = np.zeros((*latents.shape[:2], 0))
    elif not embedding.n_inputs:
        raise ValueError(
            f"inputs: expected none, as the embedding has no b, got shape {np.shape(inputs)}: leave them out, or give "
            "lr.Embedding(m, b, d) the neurons' input weights"
        )
    else:
        inputs = np.asarray(inputs)
        if inputs.ndim == 3 and inputs.shape[1] == n_time:
            inputs = inputs[:, :-1]
        if inputs.ndim == 3 and inputs.shape[:1] == latents.shape[:1] and inputs.shape[1] == n_time - 1:
            inputs = np.where(inside[:, 1:, None], inputs, 0)
        sizes = {"trial": len(latents), "time": n_time - 1, "input": embedding.n_inputs}
        inputs = checks.array("inputs", inputs, ("trial", "time", "input"), sizes=sizes)
        inputs = np.concatenate([inputs, np.zeros_like(inputs[:, :1])], axis=1)
    steps = np.arange(n_time - 1)[None, :] < (valid - 1)[:, None]
    here = latents[:, :-1][steps].astype(np.float64)
    following = latents[:, 1:][steps].astype(np.float64)
    trial = np.repeat(np.arange(len(latents)), valid - 1)
    return here, inputs[:, :-1][steps].astype(np.float64), (following - (1 - alpha) * here) / alpha, trial


def _given_drift(drift, shape, lengths) -> np.ndarray:
    """Estimates of the drift (step, rank), in the order of `transitions`."""
    trials, time, rank = shape if len(shape) == 3 else (1, *shape)
    drift = np.asarray(drift)
    drift = drift[None] if drift.ndim == 2 else drift
    steps = np.arange(time - 1)[None, :] < (checks.lengths(lengths, trials, time) - 1)[:, None]
    if drift.shape != (trials, time - 1, rank):
        raise ValueError(
            f"drift: expected the shape {(trials, time - 1, rank)} of (trial, time - 1, rank), got {drift.shape}"
        )
    drift = np.where(steps[..., None], drift, 0)
    return checks.array("drift", drift, ("trial", "time", "rank"))[steps].astype(np.float64)


def x64():
    """A context in which jax computes in float64, whatever the global setting."""
    # The public name came with jax 0.8.
    enable = getattr(jax, "enable_x64", None)
    if not callable(enable):
        from jax.experimental import enable_x64 as enable
    return enable(True)


def _blocks(*arrays) -> Iterator[tuple]:
    for start in range(0, len(arrays[0]), _BLOCK):
        yield tuple(array[start : start + _BLOCK] for array in arrays)


def _features(embedding: Embedding, activation: Activation) -> Callable:
    """(z, u) -> phi(h) of a block of steps, (step, neuron) in float64."""
    parts = [
        None if part is None else np.asarray(part, np.float64)
        for part in (embedding.m, embedding.b, embedding.d)
    ]
    phi = resolve(activation)

    def features(z, u):
        with x64():
            return _rates(z, u, *parts, phi)

    return features


@eqx.filter_jit
def _rates(z, u, m, b, d, phi):
    h = z @ m.T
    if b is not None:
        h = h + u @ b.T
    if d is not None:
        h = h + jnp.broadcast_to(d, h.shape)
    return phi(h)


@eqx.filter_jit
def _represent(e, z, u, w, phi, bias):
    rank, inputs = z.shape[1], u.shape[1]
    e = e.astype(jnp.result_type(float))
    b = e[:, rank : rank + inputs] if inputs else None
    return _rates(z, u, e[:, :rank], b, e[:, rank + inputs] if bias else None, phi).T @ w


@eqx.filter_jit
def _products(z, u, y, m, b, d, phi):
    x = _rates(z, u, m, b, d, phi)
    return x.T @ x, x.T @ y


def _accumulate(embedding, activation, z, u, y, progress=False) -> tuple[np.ndarray, np.ndarray]:
    """X^T X (neuron, neuron) and X^T Y (neuron, rank) in float64."""
    parts = [
        None if part is None else np.asarray(part, np.float64)
        for part in (embedding.m, embedding.b, embedding.d)
    ]
    phi = resolve(activation)
    gram = cross = 0.0
    with x64():
        n_blocks = -(-len(z) // _BLOCK)
        # A bar that would be gone at once is not shown.
        shown = progress and n_blocks > 20
        blocks = tqdm(_blocks(z, u, y), total=n_blocks, desc="features", disable=not shown, leave=False)
        for block in blocks:
            products = _products(*block, *parts, phi)
            gram, cross = gram + products[0], cross + products[1]
        return np.asarray(gram), np.asarray(cross)


def _eigen(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not np.isfinite(gram).all():
        raise FloatingPointError(
            "rates of the embedding are not finite on these latents: the activation overflows; check units of m and z"
        )
    values, vectors = np.linalg.eigh(gram)
    return np.maximum(values, 0.0), vectors


def _held_out(errors, ridges, gram, cross, embedding, activation, z, u, y, trial) -> None:
    """Write the mean square error of each held-out trial on the whole path of ridges into its row of `errors`."""
    n = embedding.n_neurons
    values, vectors = _eigen(gram)
    # All solutions of the path side by side: (neuron, rank x ridge).
    shrunk = (vectors.T @ cross)[:, :, None] / (values[:, None] + ridges * n**2)[:, None, :]
    solutions = vectors @ shrunk.reshape(n, -1)
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
    return ridge, held_out, accepted
