"""What the order of trials may say, and what it may not: in an array they stand as somebody put them."""

import hashlib

import numpy as np
from jaxtyping import Float, Int

from ..recording import Recording

# Of a normal deviate: neighbours share their choice so often by chance in one of a thousand sessions.
_SORTED = 3.0


def session_order(recording: Recording) -> Float[np.ndarray, " trial"] | None:
    """The place of each trial in time (trial,), from 0 up, by `info["onsets"]`; None where the recording does
    not have them, or where they say nothing.
    """
    from scipy.stats import rankdata

    onsets = np.asarray(recording.info.get("onsets", np.nan))
    if onsets.shape != (recording.n_trials,) or onsets.dtype.kind not in "iuf":
        return None
    # As of clocks that start again in each trial.
    if not np.isfinite(onsets).all() or len(np.unique(onsets)) <= recording.n_trials / 2:
        return None
    return rankdata(onsets) - 1.0


def own_order(recording: Recording) -> Int[np.ndarray, " trial"]:
    """An order (trial,) of the trials that is the same however they stand: at random, but by what they are.

    Onsets, lengths, choices and the times of inputs decide; spikes only between trials that are alike in
    these.
    """
    mask, at = recording.mask, session_order(recording)
    driven = None if recording.inputs is None else recording.inputs != 0
    keys = []
    for k in range(recording.n_trials):
        inside = mask[k]
        known = [recording.lengths[k]]
        known += [part[k] for part in (at, recording.choices) if part is not None]
        known += [] if driven is None else [driven[k, inside]]
        keys.append((_digest(*known), _digest(recording.signal[k, inside].astype(np.float64))))
    return np.array(sorted(range(len(keys)), key=keys.__getitem__))


def folds(
    choices: Int[np.ndarray, " trial"] | None, n_trials: int, count: int
) -> list[Int[np.ndarray, " test"]]:
    """The test trials of each fold, each with its share of every choice; of trials in an order that means
    nothing.

    >>> [part.tolist() for part in folds(np.array([0, 1, 1, 0, 1, 1]), 6, 2)]
    [[0, 1, 4], [2, 3, 5]]
    """
    by_choice = np.arange(n_trials) if choices is None else np.argsort(choices, kind="stable")
    return [np.sort(by_choice[k::count]) for k in range(count)]


def follows_time(choices: Int[np.ndarray, " trial"], at: Float[np.ndarray, " trial"]) -> bool:
    """Whether neighbours in time share their choice far more often than chance has it, as in trials that were
    sorted by choice, or in blocks.

    >>> [follows_time(choices, np.arange(60.0)) for choices in (np.repeat([0, 1], 30), np.tile([0, 1], 30))]
    [True, False]
    """
    now = choices[np.argsort(at, kind="stable")]
    share = np.unique(choices, return_counts=True)[1] / len(now)
    squares, cubes = (share**2).sum(), (share**3).sum()
    # Mean and variance of the number of runs of any number of labels, many trials: Mood (1940).
    deviation = np.sqrt(max(squares**2 + squares - 2 * cubes, 1e-12) / len(now))
    return bool(np.mean(now[1:] == now[:-1]) - squares > _SORTED * deviation)


def drifts(recording: Recording, at: Float[np.ndarray, " trial"], chance: float = 0.05) -> bool:
    """Whether the rate of any neuron changes smoothly over trials (trial,) of the same choice, beyond what
    chance allows in a recording, all neurons together.
    """
    rates = recording.signal.sum(axis=1, dtype=np.float64) / recording.lengths[:, None]
    labels = np.zeros(len(rates)) if recording.choices is None else recording.choices
    own = (labels[:, None] == np.unique(labels)).astype(float)
    return bool(_chance(_course(at), own, rates).min() * rates.shape[1] < chance)


def without_course(
    odds: Float[np.ndarray, " trial"], choices: Int[np.ndarray, " trial"], at: Float[np.ndarray, " trial"]
) -> Float[np.ndarray, " trial"]:
    """Odds less a smooth course over trials, fitted together with a step from one choice to the other where
    that explains more than chance would (5 %): a drift that runs along with the choices says nothing of them.
    """
    course, ones = _course(at), np.ones((len(odds), 1))
    step = (choices == choices.max())[:, None]
    design = np.hstack([course, ones])
    if _chance(step, design, odds[:, None])[0] < 0.05:
        design = np.hstack([design, step])
    return odds - course @ np.linalg.lstsq(design, odds, rcond=None)[0][: course.shape[1]]


def _course(at) -> Float[np.ndarray, "trial 3"]:
    """A smooth course over trials: three powers of their place."""
    place = np.linspace(-1, 1, len(at))[np.argsort(np.argsort(at, kind="stable"))]
    return place[:, None] ** np.arange(1, 4)


def _chance(more, design, y) -> Float[np.ndarray, " column"]:
    """The probability that chance lets further regressors explain so much of each column of y: an F test."""
    from scipy.stats import f

    whole = np.hstack([design, more])
    least, left = (((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2).sum(axis=0) for x in (design, whole))
    spare = max(1, len(y) - whole.shape[1])
    ratio = (least - left) / more.shape[1] / np.maximum(left / spare, 1e-12 * least + 1e-300)
    return f.sf(ratio, more.shape[1], spare)


def _digest(*parts) -> bytes:
    return hashlib.blake2b(b"|".join(np.asarray(part).tobytes() for part in parts), digest_size=16).digest()
