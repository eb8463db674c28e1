"""What came in and what looks wrong with it, before any model."""

from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float, Int

from .. import checks
from . import duplicates

# Chance of a wrong word about change over trials, in a whole recording.
_LEVEL = 0.01
# Smooth courses over trials that are looked for: cosines of up to two periods; and the next ones, that say
# how much trials vary this slowly without a drift.
_COSINES, _NEXT = 4, 8
# Peak to peak over the session, as a share of the mean, or of half a standard deviation over trials.
_CHANGE = 0.25
# Fewer trials say nothing of their order.
_TRIALS = 20
# Spikes, or steps of a rate, below which nothing can be said of a neuron.
_FEW = 30
# Spikes that a silent end would have had, so that it is no accident.
_SILENT = 20
# Bins by which a repeated trial may be shifted.
_SHIFT = 3
# Fewer neurons may well spike together.
_MANY = 20
# A trial is unusual beyond this factor, and this number of robust standard deviations.
_FACTOR, _DEVIATIONS = 2.0, 6.0
# So many trials of one level far from the others are a condition rather than accidents.
_SHARED = 4
# How much more, or less, often neighbouring trials are of one condition than chance has it, as a share of
# the most possible.
_ORDER = 0.3
# Correlation of a typical pair of rates, beyond which they are one signal.
_ALIKE = 0.95
# Share of trials of the rarer choice.
_RARE = 0.1
# Lines of what is printed.
_LINES = 10


class Finding(NamedTuple):
    """One thing that looks wrong: its name, what was found, and what to do."""

    name: str
    found: str
    advice: str


class Report(eqx.Module):
    """What came in and what looks wrong, made by `recording.report()`. Prints what was found, a line each.

    - `findings`: `Finding`s, none where nothing looks wrong; `"jump" in report` asks for one by name.
    - `rates`: (neuron,), mean rates in Hz. `constant`: (neuron,), silent or constant neurons.
    - `groups`: (neuron,), the same number for copies of one neuron. `kept`: (neuron,), those worth keeping:
      not constant, and of copies the one with the highest rate.
    - `levels`: (trial, neuron), spikes relative to those that the neuron's mean course over the trial would
      have made; of rates, the mean distance from that course. `activity`: (trial,), the same of all neurons
      together; of rates, the root mean square of the median neuron, relative to the median trial.
    - `drifting`, `jumping`: (neuron,), whose level changes slowly over the session, or at trial `jump`, the
      first one afterwards, None without one.
    - `unusual`: (trial,), far more or less active than others, each in its own way; `leveled`: (trial,), far
      as well, but at a level that several share, as of a condition. `repeated`: (trial,), equal to an earlier
      one, of spikes also a few bins apart. `kept_trials`: (trial,), neither unusual nor repeated.
    - `silent`: (trial, 2), bins at the start and at the end in which nothing happens, where that is no
      accident.
    - `order`: by the name of a condition, how far neighbouring trials share it more (up to 1) or less (down
      to -1) than by chance.
    - `lengths`: (trial,), in seconds. `choices`: (trial,), or None.
    """

    findings: tuple[Finding, ...] = eqx.field(static=True)
    title: str = eqx.field(static=True)
    spikes: bool = eqx.field(static=True)
    rates: Float[np.ndarray, " neuron"]
    constant: Bool[np.ndarray, " neuron"]
    groups: Int[np.ndarray, " neuron"]
    kept: Bool[np.ndarray, " neuron"]
    levels: Float[np.ndarray, "trial neuron"]
    activity: Float[np.ndarray, " trial"]
    drifting: Bool[np.ndarray, " neuron"]
    jumping: Bool[np.ndarray, " neuron"]
    jump: int | None
    unusual: Bool[np.ndarray, " trial"]
    leveled: Bool[np.ndarray, " trial"]
    repeated: Bool[np.ndarray, " trial"]
    silent: Int[np.ndarray, "trial 2"]
    order: dict[str, float]
    lengths: Float[np.ndarray, " trial"]
    choices: Int[np.ndarray, " trial"] | None

    @property
    def kept_trials(self) -> Bool[np.ndarray, " trial"]:
        """Trials that are neither unusual nor repeated."""
        return ~self.unusual & ~self.repeated

    def __contains__(self, name: str) -> bool:
        return any(finding.name == name for finding in self.findings)

    def __repr__(self) -> str:
        if not self.findings:
            return f"{self.title}: nothing looks wrong"
        count = len(self.findings)
        shown = self.findings if count < _LINES else self.findings[: _LINES - 2]
        rows = [f"{one.name:10} {one.found}: {one.advice}" for one in shown]
        if rest := [one.name for one in self.findings[len(shown) :]]:
            rows.append(f"{'also':10} {', '.join(rest)}: see report.findings")
        return "\n".join([f"{self.title}: {count} found", *rows])


