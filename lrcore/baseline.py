"""What a neuron fires without the latents: a slow drift over trials times a course in time."""

import numpy as np
from jaxtyping import Float

from . import checks
from .recording import Recording

_WIDTHS = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, np.inf)


def fit(
    recording: Recording, *, train=None, slow: bool = True, cosines: int = 10, rounds: int = 2
) -> Float[np.ndarray, "trial time neuron"]:
    r"""Expected counts a bin of every trial, time and neuron, $C_{ist}=\lambda_{is}\,f_i(t)$, learned from training trials.

    $\lambda_{is}$ is a mean over neighbouring training trials with Gaussian weights, trial s itself left out, of a width in trials that
    makes left-out counts most likely, for each neuron; $\log f_i$ is a sum of raised cosines of log time (Poisson regression).
    Trials are taken in the order of the recording.

    **Arguments**

    - `train`: indices or mask (trial,) of the trials to learn from; all by default. The others are predicted.
    - `slow`: False for the time course alone. `cosines`: number of them; 0 for a constant.

    **Raises** `ValueError` for fewer than ten training trials or a neuron that is silent in all of them.

    Source: raised cosines: Pillow et al. (2008), Nature 454, 995.

    >>> import jax.random as jr
    >>> from lrcore.datasets import clicks_session
    >>> fit(clicks_session(jr.key(0), n_trials=40).recording).shape
    (40, 100, 80)
    """
    if recording.spikes is None:
        raise ValueError("recording: expected spikes, got rates")
    trials, time, neurons = recording.spikes.shape
    chosen = np.zeros(trials, bool)
    chosen[slice(None) if train is None else np.asarray(train)] = True
    if chosen.sum() < 10:
        raise ValueError(f"train: expected at least ten trials, got {chosen.sum()}")
    mask = recording.mask
    counts = recording.spikes.astype(float)
    by_trial, by_time = counts.sum(axis=1), np.einsum("stn,s->tn", counts, chosen * 1.0)
    silent = by_trial[chosen].sum(axis=0) == 0
    if silent.any():
        raise ValueError(
            f"recording: expected neurons that spike in the training trials, got {silent.sum()} silent of {neurons}: "
            "leave them out with recording.select_neurons"
        )
    basis = _cosines(time, recording.bin_width, checks.count("cosines", cosines, least=0))
    course = np.ones((time, neurons))
    level = np.tile(by_trial[chosen].sum(axis=0) / recording.lengths[chosen].sum(), (trials, 1))
    for _ in range(rounds):
        if basis.shape[1]:
            exposure = np.einsum("st,sn->tn", mask * chosen[:, None], level)
            course = _course(basis, by_time, exposure)
        exposure = mask.astype(float) @ course
        level = _levels(by_trial, exposure, chosen) if slow else _constant(by_trial, exposure, chosen)
    return (level[:, None] * course[None]).astype(np.float32)


def _cosines(time: int, bin_width: float, count: int):
    """Raised cosines of log time (time, cosine), evenly spaced, narrow early and wide late."""
    if not count:
        return np.zeros((time, 0))
    at = np.log(np.arange(time) * bin_width + 0.03)
    centres = np.linspace(at[0], at[-1], count)
    width = (centres[1] - centres[0]) * 2 if count > 1 else at[-1] - at[0]
    phase = np.clip((at[:, None] - centres) * np.pi / width, -np.pi, np.pi)
    return (1 + np.cos(phase)) / 2


def _course(basis, counts, exposure):
    """exp(basis w) for each neuron by Newton's method, Poisson with a weak prior on w."""
    weights = np.zeros((basis.shape[1], counts.shape[1]))
    prior = 1.0 * np.eye(basis.shape[1])
    for _ in range(15):
        expected = exposure * np.exp(np.clip(basis @ weights, -5, 5))
        gradient = basis.T @ (counts - expected) - prior @ weights
        curvature = np.einsum("tk,tn,tl->nkl", basis, expected, basis) + prior
        weights += np.clip(np.linalg.solve(curvature, gradient.T[..., None])[..., 0].T, -1, 1)
    return np.exp(np.clip(basis @ weights, -5, 5))


def _constant(counts, exposure, chosen):
    level = counts[chosen].sum(axis=0) / exposure[chosen].sum(axis=0)
    return np.tile(level, (len(counts), 1))


def _levels(counts, exposure, chosen):
    """(trial, neuron) from neighbouring training trials, the width of each neuron by the left-out likelihood."""
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
