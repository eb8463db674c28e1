"""The door of a recording: swapped axes, wrong units and impossible counts are refused in one sentence."""

import itertools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from .. import checks
from . import _containers
from ._containers import AXES

# The bin of the field's FINDR and Connector codes and of the published rat sessions, in seconds.
BIN_WIDTH = 0.01
# Bytes that are looked at together, so that checks of a large recording need no second one.
_PIECE = 2**22


def in_order(name, signal, lengths, inputs, choices, neurons) -> None:
    """Compare the axes with what came along, and say how they were swapped if they were."""
    trials, evidence = [], []
    for what, value in (("lengths", lengths), ("choices", choices), ("inputs", inputs)):
        if value is not None and np.ndim(value):
            trials.append(np.shape(value)[0])
            evidence.append(f"{what} of shape {np.shape(value)}")
    n_time = np.shape(inputs)[1] if inputs is not None and np.ndim(inputs) == 3 else None
    n_neurons = None if neurons is None else len(neurons)
    if n_neurons is not None:
        evidence.append(f"{n_neurons} names of neurons")
    # Unpadded arrays are as long as the longest trial: this says which axis is the time.
    longest = None if lengths is None or np.size(lengths) == 0 else np.max(np.asarray(lengths))

    def agrees(shape, strictly):
        agreed = all(shape[0] == n for n in trials) and n_time in (None, shape[1])
        if longest is not None and n_time is None:
            agreed &= bool(shape[1] == longest if strictly else shape[1] >= longest)
        return agreed and n_neurons in (None, shape[2])

    if agrees(signal.shape, strictly=False):
        swapped = signal.shape[2] == longest != signal.shape[1] and n_time is None and n_neurons is None
        orders = [(0, 2, 1)] if swapped else []
    else:
        orders = [
            order
            for order in itertools.permutations(range(3))
            if agrees([signal.shape[i] for i in order], strictly=True)
        ]
        # Lengths that exceed the time bins are an error of their own, unless an axis fits them exactly.
        swapped = bool(orders)
    if not swapped:
        return
    # Choices alone leave open which of the other two axes is the neurons'.
    order = max(orders, key=lambda order: _spread(signal)[order[2]])
    message = (
        f"{name}: expected {name} of shape (trial, time, neuron), got {signal.shape}: by the "
        f"{', '.join(evidence)} this seems to be ({', '.join(AXES[order.index(i)] for i in range(3))}): move "
        f"the {'neuron' if order[2] != 2 else 'trial'} axis {'last' if order[2] != 2 else 'first'}, "
        f"np.transpose({name}, {order})"
    )
    if agrees(signal.shape, strictly=False):
        message += f"; if the axes are right, cut the padding: {name}[:, :{longest}], or say so: axes={AXES}"
    raise ValueError(message)


def neurons_last(spikes) -> str | None:
    """With nothing to compare with, look at the counts, as neurons differ more than times do.

    Refused is only what no right recording looks like: a time axis along which means jump from bin to bin,
    before a neuron axis along which they run smoothly, as over time, and turn, as neurons sorted by rate do
    not. Where the axes might as well be right
    (neurons that are alike respond to an event), a note says how to tell.
    """
    spread = _spread(spikes)
    other = int(spread[:2].argmax())
    seen = f"mean counts differ far more along axis {other} (relative variance {spread[other]:.2g}) than "
    seen += f"along the last ({max(spread[2], 0):.2g})"
    jumps = spread[1] > 0.1 and _jumps(spikes, 1) > 0.4 and _jumps(spikes, 2) < 0.2
    if jumps and not _sorted(spikes):
        raise ValueError(
            f"spikes: expected spikes of shape (trial, time, neuron), got {spikes.shape}, where mean counts "
            "jump from bin to bin along axis 1, as between neurons, and run smoothly along the last, as over "
            "time: move the neuron axis last, np.moveaxis(spikes, 1, -1); if the axes are right, give "
            f"`lengths` or axes={AXES}"
        )
    if jumps or (spread[other] > 0.1 and spread[other] > 10 * spread[2]):
        return (
            f"{seen}: if that is the neuron axis, move it last, np.moveaxis(spikes, {other}, -1); if the "
            f"axes are right, say so: axes={AXES}"
        )
    return None


def _sorted(signal) -> bool:
    """Whether the mean signal never turns along the last axis: noise over time would turn it."""
    steps = np.diff(signal.mean(axis=(0, 1), dtype=np.float64))
    return bool((steps >= 0).all() or (steps <= 0).all())


