"""Held-out evidence: what a state-space model says of neurons, trials and choices that it was not fitted
to.
"""

import warnings
from collections.abc import Sequence
from concurrent.futures import Executor

import equinox as eqx
import jax.random as jr
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from .. import checks
from ..checks import ArrayLike
from ..recording import Recording, duplicates
from . import baseline, fitting, order
from .fitting import StateSpaceFit


class Fold(eqx.Module):
    """One fold: the model of its training trials, and what it says of the test trials.

    - `train`, `test`: (trial,) indices. `fit`: `StateSpaceFit` of the training trials; `held`: the same model
      on the test trials, seeing all neurons.
    - `neurons`: (trial, time, neuron), expected counts a bin of the test trials, each group of neurons from
      the others; `inputs`: from the inputs alone; `level`: from the baseline.
    - `choice`: (trial,) log odds of the larger choice in the test trials, from the latent at their end;
      `choice_inputs`: from the latent that the inputs alone drive; None without two choices.
    """

    train: Int[np.ndarray, " training"]
    test: Int[np.ndarray, " trial"]
    fit: StateSpaceFit
    held: StateSpaceFit
    neurons: Float[np.ndarray, "trial time neuron"]
    inputs: Float[np.ndarray, "trial time neuron"] | None
    level: Float[np.ndarray, "trial time neuron"]
    choice: Float[np.ndarray, " trial"] | None
    choice_inputs: Float[np.ndarray, " trial"] | None

    def __repr__(self) -> str:
        return f"Fold: {len(self.train):,} trials to fit, {len(self.test):,} to test\n{self.fit!r}"


class Evaluation(eqx.Module):
    """Folds of a recording, made by `evaluate`, and their scores.

    - `scores`: by name, (fold,). Bits per spike over each neuron's mean rate in training trials: `"time"`, of
      the baseline; `"neurons"`, of neurons from others (co-smoothing); `"inputs"`, from the inputs alone.
      Areas under the ROC curve: `"choice"` and `"choice_inputs"`. Where trials next to one another in time
      share their choice far beyond chance (sorted, or in blocks) and rates drift, a smooth course over trials
      is taken from the odds first: a drift that runs along with the choices is no sign of them. When trials
      were, `info["onsets"]` says, or `slow=True`; without either the odds stay as they are.
    - `psth`: (neuron,) share of variance of the histograms by choice that the co-smoothed rates explain, test
      trials of all folds together.
    """

    folds: tuple[Fold, ...]
    scores: dict[str, Float[np.ndarray, " fold"]]
    psth: Float[np.ndarray, " neuron"]

    def __repr__(self) -> str:
        count = len(self.folds)
        rows = [f"{name:14} {np.mean(values):7.4f}" for name, values in self.scores.items()]
        if count > 1:
            errors = [np.std(values, ddof=1) / np.sqrt(count) for values in self.scores.values()]
            rows = [f"{row} +- {error:.4f}" for row, error in zip(rows, errors, strict=True)]
        return "\n".join(
            [
                f"{count} folds, mean and standard error" if count > 1 else "1 fold, of unknown error",
                *rows,
                f"{'PSTH R^2':14} {np.nanmedian(self.psth):7.3f}",
            ]
        )


def bits_per_spike(recording: Recording, expected: ArrayLike, reference: ArrayLike) -> float:
    r"""$\frac1{\log2}\big(\log p(y\mid\lambda)-\log p(y\mid\lambda_0)\big)$ per spike, Poisson, over the
    valid bins.

    **Arguments**

    - `expected`: $\lambda$ (trial, time, neuron), counts a bin; `reference`: $\lambda_0$, the same or
      (neuron,).

    **Raises** `ValueError` where either is negative, NaN or infinite, or 0 where there are spikes: such
    predictions have no Poisson score, and clipping them would make one up. Also for rates in Hz in place of
    counts a bin, or the other way round: all neurons off by the width of a bin; for a `reference` that is so
    far off that the neurons' own mean rates gain more than 1 bit per spike over it, or that all but excludes
    a neuron which spikes: any prediction would score well; and for a recording without spikes.

    >>> counts = np.random.default_rng(0).poisson(0.1, (20, 50, 3))
    >>> data = Recording(spikes=counts, bin_width=0.01)
    >>> bits_per_spike(data, np.full(counts.shape, 0.1), np.full(3, 0.2)) > 0
    True
    """
    y = recording.counts[recording.mask].astype(float)
    if not y.any():
        raise ValueError("recording: expected spikes to score, got none in the valid bins")
    for name, value in (("expected", expected), ("reference", reference)):
        _in_counts(name, _predicted(name, value, recording, y), y, recording.bin_width)
    _near_the_means(_predicted("reference", reference, recording, y), y)
    return _bits(recording, expected, reference)


