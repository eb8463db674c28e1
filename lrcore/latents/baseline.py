"""What a neuron fires without the latents: a slow drift over trials times a course in time."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from .. import checks
from ..checks import ArrayLike
from ..recording import Recording
from .order import session_order
from .state_space import positive_baseline

_WIDTHS = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, np.inf)


def fit(
    recording: Recording,
    *,
    train: ArrayLike | None = None,
    slow: bool | ArrayLike = True,
    cosines: int = 10,
    rounds: int = 2,
) -> Float[np.ndarray, "trial time neuron"]:
    r"""Expected counts a bin of every trial, time and neuron, $C_{ist}=\lambda_{is}\,f_i(t)$, learned from
    training trials.

    $\lambda_{is}$ is a mean over neighbouring training trials with Gaussian weights, trial s itself left out,
    of a width in trials that makes left-out counts most likely, for each neuron; $\log f_i$ is a sum of
    raised cosines of log time (Poisson regression).

    Neighbours of each choice are averaged apart, and their means weighted by how frequent the choices are: a
    trial's place among trials sorted by choice does not say its choice.

    **Arguments**

    - `train`: indices or mask (trial,) of the trials to learn from; all by default. The others are predicted.
    - `slow`: False for the time course alone; or a number for each trial (trial,) that says their order in
      time. True takes it from `info["onsets"]`; without them, trials are taken as they stand.
    - `cosines`: number of them; 0 for a constant.

    **Raises** `ValueError` for fewer than ten training trials or neurons that are silent in all of them.

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
    silent = np.flatnonzero(by_trial[chosen].sum(axis=0) == 0)
    if len(silent):
        raise ValueError(
            f"recording: expected neurons that spike in the training trials, got {len(silent)} of {neurons} "
            f"that do not: leave them out, recording.select_neurons(np.delete(np.arange({neurons}), "
            f"{silent.tolist()}))"
        )
    at = _places(recording, slow)
    basis = _cosines(time, recording.bin_width, checks.count("cosines", cosines, least=0))
    course = np.ones((time, neurons))
    level = np.tile(by_trial[chosen].sum(axis=0) / recording.lengths[chosen].sum(), (trials, 1))
    for _ in range(rounds):
        if basis.shape[1]:
            exposure = np.einsum("st,sn->tn", mask * chosen[:, None], level)
            weights = _regression(*(jnp.asarray(x, jnp.float32) for x in (basis, by_time, exposure)), 1.0)
            course = np.exp(np.clip(basis @ np.asarray(weights, float).T, -5, 5))
        exposure = mask.astype(float) @ course
        if at is None:
            level = _constant(by_trial, exposure, chosen)
        else:
            level = _levels(by_trial, exposure, chosen, at, _kinds(recording, chosen))
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

    - `level`: C (trial, time, neuron), of `fit`. `features`: x (trial, time, feature), of all trials, in any
      unit; `prior`: precision of w for features of variance 1.

    **Raises** `ValueError` for features of another shape, or a baseline that is not positive.

    >>> import jax.random as jr
    >>> from lrcore.recording import clicks_session
    >>> data = clicks_session(jr.key(0), n_trials=40).recording
    >>> regress(data, fit(data), click_history(data.inputs, 0.01)).shape
    (40, 100, 80)
    """
    sizes = dict(zip(("trial", "time"), recording.mask.shape, strict=True))
    features = np.asarray(checks.array("features", features, ("trial", "time", "feature"), sizes=sizes))
    positive_baseline(level, recording)
    chosen = recording.mask & _training(recording, train)[:, None]
    seen = features[chosen].astype(np.float64)
    centre, size = seen.mean(axis=0), seen.std(axis=0)
    # What never changes says nothing, and stays at 0.
    size = np.where(size > 1e-6 * np.abs(centre), size, np.inf)
    x = jnp.asarray(np.column_stack([(seen - centre) / size, np.ones(len(seen))]), jnp.float32)
    y, c = (jnp.asarray(part[chosen], jnp.float32) for part in (recording.counts, level))
    w = np.asarray(_regression(x, y, c, prior), np.float64)
    beyond = (features - centre) / size
    return level * np.exp(np.clip(beyond @ w[:, :-1].T + w[:, -1], -5, 5))


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


def _places(recording: Recording, slow) -> Float[np.ndarray, " trial"] | None:
    """The place of each trial in time; None where there is to be no drift."""
    if isinstance(slow, bool | np.bool_):
        found = session_order(recording) if slow else None
        return np.arange(recording.n_trials, dtype=float) if slow and found is None else found
    slow = np.asarray(checks.array("slow", slow, ("trial",), sizes={"trial": recording.n_trials}))
    return np.argsort(np.argsort(slow, kind="stable")).astype(float)


def _kinds(recording: Recording, chosen) -> list[Bool[np.ndarray, " trial"]]:
    """The training trials of each choice that has ten or more of them, and those of all others together."""
    if recording.choices is None:
        return [chosen]
    parts = [chosen & (recording.choices == label) for label in np.unique(recording.choices)]
    kinds = [part for part in parts if part.sum() >= 10]
    rest = chosen & ~np.any([np.zeros_like(chosen), *kinds], axis=0)
    return [*kinds, rest] if rest.any() else kinds


def _levels(counts, exposure, chosen, at, kinds):
    """(trial, neuron) from neighbouring training trials of each kind, the width of each neuron by the
    left-out likelihood.
    """
    best = np.full(counts.shape[1], -np.inf)
    found = np.empty_like(counts)
    typical = exposure[chosen].mean(axis=0)
    for width in _WIDTHS:
        weights = np.exp(-0.5 * ((at[:, None] - at[None]) / width) ** 2)
        np.fill_diagonal(weights, 0.0)
        level = np.zeros_like(counts)
        for kind in kinds:
            share = kind.sum() / chosen.sum()
            own = counts[kind].sum(axis=0) / exposure[kind].sum(axis=0)
            # One trial's worth of the overall mean keeps neighbours without spikes from saying never. It is
            # that of the kind, or trials far from the other choice would be told from those near.
            near, prior = weights[:, kind], share * typical
            level += share * (near @ counts[kind] + own * prior) / (near @ exposure[kind] + prior)
        expected = level * exposure
        likelihood = (counts * np.log(expected) - expected)[chosen].sum(axis=0)
        better = likelihood > best
        best = np.where(better, likelihood, best)
        found = np.where(better[None], level, found)
    return found