def examine(recording, *, tau=None) -> Report:
    """The report of a recording; see `Recording.report`."""
    signal, lengths, mask = recording.signal, recording.lengths, recording.mask
    spikes, width = recording.rates is None, recording.bin_width
    labels = recording.neurons or tuple(str(i) for i in range(recording.n_neurons))
    rates, constant = recording.mean_rates, recording.constant
    groups = duplicates.groups(signal, lengths)
    total = signal.sum(axis=1, dtype=np.float64)
    lasting = np.maximum(mask.sum(axis=0), 1)
    course = signal.sum(axis=0, dtype=np.float64) / lasting[:, None]
    usual = course.cumsum(axis=0)[lengths - 1]
    if spikes:
        levels = total / np.where(usual > 0, usual, 1)
        activity = total.sum(axis=1) / np.maximum(usual.sum(axis=1), 1e-12)
    else:
        levels = (total - usual) / lengths[:, None]
        activity = _size(signal, course, lengths)
    silent = _silent_ends(signal, lengths, spikes)
    unusual, leveled = _unusual(activity, usual.sum(axis=1) if spikes else None, silent.any(axis=1))
    drifting, jumping, jump = _changes(levels, usual if spikes else None, constant)
    repeated = _repeated(signal, lengths, spikes)
    order = _order(recording)
    findings = [
        *_of_neurons(recording, rates, constant, groups, labels),
        *_of_change(levels, drifting, jumping, jump, labels, spikes),
        *_of_trials(recording, silent, unusual, repeated),
        *_of_levels(activity, leveled),
        *_of_conditions(recording, order),
        *_of_bins(recording, labels, width, tau),
    ]
    # Of copies, the one with most spikes, or the first.
    best = np.lexsort((np.arange(len(rates)), -rates if spikes else np.zeros_like(rates)))
    kept = np.zeros(len(rates), bool)
    kept[best[np.unique(groups[best], return_index=True)[1]]] = True
    kind = "spikes" if spikes else "rates"
    title = f"Report: {kind} of {recording.n_neurons} neurons in {recording.n_trials} trials"
    return Report(
        tuple(findings),
        title,
        spikes,
        rates,
        constant,
        groups,
        kept & ~constant,
        levels,
        activity,
        drifting,
        jumping,
        jump,
        unusual,
        leveled,
        repeated,
        silent,
        order,
        lengths * width,
        recording.choices,
    )


# --- what is computed


def _size(signal, course, lengths):
    """Root mean square distance of the median neuron from its course (trial,), over the median trial."""
    away = np.array(
        [((signal[s, :n] - course[:n]) ** 2).mean(axis=0, dtype=np.float64) for s, n in enumerate(lengths)]
    )
    typical = np.median(away, axis=0)
    if not (typical > 0).any():
        return np.ones(len(away))
    found = np.sqrt(np.median((away / np.where(typical > 0, typical, 1))[:, typical > 0], axis=1))
    return found / max(np.median(found), 1e-300)


def _unusual(activity, expected, padded):
    """Trials far from the others, by a factor, and by robust standard deviations, of counts at least those of
    a Poisson number: the single ones, and those that share a level with several.
    """
    relative = np.maximum(activity / max(np.median(activity), 1e-300), 1e-6)
    if expected is None:
        away, least = np.log(relative), 0.0
    else:
        away, least = 2 * (np.sqrt(relative) - 1) * np.sqrt(expected), 1.0
    spread = max(1.4826 * np.median(np.abs(away - np.median(away))), least)
    far = (relative > _FACTOR) | (relative < 1 / _FACTOR)
    far &= np.abs(away) > _DEVIATIONS * spread
    shared = np.zeros_like(far)
    for side in (far & (away > 0) & ~padded, far & (away < 0) & ~padded):
        if side.sum() >= _SHARED:
            apart = np.abs(away - np.median(away[side]))
            if 1.4826 * np.median(apart[side]) < 3 * spread:
                shared |= side & (apart < _DEVIATIONS * spread)
    return far & ~shared, shared