def _bits(recording: Recording, expected, reference) -> float:
    y = recording.counts[recording.mask].astype(float)
    return _gain(
        y,
        _predicted("expected", expected, recording, y),
        _predicted("reference", reference, recording, y),
    )


def _gain(y, expected, reference) -> float:
    """Bits per spike of counts y over a reference."""
    # Without spikes only the expected counts matter.
    ratio = np.log(np.where(y > 0, expected, 1.0)) - np.log(np.where(y > 0, reference, 1.0))
    return float((y * ratio - expected + reference).sum() / y.sum() / np.log(2))


def _predicted(name: str, value, recording: Recording, y) -> Float[np.ndarray, "bin neuron"]:
    """Expected counts in the valid bins, in float64, refused where they have no Poisson score."""
    shape = recording.counts.shape
    kind = np.asarray(value).dtype
    if kind.kind not in "biuf":
        raise ValueError(f"{name}: expected real numbers, got {kind}")
    if np.ma.is_masked(value):
        value = value.astype(float).filled(np.nan)
    try:
        value = np.broadcast_to(np.asarray(value, np.float64), shape)[recording.mask]
    except ValueError:
        raise ValueError(
            f"{name}: expected the shape {shape} of (trial, time, neuron), or ({shape[2]},), got "
            f"{np.shape(value)}"
        ) from None
    kinds = {
        "NaN": np.isnan(value),
        "infinite": np.isinf(value),
        "negative": value < 0,
        "0 where there are spikes": (value == 0) & (y > 0),
    }
    bad = [f"{int(found.sum()):,} {kind}" for kind, found in kinds.items() if found.any()]
    if bad:
        raise ValueError(
            f"{name}: expected positive counts a bin, got {', '.join(bad)} of {value.size:,}: no Poisson "
            "process has these; give the model a positive read-out, such as softplus or exp"
        )
    return value


def _in_counts(name: str, value, y, bin_width: float) -> None:
    """Refuse predictions that are off by the width of a bin in every neuron that spikes."""
    spikes = y.sum(axis=0)
    off = value.sum(axis=0)[spikes > 0] / spikes[spikes > 0] * bin_width
    too_small = "if they were multiplied by bin_width already, leave them as they were"
    for ratio, advice in ((off, "if they are in Hz, multiply by bin_width"), (off / bin_width**2, too_small)):
        if bin_width <= 0.05 and spikes.sum() >= 10 and ((ratio > 0.5) & (ratio < 2)).all():
            raise ValueError(
                f"{name}: expected counts a bin, got {value.mean():.3g} on average where the recording has "
                f"{y.mean():.3g}, off by the bin width of {bin_width:g} s in every neuron: {advice}"
            )


def _near_the_means(reference, y) -> None:
    """Refuse a reference over which the mean rates of the same bins alone would have a high score."""
    spikes, said = y.sum(axis=0), reference.sum(axis=0)
    gain = _gain(y, np.broadcast_to(y.mean(axis=0), y.shape), reference)
    if (spikes.sum() >= 10 and gain > 1) or (said < 1e-6 * spikes).any():
        off = np.log(np.maximum(said, 1e-300) / np.maximum(spikes, 1))
        worst = int(np.abs(off).argmax())
        raise ValueError(
            "reference: expected counts a bin near each neuron's mean, got one over which these means alone "
            f"gain {gain:.3g} bits per spike; neuron {worst} has {spikes[worst]:.0f} spikes where it says "
            f"{said[worst]:.3g}: take recording.mean_rates * recording.bin_width of the training trials"
        )


