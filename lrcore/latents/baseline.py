"""What a neuron fires without the latents: a slow drift over trials times a course in time."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .. import checks
from ..checks import ArrayLike
from ..recording import Recording

_WIDTHS = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, np.inf)


def fit(
    recording: Recording,
    *,
    train: ArrayLike | None = None,
    slow: bool = True,
    cosines: int = 10,
    rounds: int = 2,
) -> Float[np.ndarray, "trial time neuron"]:
    r"""Expected counts a bin of every trial, time and neuron, $C_{ist}=\lambda_{is}\,f_i(t)$, learned from
    training trials.

    $\lambda_{is}$ is a mean over neighbouring training trials with Gaussian weights, trial s itself left out,
    of a width in trials that makes left-out counts most likely, for each neuron; $\log f_i$ is a sum of
    raised cosines of log time (Poisson regression). Trials are taken in the order of the recording.

    **Arguments**

    - `train`: indices or mask (trial,) of the trials to learn from; all by default. The others are predicted.
    - `slow`: False for the time course alone. `cosines`: number of them; 0 for a constant.

    **Raises** `ValueError` for fewer than ten training trials or a neuron that is silent in all of them.

    Source: raised cosines: Pillow et al. (2008), Nature 454, 995.

    >>> import jax.random as jr
    >>> from lrcore.recording import clicks_session
    >>> fit(clicks_session(jr.key(0), n_trials=40).recording).shape
    (40, 100, 80)
    """
    trials, time, neurons = recording.counts.shape
    chosen = _training(recording, train)
    mask = recording.mask
    counts = recording.counts.astype(float)
    by_trial, by_time = counts.sum(axis=1), np.einsum("stn,s->tn", counts, chosen * 1.0)
    silent = by_trial[chosen].sum(axis=0) == 0
    if silent.any():
        raise ValueError(
            f"recording: expected neurons that spike in the training trials, got {silent.sum()} silent of "
            f"{neurons}: leave them out with recording.select_neurons"
        )
    basis = _cosines(time, recording.bin_width, checks.count("cosines", cosines, least=0))
    course = np.ones((time, neurons))
    level = np.tile(by_trial[chosen].sum(axis=0) / recording.lengths[chosen].sum(), (trials, 1))
    for _ in range(rounds):
        if basis.shape[1]:
            exposure = np.einsum("st,sn->tn", mask * chosen[:, None], level)
            weights = _regression(*(jnp.asarray(x, jnp.float32) for x in (basis, by_time, exposure)), 1.0)
            course = np.exp(np.clip(basis @ np.asarray(weights, float).T, -5, 5))
        exposure = mask.astype(float) @ course
        level = _levels(by_trial, exposure, chosen) if slow else _constant(by_trial, exposure, chosen)
    return (level[:, None] * course[None]).astype(np.float32)


def click_history(
    inputs: ArrayLike, bin_width: float, *, cosines: int = 8, longest: float = 0.6
) -> Float[np.ndarray, "trial time feature"]:
    """Inputs seen through raised cosines of the log time since: regressors of a GLM.

    - `inputs`: (trial, time, input). `longest`: seconds that are looked back. One feature for each input and
      cosine.

    Source: Pillow et al. (2008), Nature 454, 995.

    >>> click_history(np.ones((3, 50, 2)), 0.01).shape
    (3, 50, 16)
    """
    inputs = np.asarray(checks.array("inputs", inputs, ("trial", "time", "input")), np.float32)
    trials, time, n_inputs = inputs.shape
    kernels = _cosines(max(2, min(time, round(longest / bin_width))), bin_width, cosines).astype(np.float32)
    lag = np.arange(time)[:, None] - np.arange(time)
    seen = np.where(
        ((lag >= 0) & (lag < len(kernels)))[..., None], kernels[np.clip(lag, 0, len(kernels) - 1)], 0
    )
    return np.einsum("tsk,nsi->ntik", seen, inputs, optimize=True).reshape(trials, time, n_inputs * cosines)


def regress(
    recording: Recording,
    level: ArrayLike,
    features: ArrayLike,
    *,
    train: ArrayLike | None = None,
    prior: float = 10.0,
) -> Float[np.ndarray, "trial time neuron"]:
    r"""Expected counts $C_{ist}\,e^{w_i\cdot x_{st}+w_{i0}}$: a baseline times what features explain, by
    Poisson regression on training trials.

    **Arguments**

    - `level`: C (trial, time, neuron), of `fit`. `features`: x (trial, time, feature), of all trials;
      `prior`: precision of w.

    **Raises** `ValueError` for features of another shape.

    >>> import jax.random as jr
    >>> from lrcore.recording import clicks_session
    >>> data = clicks_session(jr.key(0), n_trials=40).recording
    >>> regress(data, fit(data), click_history(data.inputs, 0.01)).shape
    (40, 100, 80)
    """
    sizes = dict(zip(("trial", "time"), recording.mask.shape, strict=True))
    features = np.asarray(checks.array("features", features, ("trial", "time", "feature"), sizes=sizes))
    chosen = recording.mask & _training(recording, train)[:, None]
    centre = features[chosen].mean(axis=0)
    x = jnp.asarray(np.column_stack([features[chosen] - centre, np.ones(chosen.sum())]), jnp.float32)
    y, c = (jnp.asarray(part[chosen], jnp.float32) for part in (recording.counts, level))
    w = np.asarray(_regression(x, y, c, prior))
    return level * np.exp(np.clip((features - centre) @ w[:, :-1].T + w[:, -1], -5, 5))


@jax.jit
def _regression(x, y, c, prior):
    """Weights w (neuron, feature) of the Poisson means c exp(w . x) by Newton's method, neuron by neuron."""
    penalty = prior * jnp.eye(x.shape[1])

    def one(parts):
        y, c = parts

        def step(w, _):
            expected = c * jnp.exp(jnp.clip(x @ w, -5, 5))
            gradient = x.T @ (y - expected) - penalty @ w
            curvature = (x * expected[:, None]).T @ x + penalty
            return w + jnp.clip(jnp.linalg.solve(curvature, gradient), -1, 1), None

        return jax.lax.scan(step, jnp.zeros(x.shape[1]), None, length=15)[0]

    return jax.lax.map(one, (y.T, c.T))