def _ranks(values):
    """Ranks along the first axis, ties at their mean; centred, of a variance for which sums are z scores."""
    found = np.empty(values.shape)
    for i, column in enumerate(values.T):
        _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
        found[:, i] = (counts.cumsum() - (counts - 1) / 2)[inverse]
    found -= found.mean(axis=0)
    return found / np.maximum(np.sqrt((found**2).sum(axis=0) / (len(found) - 1)), 1e-12)


def _changes(levels, usual, constant):
    """Neurons that drift, neurons that jump, and the first trial afterwards, or None; `usual` is None for
    rates.

    Ranks of the levels, so that one trial cannot make a drift, are compared with smooth courses over trials
    and with a step at each of them. Where neighbours are not alike, these are nearly normal.
    """
    from scipy.special import chdtrc

    n_trials, n_neurons = levels.shape
    nothing = np.zeros(n_neurons, bool)
    if n_trials < _TRIALS:
        return nothing, nothing, None
    ranks = _ranks(levels)
    ranks[:, constant] = 0
    together = _ranks(ranks.mean(axis=1, keepdims=True))
    smooth = _cosines(n_trials)
    both = np.concatenate([ranks, together], axis=1)
    both /= np.sqrt(_lasting(both, constant))
    slow = ((smooth.T @ both) ** 2).sum(axis=0)
    certain = chdtrc(_COSINES, slow) < _LEVEL / (n_neurons + 1)
    size = 2 * levels.std(axis=0) if usual is None else levels.mean(axis=0)
    scaled = levels / np.maximum(size, 1e-300)
    large = np.ptp(smooth @ (smooth.T @ scaled), axis=0) > _CHANGE
    changed = certain[:-1] & large & ~constant
    if certain[-1] and not changed.any():
        mean = scaled[:, ~constant].mean(axis=1)
        if np.ptp(smooth @ (smooth.T @ mean)) > _CHANGE:
            # All together, each too little to be told.
            changed = ~constant
    slow = slow[:-1]
    at = np.arange(1, n_trials)
    steps = both[:, :-1].cumsum(axis=0)[:-1] ** 2 / (at * (n_trials - at) / n_trials)[:, None]
    steps[(at < 5) | (at > n_trials - 5)] = 0
    # A step has a place to choose, which is worth about three squares; a smooth course has its cosines.
    sudden = changed & (steps.max(axis=0) - 4 > slow - _COSINES)
    gone = nothing if usual is None else _gone(levels, usual) & ~constant
    if sudden.any() or gone.any():
        jump = int(steps[:, sudden | gone].sum(axis=1).argmax())
        # Of a step the cosines explain nine tenths; of a slope a step explains three quarters.
        here = changed & (steps[jump] > 0.85 * slow)
        if gone.any() or (steps[jump] - slow)[here].sum() > 6:
            return changed & ~here & ~gone, here | gone, jump + 1
    return changed, nothing, None


def _lasting(ranks, constant):
    """How many times more slow sums over trials vary (neuron,) than if trials were independent: they may
    resemble their neighbours without any drift. All neurons together stand last.
    """
    smooth, more = np.split(_cosines(len(ranks), _COSINES + _NEXT), [_COSINES], axis=1)
    left = ranks - smooth @ (smooth.T @ ranks)
    alike = (left[1:] * left[:-1]).sum(axis=0) / np.maximum((left**2).sum(axis=0), 1e-12)
    alike = np.clip(alike, 0, 0.99)
    near = ((more.T @ ranks) ** 2).mean(axis=0)
    # Of one neuron this is uncertain: two parts are of all of them.
    near[:-1] = (near[:-1] + 2 * near[:-1].sum() / max((~constant).sum(), 1)) / 3
    return np.maximum((1 + alike) / (1 - alike), near)


def _gone(levels, usual):
    """Neurons that are silent from some trial on, or up to one, where that is no accident."""
    found = np.zeros(levels.shape[1], bool)
    for ordered, expected in ((levels, usual), (levels[::-1], usual[::-1])):
        silent = np.logical_and.accumulate(ordered == 0, axis=0)
        found |= np.sum(expected, axis=0, where=silent) > _SILENT
    return found


def _cosines(n_trials, number=_COSINES):
    """Orthonormal cosines over trials (trial, cosine), without the constant."""
    at = (np.arange(n_trials) + 0.5) / n_trials
    return np.sqrt(2 / n_trials) * np.cos(np.pi * np.outer(at, np.arange(1, number + 1)))