def co_smoothing(
    found: StateSpaceFit, recording: Recording, level: ArrayLike, *, groups: int = 4
) -> Float[np.ndarray, "trial time neuron"]:
    """Expected counts a bin of every neuron from the others: neuron i is in group i modulo `groups`, and each
    is predicted from the rest. Units that are copies of one another, by
    `lr.recording.duplicates.groups` of the recording that was fitted, count as one: none predicts the other.

    - `level`: baseline of these trials, as for `lr.latents.infer`.

    **Raises** `ValueError` where all neurons are copies of one.
    """
    label = duplicates.groups(found.recording.signal, found.recording.lengths)
    distinct = int(label.max()) + 1
    if distinct < 2:
        raise ValueError(
            f"recording: expected neurons to predict one another, got {len(label)} that are all copies of one"
        )
    group = label % min(checks.count("groups", groups, least=2), distinct)
    expected = np.empty(recording.counts.shape, np.float32)
    for k in np.unique(group):
        seen = fitting.infer(found, recording, baseline=level, neurons=group != k)
        expected[:, :, group == k] = seen.rates()[:, :, group == k]
    return expected


def evaluate(
    recording: Recording,
    rank: int,
    *,
    key: PRNGKeyArray,
    folds: int = 5,
    only: Sequence[int] | None = None,
    slow: bool | None = None,
    groups: int = 4,
    executor: Executor | None = None,
    **options,
) -> Evaluation:
    """Fit a state-space model to each fold's training trials and score it on the others.

    In whatever order the trials stand, the scores are the same: folds are drawn by what a trial is (onset,
    length, choice, inputs; its spikes where trials are alike in these), each with its share of every choice.
    The baseline (`lr.latents.baseline.fit`) is learned from the training trials too.

    **Arguments**

    - `only`: folds to compute, all by default.
    - `slow`: whether the baseline has a slow drift over trials; by default if `info["onsets"]` says when they
      were. True without onsets vouches that the trials stand as they were recorded; the scores depend on
      that order then.
    - `executor`: a `concurrent.futures.Executor` on which the folds run; one after another by default.
    - `options`: of `lr.latents.fit`.

    **Raises** `ValueError` for rates, fewer than 20 trials, neurons without spikes in the training trials of
    a fold, and what `lr.latents.fit` raises. Warns where choices stand in blocks and rates change smoothly
    over the array, but nothing says that its order is that of time: the score of choices may be of a drift.

    >>> from lrcore.recording import clicks_session
    >>> data = clicks_session(jr.key(0), n_trials=60).recording
    >>> found = evaluate(data, 2, key=jr.key(1), folds=2, only=[0], iterations=3, progress=False)
    >>> sorted(found.scores)
    ['choice', 'choice_inputs', 'inputs', 'neurons', 'time']
    """
    if recording.spikes is None:
        raise ValueError("recording: expected spikes, got rates: bits per spike need counts")
    if recording.n_trials < 20:
        raise ValueError(
            f"recording: expected at least 20 trials to hold some out, got {recording.n_trials}: fit without "
            "folds, by lr.latents.fit"
        )
    count = checks.count("folds", folds, least=2)
    # What is computed sees the trials in an order of their own; the folds say where they stood.
    own = order.own_order(recording)
    mine, places = recording.trials(own), order.session_order(recording)
    if places is None and slow:
        places = np.arange(recording.n_trials, dtype=float)
    at = None if places is None or slow is False else places[own]
    tests = order.folds(mine.choices, mine.n_trials, count)
    chosen = range(count) if only is None else only
    jobs = []
    for k in chosen:
        train = np.setdiff1d(np.arange(mine.n_trials), tests[k])
        jobs.append((mine, rank, jr.fold_in(key, k), train, tests[k], at, groups, options))
    _spiking(mine, [job[3] for job in jobs])
    if executor is None:
        done = [_fold(*job) for job in jobs]
    else:
        done = [task.result() for task in [executor.submit(_fold, *job) for job in jobs]]
    done = [eqx.tree_at(lambda f: (f.train, f.test), one, (own[one.train], own[one.test])) for one in done]
    return Evaluation(tuple(done), score(recording, done, places), _psth(recording, done))