def _jumps(signal, axis) -> float:
    """How rough the mean signal is along an axis: about 1 where no two bins nearby have anything in common,
    near 0 where it is smooth or repeats itself. NaN where noise or a few bins make it.
    """
    along = signal.mean(axis=tuple(i for i in range(3) if i != axis), dtype=np.float64)
    noise = along.mean() / (signal.size / len(along))
    # Without the largest few: one abrupt response is no roughness.
    few = 2 + len(along) // 10
    far = np.sort((along - np.median(along)) ** 2)[:-few]
    if len(along) < 8 or far.mean() < 10 * noise:
        return np.nan
    steps = [np.sort((along[k:] - along[:-k]) ** 2 / 2)[:-few].mean() for k in range(1, len(along) // 4 + 1)]
    return float((min(steps) - noise) / (far.mean() - noise))


def _spread(signal) -> Float[np.ndarray, "3"]:
    """How far means differ along each axis: variance of the mean signal in units of the squared mean, less
    what counts of a Poisson process would have. Neurons differ far more than trials or times do."""
    by_bin = signal.sum(axis=0, dtype=np.float64)
    sums = signal.sum(axis=(1, 2), dtype=np.float64), by_bin.sum(axis=1), by_bin.sum(axis=0)
    with np.errstate(all="ignore"):
        mean = by_bin.sum() / signal.size
        spread = [
            (along / (signal.size / len(along))).var() / mean**2 - len(along) / signal.size / mean
            for along in sums
        ]
        return np.nan_to_num(np.array(spread))


def seconds(value) -> float:
    _containers.unitless("bin_width", value)
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"bin_width: expected seconds, got {value}")
    value = checks.positive("bin_width", value)
    if value > 1:
        raise ValueError(
            f"bin_width: expected seconds, at most 1, got {value:g}: if these are milliseconds, give "
            f"bin_width={value / 1000:g}"
        )
    return value


def in_steps(step, bin_width) -> None:
    """Compare the steps of a time coordinate, in seconds or milliseconds, with the bins; 1 is of bins."""
    if step is not None and step != 1 and not np.isclose([step, step / 1000], bin_width, rtol=1e-3).any():
        raise ValueError(
            f"bin_width: expected the step of the time coordinate, {step:g}, got {bin_width:g} s: give "
            f"bin_width={step if step < 1 else step / 1000:g}"
        )


def without_padding(name, signal, mask, *, fresh=False) -> Shaped[np.ndarray, "trial time axis"]:
    """The signal with padding set to 0, finite; in place if it is fresh."""
    if not mask.all():
        signal = signal if fresh else signal.copy()
        signal[~mask] = 0
    try:
        checks.finite(name, signal)
    except ValueError as error:
        bad = ~np.isfinite(signal)
        trials, last = (int(bad.any(axis=axes).sum()) for axes in ((1, 2), (0, 1)))
        raise ValueError(
            f"{error}; they are in {trials} of {signal.shape[0]} trials and {last} of {signal.shape[2]} "
            f"{'inputs' if name == 'inputs' else 'neurons'}; if they are the padding of shorter trials, give "
            "`lengths`"
        ) from None
    return signal


def pieces(signal) -> Iterator[slice]:
    """Slices of trials, small enough to compute with."""
    trials = max(1, _PIECE // max(1, signal[0].nbytes))
    return (slice(first, first + trials) for first in range(0, len(signal), trials))


def counts(signal, *, fresh=False) -> Int[np.ndarray, "trial time neuron"]:
    """Whole, non-negative counts in the smallest signed type that holds them; a copy unless it is fresh."""
    whole = not np.issubdtype(signal.dtype, np.floating)
    for word in ("negative", "fractional"):
        wrong = (lambda x: x < 0) if word == "negative" else (lambda x: x != np.floor(x))
        if (word == "fractional" and whole) or not any(wrong(signal[part]).any() for part in pieces(signal)):
            continue
        bad = wrong(signal)
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"spikes: expected whole counts of spikes per bin, got {int(bad.sum())} {word} values, the "
            f"first {signal[first]:g} at (trial, time, neuron) = {first}: give rates as `rates`"
        )
    most = int(signal.max())
    kinds = [kind for kind in (np.int8, np.int16, np.int32) if most <= np.iinfo(kind).max]
    if not kinds:
        raise ValueError(f"spikes: expected counts of spikes per bin, got up to {most}")
    return signal.astype(kinds[0], copy=not fresh)


def compacted(signal, kept) -> Shaped[np.ndarray, "trial time axis"]:
    """Some neurons, in order, of a signal that is given up for it: moved forward in its own memory."""
    n_trials, n_time = signal.shape[:2]
    made = signal.reshape(-1)[: n_trials * n_time * len(kept)].reshape(n_trials, n_time, len(kept))
    for part in pieces(signal):
        made[part] = signal[part][:, :, kept]
    return made


def constant(signal, mask) -> Bool[np.ndarray, " neuron"]:
    """Which neurons never differ from their first bin within the trials."""
    varies = np.zeros(signal.shape[2], bool)
    for part in pieces(signal):
        varies |= ((signal[part] != signal[:1, :1]) & mask[part, :, None]).any(axis=(0, 1))
    return ~varies


def plausible(rate, bin_width, bounds) -> None:
    low, high = bounds
    if low <= rate <= high:
        return
    # Of the two ways to be wrong by 1000, name the one that would make the rates plausible.
    better = bin_width * 1000 if rate > high else bin_width / 1000
    raise ValueError(
        f"spikes: expected a mean rate of {low:g} to {high:g} Hz, got {rate:.3g} Hz in bins of {bin_width:g} "
        f"s: bin_width is in seconds (10 ms is 0.01); is it {better:g}? If the rates are right, widen "
        "`plausible_rates`"
    )


def inputs(found, lengths, mask) -> Float[np.ndarray, "trial time input"]:
    if np.ndim(found.array) == 2:
        raise ValueError(
            f"inputs: expected axes (trial, time, input), got an array of shape {np.shape(found.array)}: for "
            "one input add the axis, inputs[:, :, None]"
        )
    if found.lengths is not None and (
        found.lengths.shape != lengths.shape or (found.lengths < lengths).any()
    ):
        raise ValueError(
            f"inputs: expected as many bins as the trials have, {lengths.tolist()[:5]} in the first, got "
            f"{found.lengths.tolist()[:5]}: cut both alike"
        )
    sizes = dict(zip(AXES, mask.shape, strict=False))
    value = np.asarray(
        checks.array("inputs", found.array, ("trial", "time", "input"), sizes=sizes, padded=True)
    )
    value = without_padding("inputs", value, mask, fresh=found.fresh)
    with np.errstate(over="ignore"):
        value = value.astype(np.float32)
    # What is too large for float32 became infinite.
    checks.finite("inputs", value)
    return value


def one_length(name, said, held):
    """Lengths as the user says them, or as the container does; both only where they are the same."""
    if said is None or held is None:
        return held if said is None else said
    if not np.array_equal(np.asarray(said), held):
        raise ValueError(
            f"lengths: expected the lengths of the trials in `{name}`, {held.tolist()[:5]} in the first, got "
            f"{np.asarray(said).tolist()[:5]}: leave `lengths` out"
        )
    return said


def per_trial(name, value, n_trials) -> Shaped[np.ndarray, "trial ..."]:
    value = np.asarray(_containers.plain(name, value))
    if value.ndim < 1 or value.shape[0] != n_trials:
        raise ValueError(
            f"{name}: expected a value for each of the {n_trials} trials, got shape {value.shape}"
        )
    return value


def whole_numbers(name, value, n_trials) -> Int[np.ndarray, " trial"]:
    value = _containers.plain(name, value)
    words = [one for one in np.ravel(np.asarray(value, object)) if isinstance(one, str | bytes)][:2]
    if words:
        raise TypeError(
            f"{name}: expected whole numbers, got words such as '{words[0]}': number them, "
            f"np.unique({name}, return_inverse=True)[1]"
        )
    value = np.asarray(checks.array(name, value, ("trial",), sizes={"trial": n_trials}, padded=True))
    missing = np.flatnonzero(~np.isfinite(value))
    if len(missing):
        raise ValueError(
            f"{name}: expected a whole number for each trial, got NaN or infinity in {len(missing)} of "
            f"{n_trials}, the first in trial {missing[0]}: leave those trials out"
        )
    if (value != np.floor(value)).any():
        raise ValueError(f"{name}: expected whole numbers, got {value[value != np.floor(value)][0]:g}")
    return value.astype(np.int64)


def names(neurons, n_neurons) -> tuple[str, ...] | None:
    if neurons is None:
        return None
    names = tuple(str(name) for name in neurons)
    if len(names) != n_neurons:
        raise ValueError(
            f"neurons: expected {n_neurons} names, one for each neuron (last axis), got {len(names)}"
        )
    return names


def constant_message(name, constant, labels) -> str:
    bad = [labels[i] for i in np.flatnonzero(constant)]
    shown = ", ".join(bad[:10]) + (", ..." if len(bad) > 10 else "")
    advice = "there is nothing to analyse" if constant.all() else "drop them with drop_constant=True"
    return f"{name}: expected neurons that vary, got {len(bad)} constant of {len(labels)} ({shown}): {advice}"


def selection(name, indices, n) -> Int[np.ndarray, " chosen"]:
    if isinstance(indices, slice):
        indices = np.arange(n)[indices]
    indices = np.atleast_1d(np.asarray(indices))
    if indices.dtype == bool:
        if indices.shape != (n,):
            raise ValueError(f"{name}: expected a mask of shape ({n},), got {indices.shape}")
        indices = np.flatnonzero(indices)
    if indices.size == 0:
        raise ValueError(f"{name}: expected at least one, got none")
    if indices.ndim != 1 or not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(
            f"{name}: expected indices, a slice or a mask, got {indices.dtype} of shape {indices.shape}"
        )
    if (indices < -n).any() or (indices >= n).any():
        raise ValueError(f"{name}: expected indices below {n}, got {int(indices[np.abs(indices).argmax()])}")
    return np.where(indices < 0, indices + n, indices).astype(np.int64)