def _silent_ends(signal, lengths, spikes):
    """(trial, 2) bins at either end of a trial in which nothing happens, where that is no accident: 20
    expected spikes, or any number of constant bins of rates, and twice as long as any such stretch between.
    """
    n_trials, n_time = signal.shape[:2]
    found, between = np.zeros((n_trials, 2), int), 0
    rate = np.full(n_time, _SILENT / 3)
    if spikes:
        rate = signal.sum(axis=(0, 2), dtype=np.float64)
        rate /= np.maximum(checks.inside(lengths, n_time).sum(axis=0), 1)
        # Where no trial has a spike, other bins say what there should have been.
        rate = np.where(rate > 0, rate, rate.mean())
    for s, n in enumerate(lengths):
        moves = signal[s, :n] if spikes else np.diff(signal[s, :n], axis=0)
        at = np.flatnonzero(moves.any(axis=1))
        if len(at):
            found[s] = at[0], len(moves) - 1 - at[-1]
            between = max(between, np.diff(at).max(initial=1) - 1)
    summed = np.concatenate([[0], rate.cumsum()])
    expected = np.stack([summed[found[:, 0]], summed[lengths] - summed[lengths - found[:, 1]]], axis=1)
    return np.where((expected > _SILENT) & (found > 2 * between), found, 0)


def _repeated(signal, lengths, spikes):
    """Trials whose signal is that of an earlier one, with enough in it that this is no accident; of spikes
    also a few bins earlier or later.
    """
    seen, found = set(), np.zeros(len(signal), bool)
    for s, n in enumerate(lengths):
        shift = _SHIFT if spikes and n > 4 * _SHIFT else 0
        marks = []
        for first in range(2 * shift + 1):
            one = np.ascontiguousarray(signal[s, first : n - 2 * shift + first])
            enough = np.count_nonzero(one if spikes else np.diff(one, axis=0)) >= _SILENT
            marks.append(hash(one.tobytes()) if enough else None)
        found[s] = any(mark in seen for mark in marks)
        seen.update({marks[shift]} - {None})
    return found


def _together(counts, mask):
    """(trial, time) bins in which nearly all neurons spike where few do just before and after, in a few
    trials at the same time: no response to a stimulus.
    """
    active = (counts > 0).mean(axis=2)
    beside = np.pad(active, ((0, 0), (1, 1)))
    alone = mask & (beside[:, :-2] < 0.5) & (beside[:, 2:] < 0.5)
    found = alone & (active >= 0.9)
    # Bursts of neurons are seldom of all of them.
    if (alone & (active >= 0.5) & ~found).sum() >= found.sum():
        return np.zeros_like(found)
    likely = np.log(np.maximum((counts > 0)[mask].mean(axis=0), 1e-12)).sum()
    if counts.shape[2] < _MANY or likely + np.log(mask.sum()) > np.log(_LEVEL):
        return np.zeros_like(found)
    return found & (found.sum(axis=0) < 0.2 * np.maximum(mask.sum(axis=0), 10))


def _order(recording):
    """By condition, how far neighbouring trials share it beyond chance, where that is certain."""
    found = {}
    values = {"choices": recording.choices, **recording.info}
    for name, value in values.items():
        if value is None or np.ndim(value) != 1 or len(value) < _TRIALS:
            continue
        # A coded choice stands in `info` as well, as it was in the file.
        if name != "choices" and _renamed(recording.choices, value):
            continue
        kinds, number, counts = np.unique(value, return_inverse=True, return_counts=True)
        pairs = len(value) - 1
        if 2 <= len(kinds) <= 20:
            chance = (counts * (counts - 1)).sum() / (len(value) * pairs)
            excess = (number[1:] == number[:-1]).mean() - chance
            score, share = excess / np.sqrt(chance * (1 - chance) / pairs), excess / (1 - chance)
            share = max(share, -1.0)
        elif len(kinds) > 20 and not (np.diff(number) > 0).all():
            # Times only go up; other values are ranked.
            rank = _ranks(number[:, None].astype(float))[:, 0]
            share = (rank[1:] * rank[:-1]).mean()
            score = share * np.sqrt(pairs)
        else:
            continue
        if abs(score) > 4 and abs(share) > _ORDER:
            found[name] = float(share)
    return found


def _renamed(one, other) -> bool:
    """Whether two columns (trial,) divide the trials alike."""
    if one is None or len(one) != len(other):
        return False
    one, other = (np.unique(x, return_inverse=True)[1] for x in (one, other))
    pairs = len(np.unique(np.stack([one, other]), axis=1).T)
    return bool(pairs == one.max() + 1 == other.max() + 1)