def score(
    recording: Recording, folds: Sequence[Fold], at: Float[np.ndarray, " trial"] | None = None
) -> dict[str, Float[np.ndarray, " fold"]]:
    """The scores of folds by name, see `Evaluation`; `at` is the place of each trial (trial,) in time, if
    known.
    """
    from sklearn.metrics import roc_auc_score

    drifting = _drifts_along(recording, at)
    if drifting and at is None:
        warnings.warn(
            "choices stand in blocks and rates change smoothly over the array, whose order is not known to "
            "be that of time: a drift may pass for a sign of the choices in their scores; give "
            'info["onsets"], or slow=True if trials stand as they were recorded',
            stacklevel=3,
        )
    odds = {name: _odds_of(folds, name) for name in ("choice", "choice_inputs")}
    if drifting and at is not None:
        odds = {
            name: said and _without_drift(said, folds, recording.choices, at) for name, said in odds.items()
        }
    rows = []
    for k, fold in enumerate(folds):
        test = recording.trials(fold.test)
        mean = recording.trials(fold.train).mean_rates * recording.bin_width
        row = {"time": fold.level, "neurons": fold.neurons, "inputs": fold.inputs}
        row = {name: _bits(test, x, mean) for name, x in row.items() if x is not None}
        for name, said in odds.items():
            if said is not None and test.choices is not None:
                row[name] = float(roc_auc_score(test.choices == test.choices.max(), said[k]))
        rows.append(row)
    return {
        name: np.array([row[name] for row in rows]) for name in rows[0] if all(name in row for row in rows)
    }


def _drifts_along(recording: Recording, at) -> bool:
    """Whether choices stand in blocks and rates drift over the places `at`, or over those in the array, where
    it takes more to say so.
    """
    chance, at = (0.001, np.arange(recording.n_trials, dtype=float)) if at is None else (0.05, at)
    choices = recording.choices
    return choices is not None and order.follows_time(choices, at) and order.drifts(recording, at, chance)


def _odds_of(folds: Sequence[Fold], name: str) -> list | None:
    """Log odds of each fold, (trial,) each; None where one has none."""
    odds = [getattr(fold, name) for fold in folds]
    return None if any(one is None for one in odds) else odds


def _without_drift(odds: list, folds: Sequence[Fold], choices, at) -> list:
    """Log odds of each fold less what a drift along with the choices puts into them."""
    tested = np.concatenate([fold.test for fold in folds])
    own = order.without_course(np.concatenate(odds), choices[tested], at[tested])
    return np.split(own, np.cumsum([len(one) for one in odds])[:-1])


def select(
    recording: Recording, candidates: Sequence[dict], *, key: PRNGKeyArray, score: str = "neurons", **options
) -> tuple[int, Float[np.ndarray, "candidate fold"]]:
    """Which options predict held-out neurons best: the first candidate within one paired standard error, over
    folds, of the best.

    **Arguments**

    - `candidates`: dictionaries of options of `evaluate`, rank included, the simplest first, such as
      `[{"rank": r, "nuisance": k} for r in (1, 2, 3) for k in (0, 2)]`.
    - `score`: one of the `scores` of `evaluate`. `options`: common to all.

    **Returns** the index of the candidate, and the scores (candidate, fold).

    >>> from lrcore.recording import clicks_session
    >>> data = clicks_session(jr.key(0), n_trials=60).recording
    >>> quick = {"folds": 2, "iterations": 3, "progress": False}
    >>> select(data, [{"rank": 2, "ridge": ridge} for ridge in (0.1, 0.01)], key=jr.key(1), **quick)[1].shape
    (2, 2)
    """
    found = np.array([evaluate(recording, key=key, **{**options, **one}).scores[score] for one in candidates])
    behind = found[found.mean(axis=1).argmax()] - found
    error = behind.std(axis=1, ddof=1) / np.sqrt(found.shape[1]) if found.shape[1] > 1 else 0.0
    return int((behind.mean(axis=1) <= error).argmax()), found