def _training(recording: Recording, train):
    chosen = np.zeros(recording.n_trials, bool)
    chosen[slice(None) if train is None else np.asarray(train)] = True
    if chosen.sum() < 10:
        raise ValueError(f"train: expected at least ten trials, got {chosen.sum()}")
    return chosen


def _cosines(time: int, bin_width: float, count: int):
    """Raised cosines of log time (time, cosine), evenly spaced, narrow early and wide late."""
    if not count:
        return np.zeros((time, 0))
    at = np.log(np.arange(time) * bin_width + 0.03)
    centres = np.linspace(at[0], at[-1], count)
    width = (centres[1] - centres[0]) * 2 if count > 1 else at[-1] - at[0]
    phase = np.clip((at[:, None] - centres) * np.pi / width, -np.pi, np.pi)
    return (1 + np.cos(phase)) / 2


def _constant(counts, exposure, chosen):
    level = counts[chosen].sum(axis=0) / exposure[chosen].sum(axis=0)
    return np.tile(level, (len(counts), 1))


def _levels(counts, exposure, chosen):
    """(trial, neuron) from neighbouring training trials, the width of each neuron by the left-out
    likelihood.
    """
    at = np.arange(len(counts))
    constant = _constant(counts, exposure, chosen)
    best = np.full(counts.shape[1], -np.inf)
    found = constant.copy()
    for width in _WIDTHS:
        weights = np.exp(-0.5 * ((at[:, None] - at[None]) / width) ** 2) * chosen[None]
        np.fill_diagonal(weights, 0.0)
        # One trial's worth of the overall mean keeps neighbours without spikes from saying never.
        typical = exposure[chosen].mean(axis=0)
        level = (weights @ counts + constant * typical) / (weights @ exposure + typical)
        expected = level * exposure
        likelihood = (counts * np.log(expected) - expected)[chosen].sum(axis=0)
        better = likelihood > best
        best = np.where(better, likelihood, best)
        found = np.where(better[None], level, found)
    return found