def _steps(rates, lengths):
    """How often each signal changes within the trials (neuron,)."""
    return sum((np.diff(rates[s, :n], axis=0) != 0).sum(axis=0) for s, n in enumerate(lengths))


def _alike(recording):
    """Correlation of a typical pair of rates, of up to a hundred neurons; 0 for fewer than five."""
    if recording.rates is None:
        return 0.0
    some = np.linspace(0, recording.n_neurons - 1, min(recording.n_neurons, 100)).astype(int)
    some = some[~recording.constant[some]]
    if len(some) < 5:
        return 0.0
    seen = recording.signal[:, :, some][recording.mask]
    return float(np.median(np.abs(np.corrcoef(seen.T)[np.triu_indices(len(some), 1)])))


# --- what is said


def _some(labels, chosen) -> str:
    """Names of a few of the chosen neurons."""
    at = np.flatnonzero(chosen)
    return ", ".join(labels[i] for i in at[:5]) + (", ..." if len(at) > 5 else "")


def _plural(n, word) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def _of_neurons(recording, rates, constant, groups, labels):
    if constant.any():
        word = "silent or constant"
        text = f"{_plural(constant.sum(), 'neuron')} {word} ({_some(labels, constant)})"
        yield Finding("constant", text, "recording.drop_constant()")
    if recording.rates is None:
        events, word = recording.counts.sum(axis=(0, 1), dtype=np.int64), "with fewer than"
    else:
        events, word = _steps(recording.signal, recording.lengths), "that change fewer than"
    few = (events < _FEW) & ~constant
    if few.any():
        what = "spikes" if recording.rates is None else "times"
        text = f"{_plural(few.sum(), 'neuron')} {word} {_FEW} {what} ({_some(labels, few)})"
        yield Finding("sparse", text, "too few for a model; recording.select_neurons of the others")
    if (alike := _alike(recording)) > _ALIKE:
        text = f"a typical pair of neurons has a correlation of {alike:.3g}"
        yield Finding(
            "alike", text, "one signal is in all of them, or times stand for neurons: look at the axes"
        )
    number = np.bincount(groups)
    copied = np.flatnonzero(number > 1)
    if len(copied):
        shown = "; ".join(" = ".join(labels[i] for i in np.flatnonzero(groups == k)[:4]) for k in copied[:4])
        text = (
            f"{number[copied].sum()} neurons are copies of one another ({shown}{'; ...' * (len(copied) > 4)})"
        )
        yield Finding("duplicates", text, "keep one of each, recording.select_neurons(report.kept)")


def _of_change(levels, drifting, jumping, jump, labels, spikes):
    if drifting.any():
        text = f"slow change over the trials in {drifting.sum()} of {len(drifting)} neurons"
        if spikes:
            smooth = _cosines(len(levels))
            course = levels.mean(axis=0) + smooth @ (smooth.T @ levels)
            low, high = np.quantile(course[:, drifting], [0.02, 0.98], axis=0)
            text += f", by a factor of {np.median(high / np.maximum(low, 0.1)):.2g}"
        advice = (
            "give latents.fit the baseline of latents.baseline.fit, which follows it"
            if spikes
            else "take a slow mean off each, or model a part of the session"
        )
        yield Finding("drift", f"{text} ({_some(labels, drifting)})", advice)
    if jump is not None:
        text = f"sudden change at trial {jump} in {jumping.sum()} of {len(jumping)} neurons"
        gone = jumping & ((levels[jump:] == 0).all(axis=0) | (levels[:jump] == 0).all(axis=0))
        if spikes and gone.any():
            text += f", {gone.sum()} of them lost or new"
        advice = f"take the trials before and after apart, recording.trials(slice({jump}))"
        yield Finding("jump", f"{text} ({_some(labels, jumping)})", advice)