def _spiking(recording: Recording, trains) -> None:
    """Refuse neurons that some fold could not learn from, before anything is computed."""
    silent = np.flatnonzero(np.any([~recording.counts[train].any(axis=(0, 1)) for train in trains], axis=0))
    if len(silent):
        n = recording.n_neurons
        raise ValueError(
            f"recording: expected neurons that spike in the training trials of each fold, got {len(silent)} "
            f"of {n} that do not: leave them out, recording.select_neurons(np.delete(np.arange({n}), "
            f"{silent.tolist()}))"
        )


def _fold(recording, rank, key, train, test, at, groups, options) -> Fold:
    level = baseline.fit(recording, train=train, slow=False if at is None else at)
    fit = fitting.fit(recording.trials(train), rank, key=key, baseline=level[train], **options)
    return judge(fit, recording, train, test, level[test], groups=groups)


def judge(
    fit: StateSpaceFit, recording: Recording, train: ArrayLike, test, level: ArrayLike, *, groups: int = 4
) -> Fold:
    """What a fitted model says of the test trials; `level` is their baseline."""
    held_out = recording.trials(test)
    held = fitting.infer(fit, held_out, baseline=level)
    inputs = odds = odds_inputs = None
    choices = recording.choices
    decided = choices is not None and all(len(np.unique(choices[part])) == 2 for part in (train, test))
    if decided:
        odds = _odds(fit, held, choices[train])
    if recording.n_inputs:
        nobody = np.zeros(recording.n_neurons, bool)
        blind = fitting.infer(fit, held_out, baseline=level, neurons=nobody)
        inputs = _said(blind.rates(), level)
        if decided:
            blind_train = fitting.infer(fit, recording.trials(train), baseline=fit.baseline, neurons=nobody)
            odds_inputs = _odds(blind_train, blind, choices[train])
    neurons = _said(co_smoothing(fit, held_out, level, groups=groups), level)
    return Fold(np.asarray(train), np.asarray(test), fit, held, neurons, inputs, level, odds, odds_inputs)


def _said(expected, level) -> Float[np.ndarray, "trial time neuron"]:
    """Expected counts that have a score: the baseline where a drift ran away, and never below a millionth of
    it, where float32 has 0.
    """
    return np.where(np.isfinite(expected), np.maximum(expected, 1e-6 * level), level)


def _odds(fit: StateSpaceFit, held: StateSpaceFit, choices):
    """Log odds of the larger choice (trial,), by logistic regression on the decision at the end of a trial; 0
    where that is not finite.
    """
    from sklearn.linear_model import LogisticRegression

    ends = []
    for part in (fit, held):
        last = part.recording.lengths - 1
        ends.append(np.asarray(part.latents.z)[np.arange(len(last)), last])
    # A drift that runs away where no spikes hold it says nothing of that trial.
    kept, said = (np.isfinite(part).all(axis=1) for part in ends)
    odds = np.zeros(len(said))
    odds[said] = LogisticRegression().fit(ends[0][kept], choices[kept]).decision_function(ends[1][said])
    return odds


def _psth(recording: Recording, folds: Sequence[Fold]):
    """(neuron,) R^2 of the histograms by choice, causal Gaussian of 0.1 s."""
    tested = np.concatenate([fold.test for fold in folds])
    said = np.concatenate([fold.neurons for fold in folds]) / recording.bin_width
    seen = recording.trials(tested)
    labels = np.zeros(len(tested), int) if seen.choices is None else seen.choices
    model = eqx.tree_at(lambda r: (r.spikes, r.rates), seen, (None, said), is_leaf=lambda x: x is None)
    pairs = []
    for label in np.unique(labels):
        if (labels == label).sum() >= 5:
            pairs.append([part.psth(labels == label, sigma=0.1)[0] for part in (seen, model)])
    real, model = (np.concatenate(part) for part in zip(*pairs, strict=True))
    kept = np.isfinite(real).all(axis=1)
    left = ((real - model)[kept] ** 2).sum(axis=0)
    there = ((real[kept] - real[kept].mean(axis=0)) ** 2).sum(axis=0)
    return 1 - left / np.where(there > 0, there, np.nan)