def _of_trials(recording, silent, unusual, repeated):
    n_trials, n_time = recording.n_trials, recording.n_time
    ends = (silent > 0).sum(axis=0)
    if ends.any():
        parts = [f"{n} at the {word}" for n, word in zip(ends, ("start", "end"), strict=True) if n]
        text = f"nothing happens in {' and '.join(parts)} of trials, {silent.max()} bins long"
        # That all trials fall silent in the same bin is of the task as well as of a file.
        common = ends[0] or np.ptp(recording.lengths - silent[:, 1]) == 0
        if common:
            advice = "were they silent there, as before a stimulus? If nothing was recorded, leave it out"
        else:
            advice = "give `lengths`, if the recording ends there"
        yield Finding("padded", text, advice)
    full = recording.lengths == n_time
    if max(0.1 * n_trials, 5) <= full.sum() < n_trials:
        text = f"{full.sum()} of {n_trials} trials last to the array's end, {n_time} bins"
        yield Finding("cut", text, "is that a limit of the task? If they went on, read longer trials")
    if unusual.any():
        text = (
            f"{_plural(unusual.sum(), 'trial')} with less than half or more than twice the activity of others"
        )
        advice = "look at them; if they are artefacts, recording.trials(report.kept_trials)"
        yield Finding("unusual", text, advice)
    if repeated.any():
        text = f"{_plural(repeated.sum(), 'trial')} equal to earlier ones, or but for a shift by a few bins"
        yield Finding(
            "repeated", text, "recording.trials(report.kept_trials), or they are held out and fitted"
        )
    onsets = recording.info.get("onsets")
    if onsets is not None and np.ndim(onsets) == 1 and np.issubdtype(np.asarray(onsets).dtype, np.number):
        at = np.argsort(onsets, kind="stable")
        ends = onsets[at] + recording.lengths[at] * recording.bin_width
        early = (onsets[at][1:] < ends[:-1] - 1.5 * recording.bin_width).sum()
        if early:
            text = f"{_plural(early, 'trial')} begin before the one before ends"
            yield Finding("overlap", text, "the same spikes are in two trials: cut them shorter")


def _of_levels(activity, leveled):
    if leveled.any():
        level = np.median(activity[leveled]) / np.median(activity[~leveled])
        text = (
            f"{_plural(leveled.sum(), 'trial')} share a level of activity, {level:.2g} times that of others"
        )
        yield Finding(
            "levels", text, "are they a condition of the task? Then keep them, and name it in `info`"
        )


def _of_conditions(recording, order):
    if recording.inputs is not None:
        flat = recording.inputs[recording.mask]
        unused = (flat == flat[0]).all(axis=0)
        if unused.any():
            at = ", ".join(str(i) for i in np.flatnonzero(unused))
            yield Finding("inputs", f"input {at} never changes", "leave it out: it says nothing")
    choices = recording.choices
    if choices is not None:
        kinds, counts = np.unique(choices, return_counts=True)
        if len(kinds) == 1:
            yield Finding("choices", f"all are {kinds[0]}", "leave them out: there is nothing to tell apart")
        elif counts.min() < _RARE * len(choices):
            text = f"{kinds[counts.argmin()]} in {counts.min()} of {len(choices)} trials"
            yield Finding("choices", text, "scores of choices are of these few trials")
    for name, share in order.items():
        word = "are sorted or in blocks" if share > 0 else "alternate"
        text = f"{name} {word}: neighbouring trials agree by {share:.2f}, 0 by chance"
        yield Finding(
            "order", text, "drift passes for a difference between conditions: compare within blocks"
        )


def _of_bins(recording, labels, width, tau):
    if tau is not None and width > checks.positive("tau", tau):
        text = f"{width:g} s are longer than tau, {tau:g} s"
        yield Finding("bins", text, "no step of the dynamics is that long: narrower bins, or a longer tau")
    if recording.rates is not None:
        return
    counts = recording.counts
    most, total = counts.max(axis=(0, 1)), counts.sum(axis=(0, 1), dtype=np.int64)
    several = np.sum(counts, axis=(0, 1), where=counts > 1, dtype=np.int64)
    # A neuron is silent for a millisecond or two after a spike.
    fast = most > max(4, round(1000 * width))
    if width <= 0.002:
        fast |= several > 0.1 * np.maximum(total, _FEW)
    if fast.any():
        text = f"up to {most[fast].max()} spikes in a bin of {1000 * width:g} ms ({_some(labels, fast)})"
        yield Finding(
            "counts", text, "no neuron is that fast: artefacts, spikes saved twice, or several neurons"
        )
    together = _together(counts, recording.mask) if width <= 0.02 else np.zeros(1, bool)
    if together.any():
        text = (
            f"nearly all neurons spike in {_plural(together.sum(), 'single bin')}, few just before and after"
        )
        yield Finding("synchronous", text, "an artefact, as of a movement or a shock? Look at these bins")
    full = total > recording.lengths.sum()
    if full.any():
        text = f"{_plural(full.sum(), 'neuron')} with more than one spike a bin ({_some(labels, full)})"
        yield Finding("wide bins", text, "narrower ones keep what they do within a bin")
